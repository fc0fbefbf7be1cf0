/* Session workers: a connection, its core, its deadlines and limits. The hard problems are slow peers and
 * late confirmations. A deadline is renewed by progress, not by bytes: a command completed, or a block of the
 * message; and a message as a whole has its time. The store is told that a 250 was written only when the
 * kernel has taken it, so that a client which lost it may repeat its message without a second copy. */
#include "smtpd/session.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "smtpd/core.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

enum {
    DATA_BLOCK = 64 << 10,        /* progress that renews the deadline of a message */
    MESSAGE_MS = 2 * 3600 * 1000, /* one message may take so long */
    SESSION_MS = 24 * 3600 * 1000,
    GREET_PATIENCE_MS = 3000,
    GREET_RETRY_MS = 20
};

/* Sessions from one address. */
struct peer_count {
    char address[48];
    unsigned n;
    UT_hash_handle hh;
};

struct sessions {
    struct worker *w;
    const struct conf *conf;
    struct directory *directory;
    struct store *store;
    struct backend backend;
    struct session *first;
    unsigned count;
    struct peer_count *peers;
    bool stopping;
};

struct session {
    struct sessions *all;
    struct session *next, **link;
    struct conn *conn;
    struct smtp_core *core;
    struct ticket *ticket;
    struct peer_count *peer;
    char address[48];
    /* progress */
    enum smtp_wait waits;
    uint64_t progress;
    uint64_t message_due, session_due;
    /* the greeting: held while a helper is coming back */
    bool greeted;
    uint64_t started_ms;
    struct loop_timer *greet_timer;
    /* a 250 that is on its way */
    bool unconfirmed;
    struct buf receipt;
    uint64_t mark;
};

/* -- backend: directory and store -- */

static bool b_is_up(void *arg)
{
    struct sessions *a = arg;
    return directory_is_up(a->directory) && store_is_up(a->store);
}

static void b_lookup(void *arg, struct span address, const struct uuid *sender, struct ticket *t,
                     directory_entry_cb *cb)
{
    struct sessions *a = arg;
    directory_lookup(a->directory, address, sender, t, cb);
}

static bool b_known(void *arg, struct span address, struct dir_entry *out)
{
    struct sessions *a = arg;
    return directory_known(a->directory, address, out);
}

static void b_members(void *arg, const struct uuid *ids, size_t n, const struct uuid *after, size_t max,
                      struct ticket *t, directory_members_cb *cb)
{
    struct sessions *a = arg;
    directory_members(a->directory, ids, n, after, max, t, cb);
}

static void b_may_send(void *arg, const struct uuid *account, struct span address, struct ticket *t,
                       directory_code_cb *cb)
{
    struct sessions *a = arg;
    directory_may_send(a->directory, account, address, t, cb);
}

static bool b_is_full(void *arg, const struct uuid *account)
{
    struct sessions *a = arg;
    return store_is_full(a->store, account);
}

static const char *b_mechs(void *arg, bool secure, bool bound)
{
    struct sessions *a = arg;
    return directory_mechs(a->directory, secure, bound);
}

static struct dir_auth *b_auth(void *arg, struct span mech, const struct dir_facts *facts,
                               struct span initial, struct ticket *t, directory_auth_cb *cb)
{
    struct sessions *a = arg;
    return directory_auth(a->directory, mech, facts, initial, t, cb);
}

static void b_policy(void *arg, const struct policy_question *q, struct ticket *t, policy_cb *cb)
{
    (void)arg;
    policy_ask(q, t, cb);
}

static void b_deliver(void *arg, const struct store_delivery *d, struct ticket *t, store_delivered_cb *cb)
{
    struct sessions *a = arg;
    store_deliver(a->store, d, t, cb);
}

/* -- one session -- */

/* Tell the store of a 250 that has been written. */
static void settle(struct session *s)
{
    if (!s->unconfirmed || conn_bytes_out(s->conn) < s->mark)
        return;
    s->unconfirmed = false;
    store_delivered_confirm(s->all->store, buf_span(&s->receipt));
}

