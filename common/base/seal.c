/* Sealed streams over libsodium. The hard point is the receiver's: chunks have a fixed size, so that bytes
 * are gathered to whole ones before any is believed, and nothing may follow the one that is marked as the
 * last. */
#include "common/base/seal.h"
#include "common/base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CHUNK = 64 << 10,
    PACKED = CHUNK + crypto_secretstream_xchacha20poly1305_ABYTES,
    STREAM_KEY = crypto_secretstream_xchacha20poly1305_KEYBYTES,
    BOX = STREAM_KEY + crypto_box_SEALBYTES,
    HEADER = crypto_secretstream_xchacha20poly1305_HEADERBYTES,
    HEAD = 8 + BOX + HEADER
};
static const char magic[8] = "PMSEAL\0\1";

_Static_assert(crypto_box_PUBLICKEYBYTES == CRYPTO_HASH && crypto_box_SECRETKEYBYTES == CRYPTO_HASH, "keys");

struct seal {
    crypto_secretstream_xchacha20poly1305_state state;
    seal_out *out;
    void *arg;
    bool ok;
    struct buf plain;
    unsigned char packed[PACKED];
};

static const unsigned char *bytes_of(const char *p)
{
    return (const unsigned char *)p;
}

struct seal *seal_new(const unsigned char to[CRYPTO_HASH], seal_out *out, void *arg)
{
    struct seal *s = xcalloc(1, sizeof *s);
    unsigned char key[STREAM_KEY], head[HEAD];
    s->out = out;
    s->arg = arg;
    buf_init(&s->plain, 2 * CHUNK);
    crypto_secretstream_xchacha20poly1305_keygen(key);
    memcpy(head, magic, sizeof magic);
    s->ok = crypto_box_seal(head + 8, key, sizeof key, to) == 0 &&
            crypto_secretstream_xchacha20poly1305_init_push(&s->state, head + 8 + BOX, key) == 0 &&
            out(arg, span_of(head, sizeof head));
    crypto_wipe(key, sizeof key);
    return s;
}

static bool push(struct seal *s, struct span plain, unsigned char tag)
{
    unsigned long long n = 0;
    return crypto_secretstream_xchacha20poly1305_push(
               &s->state, s->packed, &n, bytes_of(plain.p ? plain.p : ""), plain.n, NULL, 0, tag) == 0 &&
           s->out(s->arg, span_of(s->packed, (size_t)n));
}

bool seal_add(struct seal *s, struct span bytes)
{
    while (s->ok && bytes.n) {
        size_t room = CHUNK - s->plain.n;
        struct span take = span_first(bytes, room);
        bytes = span_drop(bytes, take.n);
        s->ok = buf_add_span(&s->plain, take);
        if (s->ok && s->plain.n == CHUNK && bytes.n) { /* the last one is kept for the mark */
            s->ok = push(s, buf_span(&s->plain), 0);
            buf_reset(&s->plain);
        }
    }
    return s->ok;
}

bool seal_end(struct seal *s)
{
    return s->ok && push(s, buf_span(&s->plain), crypto_secretstream_xchacha20poly1305_TAG_FINAL);
}

void seal_free(struct seal **sp)
{
    struct seal *s = *sp;
    if (!s)
        return;
    buf_wipe(&s->plain);
    crypto_wipe(s, sizeof *s);
    free(s);
    *sp = NULL;
}

uint64_t seal_size(uint64_t n)
{
    const uint64_t chunks = n ? (n + CHUNK - 1) / CHUNK : 1;
    return HEAD + n + chunks * crypto_secretstream_xchacha20poly1305_ABYTES;
}

struct unseal {
    crypto_secretstream_xchacha20poly1305_state state;
    unsigned char key[CRYPTO_HASH];
    seal_out *out;
    void *arg;
    bool headed, ended;
    struct buf packed;
    unsigned char plain[CHUNK];
};

