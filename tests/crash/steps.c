/* A process that dies at its n-th step on the disk: an LD_PRELOAD shim, for tests only. A step is a call that
 * changes names or brings bytes to the disk (rename, mkdir, a file made, unlink, fsync); the process is
 * killed in front of it. STEPS_DIE: n, counted from 1, 0: never. STEPS_COUNT: a file that gets the number of
 * steps at the end. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned long steps, last;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void __attribute__((constructor)) begin(void)
{
    const char *n = getenv("STEPS_DIE");
    last = n ? strtoul(n, NULL, 10) : 0;
}

static void __attribute__((destructor)) end(void)
{
    const char *path = getenv("STEPS_COUNT");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (f) {
        fprintf(f, "%lu\n", steps);
        fclose(f);
    }
}

static void step(void)
{
    if (++steps == last)
        raise(SIGKILL);
}

int rename(const char *from, const char *to)
{
    step();
    return REAL(rename)(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    step();
    return REAL(mkdir)(path, mode);
}

int unlink(const char *path)
{
    step();
    return REAL(unlink)(path);
}

int unlinkat(int dir, const char *path, int flags)
{
    step();
    return REAL(unlinkat)(dir, path, flags);
}

int rmdir(const char *path)
{
    step();
    return REAL(rmdir)(path);
}

int fsync(int fd)
{
    step();
    return REAL(fsync)(fd);
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list list;
        va_start(list, flags);
        mode = va_arg(list, mode_t);
        va_end(list);
        step();
    }
    return REAL(open)(path, flags, mode);
}
