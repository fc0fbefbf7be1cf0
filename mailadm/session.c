/* Sessions of tools, see session.h. The hard point is that one loop serves a question that is waited for and
 * answers to others that come meanwhile: whoever is answered wakes the waiter, who looks whether it was his.
 */
#include "mailadm/session.h"
#include "common/base/clock.h"
#include <stdio.h>

void reply_set(struct reply *r, enum err_code code)
{
    r->done = true;
    r->code = code;
    ask_end(r->k, ERR_OK);
}

enum err_code reply_wait(struct reply *r, struct ticket *ticket)
{
    uint64_t end_ms = clock_mono_ms() + SESSION_PATIENCE_MS;
    while (!r->done && clock_mono_ms() < end_ms)
        (void)ask_wait(r->k, end_ms - clock_mono_ms() + 1); /* done says it */
    ticket_void(&ticket);
    return r->done ? r->code : ERR_RETRY;
}

static void on_grant(void *session, enum err_code code, struct span text)
{
    struct reply *r = session;
    if (code == ERR_OK && !buf_add_span(r->out, text))
        code = ERR_LIMIT;
    reply_set(r, code);
}

static void on_login(void *session, enum err_code code, struct store_account *account)
{
    struct reply *r = session;
    if (code == ERR_OK)
        *(struct store_account **)r->out = account;
    reply_set(r, code);
}

enum err_code session_open(struct ask *k, const struct uuid *id, const char *protocol, bool over_quota,
                           struct session *out)
{
    struct buf grant;
    char path[4200];
    struct reply r = {.k = k, .out = &grant};
    struct ticket *ticket = ticket_new(&r);
    *out = (struct session){NULL, NULL};
    buf_init(&grant, 64 << 10);
    directory_admin_grant(k->directory, id, protocol, over_quota, ticket, on_grant);
    enum err_code code = reply_wait(&r, ticket);
    if (code == ERR_OK) {
        snprintf(path, sizeof path, "%.4000s/store/session/sock", k->conf->run_dir);
        out->store = store_new_path(k->loop, path, STORE_SESSION);
        r = (struct reply){.k = k, .out = &out->account};
        ticket = ticket_new(&r);
        store_login(out->store, buf_span(&grant), ticket, on_login);
        code = reply_wait(&r, ticket);
    }
    buf_wipe(&grant);
    return code;
}

void session_close(struct session *s)
{
    if (s->account)
        store_logout(&s->account);
    if (s->store)
        store_free(&s->store);
}
