/* Backup sets: manifests and their files. The hard point is to believe nothing that is not whole: a manifest
 * ends with the hash of itself, each file is hashed as it is read, and names are checked before they become
 * paths. */
#include "mailadm/mailadm.h"
#include "mailadm/set.h"
#include "common/base/buf.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { MANIFEST_LIMIT = 1 << 30, BLOCK = 256 << 10, CHUNK_LEAST = 4 << 10, CHUNK_MOST = 64 << 20 };
static const char head[] = "provmail-backup 2\n", head_1[] = "provmail-backup 1\n";

void path_put(char out[SET_PATH], const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(out, SET_PATH, format, ap);
    va_end(ap);
    if (n >= 0 && n < SET_PATH)
        return;
    fprintf(stderr, "mailadm: the path %.200s... is too long\n", out);
    exit(EX_USAGE);
}

void hex_of(const unsigned char *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

bool hex_read(const char *text, unsigned char *out, size_t n)
{
    for (size_t i = 0; i < 2 * n; i++) {
        char c = text[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return false;
        out[i / 2] = (unsigned char)(i % 2 ? out[i / 2] | v : v << 4);
    }
    return true;
}

/* -- a set in memory -- */

struct set_file *set_add(struct set *s, const char *name)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->v = xrealloc(s->v, s->cap * sizeof *s->v);
    }
    struct set_file *f = &s->v[s->n++];
    *f = (struct set_file){.name = xstrdup(name)};
    return f;
}

void set_add_chunk(struct set_file *f, const struct set_chunk *c)
{
    if (f->chunks == f->chunk_cap) {
        f->chunk_cap = f->chunk_cap ? f->chunk_cap * 2 : 4;
        f->chunk = xrealloc(f->chunk, f->chunk_cap * sizeof *f->chunk);
    }
    f->chunk[f->chunks++] = *c;
}

void set_cut(struct set *s, size_t n)
{
    for (size_t i = n; i < s->n; i++) {
        free(s->v[i].name);
        free(s->v[i].chunk);
    }
    s->n = n < s->n ? n : s->n;
}

void set_free(struct set *s)
{
    set_cut(s, 0);
    free(s->v);
    *s = (struct set){.n = 0};
}

const struct set_file *set_find(const struct set *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (!s->v[i].is_segment && strcmp(s->v[i].name, name) == 0)
            return &s->v[i];
    return NULL;
}

const struct set_file *set_segment(const struct set *s, uint32_t number)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].is_segment && s->v[i].segment == number)
            return &s->v[i];
    return NULL;
}

void set_pool(const struct set *s, char out[SET_PATH])
{
    path_put(out, "segments/%s%s%.16s", s->life, *s->key ? "-" : "", s->key);
}

void set_chunk_name(const unsigned char hash[CRYPTO_HASH], char out[SET_PATH])
{
    char hex[SET_HEX];
    hex_of(hash, CRYPTO_HASH, hex);
    path_put(out, "chunks/%.2s/%s", hex, hex);
}

uint64_t set_chunk_size(const struct set *s, const struct set_file *f, size_t i)
{
    const uint64_t at = i * s->chunk_bytes, left = f->size - at;
    const uint64_t plain = left < s->chunk_bytes ? left : s->chunk_bytes;
    return *s->key ? seal_size(plain) : plain;
}

/* -- files and folders -- */

bool make_path(const char *path)
{
    char part[SET_PATH];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return false;
    for (char *p = part + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            if (mkdir(part, 0700) != 0 && errno != EEXIST)
                return false;
            *p = '/';
        }
    return mkdir(part, 0700) == 0 || errno == EEXIST;
}

bool sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

