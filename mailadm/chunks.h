/* What a backup writes of its databases, logs and open segments: chunks of SET_CHUNK bytes, of which only
 * those that the set before did not have become files in DIR. */
#ifndef PROV_MAILADM_CHUNKS_H
#define PROV_MAILADM_CHUNKS_H

#include "mailadm/set.h"

struct chunks;
/* to: the key that chunks are sealed to, or NULL. id_key: which plain bytes they are is hashed with it when
 * they are sealed. dir and to outlive it. */
struct chunks *chunks_new(const char *dir, const unsigned char *to, const unsigned char id_key[CRYPTO_HASH]);
void chunks_free(struct chunks **c);
/* Those of a whole set, sealed to the same key, may be named again. */
void chunks_learn(struct chunks *c, const struct set *set);

/* The next bytes of a file; f has been begun as a chunked one and grows. ERR_RETRY: said in why. */
CHECK_RESULT enum err_code chunks_add(struct chunks *c, struct set_file *f, struct span bytes,
                                      struct err *why);
/* The file is whole. */
CHECK_RESULT enum err_code chunks_end(struct chunks *c, struct set_file *f, struct err *why);

/* So far: chunks named (equal ones once), those of them that had to be written, and the bytes of these as
 * they lie in DIR. */
struct chunks_count {
    uint64_t named, written, bytes;
};
struct chunks_count chunks_counted(const struct chunks *c);

#endif
