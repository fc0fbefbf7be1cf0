/* mailadm backup DIR: stored and directoryd send their files into a pipe while they work (backup_stream.h),
 * and they become a set here; configuration, keys and certificates are read directly. backup key and backup
 * verify are backup_check.c's. The hard point is that a set is whole or is not there: it grows under another
 * name, every file is hashed as it is written and synced, the manifest comes last, then a rename. Segments
 * and chunks (chunks.c) that an earlier set brought stay where they are and are only named again. */
#include "mailadm/backup_tidy.h"
#include "mailadm/chunks.h"
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
#include <sys/stat.h>
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
    bool sealed, cut;      /* cut: an earlier run was, in this folder */
    char folder[SET_PATH]; /* of the growing set, below dir */
    struct set set, last;  /* last: the newest one, if it is of the same key, with segments that lie there */
    struct chunks *chunks;
    struct progress progress;
    uint64_t received, written; /* from the daemons; new in dir, without chunks */
    int lock;                   /* a file of dir, held */
    /* the stream under way */
    const char *part; /* "store/" or "directory/" */
    struct loop_io *io;
    int fd;
    struct buf in;
    struct sink *sink;
    struct set_file *chunked; /* under way, instead of a sink; the last one of the set */
    char name[SET_PATH];      /* of the file under way, below the set or (segments) below dir */
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

/* Segments go to their pool at once, as N.seg.new until they are whole; all else becomes chunks. */
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
        return open_sink(b, path);
    }
    path_put(b->name, "%s%s", b->part, name);
    b->chunked = set_add(&b->set, b->name);
    b->chunked->chunked = true;
    return ERR_OK;
}