bool remove_tree(const char *path)
{
    char below[SET_PATH];
    DIR *d = opendir(path);
    bool ok = true;
    if (!d)
        return errno == ENOENT || unlink(path) == 0;
    for (struct dirent *f; (f = readdir(d));) {
        struct stat st;
        if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0)
            continue;
        if (snprintf(below, sizeof below, "%s/%s", path, f->d_name) >= (int)sizeof below ||
            lstat(below, &st) != 0)
            ok = false;
        else if (S_ISDIR(st.st_mode))
            ok = remove_tree(below) && ok;
        else
            ok = unlink(below) == 0 && ok;
    }
    closedir(d);
    return rmdir(path) == 0 && ok;
}

/* -- a file that is being written -- */

struct sink {
    int fd;
    char path[SET_PATH];
    struct crypto_hash hash;
    uint64_t size;
    struct seal *seal;
    struct err *why;
    bool failed;
};

static bool write_out(void *arg, struct span bytes)
{
    struct sink *s = arg;
    crypto_hash_add(&s->hash, bytes);
    s->size += bytes.n;
    while (bytes.n && !s->failed) {
        ssize_t n = write(s->fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        s->failed = n <= 0;
        if (s->failed)
            err_set(s->why, ERR_RETRY, NULL, "%s: %s", s->path, n ? strerror(errno) : "nothing is taken");
        else
            bytes = span_drop(bytes, (size_t)n);
    }
    return !s->failed;
}

struct sink *sink_new(const char *path, const unsigned char *to, struct err *why)
{
    struct sink *s = xcalloc(1, sizeof *s);
    snprintf(s->path, sizeof s->path, "%s", path);
    s->why = why;
    s->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0) {
        err_set(why, ERR_RETRY, NULL, "%s: %s", path, strerror(errno));
        free(s);
        return NULL;
    }
    crypto_hash_init(&s->hash);
    if (to)
        s->seal = seal_new(to, write_out, s);
    return s;
}

enum err_code sink_add(struct sink *s, struct span bytes)
{
    bool ok = s->seal ? seal_add(s->seal, bytes) : write_out(s, bytes);
    return ok ? ERR_OK : ERR_RETRY;
}

void sink_drop(struct sink **sp)
{
    struct sink *s = *sp;
    if (!s)
        return;
    seal_free(&s->seal);
    close(s->fd);
    free(s);
    *sp = NULL;
}

enum err_code sink_end(struct sink **sp, bool sync, unsigned char hash[CRYPTO_HASH], uint64_t *size)
{
    struct sink *s = *sp;
    bool ok = !s->failed && (!s->seal || seal_end(s->seal));
    if (ok && sync && fsync(s->fd) != 0) {
        err_set(s->why, ERR_RETRY, NULL, "%s: %s", s->path, strerror(errno));
        ok = false;
    }
    crypto_hash_final(&s->hash, hash);
    *size = s->size;
    sink_drop(sp);
    return ok ? ERR_OK : ERR_RETRY;
}

/* -- the manifest -- */

static bool put_chunks(struct buf *b, const struct set *s, const struct set_file *f)
{
    char hex[SET_HEX], id[SET_HEX];
    bool ok = buf_addf(b, "chunked %" PRIu64 " %s\n", f->size, f->name);
    for (size_t i = 0; i < f->chunks && ok; i++) {
        hex_of(f->chunk[i].hash, CRYPTO_HASH, hex);
        hex_of(f->chunk[i].id, CRYPTO_HASH, id);
        ok = *s->key ? buf_addf(b, "chunk %s %s\n", hex, id) : buf_addf(b, "chunk %s\n", hex);
    }
    return ok;
}

static bool put_file(struct buf *b, const struct set *s, const struct set_file *f)
{
    char hex[SET_HEX];
    if (f->chunked)
        return put_chunks(b, s, f);
    hex_of(f->hash, sizeof f->hash, hex);
    if (f->is_segment)
        return buf_addf(b, "segment %s %" PRIu64 " %" PRIu64 " %08" PRIx32 "\n", hex, f->size, f->plain,
                        f->segment);
    return buf_addf(b, "file %s %" PRIu64 " %s\n", hex, f->size, f->name);
}

