/* Connections of directoryd: each frame is looked up in the table of types, which says who may send it and
 * who serves it; nothing of it is believed before. The hard point is change: a view is replaced as a whole
 * when a reading has changed something, while logins may still hold a person of the old one, so an old view
 * lives on for a while. */
#include "common/directory/server.h"
#include "common/base/clock.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { REFUSALS_LOGGED = 10, OLD_VIEW_MS = 60000, HOUR_MS = 3600 * 1000 };

/* -- life of a connection -- */

void conn_hold(struct conn *c)
{
    c->refs++;
}

void conn_release(struct conn *c)
{
    if (--c->refs == 0)
        free(c);
}

static void conn_gone(struct conn *c)
{
    c->ipc = NULL;
    exchanges_free(c);
    if (c->prev)
        c->prev->next = c->next;
    else
        c->s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    conn_release(c);
}

void reply(struct conn *c, uint16_t type, uint64_t seq, enum err_code code, struct span body)
{
    if (c->ipc) /* a connection that falls here tells gone */
        (void)ipc_send(c->ipc, (uint16_t)(type | IPC_ANSWER), (uint8_t)code, seq, &body, 1, -1);
}

/* -- frames -- */

static bool serve_ping(struct request *r)
{
    reply(r->conn, r->type, r->seq, ERR_OK, SPAN_NONE);
    return true;
}

static const struct row {
    uint16_t type;
    unsigned roles;
    bool takes_fd;
    serve_fn *serve;
} rows[] = {
    {DIRW_PING, ROLE_SMTP | ROLE_IMAP | ROLE_USER | ROLE_ADMIN, false, serve_ping},
    {DIRW_LOOKUP, ROLE_SMTP | ROLE_ADMIN, false, serve_lookup},
    {DIRW_ACCOUNT, ROLE_SMTP | ROLE_ADMIN, false, serve_account},
    {DIRW_MEMBERS, ROLE_SMTP | ROLE_ADMIN, false, serve_members},
    {DIRW_MAY_SEND, ROLE_SMTP, false, serve_may_send},
    {DIRW_AUTH, ROLE_SMTP | ROLE_IMAP, false, serve_auth},
    {DIRW_AUTH_STEP, ROLE_SMTP | ROLE_IMAP, false, serve_auth_step},
    {DIRW_AUTH_CANCEL, ROLE_SMTP | ROLE_IMAP, false, serve_auth_cancel},
    {DIRW_USER_LOGIN, ROLE_USER, false, serve_user_login},
    {DIRW_USER_RESUME, ROLE_USER, false, serve_user_resume},
    {DIRW_USER_LOGOUT, ROLE_USER, false, serve_user_logout},
    {DIRW_USER_SEARCH, ROLE_USER, false, serve_user_search},
    {DIRW_ACCOUNTS, ROLE_ADMIN, false, serve_accounts},
    {DIRW_SHOW, ROLE_ADMIN, false, serve_show},
    {DIRW_SYNC, ROLE_ADMIN, false, serve_sync},
    {DIRW_IMPORT, ROLE_ADMIN, true, serve_import},
    {DIRW_BACKUP, ROLE_ADMIN, true, serve_backup},
    {DIRW_STATUS, ROLE_ADMIN, false, serve_status},
    {DIRW_GRANT, ROLE_ADMIN, false, serve_grant},
};

static const struct row *row_of(uint16_t type)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].type == type)
            return &rows[i];
    return NULL;
}

static void refuse(struct request *r)
{
    struct conn *c = r->conn;
    if (c->refused++ < REFUSALS_LOGGED)
        log_event(LOG_ALARM, NULL, "directory.frame.refused", F_UINT("type", r->type),
                  F_UINT("role", c->role), F_INT("peer_pid", ipc_peer_pid(c->ipc)),
                  F_UINT("peer_uid", ipc_peer_uid(c->ipc)));
    reply(c, r->type, r->seq, ERR_DENIED, SPAN_NONE);
}

