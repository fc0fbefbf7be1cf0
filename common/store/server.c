/* Connections of stored: each frame is looked up in the table of types, which says who may send it, how long
 * it must at least be and who serves it; nothing of it is believed before. Writes go to the engine, reads to
 * serve_read.c, logins and events to serve_session.c.
 * The hard problem is what may leave: an answer that shows a commit whose log is not flushed yet is held
 * until it is. A worker that asks faster than it is served is not read for a while; one that does not read is
 * dropped by ipc. */
#include "common/store/server.h"
#include "common/base/fault.h"
#include "common/base/clock.h"
#include "common/mime/meta.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    WAITING_BYTES = 64 << 20, /* of one connection's writes under way */
    WAITING = 4000,
    REFUSALS_LOGGED = 10
};

/* -- life of a connection -- */

struct conn *conn_new(struct server *s, struct ipc *ipc, enum role role)
{
    struct conn *c = xcalloc(1, sizeof *c);
    *c = (struct conn){.s = s, .ipc = ipc, .role = role, .number = ++s->next_conn, .refs = 1};
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    return c;
}

static void release(struct conn *c)
{
    if (--c->refs == 0)
        free(c);
}

void conn_gone(struct conn *c)
{
    struct server *s = c->s;
    c->ipc = NULL;
    sessions_free(c);
    if (c->queue_watch)
        s->queue_watchers--;
    if (c->role == ROLE_RELAY && s->e)
        engine_lease_drop(s->e, c->number);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    release(c);
}

void conn_hold(struct conn *c, size_t bytes)
{
    c->refs++;
    c->waiting++;
    c->waiting_bytes += bytes;
    if (!c->paused && c->ipc && (c->waiting > WAITING || c->waiting_bytes > WAITING_BYTES)) {
        c->paused = true;
        ipc_reading(c->ipc, false);
    }
}

void conn_drop(struct conn *c, size_t bytes)
{
    c->waiting--;
    c->waiting_bytes -= bytes;
    if (c->paused && c->ipc && c->waiting < WAITING / 2 && c->waiting_bytes < WAITING_BYTES / 2) {
        c->paused = false;
        ipc_reading(c->ipc, true);
    }
    release(c);
}

/* -- answers -- */

static void send_parts(struct conn *c, uint16_t type, uint64_t seq, enum err_code code, const struct parts *p,
                       bool more)
{
    for (size_t i = 0; c->ipc && i < p->n; i++) {
        struct span body = buf_span(&p->v[i]);
        bool last = i + 1 == p->n && !more;
        if (!ipc_send(c->ipc, last ? type : (uint16_t)(type | WIRE_MORE), (uint8_t)code, seq, &body, 1, -1))
            return; /* dropped: gone is told */
    }
    if (c->ipc && p->n == 0)
        (void)ipc_send(c->ipc, type, (uint8_t)code, seq, NULL, 0, -1); /* the same */
}

void reply(struct conn *c, uint64_t mark, uint16_t type, uint64_t seq, enum err_code code,
           struct parts *parts, bool more)
{
    struct server *s = c->s;
    if (mark <= s->durable) {
        send_parts(c, type, seq, code, parts, more);
        parts_free(parts);
        return;
    }
    if (s->e)
        engine_hurry(s->e);
    struct held *h = xmalloc(sizeof *h);
    *h = (struct held){
        .conn = c, .mark = mark, .seq = seq, .type = type, .code = code, .parts = *parts, .more = more};
    *parts = (struct parts){NULL, 0, 0};
    c->refs++;
    *s->held_last = h;
    s->held_last = &h->next;
}

void reply_code(struct conn *c, uint16_t type, uint64_t seq, enum err_code code)
{
    struct parts none = {NULL, 0, 0};
    reply(c, 0, (uint16_t)(type | IPC_ANSWER), seq, code, &none, false);
}

/* Parts of one answer stay in their order: their marks never fall. */
static void let_go(struct server *s)
{
    struct held **at = &s->held;
    while (*at) {
        struct held *h = *at;
        if (h->mark > s->durable) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        if (!h->next)
            s->held_last = at;
        send_parts(h->conn, h->type, h->seq, h->code, &h->parts, h->more);
        parts_free(&h->parts);
        release(h->conn);
        free(h);
    }
}

/* -- writes -- */

