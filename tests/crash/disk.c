/* A disk that loses power, fails and fills up: an LD_PRELOAD shim for stored, for tests only.
 *
 * Power loss: every write goes through to the file at once, so that reads see it, while what the block held
 * when it was last synced is kept here. When the power fails, each unsynced block stays or goes back by
 * chance (or all go back), sizes and names likewise, and the process dies. So what a real disk may do with
 * what sits in the page cache is done to the files that the next start finds. Blocks of one write are decided
 * one by one in grains of 512 or 4096 bytes: writes tear. Names of one folder are lost from the newest back,
 * as a journal of metadata loses them. Files whose paths do not start with DISK_DIR and hold /mail are left
 * alone.
 *
 * Failures: calls on files whose path holds a text fail with an errno, after some that succeed. */
#include "tests/crash/disk_page.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

enum { GRAIN = 512, PATHS = 400, DIRS = 16 };

static struct disk_page *page;   /* stored's */
static struct disk_page *clocks; /* every program's */
static const char *root;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f)
        abort();
    return f;
}

/* -- what is known of files -- */

struct block {
    off_t number;
    unsigned char was[GRAIN];
    UT_hash_handle hh;
};
struct file {
    ino_t ino;
    char path[PATHS];
    int fd; /* while it is dirty */
    off_t durable_size;
    struct block *blocks;
    UT_hash_handle hh;
};
static struct file *files;

struct folder {
    ino_t ino;
    int fd;
    char path[PATHS];
};
static struct folder folders[DIRS];
static size_t folder_count;

enum name_kind { NAME_MADE, NAME_MOVED, NAME_GONE };
struct name_op {
    enum name_kind kind;
    struct folder *dir;
    ino_t ino;
    char name[128], other[128]; /* MOVED: from name to other; GONE: it lies aside as other */
    struct name_op *before;
};
static struct name_op *names; /* the newest first */

static uint32_t chance_state;
static uint32_t chance(uint32_t n)
{
    chance_state = chance_state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(chance_state >> 8) * n >> 24);
}

static void __attribute__((constructor)) disk_start(void)
{
    const char *path = getenv("DISK_CONTROL");
    root = getenv("DISK_DIR");
    int fd = path && root ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    clocks = p == MAP_FAILED ? NULL : p;
    if (strcmp(program_invocation_short_name, "stored") == 0)
        page = clocks;
    if (page)
        chance_state = page->seed;
}

static struct folder *folder_of(ino_t ino)
{
    for (size_t i = 0; i < folder_count; i++)
        if (folders[i].ino == ino)
            return &folders[i];
    return NULL;
}

static struct folder *folder_add(const char *path)
{
    struct stat st;
    int fd = REAL(open)(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || folder_of(st.st_ino) || folder_count == DIRS) {
        struct folder *f = fd >= 0 ? folder_of(st.st_ino) : NULL;
        if (fd >= 0)
            close(fd);
        return f;
    }
    struct folder *f = &folders[folder_count++];
    f->ino = st.st_ino;
    f->fd = fd;
    snprintf(f->path, sizeof f->path, "%s", path);
    return f;
}

/* The folder of a name below root, and its last part. */
static struct folder *locate(int at, const char *path, const char **last)
{
    struct stat st;
    char dir[PATHS];
    const char *slash = strrchr(path, '/');
    *last = slash ? slash + 1 : path;
    if (path[0] == '/') {
        if (strncmp(path, root, strlen(root)) != 0 || !strstr(path, "/mail"))
            return NULL;
        snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
        return folder_add(dir);
    }
    if (slash || at == AT_FDCWD || fstat(at, &st) != 0)
        return NULL;
    return folder_of(st.st_ino);
}

static struct file *file_of(int fd)
{
    struct stat st;
    struct file *f = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return NULL;
    HASH_FIND(hh, files, &st.st_ino, sizeof st.st_ino, f);
    return f;
}

static off_t size_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_size : 0;
}

/* -- the power fails -- */

