/* A master: it holds the listeners, forks the workers, hands out connections, opens the keepers' sockets
 * for workers, and starts again what ended.
 * Connections are accepted here and passed on, to the worker with the fewest that it has not yet taken
 * over: load spreads evenly, a stuck worker gets no more, a change of generation loses nothing, and
 * no worker holds a listener, so that the ports are free as soon as the master is gone.
 * The hard point is trust: a worker's frames are as hostile as the bytes that it parses, so rows, states
 * and counts are checked here. What a worker does inside is worker.c's. */
#include "common/net/daemon_int.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BACKOFF_MIN_MS = 10,
    BACKOFF_MAX_MS = 1000,
    STEADY_MS = 5000, /* a worker that lived so long starts again at once */
    STOP_MS = 5000,   /* then they are killed */
    LAG = 8,
    OLD_GENERATIONS = 3, /* of workers whose sessions are let go slowly; the next reload ends the oldest */
    UNTAKEN_LIMIT = 64,  /* connections on their way to one worker; more wait in the kernel */
    ACCEPTS_A_ROUND = 32,
    REST_MS = 100, /* descriptors used up: accept again later */
    CERT_CHECK_MS = 60000,
    PATH_LIMIT = 4096
};

struct slot;

struct child {
    struct child *next;
    struct slot *slot;
    struct master *m;
    unsigned kind;
    pid_t pid;
    struct ipc *control; /* NULL: fell */
    uint64_t born_ms;
    bool started, stopping, closed; /* closed: takes no connections */
    unsigned reloads;               /* since it was replaced */
    uint32_t untaken;
};

/* The place of one worker; its child changes. */
struct slot {
    struct master *m;
    unsigned kind, number;
    struct child *child;
    struct loop_timer *again;
    uint64_t backoff_ms;
};

struct port {
    struct master *m;
    unsigned kind;
    uint16_t row;
    int fd;
    bool is_unix;
    uid_t owner;
    struct loop_io *io;
};

struct master {
    struct daemon *d;
    struct port *ports;
    size_t port_count;
    struct slot *slots;
    size_t slot_count;
    struct child *children; /* all that live, old generations too */
    unsigned turn;          /* where the search for a worker begins */
    bool stopping, resting;
    struct loop_timer *kill_timer, *rest_timer, *cert_timer;
    struct stat cert, key;
};

static void spawn(void *arg);

static const struct daemon_workers *row_of(const struct master *m, unsigned kind)
{
    return &m->d->spec->workers[kind];
}

/* -- keys -- */

static bool wants_tls(const struct daemon *d)
{
    for (const struct daemon_workers *w = d->spec->workers; w->name; w++)
        for (const struct daemon_listen *l = w->listens; l && l->name; l++)
            if ((l->tls || l->implicit_tls) && l->addresses && l->addresses(d->conf).n)
                return true;
    return false;
}

static void look_at_keys(const struct conf *c, struct stat *cert, struct stat *key)
{
    if (stat(c->tls_certificate, cert) != 0)
        memset(cert, 0, sizeof *cert);
    if (stat(c->tls_key, key) != 0)
        memset(key, 0, sizeof *key);
}

static enum err_code read_keys(struct daemon *d, struct err *why)
{
    struct tls_ctx *fresh = NULL;
    if (!wants_tls(d))
        return ERR_OK;
    look_at_keys(d->conf, &d->master->cert, &d->master->key);
    enum err_code code = tls_server_new(d->conf->tls_certificate, d->conf->tls_key, &fresh, why);
    if (code == ERR_OK) {
        tls_ctx_free(&d->tls);
        d->tls = fresh;
    }
    return code;
}

/* The keys were read with the rights of the start; a renewed pair is read with those that are left. */
static void warn_of_rights(const struct daemon *d)
{
    const char *const files[] = {d->conf->tls_certificate, d->conf->tls_key};
    for (size_t i = 0; wants_tls(d) && i < sizeof files / sizeof *files; i++)
        if (access(files[i], R_OK) != 0)
            log_event(LOG_WARN, NULL, "tls.renewal.needs_restart", F_STR("file", files[i]),
                      F_STR("why", strerror(errno)));
}

