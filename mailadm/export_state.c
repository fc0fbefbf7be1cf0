/* Where an export stands: a text file in its folder, locked while an export is at work, removed by the last
 * step.
 *
 *   provmail export 1 WHAT  the first line
 *   b NAME                  a mailbox that is to be written, before any of its files
 *   d MAILBOX MODSEQ        its files are written and synced
 *
 * The hard point is the order: a d line stands for files that survive a power cut, so it follows their sync,
 * or that of the file system, which waits for everybody's writes and is made every half minute only. A lost
 * line costs time alone, since files that are there are looked at again. */
#include "mailadm/mailadm.h"
#include "mailadm/export_state.h"
#include "common/base/clock.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

enum { SYNC_MS = 30000, STATE_LIMIT = 64 << 20 };

struct done {
    uint64_t mailbox, modseq;
    UT_hash_handle hh;
};
struct export_state {
    char path[PATH_MAX];
    int dir, fd;
    bool resumed;
    struct done *done;
    char **names;
    size_t name_count, name_room;
    struct buf waiting; /* d lines that the next sync brings */
    uint64_t synced_ms;
};

static void add_name(struct export_state *s, struct span name)
{
    if (s->name_count == s->name_room) {
        s->name_room = s->name_room ? s->name_room * 2 : 64;
        s->names = xrealloc(s->names, s->name_room * sizeof *s->names);
    }
    s->names[s->name_count++] = xstrspan(name);
}

static void add_done(struct export_state *s, uint64_t mailbox, uint64_t modseq)
{
    struct done *d = NULL;
    HASH_FIND(hh, s->done, &mailbox, sizeof mailbox, d);
    if (!d) {
        d = xcalloc(1, sizeof *d);
        d->mailbox = mailbox;
        HASH_ADD(hh, s->done, mailbox, sizeof d->mailbox, d);
    }
    d->modseq = modseq;
}

static void take_line(struct export_state *s, struct span line)
{
    struct span kind = span_cut(&line, ' ');
    uint64_t mailbox, modseq;
    if (span_eq(kind, SPAN("b")) && line.n)
        add_name(s, line);
    else if (span_eq(kind, SPAN("d")) && span_u64(span_cut(&line, ' '), &mailbox) && span_u64(line, &modseq))
        add_done(s, mailbox, modseq);
}

/* Whether the folder holds nothing but the state's file. */
static bool is_empty(const char *top, bool *out)
{
    DIR *d = opendir(top);
    *out = true;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        *out = *out && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
                        strcmp(e->d_name, EXPORT_UNFINISHED) == 0);
    return d && closedir(d) == 0;
}

