/* imapd: session workers around the core of session.c. A worker accepts on 143 (STARTTLS), 993 (TLS) and the
 * local socket of the webmail, joins each connection to a session, and keeps within its limits of sessions,
 * in all and for one peer. The one hard point is the end of a worker: it stops accepting, lets each session
 * finish its command, and leaves when the last one is gone. A worker that a reload has replaced lets them go
 * one by one, so that their clients do not all come back in the same second. Masters, users, sandbox are
 * common/net's. */
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/net/daemon.h"
#include "common/net/sandbox.h"
#include "imapd/imap.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>

enum { INPUT_LIMIT = 128 << 10, OUTPUT_HIGH = 256 << 10, WORKERS_A_CORE = 4 };

struct peer {
    char address[64];
    unsigned sessions;
    UT_hash_handle hh;
};

struct session {
    struct imapd *d;
    struct conn *conn;
    struct imap *core;
    struct peer *peer;
    struct loop_timer *timer; /* of later; NULL: never asked */
    bool leaving;
    struct session *prev, *next;
};

struct imapd {
    struct worker *w;
    struct store *store;
    struct directory *directory;
    struct session *sessions;
    struct peer *peers;
    unsigned count;
    bool stopping; /* it ends with its last session */
    struct loop_timer *retire_timer;
    uint64_t retired_ms; /* by then all are sent away */
};

/* -- limits -- */

static struct peer *peer_of(struct imapd *d, const char *conn_peer)
{
    struct peer *p;
    char address[64];
    snprintf(address, sizeof address, "%s", conn_peer);
    char *colon = strrchr(address, ':');
    if (colon)
        *colon = 0;
    HASH_FIND_STR(d->peers, address, p);
    if (!p) {
        p = xcalloc(1, sizeof *p);
        memcpy(p->address, address, sizeof address);
        HASH_ADD_STR(d->peers, address, p);
    }
    p->sessions++;
    return p;
}

static void peer_leave(struct imapd *d, struct peer *p)
{
    if (--p->sessions)
        return;
    HASH_DEL(d->peers, p);
    free(p);
}

static const char *refusal(const struct imapd *d, const struct session *s, bool local)
{
    const struct conf *c = worker_conf(d->w);
    if (d->count > c->connection_limit)
        return "[UNAVAILABLE] Too many sessions, please try again later.";
    if (!local && s->peer->sessions > c->connection_limit_per_peer)
        return "[LIMIT] Too many sessions from your address.";
    return NULL;
}

/* -- a session's connection -- */

static void kick(void *arg)
{
    struct session *s = arg;
    if (s->conn)
        conn_kick(s->conn);
}

static void deadline(void *arg, uint64_t ms, bool restart_on_input)
{
    struct session *s = arg;
    if (s->conn)
        conn_deadline(s->conn, ms, restart_on_input);
}

static void listen_paused(void *arg, bool on)
{
    struct session *s = arg;
    conn_listen_paused(s->conn, on);
}

static void later(void *arg, uint64_t ms)
{
    struct session *s = arg;
    if (!s->timer)
        s->timer = loop_timer_new(worker_loop(s->d->w), kick, s);
    loop_timer_start(s->timer, ms);
}

static const struct imap_host host = {kick, deadline, listen_paused, later};

static enum step session_step(void *core, struct buf *in, struct buf *out)
{
    return imap_step(((struct session *)core)->core, in, out);
}

static void session_tls_up(void *core, const struct tls_facts *facts)
{
    imap_tls_up(((struct session *)core)->core, facts);
}

static void session_timeout(void *core, struct buf *out)
{
    imap_timeout(((struct session *)core)->core, out);
}

static void session_closed(void *core, enum conn_end why)
{
    static const char *const words[] = {[CONN_END_CLOSED] = "done",
                                        [CONN_END_EOF] = "closed by peer",
                                        [CONN_END_TIMEOUT] = "timeout",
                                        [CONN_END_ERROR] = "error",
                                        [CONN_END_LIMIT] = "input limit"};
    struct session *s = core;
    struct imapd *d = s->d;
    const char *error = conn_error(s->conn);
    imap_summary(s->core, why == CONN_END_ERROR && *error ? error : words[why], conn_bytes_in(s->conn),
                 conn_bytes_out(s->conn));
    s->conn = NULL;
    if (s->timer)
        loop_timer_free(&s->timer);
    imap_free(&s->core);
    peer_leave(d, s->peer);
    if (s->next)
        s->next->prev = s->prev;
    if (s->prev)
        s->prev->next = s->next;
    else
        d->sessions = s->next;
    free(s);
    if (--d->count == 0 && d->stopping)
        worker_done(d->w);
}

