/* Files of an export. Maildir: Maildir++ as Dovecot keeps it, with its lists of keywords, UIDs and
 * subscriptions, lines end in LF, the file's time is INTERNALDATE and ",z=" in its name the zone. mbox:
 * mboxrd, a file for each mailbox. The hard problem is to lose nothing that the format has no place for;
 * import reads all of it back. */
#include "mailadm/mailadm.h"
#include "mailadm/export.h"
#include "mailadm/maildir.h"
#include "mailadm/mbox.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OUT = 1 << 20 };

bool export_folders(const char *path)
{
    char *copy = xstrdup(path);
    bool ok = true;
    for (char *p = copy + 1; *p && ok; p++)
        if (*p == '/') {
            *p = '\0';
            ok = mkdir(copy, 0700) == 0 || errno == EEXIST;
            *p = '/';
        }
    ok = ok && (mkdir(copy, 0700) == 0 || errno == EEXIST);
    free(copy);
    return ok;
}

static bool flush(int fd, struct buf *b)
{
    const bool ok = adm_write(fd, buf_span(b));
    buf_reset(b);
    return ok;
}

/* -- Maildir -- */

struct maildir_file {
    char *name;
    uint32_t uid, size;
    long long internal_s;
    unsigned long long mailbox;
    uint64_t written;
    bool kept;
};
struct maildir {
    char path[PATH_MAX];
    struct maildir_keywords keywords;
    FILE *uids;
    struct maildir_file *files; /* of a run that was cut, ascending by UID */
    size_t file_count, file_room;
    int fd;
    bool after_cr;
    struct buf out;
    uint64_t written; /* with LF, for W and S */
};

static int by_uid(const void *a, const void *b)
{
    const struct maildir_file *x = a, *y = b;
    return (x->uid > y->uid) - (x->uid < y->uid);
}

/* What an earlier run has left in cur. */
static bool maildir_look(struct maildir *x)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/cur", x->path);
    DIR *d = opendir(path);
    errno = 0;
    for (struct dirent *e; d && (e = readdir(d)) != NULL; errno = 0) {
        struct maildir_file f = {.kept = false};
        unsigned long long written;
        if (sscanf(e->d_name, "%lld.M%lluU%u.provmail,S=%llu,W=%u", &f.internal_s, &f.mailbox, &f.uid,
                   &written, &f.size) != 5)
            continue;
        if (x->file_count == x->file_room) {
            x->file_room = x->file_room ? x->file_room * 2 : 256;
            x->files = xrealloc(x->files, x->file_room * sizeof *x->files);
        }
        f.written = written;
        f.name = xstrdup(e->d_name);
        x->files[x->file_count++] = f;
    }
    bool ok = d && errno == 0;
    if (d)
        closedir(d);
    if (x->file_count)
        qsort(x->files, x->file_count, sizeof *x->files, by_uid);
    return ok;
}

static bool maildir_begin_box(struct export_box *b)
{
    struct maildir *x = xcalloc(1, sizeof *x);
    struct buf name;
    static const char *const subs[] = {"cur", "new", "tmp"};
    b->state = x;
    x->fd = -1;
    buf_init(&x->out, 3 * OUT);
    buf_init(&name, PATH_MAX);
    bool inbox = span_eq(b->box->name, SPAN("INBOX"));
    bool ok = inbox || maildir_folder(b->box->name, &name);
    if (ok && name.n > NAME_MAX)
        errno = ENAMETOOLONG;
    ok = ok && name.n <= NAME_MAX;
    snprintf(x->path, sizeof x->path, "%.3000s%s%.*s", b->top, inbox ? "" : "/", SPAN_ARG(buf_span(&name)));
    buf_free(&name);
    for (int i = 0; ok && i < 3; i++) {
        char sub[PATH_MAX + 8];
        snprintf(sub, sizeof sub, "%s/%s", x->path, subs[i]);
        ok = export_folders(sub);
    }
    char path[PATH_MAX + 20];
    ok = ok && (!b->resumed || maildir_look(x));
    snprintf(path, sizeof path, "%s/dovecot-uidlist", x->path);
    x->uids = ok ? fopen(path, "we") : NULL;
    return x->uids && fprintf(x->uids, "3 V%u N%u\n", b->box->uidvalidity, b->box->uidnext) > 0;
}

static bool maildir_begin(struct export_box *b, const struct export_message *m)
{
    struct maildir *x = b->state;
    char path[PATH_MAX + 20];
    (void)m;
    snprintf(path, sizeof path, "%s/tmp/export", x->path);
    x->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    x->after_cr = false;
    x->written = 0;
    buf_reset(&x->out);
    return x->fd >= 0;
}

static bool maildir_add(struct export_box *b, struct span bytes)
{
    struct maildir *x = b->state;
    bool ok = true;
    for (size_t i = 0; i < bytes.n && ok; i++) {
        char c = bytes.p[i];
        if (x->after_cr && c != '\n')
            ok = buf_add_char(&x->out, '\r'); /* cannot be in the store */
        x->after_cr = c == '\r';
        ok = ok && (x->after_cr || buf_add_char(&x->out, c));
    }
    x->written += x->out.n;
    return ok && flush(x->fd, &x->out);
}