static bool read_all(int fd, struct buf *out)
{
    for (;;) {
        char *p = buf_reserve(out, 65536);
        ssize_t n = p ? read(fd, p, 65536) : -1;
        if (n < 0 && p && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        out->n += (size_t)n;
    }
}

/* What an earlier export left; a last line that was cut is cut off. */
static enum err_code read_state(struct export_state *s, const char *what, struct err *why)
{
    struct buf text;
    enum err_code code = ERR_OK;
    buf_init(&text, STATE_LIMIT);
    bool ok = read_all(s->fd, &text);
    struct span rest = buf_span(&text);
    while (rest.n && rest.p[rest.n - 1] != '\n')
        rest.n--;
    s->resumed = rest.n > 0;
    if (!ok || ftruncate(s->fd, (off_t)rest.n) != 0)
        code = err_set(why, ERR_DENIED, NULL, "%s: %s", s->path, strerror(errno));
    else if (s->resumed && !span_eq(span_cut(&rest, '\n'), span_str(what)))
        code = err_set(why, ERR_STATE, NULL, "%s: the export that was begun here is another one", s->path);
    while (code == ERR_OK && rest.n)
        take_line(s, span_cut(&rest, '\n'));
    buf_free(&text);
    return code;
}

static enum err_code take_folder(struct export_state *s, const char *top, const char *what, struct err *why)
{
    bool empty;
    struct stat st;
    if (!is_empty(top, &empty))
        return err_set(why, ERR_DENIED, NULL, "%s: %s", top, strerror(errno));
    if (!empty && stat(s->path, &st) != 0)
        return err_set(why, ERR_STATE, NULL, "%s: the folder is not empty, and holds no export that was cut",
                       top);
    s->dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    s->fd = s->dir < 0 ? -1 : open(s->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (s->fd < 0)
        return err_set(why, ERR_DENIED, NULL, "%s: %s", s->path, strerror(errno));
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(why, ERR_DENIED, NULL, "%s: another export is at work here", s->path);
    enum err_code code = read_state(s, what, why);
    if (code != ERR_OK || s->resumed)
        return code;
    if (!empty)
        return err_set(why, ERR_STATE, NULL, "%s: the folder is not empty", top);
    if (!adm_write(s->fd, span_str(what)) || !adm_write(s->fd, SPAN("\n")) || fsync(s->fd) != 0 ||
        fsync(s->dir) != 0)
        return err_set(why, ERR_DENIED, NULL, "%s: %s", s->path, strerror(errno));
    return ERR_OK;
}

enum err_code export_state_open(const char *top, const char *what, struct export_state **out, struct err *why)
{
    struct export_state *s = xcalloc(1, sizeof *s);
    char line[PATH_MAX];
    s->dir = s->fd = -1;
    s->synced_ms = clock_mono_ms();
    buf_init(&s->waiting, 1 << 20);
    snprintf(s->path, sizeof s->path, "%.4000s/" EXPORT_UNFINISHED, top);
    snprintf(line, sizeof line, "provmail export 1 %.4000s", what);
    enum err_code code = take_folder(s, top, line, why);
    if (code == ERR_OK)
        *out = s;
    else
        export_state_free(&s);
    return code;
}

void export_state_free(struct export_state **pp)
{
    struct export_state *s = *pp;
    struct done *d, *next;
    if (!s)
        return;
    HASH_ITER(hh, s->done, d, next)
    {
        HASH_DEL(s->done, d);
        free(d);
    }
    for (size_t i = 0; i < s->name_count; i++)
        free(s->names[i]);
    free(s->names);
    buf_free(&s->waiting);
    if (s->fd >= 0)
        close(s->fd);
    if (s->dir >= 0)
        close(s->dir);
    free(s);
    *pp = NULL;
}

bool export_state_resumed(const struct export_state *s)
{
    return s->resumed;
}

const char *export_state_name(const struct export_state *s, size_t i)
{
    return i < s->name_count ? s->names[i] : NULL;
}

bool export_state_done(const struct export_state *s, uint64_t mailbox, uint64_t modseq)
{
    struct done *d = NULL;
    HASH_FIND(hh, s->done, &mailbox, sizeof mailbox, d);
    return d && d->modseq == modseq;
}

static bool has_name(const struct export_state *s, const char *name)
{
    for (size_t i = 0; i < s->name_count; i++)
        if (strcmp(s->names[i], name) == 0)
            return true;
    return false;
}

bool export_state_begin(struct export_state *s, const char *const *names)
{
    struct buf b;
    bool ok = true;
    buf_init(&b, STATE_LIMIT);
    for (size_t i = 0; names[i] && ok; i++)
        ok = (s->resumed && has_name(s, names[i])) || buf_addf(&b, "b %s\n", names[i]);
    ok = ok && adm_write(s->fd, buf_span(&b)) && fsync(s->fd) == 0;
    buf_free(&b);
    return ok;
}

bool export_state_mark(struct export_state *s, uint64_t mailbox, uint64_t modseq, bool synced)
{
    char line[64];
    int n = snprintf(line, sizeof line, "d %" PRIu64 " %" PRIu64 "\n", mailbox, modseq);
    if (synced)
        return adm_write(s->fd, span_of(line, (size_t)n));
    if (!buf_add(&s->waiting, line, (size_t)n))
        return false;
    if (clock_mono_ms() - s->synced_ms < SYNC_MS && s->waiting.n < (1 << 19))
        return true;
    bool ok = syncfs(s->dir) == 0 && adm_write(s->fd, buf_span(&s->waiting));
    buf_reset(&s->waiting);
    s->synced_ms = clock_mono_ms();
    return ok;
}

bool export_state_finish(struct export_state *s)
{
    return syncfs(s->dir) == 0 && unlink(s->path) == 0 && fsync(s->dir) == 0;
}
