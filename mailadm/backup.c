/* mailadm backup DIR: stored and directoryd send their files into a pipe while they work (backup_stream.h),
 * and they become a set here; configuration, keys and certificates are read directly. backup key and backup
 * verify are backup_check.c's. The hard point is that a set is whole or is not there: it grows under another
 * name, every file is hashed as it is written and synced, the manifest comes last, then a rename. Segments
 * that an earlier set brought stay where they are and are only named again. */
#include "mailadm/past.h"
#include "mailadm/set.h"
#include "common/base/clock.h"
#include "common/net/loop.h"
#include "common/store/backup_stream.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 256 << 10, PIPE_BYTES = 1 << 20 };

struct backup {
    struct ask k;
    const char *dir;
    const char *to_file;
    uint64_t keep; /* sets; 0: all */
    unsigned char to[CRYPTO_HASH];
    bool sealed;
    char folder[SET_PATH]; /* of the growing set, below dir */
    struct set set, last;  /* last: of the same life and key, or empty */
    struct progress progress;
    uint64_t received;
    /* the stream under way */
    const char *part; /* "store/" or "directory/" */
    struct loop_io *io;
    int fd;
    struct buf in;
    struct sink *sink;
    char name[SET_PATH]; /* of the file under way, below the set or (segments) below dir */
    uint64_t plain;
    uint32_t segment;
    bool is_segment, whole, ended, answered;
    enum err_code answer;
    struct err why;
};

/* -- a file under way -- */

static enum err_code open_sink(struct backup *b, const char *below_dir)
{
    char path[SET_PATH], *slash;
    path_put(path, "%s/%s", b->dir, below_dir);
    slash = strrchr(path, '/');
    *slash = '\0';
    if (!make_path(path))
        return err_set(&b->why, ERR_RETRY, NULL, "%.200s: %s", path, strerror(errno));
    *slash = '/';
    unlink(path); /* of a run that was cut */
    b->sink = sink_new(path, b->sealed ? b->to : NULL, &b->why);
    b->plain = 0;
    return b->sink ? ERR_OK : ERR_RETRY;
}

/* Segments go to their pool at once (as N.seg.new until they are whole): a run that is cut has not brought
 * them in vain. */
static enum err_code begin_file(struct backup *b, const char *name)
{
    char path[SET_PATH], pool[SET_PATH];
    unsigned number = 0;
    b->is_segment = sscanf(name, "segments/%8x.seg", &number) == 1 && strcmp(b->part, "store/") == 0;
    b->segment = number;
    if (b->is_segment) {
        set_pool(&b->set, pool);
        path_put(b->name, "%.200s/%08x.seg", pool, number);
        path_put(path, "%s.new", b->name);
    } else {
        path_put(b->name, "%s%s", b->part, name);
        path_put(path, "%s/%s", b->folder, b->name);
    }
    return open_sink(b, path);
}

static enum err_code end_file(struct backup *b)
{
    struct set_file *f = set_add(&b->set, b->name);
    f->is_segment = b->is_segment;
    f->segment = b->segment;
    f->plain = b->plain;
    enum err_code code = sink_end(&b->sink, f->hash, &f->size);
    if (code != ERR_OK || !f->is_segment)
        return code;
    char from[SET_PATH], to[SET_PATH];
    path_put(to, "%s/%s", b->dir, b->name);
    path_put(from, "%s.new", to);
    if (rename(from, to) != 0)
        return err_set(&b->why, ERR_RETRY, NULL, "%.200s: %s", to, strerror(errno));
    *strrchr(to, '/') = '\0';
    return sync_dir(to) ? ERR_OK : err_set(&b->why, ERR_RETRY, NULL, "%.200s: %s", to, strerror(errno));
}

