/* See known.h. A table of fixed size: an address has four places, and who comes later takes one of them. So
 * a stranger who names addresses by the thousand costs others a question each, nothing more. The hard point
 * is that nothing may be believed longer than its number: it is compared at each look, and a page goes with
 * its connection. Only accounts are kept: whether somebody is absent depends on the time, and what a group
 * says on who asks. */
#include "common/directory/known.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SETS = 4096, WAYS = 4, ADDRESS_MAX = 80 };
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

struct place {
    uint64_t number; /* 0: empty */
    struct uuid id, unit;
    uint64_t quota_bytes;
    bool disabled, no_login, may_post;
    unsigned char address_n;
    char address[ADDRESS_MAX];
};

struct known {
    const struct answers_page *page; /* or NULL */
    struct place (*sets)[WAYS];      /* NULL until the first is kept */
    unsigned turn;                   /* whose place is taken next */
};

/* -- directoryd's side -- */

struct answers_page *answers_page_new(int *out_fd)
{
    const size_t size = sizeof(struct answers_page);
    void *at = MAP_FAILED;
    int fd = memfd_create("answers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
        at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0) {
        struct answers_page *page = at;
        atomic_init(&page->number, 1);
        *out_fd = fd;
        return page;
    }
    const int saved = errno;
    if (at != MAP_FAILED)
        munmap(at, size);
    if (fd >= 0)
        close(fd);
    errno = saved;
    return NULL;
}

void answers_changed(struct answers_page *page)
{
    if (page)
        atomic_fetch_add(&page->number, 1);
}

/* -- a worker's side -- */

struct known *known_new(void)
{
    return xcalloc(1, sizeof(struct known));
}

void known_forget(struct known *k)
{
    if (k->page)
        munmap((void *)(uintptr_t)k->page, sizeof *k->page);
    k->page = NULL;
    free(k->sets);
    k->sets = NULL;
}

void known_free(struct known **kp)
{
    if (*kp)
        known_forget(*kp);
    free(*kp);
    *kp = NULL;
}

bool known_page(struct known *k, int fd)
{
    struct stat st;
    void *at = MAP_FAILED;
    known_forget(k);
    if (fstat(fd, &st) == 0 && st.st_size == (off_t)sizeof *k->page)
        at = mmap(NULL, sizeof *k->page, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return false;
    k->page = at;
    return true;
}

uint64_t known_number(const struct known *k)
{
    return k->page ? atomic_load(&k->page->number) : 0;
}

static size_t set_of(struct span address)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < address.n; i++)
        h = (h ^ (unsigned char)address.p[i]) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32) % SETS;
}

static struct place *find(const struct known *k, uint64_t number, struct span address)
{
    struct place *set = k->sets && number ? k->sets[set_of(address)] : NULL;
    for (size_t i = 0; set && i < WAYS; i++)
        if (set[i].number == number && span_eq(span_of(set[i].address, set[i].address_n), address))
            return &set[i];
    return NULL;
}

/* One that is of no use any more, else the next one's. */
static struct place *make_room(struct known *k, uint64_t number, struct span address)
{
    struct place *set = k->sets[set_of(address)];
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].number != number)
            return &set[i];
    return &set[k->turn++ % WAYS];
}

void known_keep(struct known *k, uint64_t number, struct span address, const struct dir_entry *e)
{
    if (!number || number != known_number(k) || e->kind != DIR_ACCOUNT || !address.n ||
        address.n > ADDRESS_MAX)
        return;
    if (!k->sets)
        k->sets = xcalloc(SETS, sizeof *k->sets);
    struct place *at = find(k, number, address);
    if (!at)
        at = make_room(k, number, address);
    *at = (struct place){.number = number,
                         .id = e->id,
                         .unit = e->unit,
                         .quota_bytes = e->quota_bytes,
                         .disabled = e->disabled,
                         .no_login = e->no_login,
                         .may_post = e->may_post,
                         .address_n = (unsigned char)address.n};
    memcpy(at->address, address.p, address.n);
}

bool known_find(const struct known *k, struct span address, struct dir_entry *out)
{
    const struct place *at = find(k, known_number(k), address);
    if (!at)
        return false;
    *out = (struct dir_entry){.kind = DIR_ACCOUNT,
                              .id = at->id,
                              .unit = at->unit,
                              .quota_bytes = at->quota_bytes,
                              .disabled = at->disabled,
                              .no_login = at->no_login,
                              .may_post = at->may_post};
    return true;
}
