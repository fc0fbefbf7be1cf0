/* Listening sockets with a role: making them, and accepting on them. The hard points: a path may be longer
 * than a socket address holds (then it is reached through the folder's descriptor), an old socket is
 * replaced without a moment of absence, and who may connect is asked of the kernel at each connection.
 * Frames are ipc.c's. */
#include "common/net/ipc_int.h"
#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024, ACCEPTS_A_ROUND = 64, REST_MS = 100 };

struct ipc_server {
    struct loop *loop;
    int fd;
    uid_t *uids;
    size_t uid_count;
    struct ipc_ops ops;
    void (*accepted)(void *arg, struct ipc *c);
    void *arg;
    struct loop_io *io;
    struct loop_timer *rest; /* descriptors are used up: look again later */
};

int ipc_accept(int listen_fd)
{
    int fd;
    do
        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    return fd;
}

bool ipc_peer_allowed(int fd, const uid_t *uids, size_t count, uid_t *out_uid)
{
    struct ucred cred;
    socklen_t n = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0)
        return false;
    *out_uid = cred.uid;
    bool ok = cred.uid == 0 || cred.uid == geteuid();
    for (size_t i = 0; i < count && !ok; i++)
        ok = cred.uid == uids[i];
    return ok;
}

static void on_listen(void *arg, unsigned what)
{
    struct ipc_server *s = arg;
    (void)what;
    for (unsigned i = 0; i < ACCEPTS_A_ROUND; i++) {
        uid_t uid = (uid_t)-1;
        int fd = ipc_accept(s->fd);
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0) {
            log_event(LOG_ERROR, NULL, "ipc.accept.failed", F_STR("why", strerror(errno)));
            loop_io_want(s->io, 0);
            loop_timer_start(s->rest, REST_MS);
            return;
        }
        if (!ipc_peer_allowed(fd, s->uids, s->uid_count, &uid)) {
            log_event(LOG_ALARM, NULL, "ipc.peer.refused", F_UINT("uid", uid));
            close(fd);
            continue;
        }
        s->accepted(s->arg, ipc_new(s->loop, fd, &s->ops, s->arg));
    }
}

static void on_rest(void *arg)
{
    struct ipc_server *s = arg;
    loop_io_want(s->io, LOOP_READ);
}

struct ipc_server *ipc_serve(struct loop *l, int listen_fd, const uid_t *uids, size_t uid_count,
                             const struct ipc_ops *ops, void (*accepted)(void *arg, struct ipc *c), void *arg)
{
    struct ipc_server *s = xmalloc(sizeof *s);
    *s = (struct ipc_server){
        .loop = l, .fd = listen_fd, .uid_count = uid_count, .ops = *ops, .accepted = accepted, .arg = arg};
    s->uids = xcalloc(uid_count, sizeof *s->uids);
    if (uid_count)
        memcpy(s->uids, uids, uid_count * sizeof *uids);
    s->io = loop_io_new(l, listen_fd, LOOP_READ, on_listen, s);
    s->rest = loop_timer_new(l, on_rest, s);
    return s;
}

void ipc_server_free(struct ipc_server **sp)
{
    struct ipc_server *s = *sp;
    if (!s)
        return;
    loop_io_free(&s->io);
    loop_timer_free(&s->rest);
    close(s->fd);
    free(s->uids);
    free(s);
    *sp = NULL;
}

/* Make dir and the folders above it that are missing. */
static int make_folders(const char *dir, mode_t mode)
{
    char *path = xstrdup(dir);
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(path, 0755) == 0 ? chmod(path, 0755) != 0 : errno != EEXIST) {
            free(path);
            return -1;
        }
        *p = '/';
    }
    int ret = mkdir(path, mode);
    free(path);
    return ret != 0 && errno != EEXIST ? -1 : 0;
}

/* The address of NAME in the folder behind dir_fd; by its plain path when that fits. */
static bool address(struct sockaddr_un *a, const char *dir, int dir_fd, const char *name)
{
    int n = snprintf(a->sun_path, sizeof a->sun_path, "%s/%s", dir, name);
    a->sun_family = AF_UNIX;
    if (n > 0 && (size_t)n < sizeof a->sun_path)
        return true;
    n = snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d/%s", dir_fd, name);
    return n > 0 && (size_t)n < sizeof a->sun_path;
}

struct rights {
    mode_t dir_mode, mode;
    uid_t dir_uid, uid;
    gid_t gid;
};

static bool own(int dir_fd, const char *temp, const struct rights *r)
{
    if (geteuid() == 0 && (fchown(dir_fd, r->dir_uid, r->gid) != 0 ||
                           fchownat(dir_fd, temp, r->uid, r->gid, AT_SYMLINK_NOFOLLOW) != 0))
        return false;
    return fchmod(dir_fd, r->dir_mode) == 0 && fchmodat(dir_fd, temp, r->mode, 0) == 0;
}

enum err_code ipc_listen_mode(const char *dir, mode_t dir_mode, uid_t dir_uid, const char *name, mode_t mode,
                              uid_t uid, gid_t gid, int *out_fd, struct err *why)
{
    const struct rights rights = {dir_mode, mode, dir_uid, uid, gid};
    struct sockaddr_un a = {0};
    char temp[80];
    int fd = -1, dir_fd = -1;
    const char *step = "mkdir";
    snprintf(temp, sizeof temp, ".%.40s.%ld", name, (long)getpid());
    if (make_folders(dir, dir_mode) != 0)
        goto failed;
    step = "open";
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        goto failed;
    step = "socket";
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        goto failed;
    step = "bind";
    errno = ENAMETOOLONG;
    if (!address(&a, dir, dir_fd, temp))
        goto failed;
    if (unlinkat(dir_fd, temp, 0) != 0 && errno != ENOENT)
        goto failed;
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0)
        goto failed;
    step = "owner";
    if (!own(dir_fd, temp, &rights))
        goto failed;
    step = "listen";
    if (listen(fd, BACKLOG) != 0 || renameat(dir_fd, temp, dir_fd, name) != 0)
        goto failed;
    close(dir_fd);
    *out_fd = fd;
    return ERR_OK;

failed:
    err_set(why, ERR_STATE, NULL, "socket %s/%s: %s: %s", dir, name, step, strerror(errno));
    if (dir_fd >= 0) {
        (void)unlinkat(dir_fd, temp, 0);
        close(dir_fd);
    }
    if (fd >= 0)
        close(fd);
    return ERR_STATE;
}

enum err_code ipc_listen(const char *dir, const char *name, uid_t uid, gid_t gid, int *out_fd,
                         struct err *why)
{
    return ipc_listen_mode(dir, 0700, uid, name, 0600, uid, gid, out_fd, why);
}

enum err_code ipc_connect(const char *path, int *out_fd, struct err *why)
{
    struct sockaddr_un a = {0};
    const char *slash = strrchr(path, '/');
    int dir_fd = -1, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        goto failed;
    char *dir = slash ? xstrspan(span_of(path, (size_t)(slash - path))) : xstrdup(".");
    if (strlen(path) >= sizeof a.sun_path)
        dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool fits = address(&a, dir, dir_fd, slash ? slash + 1 : path);
    free(dir);
    if (!fits)
        errno = ENAMETOOLONG;
    if (!fits || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        goto failed;
    if (dir_fd >= 0)
        close(dir_fd);
    *out_fd = fd;
    return ERR_OK;

failed:
    err_set(why, ERR_RETRY, NULL, "connect %s: %s", path, strerror(errno));
    if (dir_fd >= 0)
        close(dir_fd);
    if (fd >= 0)
        close(fd);
    return ERR_RETRY;
}
