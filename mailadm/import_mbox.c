/* Messages of mbox files: one file, or a folder of them ("A/B.mbox" is the mailbox A/B). The hard problem is
 * a message's name that lasts: its offset changes whenever a reader rewrites the file, so it is the file's
 * name, the bytes that will be stored, and which one of several equal ones it is. Reading the format is
 * mbox.c's. */
#include "mailadm/import.h"
#include "mailadm/mbox.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>
#include <uthash.h>

enum { DEPTH = 20, WORDS = 64 };

struct times { /* how often these bytes came in this file */
    unsigned char hash[32];
    uint32_t count;
    UT_hash_handle hh;
};

struct reading {
    struct target *t;
    const struct import_options *o;
    const struct import_account *a;
    struct import_report *report;
    int fd;
    struct span file, mailbox; /* its name, and ours */
    struct times *times;
    bool not_mail;
};

static long read_at(void *arg, uint64_t at, char *out, size_t n)
{
    struct reading *x = arg;
    ssize_t got;
    do
        got = pread(x->fd, out, n, (off_t)at);
    while (got < 0 && errno == EINTR);
    return got;
}

static void on_bytes(void *arg, struct span bytes)
{
    struct reading *x = arg;
    target_add(x->t, bytes);
}

static uint32_t count_again(struct reading *x, const unsigned char hash[32])
{
    struct times *e = NULL;
    HASH_FIND(hh, x->times, hash, 32, e);
    if (!e) {
        e = xcalloc(1, sizeof *e);
        memcpy(e->hash, hash, 32);
        HASH_ADD(hh, x->times, hash, 32, e);
    }
    return e->count++;
}

static struct import_key name_it(struct reading *x)
{
    unsigned char hash[32];
    char again[16];
    target_hash(x->t, hash);
    snprintf(again, sizeof again, "%u", count_again(x, hash));
    const struct span parts[] = {SPAN("mbox"), x->file, x->mailbox, span_of(hash, sizeof hash),
                                 span_str(again)};
    return import_key_of(&x->a->id, parts, sizeof parts / sizeof *parts);
}

static void take(struct reading *x, const struct mbox_message *m)
{
    struct span words[WORDS], rest = span_str(m->keywords);
    char source[80];
    size_t n = 0;
    while (rest.n && n < WORDS) {
        words[n] = span_cut(&rest, ' ');
        n += words[n].n > 0;
    }
    snprintf(source, sizeof source, "message at byte %llu", (unsigned long long)m->at);
    struct target_message to = {.key = name_it(x),
                                .mailbox = x->mailbox,
                                .source = span_str(source),
                                .flags = m->flags,
                                .keywords = words,
                                .keyword_count = n,
                                .has_date = m->has_date,
                                .internal_s = m->internal_s,
                                .zone_min = m->zone_min};
    atomic_fetch_add(&x->report->counts->planned, 1);
    if (target_has(x->t, &to))
        target_skip(x->t);
    else
        target_end(x->t, &to);
}

static int read_all(struct reading *x)
{
    struct mbox *m = mbox_new(read_at, x, x->o->not_quoted ? MBOX_NOT_QUOTED : MBOX_QUOTED);
    struct mbox_message *one = xcalloc(1, sizeof *one);
    enum err_code code = ERR_OK;
    while (!target_failed(x->t)) {
        target_begin(x->t);
        code = mbox_next(m, on_bytes, x, one);
        if (code != ERR_OK)
            break;
        if (!one->not_mail)
            take(x, one);
    }
    if (code == ERR_SYNTAX)
        import_refused(x->report, x->mailbox, x->file,
                       mbox_offset(m) ? "no message begins where one must" : "this is no mbox file");
    else if (code == ERR_RETRY)
        import_refused(x->report, x->mailbox, x->file, strerror(errno));
    mbox_free(&m);
    free(one);
    return target_failed(x->t) ? EX_TEMPFAIL : code == ERR_MISSING ? EX_OK : EX_DATAERR;
}

static int read_file(struct reading *x, const char *path, struct span name)
{
    struct times *e, *next;
    const char *slash = strrchr(path, '/');
    x->file = span_str(slash ? slash + 1 : path);
    struct span box = target_box(x->t, name, STORE_USE_NONE);
    if (!box.p)
        return EX_DATAERR;
    char *mailbox = xstrspan(box);
    x->mailbox = span_str(mailbox);
    x->fd = open(path, O_RDONLY | O_CLOEXEC);
    int status = EX_NOINPUT;
    if (x->fd < 0) {
        import_refused(x->report, x->mailbox, span_str(path), strerror(errno));
    } else {
        status = read_all(x);
        target_subscribe(x->t, x->mailbox);
        close(x->fd);
    }
    HASH_ITER(hh, x->times, e, next)
    {
        HASH_DEL(x->times, e);
        free(e);
    }
    free(mailbox);
    return status;
}