enum err_code set_write(const char *dir, const char *folder, const struct set *s, struct err *why)
{
    char path[SET_PATH], hex[SET_HEX];
    unsigned char hash[CRYPTO_HASH];
    struct buf b;
    buf_init(&b, MANIFEST_LIMIT);
    bool ok = buf_add_str(&b, head) && buf_addf(&b, "stamp %s\nlife %s\nsealed %s\nchunk-size %" PRIu64 "\n",
                                                s->stamp, s->life, *s->key ? s->key : "-", s->chunk_bytes);
    for (size_t i = 0; i < s->n && ok; i++)
        ok = put_file(&b, s, &s->v[i]);
    crypto_sha256(buf_span(&b), hash);
    hex_of(hash, sizeof hash, hex);
    ok = ok && buf_addf(&b, "end %s\n", hex);
    path_put(path, "%s/%s/manifest", dir, folder);
    enum err_code code = ok ? ERR_OK : err_set(why, ERR_LIMIT, NULL, "%s: too many files", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (code == ERR_OK && (fd < 0 || !adm_write(fd, buf_span(&b)) || fsync(fd) != 0))
        code = err_set(why, ERR_RETRY, NULL, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    buf_free(&b);
    return code;
}

static bool load(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0;
    while (ok) {
        char *p = buf_reserve(out, BLOCK);
        ssize_t n = p ? read(fd, p, BLOCK) : -1;
        ok = n >= 0;
        if (n <= 0)
            break;
        buf_commit(out, (size_t)n);
    }
    if (fd >= 0)
        close(fd);
    return ok;
}

/* A relative path of plain names. */
static bool name_is_safe(const char *name)
{
    if (!*name || *name == '/' || strlen(name) > 1000)
        return false;
    for (const char *p = name; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (*p == '/' || !*p || strncmp(p, "..", 2) == 0)
            return false;
    }
    return true;
}

/* A chunk belongs to the file of the line before it. */
static bool take_chunk(struct set *s, const char *line)
{
    struct set_chunk c;
    const char *hex = line + 6, *id = *s->key ? hex + 2 * CRYPTO_HASH + 1 : hex;
    struct set_file *f = s->n ? &s->v[s->n - 1] : NULL;
    const size_t want = *s->key ? 6 + 4 * CRYPTO_HASH + 1 : 6 + 2 * CRYPTO_HASH;
    if (!f || !f->chunked || strlen(line) != want || !hex_read(hex, c.hash, sizeof c.hash) ||
        !hex_read(id, c.id, sizeof c.id))
        return false;
    set_add_chunk(f, &c);
    return true;
}

static bool take_line(struct set *s, char *line)
{
    char hex[SET_HEX], text[1100];
    uint64_t size, plain;
    uint32_t number;
    unsigned char hash[CRYPTO_HASH];
    if (strncmp(line, "chunk ", 6) == 0)
        return take_chunk(s, line);
    if (sscanf(line, "chunk-size %" SCNu64, &size) == 1) {
        s->chunk_bytes = size;
        return size >= CHUNK_LEAST && size <= CHUNK_MOST;
    }
    if (sscanf(line, "chunked %" SCNu64 " %1023[^\n]", &size, text) == 2 && name_is_safe(text)) {
        struct set_file *f = set_add(s, text);
        f->chunked = true;
        f->size = f->plain = size;
        return s->chunk_bytes != 0;
    }
    if (sscanf(line, "stamp %31s", text) == 1)
        return snprintf(s->stamp, sizeof s->stamp, "%.31s", text) > 0;
    if (sscanf(line, "life %32s", text) == 1)
        return snprintf(s->life, sizeof s->life, "%.32s", text) == 32 && hex_read(s->life, hash, 16);
    if (strcmp(line, "sealed -") == 0)
        return true;
    if (sscanf(line, "sealed %64s", text) == 1)
        return snprintf(s->key, sizeof s->key, "%.64s", text) == 64 && hex_read(s->key, hash, 32);
    if (sscanf(line, "segment %64s %" SCNu64 " %" SCNu64 " %" SCNx32, hex, &size, &plain, &number) == 4 &&
        hex_read(hex, hash, sizeof hash)) {
        char pool[SET_PATH];
        set_pool(s, pool);
        snprintf(text, sizeof text, "%.100s/%08" PRIx32 ".seg", pool, number);
        struct set_file *f = set_add(s, text);
        f->is_segment = true;
        f->size = size;
        f->plain = plain;
        f->segment = number;
        memcpy(f->hash, hash, sizeof hash);
        return true;
    }
    if (sscanf(line, "file %64s %" SCNu64 " %1023[^\n]", hex, &size, text) == 3 &&
        hex_read(hex, hash, sizeof hash) && name_is_safe(text)) {
        struct set_file *f = set_add(s, text);
        f->size = size;
        memcpy(f->hash, hash, sizeof hash);
        return true;
    }
    return false;
}

static bool take_manifest(struct set *out, struct buf *b)
{
    enum { END = 4 + 2 * CRYPTO_HASH + 1 };
    unsigned char hash[CRYPTO_HASH], told[CRYPTO_HASH];
    const size_t head_n = sizeof head - 1;
    if (b->n < head_n + END || (memcmp(b->p, head, head_n) != 0 && memcmp(b->p, head_1, head_n) != 0) ||
        b->p[b->n - 1] != '\n')
        return false;
    const char *end = b->p + b->n - END;
    crypto_sha256(span_of(b->p, b->n - END), hash);
    if (memcmp(end, "end ", 4) != 0 || !hex_read(end + 4, told, sizeof told) ||
        memcmp(hash, told, sizeof hash) != 0)
        return false;
    char *at = b->p + head_n;
    while (at < end) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop)
            return false;
        *stop = '\0';
        if (!take_line(out, at))
            return false;
        at = stop + 1;
    }
    for (size_t i = 0; i < out->n; i++)
        if (out->v[i].chunked &&
            out->v[i].chunks != (out->v[i].size + out->chunk_bytes - 1) / out->chunk_bytes)
            return false;
    return *out->life != '\0';
}

