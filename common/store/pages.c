/* Berkeley DB writes its pages in place. Pages larger than what a disk writes as a whole can be torn when the
 * power fails, and also by a kill -9 (the kernel stops a write between two pages of its cache): the page's
 * head then says that the log was applied, its other half is old, and recovery passes over it. So pages go to
 * a journal first: they wait in memory until a sync is asked for or many have come together, are written to
 * the journal and synced, and only then in place. After a crash the journal, if whole, is written in place
 * again. The hard point is that reads must see what waits, and see it whole: they look here first, and read
 * again when pages were written in place meanwhile.
 *
 *   wait in memory -> journal written -> journal synced -> in place -> files synced -> journal void
 *
 * A page whose checksum is wrong is not given to the library, which would end the process: its read fails
 * with EBADMSG (page_sum.c), with an alarm the first time. The library's file calls are replaced for the
 * whole process, hence the one static object. Logs pass through: their records have checksums of their own.
 * The names of new log files are brought to the disk on request, since the library does not sync its folder.
 */
#include "common/store/pages.h"
#include "common/store/trouble.h"
#include "common/base/buf.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/store/crc.h"
#include "common/store/page_sum.h"
#include "common/store/spare.h"
#include <assert.h>
#include <db.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

enum {
    TOGETHER = 4 << 20, /* bytes that wait before they are written without being asked */
    MOST = 64 << 20,    /* that wait while the disk is full */
    JOURNAL_LIMIT = MOST + (8 << 20),
    HEAD = 32,  /* of the journal: magic, pages, bytes, CRC-32C of what follows and of the head */
    ENTRY = 24, /* inode, offset, size, zeros */
    FILES = 64,
    FDS = 1024, /* descriptors whose inodes are noted */
    PAGE_LIMIT = 64 << 10,
    DAMAGED = 64 /* pages that are told once each */
};
static const char magic[8] = "PMPAGE\0\1";

struct place {
    uint64_t ino;
    int64_t at;
};
struct waiting {
    struct place place;
    size_t n;
    bool cut; /* behind the end of its file since */
    UT_hash_handle hh;
    unsigned char bytes[];
};
struct paged {
    uint64_t ino;
    int fd;
    size_t page; /* bytes of a page */
    bool looked; /* sums is known */
    size_t sums; /* bytes of a page that has a checksum, 0: they have none */
};
static struct pages {
    int mail_dir, db_dir, journal;
    pthread_mutex_t lock;    /* guards the lists and files */
    pthread_mutex_t going;   /* held while pages go to the disk */
    pthread_mutex_t placing; /* held while one of them is written in place, and while a file is cut */
    struct waiting *fresh, *leaving;
    size_t bytes;    /* of fresh */
    uint64_t rounds; /* of pages that went */
    struct paged files[FILES];
    size_t file_count;
    pthread_mutex_t naming; /* held while names go to the disk */
    _Atomic uint64_t names_made, names_synced;
    bool (*before_sync)(void *arg);
    void *before_arg;
    _Atomic uint64_t inodes[FDS]; /* by descriptor of the library's; 0: not noted */
    struct place damaged[DAMAGED];
    size_t damaged_count;
    char damaged_file[64]; /* of the newest */
    _Atomic uint64_t refused;
} p = {.mail_dir = -1,
       .db_dir = -1,
       .journal = -1,
       .lock = PTHREAD_MUTEX_INITIALIZER,
       .going = PTHREAD_MUTEX_INITIALIZER,
       .placing = PTHREAD_MUTEX_INITIALIZER,
       .naming = PTHREAD_MUTEX_INITIALIZER};

