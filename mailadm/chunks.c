/* The chunks of a backup (chunks.h). Two hard points. A chunk that a run which was cut (or the power) left
 * may be half: so only what a whole set names is believed to be there, and the rest is written anew under
 * another name, then renamed. And who reads DIR must not learn whether some bytes are in a sealed chunk: its
 * plain bytes are known by a keyed hash only, and its name is the hash of what lies there. */
#include "mailadm/chunks.h"
#include "common/base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

struct known {
    UT_hash_handle hh;
    struct set_chunk c;
    bool looked; /* it lies there, in its size, and this set names it */
};
struct chunks {
    const char *dir;
    const unsigned char *to;
    unsigned char id_key[CRYPTO_HASH];
    struct known *known; /* by id */
    struct buf plain;    /* of the chunk under way */
    struct chunks_count count;
};

struct chunks *chunks_new(const char *dir, const unsigned char *to, const unsigned char id_key[CRYPTO_HASH])
{
    struct chunks *c = xcalloc(1, sizeof *c);
    c->dir = dir;
    c->to = to;
    memcpy(c->id_key, id_key, sizeof c->id_key);
    buf_init(&c->plain, SET_CHUNK);
    return c;
}

void chunks_free(struct chunks **cp)
{
    struct chunks *c = *cp;
    struct known *k, *next;
    if (!c)
        return;
    HASH_ITER(hh, c->known, k, next)
    {
        HASH_DEL(c->known, k);
        free(k);
    }
    buf_free(&c->plain);
    crypto_wipe(c->id_key, sizeof c->id_key);
    free(c);
    *cp = NULL;
}

static struct known *find(struct chunks *c, const unsigned char id[CRYPTO_HASH])
{
    struct known *k;
    HASH_FIND(hh, c->known, id, CRYPTO_HASH, k);
    return k;
}

static struct known *know(struct chunks *c, const struct set_chunk *chunk)
{
    struct known *k = find(c, chunk->id);
    if (!k) {
        k = xcalloc(1, sizeof *k);
        k->c = *chunk;
        HASH_ADD(hh, c->known, c.id, CRYPTO_HASH, k);
    }
    return k;
}

void chunks_learn(struct chunks *c, const struct set *set)
{
    for (size_t i = 0; i < set->n; i++)
        for (size_t j = 0; j < set->v[i].chunks; j++)
            know(c, &set->v[i].chunk[j]);
}

static bool lies_there(const struct chunks *c, const struct known *k, size_t plain)
{
    char path[SET_PATH], name[SET_PATH];
    struct stat st;
    set_chunk_name(k->c.hash, name);
    path_put(path, "%s/%s", c->dir, name);
    return stat(path, &st) == 0 && (uint64_t)st.st_size == (c->to ? seal_size(plain) : plain);
}

/* Its name is known when it is written: sealed bytes are others each time. */
static enum err_code write_chunk(struct chunks *c, struct set_chunk *chunk, struct err *why)
{
    char from[SET_PATH], to[SET_PATH], name[SET_PATH];
    uint64_t size = 0;
    path_put(from, "%s/chunks", c->dir);
    if (mkdir(from, 0700) != 0 && errno != EEXIST)
        return err_set(why, ERR_RETRY, NULL, "%.200s: %s", from, strerror(errno));
    path_put(from, "%s/chunks/new", c->dir);
    unlink(from);
    struct sink *sink = sink_new(from, c->to, why);
    if (!sink)
        return ERR_RETRY;
    enum err_code code = sink_add(sink, buf_span(&c->plain));
    if (code == ERR_OK)
        code = sink_end(&sink, false, chunk->hash, &size); /* one sync for all, before the manifest */
    sink_drop(&sink);
    if (code != ERR_OK)
        return code;
    set_chunk_name(chunk->hash, name);
    path_put(to, "%s/%s", c->dir, name);
    char *slash = strrchr(to, '/');
    *slash = '\0';
    bool ok = mkdir(to, 0700) == 0 || errno == EEXIST;
    *slash = '/';
    if (!ok || rename(from, to) != 0)
        return err_set(why, ERR_RETRY, NULL, "%.200s: %s", to, strerror(errno));
    c->count.written++;
    c->count.bytes += size;
    return ERR_OK;
}

static enum err_code put_chunk(struct chunks *c, struct set_file *f, struct err *why)
{
    struct crypto_hash h;
    struct set_chunk chunk;
    if (c->to)
        crypto_hash_init_keyed(&h, c->id_key);
    else
        crypto_hash_init(&h);
    crypto_hash_add(&h, buf_span(&c->plain));
    crypto_hash_final(&h, chunk.id);
    struct known *k = find(c, chunk.id);
    c->count.named += !k || !k->looked;
    if (!k || (!k->looked && !lies_there(c, k, c->plain.n))) {
        enum err_code code = write_chunk(c, &chunk, why);
        if (code != ERR_OK)
            return code;
        k = know(c, &chunk);
        k->c = chunk;
    }
    k->looked = true;
    set_add_chunk(f, &k->c);
    f->size += c->plain.n;
    f->plain = f->size;
    buf_reset(&c->plain);
    return ERR_OK;
}

enum err_code chunks_add(struct chunks *c, struct set_file *f, struct span bytes, struct err *why)
{
    enum err_code code = ERR_OK;
    while (bytes.n && code == ERR_OK) {
        struct span take = span_first(bytes, SET_CHUNK - c->plain.n);
        bytes = span_drop(bytes, take.n);
        if (!buf_add_span(&c->plain, take))
            return err_set(why, ERR_BUG, NULL, "a chunk is larger than it may be");
        if (c->plain.n == SET_CHUNK)
            code = put_chunk(c, f, why);
    }
    return code;
}

enum err_code chunks_end(struct chunks *c, struct set_file *f, struct err *why)
{
    return c->plain.n ? put_chunk(c, f, why) : ERR_OK;
}

struct chunks_count chunks_counted(const struct chunks *c)
{
    return c->count;
}
