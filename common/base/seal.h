/* Streams sealed to a public key, for backups: whoever holds only that key can write and not read them. A
 * sealed stream is: magic, the stream's own key in a sealed box (X25519, XSalsa20-Poly1305), then chunks of
 * secretstream (XChaCha20-Poly1305), the last one marked, so that a cut is noticed. */
#ifndef PROV_BASE_SEAL_H
#define PROV_BASE_SEAL_H

#include "common/base/crypto.h"
#include "common/base/err.h"
#include <stdint.h>

/* Takes bytes; false: it could not. */
typedef bool seal_out(void *arg, struct span bytes);

struct seal;
/* to: the public key. Writes the head at once; a failure is answered by the calls below. */
struct seal *seal_new(const unsigned char to[CRYPTO_HASH], seal_out *out, void *arg);
bool seal_add(struct seal *s, struct span bytes) __attribute__((warn_unused_result));
/* The mark of the end. False: something failed since the start. */
bool seal_end(struct seal *s) __attribute__((warn_unused_result));
void seal_free(struct seal **s);
/* Bytes of a sealed stream of n plain ones. */
uint64_t seal_size(uint64_t n);

struct unseal;
struct unseal *unseal_new(const unsigned char key[CRYPTO_HASH], seal_out *out, void *arg);
/* ERR_OK; ERR_SYNTAX: not such a stream, or changed; ERR_DENIED: sealed to another key; ERR_STATE: out
 * refused. */
CHECK_RESULT enum err_code unseal_add(struct unseal *u, struct span bytes);
/* ERR_SYNTAX: it was cut. */
CHECK_RESULT enum err_code unseal_end(struct unseal *u);
void unseal_free(struct unseal **u);

/* A new pair in two files: path (secret, mode 0600) and path.pub. False, errno set: they are there, or cannot
 * be written. */
bool seal_key_make(const char *path) __attribute__((warn_unused_result));
/* The public key of a secret one, for naming it. */
void seal_key_public(const unsigned char key[CRYPTO_HASH], unsigned char out[CRYPTO_HASH]);

#endif