static enum err_code keep_file(struct backup *b, const char *name, uint64_t size)
{
    unsigned number = 0;
    const struct set_file *old =
        sscanf(name, "segments/%8x.seg", &number) == 1 ? set_segment(&b->last, number) : NULL;
    if (!old || old->plain != size)
        return err_set(&b->why, ERR_BUG, NULL, "%.100s has another size than before", name);
    struct set_file *f = set_add(&b->set, old->name);
    char *own = f->name;
    *f = *old;
    f->name = own;
    return ERR_OK;
}

/* -- the stream -- */

static uint64_t number_at(const struct buf *in, size_t at, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (unsigned char)in->p[at + i];
    return v;
}

static enum err_code take_life(struct backup *b, const unsigned char *life)
{
    hex_of(life, BACKUP_LIFE_SIZE, b->set.life);
    return ERR_OK;
}

static enum err_code take_data(struct backup *b, struct span bytes)
{
    if (!b->sink)
        return err_set(&b->why, ERR_SYNTAX, NULL, "the stream has bytes outside of a file");
    b->plain += bytes.n;
    b->received += bytes.n;
    progress_add(&b->progress, bytes.n);
    return sink_add(b->sink, bytes);
}

/* One item with a name in front. */
static enum err_code take_named(struct backup *b, char kind, struct span name, uint64_t size)
{
    char text[BACKUP_NAME_LIMIT + 1];
    if (kind == BACKUP_FAILED)
        return err_set(&b->why, ERR_RETRY, NULL, "%.*s", (int)(name.n < 250 ? name.n : 250), name.p);
    if (name.n == 0 || name.n > BACKUP_NAME_LIMIT || *name.p == '/' || *name.p == '.' ||
        memmem(name.p, name.n, "..", 2) || b->sink)
        return err_set(&b->why, ERR_SYNTAX, NULL, "the stream has a name that is none");
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    return kind == BACKUP_KEPT ? keep_file(b, text, size) : begin_file(b, text);
}

/* The next item of b->in; *more false: it has not arrived whole. */
static enum err_code take_item(struct backup *b, bool *more)
{
    const char kind = *b->in.p;
    const size_t n = b->in.n;
    size_t size = 1;
    enum err_code code = ERR_OK;
    const bool named = kind == BACKUP_FILE || kind == BACKUP_KEPT || kind == BACKUP_FAILED;
    const size_t head = kind == BACKUP_LIFE    ? 17
                        : kind == BACKUP_TOTAL ? 9
                        : kind == BACKUP_DATA  ? 5
                        : named                ? 3
                                               : 1;
    *more = false;
    if (n < head)
        return ERR_OK;
    size = head;
    if (kind == BACKUP_DATA)
        size += (size_t)number_at(&b->in, 1, 4);
    if (named)
        size += (size_t)number_at(&b->in, 1, 2) + (kind == BACKUP_KEPT ? 8 : 0);
    if (size > BACKUP_DATA_LIMIT + 16)
        return err_set(&b->why, ERR_SYNTAX, NULL, "the stream has an item without end");
    if (n < size)
        return ERR_OK;
    *more = true;
    if (kind == BACKUP_LIFE)
        code = take_life(b, (const unsigned char *)b->in.p + 1);
    else if (kind == BACKUP_TOTAL)
        b->progress.total += number_at(&b->in, 1, 8);
    else if (kind == BACKUP_DATA)
        code = take_data(b, span_of(b->in.p + 5, size - 5));
    else if (named)
        code = take_named(b, kind, span_of(b->in.p + 3, (size_t)number_at(&b->in, 1, 2)),
                          kind == BACKUP_KEPT ? number_at(&b->in, size - 8, 8) : 0);
    else if (kind == BACKUP_END && b->sink)
        code = end_file(b);
    else if (kind == BACKUP_DONE && !b->sink)
        b->whole = true;
    else
        code = err_set(&b->why, ERR_SYNTAX, NULL, "the stream is not understood");
    buf_consume(&b->in, size);
    return code;
}

static void stream_ended(struct backup *b)
{
    b->ended = true;
    loop_io_free(&b->io);
    close(b->fd);
    b->fd = -1;
    if (b->answered || b->why.code != ERR_OK)
        ask_end(&b->k, b->why.code);
}

