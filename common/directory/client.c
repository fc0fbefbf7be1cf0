/* The asynchronous client of directoryd. Lookups are kept until they are answered and asked again on a new
 * connection; an exchange of a login lives and dies with its connection, since its state lies in directoryd.
 * The hard point is when a failure may be told: never inside the asking call, so it is put off to the loop.
 * While directoryd is away, or hangs, a question waits for the client's patience at most; pings tell a
 * directoryd that hangs from one that works long (a bind, a synchronisation). */
#include "common/directory/directory.h"
#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/directory/known.h"
#include "common/directory/wire.h"
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

enum { TICK_MS = 250, PINGS = 4 /* in a patience */, ARENA_LIMIT = 64 << 20, MECHS = 1024 };

struct question;
/* An answer, or a failure (body none). True: more answers follow. broken: the body was not of its grammar. */
typedef bool answer_fn(struct question *q, enum err_code code, struct span body, bool *broken);

struct question {
    struct directory *d;
    uint64_t seq;
    uint16_t type;
    bool sent, failed;
    enum err_code failure;
    struct buf body;
    int fd; /* rides on the question; such a one is asked once */
    struct ticket *ticket;
    answer_fn *answer;
    void (*cb)(void);
    struct dir_auth *auth;
    uint64_t asked_ms;
    uint64_t number; /* of known.h, when it was sent */
    UT_hash_handle hh;
    struct question *prev, *next;
};
struct dir_auth {
    struct directory *d;
    uint32_t id;
    bool begun; /* directoryd holds it */
    bool lost;  /* its connection fell between two steps */
    struct question *q;
    struct ticket *ticket;
    directory_auth_cb *cb;
    struct dir_auth *prev, *next;
};
struct directory {
    struct loop *loop;
    struct ipc_client *client;
    char *path;
    bool connected, up; /* up: the mechanisms are known too */
    bool deferred, telling, closed;
    uint64_t patience_ms, next_seq;
    uint64_t life_ms; /* the connection fell, came, or its last frame */
    uint64_t ping_ms, tick_ms;
    uint32_t next_auth;
    struct question *by_seq, *list;
    struct dir_auth *auths;
    char secure[MECHS], plain[MECHS], bound[MECHS];
    struct loop_timer *tick;
    struct arena *arena;
    struct known *known;
};

#define CB(cb) ((void (*)(void))(cb))

/* -- questions -- */

static void on_deferred(void *arg);

static void defer(struct directory *d)
{
    if (d->deferred)
        return;
    d->deferred = true;
    loop_defer(d->loop, on_deferred, d);
}

static void release(struct directory *d)
{
    if (d->deferred || d->telling)
        return;
    arena_free(&d->arena);
    known_free(&d->known);
    free(d);
}

static void question_free(struct question *q)
{
    HASH_DEL(q->d->by_seq, q);
    DL_DELETE(q->d->list, q);
    if (q->auth)
        q->auth->q = NULL;
    if (q->fd >= 0)
        close(q->fd);
    ticket_drop(&q->ticket);
    buf_wipe(&q->body);
    free(q);
}

static struct question *question_new(struct directory *d, uint16_t type, struct ticket *t, answer_fn *answer,
                                     void (*cb)(void))
{
    struct question *q = xcalloc(1, sizeof *q);
    q->d = d;
    q->seq = ++d->next_seq;
    q->type = type;
    q->fd = -1;
    q->ticket = ticket_hold(t);
    q->answer = answer;
    q->cb = cb;
    q->asked_ms = clock_mono_ms();
    buf_init(&q->body, DIRW_QUESTION_LIMIT);
    HASH_ADD(hh, d->by_seq, seq, sizeof q->seq, q);
    DL_APPEND(d->list, q);
    return q;
}

static void fail(struct question *q, enum err_code code)
{
    q->failed = true;
    q->failure = code;
    defer(q->d);
}

static void send_question(struct question *q)
{
    const struct span body = buf_span(&q->body);
    int fd = q->fd;
    q->fd = -1;
    q->sent = true;
    q->number = known_number(q->d->known);
    if (q->auth)
        q->auth->begun = true;
    (void)ipc_client_send(q->d->client, q->type, q->seq, &body, 1, fd); /* failing, `down` is told */
}

static void ask(struct question *q, bool fits)
{
    if (!fits)
        fail(q, ERR_LIMIT);
    else if (q->d->connected)
        send_question(q);
}