struct unseal *unseal_new(const unsigned char key[CRYPTO_HASH], seal_out *out, void *arg)
{
    struct unseal *u = xcalloc(1, sizeof *u);
    memcpy(u->key, key, sizeof u->key);
    u->out = out;
    u->arg = arg;
    buf_init(&u->packed, 4 * PACKED);
    return u;
}

static enum err_code take_head(struct unseal *u)
{
    unsigned char stream[STREAM_KEY], public_key[CRYPTO_HASH];
    const unsigned char *p = bytes_of(u->packed.p);
    if (memcmp(p, magic, sizeof magic) != 0)
        return ERR_SYNTAX;
    seal_key_public(u->key, public_key);
    if (crypto_box_seal_open(stream, p + 8, BOX, public_key, u->key) != 0)
        return ERR_DENIED;
    bool ok = crypto_secretstream_xchacha20poly1305_init_pull(&u->state, p + 8 + BOX, stream) == 0;
    crypto_wipe(stream, sizeof stream);
    buf_consume(&u->packed, HEAD);
    u->headed = true;
    return ok ? ERR_OK : ERR_SYNTAX;
}

static enum err_code take_chunk(struct unseal *u, size_t n)
{
    unsigned long long plain_n = 0;
    unsigned char tag = 0;
    if (u->ended || n < crypto_secretstream_xchacha20poly1305_ABYTES ||
        crypto_secretstream_xchacha20poly1305_pull(&u->state, u->plain, &plain_n, &tag, bytes_of(u->packed.p),
                                                   n, NULL, 0) != 0)
        return ERR_SYNTAX;
    buf_consume(&u->packed, n);
    u->ended = tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL;
    return u->out(u->arg, span_of(u->plain, (size_t)plain_n)) ? ERR_OK : ERR_STATE;
}

enum err_code unseal_add(struct unseal *u, struct span bytes)
{
    enum err_code code = ERR_OK;
    while (code == ERR_OK && bytes.n) {
        size_t want = u->headed ? PACKED : HEAD;
        /* One byte more than a chunk says that it is not the last. */
        struct span take = span_first(bytes, want + 1 - u->packed.n);
        bytes = span_drop(bytes, take.n);
        if (!buf_add_span(&u->packed, take))
            return ERR_LIMIT;
        if (u->packed.n <= want)
            break;
        code = u->headed ? take_chunk(u, PACKED) : take_head(u);
    }
    return code;
}

enum err_code unseal_end(struct unseal *u)
{
    enum err_code code = u->headed ? ERR_OK : ERR_SYNTAX;
    if (code == ERR_OK)
        code = take_chunk(u, u->packed.n);
    return code == ERR_OK && !u->ended ? ERR_SYNTAX : code;
}

void unseal_free(struct unseal **up)
{
    struct unseal *u = *up;
    if (!u)
        return;
    buf_free(&u->packed);
    crypto_wipe(u, sizeof *u);
    free(u);
    *up = NULL;
}

/* -- keys -- */

void seal_key_public(const unsigned char key[CRYPTO_HASH], unsigned char out[CRYPTO_HASH])
{
    if (crypto_scalarmult_base(out, key) != 0)
        abort(); /* it has no other outcome */
}

static bool write_new(const char *path, const unsigned char key[CRYPTO_HASH], mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return false;
    bool ok = write(fd, key, CRYPTO_HASH) == CRYPTO_HASH && fsync(fd) == 0;
    int error = errno;
    close(fd);
    if (!ok)
        unlink(path);
    errno = error;
    return ok;
}

bool seal_key_make(const char *path)
{
    unsigned char public_key[CRYPTO_HASH], key[CRYPTO_HASH];
    char name[4096];
    if (snprintf(name, sizeof name, "%s.pub", path) >= (int)sizeof name) {
        errno = ENAMETOOLONG;
        return false;
    }
    crypto_box_keypair(public_key, key);
    bool ok = write_new(path, key, 0600) && write_new(name, public_key, 0644);
    crypto_wipe(key, sizeof key);
    return ok;
}
