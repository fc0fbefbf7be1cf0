/* mailadm supervise: arguments, programs, the lock that keeps it single, the socket of notices, and going to
 * the background. The socket's name is the kernel's choice in the abstract space, so that a long path of the
 * demo's folder cannot pass the limit of socket names. */
#include "mailadm/mailadm.h"
#include "mailadm/supervise.h"
#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

/* In order of their start, with their folders in a build tree. */
static const struct {
    const char *name, *folder;
} daemons[] = {{"stored", "."}, {"directoryd", "common/directory"}, {"imapd", "imapd"}, {"smtpd", "smtpd"}};

static int complain(int status, const char *what, const char *why)
{
    fprintf(stderr, "mailadm: %s: %s\n", what, why);
    return status;
}

/* Beside mailadm itself, or in the folders of the build tree that it lies in. */
static int find_programs(struct super *s, const char *programs)
{
    char here[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n < 0)
        return complain(EX_OSERR, "/proc/self/exe", strerror(errno));
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    for (size_t i = 0; i < sizeof daemons / sizeof *daemons; i++) {
        struct child *c = &s->children[s->count++];
        c->name = daemons[i].name;
        snprintf(c->path, sizeof c->path, "%.3900s/%s", programs ? programs : here, c->name);
        if (!programs && access(c->path, X_OK) != 0)
            snprintf(c->path, sizeof c->path, "%.3900s/../%s/%s", here, daemons[i].folder, c->name);
        if (access(c->path, X_OK) != 0)
            return complain(EX_UNAVAILABLE, c->path, strerror(errno));
    }
    return EX_OK;
}

static int read_arguments(struct super *s, int argc, char **argv, bool *detach)
{
    const char *programs = NULL;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--programs") == 0 && i + 1 < argc)
            programs = argv[++i];
    int status = find_programs(s, programs);
    for (int i = 1; status == EX_OK && i < argc; i++) {
        if (strcmp(argv[i], "--detach") == 0) {
            *detach = true;
        } else if (strcmp(argv[i], "--programs") == 0 && i + 1 < argc) {
            i++;
        } else if (strcmp(argv[i], "--also") == 0 && i + 2 < argc && s->count < SUPER_CHILDREN) {
            s->children[s->count].name = argv[i + 1];
            s->children[s->count++].command = argv[i + 2];
            i += 2;
        } else {
            return complain(EX_USAGE, argv[i], "unknown, or incomplete (see mailadm supervise --help)");
        }
    }
    return status;
}

static bool set_notify_name(int fd)
{
    struct sockaddr_un a;
    socklen_t len = sizeof a;
    char name[sizeof a.sun_path + 2];
    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        return false;
    size_t n = len - offsetof(struct sockaddr_un, sun_path);
    name[0] = '@';
    memcpy(name + 1, a.sun_path + 1, n - 1);
    name[n] = '\0';
    return setenv("NOTIFY_SOCKET", name, 1) == 0;
}

static int open_notify(struct super *s)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int yes = 1;
    s->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->notify_fd < 0 || setsockopt(s->notify_fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) != 0 ||
        bind(s->notify_fd, (struct sockaddr *)&a, sizeof a.sun_family) != 0 || !set_notify_name(s->notify_fd))
        return complain(EX_OSERR, "notify socket", strerror(errno));
    return EX_OK;
}

static int make_folder(const char *dir)
{
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return complain(EX_CANTCREAT, dir, strerror(errno));
    return EX_OK;
}

/* The lock is held until the process ends; the descriptor is not for the children. */
static int lock_pid_file(const struct conf *c)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/supervise.pid", c->run_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return complain(EX_CANTCREAT, path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return complain(EX_TEMPFAIL, path, errno == EWOULDBLOCK ? "is supervised already" : strerror(errno));
    }
    if (ftruncate(fd, 0) != 0 || dprintf(fd, "%ld\n", (long)getpid()) < 0) {
        close(fd);
        return complain(EX_IOERR, path, strerror(errno));
    }
    return EX_OK;
}

static int open_log(const struct conf *c)
{
    char path[PATH_MAX];
    if (!*c->log_dir)
        return log_open("supervise", NULL) ? EX_OK : EX_OSERR;
    int status = make_folder(c->log_dir);
    snprintf(path, sizeof path, "%.4000s/supervise.log", c->log_dir);
    if (status == EX_OK && !log_open("supervise", path))
        status = complain(EX_CANTCREAT, path, strerror(errno));
    return status;
}

/* The parent waits for the byte of readiness and ends with it. */
static void detach_from(struct super *s)
{
    int ends[2];
    char byte;
    if (pipe2(ends, O_CLOEXEC) != 0)
        exit(complain(EX_OSERR, "pipe", strerror(errno)));
    pid_t pid = fork();
    if (pid < 0)
        exit(complain(EX_OSERR, "fork", strerror(errno)));
    if (pid > 0) {
        close(ends[1]);
        ssize_t n = read(ends[0], &byte, 1);
        _exit(n == 1 ? byte : EX_SOFTWARE);
    }
    close(ends[0]);
    s->ready_fd = ends[1];
    s->detached = true;
    setsid();
}

static void tell_parent(struct super *s, int status)
{
    char byte = (char)status;
    if (s->ready_fd < 0)
        return;
    if (write(s->ready_fd, &byte, 1) != 1)
        log_event(LOG_WARN, NULL, "supervise.parent.gone", F_STR("why", strerror(errno)));
    close(s->ready_fd);
    s->ready_fd = -1;
}

void leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(log_fd(), 1) < 0 || dup2(log_fd(), 2) < 0)
        log_event(LOG_WARN, NULL, "supervise.terminal.kept", F_STR("why", strerror(errno)));
    if (null >= 0)
        close(null);
}

void super_ready(struct super *s)
{
    s->all_up = true;
    log_event(LOG_INFO, NULL, "supervise.all_ready", F_UINT("count", s->count));
    if (s->detached)
        leave_terminal();
    tell_parent(s, EX_OK);
}

int adm_supervise(const struct adm *a, int argc, char **argv)
{
    static struct super s = {.ready_fd = -1, .notify_fd = -1};
    struct conf *c;
    bool detach = false;
    char file[PATH_MAX];
    int status = adm_conf(a, &c);
    if (status != EX_OK)
        return status;
    s.file = realpath(a->file, file);
    status =
        s.file ? read_arguments(&s, argc, argv, &detach) : complain(EX_NOINPUT, a->file, strerror(errno));
    if (status == EX_OK && detach)
        detach_from(&s);
    if (status == EX_OK)
        status = make_folder(c->run_dir);
    if (status == EX_OK)
        status = lock_pid_file(c);
    if (status == EX_OK)
        status = open_log(c);
    if (status == EX_OK)
        status = open_notify(&s);
    signal(SIGPIPE, SIG_IGN);
    if (status == EX_OK)
        status = super_run(&s);
    tell_parent(&s, status == EX_OK ? EX_TEMPFAIL : status);
    conf_free(&c);
    return status;
}