static void submit_now(void *arg)
{
    struct server *s = arg;
    struct job *jobs = s->fresh;
    s->fresh = NULL;
    if (jobs && s->e)
        engine_submit(s->e, jobs);
}

/* With all that this round of the loop brings: a writer that was woken by the first of them would make a
 * batch, and a flush, of that one alone. */
void submit_job(struct server *s, struct job *j)
{
    if (!s->fresh) {
        s->fresh_last = &s->fresh;
        loop_defer(s->loop, submit_now, s);
    }
    j->next = NULL;
    *s->fresh_last = j;
    s->fresh_last = &j->next;
}

void submit_write(struct request *r, uint16_t type)
{
    struct job *j = job_new(type);
    bool room = buf_add_span(&j->body, r->body);
    j->again = r->ask.flags & WIRE_AGAIN;
    j->id = r->ask.id;
    j->mailbox = r->ask.mailbox;
    j->seq = r->seq;
    j->asker = r->conn->number;
    j->until_ms = r->ask.until_ms;
    j->whose = &r->conn->asker;
    j->fd = r->fd;
    r->fd = -1;
    if (r->session) {
        j->account = r->session->account;
        j->quota_bytes = r->session->quota_bytes;
    }
    if (!room) { /* larger than a frame: cannot be */
        job_free(&j);
        reply_code(r->conn, r->type, r->seq, ERR_LIMIT);
        return;
    }
    j->owner = r->conn;
    conn_hold(r->conn, j->body.n);
    submit_job(r->conn->s, j);
}

static bool serve_write(struct request *r)
{
    submit_write(r, r->type);
    return true;
}

static void send_underway(struct conn *c, const struct wire_underway *w, struct span seqs)
{
    const struct span body[] = {span_of(w, sizeof *w), seqs};
    if (c->ipc)
        (void)ipc_send(c->ipc, WIRE_UNDERWAY, 0, 0, body, 2, -1); /* dropped: gone is told */
}

/* A writer that hangs in a flush has requests of which nobody can say that they are not done: the asker hears
 * which they are, before its patience ends. */
static bool serve_ping(struct request *r)
{
    struct buf seqs;
    buf_init(&seqs, (2 * WAITING) * sizeof(uint64_t));
    struct wire_underway w = {.before = r->seq, .which = WIRE_UNDERWAY_OTHERS};
    submit_now(r->conn->s); /* those of this round are not taken */
    if (!engine_waiting(r->conn->s->e, r->conn, &seqs))
        buf_reset(&seqs); /* never so many; then all count as taken */
    w.count = (uint32_t)(seqs.n / sizeof(uint64_t));
    send_underway(r->conn, &w, buf_span(&seqs));
    buf_free(&seqs);
    submit_write(r, r->type);
    return true;
}

/* No answer: nobody waits. */
static bool serve_lazy(struct request *r)
{
    struct job *j = job_new(r->type);
    if (!buf_add_span(&j->body, r->body))
        job_free(&j);
    else
        submit_job(r->conn->s, j);
    return true;
}

static void finish_job(struct server *s, struct job *j)
{
    struct conn *c = j->owner;
    if (j->type == WIRE_REVOKE && j->code == ERR_OK) {
        struct wire_revoke w;
        memcpy(&w, j->body.p, sizeof w);
        revoke_sessions(s, &w);
    }
    if (j->type == WIRE_CLAIM)
        claim_written(s, j);
    if (!c)
        return;
    if (j->type == WIRE_PING) {
        struct wire_ping w;
        memcpy(&w, j->body.p, sizeof w);
        asker_hears(&c->asker, clock_mono_ms(), w.more_ms);
    }
    send_parts(c, (uint16_t)(j->type | IPC_ANSWER), j->seq, j->code, &j->answer, false);
    conn_drop(c, j->body.n);
}

struct post {
    struct server *s;
    struct news *n;
};

static void on_news(void *arg)
{
    struct post *p = arg;
    struct server *s = p->s;
    s->durable = p->n->durable;
    FAULT_STEP("store.answers.due");
    let_go(s);
    for (size_t i = 0; i < p->n->begun_count; i++) {
        const struct wire_underway w = {.which = WIRE_UNDERWAY_THESE, .count = 1};
        send_underway(p->n->begun[i].owner, &w, span_of(&p->n->begun[i].seq, sizeof(uint64_t)));
    }
    for (struct job *j = p->n->jobs; j; j = j->next)
        finish_job(s, j);
    FAULT_STEP("store.answers.given");
    tell_news(s, p->n);
    news_free(&p->n);
    free(p);
}