static bool on_frame(void *arg, struct ipc *ipc, const struct ipc_head *h, struct span body, int fd)
{
    struct conn *c = ipc_arg(ipc);
    struct request r = {.conn = c, .type = h->type, .seq = h->seq, .in = reader_of(body), .fd = fd};
    const struct row *row = row_of(h->type);
    bool ok = row && body.n <= DIRW_QUESTION_LIMIT && (fd < 0 || row->takes_fd);
    (void)arg;
    if (ok && !(row->roles & c->role))
        refuse(&r);
    else if (ok)
        ok = row->serve(&r);
    if (!ok)
        log_event(LOG_ALARM, NULL, "directory.frame.malformed", F_UINT("type", h->type),
                  F_UINT("role", c->role), F_INT("peer_pid", ipc_peer_pid(ipc)));
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

static void tell_page(struct conn *c)
{
    int fd = fcntl(c->s->page_fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0) /* without it the worker asks each time */
        (void)ipc_send(c->ipc, DIRW_PAGE, 0, 0, NULL, 0, fd);
}

static void on_accepted(void *arg, struct ipc *ipc)
{
    struct listener *l = arg;
    struct conn *c = xcalloc(1, sizeof *c);
    *c = (struct conn){.s = l->s, .ipc = ipc, .role = l->role, .refs = 1, .next = l->s->conns};
    if (c->next)
        c->next->prev = c;
    l->s->conns = c;
    ipc_set_arg(ipc, c);
    if (l->s->page && c->role == ROLE_SMTP)
        tell_page(c);
    server_tell_mechs(l->s, c);
}

void server_tell_mechs(struct server *s, struct conn *only)
{
    struct buf b;
    buf_init(&b, 2048);
    bool ok = dirw_put_text(&b, span_str(logins_mechs(s->logins, true, false))) &&
              dirw_put_text(&b, span_str(logins_mechs(s->logins, false, false))) &&
              dirw_put_text(&b, span_str(logins_mechs(s->logins, true, true)));
    const struct span body = buf_span(&b);
    for (struct conn *c = only ? only : s->conns; ok && c; c = only ? NULL : c->next)
        if (c->ipc && c->role & (ROLE_SMTP | ROLE_IMAP))
            (void)ipc_send(c->ipc, DIRW_MECHS, 0, 0, &body, 1, -1); /* falling, it asks again */
    buf_free(&b);
}

/* -- views -- */

struct old_view {
    struct view *v;
    struct loop_timer *timer;
};

static void on_old(void *arg)
{
    struct old_view *o = arg;
    view_free(&o->v);
    loop_timer_free(&o->timer);
    free(o);
}

void server_take_view(struct server *s, struct view *v)
{
    if (s->view) {
        struct old_view *o = xcalloc(1, sizeof *o);
        o->v = s->view;
        o->timer = loop_timer_new(s->loop, on_old, o);
        loop_timer_start(o->timer, OLD_VIEW_MS);
    }
    s->view = v;
    answers_changed(s->page);
    if (logins_census(s->logins, &v->census))
        server_tell_mechs(s, NULL);
    if (v->claims)
        log_event(LOG_WARN, NULL, "directory.address.claimed", F_UINT("claims", v->claims));
    log_event(LOG_INFO, NULL, "directory.view.built", F_UINT("accounts", v->accounts),
              F_UINT("groups", v->groups), F_UINT("units", v->units));
    limits_changed(s);
}

void server_changed(struct server *s, const struct copy_account *v, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        logins_forget(s->logins, &v[i].id);
        if (v[i].revoked) {
            copy_token_purge(s->copy, &v[i].id, 0);
            copy_verifier_drop(s->copy, &v[i].id); /* a login may have kept one since the reading */
        }
    }
    if (count)
        outbox_kick(s);
}

bool server_knows(const struct server *s)
{
    int64_t age_us = clock_wall_us() - s->contact_us;
    return s->view && s->contact_us && age_us / 1000 <= (int64_t)daemon_conf(s->d)->directory_max_age;
}

/* -- start and stop -- */

static void on_hour(void *arg)
{
    struct server *s = arg;
    copy_token_purge(s->copy, NULL, clock_wall_s());
    loop_timer_start(s->hourly, HOUR_MS);
}

static void fail(struct server *s, const struct err *why)
{
    (void)s;
    log_event(LOG_ALARM, NULL, "directory.start.failed", F_STR("why", why->log));
    if (log_fd() != STDERR_FILENO)
        dprintf(STDERR_FILENO, "directoryd: %s\n", why->log);
    _exit(74); /* EX_IOERR */
}

static void ready(void *arg, enum err_code code, struct span text)
{
    struct server *s = arg;
    (void)text; /* refresh.c has logged it */
    if (code != ERR_OK && !s->view)
        log_event(LOG_ALARM, NULL, "directory.copy.missing", F_STR("why", err_name(code)));
    daemon_ready(s->d);
}

void server_start(struct server *s)
{
    struct err why = {.code = ERR_OK};
    struct view *v = NULL;
    if (copy_open(daemon_conf(s->d)->directory_dir, &s->copy, &why) != ERR_OK)
        fail(s, &why);
    s->contact_us = copy_contact_us(s->copy);
    if (s->contact_us) {
        if (view_new(s->copy, &v, &why) != ERR_OK)
            fail(s, &why);
        server_take_view(s, v);
        daemon_ready(s->d);
    }
    for (size_t i = 0; i < ROLES; i++) {
        struct listener *l = &s->listeners[i];
        l->server = ipc_serve(s->loop, l->fd, &l->uid, 1, &ops, on_accepted, l);
    }
    s->hourly = loop_timer_new(s->loop, on_hour, s);
    loop_timer_start(s->hourly, 1000);
    outbox_new(s);
    limits_new(s);
    refresh_new(s);
    refresh_now(s, false, ready, s);
}

void server_stop(struct server *s)
{
    for (size_t i = 0; i < ROLES; i++)
        ipc_server_free(&s->listeners[i].server);
    outbox_free(s);
    limits_free(s);
    backup_stop(s);
    bool idle = refresh_stop(s) && !logins_busy(s->logins);
    if (idle) /* else recovery at the next start settles it */
        copy_close(&s->copy);
    daemon_done(s->d);
}