/* Tell one answer. The callback may ask again, and may free the directory. */
static void tell(struct question *q, enum err_code code, struct span body)
{
    struct directory *d = q->d;
    bool broken = false;
    d->telling = true;
    bool more = q->answer(q, code, body, &broken);
    if (broken) {
        log_event(LOG_ALARM, NULL, "directory.answer.broken", F_UINT("type", q->type));
        (void)q->answer(q, ERR_BUG, SPAN_NONE, &broken);
    }
    d->telling = false;
    if (d->closed) {
        release(d); /* the questions went with it */
        return;
    }
    if (!more || broken)
        question_free(q);
    arena_reset(d->arena);
}

static void on_deferred(void *arg)
{
    struct directory *d = arg;
    struct question *q, *failed = NULL;
    d->deferred = false;
    if (d->closed) {
        release(d);
        return;
    }
    DL_FOREACH(d->list, q)
    {
        if (q->failed) {
            failed = q;
            break;
        }
    }
    if (!failed)
        return;
    defer(d); /* one at a time: its callback may change the list, or free the directory */
    tell(failed, failed->failure, SPAN_NONE);
}

/* -- the connection -- */

static void on_up(void *arg)
{
    struct directory *d = arg;
    struct question *q, *next;
    d->connected = true;
    d->life_ms = clock_mono_ms();
    DL_FOREACH_SAFE(d->list, q, next)
    {
        if (q->failed)
            continue;
        if (!ticket_session(q->ticket) && !q->auth)
            question_free(q); /* nobody waits for it any more */
        else
            send_question(q);
    }
}

static void on_down(void *arg)
{
    struct directory *d = arg;
    struct question *q;
    struct dir_auth *a;
    d->connected = d->up = false;
    d->secure[0] = d->plain[0] = d->bound[0] = '\0';
    d->life_ms = clock_mono_ms();
    known_forget(d->known);
    DL_FOREACH(d->auths, a)
    a->lost = a->lost || a->begun;
    DL_FOREACH(d->list, q)
    {
        bool once = q->auth || q->type == DIRW_IMPORT || q->type == DIRW_SYNC || q->type == DIRW_ACCOUNTS;
        if (q->sent && once && !q->failed)
            fail(q, ERR_RETRY);
    }
}

static void tell_cancel(struct dir_auth *a)
{
    struct buf b;
    buf_init(&b, 16);
    if (a->begun && !a->lost && a->d->connected && buf_add_u32(&b, a->id)) {
        const struct span body = buf_span(&b);
        (void)ipc_client_send(a->d->client, DIRW_AUTH_CANCEL, ++a->d->next_seq, &body, 1, -1);
    }
    buf_free(&b);
}

static void on_tick(void *arg)
{
    struct directory *d = arg;
    struct question *q;
    uint64_t now = clock_mono_ms();
    bool ping = false;
    if (now - d->tick_ms > d->patience_ms / 2) /* it was we who stood still: what was said meanwhile waits */
        d->life_ms = now;
    d->tick_ms = now;
    DL_FOREACH(d->list, q)
    {
        uint64_t waited_ms = now - (q->asked_ms > d->life_ms ? q->asked_ms : d->life_ms);
        if (waited_ms < d->patience_ms / PINGS)
            break; /* so have those behind it */
        ping = true;
        if (q->failed || waited_ms < d->patience_ms)
            continue;
        if (q->auth)
            tell_cancel(q->auth); /* it may still come to it */
        fail(q, ERR_RETRY);
    }
    if (ping && d->connected && now - d->ping_ms >= d->patience_ms / PINGS) {
        d->ping_ms = now;
        (void)ipc_client_send(d->client, DIRW_PING, ++d->next_seq, NULL, 0, -1); /* failing, `down` is told */
    }
    loop_timer_start(d->tick, TICK_MS);
}

static bool take_mechs(struct directory *d, struct span body)
{
    struct reader r = reader_of(body);
    struct span secure = dirw_text(&r), plain = dirw_text(&r), bound = dirw_text(&r);
    if (!dirw_whole(&r) || secure.n >= MECHS || plain.n >= MECHS || bound.n >= MECHS)
        return false;
    memset(d->secure, 0, MECHS);
    memset(d->plain, 0, MECHS);
    memset(d->bound, 0, MECHS);
    if (secure.n)
        memcpy(d->secure, secure.p, secure.n);
    if (plain.n)
        memcpy(d->plain, plain.p, plain.n);
    if (bound.n)
        memcpy(d->bound, bound.p, bound.n);
    d->up = true;
    return true;
}

