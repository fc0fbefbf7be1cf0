/* Keys of SCRAM (RFC 5802 3, RFC 7677): what a server keeps instead of a password, and how one is kept
 * (RFC 5803). The exchange itself is libsasl2's. */
#ifndef PROV_DIRECTORY_SCRAM_H
#define PROV_DIRECTORY_SCRAM_H

#include "common/base/buf.h"
#include "common/base/err.h"

enum scram_hash { SCRAM_SHA_256, SCRAM_SHA_1, SCRAM_HASHES };
enum {
    SCRAM_ITERATIONS = 4096, /* RFC 7677 4: the least; for keys that are made here */
    SCRAM_SALT = 16,         /* bytes, of keys that are made here */
    SCRAM_SALT_MAX = 64,
    SCRAM_ITERATIONS_MAX = 1000000,
    SCRAM_TEXT = 512 /* bytes of a value, at most */
};
struct scram_keys {
    enum scram_hash hash;
    uint32_t iterations;
    unsigned char salt[SCRAM_SALT_MAX];
    size_t salt_n;
    unsigned char stored[32], server[32]; /* scram_size(hash) bytes each */
};

/* "SCRAM-SHA-256" */
const char *scram_name(enum scram_hash hash);
size_t scram_size(enum scram_hash hash);

/* Read "SCRAM-SHA-256$ITER:SALT$STORED:SERVER" (RFC 5803 2), or the same behind a scheme as userPassword has
 * it: "{SCRAM-SHA-256}ITER:SALT$STORED:SERVER", also with commas between the four. False: it is none. */
bool scram_parse(struct span value, struct scram_keys *out);
/* In RFC 5803's form. False: no room. */
bool scram_format(const struct scram_keys *k, struct buf *out) __attribute__((warn_unused_result));

/* Make keys of a password: slow on purpose, call it from a helper thread. hash, iterations and salt of k are
 * set before. The password is taken in NFC, as a client's SASLprep leaves it (RFC 4013, for the letters of
 * Vietnamese and Latin). False: empty, or too long. */
bool scram_derive(struct scram_keys *k, struct span password) __attribute__((warn_unused_result));
/* Is it the password that k was made of? As slow. ERR_OK, ERR_DENIED. */
CHECK_RESULT enum err_code scram_check(const struct scram_keys *k, struct span password);

/* The salt that a name gets where none is kept, the same at every try (RFC 5802 9: a stranger must not learn
 * who exists). key: 32 bytes that last as long as salts are to. */
void scram_salt(const unsigned char key[32], enum scram_hash hash, struct span name,
                unsigned char out[SCRAM_SALT_MAX]);

#endif