static void on_readable(void *arg, unsigned what)
{
    struct backup *b = arg;
    bool more = true;
    (void)what;
    char *to = buf_reserve(&b->in, BLOCK);
    ssize_t n = to ? read(b->fd, to, BLOCK) : -1;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        buf_commit(&b->in, (size_t)n);
    loop_timer_start(b->k.timer, ASK_LONG_MS);
    while (n > 0 && more && b->in.n && b->why.code == ERR_OK)
        if (take_item(b, &more) != ERR_OK && b->why.code == ERR_OK)
            b->why.code = ERR_BUG;
    if (n <= 0 || b->why.code != ERR_OK)
        stream_ended(b);
}

static void answered(struct backup *b, enum err_code code)
{
    b->answered = true;
    b->answer = code;
    if (b->ended || code == ERR_DENIED || code == ERR_STATE)
        ask_end(&b->k, b->why.code);
}

static void on_store(void *session, enum err_code code)
{
    struct ask *k = session;
    answered(k->arg, code);
}

static void on_directory(void *session, enum err_code code, struct span text)
{
    struct ask *k = session;
    (void)text; /* the stream has said it too */
    answered(k->arg, code);
}

/* Ask one daemon and read all that it sends. */
static int receive(struct backup *b, const char *part)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return ask_status(ERR_RETRY, "pipe");
    (void)fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* a small one does too */
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    b->part = part;
    b->fd = ends[0];
    b->whole = b->ended = b->answered = false;
    b->answer = ERR_RETRY;
    b->k.arg = b;
    buf_reset(&b->in);
    b->io = loop_io_new(b->k.loop, b->fd, LOOP_READ, on_readable, b);
    if (strcmp(part, "store/") == 0) {
        unsigned char life[BACKUP_LIFE_SIZE] = {0};
        uint32_t *have = xcalloc(b->last.n + 1, sizeof *have);
        size_t count = 0;
        for (size_t i = 0; i < b->last.n; i++)
            if (b->last.v[i].is_segment)
                have[count++] = b->last.v[i].segment;
        if (*b->last.life)
            (void)!hex_read(b->last.life, life, sizeof life);
        store_admin_backup(b->k.store, life, have, count, ends[1], b->k.ticket, on_store);
        free(have);
    } else {
        directory_admin_backup(b->k.directory, ends[1], b->k.ticket, on_directory);
    }
    enum err_code code = ask_wait(&b->k, ASK_LONG_MS);
    loop_io_free(&b->io);
    if (b->fd >= 0)
        close(b->fd);
    b->fd = -1;
    sink_drop(&b->sink);
    if (b->whole && b->why.code == ERR_OK)
        return EX_OK;
    progress_end(&b->progress);
    if (b->why.code != ERR_OK)
        fprintf(stderr, "mailadm: %.*s: %s\n", (int)strlen(part) - 1, part, b->why.log);
    else if (b->answered && b->answer == ERR_STATE)
        fprintf(stderr, "mailadm: another backup is under way\n");
    else
        return ask_status(b->answered && b->answer != ERR_OK ? b->answer
                          : code == ERR_OK                   ? ERR_RETRY
                                                             : code,
                          strcmp(part, "store/") == 0 ? "store" : "directory");
    return EX_IOERR;
}

/* -- files that mailadm reads itself -- */