static bool on_frame(void *arg, const struct ipc_head *h, struct span body, int fd)
{
    struct directory *d = arg;
    struct question *q = NULL;
    d->life_ms = clock_mono_ms();
    if (fd >= 0 && h->type == DIRW_PAGE)
        return known_page(d->known, fd);
    if (fd >= 0) {
        close(fd);
        return false;
    }
    if (h->type == DIRW_MECHS)
        return take_mechs(d, body);
    if (!(h->type & IPC_ANSWER) || h->status > ERR_BUG)
        return false;
    HASH_FIND(hh, d->by_seq, &h->seq, sizeof h->seq, q);
    if (!q || q->failed)
        return true; /* its question was given up */
    if ((h->type & ~IPC_ANSWER) != q->type)
        return false;
    tell(q, (enum err_code)h->status, body);
    return true;
}

static void open_path(void *arg, struct ipc_client *c)
{
    struct directory *d = arg;
    struct err why;
    int fd = -1;
    if (ipc_connect(d->path, &fd, &why) != ERR_OK)
        fd = -1; /* tried again with back-off */
    ipc_client_opened(c, fd);
}

static const struct ipc_client_ops ops = {open_path, on_up, on_down, on_frame};

/* -- life -- */

static struct directory *directory_new(struct loop *l)
{
    struct directory *d = xcalloc(1, sizeof *d);
    d->loop = l;
    d->patience_ms = DIR_PATIENCE_MS;
    d->life_ms = d->tick_ms = clock_mono_ms();
    d->arena = arena_new(ARENA_LIMIT);
    d->known = known_new();
    d->tick = loop_timer_new(l, on_tick, d);
    loop_timer_start(d->tick, TICK_MS);
    return d;
}

struct directory *directory_new_worker(struct worker *w)
{
    struct directory *d = directory_new(worker_loop(w));
    d->patience_ms = worker_conf(w)->directory_patience;
    d->client = worker_client(w, "directory", &ops, d);
    return d;
}

struct directory *directory_new_path(struct loop *l, const char *path)
{
    struct directory *d = directory_new(l);
    d->path = xstrdup(path);
    d->client = ipc_client_new(l, &ops, d);
    return d;
}

bool directory_is_up(const struct directory *d)
{
    return d->up;
}

static void auth_free(struct dir_auth *a)
{
    if (a->q)
        question_free(a->q);
    DL_DELETE(a->d->auths, a);
    ticket_drop(&a->ticket);
    free(a);
}

void directory_free(struct directory **dp)
{
    struct directory *d = *dp;
    *dp = NULL;
    if (!d)
        return;
    while (d->auths)
        auth_free(d->auths);
    while (d->list)
        question_free(d->list);
    ipc_client_free(&d->client);
    loop_timer_free(&d->tick);
    free(d->path);
    d->path = NULL;
    d->closed = true;
    release(d);
}

/* -- entries -- */

static struct dir_entry take_entry(struct reader *r)
{
    struct dir_entry e = {.kind = (enum dir_kind)read_u8(r)};
    unsigned flags = read_u8(r);
    e.disabled = flags & DIRW_DISABLED;
    e.no_login = flags & DIRW_NO_LOGIN;
    e.may_post = flags & DIRW_MAY_POST;
    e.id = dirw_id(r);
    e.unit = dirw_id(r);
    e.quota_bytes = read_u64(r);
    e.member_count = read_u32(r);
    e.address = dirw_text(r);
    e.name = dirw_text(r);
    e.forward = dirw_text(r);
    if (e.kind > DIR_REMOTE)
        r->bad = true;
    return e;
}

static void keep_known(const struct question *q, const struct dir_entry *e)
{
    struct reader asked = reader_of(buf_span(&q->body));
    (void)dirw_id(&asked); /* the sender */
    known_keep(q->d->known, q->number, dirw_text(&asked), e);
}

static bool on_entry(struct question *q, enum err_code code, struct span body, bool *broken)
{
    struct reader r = reader_of(body);
    struct dir_entry e = {.kind = DIR_ACCOUNT};
    void *session = ticket_session(q->ticket);
    if (code == ERR_OK) {
        e = take_entry(&r);
        *broken = !dirw_whole(&r);
    }
    if (!*broken && code == ERR_OK && q->type == DIRW_LOOKUP)
        keep_known(q, &e);
    if (!*broken && session)
        ((directory_entry_cb *)q->cb)(session, code, code == ERR_OK ? &e : NULL);
    return false;
}

bool directory_known(const struct directory *d, struct span address, struct dir_entry *out)
{
    return known_find(d->known, address, out);
}