/* On the writer's thread. */
static void on_batch(void *arg, struct news *n)
{
    struct server *s = arg;
    struct post *p = xmalloc(sizeof *p);
    *p = (struct post){s, n};
    loop_post(s->loop, on_news, p);
}

/* -- frames -- */

static const struct row {
    uint16_t type;
    unsigned roles;
    size_t least; /* bytes of the body behind wire_ask */
    bool session; /* needs a login */
    bool takes_fd;
    bool (*serve)(struct request *r); /* false: drop the connection */
} rows[] = {
    {WIRE_ACK, 31, sizeof(struct request_id), false, false, serve_lazy},
    {WIRE_PING, 31, sizeof(struct wire_ping), false, false, serve_ping},
    {WIRE_DELIVER, ROLE_DELIVER, sizeof(struct wire_deliver) + sizeof(struct wire_content), false, true,
     serve_write},
    {WIRE_CONFIRM, ROLE_DELIVER, sizeof(struct wire_confirm), false, false, serve_lazy},
    {WIRE_FULL_WATCH, ROLE_DELIVER, 0, false, false, serve_full_watch},
    {WIRE_LEASE, ROLE_RELAY, sizeof(struct wire_lease), false, false, serve_write},
    {WIRE_SLICE, ROLE_RELAY, sizeof(struct wire_slice), false, false, serve_write},
    {WIRE_DEFER, ROLE_RELAY, sizeof(struct wire_defer), false, false, serve_write},
    {WIRE_NOTICE, ROLE_RELAY, sizeof(struct wire_notice) + sizeof(struct wire_content), false, false,
     serve_write},
    {WIRE_QUEUE_WATCH, ROLE_RELAY, 0, false, false, serve_queue_watch},
    {WIRE_LOGIN, ROLE_SESSION, 1, false, false, serve_login},
    {WIRE_LOGOUT, ROLE_SESSION, 0, false, false, serve_logout},
    {WIRE_LIST, ROLE_SESSION, 0, true, false, serve_read},
    {WIRE_STATUS, ROLE_SESSION, sizeof(struct wire_status), true, false, serve_status},
    {WIRE_STATUS_ID, ROLE_SESSION, 0, true, false, serve_read},
    {WIRE_CREATE, ROLE_SESSION, sizeof(struct wire_create), true, false, serve_write},
    {WIRE_DELETE, ROLE_SESSION, 4, true, false, serve_write},
    {WIRE_RENAME, ROLE_SESSION, 8, true, false, serve_write},
    {WIRE_SUBSCRIBE, ROLE_SESSION, sizeof(struct wire_subscribe), true, false, serve_write},
    {WIRE_WATCH, ROLE_SESSION, sizeof(struct wire_watch), true, false, serve_watch},
    {WIRE_ROWS, ROLE_SESSION, sizeof(struct wire_rows), true, false, serve_read},
    {WIRE_CHANGES, ROLE_SESSION, sizeof(struct wire_changes), true, false, serve_read},
    {WIRE_META, ROLE_SESSION, 0, true, false, serve_read},
    {WIRE_READ, ROLE_SESSION, sizeof(struct wire_read), true, false, serve_read},
    {WIRE_FLAGS, ROLE_SESSION, sizeof(struct wire_flags), true, false, serve_write},
    {WIRE_COPY, ROLE_SESSION, sizeof(struct wire_copy), true, false, serve_write},
    {WIRE_EXPUNGE, ROLE_SESSION, sizeof(struct wire_expunge), true, false, serve_write},
    {WIRE_APPEND, ROLE_SESSION, sizeof(struct wire_append) + sizeof(struct wire_content), true, true,
     serve_write},
    {WIRE_ACCOUNTS, ROLE_ADMIN, sizeof(struct wire_accounts), false, false, serve_read},
    {WIRE_MAILBOXES, ROLE_ADMIN, sizeof(struct wire_account), false, false, serve_read},
    {WIRE_TRACE, ROLE_ADMIN, 4, false, false, serve_read},
    {WIRE_STATS, ROLE_ADMIN, 0, false, false, serve_read},
    {WIRE_PAST_NAMES, ROLE_ADMIN, sizeof(struct wire_past_names), false, false, serve_read},
    {WIRE_VIEW, ROLE_ADMIN, sizeof(struct wire_view), false, false, serve_read},
    {WIRE_RESTORE, ROLE_ADMIN, sizeof(struct wire_restore), false, false, serve_write},
    {WIRE_FOLDER, ROLE_ADMIN, sizeof(struct wire_folder) + 4, false, false, serve_write},
    {WIRE_QUOTA, ROLE_SESSION, 0, true, false, serve_read},
    {WIRE_UNIT_LIST, ROLE_ADMIN, 0, false, false, serve_read},
    {WIRE_UNITS, ROLE_DIRECTORY, sizeof(struct wire_units), false, false, serve_write},
    {WIRE_LIMITS, ROLE_DIRECTORY, sizeof(struct wire_limits), false, false, serve_write},
    {WIRE_CARE, ROLE_ADMIN, sizeof(struct wire_care), false, false, serve_read},
    {WIRE_VERIFY, ROLE_ADMIN, sizeof(struct wire_verify), false, false, serve_read},
    {WIRE_DESCRIBE, ROLE_ADMIN, sizeof(struct wire_describe) + 1, false, false, serve_write},
    {WIRE_HOLD, ROLE_ADMIN, sizeof(struct wire_hold), false, false, serve_write},
    {WIRE_BACKUP, ROLE_ADMIN, sizeof(struct wire_backup), false, true, serve_backup},
    {WIRE_QUEUE_HELD, ROLE_ADMIN, 0, false, false, serve_read},
    {WIRE_QUEUE_RELEASE, ROLE_ADMIN, 0, false, false, serve_write},
    {WIRE_REVOKE, ROLE_ADMIN | ROLE_DIRECTORY, sizeof(struct wire_revoke), false, false, serve_write},
};

