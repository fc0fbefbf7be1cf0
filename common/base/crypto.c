/* The libsodium wrapper. Its hard problem is the key file: two daemons may start at once, so a fresh key is
 * written to a name of its own, synced, and linked into place; the loser of the race reads the winner's. */
#include "common/base/crypto.h"
#include "common/base/buf.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Static_assert(sizeof(crypto_generichash_state) <= sizeof(struct crypto_hash), "state of BLAKE2b");
_Static_assert(_Alignof(crypto_generichash_state) <= _Alignof(struct crypto_hash), "state of BLAKE2b");

/* Random bytes in stock for names, of which each message takes a few; a thread's own. */
static _Thread_local struct {
    unsigned char bytes[512];
    size_t left;
} stock;
static bool stock_safe; /* a child of fork drops what its parent has in stock */

static void drop_stock(void)
{
    sodium_memzero(stock.bytes, sizeof stock.bytes);
    stock.left = 0;
}

void crypto_start(void)
{
    if (sodium_init() < 0) {
        fputs("libsodium cannot start\n", stderr);
        exit(71);
    }
    if (!stock_safe)
        stock_safe = pthread_atfork(NULL, NULL, drop_stock) == 0;
}

static void random_of_stock(unsigned char *out, size_t n)
{
    if (!stock_safe || n > sizeof stock.bytes) {
        randombytes_buf(out, n);
        return;
    }
    if (stock.left < n) {
        randombytes_buf(stock.bytes, sizeof stock.bytes);
        stock.left = sizeof stock.bytes;
    }
    stock.left -= n;
    memcpy(out, stock.bytes + stock.left, n);
    sodium_memzero(stock.bytes + stock.left, n);
}

void crypto_random(void *out, size_t n)
{
    randombytes_buf(out, n);
}

static const unsigned char *bytes(struct span s)
{
    return (const unsigned char *)(s.p ? s.p : "");
}

void crypto_sha256(struct span in, unsigned char out[CRYPTO_HASH])
{
    crypto_hash_sha256(out, bytes(in), in.n);
}

void crypto_hmac(struct span key, struct span in, unsigned char out[CRYPTO_HASH])
{
    crypto_auth_hmacsha256_state st;
    crypto_auth_hmacsha256_init(&st, bytes(key), key.n);
    crypto_auth_hmacsha256_update(&st, bytes(in), in.n);
    crypto_auth_hmacsha256_final(&st, out);
}

bool crypto_equal(const void *a, const void *b, size_t n)
{
    return sodium_memcmp(a, b, n) == 0;
}

void crypto_wipe(void *p, size_t n)
{
    sodium_memzero(p, n);
}

static crypto_generichash_state *state(struct crypto_hash *h)
{
    return (crypto_generichash_state *)(void *)h->state;
}

void crypto_hash_init(struct crypto_hash *h)
{
    crypto_generichash_init(state(h), NULL, 0, CRYPTO_HASH);
}

void crypto_hash_init_keyed(struct crypto_hash *h, const unsigned char key[CRYPTO_HASH])
{
    crypto_generichash_init(state(h), key, CRYPTO_HASH, CRYPTO_HASH);
}

void crypto_hash_add(struct crypto_hash *h, struct span in)
{
    crypto_generichash_update(state(h), bytes(in), in.n);
}

void crypto_hash_final(struct crypto_hash *h, unsigned char out[CRYPTO_HASH])
{
    crypto_generichash_final(state(h), out, CRYPTO_HASH);
}

void crypto_random_text(size_t n, char *out, size_t size)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char raw[64];
    assert(n <= sizeof raw && size > (n * 8 + 4) / 5);
    random_of_stock(raw, n);
    uint32_t acc = 0;
    unsigned have = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        acc = acc << 8 | raw[i];
        for (have += 8; have >= 5; have -= 5)
            out[at++] = alphabet[acc >> (have - 5) & 31];
    }
    if (have)
        out[at++] = alphabet[acc << (5 - have) & 31];
    out[at] = '\0';
    sodium_memzero(raw, sizeof raw);
}

bool crypto_key_load(const char *path, unsigned char key[CRYPTO_HASH])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    unsigned char raw[CRYPTO_HASH + 1];
    ssize_t n = read(fd, raw, sizeof raw);
    int saved = errno;
    close(fd);
    if (n == CRYPTO_HASH)
        memcpy(key, raw, CRYPTO_HASH);
    sodium_memzero(raw, sizeof raw);
    errno = n < 0 ? saved : EINVAL;
    return n == CRYPTO_HASH;
}

static bool write_fresh(const char *path)
{
    unsigned char raw[CRYPTO_HASH];
    randombytes_buf(raw, sizeof raw);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    bool ok = fd >= 0 && write(fd, raw, sizeof raw) == (ssize_t)sizeof raw && fsync(fd) == 0;
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    sodium_memzero(raw, sizeof raw);
    return ok;
}

bool crypto_key_make(const char *path, unsigned char key[CRYPTO_HASH])
{
    if (crypto_key_load(path, key))
        return true;
    if (errno != ENOENT)
        return false;
    struct buf fresh;
    buf_init(&fresh, 4096);
    bool ok = buf_addf(&fresh, "%s.%ld", path, (long)getpid()) && buf_add_char(&fresh, '\0');
    ok = ok && write_fresh(fresh.p) && (link(fresh.p, path) == 0 || errno == EEXIST);
    if (fresh.n)
        unlink(fresh.p);
    buf_free(&fresh);
    return ok && crypto_key_load(path, key);
}
