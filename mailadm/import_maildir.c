/* Messages of a Maildir and of the folders in it (Maildir++, or plain folders in folders). The hard problem
 * is that the old server may still be at work in it: a file that is renamed (its flags change) or goes from
 * new to cur between the listing and the opening is looked for again. Messages come in the order of Dovecot's
 * UIDs where it kept a list, else of their arrival. What names say is maildir.c's. */
#include "mailadm/import.h"
#include "mailadm/maildir.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>
#include <uthash.h>

enum { DEPTH = 20, TRIES = 3, CHUNK = 64 << 10 };

struct uid { /* of a file, by Dovecot's list */
    uint32_t uid;
    UT_hash_handle hh;
    char unique[];
};

struct file {
    char *name;
    const char *sub; /* "new", "cur" */
    uint32_t uid;
    uint64_t delivered_s;
};

struct folder {
    struct target *t;
    const struct import_options *o;
    const struct import_account *a;
    struct import_report *report;
    const char *root, *path;
    struct span mailbox; /* ours */
    struct maildir_keywords keywords;
    struct uid *uids;
    struct file *v;
    size_t n;
    size_t vanished;
    bool subscribe; /* there is no list of subscriptions: all of them */
};

/* -- what is in a folder -- */

static void read_uids(struct folder *x)
{
    char path[4200];
    char *line = NULL;
    size_t size = 0;
    ssize_t got;
    snprintf(path, sizeof path, "%.4000s/dovecot-uidlist", x->path);
    FILE *f = fopen(path, "re");
    for (bool head = true; f && (got = getline(&line, &size, f)) > 0; head = false) {
        struct span rest = span_trim(span_of(line, (size_t)got)), number = span_cut(&rest, ' ');
        size_t colon = span_find(rest, ':');
        struct maildir_info info;
        uint32_t n;
        if (head || !span_u32(number, &n) || colon == rest.n)
            continue;
        maildir_info(span_drop(rest, colon + 1), &x->keywords, &info);
        struct uid *u = xcalloc(1, sizeof *u + info.unique.n + 1);
        memcpy(u->unique, info.unique.p, info.unique.n);
        u->uid = n;
        struct uid *old = NULL;
        HASH_REPLACE(hh, x->uids, unique[0], info.unique.n, u, old);
        free(old);
    }
    free(line);
    if (f)
        fclose(f);
}

static void list(struct folder *x, const char *sub)
{
    char path[4200];
    snprintf(path, sizeof path, "%.4000s/%s", x->path, sub);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        struct maildir_info info;
        struct uid *u = NULL;
        if (e->d_name[0] == '.')
            continue;
        maildir_info(span_str(e->d_name), &x->keywords, &info);
        HASH_FIND(hh, x->uids, info.unique.p, info.unique.n, u);
        if ((x->n & (x->n - 1)) == 0)
            x->v = xrealloc(x->v, (x->n ? x->n * 2 : 1) * sizeof *x->v);
        x->v[x->n++] = (struct file){.name = xstrdup(e->d_name),
                                     .sub = sub,
                                     .uid = u ? u->uid : UINT32_MAX,
                                     .delivered_s = info.delivered_s};
    }
    if (d)
        closedir(d);
}

