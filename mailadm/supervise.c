/* mailadm supervise: keeps the daemons running. They start one after another, each when the one before it
 * said READY=1; who ends is started again after 10 ms, doubling to 1 s while it does not stay up. SIGTERM
 * stops them in reverse order, SIGHUP is passed on. The hard problem is to believe only the children: a
 * notice counts when the kernel says that it came from the child's own process id.
 *
 *   WAITING -> STARTING -> UP -> (ended) BACKOFF -> STARTING ...        any -> GONE when stopping */
#include "mailadm/supervise.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { BACKOFF_LOW_MS = 10, BACKOFF_HIGH_MS = 1000, STEADY_MS = 5000, STOP_PATIENCE_MS = 10000 };

static void start_next(struct super *s);
static void stop_next(struct super *s);

static void enter(struct child *c, enum child_state to)
{
    static const unsigned from[] = {[CHILD_WAITING] = 0,
                                    [CHILD_STARTING] = 1u << CHILD_WAITING | 1u << CHILD_BACKOFF,
                                    [CHILD_UP] = 1u << CHILD_STARTING,
                                    [CHILD_BACKOFF] = 1u << CHILD_STARTING | 1u << CHILD_UP,
                                    [CHILD_GONE] = ~0u};
    if (!(from[to] & 1u << c->state))
        abort();
    c->state = to;
}

/* In the child: a clean process that dies with its parent, then the program. */
static void become(struct super *s, const struct child *c)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (s->detached)
        leave_terminal();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != s->self)
        _exit(EX_TEMPFAIL);
    if (c->command)
        execl("/bin/sh", "sh", "-c", c->command, (char *)NULL);
    else
        execl(c->path, c->path, "--config", s->file, (char *)NULL);
    fprintf(stderr, "mailadm: %s: %s\n", c->command ? "/bin/sh" : c->path, strerror(errno));
    _exit(EX_UNAVAILABLE);
}

static void child_ended(struct super *s, struct child *c, int how);

static void child_start(void *arg)
{
    struct child *c = arg;
    struct super *s = c->super;
    enter(c, CHILD_STARTING);
    c->started_ms = clock_mono_ms();
    c->pid = fork();
    if (c->pid == 0)
        become(s, c);
    if (c->pid < 0) {
        log_event(LOG_ERROR, NULL, "supervise.fork.failed", F_STR("why", strerror(errno)));
        child_ended(s, c, 0);
        return;
    }
    log_event(LOG_INFO, NULL, "supervise.started", F_STR("name", c->name), F_INT("pid", c->pid));
    if (c->command)
        child_is_up(s, c);
}

void child_is_up(struct super *s, struct child *c)
{
    enter(c, CHILD_UP);
    log_event(LOG_INFO, NULL, "supervise.ready", F_STR("name", c->name),
              F_UINT("ms", clock_mono_ms() - c->started_ms));
    c->was_up = true;
    if (!s->stopping)
        start_next(s);
}

/* A start that can never succeed: the sysexits that speak of the machine's setting, before any readiness. */
static bool hopeless(const struct child *c, int how)
{
    if (c->was_up || !WIFEXITED(how))
        return false;
    switch (WEXITSTATUS(how)) {
    case EX_USAGE:
    case EX_NOINPUT:
    case EX_NOUSER:
    case EX_UNAVAILABLE:
    case EX_CONFIG:
    case EX_NOPERM:
        return true;
    default:
        return false;
    }
}

static void child_ended(struct super *s, struct child *c, int how)
{
    log_event(s->stopping ? LOG_INFO : LOG_ERROR, NULL, "supervise.ended", F_STR("name", c->name),
              F_INT("pid", c->pid), F_INT("status", WIFEXITED(how) ? WEXITSTATUS(how) : -1),
              F_INT("signal", WIFSIGNALED(how) ? WTERMSIG(how) : 0));
    c->pid = 0;
    if (!s->stopping && hopeless(c, how)) {
        fprintf(stderr, "mailadm: %s cannot start (status %d)\n", c->name, WEXITSTATUS(how));
        super_stop(s, WEXITSTATUS(how));
    }
    if (s->stopping) {
        enter(c, CHILD_GONE);
        stop_next(s);
        return;
    }
    bool steady = clock_mono_ms() - c->started_ms >= STEADY_MS;
    c->backoff_ms = steady || !c->backoff_ms ? BACKOFF_LOW_MS : c->backoff_ms * 2;
    if (c->backoff_ms > BACKOFF_HIGH_MS)
        c->backoff_ms = BACKOFF_HIGH_MS;
    enter(c, CHILD_BACKOFF);
    loop_timer_start(c->timer, c->backoff_ms);
}