/* Give the file from its name in cur, with the flags of now, and its line in the list. */
static bool maildir_name_file(struct export_box *b, const struct export_message *m, const char *from,
                              uint64_t written)
{
    struct maildir *x = b->state;
    char to[2 * PATH_MAX];
    struct buf name, info;
    buf_init(&name, 512);
    buf_init(&info, 128);
    bool ok =
        buf_addf(&name, "%lld.M%lluU%u.provmail,S=%llu,W=%u", (long long)m->row->internal_s,
                 (unsigned long long)m->mailbox, m->row->uid, (unsigned long long)written, m->row->size) &&
        (!m->row->zone_min || buf_addf(&name, ",z=%d", m->row->zone_min)) &&
        maildir_put_info(&info, m->row->flags, m->keywords, m->keyword_count, &x->keywords, &b->lost);
    snprintf(to, sizeof to, "%s/cur/%.*s%.*s", x->path, SPAN_ARG(buf_span(&name)), SPAN_ARG(buf_span(&info)));
    ok = ok && rename(from, to) == 0 &&
         fprintf(x->uids, "%u :%.*s\n", m->row->uid, SPAN_ARG(buf_span(&name))) > 0;
    buf_free(&name);
    buf_free(&info);
    return ok;
}

static bool maildir_end(struct export_box *b, const struct export_message *m)
{
    struct maildir *x = b->state;
    char from[PATH_MAX + 20];
    const struct timespec times[2] = {{.tv_sec = m->row->internal_s}, {.tv_sec = m->row->internal_s}};
    snprintf(from, sizeof from, "%s/tmp/export", x->path);
    bool ok = futimens(x->fd, times) == 0;
    ok = close(x->fd) == 0 && ok;
    x->fd = -1;
    return ok && maildir_name_file(b, m, from, x->written);
}

static bool maildir_drop(struct export_box *b)
{
    struct maildir *x = b->state;
    char path[PATH_MAX + 20];
    snprintf(path, sizeof path, "%s/tmp/export", x->path);
    bool ok = close(x->fd) == 0;
    x->fd = -1;
    return unlink(path) == 0 && ok;
}

/* A file stands for the message when it is as long as its name says: it got that name when it was whole. */
static bool maildir_keep(struct export_box *b, const struct export_message *m, bool *kept)
{
    struct maildir *x = b->state;
    const struct maildir_file key = {.uid = m->row->uid};
    struct maildir_file *f =
        x->file_count ? bsearch(&key, x->files, x->file_count, sizeof *x->files, by_uid) : NULL;
    char path[2 * PATH_MAX];
    struct stat st;
    if (!f || f->mailbox != m->mailbox || f->size != m->row->size || f->internal_s != m->row->internal_s)
        return true;
    snprintf(path, sizeof path, "%s/cur/%s", x->path, f->name);
    if (stat(path, &st) != 0 || (uint64_t)st.st_size != f->written)
        return true;
    f->kept = *kept = true;
    return maildir_name_file(b, m, path, f->written);
}

/* Files of an earlier run whose messages are not there any more. */
static bool maildir_clean(struct maildir *x, bool remove)
{
    char path[2 * PATH_MAX];
    bool ok = true;
    for (size_t i = 0; i < x->file_count; i++) {
        snprintf(path, sizeof path, "%s/cur/%s", x->path, x->files[i].name);
        if (remove && !x->files[i].kept && unlink(path) != 0 && errno != ENOENT)
            ok = false;
        free(x->files[i].name);
    }
    free(x->files);
    return ok;
}

static bool maildir_end_box(struct export_box *b)
{
    struct maildir *x = b->state;
    bool ok = x->uids && fclose(x->uids) == 0;
    ok = maildir_keywords_write(&x->keywords, x->path) && ok;
    ok = maildir_clean(x, b->whole) && ok;
    if (x->fd >= 0)
        close(x->fd);
    maildir_keywords_free(&x->keywords);
    buf_free(&x->out);
    free(x);
    return ok;
}

/* Dovecot's second form: levels apart by tabs. */
static bool maildir_subscriptions(const char *top, char *const *names)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/subscriptions", top);
    FILE *f = fopen(path, "we");
    bool ok = f && fputs("V\t2\n\n", f) >= 0;
    for (size_t i = 0; ok && names[i]; i++) {
        struct buf b;
        buf_init(&b, 16384);
        ok = maildir_folder(span_str(names[i]), &b);
        for (size_t k = 0; ok && k < b.n; k++)
            if (b.p[k] == '.')
                b.p[k] = '\t';
        ok = ok && fprintf(f, "%.*s\n", SPAN_ARG(span_drop(buf_span(&b), 1))) > 0;
        buf_free(&b);
    }
    return f && fclose(f) == 0 && ok;
}

