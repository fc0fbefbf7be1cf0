/* A hot copy into a pipe: see dbcopy.h. Berkeley DB's own backup keeps its pages whole against the cache's
 * writes; what it may not know is that its target is no file, so that bytes must come in order.
 * The hard point is a reader that stops reading: the daemon must be able to end, and must not hold its log
 * files for it for ever. */
#include "common/store/dbcopy.h"
#include "common/base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 10 * 60 * 1000, TICK_MS = 500, READ_BYTES = 256 << 10 };

static void fail(struct dbcopy *c, enum err_code code, const char *what, const char *text)
{
    if (c->code == ERR_OK)
        c->code = err_set(c->why, code, NULL, "%s: %s", what, text);
}

void dbcopy_start(struct dbcopy *c, int fd, _Atomic bool *stop, struct err *why)
{
    *c = (struct dbcopy){.fd = fd, .stop = stop, .why = why};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        fail(c, ERR_STATE, "the backup's pipe", strerror(errno));
}

static bool wait_room(struct dbcopy *c, uint64_t begin_ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};
    if (*c->stop)
        fail(c, ERR_STATE, "the backup", "the daemon ends");
    else if (clock_mono_ms() - begin_ms > PATIENCE_MS)
        fail(c, ERR_STATE, "the backup", "nobody reads it");
    else if (poll(&p, 1, TICK_MS) > 0 && p.revents & POLLERR)
        fail(c, ERR_STATE, "the backup", "its reader went away");
    return c->code == ERR_OK;
}

static void put(struct dbcopy *c, const void *from, size_t n)
{
    const char *p = from;
    uint64_t begin_ms = clock_mono_ms();
    while (c->code == ERR_OK && n) {
        ssize_t w = write(c->fd, p, n);
        if (w > 0) {
            p += w;
            n -= (size_t)w;
            begin_ms = clock_mono_ms();
        } else if (w < 0 && errno == EAGAIN) {
            if (!wait_room(c, begin_ms))
                return;
        } else if (w == 0 || errno != EINTR) {
            fail(c, ERR_STATE, "the backup", w ? strerror(errno) : "its reader takes nothing");
        }
    }
}

static void put_number(struct dbcopy *c, uint64_t v, int bytes)
{
    unsigned char b[8];
    for (int i = 0; i < bytes; i++)
        b[i] = (unsigned char)(v >> (8 * (bytes - 1 - i)));
    put(c, b, (size_t)bytes);
}

static void put_kind(struct dbcopy *c, int kind)
{
    put_number(c, (uint64_t)kind, 1);
}

static void put_text(struct dbcopy *c, struct span s)
{
    s = span_first(s, 0xffff);
    put_number(c, s.n, 2);
    put(c, s.p, s.n);
}

static void put_data(struct dbcopy *c, struct span bytes)
{
    while (bytes.n && c->code == ERR_OK) {
        struct span part = span_first(bytes, BACKUP_DATA_LIMIT);
        put_kind(c, BACKUP_DATA);
        put_number(c, part.n, 4);
        put(c, part.p, part.n);
        c->sent += part.n;
        bytes = span_drop(bytes, part.n);
    }
}

void dbcopy_life(struct dbcopy *c, const unsigned char life[BACKUP_LIFE_SIZE])
{
    put_kind(c, BACKUP_LIFE);
    put(c, life, BACKUP_LIFE_SIZE);
}

void dbcopy_total(struct dbcopy *c, uint64_t bytes)
{
    put_kind(c, BACKUP_TOTAL);
    put_number(c, bytes, 8);
}

void dbcopy_kept(struct dbcopy *c, const char *name, uint64_t size)
{
    put_kind(c, BACKUP_KEPT);
    put_text(c, span_str(name));
    put_number(c, size, 8);
}

static void begin_file(struct dbcopy *c, const char *name)
{
    put_kind(c, BACKUP_FILE);
    put_text(c, span_str(name));
}

void dbcopy_text(struct dbcopy *c, const char *name, struct span bytes)
{
    begin_file(c, name);
    put_data(c, bytes);
    put_kind(c, BACKUP_END);
}