void directory_lookup(struct directory *d, struct span address, const struct uuid *sender, struct ticket *t,
                      directory_entry_cb *cb)
{
    static const struct uuid none;
    struct question *q = question_new(d, DIRW_LOOKUP, t, on_entry, CB(cb));
    ask(q, dirw_put_id(&q->body, sender ? sender : &none) && dirw_put_text(&q->body, address));
}

void directory_account(struct directory *d, const struct uuid *id, struct ticket *t, directory_entry_cb *cb)
{
    struct question *q = question_new(d, DIRW_ACCOUNT, t, on_entry, CB(cb));
    ask(q, dirw_put_id(&q->body, id));
}

static bool on_members(struct question *q, enum err_code code, struct span body, bool *broken)
{
    struct reader r = reader_of(body);
    void *session = ticket_session(q->ticket);
    struct dir_member *v = NULL;
    uint32_t count = 0;
    bool more = false;
    if (code == ERR_OK) {
        more = read_u8(&r);
        count = read_u32(&r);
        if (count <= r.s.n / 28)
            v = arena_array(q->d->arena, (size_t)count + 1, sizeof *v);
        for (uint32_t i = 0; v && i < count; i++) {
            v[i].id = dirw_id(&r);
            v[i].quota_bytes = read_u64(&r);
            v[i].address = dirw_text(&r);
        }
        *broken = !v || !dirw_whole(&r);
    }
    if (!*broken && session)
        ((directory_members_cb *)q->cb)(session, code, v, v ? count : 0, more);
    return false;
}

void directory_members(struct directory *d, const struct uuid *ids, size_t id_count, const struct uuid *after,
                       size_t max, struct ticket *t, directory_members_cb *cb)
{
    static const struct uuid none;
    struct question *q = question_new(d, DIRW_MEMBERS, t, on_members, CB(cb));
    bool fits = id_count <= UINT16_MAX && dirw_put_id(&q->body, after ? after : &none) &&
                buf_add_u32(&q->body, max > UINT32_MAX ? UINT32_MAX : (uint32_t)max) &&
                buf_add_u16(&q->body, (uint16_t)id_count);
    for (size_t i = 0; fits && i < id_count; i++)
        fits = dirw_put_id(&q->body, &ids[i]);
    ask(q, fits);
}

static bool on_code(struct question *q, enum err_code code, struct span body, bool *broken)
{
    void *session = ticket_session(q->ticket);
    *broken = body.n != 0;
    if (!*broken && session)
        ((directory_code_cb *)q->cb)(session, code);
    return false;
}

void directory_may_send(struct directory *d, const struct uuid *account, struct span address,
                        struct ticket *t, directory_code_cb *cb)
{
    struct question *q = question_new(d, DIRW_MAY_SEND, t, on_code, CB(cb));
    ask(q, dirw_put_id(&q->body, account) && dirw_put_text(&q->body, address));
}

/* -- logins -- */

const char *directory_mechs(struct directory *d, bool secure, bool bound)
{
    return !secure ? d->plain : bound ? d->bound : d->secure;
}

static bool on_auth(struct question *q, enum err_code code, struct span body, bool *broken)
{
    struct dir_auth *a = q->auth;
    struct reader r = reader_of(body);
    struct dir_login login = {.address = SPAN_NONE};
    struct span challenge = SPAN_NONE;
    if (code == ERR_OK || code == ERR_STATE) {
        bool has = read_u8(&r);
        challenge = dirw_text(&r);
        challenge = !has ? SPAN_NONE : challenge.p ? challenge : SPAN("");
    }
    if (code == ERR_OK) {
        login.account = dirw_id(&r);
        login.address = dirw_text(&r);
        login.name = dirw_text(&r);
        login.grant = dirw_text(&r);
    }
    *broken = !dirw_whole(&r);
    if (*broken)
        return false;
    void *session = ticket_session(a->ticket);
    directory_auth_cb *cb = a->cb;
    q->auth = NULL; /* the callback may go on at once, or cancel */
    a->q = NULL;
    if (code != ERR_STATE)
        auth_free(a);
    if (session)
        cb(session, code, challenge, code == ERR_OK ? &login : NULL);
    return false;
}