static bool changed(const struct stat *a, const struct stat *b)
{
    return a->st_ino != b->st_ino || a->st_size != b->st_size || a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
           a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

static void on_cert_timer(void *arg)
{
    struct master *m = arg;
    struct stat cert, key;
    look_at_keys(m->d->conf, &cert, &key);
    if (m->d->tls && (changed(&cert, &m->cert) || changed(&key, &m->key))) {
        log_event(LOG_INFO, NULL, "tls.certificate.changed", F_STR("file", m->d->conf->tls_certificate));
        master_reload(m->d);
    }
    loop_timer_start(m->cert_timer, CERT_CHECK_MS);
}

/* -- listeners -- */

static void add_port(struct master *m, struct port p)
{
    m->ports = xrealloc(m->ports, (m->port_count + 1) * sizeof *m->ports);
    m->ports[m->port_count++] = p;
}

static enum err_code open_unix(struct master *m, unsigned kind, uint16_t row, const struct daemon_listen *l,
                               struct err *why)
{
    struct daemon *d = m->d;
    struct port p = {.m = m, .kind = kind, .row = row, .is_unix = true, .owner = d->uid};
    struct buf dir;
    gid_t gid = d->gid;
    enum err_code code = ERR_OK;
    if (l->unix_owner)
        code = daemon_ids(l->unix_owner(d->conf), &p.owner, &gid, why);
    if (code != ERR_OK)
        return code;
    buf_init(&dir, PATH_LIMIT);
    if (!conf_path(d->conf->run_dir, d->spec->program, &dir))
        code = err_set(why, ERR_SYNTAX, NULL, "run_dir is too long");
    else /* the folder is passed by several users; each socket lets in its own */
        code = ipc_listen_mode(dir.p, 0755, d->uid, l->unix_name, 0660, p.owner, d->gid, &p.fd, why);
    buf_free(&dir);
    if (code == ERR_OK)
        add_port(m, p);
    return code;
}

static enum err_code open_inet(struct master *m, unsigned kind, uint16_t row, const struct daemon_listen *l,
                               struct err *why)
{
    const struct conf_list list = l->addresses(m->d->conf);
    for (size_t i = 0; i < list.n; i++) {
        int *fds = NULL;
        size_t count = 0;
        enum err_code code = listen_inet(list.v[i], &fds, &count, why);
        for (size_t k = 0; k < count; k++)
            add_port(m, (struct port){.m = m, .kind = kind, .row = row, .fd = fds[k]});
        free(fds);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum err_code master_open(struct daemon *d, struct err *why)
{
    struct master *m = xcalloc(1, sizeof *m);
    m->d = d;
    d->master = m;
    enum err_code code = read_keys(d, why);
    for (unsigned kind = 0; code == ERR_OK && d->spec->workers[kind].name; kind++) {
        const struct daemon_listen *l = d->spec->workers[kind].listens;
        for (uint16_t row = 0; code == ERR_OK && l && l[row].name; row++)
            code = l[row].addresses ? open_inet(m, kind, row, &l[row], why)
                                    : open_unix(m, kind, row, &l[row], why);
    }
    return code;
}

/* -- handing out -- */

static bool eligible(const struct child *c, unsigned kind)
{
    return c && c->kind == kind && c->control && c->started && !c->stopping && !c->closed &&
           c->untaken < UNTAKEN_LIMIT;
}

/* Workers take turns; one that lies behind with taking over what is on its way to it (by LAG) is left out.
 * Being a little late is only the scheduler's doing, and must not shift the load. */
static struct child *choose(struct master *m, unsigned kind)
{
    struct child *best = NULL;
    for (size_t i = 0; i < m->slot_count; i++) {
        struct child *c = m->slots[(m->turn + i) % m->slot_count].child;
        if (eligible(c, kind) && (!best || c->untaken / LAG < best->untaken / LAG))
            best = c;
    }
    return best;
}

static void set_ports(struct master *m)
{
    for (size_t i = 0; i < m->port_count; i++) {
        struct port *p = &m->ports[i];
        bool open = !m->stopping && !m->resting && choose(m, p->kind);
        if (p->io)
            loop_io_want(p->io, open ? LOOP_READ : 0);
    }
}

static bool admitted(const struct port *p, int fd)
{
    uid_t uid = (uid_t)-1;
    if (!p->is_unix || ipc_peer_allowed(fd, &p->owner, 1, &uid))
        return true;
    log_event(LOG_ALARM, NULL, "daemon.peer.refused", F_UINT("uid", uid));
    return false;
}

static void hand_out(struct master *m, struct child *c, uint16_t row, int fd)
{
    const struct span body = span_of(&row, sizeof row);
    c->untaken++;
    m->turn = (unsigned)((size_t)(c->slot - m->slots + 1) % m->slot_count);
    if (!ipc_send(c->control, CTL_CONNECTION, 0, 0, &body, 1, fd))
        log_event(LOG_WARN, NULL, "daemon.connection.lost", F_INT("worker", c->pid));
}

static void on_port(void *arg, unsigned what)
{
    struct port *p = arg;
    struct master *m = p->m;
    (void)what;
    for (unsigned i = 0; i < ACCEPTS_A_ROUND; i++) {
        struct child *c = choose(m, p->kind);
        int fd = c ? ipc_accept(p->fd) : -1;
        if (!c || (fd < 0 && errno == EAGAIN))
            break;
        if (fd < 0) {
            log_event(LOG_ERROR, NULL, "daemon.accept.failed", F_STR("why", strerror(errno)));
            m->resting = true;
            loop_timer_start(m->rest_timer, REST_MS);
            break;
        }
        if (admitted(p, fd))
            hand_out(m, c, p->row, fd);
        else
            close(fd);
    }
    set_ports(m);
}

static void on_rest(void *arg)
{
    struct master *m = arg;
    m->resting = false;
    set_ports(m);
}

/* -- what workers say -- */

static void all_started(struct master *m)
{
    for (size_t i = 0; i < m->slot_count; i++)
        if (!m->slots[i].child || !m->slots[i].child->started)
            return;
    daemon_ready(m->d);
}

static bool open_peer(struct child *c, const struct ipc_head *h, struct span body)
{
    const struct daemon_peer *p = row_of(c->m, c->kind)->peers;
    uint16_t row;
    int fd = -1;
    struct buf path;
    if (body.n != sizeof row)
        return false;
    memcpy(&row, body.p, sizeof row);
    for (uint16_t i = 0; p && p->name && i < row; i++)
        p++;
    if (!p || !p->name)
        return false; /* a socket that this kind of worker may not have */
    buf_init(&path, PATH_LIMIT);
    bool named = conf_path(c->m->d->conf->run_dir, p->path, &path);
    enum err_code code = named ? ipc_connect(path.p, &fd, NULL) : ERR_RETRY;
    buf_free(&path);
    return ipc_send(c->control, CTL_OPEN | IPC_ANSWER, (uint8_t)code, h->seq, NULL, 0, fd);
}

static bool on_taken(struct child *c, struct span body)
{
    uint32_t n;
    if (body.n != sizeof n)
        return false;
    memcpy(&n, body.p, sizeof n);
    if (n > c->untaken)
        return false;
    c->untaken -= n;
    return true;
}

static bool on_frame(void *arg, struct ipc *conn, const struct ipc_head *h, struct span body, int fd)
{
    struct child *c = arg;
    bool ok = true;
    (void)conn;
    if (fd >= 0) {
        close(fd);
        return false; /* workers have nothing to give */
    }
    switch (h->type) {
    case CTL_STARTED:
        c->started = true;
        all_started(c->m);
        break;
    case CTL_OPEN:
        ok = open_peer(c, h, body);
        break;
    case CTL_ACCEPTING:
        ok = body.n == 1;
        c->closed = ok && !body.p[0];
        break;
    case CTL_TAKEN:
        ok = on_taken(c, body);
        break;
    default:
        ok = false;
    }
    set_ports(c->m);
    return ok;
}

static void on_gone(void *arg, struct ipc *conn)
{
    struct child *c = arg;
    (void)conn;
    c->control = NULL;
    if (kill(c->pid, SIGKILL) != 0 && errno != ESRCH)
        log_event(LOG_ERROR, NULL, "worker.kill.failed", F_INT("worker", c->pid));
    set_ports(c->m);
}

static const struct ipc_ops control_ops = {on_frame, on_gone};

/* -- births and deaths -- */

static void spawn(void *arg)
{
    struct slot *s = arg;
    struct master *m = s->m;
    int pair[2];
    if (m->stopping || s->child)
        return;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        log_event(LOG_ERROR, NULL, "worker.start.failed", F_STR("why", strerror(errno)));
        loop_timer_start(s->again, BACKOFF_MAX_MS);
        return;
    }
    const struct worker_birth birth = {m->d, s->kind, s->number, pair[1], getpid()};
    pid_t pid = fork();
    if (pid == 0)
        worker_live(&birth);
    close(pair[1]);
    if (pid < 0) {
        log_event(LOG_ERROR, NULL, "worker.start.failed", F_STR("why", strerror(errno)));
        close(pair[0]);
        loop_timer_start(s->again, BACKOFF_MAX_MS);
        return;
    }
    struct child *c = xcalloc(1, sizeof *c);
    c->m = m;
    c->slot = s;
    c->kind = s->kind;
    c->pid = pid;
    c->born_ms = clock_mono_ms();
    c->control = ipc_new(m->d->loop, pair[0], &control_ops, c);
    c->next = m->children;
    m->children = c;
    s->child = c;
}

static void log_death(const struct child *c, int status)
{
    const char *name = row_of(c->m, c->kind)->name;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        log_event(LOG_ALARM, NULL, "worker.sandbox.violated", F_STR("kind", name), F_INT("worker", c->pid),
                  F_STR("signal", "SIGSYS"));
    else if (WIFSIGNALED(status))
        log_event(c->stopping ? LOG_WARN : LOG_ERROR, NULL, "worker.killed", F_STR("kind", name),
                  F_INT("worker", c->pid), F_INT("signal", WTERMSIG(status)));
    else if (WEXITSTATUS(status) || !c->stopping)
        log_event(WEXITSTATUS(status) ? LOG_ERROR : LOG_WARN, NULL, "worker.ended", F_STR("kind", name),
                  F_INT("worker", c->pid), F_INT("status", WEXITSTATUS(status)));
    else
        log_event(LOG_INFO, NULL, "worker.finished", F_STR("kind", name), F_INT("worker", c->pid));
}

static void start_again(struct slot *s, const struct child *c)
{
    s->child = NULL;
    if (clock_mono_ms() - c->born_ms >= STEADY_MS)
        s->backoff_ms = BACKOFF_MIN_MS;
    loop_timer_start(s->again, s->backoff_ms);
    s->backoff_ms = s->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : s->backoff_ms * 2;
}

static void on_child(void *arg)
{
    struct master *m = arg;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child **at = &m->children;
        while (*at && (*at)->pid != pid)
            at = &(*at)->next;
        struct child *c = *at;
        if (!c)
            continue;
        log_death(c, status);
        *at = c->next;
        if (c->control)
            ipc_close(c->control);
        if (c->slot && c->slot->child == c)
            start_again(c->slot, c);
        free(c);
    }
    if (m->stopping && !m->children)
        daemon_done(m->d);
    else
        set_ports(m);
}

static void tell_to_stop(struct child *c)
{
    c->stopping = true;
    if (c->control && !ipc_send(c->control, CTL_STOP, 0, 0, NULL, 0, -1))
        log_event(LOG_WARN, NULL, "worker.deaf", F_INT("worker", c->pid));
}

/* It was replaced: its sessions may stay a while, but not for ever, however often the reload is asked for. */
static void retire(struct child *c)
{
    const uint64_t grace_ms = c->m->d->conf->reload_grace;
    const struct span body = span_of(&grace_ms, sizeof grace_ms);
    if (c->reloads++ == 0) {
        c->stopping = true;
        if (c->control && !ipc_send(c->control, CTL_RETIRE, 0, 0, &body, 1, -1))
            log_event(LOG_WARN, NULL, "worker.deaf", F_INT("worker", c->pid));
    } else if (c->reloads > OLD_GENERATIONS) {
        tell_to_stop(c);
    }
}

/* -- the course -- */

static unsigned count_of(const struct master *m, const struct daemon_workers *w)
{
    unsigned n = w->count ? w->count(m->d->conf) : 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (n == 0)
        n = cores > 0 ? 4 * (unsigned)cores : 4;
    return n > 1024 ? 1024 : n;
}

static void make_slots(struct master *m)
{
    for (unsigned kind = 0; m->d->spec->workers[kind].name; kind++)
        m->slot_count += count_of(m, row_of(m, kind));
    m->slots = xcalloc(m->slot_count, sizeof *m->slots);
    size_t at = 0;
    for (unsigned kind = 0; m->d->spec->workers[kind].name; kind++) {
        unsigned n = count_of(m, row_of(m, kind));
        for (unsigned i = 0; i < n; i++) {
            struct slot *s = &m->slots[at++];
            *s = (struct slot){.m = m, .kind = kind, .number = i, .backoff_ms = BACKOFF_MIN_MS};
            s->again = loop_timer_new(m->d->loop, spawn, s);
        }
    }
}

static void on_kill_timer(void *arg)
{
    struct master *m = arg;
    for (struct child *c = m->children; c; c = c->next)
        if (kill(c->pid, SIGKILL) != 0 && errno != ESRCH)
            log_event(LOG_ERROR, NULL, "worker.kill.failed", F_INT("worker", c->pid));
}

void master_start(struct daemon *d)
{
    struct master *m = d->master;
    loop_signal_new(d->loop, SIGCHLD, on_child, m);
    m->kill_timer = loop_timer_new(d->loop, on_kill_timer, m);
    m->rest_timer = loop_timer_new(d->loop, on_rest, m);
    m->cert_timer = loop_timer_new(d->loop, on_cert_timer, m);
    loop_timer_start(m->cert_timer, CERT_CHECK_MS);
    warn_of_rights(d);
    for (size_t i = 0; i < m->port_count; i++)
        m->ports[i].io = loop_io_new(d->loop, m->ports[i].fd, 0, on_port, &m->ports[i]);
    make_slots(m);
    for (size_t i = 0; i < m->slot_count; i++)
        spawn(&m->slots[i]);
}

void master_reload(struct daemon *d)
{
    struct master *m = d->master;
    struct err why = {.code = ERR_OK};
    if (m->stopping)
        return;
    struct conf *fresh = daemon_reread(d);
    if (!fresh)
        return;
    conf_free(&d->conf); /* the master keeps nothing of it; workers have their own */
    d->conf = fresh;
    if (read_keys(d, &why) != ERR_OK)
        log_event(LOG_ERROR, NULL, "tls.certificate.kept", F_STR("why", why.log));
    for (struct child *c = m->children; c; c = c->next)
        retire(c);
    for (size_t i = 0; i < m->slot_count; i++) {
        m->slots[i].child = NULL;
        m->slots[i].backoff_ms = BACKOFF_MIN_MS;
        loop_timer_stop(m->slots[i].again);
        spawn(&m->slots[i]);
    }
    set_ports(m);
}

void master_stop(struct daemon *d)
{
    struct master *m = d->master;
    if (m->stopping)
        return;
    m->stopping = true;
    for (size_t i = 0; i < m->port_count; i++) {
        loop_io_free(&m->ports[i].io);
        close(m->ports[i].fd);
    }
    m->port_count = 0;
    for (struct child *c = m->children; c; c = c->next)
        tell_to_stop(c);
    loop_timer_start(m->kill_timer, STOP_MS);
    if (!m->children)
        daemon_done(d);
}
