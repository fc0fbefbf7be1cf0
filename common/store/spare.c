/* A spare log file. A file that grows has to bring its new blocks to the disk with each sync, and blocks that
 * are allocated but were never written count as growing: a sync of a file whose blocks have all been written
 * once costs half of the time and of the CPU. So a thread writes a whole log file of zeros, syncs it, and the
 * library's next log file takes its place by a rename.
 * The hard point is that nothing may depend on it: without space, or when the log is faster than the thread,
 * the library makes its file itself as ever. Zeros are what the library takes for the end of a log. A spare
 * that a crash leaves is removed: whether all of it was written is not known. */
#include "common/store/spare.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BLOCK = 256 << 10 };
static const char spare_name[] = "log.spare"; /* not of digits: the library passes it over */

static struct spare {
    int dir;
    uint64_t size, reserve;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool running, stopping, wanted, ready;
} s = {.dir = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static bool write_zeros(int fd)
{
    static const char zeros[BLOCK];
    for (uint64_t at = 0; at < s.size;) {
        size_t n = s.size - at < sizeof zeros ? (size_t)(s.size - at) : sizeof zeros;
        ssize_t got = FAULT("store.spare.write") ? -1 : pwrite(fd, zeros, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += (uint64_t)got;
    }
    return fdatasync(fd) == 0;
}

static bool has_room(void)
{
    struct statvfs st;
    return fstatvfs(s.dir, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize >= s.reserve + s.size;
}

static bool make(void)
{
    if (!has_room())
        return false;
    int fd = openat(s.dir, spare_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    bool ok = fd >= 0 && write_zeros(fd);
    if (!ok) {
        log_event(LOG_WARN, NULL, "store.log.spare.failed", F_STR("why", strerror(errno)));
        (void)unlinkat(s.dir, spare_name, 0);
    }
    if (fd >= 0)
        close(fd);
    FAULT_STEP("store.spare.made");
    return ok;
}

static void *spare_main(void *arg)
{
    (void)arg;
    pthread_setname_np(pthread_self(), "spare");
    pthread_mutex_lock(&s.lock);
    while (!s.stopping) {
        if (!s.wanted || s.ready) {
            pthread_cond_wait(&s.wake, &s.lock);
            continue;
        }
        s.wanted = false; /* one that fails is tried again when it is next asked for */
        pthread_mutex_unlock(&s.lock);
        bool made = make();
        pthread_mutex_lock(&s.lock);
        s.ready = made;
    }
    pthread_mutex_unlock(&s.lock);
    return NULL;
}

static void want(void)
{
    s.wanted = true;
    pthread_cond_signal(&s.wake);
}

void spare_want(void)
{
    pthread_mutex_lock(&s.lock);
    if (!s.ready && !s.wanted)
        want();
    pthread_mutex_unlock(&s.lock);
}

bool spare_take(const char *name)
{
    bool taken = false;
    pthread_mutex_lock(&s.lock);
    if (s.ready && faccessat(s.dir, name, F_OK, 0) != 0 && errno == ENOENT) {
        taken = renameat(s.dir, spare_name, s.dir, name) == 0;
        s.ready = false;
        if (!taken)
            (void)unlinkat(s.dir, spare_name, 0);
    }
    if (s.running && taken)
        want();
    pthread_mutex_unlock(&s.lock);
    if (taken)
        FAULT_STEP("store.spare.taken");
    return taken;
}

enum err_code spare_start(int db_dir, uint64_t size, uint64_t reserve, struct err *why)
{
    assert(!s.running);
    if (unlinkat(db_dir, spare_name, 0) != 0 && errno != ENOENT)
        return err_set(why, ERR_RETRY, NULL, "removing %s: %s", spare_name, strerror(errno));
    s.dir = db_dir;
    s.size = size;
    s.reserve = reserve;
    s.stopping = s.wanted = s.ready = false;
    int error = pthread_create(&s.thread, NULL, spare_main, NULL);
    s.running = error == 0;
    return error ? err_set(why, ERR_RETRY, NULL, "starting a thread: %s", strerror(error)) : ERR_OK;
}

void spare_stop(void)
{
    if (!s.running)
        return;
    pthread_mutex_lock(&s.lock);
    s.stopping = true;
    s.running = false;
    pthread_cond_signal(&s.wake);
    pthread_mutex_unlock(&s.lock);
    pthread_join(s.thread, NULL);
    if (s.ready)
        (void)unlinkat(s.dir, spare_name, 0);
    s.ready = false;
}