static void on_child(void *arg)
{
    struct super *s = arg;
    int how;
    pid_t pid;
    while ((pid = waitpid(-1, &how, WNOHANG)) > 0)
        for (size_t i = 0; i < s->count; i++)
            if (s->children[i].pid == pid)
                child_ended(s, &s->children[i], how);
}

/* The first start goes in order; later ones of each child by itself. */
static void start_next(struct super *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->children[i].state == CHILD_WAITING) {
            child_start(&s->children[i]);
            return;
        }
        if (!s->children[i].was_up)
            return;
    }
    if (!s->all_up)
        super_ready(s);
}

static void too_long(void *arg)
{
    struct child *c = arg;
    log_event(LOG_WARN, NULL, "supervise.killed", F_STR("name", c->name), F_INT("pid", c->pid));
    if (c->pid > 0)
        kill(c->pid, SIGKILL);
}

static void stop_next(struct super *s)
{
    for (size_t i = s->count; i-- > 0;) {
        struct child *c = &s->children[i];
        if (c->state == CHILD_GONE)
            continue;
        loop_timer_stop(c->timer);
        if (c->pid > 0) {
            if (!c->told) {
                kill(c->pid, SIGTERM);
                loop_timer_start(c->kill_timer, STOP_PATIENCE_MS);
            }
            c->told = true;
            return;
        }
        enter(c, CHILD_GONE);
    }
    loop_stop(s->loop);
}

void super_stop(struct super *s, int status)
{
    if (s->stopping)
        return;
    s->stopping = true;
    s->status = status;
    log_event(LOG_INFO, NULL, "supervise.stopping", F_INT("status", status));
}

static void on_stop(void *arg)
{
    super_stop(arg, EX_OK);
    stop_next(arg);
}

static void on_hangup(void *arg)
{
    struct super *s = arg;
    log_reopen();
    for (size_t i = 0; i < s->count; i++)
        if (s->children[i].pid > 0 && !s->children[i].command)
            kill(s->children[i].pid, SIGHUP);
}

/* READY=1 of the child whose process sent it. */
static void on_notice(void *arg, unsigned what)
{
    (void)what;
    struct super *s = arg;
    char text[512], room[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iov = {text, sizeof text - 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    ssize_t n = recvmsg(s->notify_fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_CREDENTIALS)
        return;
    struct ucred from;
    memcpy(&from, CMSG_DATA(h), sizeof from);
    text[n] = '\0';
    if (strncmp(text, "READY=1", 7) != 0 && !strstr(text, "\nREADY=1"))
        return;
    for (size_t i = 0; i < s->count; i++)
        if (s->children[i].pid == from.pid && s->children[i].state == CHILD_STARTING)
            child_is_up(s, &s->children[i]);
}

int super_run(struct super *s)
{
    s->self = getpid();
    s->loop = loop_new();
    struct loop_signal *signals[] = {
        loop_signal_new(s->loop, SIGCHLD, on_child, s), loop_signal_new(s->loop, SIGTERM, on_stop, s),
        loop_signal_new(s->loop, SIGINT, on_stop, s), loop_signal_new(s->loop, SIGHUP, on_hangup, s)};
    struct loop_io *io = loop_io_new(s->loop, s->notify_fd, LOOP_READ, on_notice, s);
    for (size_t i = 0; i < s->count; i++) {
        s->children[i].super = s;
        s->children[i].timer = loop_timer_new(s->loop, child_start, &s->children[i]);
        s->children[i].kill_timer = loop_timer_new(s->loop, too_long, &s->children[i]);
    }
    start_next(s);
    loop_run(s->loop);
    for (size_t i = 0; i < s->count; i++) {
        loop_timer_free(&s->children[i].timer);
        loop_timer_free(&s->children[i].kill_timer);
    }
    loop_io_free(&io);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        loop_signal_free(&signals[i]);
    loop_free(&s->loop);
    return s->status;
}