/* -- folders -- */

typedef int file_fn(void *arg, const char *path, struct span name, const struct stat *st);

/* "%2F" and the like, as export writes what no file name can hold. */
static void add_level(struct buf *b, struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned v;
        char hex[3] = "";
        if (s.p[i] == '%' && s.n - i > 2)
            memcpy(hex, s.p + i + 1, 2);
        bool escaped = *hex && sscanf(hex, "%2x", &v) == 1 && v >= 32;
        if (!buf_add_char(b, escaped ? (char)v : s.p[i]))
            return; /* too long for a name: the store says so */
        i += escaped ? 2 : 0;
    }
}

static int walk(const char *path, struct span name, int depth, file_fn *fn, void *arg);

static int walk_folder(const char *path, struct span above, int depth, file_fn *fn, void *arg)
{
    struct dirent **v;
    int status = EX_OK, n = scandir(path, &v, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        struct span file = span_str(v[i]->d_name);
        char *below = xmalloc(strlen(path) + file.n + 2);
        struct stat st;
        struct buf name;
        sprintf(below, "%s/%s", path, v[i]->d_name);
        bool folder = stat(below, &st) == 0 && S_ISDIR(st.st_mode);
        if (file.p[0] != '.' && (folder || span_ends(file, SPAN(".mbox")))) {
            buf_init(&name, 8192);
            bool ok = buf_add_span(&name, above) && (!above.n || buf_add_char(&name, '/'));
            if (ok)
                add_level(&name, folder ? file : span_first(file, file.n - 5));
            int one = walk(below, buf_span(&name), depth + 1, fn, arg);
            status = one == EX_OK ? status : one;
            buf_free(&name);
        }
        free(below);
        free(v[i]);
    }
    if (n >= 0)
        free(v);
    return n < 0 ? EX_NOINPUT : status;
}

static int walk(const char *path, struct span name, int depth, file_fn *fn, void *arg)
{
    struct stat st;
    if (stat(path, &st) != 0 || depth > DEPTH)
        return EX_NOINPUT;
    return S_ISDIR(st.st_mode) ? walk_folder(path, name, depth, fn, arg) : fn(arg, path, name, &st);
}

static int on_plan(void *arg, const char *path, struct span name, const struct stat *st)
{
    struct import_counts *c = arg;
    (void)path;
    (void)name;
    atomic_fetch_add(&c->planned_bytes, (uint64_t)st->st_size);
    return EX_OK;
}

void import_plan_mbox(const char *path, struct import_counts *c)
{
    (void)walk(path, SPAN(""), 0, on_plan, c);
}

/* A single file is the mailbox that --mailbox names, or that is called like it; a spool is INBOX. */
static struct span name_of(const struct reading *x, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct span file = span_str(slash ? slash + 1 : path);
    struct span who = span_first(span_str(x->a->address), span_find(span_str(x->a->address), '@'));
    if (x->o->mailbox)
        return span_str(x->o->mailbox);
    if (span_ends(file, SPAN(".mbox")))
        file = span_first(file, file.n - 5);
    return span_caseeq(file, SPAN("mbox")) || span_caseeq(file, who) ? SPAN("INBOX") : file;
}

static int on_file(void *arg, const char *path, struct span name, const struct stat *st)
{
    struct reading *x = arg;
    struct buf under;
    (void)st;
    if (!name.n)
        return read_file(x, path, name_of(x, path));
    if (!x->o->mailbox)
        return read_file(x, path, name);
    buf_init(&under, 8192);
    int status = buf_addf(&under, "%s/%.*s", x->o->mailbox, SPAN_ARG(name))
                     ? read_file(x, path, buf_span(&under))
                     : EX_DATAERR;
    buf_free(&under);
    return status;
}

int import_mbox(struct target *t, const struct import_options *o, const struct import_account *a,
                const char *path, struct import_notes *n, struct import_report *r)
{
    struct reading x = {.t = t, .o = o, .a = a, .report = r, .fd = -1};
    (void)n;
    errno = 0;
    int status = walk(path, SPAN(""), 0, on_file, &x);
    if (status == EX_NOINPUT && errno)
        import_refused(r, SPAN_NONE, span_str(path), strerror(errno));
    return status;
}
