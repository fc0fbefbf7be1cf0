/* Logins and events: grants are opened and checked here, sessions are known by connection and number, and
 * what a batch changed is told to those who watch. An event goes out only for what is durable; one that is
 * missed while a worker was away is made good when it watches again (it gets the present state at once). */
#include "common/store/server.h"
#include "common/base/clock.h"
#include "common/base/grant.h"
#include <stdlib.h>
#include <utlist.h>

enum { SESSIONS_LIMIT = 100000, WATCHES_LIMIT = 200000, QUEUE_TICK_MS = 250 };
static const int64_t login_noted_us = (int64_t)3600 * 1000000; /* last_login is kept to the hour */

/* -- sessions -- */

struct session *session_find(struct conn *c, uint32_t id)
{
    struct session *s = NULL;
    HASH_FIND(hh, c->sessions, &id, sizeof id, s);
    return s;
}

static void leave_account(struct session *s)
{
    struct server *server = s->conn->s;
    struct account *a = NULL;
    HASH_FIND(hh, server->accounts, &s->account, sizeof s->account, a);
    if (!a)
        return;
    DL_DELETE(a->sessions, s);
    if (!a->sessions) {
        HASH_DEL(server->accounts, a);
        free(a);
    }
}

static void join_account(struct session *s)
{
    struct server *server = s->conn->s;
    struct account *a = NULL;
    HASH_FIND(hh, server->accounts, &s->account, sizeof s->account, a);
    if (!a) {
        a = xcalloc(1, sizeof *a);
        a->id = s->account;
        HASH_ADD(hh, server->accounts, id, sizeof a->id, a);
    }
    DL_APPEND(a->sessions, s);
}

static void session_free(struct session *s)
{
    leave_account(s);
    HASH_DEL(s->conn->sessions, s);
    free(s);
}

static void watch_free(struct watch *w)
{
    struct server *s = w->conn->s;
    struct watched *m = NULL;
    HASH_FIND(hh, s->watched, &w->mailbox, sizeof w->mailbox, m);
    if (m) {
        DL_DELETE(m->watches, w);
        if (!m->watches) {
            HASH_DEL(s->watched, m);
            free(m);
        }
    }
    HASH_DEL(w->conn->watches, w);
    free(w);
}

void sessions_free(struct conn *c)
{
    struct session *s, *s_next;
    struct watch *w, *w_next;
    HASH_ITER(hh, c->sessions, s, s_next)
    session_free(s);
    HASH_ITER(hh, c->watches, w, w_next)
    watch_free(w);
}

static void session_new(struct conn *c, uint32_t id, const struct grant *g)
{
    struct session *s = session_find(c, id);
    if (s)
        session_free(s); /* shown again: the newer grant counts */
    s = xcalloc(1, sizeof *s);
    *s = (struct session){
        .id = id, .conn = c, .account = g->account, .quota_bytes = g->quota_bytes, .issued_us = g->issued_us};
    HASH_ADD(hh, c->sessions, id, sizeof s->id, s);
    join_account(s);
}

static void refused(const struct request *r, const struct grant *g, const char *why)
{
    log_event(LOG_WARN, NULL, "store.login.refused", F_STR("why", why), F_STR("address", g->address),
              F_STR("peer", g->peer));
    reply_code(r->conn, r->type, r->seq, ERR_DENIED);
}

/* Whether a person logs in, and not an administrator's tool (grant.h: directoryd gives those by name). */
static bool is_person(const struct grant *g)
{
    return strcmp(g->protocol, "import") != 0 && strcmp(g->protocol, "export") != 0;
}

/* Nobody waits for it: last login and quota, for listings. */
static void note_login(struct server *s, const struct grant *g, const struct account_state *a)
{
    if (clock_wall_us() - a->last_login_us < login_noted_us &&
        (a->quota_bytes == g->quota_bytes || g->quota_bytes == GRANT_UNBOUND))
        return;
    struct job *j = job_new(WIRE_TOUCH);
    j->account = g->account;
    j->quota_bytes = g->quota_bytes;
    submit_job(s, j);
}

