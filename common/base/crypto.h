/* Random bytes, hashes and comparison in constant time (libsodium behind it; TLS is net's, with OpenSSL). */
#ifndef PROV_BASE_CRYPTO_H
#define PROV_BASE_CRYPTO_H

#include "common/base/span.h"

enum { CRYPTO_HASH = 32 };

/* Call once at start, before any sandbox; ends the process when the library cannot start. */
void crypto_start(void);
void crypto_random(void *out, size_t n);
/* SHA-256 and HMAC-SHA-256 (key of any length). */
void crypto_sha256(struct span in, unsigned char out[CRYPTO_HASH]);
void crypto_hmac(struct span key, struct span in, unsigned char out[CRYPTO_HASH]);
bool crypto_equal(const void *a, const void *b, size_t n);
void crypto_wipe(void *p, size_t n);
/* Streaming BLAKE2b-256 (RFC 7693): a third of the time of SHA-256, for each byte of mail that comes in. */
struct crypto_hash {
    _Alignas(64) unsigned char state[384];
};
void crypto_hash_init(struct crypto_hash *h);
/* The same with a key: who lacks it cannot tell which bytes a hash is of. */
void crypto_hash_init_keyed(struct crypto_hash *h, const unsigned char key[CRYPTO_HASH]);
void crypto_hash_add(struct crypto_hash *h, struct span in);
void crypto_hash_final(struct crypto_hash *h, unsigned char out[CRYPTO_HASH]);
/* n random bytes as lower-case base 32 (RFC 4648 6 without padding): 8 characters for 5 bytes. out holds
 * the text and a terminator. n at most 64. */
void crypto_random_text(size_t n, char *out, size_t size);
/* Read a key file of exactly CRYPTO_HASH bytes; false, errno set, when it is not there or not of that size.
 */
bool crypto_key_load(const char *path, unsigned char key[CRYPTO_HASH]);
/* Make the key file if it is not there (mode 0640, written whole or not at all), then load it. */
bool crypto_key_make(const char *path, unsigned char key[CRYPTO_HASH]);

#endif