static void put_back(struct file *f)
{
    const off_t size = size_of(f->fd), grain = page->grain > GRAIN ? page->grain : GRAIN;
    off_t end = size;
    struct block *b, *next;
    if (size > f->durable_size)
        end = page->flags & DISK_ALL
                  ? f->durable_size
                  : f->durable_size + (off_t)chance((uint32_t)((size - f->durable_size) / grain + 2)) * grain;
    else if (page->flags & DISK_ALL || chance(2))
        end = f->durable_size;
    if (size > f->durable_size)
        end = end / grain * grain > f->durable_size ? end / grain * grain : f->durable_size;
    if (end > size && size >= f->durable_size)
        end = size;
    const uint32_t salt = chance(1 << 20);
    HASH_ITER(hh, f->blocks, b, next)
    {
        uint64_t x = (uint64_t)(b->number * GRAIN / grain) * 0x9e3779b97f4a7c15u + salt;
        bool back = page->flags & DISK_ALL || ((x ^ x >> 29) * 0xbf58476d1ce4e5b9u >> 40) % 2;
        if (back && REAL(pwrite)(f->fd, b->was, GRAIN, b->number * GRAIN) < 0)
            abort();
        atomic_fetch_add(back ? &page->blocks_lost : &page->blocks_kept, 1);
    }
    if (REAL(ftruncate)(f->fd, end) != 0)
        abort();
}

static void undo_names(void)
{
    unsigned count = 0;
    for (struct name_op *o = names; o; o = o->before)
        count++;
    unsigned lost = page->flags & DISK_NAMES ? 0 : page->flags & DISK_ALL ? count : chance(count + 1);
    for (struct name_op *o = names; o && lost; o = o->before, lost--) {
        int bad = 0;
        if (o->kind == NAME_MADE)
            bad = REAL(unlinkat)(o->dir->fd, o->name, 0);
        else
            bad = REAL(renameat)(o->dir->fd, o->other, o->dir->fd, o->name);
        if (bad)
            abort();
        atomic_fetch_add(&page->names_lost, 1);
    }
    for (struct name_op *o = names; o; o = o->before) /* what stays removed */
        if (o->kind == NAME_GONE)
            (void)REAL(unlinkat)(o->dir->fd, o->other, 0);
}

static void cut(void)
{
    struct file *f, *next;
    HASH_ITER(hh, files, f, next)
    if (f->fd >= 0)
        put_back(f);
    undo_names();
    atomic_fetch_add(&page->cuts, 1);
    raise(SIGKILL);
    for (;;)
        pause();
}

/* One operation more, with the lock held. True: it must fail. */
static bool operate(enum disk_op op, const char *path)
{
    page->ops++;
    if (!(atomic_load(&page->fail_ops) & op) || !strstr(path, page->fail_path))
        return false;
    if (atomic_load(&page->fail_skip)) {
        atomic_fetch_sub(&page->fail_skip, 1);
        return false;
    }
    if (page->fail_times && --page->fail_times == 0)
        atomic_store(&page->fail_ops, 0);
    page->failed++;
    errno = (int)page->fail_errno;
    return true;
}

/* After what changed the disk: is it now that the power fails? */
static void count_down(void)
{
    if (atomic_load(&page->cut_after) >= 0 && atomic_fetch_sub(&page->cut_after, 1) == 0)
        cut();
}

/* -- writing -- */

static void keep_block(struct file *f, off_t number)
{
    struct block *b = NULL;
    HASH_FIND(hh, f->blocks, &number, sizeof number, b);
    if (b)
        return;
    b = calloc(1, sizeof *b);
    b->number = number;
    if (number * GRAIN < f->durable_size && REAL(pread)(f->fd, b->was, GRAIN, number * GRAIN) < 0)
        abort();
    HASH_ADD(hh, f->blocks, number, sizeof b->number, b);
}

static void make_dirty(struct file *f, int fd)
{
    if (f->fd < 0)
        f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 100);
}

static ssize_t do_write(struct file *f, int fd, const void *p, size_t n, off_t at)
{
    make_dirty(f, fd);
    for (off_t i = at / GRAIN; n && i <= (off_t)((size_t)at + n - 1) / GRAIN; i++)
        keep_block(f, i);
    return REAL(pwrite)(fd, p, n, at);
}

static ssize_t shim_pwrite(int fd, const void *p, size_t n, off_t at)
{
    ssize_t got = -1;
    if (!page)
        return REAL(pwrite)(fd, p, n, at);
    pthread_mutex_lock(&lock);
    struct file *f = file_of(fd);
    if (!f)
        got = REAL(pwrite)(fd, p, n, at);
    else if (!operate(DISK_WRITE, f->path)) {
        got = do_write(f, fd, p, n, at);
        count_down();
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return got;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    return shim_pwrite(fd, p, n, at);
}
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return shim_pwrite(fd, p, n, at);
}