bool serve_login(struct request *r)
{
    struct server *s = r->conn->s;
    struct grant *g = xcalloc(1, sizeof *g);
    struct account_state a = {.complete = false};
    struct parts none = {NULL, 0, 0};
    uint64_t mark = 0;
    enum err_code code = grant_open(r->body, s->key, clock_wall_us(), g);
    if (code != ERR_OK) {
        refused(r, g, code == ERR_STATE ? "the grant has expired" : "the grant is forged");
        free(g);
        return true;
    }
    code = engine_account(s->e, &g->account, &a, &mark);
    if (code == ERR_OK && g->issued_us < a.revoked_before_us) {
        refused(r, g, "the grant was revoked");
    } else if (HASH_COUNT(r->conn->sessions) >= SESSIONS_LIMIT) {
        reply_code(r->conn, r->type, r->seq, ERR_RETRY);
    } else if (code != ERR_OK && code != ERR_MISSING) {
        reply_code(r->conn, r->type, r->seq, code);
    } else {
        session_new(r->conn, r->ask.session, g);
        if (a.complete) {
            if (is_person(g))
                note_login(s, g, &a);
            reply(r->conn, mark, WIRE_LOGIN | IPC_ANSWER, r->seq, ERR_OK, &none, false);
        } else {
            r->session = session_find(r->conn, r->ask.session);
            r->body = is_person(g) ? SPAN_NONE : SPAN("tool");
            submit_write(r, WIRE_LOGIN);
        }
    }
    free(g);
    return true;
}

bool serve_logout(struct request *r)
{
    struct session *s = session_find(r->conn, r->ask.session);
    if (s)
        session_free(s);
    return true;
}

/* -- events -- */

static void send_event(struct conn *c, uint64_t mark, const struct wire_event *e)
{
    struct parts p = {NULL, 0, 0};
    if (!buf_add(parts_add(&p), e, sizeof *e))
        parts_free(&p);
    else
        reply(c, mark, WIRE_EVENT, 0, ERR_OK, &p, false);
}

static struct watch *watch_find(struct conn *c, uint64_t mailbox)
{
    struct watch *w = NULL;
    HASH_FIND(hh, c->watches, &mailbox, sizeof mailbox, w);
    return w;
}

static struct watch *watch_new(struct conn *c, uint64_t mailbox)
{
    struct server *s = c->s;
    struct watched *m = NULL;
    struct watch *w = xcalloc(1, sizeof *w);
    *w = (struct watch){.mailbox = mailbox, .conn = c};
    HASH_FIND(hh, s->watched, &mailbox, sizeof mailbox, m);
    if (!m) {
        m = xcalloc(1, sizeof *m);
        m->mailbox = mailbox;
        HASH_ADD(hh, s->watched, mailbox, sizeof mailbox, m);
    }
    DL_APPEND(m->watches, w);
    HASH_ADD(hh, c->watches, mailbox, sizeof mailbox, w);
    return w;
}

bool serve_watch(struct request *r)
{
    struct wire_watch w;
    struct wire_event e = {.mailbox = r->ask.mailbox, .session = r->ask.session};
    struct conn *c = r->conn;
    uint64_t mark = 0;
    memcpy(&w, r->body.p, sizeof w);
    struct watch *old = watch_find(c, r->ask.mailbox);
    if (!w.on) {
        if (old)
            watch_free(old);
        return true;
    }
    enum err_code code = engine_modseq(c->s->e, &r->session->account, r->ask.mailbox, &e.modseq, &mark);
    if (code == ERR_OK && !old && HASH_COUNT(c->watches) < WATCHES_LIMIT)
        old = watch_new(c, r->ask.mailbox);
    e.code = code == ERR_OK && !old ? ERR_LIMIT : code;
    if (old && e.modseq > old->told)
        old->told = e.modseq;
    send_event(c, mark, &e);
    return true;
}

static void tell_list(struct server *s, const struct touched *t)
{
    struct account *a = NULL;
    struct session *x;
    HASH_FIND(hh, s->accounts, &t->account, sizeof t->account, a);
    if (!a)
        return;
    DL_FOREACH(a->sessions, x)
    {
        const struct wire_event e = {.modseq = t->modseq, .session = x->id};
        send_event(x->conn, 0, &e);
    }
}

