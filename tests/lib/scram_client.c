/* A SCRAM client that is written apart from the server's key code, so that one mistake is not made twice. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/evp.h>
#include <openssl/hmac.h>
#undef ERR_STATE
#include "common/mime/codec.h"
#include "tests/lib/scram_client.h"
#include <stdio.h>
#include <stdlib.h>

void scram_client_first(struct scram_client *c, const char *user, char *out, size_t size)
{
    snprintf(c->bare, sizeof c->bare, "n=%s,r=fyko+d2lbbFgONRv9qkxdawL", user);
    snprintf(out, size, "%s%s", c->header, c->bare);
}

static const EVP_MD *digest(const struct scram_client *c)
{
    return c->hash == SCRAM_SHA_1 ? EVP_sha1() : EVP_sha256();
}

static void mac(const struct scram_client *c, const unsigned char *key, const char *text, unsigned char *out)
{
    unsigned n = 0;
    if (!HMAC(digest(c), key, EVP_MD_get_size(digest(c)), (const unsigned char *)text, strlen(text), out, &n))
        abort();
}

static void put64(const void *p, size_t n, char *out, size_t size)
{
    struct buf b;
    buf_init(&b, 4096);
    if (!base64_encode(span_of(p, n), 0, &b))
        abort();
    snprintf(out, size, "%.*s", SPAN_ARG(buf_span(&b)));
    buf_free(&b);
}

bool scram_client_final(struct scram_client *c, struct span server_first, struct span password)
{
    unsigned char salted[64], key[64], stored[64], sign[64], salt[100];
    size_t size = (size_t)EVP_MD_get_size(digest(c));
    char without[1600], auth[4000], text[600];
    struct buf raw;
    struct span rest = server_first, nonce = span_cut(&rest, ','), s = span_cut(&rest, ',');
    uint32_t i = 0;
    buf_init(&raw, 400);
    if (!span_starts(nonce, SPAN("r=")) || !span_starts(s, SPAN("s=")) || !span_starts(rest, SPAN("i=")) ||
        !span_u32(span_drop(rest, 2), &i) || !base64_decode_strict(span_drop(s, 2), &raw) ||
        raw.n > sizeof salt) {
        buf_free(&raw);
        return false;
    }
    memcpy(salt, raw.p, raw.n);
    PKCS5_PBKDF2_HMAC(password.p, (int)password.n, salt, (int)raw.n, (int)i, digest(c), (int)size, salted);
    buf_reset(&raw);
    if (!buf_add_str(&raw, c->header) || !buf_add_span(&raw, c->binding))
        abort();
    put64(raw.p, raw.n, text, sizeof text);
    buf_free(&raw);
    snprintf(without, sizeof without, "c=%s,%.*s", text, SPAN_ARG(nonce));
    snprintf(auth, sizeof auth, "%s,%.*s,%s", c->bare, SPAN_ARG(server_first), without);
    mac(c, salted, "Client Key", key);
    EVP_Digest(key, size, stored, NULL, digest(c), NULL);
    mac(c, stored, auth, sign);
    for (size_t k = 0; k < size; k++)
        key[k] ^= sign[k];
    put64(key, size, text, sizeof text);
    snprintf(c->proof, sizeof c->proof, "%s,p=%s", without, text);
    mac(c, salted, "Server Key", key);
    mac(c, key, auth, sign);
    put64(sign, size, text, sizeof text);
    snprintf(c->expected, sizeof c->expected, "v=%s", text);
    return true;
}