static int by_order(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    if (x->uid != y->uid)
        return x->uid < y->uid ? -1 : 1;
    if (x->delivered_s != y->delivered_s)
        return x->delivered_s < y->delivered_s ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void forget(struct folder *x)
{
    for (size_t i = 0; i < x->n; i++)
        free(x->v[i].name);
    free(x->v);
    x->v = NULL;
    x->n = 0;
}

/* -- one message -- */

static bool read_file(struct folder *x, int fd)
{
    char bytes[CHUNK];
    ssize_t n;
    while ((n = read(fd, bytes, sizeof bytes)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            target_add(x->t, span_of(bytes, (size_t)n));
    return n == 0;
}

static struct import_key name_it(const struct folder *x, struct span unique)
{
    const char *below = x->path + strlen(x->root);
    const struct span parts[] = {SPAN("maildir"), span_str(below), unique};
    return import_key_of(&x->a->id, parts, sizeof parts / sizeof *parts);
}

static void take(struct folder *x, const struct file *f)
{
    struct maildir_info info;
    struct stat st;
    char path[4400];
    maildir_info(span_str(f->name), &x->keywords, &info);
    struct target_message m = {.key = name_it(x, info.unique),
                               .mailbox = x->mailbox,
                               .source = span_str(f->name),
                               .flags = info.flags,
                               .keywords = info.keywords,
                               .keyword_count = info.keyword_count,
                               .has_date = true,
                               .zone_min = info.zone_min};
    snprintf(path, sizeof path, "%.4000s/%s/%.255s", x->path, f->sub, f->name);
    if (target_has(x->t, &m)) {
        target_passed(x->t, 1, stat(path, &st) == 0 ? (uint64_t)st.st_size : 0);
        return;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        x->vanished++;
        return;
    }
    target_begin(x->t);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && read_file(x, fd)) {
        m.internal_s = st.st_mtime;
        target_end(x->t, &m);
    } else if (fd < 0 || !S_ISDIR(st.st_mode)) {
        import_refused(x->report, x->mailbox, m.source, errno ? strerror(errno) : "no file");
    }
    if (fd >= 0)
        close(fd);
}

/* -- a folder, and those in it -- */

static void read_folder(struct folder *x)
{
    for (int i = 0; i < TRIES && (i == 0 || x->vanished) && !target_failed(x->t); i++) {
        forget(x);
        x->vanished = 0;
        list(x, "new");
        list(x, "cur");
        if (x->n)
            qsort(x->v, x->n, sizeof *x->v, by_order);
        for (size_t k = 0; k < x->n && !target_failed(x->t); k++)
            take(x, &x->v[k]);
    }
    forget(x);
}

static bool is_maildir(const char *path)
{
    char cur[4200];
    struct stat st;
    snprintf(cur, sizeof cur, "%.4000s/cur", path);
    return stat(cur, &st) == 0 && S_ISDIR(st.st_mode);
}

static void take_folder(struct folder *x, const char *path, struct span name)
{
    struct uid *u, *next;
    if (x->o->mailbox && !span_eq(name, span_str(x->o->mailbox)))
        return;
    struct span box = target_box(x->t, name, STORE_USE_NONE);
    if (!box.p)
        return;
    char *mailbox = xstrspan(box);
    x->path = path;
    x->mailbox = span_str(mailbox);
    maildir_keywords_read(&x->keywords, path);
    read_uids(x);
    read_folder(x);
    if (x->subscribe)
        target_subscribe(x->t, x->mailbox);
    HASH_ITER(hh, x->uids, u, next)
    {
        HASH_DEL(x->uids, u);
        free(u);
    }
    maildir_keywords_free(&x->keywords);
    free(mailbox);
}

typedef void folder_fn(void *arg, const char *path, struct span name);

/* fn for each Maildir at path and below, name being its mailbox's. */
static void walk(const char *path, struct span name, int depth, folder_fn *fn, void *arg)
{
    struct dirent **v;
    if (is_maildir(path))
        fn(arg, path, name.n ? name : SPAN("INBOX"));
    int n = depth < DEPTH ? scandir(path, &v, NULL, alphasort) : -1;
    for (int i = 0; i < n; i++) {
        const char *file = v[i]->d_name;
        struct span sub = span_str(file);
        bool own = strcmp(file, "cur") == 0 || strcmp(file, "new") == 0 || strcmp(file, "tmp") == 0 ||
                   strcmp(file, ".") == 0 || strcmp(file, "..") == 0;
        char *below = xmalloc(strlen(path) + sub.n + 2);
        struct buf b;
        struct stat st;
        buf_init(&b, 8192);
        sprintf(below, "%s/%s", path, file);
        bool ok = buf_add_span(&b, name) && (!name.n || buf_add_char(&b, '/')) &&
                  maildir_name(sub, file[0] == '.' ? '.' : '/', &b);
        if (!own && ok && stat(below, &st) == 0 && S_ISDIR(st.st_mode) &&
            (file[0] != '.' || is_maildir(below)))
            walk(below, buf_span(&b), depth + 1, fn, arg);
        buf_free(&b);
        free(below);
        free(v[i]);
    }
    if (n >= 0)
        free(v);
}

static void on_folder(void *arg, const char *path, struct span name)
{
    take_folder(arg, path, name);
}

/* -- subscriptions: Dovecot's list (two forms), Courier's -- */

static FILE *open_in(const char *root, const char *name)
{
    char path[4200];
    snprintf(path, sizeof path, "%.4000s/%s", root, name);
    return fopen(path, "re");
}

static void subscribe_all(struct folder *x, FILE *f, bool courier)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t got;
    char separator = '.';
    while ((got = getline(&line, &size, f)) > 0) {
        struct span s = span_trim(span_of(line, (size_t)got));
        struct buf b;
        if (span_starts(s, SPAN("V\t"))) {
            separator = '\t';
            continue;
        }
        if (courier && span_starts(s, SPAN("INBOX.")))
            s = span_drop(s, 6);
        buf_init(&b, 8192);
        if (s.n && maildir_name(s, separator, &b))
            target_subscribe(x->t, buf_span(&b));
        buf_free(&b);
    }
    free(line);
    fclose(f);
}

int import_maildir(struct target *t, const struct import_options *o, const struct import_account *a,
                   const char *path, struct import_notes *n, struct import_report *r)
{
    struct folder x = {.t = t, .o = o, .a = a, .report = r, .root = path};
    FILE *dovecot = open_in(path, "subscriptions"), *courier = open_in(path, "courierimapsubscribed");
    struct stat st;
    int status = EX_OK;
    (void)n;
    x.subscribe = !dovecot && !courier;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        import_refused(r, SPAN_NONE, span_str(path), errno ? strerror(errno) : "this is no folder");
        status = EX_NOINPUT;
    } else {
        walk(path, SPAN(""), 0, on_folder, &x);
        status = target_failed(t) ? EX_TEMPFAIL : EX_OK;
    }
    if (dovecot)
        subscribe_all(&x, dovecot, false);
    if (courier)
        subscribe_all(&x, courier, true);
    return status;
}

/* -- beforehand -- */

static void plan_folder(void *arg, const char *path, struct span name)
{
    struct import_counts *c = arg;
    static const char *const subs[] = {"new", "cur"};
    (void)name;
    for (int i = 0; i < 2; i++) {
        char sub[4200];
        snprintf(sub, sizeof sub, "%.4000s/%s", path, subs[i]);
        DIR *d = opendir(sub);
        struct stat st;
        for (struct dirent *e; d && (e = readdir(d)) != NULL;)
            if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0) {
                atomic_fetch_add(&c->planned, 1);
                atomic_fetch_add(&c->planned_bytes, (uint64_t)st.st_size);
            }
        if (d)
            closedir(d);
    }
}

void import_plan_maildir(const char *path, struct import_counts *c)
{
    walk(path, SPAN(""), 0, plan_folder, c);
}