static bool write_all(int fd, const void *from, size_t n, int64_t at)
{
    const char *s = from;
    while (n) {
        ssize_t got = FAULT("store.pages.write") ? -1 : pwrite(fd, s, n, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        s += got;
        n -= (size_t)got;
        at += got;
    }
    return true;
}

/* -- the journal -- */

static bool journal_add(struct buf *b, const struct waiting *w)
{
    return buf_add_u64(b, w->place.ino) && buf_add_u64(b, (uint64_t)w->place.at) &&
           buf_add_u32(b, (uint32_t)w->n) && buf_add_u32(b, 0) && buf_add(b, w->bytes, w->n);
}

static bool journal_write(const struct waiting *list)
{
    struct buf body, head;
    buf_init(&body, JOURNAL_LIMIT);
    buf_init(&head, HEAD);
    bool ok = true;
    for (const struct waiting *w = list; w && ok; w = w->hh.next)
        ok = journal_add(&body, w);
    ok = ok && buf_add(&head, magic, sizeof magic) && buf_add_u32(&head, (uint32_t)HASH_COUNT(list)) &&
         buf_add_u64(&head, body.n) && buf_add_u32(&head, crc32c(0, buf_span(&body))) &&
         buf_add_u32(&head, crc32c(0, buf_span(&head))) && buf_add_u32(&head, 0);
    assert(ok);
    ok = write_all(p.journal, body.p, body.n, HEAD) && write_all(p.journal, head.p, head.n, 0);
    buf_free(&body);
    buf_free(&head);
    FAULT_STEP("store.pages.written");
    return ok && !FAULT("store.pages.sync") && fdatasync(p.journal) == 0;
}

/* Not synced: until the next journal is, nothing else is written in place, and the same pages may go again.
 */
static bool journal_void(void)
{
    static const char zeros[HEAD];
    return write_all(p.journal, zeros, sizeof zeros, 0);
}

/* -- to the disk -- */

static bool in_place(const struct waiting *list)
{
    bool ok = true, synced[FILES] = {false};
    for (const struct waiting *w = list; w && ok; w = w->hh.next) {
        size_t i = 0;
        while (p.files[i].ino != w->place.ino)
            i++;
        pthread_mutex_lock(&p.placing);
        ok = w->cut || write_all(p.files[i].fd, w->bytes, w->n, w->place.at);
        pthread_mutex_unlock(&p.placing);
        synced[i] = true;
        if (w == list)
            FAULT_STEP("store.pages.torn");
    }
    FAULT_STEP("store.pages.placed");
    for (size_t i = 0; i < FILES && ok; i++)
        ok = !synced[i] || fdatasync(p.files[i].fd) == 0;
    return ok;
}

static void forget(struct waiting **list)
{
    struct waiting *w, *next;
    HASH_ITER(hh, *list, w, next)
    {
        HASH_DEL(*list, w);
        free(w);
    }
}

/* What did not go waits on, unless it was written again meanwhile. */
static void wait_on(void)
{
    struct waiting *w, *next, *newer;
    HASH_ITER(hh, p.leaving, w, next)
    {
        HASH_DEL(p.leaving, w);
        HASH_FIND(hh, p.fresh, &w->place, sizeof w->place, newer);
        if (newer || w->cut) {
            free(w);
            continue;
        }
        HASH_ADD(hh, p.fresh, place, sizeof w->place, w);
        p.bytes += w->n;
    }
}

/* Everything that waits. Answers 0 or an errno. */
static int go(void)
{
    int error = 0;
    pthread_mutex_lock(&p.going);
    pthread_mutex_lock(&p.lock);
    p.leaving = p.fresh;
    p.fresh = NULL;
    p.bytes = 0;
    pthread_mutex_unlock(&p.lock);
    /* What the pages show must be in a log that has its name. */
    if (p.leaving &&
        !(pages_names_sync() && journal_write(p.leaving) && in_place(p.leaving) && journal_void()))
        error = errno ? errno : EIO;
    FAULT_STEP("store.pages.gone");
    pthread_mutex_lock(&p.lock);
    p.rounds++;
    if (error)
        wait_on();
    else
        forget(&p.leaving);
    pthread_mutex_unlock(&p.lock);
    pthread_mutex_unlock(&p.going);
    return error;
}

/* -- the library's calls -- */

static struct paged *paged_find(uint64_t ino)
{
    for (size_t i = 0; i < p.file_count; i++)
        if (p.files[i].ino == ino)
            return &p.files[i];
    return NULL;
}

/* With both locks held. A full list leaves a file to the library alone. */
static void paged_add(int fd, uint64_t ino)
{
    int own = paged_find(ino) || p.file_count == FILES ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own >= 0)
        p.files[p.file_count++] = (struct paged){.ino = ino, .fd = own};
}