static const struct conn_ops ops = {session_step, session_tls_up, session_timeout, session_closed};
static const struct conn_limits limits = {.input_bytes = INPUT_LIMIT, .output_high = OUTPUT_HIGH};

static void accepted(void *arg, int fd, const struct daemon_listen *on, struct tls_ctx *tls)
{
    struct imapd *d = arg;
    struct session *s = xcalloc(1, sizeof *s);
    bool local = on->unix_name;
    s->d = d;
    s->conn = conn_new(worker_loop(d->w), fd, tls, on->implicit_tls, &ops, s, &limits,
                       worker_conf(d->w)->imap_login_timeout);
    s->peer = peer_of(d, conn_peer(s->conn));
    d->count++;
    s->next = d->sessions;
    if (s->next)
        s->next->prev = s;
    d->sessions = s;
    struct imap_start start = {.conf = worker_conf(d->w),
                               .store = d->store,
                               .directory = d->directory,
                               .host = &host,
                               .host_arg = s,
                               .peer = conn_peer(s->conn),
                               .local = local,
                               .starttls = tls && !on->implicit_tls,
                               .refuse = refusal(d, s, local)};
    s->core = imap_new(&start);
}

/* -- the worker -- */

static void *start(struct worker *w)
{
    struct imapd *d = xcalloc(1, sizeof *d);
    d->w = w;
    d->store = store_new_worker(w, STORE_SESSION);
    d->directory = directory_new_worker(w);
    return d;
}

static void stop(void *arg)
{
    struct imapd *d = arg;
    d->stopping = true;
    worker_accepting(d->w, false);
    for (struct session *s = d->sessions; s; s = s->next)
        imap_stop(s->core);
    if (!d->count)
        worker_done(d->w);
}

/* The oldest session that stays, and how many do. */
static struct session *staying(struct imapd *d, uint64_t *count)
{
    struct session *oldest = NULL;
    *count = 0;
    for (struct session *s = d->sessions; s; s = s->next)
        if (!s->leaving) {
            oldest = s;
            ++*count;
        }
    return oldest;
}

static void let_one_go(void *arg)
{
    struct imapd *d = arg;
    uint64_t now = clock_mono_ms(), count;
    struct session *s = staying(d, &count);
    if (!s)
        return;
    s->leaving = true;
    loop_timer_start(d->retire_timer,
                     count > 1 && d->retired_ms > now ? (d->retired_ms - now) / (count - 1) : 0);
    imap_stop(s->core);
}

static void retire(void *arg, uint64_t grace_ms)
{
    struct imapd *d = arg;
    uint64_t count, random;
    d->stopping = true;
    worker_accepting(d->w, false);
    if (!staying(d, &count)) {
        worker_done(d->w);
        return;
    }
    crypto_random(&random, sizeof random);
    d->retired_ms = clock_mono_ms() + grace_ms;
    d->retire_timer = loop_timer_new(worker_loop(d->w), let_one_go, d);
    loop_timer_start(d->retire_timer, random % (grace_ms / count + 1)); /* workers keep no step */
}

static struct conf_list imap_addresses(const struct conf *c)
{
    return c->imap_listen;
}

static struct conf_list imaps_addresses(const struct conf *c)
{
    return c->imaps_listen;
}

static const char *web_user(const struct conf *c)
{
    return c->web_user;
}

static const char *user(const struct conf *c)
{
    return c->imapd_user;
}

static unsigned count(const struct conf *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->workers)
        return (unsigned)c->workers;
    return cores > 0 ? (unsigned)cores * WORKERS_A_CORE : WORKERS_A_CORE;
}

int main(int argc, char **argv)
{
    static const struct daemon_listen listens[] = {
        {.name = "imap", .addresses = imap_addresses, .tls = true},
        {.name = "imaps", .addresses = imaps_addresses, .tls = true, .implicit_tls = true},
        {.name = "webmail", .unix_name = "webmail", .unix_owner = web_user},
        {.name = NULL}};
    static const struct daemon_peer peers[] = {
        {"store", "store/session/sock"}, {"directory", "directory/imap/sock"}, {NULL, NULL}};
    static const struct daemon_workers workers[] = {{.name = "session",
                                                     .count = count,
                                                     .listens = listens,
                                                     .peers = peers,
                                                     .sandbox = SANDBOX_MEMFD, /* for large messages */
                                                     .start = start,
                                                     .accepted = accepted,
                                                     .stop = stop,
                                                     .retire = retire},
                                                    {.name = NULL}};
    static const struct daemon_spec spec = {.program = "imapd", .user = user, .workers = workers};
    crypto_start();
    return daemon_main(&spec, argc, argv);
}