enum err_code set_read(const char *dir, const char *stamp, struct set *out, struct err *why)
{
    char path[SET_PATH];
    struct buf b;
    *out = (struct set){.n = 0};
    buf_init(&b, MANIFEST_LIMIT);
    path_put(path, "%s/sets/%s/manifest", dir, stamp);
    enum err_code code = ERR_OK;
    if (!load(path, &b))
        code = err_set(why, ERR_MISSING, NULL, "%s: %s", path, strerror(errno));
    else if (!take_manifest(out, &b) || strcmp(out->stamp, stamp) != 0)
        code = err_set(why, ERR_SYNTAX, NULL, "%s is not whole", path);
    if (code != ERR_OK)
        set_free(out);
    buf_free(&b);
    return code;
}

static int newest_first(const void *a, const void *b)
{
    return strcmp(b, a);
}

enum err_code set_list(const char *dir, struct stamps *out, struct err *why)
{
    char path[SET_PATH];
    size_t cap = 0;
    *out = (struct stamps){NULL, 0};
    path_put(path, "%s/sets", dir);
    DIR *d = opendir(path);
    if (!d)
        return err_set(why, ERR_MISSING, NULL, "%s: %s", path, strerror(errno));
    for (struct dirent *f; (f = readdir(d));) {
        if (*f->d_name == '.' || strlen(f->d_name) >= SET_STAMP)
            continue;
        if (out->n == cap) {
            cap = cap ? cap * 2 : 16;
            out->v = xrealloc(out->v, cap * sizeof *out->v);
        }
        snprintf(out->v[out->n++], SET_STAMP, "%.31s", f->d_name);
    }
    closedir(d);
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, newest_first);
    return ERR_OK;
}