struct dir_auth *directory_auth(struct directory *d, struct span mech, const struct dir_facts *facts,
                                struct span initial, struct ticket *t, directory_auth_cb *cb)
{
    struct dir_auth *a = xcalloc(1, sizeof *a);
    struct question *q = question_new(d, DIRW_AUTH, t, on_auth, NULL);
    a->d = d;
    a->id = ++d->next_auth;
    a->ticket = ticket_hold(t);
    a->cb = cb;
    a->q = q;
    q->auth = a;
    DL_APPEND(d->auths, a);
    struct buf *b = &q->body;
    bool fits = initial.n <= DIRW_BLOB && buf_add_u32(b, a->id) && buf_add_u8(b, facts->secure) &&
                buf_add_u8(b, initial.p != NULL) && dirw_put_text(b, mech) &&
                dirw_put_text(b, span_str(facts->service)) && dirw_put_text(b, span_str(facts->peer)) &&
                dirw_put_text(b, span_str(facts->tls_version)) && dirw_put_text(b, facts->channel_binding) &&
                dirw_put_text(b, initial);
    ask(q, fits);
    return a;
}

void directory_auth_step(struct dir_auth *a, struct span response)
{
    struct question *q = question_new(a->d, DIRW_AUTH_STEP, a->ticket, on_auth, NULL);
    assert(!a->q);
    a->q = q;
    q->auth = a;
    bool fits = response.n <= DIRW_BLOB && buf_add_u32(&q->body, a->id) && dirw_put_text(&q->body, response);
    if (a->lost)
        fail(q, ERR_RETRY);
    else
        ask(q, fits);
}

void directory_auth_cancel(struct dir_auth **ap)
{
    struct dir_auth *a = *ap;
    *ap = NULL;
    if (!a)
        return;
    tell_cancel(a);
    auth_free(a);
}

/* -- administration -- */

static bool on_accounts(struct question *q, enum err_code code, struct span body, bool *broken)
{
    struct reader r = reader_of(body);
    void *session = ticket_session(q->ticket);
    struct dir_entry *v = NULL;
    uint32_t count = 0;
    bool more = false;
    if (code == ERR_OK) {
        more = read_u8(&r);
        count = read_u32(&r);
        if (count <= r.s.n / 58)
            v = arena_array(q->d->arena, (size_t)count + 1, sizeof *v);
        for (uint32_t i = 0; v && i < count; i++)
            v[i] = take_entry(&r);
        *broken = !v || !dirw_whole(&r);
    }
    if (!*broken && session)
        ((directory_entries_cb *)q->cb)(session, code, v, v ? count : 0, more);
    return more;
}

void directory_admin_accounts(struct directory *d, struct span filter, struct ticket *t,
                              directory_entries_cb *cb)
{
    struct question *q = question_new(d, DIRW_ACCOUNTS, t, on_accounts, CB(cb));
    ask(q, dirw_put_text(&q->body, filter));
}

static bool on_text(struct question *q, enum err_code code, struct span body, bool *broken)
{
    void *session = ticket_session(q->ticket);
    (void)broken;
    if (session)
        ((directory_text_cb *)q->cb)(session, code, body);
    return false;
}

void directory_admin_show(struct directory *d, struct span address, struct ticket *t, directory_text_cb *cb)
{
    struct question *q = question_new(d, DIRW_SHOW, t, on_text, CB(cb));
    ask(q, dirw_put_text(&q->body, address));
}

void directory_admin_sync(struct directory *d, bool force, struct ticket *t, directory_text_cb *cb)
{
    struct question *q = question_new(d, DIRW_SYNC, t, on_text, CB(cb));
    ask(q, buf_add_u8(&q->body, force));
}

void directory_admin_import(struct directory *d, int fd, bool force, struct ticket *t, directory_text_cb *cb)
{
    struct question *q = question_new(d, DIRW_IMPORT, t, on_text, CB(cb));
    q->fd = fd;
    ask(q, buf_add_u8(&q->body, force));
}

void directory_admin_backup(struct directory *d, int fd, struct ticket *t, directory_text_cb *cb)
{
    struct question *q = question_new(d, DIRW_BACKUP, t, on_text, CB(cb));
    q->fd = fd;
    ask(q, true);
}

void directory_admin_status(struct directory *d, struct ticket *t, directory_text_cb *cb)
{
    struct question *q = question_new(d, DIRW_STATUS, t, on_text, CB(cb));
    ask(q, true);
}

void directory_admin_grant(struct directory *d, const struct uuid *account, const char *protocol,
                           bool over_quota, struct ticket *t, directory_text_cb *cb)
{
    struct question *q = question_new(d, DIRW_GRANT, t, on_text, CB(cb));
    ask(q, dirw_put_id(&q->body, account) && buf_add_u8(&q->body, over_quota) &&
               dirw_put_text(&q->body, span_str(protocol)));
}
