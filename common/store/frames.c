/* Content in frames: the one file that knows zstd. A worker packs while the message arrives; bytes wait in
 * memory until they are many, then in an unlinked memory file that is handed to stored as it is.
 * The hard point is the budget: many sessions of one worker may each hold a large message, so packed bytes
 * are counted over the whole process and a message that does not fit is refused before it hurts the others.
 * Unpacking is here as well; checking and keeping is stored's. */
#include "common/store/frames_int.h"
#include "common/base/crypto.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

enum { LEVEL = 1, FIRST_FRAMES = 4, FIRST_RAW = 16 << 10 };
static const size_t budget_bytes = (size_t)256 << 20;
static size_t in_transit; /* packed bytes of all contents of the process */
/* Workers have one thread; the tables are too dear to make for each message. Tools may unpack in several. */
static ZSTD_CCtx *shared_packer;
static char packed_bytes[FRAME_PACKED_LIMIT];
static _Thread_local ZSTD_DCtx *shared_unpacker;

struct content {
    unsigned refs;
    struct buf raw;            /* what is not packed yet, under FRAME_RAW */
    struct buf packed;         /* frames in memory */
    struct buf prefix;         /* the packed prefix, when it has been given */
    int fd;                    /* the memory file, or -1 */
    uint64_t fd_size;          /* bytes in it */
    struct frame_size *frames; /* [0] is kept for the prefix */
    size_t frame_count, frame_cap;
    uint64_t size, added; /* raw bytes with and without the prefix */
    size_t counted;       /* of in_transit */
    struct crypto_hash hash;
    unsigned char digest[CRYPTO_HASH];
    struct buf meta;
    bool prefixed, finished;
};

static ZSTD_CCtx *packer(void)
{
    if (!shared_packer)
        shared_packer = ZSTD_createCCtx();
    assert(shared_packer);
    return shared_packer;
}

struct content *content_new(void)
{
    struct content *c = xcalloc(1, sizeof *c);
    c->refs = 1;
    c->fd = -1;
    buf_init(&c->raw, FRAME_RAW);
    buf_init(&c->packed, (size_t)2 * CONTENT_MEMORY);
    buf_init(&c->prefix, FRAME_PACKED_LIMIT);
    buf_init(&c->meta, (size_t)8 << 20);
    c->frame_cap = FIRST_FRAMES;
    c->frames = xcalloc(c->frame_cap, sizeof *c->frames);
    c->frame_count = 1;
    crypto_hash_init(&c->hash);
    return c;
}

struct content *content_hold(struct content *c)
{
    c->refs++;
    return c;
}

void content_free(struct content **cp)
{
    struct content *c = *cp;
    *cp = NULL;
    if (!c || --c->refs)
        return;
    in_transit -= c->counted;
    if (c->fd >= 0)
        close(c->fd);
    buf_free(&c->raw);
    buf_free(&c->packed);
    buf_free(&c->prefix);
    buf_free(&c->meta);
    free(c->frames);
    free(c);
}

static bool count(struct content *c, size_t n)
{
    if (n > budget_bytes - in_transit)
        return false;
    in_transit += n;
    c->counted += n;
    return true;
}

static bool write_all(int fd, struct span s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s = span_drop(s, (size_t)n);
    }
    return true;
}

/* From now on packed bytes go to a memory file. */
static bool move_out(struct content *c)
{
    if (c->fd < 0)
        c->fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (c->fd < 0 || !write_all(c->fd, buf_span(&c->packed)))
        return false;
    c->fd_size += c->packed.n;
    buf_free(&c->packed);
    return true;
}

static void add_frame(struct content *c, size_t at, size_t raw, size_t packed)
{
    if (at == c->frame_cap) {
        c->frame_cap *= 2;
        c->frames = xrealloc(c->frames, c->frame_cap * sizeof *c->frames);
    }
    c->frames[at] = (struct frame_size){(uint32_t)raw, (uint32_t)packed};
}

/* Not into out: that is for many messages at a time, and what one packs to is mostly far below the bound. */
static size_t pack(struct span raw, struct buf *out)
{
    size_t n = ZSTD_compressCCtx(packer(), packed_bytes, sizeof packed_bytes, raw.p, raw.n, LEVEL);
    assert(!ZSTD_isError(n));
    bool room = buf_add(out, packed_bytes, n);
    assert(room);
    return n;
}

static enum err_code close_frame(struct content *c)
{
    if (c->raw.n == 0)
        return ERR_OK;
    if (c->frame_count == FRAMES_LIMIT)
        return ERR_LIMIT;
    size_t n = pack(buf_span(&c->raw), &c->packed);
    add_frame(c, c->frame_count++, c->raw.n, n);
    buf_reset(&c->raw);
    if (!count(c, n))
        return ERR_LIMIT;
    if ((c->fd >= 0 || c->packed.n > CONTENT_MEMORY) && !move_out(c))
        return ERR_LIMIT;
    return ERR_OK;
}

enum err_code content_add(struct content *c, struct span bytes)
{
    crypto_hash_add(&c->hash, bytes);
    return content_add_ours(c, bytes);
}