static int add_file(struct backup *b, const char *path, const char *as, bool must)
{
    char below[SET_PATH];
    int fd = path && *path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        if (must)
            fprintf(stderr, "mailadm: %s: %s\n", path ? path : as, strerror(errno));
        return must ? EX_NOINPUT : EX_OK;
    }
    path_put(b->name, "files/%s", as);
    path_put(below, "%s/%s", b->folder, b->name);
    b->is_segment = false;
    enum err_code code = open_sink(b, below);
    char *block = xmalloc(BLOCK);
    for (ssize_t n = 1; n > 0 && code == ERR_OK;) {
        n = read(fd, block, BLOCK);
        if (n > 0)
            code = sink_add(b->sink, span_of(block, (size_t)n));
        else if (n < 0)
            code = err_set(&b->why, ERR_RETRY, NULL, "%s: %s", path, strerror(errno));
    }
    free(block);
    close(fd);
    if (code == ERR_OK)
        code = end_file(b);
    sink_drop(&b->sink);
    if (code != ERR_OK)
        fprintf(stderr, "mailadm: %s\n", b->why.log);
    return code == ERR_OK ? EX_OK : EX_IOERR;
}

static int add_keys(struct backup *b, const char *key_dir)
{
    int status = EX_OK;
    DIR *d = opendir(key_dir);
    if (!d) {
        fprintf(stderr, "mailadm: %s: %s\n", key_dir, strerror(errno));
        return EX_NOINPUT;
    }
    for (struct dirent *f; status == EX_OK && (f = readdir(d));) {
        char path[SET_PATH], as[300];
        if (*f->d_name == '.')
            continue;
        path_put(path, "%s/%s", key_dir, f->d_name);
        snprintf(as, sizeof as, "keys/%s", f->d_name);
        status = add_file(b, path, as, true);
    }
    closedir(d);
    return status;
}

static int add_files(struct backup *b)
{
    const struct conf *c = b->k.conf;
    const bool ldif = strcmp(c->directory_source, "ldif") == 0;
    int status = add_file(b, b->k.adm->file, "provmail.conf", true);
    if (status == EX_OK)
        status = add_keys(b, c->key_dir);
    if (status == EX_OK)
        status = add_file(b, c->tls_certificate, "tls-certificate.pem", false);
    if (status == EX_OK)
        status = add_file(b, c->tls_key, "tls-key.pem", false);
    if (status == EX_OK && ldif)
        status = add_file(b, c->directory_ldif, "directory.ldif", false);
    if (status == EX_OK && !ldif)
        status = add_file(b, c->ldap_bind_password_file, "ldap-password", false);
    return status;
}

/* -- the set -- */

static int usage(void)
{
    fputs("usage: mailadm backup DIR [--encrypt-to KEY.pub] [--keep N] [--json]\n", stderr);
    return EX_USAGE;
}

static int read_options(struct backup *b, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--encrypt-to") == 0 && i + 1 < argc) {
            b->to_file = argv[++i];
        } else if (strcmp(argv[i], "--keep") == 0 && i + 1 < argc) {
            b->keep = strtoull(argv[++i], &end, 10);
            if (*end || b->keep == 0)
                return usage();
        } else if (!b->dir && argv[i][0] != '-') {
            b->dir = argv[i];
        } else {
            return usage();
        }
    }
    if (!b->dir || strlen(b->dir) > 3000)
        return usage();
    b->sealed = b->to_file != NULL;
    if (b->sealed && !crypto_key_load(b->to_file, b->to)) {
        fprintf(stderr, "mailadm: %s: %s\n", b->to_file, errno ? strerror(errno) : "not a key");
        return EX_NOINPUT;
    }
    return EX_OK;
}

static void make_stamp(char out[SET_STAMP])
{
    const int64_t us = clock_wall_us();
    const time_t s = (time_t)(us / 1000000);
    struct tm tm;
    char text[20] = "";
    if (gmtime_r(&s, &tm))
        strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &tm);
    snprintf(out, SET_STAMP, "%s-%06d", text, (int)(us % 1000000));
}

/* What a run that was cut left: sets that never were. */
static void sweep(const struct backup *b)
{
    DIR *d = opendir(b->dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        char path[SET_PATH];
        if (strncmp(f->d_name, "new-", 4) != 0)
            continue;
        path_put(path, "%s/%s", b->dir, f->d_name);
        remove_tree(path);
    }
    if (d)
        closedir(d);
}