/* -- reading a file of a set -- */

struct source {
    seal_out *out;
    void *arg;
    struct unseal *unseal;
};

static enum err_code pass_on(struct source *s, struct span bytes)
{
    if (s->unseal)
        return unseal_add(s->unseal, bytes);
    return !s->out || s->out(s->arg, bytes) ? ERR_OK : ERR_STATE;
}

static enum err_code read_through(int fd, struct source *s, unsigned char hash[CRYPTO_HASH], uint64_t *size)
{
    struct crypto_hash h;
    enum err_code code = ERR_OK;
    char *block = xmalloc(BLOCK);
    crypto_hash_init(&h);
    *size = 0;
    for (ssize_t n = 1; n > 0 && code == ERR_OK;) {
        n = read(fd, block, BLOCK);
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        if (n < 0)
            code = ERR_RETRY;
        if (n <= 0)
            break;
        crypto_hash_add(&h, span_of(block, (size_t)n));
        *size += (uint64_t)n;
        code = pass_on(s, span_of(block, (size_t)n));
    }
    crypto_hash_final(&h, hash);
    free(block);
    return code;
}

/* A file of DIR of that size and hash. key, out, arg: as of set_read_file. */
static enum err_code read_one(const char *path, uint64_t want, const unsigned char told[CRYPTO_HASH],
                              const struct set *s, const unsigned char *key, seal_out *out, void *arg,
                              struct err *why)
{
    unsigned char hash[CRYPTO_HASH];
    struct source from = {.out = out, .arg = arg};
    uint64_t size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(why, ERR_MISSING, NULL, "%s: %s", path, strerror(errno));
    if (*s->key && key && out)
        from.unseal = unseal_new(key, out, arg);
    else if (*s->key)
        from.out = NULL;
    enum err_code code = read_through(fd, &from, hash, &size);
    if (code == ERR_OK && (size != want || memcmp(hash, told, sizeof hash) != 0))
        code = err_set(why, ERR_SYNTAX, NULL, "%s is not what the manifest says (%" PRIu64 " bytes)", path,
                       size);
    else if (code == ERR_OK && from.unseal && unseal_end(from.unseal) != ERR_OK)
        code = err_set(why, ERR_SYNTAX, NULL, "%s: the sealed bytes are cut", path);
    else if (code == ERR_DENIED)
        err_set(why, code, NULL, "%s is sealed to another key", path);
    else if (code == ERR_SYNTAX)
        err_set(why, code, NULL, "%s: the sealed bytes are damaged", path);
    else if (code == ERR_RETRY)
        err_set(why, code, NULL, "%s: %s", path, strerror(errno));
    unseal_free(&from.unseal);
    close(fd);
    return code;
}

enum err_code set_read_chunk(const char *dir, const struct set *s, const struct set_file *f, size_t i,
                             const unsigned char *key, seal_out *out, void *arg, struct err *why)
{
    char path[SET_PATH], name[SET_PATH];
    set_chunk_name(f->chunk[i].hash, name);
    path_put(path, "%s/%s", dir, name);
    return read_one(path, set_chunk_size(s, f, i), f->chunk[i].hash, s, key, out, arg, why);
}

enum err_code set_read_file(const char *dir, const struct set *s, const struct set_file *f,
                            const unsigned char *key, seal_out *out, void *arg, struct err *why)
{
    char path[SET_PATH];
    enum err_code code = ERR_OK;
    if (f->chunked) {
        for (size_t i = 0; i < f->chunks && code == ERR_OK; i++)
            code = set_read_chunk(dir, s, f, i, key, out, arg, why);
        return code;
    }
    if (f->is_segment)
        path_put(path, "%s/%s", dir, f->name);
    else
        path_put(path, "%s/sets/%s/%s", dir, s->stamp, f->name);
    return read_one(path, f->size, f->hash, s, key, out, arg, why);
}
