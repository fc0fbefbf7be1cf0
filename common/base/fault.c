/* Faults on command, for tests only. The command lies in a file that the test and the process share as
 * memory: $PROVMAIL_FAULTS/PROGRAM, mapped before the sandbox closes, so that a test arms and disarms a point
 * while the process runs, and reads there which points it has come by. The hard point is that the process may
 * die at any instruction: the file has no lock, one field (armed) is written last by the test, and every
 * other word has one writer. */
#include "common/base/fault.h"
#include "common/base/fault_page.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static struct fault_page *page;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void __attribute__((constructor)) fault_open(void)
{
    char path[4096];
    const char *dir = getenv("PROVMAIL_FAULTS");
    if (!dir)
        return;
    snprintf(path, sizeof path, "%s/%s", dir, program_invocation_short_name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    page = p == MAP_FAILED ? NULL : p;
}

static void count(const char *point)
{
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < FAULT_POINTS && page->points[i].name[0] && strcmp(page->points[i].name, point) != 0)
        i++;
    if (i < FAULT_POINTS) {
        snprintf(page->points[i].name, sizeof page->points[i].name, "%s", point);
        page->points[i].passes++;
    }
    pthread_mutex_unlock(&lock);
}

static bool act(void)
{
    page->fired++;
    switch (page->action) {
    case FAULT_DIE:
        raise(SIGKILL);
        for (;;)
            pause();
    case FAULT_STALL: {
        const struct timespec t = {page->value / 1000, page->value % 1000 * 1000000L};
        nanosleep(&t, NULL);
        return false;
    }
    default:
        errno = (int)page->value;
        return true;
    }
}

bool fault_pass(const char *point)
{
    if (!page)
        return false;
    count(point);
    if (!atomic_load(&page->armed) || strcmp(page->point, point) != 0)
        return false;
    if (atomic_load(&page->skip)) {
        atomic_fetch_sub(&page->skip, 1);
        return false;
    }
    if (page->times && --page->times == 0)
        atomic_store(&page->armed, 0);
    return act();
}