/* The newest set of the same key whose segments all lie where they should: they need not come again. */
static void find_last(struct backup *b, const struct stamps *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct err why;
        if (set_read(b->dir, l->v[i], &b->last, &why) != ERR_OK)
            continue;
        size_t kept = 0;
        if (strcmp(b->last.key, b->set.key) == 0) {
            for (size_t k = 0; k < b->last.n; k++) {
                char path[SET_PATH];
                struct set_file *f = &b->last.v[k];
                path_put(path, "%s/%s", b->dir, f->name);
                int fd = f->is_segment ? open(path, O_RDONLY | O_CLOEXEC) : -1;
                if (fd >= 0 && (uint64_t)lseek(fd, 0, SEEK_END) == f->size) {
                    struct set_file x = b->last.v[kept];
                    b->last.v[kept++] = *f;
                    *f = x;
                }
                if (fd >= 0)
                    close(fd);
            }
        }
        for (size_t k = kept; k < b->last.n; k++)
            free(b->last.v[k].name);
        b->last.n = kept;
        if (kept)
            return;
        set_free(&b->last);
    }
}

static int prepare(struct backup *b, int *lock)
{
    char path[SET_PATH];
    struct stamps l = {NULL, 0};
    struct err why;
    path_put(path, "%s/sets", b->dir);
    bool ok = make_path(path);
    path_put(path, "%s/provmail-backup", b->dir);
    *lock = ok ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (*lock < 0) {
        fprintf(stderr, "mailadm: %s: %s\n", b->dir, strerror(errno));
        return EX_CANTCREAT;
    }
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0) {
        fprintf(stderr, "mailadm: %s: another backup writes there\n", b->dir);
        return EX_TEMPFAIL;
    }
    sweep(b);
    make_stamp(b->set.stamp);
    if (b->sealed)
        hex_of(b->to, sizeof b->to, b->set.key);
    path_put(b->folder, "new-%s", b->set.stamp);
    if (set_list(b->dir, &l, &why) == ERR_OK)
        find_last(b, &l);
    free(l.v);
    path_put(path, "%s/%s", b->dir, b->folder);
    return make_path(path) ? EX_OK : ask_status(ERR_DENIED, path);
}

static bool sync_below(const char *path)
{
    DIR *d = opendir(path);
    bool ok = d != NULL;
    for (struct dirent *f; d && (f = readdir(d));) {
        char below[SET_PATH];
        if (*f->d_name == '.' || f->d_type != DT_DIR)
            continue;
        path_put(below, "%s/%s", path, f->d_name);
        ok = sync_below(below) && ok;
    }
    if (d)
        closedir(d);
    return ok && sync_dir(path);
}

static int complete(struct backup *b)
{
    char from[SET_PATH], to[SET_PATH], sets[SET_PATH];
    struct err why = {.code = ERR_OK};
    path_put(from, "%s/%s", b->dir, b->folder);
    path_put(sets, "%s/sets", b->dir);
    path_put(to, "%s/sets/%s", b->dir, b->set.stamp);
    if (set_write(b->dir, b->folder, &b->set, &why) != ERR_OK) {
        fprintf(stderr, "mailadm: %s\n", why.log);
        return EX_IOERR;
    }
    if (!sync_below(from) || rename(from, to) != 0 || !sync_dir(sets) || !sync_dir(b->dir)) {
        fprintf(stderr, "mailadm: %s: %s\n", to, strerror(errno));
        return EX_IOERR;
    }
    return EX_OK;
}

/* -- sets beyond --keep, and segments that no set names -- */

static bool named_somewhere(const struct set *sets, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sets[i].n; k++)
            if (sets[i].v[k].is_segment && strcmp(sets[i].v[k].name, name) == 0)
                return true;
    return false;
}