static const struct row *row_of(uint16_t type)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].type == type)
            return &rows[i];
    return NULL;
}

static void refuse(struct request *r, const char *why)
{
    struct conn *c = r->conn;
    if (c->refused++ < REFUSALS_LOGGED)
        log_event(LOG_ALARM, NULL, "store.frame.refused", F_STR("why", why), F_UINT("type", r->type),
                  F_UINT("role", c->role), F_INT("peer_pid", ipc_peer_pid(c->ipc)),
                  F_UINT("peer_uid", ipc_peer_uid(c->ipc)));
    reply_code(c, r->type, r->seq, ERR_DENIED);
}

static bool serve(const struct row *row, struct request *r)
{
    if (!(row->roles & r->conn->role)) {
        refuse(r, "not of this role");
        return true;
    }
    if (r->body.n < row->least || (r->fd >= 0 && !row->takes_fd))
        return false;
    if (row->session) {
        r->session = session_find(r->conn, r->ask.session);
        if (!r->session || r->session->revoked) {
            refuse(r, r->session ? "the grant was revoked" : "no grant was shown");
            return true;
        }
    }
    return row->serve(r);
}

static bool on_frame(void *arg, struct ipc *ipc, const struct ipc_head *h, struct span body, int fd)
{
    struct request r = {.conn = ipc_arg(ipc), .type = h->type, .seq = h->seq, .fd = fd};
    const struct row *row = row_of(h->type);
    bool ok = false;
    (void)arg;
    if (row && body.n >= sizeof r.ask) {
        memcpy(&r.ask, body.p, sizeof r.ask);
        r.body = span_drop(body, sizeof r.ask);
        ok = serve(row, &r);
    }
    if (!ok)
        log_event(LOG_ALARM, NULL, "store.frame.malformed", F_UINT("type", h->type),
                  F_UINT("role", r.conn->role), F_INT("peer_pid", ipc_peer_pid(ipc)));
    if (r.fd >= 0)
        close(r.fd);
    return ok;
}

static void on_gone(void *arg, struct ipc *ipc)
{
    (void)arg;
    conn_gone(ipc_arg(ipc));
}

static const struct ipc_ops ops = {on_frame, on_gone};

static void on_accepted(void *arg, struct ipc *ipc)
{
    struct listener *l = arg;
    ipc_set_arg(ipc, conn_new(l->s, ipc, l->role));
}