void dbcopy_file(struct dbcopy *c, int dir_fd, const char *path, const char *name, uint64_t most)
{
    if (c->code != ERR_OK)
        return;
    int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    char *block = xmalloc(READ_BYTES);
    if (fd < 0)
        fail(c, ERR_RETRY, path, strerror(errno));
    else
        posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    begin_file(c, name);
    for (uint64_t at = 0; c->code == ERR_OK && at < most;) {
        size_t want = most - at < READ_BYTES ? (size_t)(most - at) : READ_BYTES;
        ssize_t n = pread(fd, block, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail(c, ERR_RETRY, path, strerror(errno));
        if (n <= 0)
            break;
        put_data(c, span_of(block, (size_t)n));
        at += (uint64_t)n;
    }
    put_kind(c, BACKUP_END);
    free(block);
    if (fd >= 0)
        close(fd);
}

/* -- databases: the library calls back -- */

static int on_open(DB_ENV *env, const char *file, const char *target, void **handle)
{
    void *c = NULL;
    (void)env;
    (void)file;
    if (sscanf(target, "%p", &c) != 1)
        return EINVAL;
    *handle = c;
    return 0;
}

static int on_write(DB_ENV *env, u_int32_t gigabytes, u_int32_t offset, u_int32_t size, u_int8_t *p,
                    void *handle)
{
    struct dbcopy *c = handle;
    const uint64_t at = ((uint64_t)gigabytes << 30) + offset;
    static const char zeros[4096];
    (void)env;
    if (at < c->in_file)
        fail(c, ERR_BUG, "the database's pages", "do not come in order");
    while (c->code == ERR_OK && c->in_file < at) { /* a hole */
        size_t n = at - c->in_file < sizeof zeros ? (size_t)(at - c->in_file) : sizeof zeros;
        put_data(c, span_of(zeros, n));
        c->in_file += n;
    }
    put_data(c, span_of(p, size));
    c->in_file += size;
    return c->code == ERR_OK ? 0 : EIO;
}

static int on_close(DB_ENV *env, const char *file, void *handle)
{
    (void)env;
    (void)file;
    (void)handle;
    return 0;
}

void dbcopy_table(struct dbcopy *c, DB_ENV *env, const char *file, const char *name)
{
    if (c->code != ERR_OK)
        return;
    char target[32]; /* handed to on_open as it is: the only way for a word of ours to get there */
    snprintf(target, sizeof target, "%p", (void *)c);
    c->in_file = 0;
    begin_file(c, name);
    int ret = env->set_backup_callbacks(env, on_open, on_write, on_close);
    if (ret == 0)
        ret = env->dbbackup(env, file, target, 0);
    if (ret != 0)
        fail(c, ERR_RETRY, file, db_strerror(ret));
    put_kind(c, BACKUP_END);
}

void dbcopy_logs(struct dbcopy *c, DB_ENV *env, int home_fd, const char *prefix)
{
    char **list = NULL, name[BACKUP_NAME_LIMIT];
    if (c->code != ERR_OK)
        return;
    int ret = env->log_flush(env, NULL);
    ret = ret ? ret : env->log_archive(env, &list, DB_ARCH_LOG);
    if (ret != 0)
        fail(c, ERR_RETRY, "the list of log files", db_strerror(ret));
    for (char **f = list; f && *f && c->code == ERR_OK; f++) {
        snprintf(name, sizeof name, "%s%s", prefix, *f);
        dbcopy_file(c, home_fd, *f, name, UINT64_MAX);
    }
    free(list);
}

enum err_code dbcopy_finish(struct dbcopy *c)
{
    enum err_code code = c->code;
    if (code == ERR_OK) {
        put_kind(c, BACKUP_DONE);
        code = c->code;
    } else if (code != ERR_STATE) { /* the reader is there and wants to know */
        const struct span text = span_str(c->why->log);
        c->code = ERR_OK;
        put_kind(c, BACKUP_FAILED);
        put_text(c, text);
    }
    close(c->fd);
    c->fd = -1;
    return code;
}