static void prune_pool(const struct backup *b, const char *pool, const struct set *sets, size_t n)
{
    char path[SET_PATH], name[600];
    path_put(path, "%s/segments/%s", b->dir, pool);
    DIR *d = opendir(path);
    for (struct dirent *f; d && (f = readdir(d));) {
        if (*f->d_name == '.')
            continue;
        snprintf(name, sizeof name, "segments/%.250s/%.250s", pool, f->d_name);
        path_put(path, "%s/%s", b->dir, name);
        if (!named_somewhere(sets, n, name))
            unlink(path);
    }
    if (d)
        closedir(d);
}

static size_t prune(const struct backup *b)
{
    struct stamps l = {NULL, 0};
    struct err why;
    char path[SET_PATH];
    size_t kept = 0, gone = 0;
    if (!b->keep || set_list(b->dir, &l, &why) != ERR_OK)
        return 0;
    struct set *sets = xcalloc(l.n + 1, sizeof *sets);
    bool all_read = true;
    for (size_t i = 0; i < l.n; i++) {
        if (kept < b->keep) {
            bool ok = set_read(b->dir, l.v[i], &sets[kept], &why) == ERR_OK;
            all_read = all_read && ok; /* a set that cannot be read may name any segment */
            kept++;
            continue;
        }
        path_put(path, "%s/sets/%s", b->dir, l.v[i]);
        gone += remove_tree(path) ? 1 : 0;
    }
    path_put(path, "%s/segments", b->dir);
    DIR *d = all_read ? opendir(path) : NULL;
    for (struct dirent *f; d && (f = readdir(d));)
        if (*f->d_name != '.')
            prune_pool(b, f->d_name, sets, kept);
    if (d)
        closedir(d);
    for (size_t i = 0; i < kept; i++)
        set_free(&sets[i]);
    free(sets);
    free(l.v);
    return gone;
}

static void say(const struct backup *b, size_t gone)
{
    uint64_t total = 0, segments = 0, kept = 0;
    for (size_t i = 0; i < b->set.n; i++) {
        total += b->set.v[i].size;
        segments += b->set.v[i].is_segment;
        kept += b->set.v[i].is_segment && set_segment(&b->last, b->set.v[i].segment) != NULL &&
                strcmp(b->last.life, b->set.life) == 0;
    }
    const uint64_t ms = clock_mono_ms() - b->progress.begin_ms;
    if (b->k.adm->json)
        printf("{\"set\": \"%s\", \"bytes\": %" PRIu64 ", \"moved\": %" PRIu64 ", \"segments\": %" PRIu64
               ", \"segments_kept\": %" PRIu64 ", \"sets_removed\": %zu, \"ms\": %" PRIu64
               ", \"encrypted\": %s}\n",
               b->set.stamp, total, b->received, segments, kept, gone, ms, b->sealed ? "true" : "false");
    else
        printf("%s: %.1f MiB in all, of which %.1f MiB were moved in %.1f s; %" PRIu64 " of %" PRIu64
               " segments were there\n",
               b->set.stamp, (double)total / 1048576, (double)b->received / 1048576, (double)ms / 1000, kept,
               segments);
}

int adm_backup(const struct adm *a, int argc, char **argv)
{
    struct backup *b = xcalloc(1, sizeof *b);
    int lock = -1;
    b->fd = -1;
    crypto_start();
    buf_init(&b->in, 4 * BACKUP_DATA_LIMIT);
    int status = read_options(b, argc, argv);
    if (status == EX_OK)
        status = ask_open(&b->k, a, true, true);
    if (status == EX_OK)
        status = prepare(b, &lock);
    progress_start(&b->progress, 0);
    b->progress.bytes = true;
    if (status == EX_OK)
        status = receive(b, "store/");
    if (status == EX_OK)
        status = receive(b, "directory/");
    progress_end(&b->progress);
    if (status == EX_OK)
        status = add_files(b);
    if (status == EX_OK)
        status = complete(b);
    if (status == EX_OK)
        say(b, prune(b));
    else if (lock >= 0)
        sweep(b);
    ask_close(&b->k);
    set_free(&b->set);
    set_free(&b->last);
    buf_free(&b->in);
    if (lock >= 0)
        close(lock);
    free(b);
    return status;
}