ssize_t write(int fd, const void *p, size_t n)
{
    ssize_t got = -1;
    if (!page)
        return REAL(write)(fd, p, n);
    pthread_mutex_lock(&lock);
    struct file *f = file_of(fd);
    if (!f)
        got = REAL(write)(fd, p, n);
    else if (!operate(DISK_WRITE, f->path)) {
        off_t at = lseek(fd, 0, SEEK_CUR);
        got = do_write(f, fd, p, n, at);
        if (got > 0)
            lseek(fd, at + got, SEEK_SET);
        count_down();
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return got;
}

static int shim_ftruncate(int fd, off_t size)
{
    int ret = -1;
    if (!page)
        return REAL(ftruncate)(fd, size);
    pthread_mutex_lock(&lock);
    struct file *f = file_of(fd);
    if (!f)
        ret = REAL(ftruncate)(fd, size);
    else if (!operate(DISK_SHRINK, f->path)) {
        make_dirty(f, fd);
        for (off_t i = size / GRAIN; i * GRAIN < f->durable_size; i++)
            keep_block(f, i);
        ret = REAL(ftruncate)(fd, size);
        count_down();
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return ret;
}

int ftruncate(int fd, off_t size)
{
    return shim_ftruncate(fd, size);
}
int ftruncate64(int fd, off64_t size)
{
    return shim_ftruncate(fd, size);
}

/* -- reading -- */

static bool read_fails(int fd)
{
    if (!page || !(atomic_load(&page->fail_ops) & DISK_READ))
        return false;
    pthread_mutex_lock(&lock);
    struct file *f = file_of(fd);
    bool fails = f && operate(DISK_READ, f->path);
    pthread_mutex_unlock(&lock);
    return fails;
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
    return read_fails(fd) ? -1 : REAL(pread)(fd, p, n, at);
}
ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
    return read_fails(fd) ? -1 : REAL(pread64)(fd, p, n, at);
}

ssize_t read(int fd, void *p, size_t n)
{
    return read_fails(fd) ? -1 : REAL(read)(fd, p, n);
}

/* -- syncing -- */

static void now_durable(struct file *f, int fd)
{
    struct block *b, *next;
    HASH_ITER(hh, f->blocks, b, next)
    {
        HASH_DEL(f->blocks, b);
        free(b);
    }
    f->durable_size = size_of(fd);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* Names of a folder, or the making of one file and all that came before it in the journal. */
static void names_durable(const struct folder *dir, ino_t ino)
{
    struct name_op **at = &names;
    bool all = dir != NULL;
    while (*at) {
        struct name_op *o = *at;
        all = all || (o->kind == NAME_MADE && o->ino == ino);
        if (!all || (dir && o->dir != dir)) {
            at = &o->before;
            continue;
        }
        *at = o->before;
        if (o->kind == NAME_GONE)
            (void)REAL(unlinkat)(o->dir->fd, o->other, 0);
        free(o);
    }
}

static int shim_sync(int fd, int (*sync)(int))
{
    struct stat st;
    int ret = -1;
    if (!page || fstat(fd, &st) != 0)
        return sync(fd);
    pthread_mutex_lock(&lock);
    struct file *f = file_of(fd);
    struct folder *dir = S_ISDIR(st.st_mode) ? folder_of(st.st_ino) : NULL;
    if (!f && !dir)
        ret = sync(fd);
    else if (!operate(DISK_SYNC, f ? f->path : dir->path)) {
        count_down(); /* before it has done anything */
        ret = 0;      /* the real one would only cost time: power is lost here, not there */
        if (f && !(page->flags & DISK_FORGET))
            now_durable(f, fd);
        if (dir)
            names_durable(dir, 0);
        else if (!(page->flags & DISK_STRICT))
            names_durable(NULL, st.st_ino);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return ret;
}

int fsync(int fd)
{
    return shim_sync(fd, REAL(fsync));
}
int fdatasync(int fd)
{
    return shim_sync(fd, REAL(fdatasync));
}

/* -- names -- */

static void note_name(enum name_kind kind, struct folder *dir, ino_t ino, const char *name, const char *other)
{
    struct name_op *o = calloc(1, sizeof *o);
    *o = (struct name_op){.kind = kind, .dir = dir, .ino = ino, .before = names};
    snprintf(o->name, sizeof o->name, "%s", name);
    snprintf(o->other, sizeof o->other, "%s", other);
    names = o;
    count_down();
}

static void opened(int fd, struct folder *dir, const char *name, bool made, int flags)
{
    struct stat st;
    struct file *f = NULL;
    if (fstat(fd, &st) != 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        char path[2 * PATHS];
        snprintf(path, sizeof path, "%s/%s", dir->path, strcmp(name, ".") == 0 ? "" : name);
        (void)folder_add(path);
        return;
    }
    HASH_FIND(hh, files, &st.st_ino, sizeof st.st_ino, f);
    if (f && made) { /* the number of a file that is gone */
        now_durable(f, fd);
        HASH_DEL(files, f);
        free(f);
        f = NULL;
    }
    if (!f) {
        f = calloc(1, sizeof *f);
        f->ino = st.st_ino;
        f->fd = -1;
        f->durable_size = made || flags & O_TRUNC ? 0 : st.st_size;
        HASH_ADD(hh, files, ino, sizeof f->ino, f);
    }
    snprintf(f->path, sizeof f->path, "%.260s/%.130s", dir->path, name);
    if (made)
        note_name(NAME_MADE, dir, st.st_ino, name, "");
}

static int shim_open(int at, const char *path, int flags, mode_t mode)
{
    const char *name;
    struct stat st;
    if (!page)
        return REAL(openat)(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct folder *dir = locate(at, path, &name);
    bool made = dir && flags & O_CREAT && fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0;
    int fd = -1;
    if (!dir || !made || !operate(DISK_NAME, path))
        fd = REAL(openat)(at, path, flags, mode);
    int saved = errno;
    if (fd >= 0 && dir)
        opened(fd, dir, name, made, flags);
    else if (fd >= 0 && strcmp(path, root) == 0)
        (void)folder_add(path);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return fd;
}

#define OPEN_MODE(flags, last)                                                                               \
    mode_t mode = 0;                                                                                         \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                     \
        va_list list;                                                                                        \
        va_start(list, last);                                                                                \
        mode = va_arg(list, mode_t);                                                                         \
        va_end(list);                                                                                        \
    }

int open(const char *path, int flags, ...)
{
    OPEN_MODE(flags, flags)
    return shim_open(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    OPEN_MODE(flags, flags)
    return shim_open(AT_FDCWD, path, flags, mode);
}
int openat(int at, const char *path, int flags, ...)
{
    OPEN_MODE(flags, flags)
    return shim_open(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...)
{
    OPEN_MODE(flags, flags)
    return shim_open(at, path, flags, mode);
}

static int shim_unlink(int at, const char *path)
{
    static unsigned serial;
    const char *name;
    char aside[64];
    struct stat st;
    if (!page)
        return REAL(unlinkat)(at, path, 0);
    pthread_mutex_lock(&lock);
    struct folder *dir = locate(at, path, &name);
    int ret = -1;
    if (!dir || fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        ret = REAL(unlinkat)(at, path, 0);
    else if (!operate(DISK_NAME, path)) {
        snprintf(aside, sizeof aside, ".gone-%d-%u", (int)getpid(), ++serial);
        ret = REAL(renameat)(dir->fd, name, dir->fd, aside);
        if (ret == 0)
            note_name(NAME_GONE, dir, st.st_ino, name, aside);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return ret;
}

int unlink(const char *path)
{
    return shim_unlink(AT_FDCWD, path);
}
int unlinkat(int at, const char *path, int flags)
{
    return flags ? REAL(unlinkat)(at, path, flags) : shim_unlink(at, path);
}

static int shim_rename(int at, const char *from, int to_at, const char *to)
{
    const char *name, *other;
    struct stat st;
    if (!page)
        return REAL(renameat)(at, from, to_at, to);
    pthread_mutex_lock(&lock);
    struct folder *dir = locate(at, from, &name), *to_dir = locate(to_at, to, &other);
    bool ours = dir && dir == to_dir && fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int ret = -1;
    if (!ours || !operate(DISK_NAME, from))
        ret = REAL(renameat)(at, from, to_at, to);
    if (ours && ret == 0)
        note_name(NAME_MOVED, dir, st.st_ino, name, other);
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return ret;
}

int rename(const char *from, const char *to)
{
    return shim_rename(AT_FDCWD, from, AT_FDCWD, to);
}
int renameat(int at, const char *from, int to_at, const char *to)
{
    return shim_rename(at, from, to_at, to);
}

/* -- the clock -- */

int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*call)(clockid_t, struct timespec *);
    if (!call)
        call = REAL(clock_gettime);
    int ret = call(id, t);
    int64_t shift = clocks && id == CLOCK_REALTIME ? atomic_load(&clocks->clock_shift_us) : 0;
    if (ret == 0 && shift) {
        int64_t us = (int64_t)t->tv_sec * 1000000 + t->tv_nsec / 1000 + shift;
        t->tv_sec = us / 1000000;
        t->tv_nsec = us % 1000000 * 1000;
    }
    return ret;
}

time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}