/* The inode of a file that is gone, used again by one that has no pages. */
static void paged_drop(uint64_t ino)
{
    struct paged *f = paged_find(ino);
    if (!f)
        return;
    close(f->fd);
    *f = p.files[--p.file_count];
}

static uint64_t look_up(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* Noted when the library opens a file, not asked for at each write of the log: the kernel gives a file whose
 * times somebody has looked at a new, exact one at its next write (since Linux 6.13), and then each sync of
 * it may bring its inode to the disk as well. */
static uint64_t inode(int fd)
{
    const uint64_t noted = fd >= 0 && fd < FDS ? atomic_load(&p.inodes[fd]) : 0;
    return noted ? noted : look_up(fd);
}

static void note_inode(int fd, uint64_t ino)
{
    if (fd >= 0 && fd < FDS)
        atomic_store(&p.inodes[fd], ino);
}

/* It answers an errno. */
static int on_close(int fd)
{
    note_inode(fd, 0);
    return close(fd) == 0 ? 0 : errno;
}

static void keep(struct place place, const void *from, size_t n)
{
    struct waiting *w = NULL;
    HASH_FIND(hh, p.fresh, &place, sizeof place, w);
    if (w && w->n != n) {
        HASH_DEL(p.fresh, w);
        p.bytes -= w->n;
        free(w);
        w = NULL;
    }
    if (!w) {
        w = xmalloc(sizeof *w + n);
        memset(w, 0, sizeof *w);
        w->place = place;
        w->n = n;
        HASH_ADD(hh, p.fresh, place, sizeof w->place, w);
        p.bytes += n;
    }
    memcpy(w->bytes, from, n);
}

static ssize_t on_pwrite(int fd, const void *from, size_t n, off_t at)
{
    struct place place = {.ino = inode(fd), .at = at};
    pthread_mutex_lock(&p.lock);
    struct paged *f = n <= PAGE_LIMIT && place.ino ? paged_find(place.ino) : NULL;
    bool waits = f != NULL;
    if (f)
        f->page = n;
    bool full = waits && p.bytes >= MOST;
    if (waits && !full)
        keep(place, from, n);
    bool many = p.bytes >= TOGETHER;
    pthread_mutex_unlock(&p.lock);
    if (!waits)
        return pwrite(fd, from, n, at);
    int error = many ? go() : 0;
    if (!full || error == 0)
        return full ? on_pwrite(fd, from, n, at) : (ssize_t)n;
    errno = error;
    return -1;
}

static const struct waiting *waiting_at(struct place place)
{
    struct waiting *w = NULL;
    HASH_FIND(hh, p.fresh, &place, sizeof place, w);
    if (!w)
        HASH_FIND(hh, p.leaving, &place, sizeof place, w);
    return w && w->cut ? NULL : w;
}

/* Put what waits over what was read of the file; the file may end before it. */
static ssize_t overlay(const struct paged *f, char *out, size_t n, off_t at, ssize_t got)
{
    const off_t page = f->page ? (off_t)f->page : PAGE_LIMIT, last = at + (off_t)n;
    for (off_t i = at / page * page; i < last; i += page) {
        const struct waiting *w = waiting_at((struct place){f->ino, i});
        if (!w)
            continue;
        off_t from = i > at ? i : at, to = i + (off_t)w->n < last ? i + (off_t)w->n : last;
        if (from - at > (off_t)got) /* a hole before it */
            memset(out + got, 0, (size_t)(from - at - got));
        memcpy(out + (from - at), w->bytes + (from - i), (size_t)(to - from));
        got = got > to - at ? got : (ssize_t)(to - at);
    }
    return got;
}

/* -- damaged pages -- */

/* Where a read at a place fails, the library goes to that place and reads once more: it must not come there.
 */
static _Thread_local int refused_fd = -1;
static _Thread_local bool refused_now;

static void name_of(uint64_t ino, char *out, size_t size)
{
    int fd = openat(p.db_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    snprintf(out, size, "a database");
    for (struct dirent *f; d && (f = readdir(d));)
        if (f->d_ino == ino)
            snprintf(out, size, "%.*s", (int)size - 1, f->d_name);
    if (d)
        closedir(d);
}

static void tell_damage(uint64_t ino, off_t at, size_t n)
{
    char name[sizeof p.damaged_file];
    bool known = false;
    name_of(ino, name, sizeof name);
    pthread_mutex_lock(&p.lock);
    for (size_t i = 0; i < p.damaged_count; i++)
        known = known || (p.damaged[i].ino == ino && p.damaged[i].at == at);
    if (!known && p.damaged_count < DAMAGED)
        p.damaged[p.damaged_count++] = (struct place){ino, at};
    memcpy(p.damaged_file, name, sizeof name);
    pthread_mutex_unlock(&p.lock);
    if (known)
        return;
    log_event(LOG_ALARM, NULL, "store.page.damaged", F_STR("file", name), F_UINT("page", (uint64_t)at / n));
    trouble_note(p.mail_dir,
                 "page %llu of db/%s is damaged: what lies on it cannot be read or changed. Bring the "
                 "store back from a backup (mailadm restore)",
                 (unsigned long long)at / n, name);
}

size_t pages_damaged(char *file, size_t size)
{
    pthread_mutex_lock(&p.lock);
    size_t n = p.damaged_count;
    if (file)
        snprintf(file, size, "%s", p.damaged_file);
    pthread_mutex_unlock(&p.lock);
    return n;
}

uint64_t pages_refused(void)
{
    return atomic_load(&p.refused);
}

/* The size of this file's pages, if they have checksums; under the lock. */
static size_t sums_of(struct paged *f)
{
    unsigned char head[PAGE_SUM_HEAD];
    const struct waiting *w = f->looked ? NULL : waiting_at((struct place){f->ino, 0});
    if (f->looked)
        return f->sums;
    if (w && w->n >= sizeof head)
        memcpy(head, w->bytes, sizeof head);
    else if (pread(f->fd, head, sizeof head, 0) != (ssize_t)sizeof head)
        return 0; /* it is being made */
    f->sums = page_sum_size(head);
    f->looked = true;
    return f->sums;
}

static ssize_t refuse(int fd, uint64_t ino, off_t at, size_t n)
{
    atomic_fetch_add(&p.refused, 1);
    tell_damage(ino, at, n);
    refused_fd = fd;
    errno = EBADMSG;
    return -1;
}

/* It answers an errno. */
static int on_seek(int fd, off_t at, int whence)
{
    if (fd != refused_fd)
        return lseek(fd, at, whence) < 0 ? errno : 0;
    refused_fd = -1;
    refused_now = true;
    return EBADMSG;
}

bool pages_refused_now(void)
{
    const bool now = refused_now;
    refused_now = false;
    return now;
}

static ssize_t on_pread(int fd, void *out, size_t n, off_t at)
{
    const uint64_t ino = inode(fd);
    for (;;) {
        pthread_mutex_lock(&p.lock);
        struct paged *f = paged_find(ino);
        const size_t sums = f ? sums_of(f) : 0;
        const struct waiting *w = f ? waiting_at((struct place){ino, at}) : NULL;
        const uint64_t rounds = p.rounds;
        if (w && w->n >= n)
            memcpy(out, w->bytes, n);
        pthread_mutex_unlock(&p.lock);
        if (w && w->n >= n)
            return (ssize_t)n;
        ssize_t got = pread(fd, out, n, at);
        if (!f || got < 0)
            return got;
        pthread_mutex_lock(&p.lock);
        bool again = p.rounds != rounds;
        if (!again)
            got = overlay(f, out, n, at, got);
        pthread_mutex_unlock(&p.lock);
        if (again)
            continue;
        const bool whole = sums && n == sums && got == (ssize_t)n && at % (off_t)n == 0;
        return whole && !page_sum_ok(out, n) ? refuse(fd, ino, at, n) : got;
    }
}

static bool is_paged(int fd)
{
    const uint64_t ino = inode(fd);
    pthread_mutex_lock(&p.lock);
    bool is = paged_find(ino) != NULL;
    pthread_mutex_unlock(&p.lock);
    return is;
}

/* These two answer an errno, unlike the calls that they stand for: so the library takes them. */
static int on_fsync(int fd)
{
    if (p.before_sync && !p.before_sync(p.before_arg))
        return errno;
    int error = is_paged(fd) ? go() : 0;
    return error ? error : fdatasync(fd) == 0 ? 0 : errno;
}

/* Pages that wait for their place behind the new end of a file wait no longer. */
static void cut(uint64_t ino, off_t size)
{
    struct waiting *w, *next;
    pthread_mutex_lock(&p.lock);
    HASH_ITER(hh, p.fresh, w, next)
    {
        if (w->place.ino != ino || w->place.at < size)
            continue;
        HASH_DEL(p.fresh, w);
        p.bytes -= w->n;
        free(w);
    }
    for (w = p.leaving; w; w = w->hh.next)
        w->cut = w->cut || (w->place.ino == ino && w->place.at >= size);
    pthread_mutex_unlock(&p.lock);
}

/* The library cuts a file whenever its last page becomes free: often, within transactions, and while others
 * wait for them. So nothing goes to the disk here. A journal under way may hold pages behind the new end;
 * after a crash these are written again, as the pages are that say how long the file was: recovery cuts it
 * anew. */
static int on_ftruncate(int fd, off_t size)
{
    if (!is_paged(fd))
        return ftruncate(fd, size) == 0 ? 0 : errno;
    pthread_mutex_lock(&p.placing);
    cut(inode(fd), size);
    int error = ftruncate(fd, size) == 0 ? 0 : errno;
    pthread_mutex_unlock(&p.placing);
    return error;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_log(const char *path)
{
    return strncmp(last_part(path), "log.", 4) == 0;
}

/* Logs are no files of pages, although the library writes them by the same call. */
static void opened(int fd, const char *path)
{
    const int error = errno;
    pthread_mutex_lock(&p.going);
    pthread_mutex_lock(&p.lock);
    if (is_log(path))
        paged_drop(inode(fd));
    else
        paged_add(fd, inode(fd));
    pthread_mutex_unlock(&p.lock);
    pthread_mutex_unlock(&p.going);
    errno = error;
}

static int on_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list list;
        va_start(list, flags);
        mode = va_arg(list, mode_t);
        va_end(list);
    }
    if (flags & O_CREAT && is_log(path))
        (void)spare_take(last_part(path)); /* else it is made here */
    int fd = open(path, flags | O_CLOEXEC, mode);
    if (flags & O_CREAT)
        atomic_fetch_add(&p.names_made, 1);
    if (fd >= 0)
        note_inode(fd, look_up(fd));
    if (fd >= 0 && (flags & O_ACCMODE) == O_RDWR)
        opened(fd, path);
    return fd;
}

void pages_before_sync(bool (*call)(void *arg), void *arg)
{
    p.before_sync = call;
    p.before_arg = arg;
}

bool pages_names_sync(void)
{
    bool ok = true;
    if (atomic_load(&p.names_synced) == atomic_load(&p.names_made))
        return true;
    pthread_mutex_lock(&p.naming);
    uint64_t made = atomic_load(&p.names_made);
    if (atomic_load(&p.names_synced) != made) {
        FAULT_STEP("store.names.due");
        ok = !FAULT("store.names.sync") && fsync(p.db_dir) == 0;
        if (ok)
            atomic_store(&p.names_synced, made);
    }
    pthread_mutex_unlock(&p.naming);
    return ok;
}

/* -- life -- */

/* The database file with this inode; -1: it is gone. */
static int open_inode(uint64_t ino)
{
    int fd = openat(p.db_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), found = -1;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    for (struct dirent *f; d && found < 0 && (f = readdir(d));)
        if (f->d_ino == ino && f->d_type != DT_DIR)
            found = openat(p.db_dir, f->d_name, O_RDWR | O_CLOEXEC);
    if (d)
        closedir(d);
    return found;
}

/* Write the journal's pages in place again: the same bytes as before, or what a crash kept from going. */
static bool replay(struct span body, size_t *count)
{
    struct reader r = reader_of(body);
    uint64_t last = 0;
    int fd = -1;
    bool ok = true;
    for (; r.s.n && ok && !r.bad; ++*count) {
        uint64_t ino = read_u64(&r), at = read_u64(&r);
        uint32_t n = read_u32(&r);
        (void)read_u32(&r);
        struct span bytes = read_bytes(&r, n);
        if (ino != last) {
            ok = fd < 0 || (fsync(fd) == 0 && close(fd) == 0);
            fd = open_inode(ino);
            last = ino;
        }
        ok = ok && (fd < 0 || write_all(fd, bytes.p, bytes.n, (int64_t)at));
    }
    return (fd < 0 || (fsync(fd) == 0 && close(fd) == 0)) && ok && !r.bad;
}

/* The journal's body, if it is whole. */
static bool journal_read(struct buf *out)
{
    char head[HEAD];
    if (pread(p.journal, head, sizeof head, 0) != (ssize_t)sizeof head ||
        memcmp(head, magic, sizeof magic) != 0)
        return false;
    struct reader r = reader_of(span_of(head + sizeof magic, sizeof head - sizeof magic));
    (void)read_u32(&r);
    const uint64_t n = read_u64(&r);
    const uint32_t crc = read_u32(&r), head_crc = read_u32(&r);
    char *to = head_crc == crc32c(0, span_of(head, HEAD - 8)) && n <= JOURNAL_LIMIT
                   ? buf_reserve(out, (size_t)n)
                   : NULL;
    if (!to || pread(p.journal, to, (size_t)n, HEAD) != (ssize_t)n)
        return false;
    buf_commit(out, (size_t)n);
    return crc32c(0, buf_span(out)) == crc;
}

static bool recover(void)
{
    struct buf body;
    size_t count = 0;
    bool ok = true;
    buf_init(&body, JOURNAL_LIMIT);
    if (journal_read(&body)) {
        ok = replay(buf_span(&body), &count);
        log_event(LOG_INFO, NULL, "store.pages.replayed", F_UINT("pages", count));
        FAULT_STEP("store.pages.replayed");
        ok = ok && journal_void() && fsync(p.journal) == 0;
    }
    buf_free(&body);
    return ok;
}

static void hook(bool on)
{
    db_env_set_func_pwrite(on ? on_pwrite : NULL);
    db_env_set_func_pread(on ? on_pread : NULL);
    db_env_set_func_seek(on ? on_seek : NULL);
    db_env_set_func_fsync(on ? on_fsync : NULL);
    db_env_set_func_ftruncate(on ? on_ftruncate : NULL);
    db_env_set_func_open(on ? on_open : NULL);
    db_env_set_func_close(on ? on_close : NULL);
}

enum err_code pages_start(int mail_dir, int db_dir, struct err *why)
{
    assert(p.journal < 0);
    p.mail_dir = mail_dir;
    p.db_dir = db_dir;
    p.journal = openat(mail_dir, "pages", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (p.journal < 0 || fsync(mail_dir) != 0 || !recover()) {
        enum err_code code = err_set(why, ERR_RETRY, NULL, "the journal of pages: %s", strerror(errno));
        pages_stop();
        return code;
    }
    atomic_fetch_add(&p.names_made, 1);
    hook(true);
    return ERR_OK;
}

void pages_stop(void)
{
    hook(false);
    forget(&p.fresh); /* the environment's last checkpoint took all that counts */
    p.bytes = 0;
    for (size_t i = 0; i < p.file_count; i++)
        close(p.files[i].fd);
    p.file_count = p.damaged_count = 0;
    for (int fd = 0; fd < FDS; fd++)
        note_inode(fd, 0);
    if (p.journal >= 0) {
        (void)fsync(p.journal); /* void: other tools may work on the files of a store that was closed */
        close(p.journal);
    }
    p.journal = -1;
}