static void tell_mailbox(struct server *s, const struct touched *t)
{
    struct watched *m = NULL;
    struct watch *w;
    HASH_FIND(hh, s->watched, &t->mailbox, sizeof t->mailbox, m);
    if (!m)
        return;
    DL_FOREACH(m->watches, w)
    {
        if (t->modseq <= w->told)
            continue;
        const struct wire_event e = {.mailbox = t->mailbox, .modseq = t->modseq};
        w->told = t->modseq;
        send_event(w->conn, 0, &e);
    }
}

static void tell_queue(struct server *s)
{
    struct parts none = {NULL, 0, 0};
    for (struct conn *c = s->conns; c; c = c->next)
        if (c->queue_watch)
            reply(c, 0, WIRE_QUEUE_EVENT, 0, ERR_OK, &none, false);
}

/* -- accounts that are full -- */

static bool send_fulls(struct conn *c, uint64_t mark, const struct full_change *v, size_t count, bool full)
{
    enum { PAGE = 4096 };
    size_t i = 0;
    bool ok = true;
    while (i < count && ok) {
        struct parts p = {NULL, 0, 0};
        struct wire_full w = {full, 0};
        struct buf *b = parts_add(&p);
        ok = buf_add(b, &w, sizeof w);
        for (; i < count && w.count < PAGE && ok; i++)
            if (v[i].full == full) {
                ok = buf_add(b, v[i].account.b, sizeof v[i].account.b);
                w.count++;
            }
        memcpy(b->p, &w, sizeof w);
        if (ok && w.count)
            reply(c, mark, WIRE_FULL_EVENT, 0, ERR_OK, &p, false);
        else
            parts_free(&p);
    }
    return ok;
}

bool serve_full_watch(struct request *r)
{
    struct full_change *v;
    r->conn->full_watch = true;
    uint64_t mark;
    size_t n = engine_fulls(r->conn->s->e, &v, &mark);
    bool ok = send_fulls(r->conn, mark, v, n, true);
    free(v);
    return ok;
}

/* In the order of the changes: an account may have become full and empty in one batch. */
static void tell_fulls(struct server *s, const struct news *n)
{
    for (struct conn *c = s->conns; c; c = c->next)
        for (size_t i = 0; c->full_watch && c->ipc && i < n->full_count; i++)
            (void)send_fulls(c, 0, &n->fulls[i], 1, n->fulls[i].full); /* one fits */
}

void tell_news(struct server *s, const struct news *n)
{
    for (size_t i = 0; i < n->touched_count; i++) {
        const struct touched *t = &n->touched[i];
        if (t->mailbox == 0)
            tell_list(s, t);
        else
            tell_mailbox(s, t);
    }
    tell_fulls(s, n);
    if (n->queue_due && s->queue_watchers)
        tell_queue(s);
}

void revoke_sessions(struct server *s, const struct wire_revoke *w)
{
    struct account *a = NULL;
    struct session *x;
    HASH_FIND(hh, s->accounts, &w->account, sizeof w->account, a);
    if (!a)
        return;
    DL_FOREACH(a->sessions, x)
    {
        if (x->revoked || x->issued_us >= w->before_us)
            continue;
        const struct wire_event e = {.session = x->id, .code = ERR_DENIED};
        x->revoked = true;
        send_event(x->conn, 0, &e);
    }
}

/* -- the queue's events: at once for what is new, by the clock for what was put off or whose lease ended --
 */

static void on_queue_tick(void *arg)
{
    struct server *s = arg;
    if (!s->e || !s->queue_watchers)
        return;
    if (engine_queue_due(s->e))
        tell_queue(s);
    loop_timer_start(s->queue_timer, QUEUE_TICK_MS);
}

bool serve_queue_watch(struct request *r)
{
    struct server *s = r->conn->s;
    if (!r->conn->queue_watch) {
        r->conn->queue_watch = true;
        s->queue_watchers++;
    }
    if (!s->queue_timer)
        s->queue_timer = loop_timer_new(s->loop, on_queue_tick, s);
    loop_timer_start(s->queue_timer, 0);
    return true;
}