/* A store of an older format may take minutes: people see where it is. */
static void on_upgrade(void *arg, const char *what, uint64_t records)
{
    enum { EVERY_MS = 2000 };
    struct server *s = arg;
    if (clock_mono_ms() - s->progress_ms < EVERY_MS)
        return;
    s->progress_ms = clock_mono_ms();
    log_event(LOG_INFO, NULL, "store.upgrade.going", F_STR("what", what), F_UINT("records", records));
    if (s->upgrade_only)
        dprintf(STDERR_FILENO, "stored: upgrading: %s, %llu records\n", what, (unsigned long long)records);
}

static bool meta_ok(struct span record)
{
    enum { LIMIT = 64 << 20 };
    struct mime_meta m;
    struct arena *a = arena_new(LIMIT);
    const enum err_code code = mime_meta_read(record, a, &m);
    arena_free(&a);
    return code == ERR_OK;
}

static enum err_code open_engine(struct server *s, struct err *why)
{
    const struct conf *c = daemon_conf(s->d);
    uint64_t largest =
        c->message_size_limit > c->imap_append_limit ? c->message_size_limit : c->imap_append_limit;
    const struct engine_options o = {.dir = c->mail_dir,
                                     .cache_size = c->store_cache_size,
                                     .segment_size = c->store_segment_size,
                                     .checkpoint_ms = c->store_checkpoint_interval,
                                     .checkpoint_size = c->store_checkpoint_size,
                                     .message_limit = largest + (1 << 20), /* and its trace fields */
                                     .log_size = c->store_log_size,
                                     .log_keep = c->store_log_keep,
                                     .undelete_us = (int64_t)c->undelete_window * 1000,
                                     .reserve = 32 << 20,
                                     .quota_grace = (unsigned)c->quota_grace,
                                     .quota_warning = (unsigned)c->quota_warning,
                                     .queue_retry_ms = c->queue_retry,
                                     .queue_lifetime_ms = c->queue_lifetime,
                                     .trace_us = (int64_t)c->trace_window * 1000,
                                     .meta_ok = meta_ok,
                                     .done = on_batch,
                                     .progress = on_upgrade,
                                     .arg = s};
    return engine_open(&o, &s->e, why);
}

static void open_or_leave(struct server *s)
{
    struct err why = {.code = ERR_OK};
    if (open_engine(s, &why) == ERR_OK)
        return;
    log_event(LOG_ALARM, NULL, "store.start.failed", F_STR("why", why.log));
    dprintf(STDERR_FILENO, "stored: %s\n", why.log);
    _exit(why.code == ERR_STATE    ? 75 /* EX_TEMPFAIL */
          : why.code == ERR_SYNTAX ? 78 /* EX_CONFIG: not a store that this release can open */
                                   : 70 /* EX_SOFTWARE */);
}

void server_upgrade(struct server *s)
{
    s->upgrade_only = true;
    open_or_leave(s);
    engine_close(&s->e);
    dprintf(STDERR_FILENO, "stored: the store in %s has this release's format\n",
            daemon_conf(s->d)->mail_dir);
    daemon_done(s->d);
}

void server_verify(struct server *s, const struct offline_options *o)
{
    s->upgrade_only = true;
    open_or_leave(s);
    const int status = offline_verify(s->e, o);
    engine_close(&s->e);
    _exit(status);
}

void server_start(struct server *s)
{
    uint64_t begin_ms = clock_mono_ms();
    open_or_leave(s);
    s->held_last = &s->held;
    readers_start(s);
    for (size_t i = 0; i < ROLES; i++) {
        struct listener *l = &s->listeners[i];
        l->server = ipc_serve(s->loop, l->fd, &l->uid, 1, &ops, on_accepted, l);
    }
    log_event(LOG_INFO, NULL, "store.opened", F_STR("dir", daemon_conf(s->d)->mail_dir),
              F_UINT("ms", clock_mono_ms() - begin_ms));
    daemon_ready(s->d);
}

static void close_all(void *arg)
{
    struct server *s = arg;
    while (s->conns) {
        struct conn *c = s->conns;
        ipc_close(c->ipc);
        conn_gone(c);
    }
    daemon_done(s->d);
}

void server_stop(struct server *s)
{
    for (size_t i = 0; i < ROLES; i++)
        ipc_server_free(&s->listeners[i].server);
    for (struct conn *c = s->conns; c; c = c->next)
        ipc_reading(c->ipc, false);
    if (s->e) {
        backup_stop(s);
        readers_stop(s);
        submit_now(s);
        engine_close(&s->e);
    }
    loop_post(s->loop, close_all, s); /* behind the last batches' news */
}