enum err_code content_add_ours(struct content *c, struct span bytes)
{
    assert(!c->finished);
    c->size += bytes.n;
    c->added += bytes.n;
    if (!c->raw.base && bytes.n) /* most are no longer, and need not grow to it step by step */
        (void)!buf_reserve(&c->raw, FIRST_RAW);
    while (bytes.n) {
        size_t room = FRAME_RAW - c->raw.n;
        struct span piece = span_first(bytes, room);
        bool fits = buf_add_span(&c->raw, piece);
        assert(fits);
        bytes = span_drop(bytes, piece.n);
        if (c->raw.n == FRAME_RAW) {
            enum err_code code = close_frame(c);
            if (code != ERR_OK)
                return code;
        }
    }
    return ERR_OK;
}

/* A small message is not packed yet when its fields come: they get into its only frame. */
static bool prefix_joins(struct content *c, struct span fields)
{
    const size_t n = c->raw.n;
    if (c->frame_count != 1 || fields.n > FRAME_RAW - n)
        return false;
    char *room = buf_reserve(&c->raw, fields.n);
    assert(room);
    memmove(c->raw.p + fields.n, c->raw.p, n);
    memcpy(c->raw.p, fields.p, fields.n);
    buf_commit(&c->raw, fields.n);
    c->size += fields.n;
    return true;
}

enum err_code content_prefix(struct content *c, struct span fields)
{
    assert(!c->finished && !c->prefixed);
    c->prefixed = true;
    if (fields.n == 0)
        return ERR_OK;
    if (fields.n > FRAME_RAW)
        return ERR_LIMIT;
    if (prefix_joins(c, fields))
        return ERR_OK;
    size_t n = pack(fields, &c->prefix);
    add_frame(c, 0, fields.n, n);
    c->size += fields.n;
    return count(c, n) ? ERR_OK : ERR_LIMIT;
}

enum err_code content_finish(struct content *c, struct span meta)
{
    assert(!c->finished);
    enum err_code code = close_frame(c);
    if (code != ERR_OK)
        return code;
    if (c->fd >= 0 && fcntl(c->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
        return ERR_BUG;
    if (!buf_add_span(&c->meta, meta))
        return ERR_LIMIT;
    buf_free(&c->raw);
    crypto_hash_final(&c->hash, c->digest);
    c->finished = true;
    return ERR_OK;
}

uint64_t content_size(const struct content *c)
{
    return c->size;
}

uint64_t content_packed_size(const struct content *c)
{
    return c->prefix.n + c->packed.n + c->fd_size;
}

void content_hash(const struct content *c, unsigned char out[32])
{
    assert(c->finished);
    memcpy(out, c->digest, CRYPTO_HASH);
}

void content_view(const struct content *c, struct content_view *out)
{
    assert(c->finished);
    size_t skip = c->frames[0].raw ? 0 : 1;
    *out = (struct content_view){.frames = c->frames + skip,
                                 .frame_count = c->frame_count - skip,
                                 .memory = {buf_span(&c->prefix), buf_span(&c->packed)},
                                 .fd = c->fd,
                                 .fd_size = c->fd_size,
                                 .meta = buf_span(&c->meta)};
}

bool frame_unpack(struct span packed, char *out, size_t raw)
{
    if (!shared_unpacker)
        shared_unpacker = ZSTD_createDCtx();
    assert(shared_unpacker);
    if (raw > FRAME_RAW || ZSTD_getFrameContentSize(packed.p, packed.n) != raw)
        return false;
    return ZSTD_decompressDCtx(shared_unpacker, out, raw, packed.p, packed.n) == raw;
}

static bool unpack_from(const struct content *c, size_t i, uint64_t at, struct buf *scratch, char *to)
{
    struct frame_size f = c->frames[i];
    struct span in;
    if (i == 0) {
        in = buf_span(&c->prefix);
    } else if (c->fd < 0) {
        in = span_of(c->packed.p + at, f.packed);
    } else {
        buf_reset(scratch);
        char *p = buf_reserve(scratch, f.packed);
        if (!p || pread(c->fd, p, f.packed, (off_t)at) != (ssize_t)f.packed)
            return false;
        buf_commit(scratch, f.packed);
        in = buf_span(scratch);
    }
    return frame_unpack(in, to, f.raw);
}

enum err_code content_unpack(const struct content *c, struct buf *out)
{
    struct buf scratch;
    enum err_code code = ERR_OK;
    uint64_t at = 0;
    buf_init(&scratch, FRAME_PACKED_LIMIT);
    for (size_t i = 0; i < c->frame_count && code == ERR_OK; i++) {
        struct frame_size f = c->frames[i];
        char *to = f.raw ? buf_reserve(out, f.raw) : out->p;
        if (f.raw == 0)
            continue;
        if (!to)
            code = ERR_LIMIT;
        else if (!unpack_from(c, i, at, &scratch, to))
            code = ERR_BUG;
        else
            buf_commit(out, f.raw);
        if (i > 0)
            at += f.packed;
    }
    if (code == ERR_OK && c->raw.n && !buf_add_span(out, buf_span(&c->raw)))
        code = ERR_LIMIT;
    buf_free(&scratch);
    return code;
}