static void settle_later(void *arg)
{
    struct ticket *t = arg;
    struct session *s = ticket_session(t);
    if (s)
        settle(s);
    ticket_drop(&t);
}

static void watch_confirmation(struct session *s, const struct buf *out)
{
    struct span receipt;
    if (!smtp_core_accepted(s->core, &receipt))
        return;
    buf_reset(&s->receipt);
    if (!buf_add_span(&s->receipt, receipt))
        return;
    s->unconfirmed = true;
    s->mark = conn_bytes_out(s->conn) + out->n;
    loop_defer(worker_loop(s->all->w), settle_later, ticket_hold(s->ticket));
}

/* Renew the deadline when the peer has made progress, as far as the whole message and session allow. */
static void watch_progress(struct session *s)
{
    uint64_t progress, now = clock_mono_ms();
    enum smtp_wait waits = smtp_core_waits(s->core, &progress);
    uint64_t step = waits == SMTP_WAIT_DATA ? DATA_BLOCK : 1;
    bool changed = waits != s->waits;
    if (!changed && progress - s->progress < step)
        return;
    if (changed)
        s->message_due = now + MESSAGE_MS;
    s->waits = waits;
    s->progress = progress;
    uint64_t due = waits == SMTP_WAIT_DATA ? s->message_due : s->session_due;
    uint64_t ms =
        waits == SMTP_WAIT_DATA ? s->all->conf->smtp_data_timeout : s->all->conf->smtp_command_timeout;
    uint64_t left = due > now ? due - now : 1;
    conn_deadline(s->conn, ms < left ? ms : left, false);
}

/* A helper that was killed is back within a second or two, and a worker that has just started is about to
 * meet its own: the client need not know. */
static bool greeting_waits(struct session *s)
{
    if (s->greeted || s->all->stopping || b_is_up(s->all) ||
        clock_mono_ms() - s->started_ms >= GREET_PATIENCE_MS) {
        s->greeted = true;
        return false;
    }
    loop_timer_start(s->greet_timer, GREET_RETRY_MS);
    return true;
}

static enum step on_step(void *core, struct buf *in, struct buf *out)
{
    struct session *s = core;
    if (greeting_waits(s))
        return STEP_PAUSED;
    settle(s);
    enum step step = smtp_core_step(s->core, in, out);
    watch_confirmation(s, out);
    watch_progress(s);
    return step;
}

static void on_tls_up(void *core, const struct tls_facts *facts)
{
    struct session *s = core;
    smtp_core_tls_up(s->core, facts);
}

static void on_timeout(void *core, struct buf *out)
{
    struct session *s = core;
    smtp_core_timeout(s->core, out);
}

static const char *end_name(enum conn_end why)
{
    static const char *const names[] = {[CONN_END_CLOSED] = "closed",
                                        [CONN_END_EOF] = "lost",
                                        [CONN_END_TIMEOUT] = "timeout",
                                        [CONN_END_ERROR] = "error",
                                        [CONN_END_LIMIT] = "limit"};
    return names[why];
}

static void peer_leave(struct sessions *a, struct peer_count *c)
{
    if (!c || --c->n)
        return;
    HASH_DEL(a->peers, c);
    free(c);
}

static void on_closed(void *core, enum conn_end why)
{
    struct session *s = core;
    struct sessions *a = s->all;
    settle(s);
    smtp_core_log_end(s->core, why == CONN_END_ERROR ? conn_error(s->conn) : end_name(why));
    ticket_void(&s->ticket);
    loop_timer_free(&s->greet_timer);
    smtp_core_free(&s->core);
    buf_free(&s->receipt);
    peer_leave(a, s->peer);
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    free(s);
    a->count--;
    if (a->stopping && a->count == 0)
        worker_done(a->w);
    else if (!a->stopping && a->count + 1 == a->conf->connection_limit)
        worker_accepting(a->w, true);
}

static void on_kick(void *arg)
{
    struct session *s = arg;
    conn_kick(s->conn);
}

static const struct conn_ops ops = {on_step, on_tls_up, on_timeout, on_closed};

/* -- arrivals -- */

static const struct conn_limits limits = {.gather = true};