const struct export_format export_maildir = {.name = "maildir",
                                             .begin_box = maildir_begin_box,
                                             .keep = maildir_keep,
                                             .begin = maildir_begin,
                                             .add = maildir_add,
                                             .end = maildir_end,
                                             .drop = maildir_drop,
                                             .end_box = maildir_end_box,
                                             .subscriptions = maildir_subscriptions};

/* -- mbox -- */

struct mboxes {
    int fd;
    off_t begun; /* where the message starts */
    struct buf path;
    struct buf out;
    struct mbox_writer writer;
};

/* A level as a file's name: what would hide it, or look like another file, as "%2E". */
static bool put_level(struct buf *b, struct span level, bool last)
{
    size_t dot = level.n && level.p[0] == '.' ? 0 : level.n;
    if (!last && span_ends(level, SPAN(".mbox")) && dot)
        dot = level.n - 5;
    bool ok = true;
    for (size_t i = 0; i < level.n && ok; i++)
        ok = level.p[i] == '%' || i == dot ? buf_addf(b, "%%%02X", (unsigned)(unsigned char)level.p[i])
                                           : buf_add_char(b, level.p[i]);
    return ok;
}

static bool mbox_path(struct buf *b, const char *top, struct span name)
{
    bool ok = buf_add_str(b, top);
    while (ok && name.n) {
        struct span level = span_cut(&name, '/');
        ok = buf_add_char(b, '/') && put_level(b, level, !name.n);
        if (ok && name.n) {
            char *folder = xstrspan(buf_span(b));
            ok = mkdir(folder, 0700) == 0 || errno == EEXIST;
            free(folder);
        }
    }
    return ok && buf_add(b, ".mbox", 6);
}

static bool mbox_begin_box(struct export_box *b)
{
    struct mboxes *x = xcalloc(1, sizeof *x);
    char part[PATH_MAX + 8];
    b->state = x;
    errno = ENAMETOOLONG;
    buf_init(&x->path, PATH_MAX);
    buf_init(&x->out, 3 * OUT);
    bool ok = mbox_path(&x->path, b->top, b->box->name);
    snprintf(part, sizeof part, "%s.part", ok ? x->path.p : "");
    x->fd = ok ? open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    return x->fd >= 0;
}

static bool mbox_begin(struct export_box *b, const struct export_message *m)
{
    struct mboxes *x = b->state;
    struct buf words;
    bool ok = true;
    buf_init(&words, MBOX_KEYWORDS);
    for (size_t i = 0; i < m->keyword_count; i++)
        if ((words.n && !buf_add_char(&words, ' ')) || !buf_add_span(&words, m->keywords[i]))
            b->lost++;
    ok = mbox_write_begin(&x->writer, &x->out, m->row->internal_s, m->row->zone_min, m->row->flags,
                          buf_span(&words), m->ends_lf);
    buf_free(&words);
    x->begun = lseek(x->fd, 0, SEEK_CUR); /* the last one was written to its end */
    return ok && x->begun >= 0;
}

static bool mbox_drop(struct export_box *b)
{
    struct mboxes *x = b->state;
    buf_reset(&x->out);
    return ftruncate(x->fd, x->begun) == 0 && lseek(x->fd, x->begun, SEEK_SET) == x->begun;
}

static bool mbox_add(struct export_box *b, struct span bytes)
{
    struct mboxes *x = b->state;
    return mbox_write(&x->writer, bytes) && (x->out.n < OUT || flush(x->fd, &x->out));
}

static bool mbox_end(struct export_box *b, const struct export_message *m)
{
    struct mboxes *x = b->state;
    (void)m;
    return mbox_write_end(&x->writer) && flush(x->fd, &x->out);
}

/* The folder that the file is in. */
static bool sync_name(const char *path)
{
    char *folder = xstrdup(path);
    *strrchr(folder, '/') = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    free(folder);
    errno = saved;
    return ok;
}

static bool mbox_end_box(struct export_box *b)
{
    struct mboxes *x = b->state;
    char part[PATH_MAX + 8];
    bool ok = !b->whole || fsync(x->fd) == 0;
    ok = (x->fd < 0 || close(x->fd) == 0) && ok;
    snprintf(part, sizeof part, "%s.part", x->path.p);
    if (b->whole)
        ok = b->synced = ok && rename(part, x->path.p) == 0 && sync_name(x->path.p);
    buf_free(&x->path);
    buf_free(&x->out);
    free(x);
    return ok;
}

static bool mbox_subscriptions(const char *top, char *const *names)
{
    (void)top;
    (void)names;
    return true; /* the format has none */
}

const struct export_format export_mbox = {.name = "mbox",
                                          .begin_box = mbox_begin_box,
                                          .begin = mbox_begin,
                                          .add = mbox_add,
                                          .end = mbox_end,
                                          .drop = mbox_drop,
                                          .end_box = mbox_end_box,
                                          .subscriptions = mbox_subscriptions};
