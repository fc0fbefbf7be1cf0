/* Questions to the daemons: see ask.h. The one hard point is to end in time: the clients wait long for a
 * daemon that is away, an administrator does not. */
#include "mailadm/ask.h"
#include "common/base/crypto.h"
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static void too_late(void *arg)
{
    ask_end(arg, ERR_RETRY);
}

static bool socket_path(const struct conf *c, const char *name, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/%s/admin/sock", c->run_dir, name);
    return n > 0 && (size_t)n < size;
}

int ask_open(struct ask *k, const struct adm *a, bool store, bool directory)
{
    char path[4096];
    *k = (struct ask){.adm = a, .first = true};
    int status = adm_conf(a, &k->conf);
    if (status != EX_OK)
        return status;
    crypto_start();
    k->loop = loop_new();
    k->ticket = ticket_new(k);
    k->timer = loop_timer_new(k->loop, too_late, k);
    if (store && socket_path(k->conf, "store", path, sizeof path))
        k->store = store_new_path(k->loop, path, STORE_ADMIN);
    if (directory && socket_path(k->conf, "directory", path, sizeof path))
        k->directory = directory_new_path(k->loop, path);
    return EX_OK;
}

void ask_close(struct ask *k)
{
    if (k->ticket)
        ticket_void(&k->ticket);
    if (k->store)
        store_free(&k->store);
    if (k->directory)
        directory_free(&k->directory);
    if (k->timer)
        loop_timer_free(&k->timer);
    if (k->loop)
        loop_free(&k->loop);
    conf_free(&k->conf);
}

void ask_end(struct ask *k, enum err_code code)
{
    k->ended = true;
    k->code = code;
    loop_stop(k->loop);
}

enum err_code ask_wait(struct ask *k, uint64_t patience_ms)
{
    loop_timer_start(k->timer, patience_ms);
    if (!k->ended)
        loop_run(k->loop);
    loop_timer_stop(k->timer);
    k->ended = false;
    return k->code;
}

int ask_status(enum err_code code, const char *subject)
{
    static const struct {
        enum err_code code;
        int status;
        const char *text;
    } rows[] = {
        {ERR_OK, EX_OK, NULL},
        {ERR_MISSING, EX_NOUSER, "there is none of this name"},
        {ERR_RETRY, EX_TEMPFAIL, "no answer now: does the daemon run (mailadm status)? may you ask it?"},
        {ERR_DENIED, EX_NOPERM, "refused"},
        {ERR_SYNTAX, EX_DATAERR, "not understood"},
        {ERR_LIMIT, EX_DATAERR, "too large"},
        {ERR_STATE, EX_TEMPFAIL, "not possible in this state"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].code == code) {
            if (rows[i].text)
                fprintf(stderr, "mailadm: %s: %s\n", subject, rows[i].text);
            return rows[i].status;
        }
    fprintf(stderr, "mailadm: %s: %s\n", subject, err_name(code));
    return EX_SOFTWARE;
}
