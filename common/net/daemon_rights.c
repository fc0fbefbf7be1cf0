/* Users, limits and the word to the supervisor. The hard point: giving up root must be complete (groups,
 * real, effective and saved ids) and is checked by asking, and by trying to get it back. */
#include "common/net/daemon_int.h"
#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DESCRIPTORS = 262144 };

enum err_code daemon_ids(const char *user, uid_t *uid, gid_t *gid, struct err *why)
{
    if (geteuid() != 0 || !user || !*user) {
        *uid = geteuid();
        *gid = getegid();
        return ERR_OK;
    }
    errno = 0;
    const struct passwd *pw = getpwnam(user);
    if (!pw)
        return err_set(why, ERR_MISSING, NULL, "user %s: %s", user, errno ? strerror(errno) : "no such user");
    *uid = pw->pw_uid;
    *gid = pw->pw_gid;
    return ERR_OK;
}

enum err_code rights_drop(const char *user, uid_t uid, gid_t gid, struct err *why)
{
    uid_t r, e, s;
    gid_t gr, ge, gs;
    if (geteuid() != 0 || uid == 0)
        return ERR_OK;
    if (initgroups(user, gid) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return err_set(why, ERR_DENIED, NULL, "becoming user %s: %s", user, strerror(errno));
    bool done = getresuid(&r, &e, &s) == 0 && getresgid(&gr, &ge, &gs) == 0 && r == uid && e == uid &&
                s == uid && gr == gid && ge == gid && gs == gid && setuid(0) != 0 && seteuid(0) != 0;
    return done ? ERR_OK : err_set(why, ERR_BUG, NULL, "becoming user %s did not last", user);
}

void rights_raise_limits(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    rlim_t want = r.rlim_max;
    if (want == RLIM_INFINITY || want > DESCRIPTORS)
        want = DESCRIPTORS;
    if (r.rlim_cur < want) {
        r.rlim_cur = want;
        if (setrlimit(RLIMIT_NOFILE, &r) != 0)
            log_event(LOG_WARN, NULL, "daemon.limit.kept", F_STR("why", strerror(errno)));
    }
}

void rights_protect_from_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "-500", 4) != 4 && errno != EACCES && errno != EPERM)
        log_event(LOG_WARN, NULL, "daemon.oom.unprotected", F_STR("why", strerror(errno)));
    close(fd);
}

int notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof a.sun_path || (path[0] != '/' && path[0] != '@'))
        return -1;
    memcpy(a.sun_path, path, n);
    if (path[0] == '@')
        a.sun_path[0] = '\0'; /* the abstract name space */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, len) != 0) {
        log_event(LOG_WARN, NULL, "daemon.notify.failed", F_STR("why", strerror(errno)));
        close(fd);
        fd = -1;
    }
    return fd;
}

void notify_say(int fd, const char *text)
{
    if (fd >= 0 && send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        log_event(LOG_WARN, NULL, "daemon.notify.failed", F_STR("why", strerror(errno)));
}