/* "192.0.2.1:25", "[2001:db8::1]:25", "unix" without the port. */
static void address_of(const char *peer, char *out, size_t size)
{
    struct span s = span_str(peer);
    if (s.n && s.p[0] == '[') {
        s = span_drop(s, 1);
        s.n = span_find(s, ']');
    } else {
        s.n = span_find(s, ':');
    }
    snprintf(out, size, "%.*s", SPAN_ARG(s));
}

/* Count the address; false when it has too many sessions already. Local sockets are not counted. */
static bool peer_enter(struct session *s, bool local)
{
    struct sessions *a = s->all;
    if (local)
        return true;
    HASH_FIND_STR(a->peers, s->address, s->peer);
    if (!s->peer) {
        s->peer = xcalloc(1, sizeof *s->peer);
        snprintf(s->peer->address, sizeof s->peer->address, "%s", s->address);
        HASH_ADD_STR(a->peers, address, s->peer);
    }
    s->peer->n++;
    return s->peer->n <= a->conf->connection_limit_per_peer;
}

static enum smtp_kind kind_of(const struct daemon_listen *on)
{
    if (strcmp(on->name, "smtp") == 0)
        return SMTP_MX;
    return strcmp(on->name, "lmtp") == 0 ? SMTP_LMTP : SMTP_SUBMISSION;
}

void session_worker_accepted(void *arg, int fd, const struct daemon_listen *on, struct tls_ctx *tls)
{
    struct sessions *a = arg;
    struct session *s = xcalloc(1, sizeof *s);
    bool local = on->unix_name != NULL;
    s->all = a;
    s->ticket = ticket_new(s);
    buf_init(&s->receipt, 1 << 20);
    s->started_ms = clock_mono_ms();
    s->session_due = s->started_ms + SESSION_MS;
    s->greet_timer = loop_timer_new(worker_loop(a->w), on_kick, s);
    s->conn = conn_new(worker_loop(a->w), fd, tls, on->implicit_tls, &ops, s, &limits,
                       a->conf->smtp_command_timeout);
    address_of(conn_peer(s->conn), s->address, sizeof s->address);
    struct smtp_setup setup = {.conf = a->conf,
                               .backend = &a->backend,
                               .kind = kind_of(on),
                               .listener = on->name,
                               .peer = s->address,
                               .local = local,
                               .tls_possible = tls != NULL,
                               .implicit_tls = on->implicit_tls,
                               .kick = on_kick,
                               .kick_arg = s};
    s->core = smtp_core_new(&setup);
    s->link = &a->first;
    s->next = a->first;
    if (s->next)
        s->next->link = &s->next;
    a->first = s;
    if (++a->count == a->conf->connection_limit)
        worker_accepting(a->w, false);
    if (!peer_enter(s, local))
        smtp_core_crowded(s->core);
}

/* -- the worker -- */

void *session_worker_start(struct worker *w)
{
    struct sessions *a = xcalloc(1, sizeof *a);
    tzset(); /* the zone's file is out of reach later; Received and Date fields need it */
    a->w = w;
    a->conf = worker_conf(w);
    a->directory = directory_new_worker(w);
    a->store = store_new_worker(w, STORE_DELIVER);
    a->backend = (struct backend){.arg = a,
                                  .is_up = b_is_up,
                                  .lookup = b_lookup,
                                  .known = b_known,
                                  .members = b_members,
                                  .may_send = b_may_send,
                                  .is_full = b_is_full,
                                  .mechs = b_mechs,
                                  .auth = b_auth,
                                  .auth_step = directory_auth_step,
                                  .auth_cancel = directory_auth_cancel,
                                  .policy = b_policy,
                                  .deliver = b_deliver};
    return a;
}

void session_worker_stop(void *arg)
{
    struct sessions *a = arg;
    a->stopping = true;
    if (a->count == 0) {
        worker_done(a->w);
        return;
    }
    for (struct session *s = a->first, *next; s; s = next) {
        next = s->next;
        if (smtp_core_stop(s->core, conn_out(s->conn)))
            conn_finish(s->conn);
    }
}
