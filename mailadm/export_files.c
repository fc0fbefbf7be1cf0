/* Files of an export. Maildir: Maildir++ as Dovecot keeps it, with its lists of keywords, UIDs and
 * subscriptions, lines end in LF, the file's time is INTERNALDATE and ",z=" in its name the zone. mbox:
 * mboxrd, a file for each mailbox. The hard problem is to lose nothing that the format has no place for;
 * import reads all of it back. */
#include "mailadm/export.h"
#include "mailadm/maildir.h"
#include "mailadm/mbox.h"
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

static bool write_all(int fd, struct buf *b)
{
    while (b->n) {
        ssize_t n = write(fd, b->p, b->n);
        if (n < 0 && errno != EINTR)
            return false;
        buf_consume(b, n > 0 ? (size_t)n : 0);
    }
    return true;
}

/* -- Maildir -- */

struct maildir {
    char path[PATH_MAX];
    struct maildir_keywords keywords;
    FILE *uids;
    int fd;
    bool after_cr;
    struct buf out;
    uint64_t written; /* with LF, for W and S */
};

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
    return ok && write_all(x->fd, &x->out);
}

static bool maildir_end(struct export_box *b, const struct export_message *m)
{
    struct maildir *x = b->state;
    char from[PATH_MAX + 20], to[2 * PATH_MAX];
    struct buf name, info;
    const struct timespec times[2] = {{.tv_sec = m->row->internal_s}, {.tv_sec = m->row->internal_s}};
    buf_init(&name, 512);
    buf_init(&info, 128);
    bool ok =
        buf_addf(&name, "%lld.M%lluU%u.provmail,S=%llu,W=%u", (long long)m->row->internal_s,
                 (unsigned long long)m->mailbox, m->row->uid, (unsigned long long)x->written, m->row->size) &&
        (!m->row->zone_min || buf_addf(&name, ",z=%d", m->row->zone_min)) &&
        maildir_put_info(&info, m->row->flags, m->keywords, m->keyword_count, &x->keywords, &b->lost);
    snprintf(from, sizeof from, "%s/tmp/export", x->path);
    snprintf(to, sizeof to, "%s/cur/%.*s%.*s", x->path, SPAN_ARG(buf_span(&name)), SPAN_ARG(buf_span(&info)));
    ok = ok && futimens(x->fd, times) == 0;
    ok = close(x->fd) == 0 && ok;
    x->fd = -1;
    ok = ok && rename(from, to) == 0 &&
         fprintf(x->uids, "%u :%.*s\n", m->row->uid, SPAN_ARG(buf_span(&name))) > 0;
    buf_free(&name);
    buf_free(&info);
    return ok;
}

static bool maildir_end_box(struct export_box *b)
{
    struct maildir *x = b->state;
    bool ok = x->uids && fclose(x->uids) == 0;
    ok = maildir_keywords_write(&x->keywords, x->path) && ok;
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

const struct export_format export_maildir = {
    "maildir",   maildir_begin_box, maildir_begin,        maildir_add,
    maildir_end, maildir_end_box,   maildir_subscriptions};

/* -- mbox -- */

struct mboxes {
    int fd;
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
    struct buf path;
    b->state = x;
    errno = ENAMETOOLONG;
    buf_init(&path, PATH_MAX);
    buf_init(&x->out, 3 * OUT);
    x->fd = mbox_path(&path, b->top, b->box->name)
                ? open(path.p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)
                : -1;
    buf_free(&path);
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
    return ok;
}

static bool mbox_add(struct export_box *b, struct span bytes)
{
    struct mboxes *x = b->state;
    return mbox_write(&x->writer, bytes) && (x->out.n < OUT || write_all(x->fd, &x->out));
}

static bool mbox_end(struct export_box *b, const struct export_message *m)
{
    struct mboxes *x = b->state;
    (void)m;
    return mbox_write_end(&x->writer) && write_all(x->fd, &x->out);
}

static bool mbox_end_box(struct export_box *b)
{
    struct mboxes *x = b->state;
    bool ok = x->fd < 0 || close(x->fd) == 0;
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

const struct export_format export_mbox = {"mbox",   mbox_begin_box, mbox_begin,        mbox_add,
                                          mbox_end, mbox_end_box,   mbox_subscriptions};
