/* The source of a demo and of a small office: one LDIF file, read whole at each reading. The hard point is a
 * file that is being replaced or edited just then: it is read from one descriptor into memory before the
 * first record is believed, and a file that grew or shrank meanwhile is read again at the next poll.
 * Passwords are checked against the copied hashes, not here. */
#include "common/directory/source_int.h"
#include "common/base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORD_LIMIT = 32 << 20, READ_SIZE = 1 << 20 };
static const size_t FILE_LIMIT = (size_t)1 << 30;

struct source_ldif {
    struct source base;
    char *path;
};

struct reading {
    source_record_cb *cb;
    void *arg;
};

static bool on_record(void *arg, const struct ldif_record *r)
{
    struct reading *g = arg;
    struct uuid id;
    bool has = uuid_parse(ldif_get(r, "entryUUID"), &id);
    return g->cb(g->arg, r, has ? &id : NULL);
}

static enum err_code load(int fd, struct buf *text, struct err *why)
{
    struct stat before, after;
    if (fstat(fd, &before) != 0)
        return err_set(why, ERR_RETRY, NULL, "%s", strerror(errno));
    for (;;) {
        char *to = buf_reserve(text, READ_SIZE);
        if (!to)
            return err_set(why, ERR_LIMIT, NULL, "larger than %zu bytes", FILE_LIMIT);
        ssize_t n = read(fd, to, READ_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(why, ERR_RETRY, NULL, "%s", strerror(errno));
        if (n == 0)
            break;
        buf_commit(text, (size_t)n);
    }
    if (fstat(fd, &after) != 0 || after.st_size != before.st_size ||
        after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
        return err_set(why, ERR_RETRY, NULL, "it is being changed");
    return ERR_OK;
}

static enum err_code ldif_source_read(struct source *base, source_record_cb *cb, void *arg, struct err *why)
{
    struct source_ldif *s = (struct source_ldif *)base;
    struct reading g = {cb, arg};
    struct err inner = {.code = ERR_OK};
    struct buf text;
    int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set(why, ERR_RETRY, NULL, "%s: %s", s->path, strerror(errno));
    buf_init(&text, FILE_LIMIT);
    enum err_code code = load(fd, &text, &inner);
    close(fd);
    if (code == ERR_OK) {
        struct arena *a = arena_new(RECORD_LIMIT);
        code = ldif_read(buf_span(&text), a, on_record, &g, &inner);
        arena_free(&a);
    }
    buf_wipe(&text); /* it may hold readable passwords */
    if (code != ERR_OK)
        err_set(why, code, NULL, "%s: %s", s->path, inner.log);
    return code;
}

static void ldif_source_free(struct source *base)
{
    struct source_ldif *s = (struct source_ldif *)base;
    free(s->path);
    free(s);
}

static const struct source_ops ops = {.read = ldif_source_read, .free = ldif_source_free};

enum err_code source_ldif_new(const struct conf *c, struct source **out, struct err *why)
{
    if (!*c->directory_ldif)
        return err_set(why, ERR_SYNTAX, NULL,
                       "directory_ldif: a file is needed when directory_source is ldif");
    struct source_ldif *s = xcalloc(1, sizeof *s);
    s->base.ops = &ops;
    s->path = xstrdup(c->directory_ldif);
    *out = &s->base;
    return ERR_OK;
}
