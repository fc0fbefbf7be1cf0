/* Replies (RFC 5321 4.2, RFC 2034), and the table that turns outcomes into them: the only place where an
 * outcome becomes a number. */
#include "smtpd/core_int.h"
#include <stdio.h>

enum step reply(struct smtp_core *p, struct buf *out, int code, const char *enhanced, const char *fmt, ...)
{
    char text[480];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (code >= 500)
        p->errors++;
    const char number[] = {(char)('0' + code / 100), (char)('0' + code / 10 % 10), (char)('0' + code % 10),
                           ' '};
    const size_t all = sizeof number + strlen(enhanced) + 1 + strlen(text) + 2;
    bool ok = buf_reserve(out, all) && buf_add(out, number, sizeof number) && buf_add_str(out, enhanced) &&
              (!*enhanced || buf_add_char(out, ' ')) && buf_add_str(out, text) && buf_add_str(out, "\r\n");
    return ok ? STEP_AGAIN : STEP_CLOSE;
}

enum step reply_err(struct smtp_core *p, struct buf *out, enum err_code code)
{
    static const struct {
        int code;
        const char *enhanced, *text;
    } table[] = {
        [ERR_OK] = {250, "2.0.0", "Ok"},
        [ERR_SYNTAX] = {550, "5.6.0", "Message holds a bare CR, a bare LF or NUL"},
        [ERR_STATE] = {554, "5.4.6", "Too many Received fields: the message goes round in a loop"},
        [ERR_LIMIT] = {552, "5.3.4", "Message is larger than this system takes"},
        [ERR_DENIED] = {550, "5.7.1", "Not permitted"},
        [ERR_MISSING] = {550, "5.1.1", "No such recipient here"},
        [ERR_RETRY] = {451, "4.3.0", "Cannot do this now, try again later"},
        [ERR_BUG] = {451, "4.3.0", "Internal error, try again later"},
    };
    return reply(p, out, table[code].code, table[code].enhanced, "%s", table[code].text);
}

struct full_reply full_reply(const struct smtp_core *p)
{
    if (strcmp(p->conf->quota_full_policy, "reject") == 0)
        return (struct full_reply){552, "5.2.2", "Mailbox is full"};
    return (struct full_reply){452, "4.2.2", "Mailbox is full"};
}