static enum err_code end_file(struct backup *b)
{
    struct set_file *f = set_add(&b->set, b->name);
    f->is_segment = b->is_segment;
    f->segment = b->segment;
    f->plain = b->plain;
    enum err_code code = sink_end(&b->sink, true, f->hash, &f->size);
    b->written += f->size;
    if (code != ERR_OK || !f->is_segment)
        return code;
    char from[SET_PATH], to[SET_PATH];
    path_put(to, "%s/%s", b->dir, b->name);
    path_put(from, "%s.new", to);
    if (rename(from, to) != 0)
        return err_set(&b->why, ERR_RETRY, NULL, "%.200s: %s", to, strerror(errno));
    *strrchr(to, '/') = '\0';
    if (!sync_dir(to))
        return err_set(&b->why, ERR_RETRY, NULL, "%.200s: %s", to, strerror(errno));
    cut_note(b->dir, b->folder, &b->set, f);
    return ERR_OK;
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
    cut_note(b->dir, b->folder, &b->set, f);
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

static bool file_under_way(const struct backup *b)
{
    return b->sink || b->chunked;
}

static enum err_code take_data(struct backup *b, struct span bytes)
{
    if (!file_under_way(b))
        return err_set(&b->why, ERR_SYNTAX, NULL, "the stream has bytes outside of a file");
    b->plain += bytes.n;
    b->received += bytes.n;
    progress_add(&b->progress, bytes.n);
    return b->sink ? sink_add(b->sink, bytes) : chunks_add(b->chunks, b->chunked, bytes, &b->why);
}

static enum err_code take_end(struct backup *b)
{
    if (b->sink)
        return end_file(b);
    struct set_file *f = b->chunked;
    b->chunked = NULL;
    return chunks_end(b->chunks, f, &b->why);
}

/* One item with a name in front. */
static enum err_code take_named(struct backup *b, char kind, struct span name, uint64_t size)
{
    char text[BACKUP_NAME_LIMIT + 1];
    if (kind == BACKUP_FAILED)
        return err_set(&b->why, ERR_RETRY, NULL, "%.*s", (int)(name.n < 250 ? name.n : 250), name.p);
    if (name.n == 0 || name.n > BACKUP_NAME_LIMIT || *name.p == '/' || *name.p == '.' ||
        memmem(name.p, name.n, "..", 2) || file_under_way(b))
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
    else if (kind == BACKUP_END && file_under_way(b))
        code = take_end(b);
    else if (kind == BACKUP_DONE && !file_under_way(b))
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

static int by_number(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
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
        if (count)
            qsort(have, count, sizeof *have, by_number); /* those of cut runs stand behind */
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
    b->chunked = NULL;
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

static bool has_size(const char *dir, const struct set_file *f)
{
    char path[SET_PATH];
    struct stat st;
    path_put(path, "%s/%s", dir, f->name);
    return stat(path, &st) == 0 && (uint64_t)st.st_size == f->size;
}

/* The newest set of the same key: its chunks need not come again, nor its segments that lie where they
 * should. */
static void find_last(struct backup *b, const struct stamps *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct err why;
        if (set_read(b->dir, l->v[i], &b->last, &why) != ERR_OK)
            continue;
        if (strcmp(b->last.key, b->set.key) == 0)
            break;
        set_free(&b->last);
    }
    chunks_learn(b->chunks, &b->last);
    cut_adopt(b->dir, b->set.key, &b->last);
    size_t kept = 0;
    for (size_t k = 0; k < b->last.n; k++) {
        const struct set_file f = b->last.v[k];
        if (!f.is_segment || !has_size(b->dir, &f))
            continue;
        b->last.v[k] = b->last.v[kept];
        b->last.v[kept++] = f;
    }
    set_cut(&b->last, kept);
}

/* Chunks of equal plain bytes are known by a hash with a key when they are sealed: made of a key that is in
 * every backup, so that it is the same each time; without it all chunks come anew. */
static void make_chunks(struct backup *b)
{
    unsigned char key[CRYPTO_HASH], id_key[CRYPTO_HASH];
    char path[SET_PATH];
    struct buf name;
    path_put(path, "%s/grant.key", b->k.conf->key_dir);
    if (!crypto_key_load(path, key))
        crypto_random(key, sizeof key);
    buf_init(&name, 256);
    (void)!buf_addf(&name, "chunks of backups %s", b->set.key);
    crypto_hmac(span_of(key, sizeof key), buf_span(&name), id_key);
    b->chunks = chunks_new(b->dir, b->sealed ? b->to : NULL, id_key);
    b->set.chunk_bytes = SET_CHUNK;
    buf_free(&name);
    crypto_wipe(key, sizeof key);
    crypto_wipe(id_key, sizeof id_key);
}

static int prepare(struct backup *b)
{
    char path[SET_PATH];
    struct stamps l = {NULL, 0};
    struct err why;
    path_put(path, "%s/sets", b->dir);
    bool ok = make_path(path);
    path_put(path, "%s/provmail-backup", b->dir);
    b->lock = ok ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (b->lock < 0) {
        fprintf(stderr, "mailadm: %s: %s\n", b->dir, strerror(errno));
        return EX_CANTCREAT;
    }
    if (flock(b->lock, LOCK_EX | LOCK_NB) != 0) {
        fprintf(stderr, "mailadm: %s: another backup writes there\n", b->dir);
        close(b->lock);
        b->lock = -1;
        return EX_TEMPFAIL;
    }
    make_stamp(b->set.stamp);
    if (b->sealed)
        hex_of(b->to, sizeof b->to, b->set.key);
    path_put(b->folder, "new-%s", b->set.stamp);
    make_chunks(b);
    if (set_list(b->dir, &l, &why) == ERR_OK)
        find_last(b, &l);
    free(l.v);
    b->cut = tidy_cut(b->dir);
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
    char from[SET_PATH], to[SET_PATH], sets[SET_PATH], notes[SET_PATH];
    struct err why = {.code = ERR_OK};
    path_put(from, "%s/%s", b->dir, b->folder);
    path_put(sets, "%s/sets", b->dir);
    path_put(to, "%s/sets/%s", b->dir, b->set.stamp);
    path_put(notes, "%s/segments", from);
    unlink(notes); /* the manifest says it */
    if (set_write(b->dir, b->folder, &b->set, &why) != ERR_OK) {
        fprintf(stderr, "mailadm: %s\n", why.log);
        return EX_IOERR;
    }
    /* All chunks at once: a sync each would take longer than all the rest. */
    if (syncfs(b->lock) != 0 || !sync_below(from) || rename(from, to) != 0 || !sync_dir(sets) ||
        !sync_dir(b->dir)) {
        fprintf(stderr, "mailadm: %s: %s\n", to, strerror(errno));
        return EX_IOERR;
    }
    return EX_OK;
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
    const struct chunks_count c = chunks_counted(b->chunks);
    const uint64_t moved = b->written + c.bytes, ms = clock_mono_ms() - b->progress.begin_ms;
    if (b->k.adm->json)
        printf("{\"set\": \"%s\", \"bytes\": %" PRIu64 ", \"moved\": %" PRIu64 ", \"read\": %" PRIu64
               ", \"segments\": %" PRIu64 ", \"segments_kept\": %" PRIu64 ", \"chunks\": %" PRIu64
               ", \"chunks_kept\": %" PRIu64 ", \"sets_removed\": %zu, \"ms\": %" PRIu64
               ", \"encrypted\": %s}\n",
               b->set.stamp, total, moved, b->received, segments, kept, c.named, c.named - c.written, gone,
               ms, b->sealed ? "true" : "false");
    else
        printf("%s: %.1f MiB in all, of which %.1f MiB are new, in %.1f s; %" PRIu64 " of %" PRIu64
               " segments and %" PRIu64 " of %" PRIu64 " chunks were there\n",
               b->set.stamp, (double)total / 1048576, (double)moved / 1048576, (double)ms / 1000, kept,
               segments, c.named - c.written, c.named);
}

/* The set is there; or nothing of it, and what it brought goes too. */
static void finish(struct backup *b, int status)
{
    size_t gone = 0;
    if (status != EX_OK)
        tidy_cut(b->dir);
    if (status != EX_OK || b->keep || b->cut)
        gone = tidy_sets(b->dir, status == EX_OK ? b->keep : 0);
    if (status == EX_OK)
        say(b, gone);
}

int adm_backup(const struct adm *a, int argc, char **argv)
{
    struct backup *b = xcalloc(1, sizeof *b);
    b->fd = b->lock = -1;
    crypto_start();
    buf_init(&b->in, 4 * BACKUP_DATA_LIMIT);
    int status = read_options(b, argc, argv);
    if (status == EX_OK)
        status = ask_open(&b->k, a, true, true);
    if (status == EX_OK)
        status = prepare(b);
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
    if (b->lock >= 0)
        finish(b, status);
    ask_close(&b->k);
    set_free(&b->set);
    set_free(&b->last);
    chunks_free(&b->chunks);
    buf_free(&b->in);
    if (b->lock >= 0)
        close(b->lock);
    free(b);
    return status;
}
