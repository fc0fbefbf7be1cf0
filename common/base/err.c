/* Outcome codes: names and texts. */
#include "common/base/err.h"
#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name, *client;
} table[] = {
    [ERR_OK] = {"ok", "Done"},
    [ERR_SYNTAX] = {"syntax", "Not understood"},
    [ERR_STATE] = {"state", "Not possible now"},
    [ERR_LIMIT] = {"limit", "A limit is reached"},
    [ERR_DENIED] = {"denied", "Not permitted"},
    [ERR_MISSING] = {"missing", "No such thing"},
    [ERR_RETRY] = {"retry", "Temporarily not available, try again"},
    [ERR_BUG] = {"bug", "Internal error"},
};

const char *err_name(enum err_code code)
{
    return (size_t)code < sizeof table / sizeof *table ? table[code].name : "unknown";
}

enum err_code err_set(struct err *why, enum err_code code, const char *client, const char *log_fmt, ...)
{
    if (!why)
        return code;
    why->code = code;
    snprintf(why->client, sizeof why->client, "%s", client ? client : table[code].client);
    va_list ap;
    va_start(ap, log_fmt);
    vsnprintf(why->log, sizeof why->log, log_fmt, ap);
    va_end(ap);
    return code;
}
