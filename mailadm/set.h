/* A folder of backups: sets, each whole in itself by its manifest, and segments that sets share.
 *   DIR/provmail-backup              what this folder is
 *   DIR/sets/STAMP/manifest, ...     a set; made as DIR/new-STAMP, renamed when it is whole
 *   DIR/segments/LIFE[-KEY]/N.seg    segments by the life of the store (and the key that they are sealed to)
 * The manifest's lines: "file SHA256 SIZE NAME", "segment SHA256 SIZE PLAIN NUMBER", and at the end the hash
 * of all before it. Hashes and sizes are of the files as they lie there, sealed or not. */
#ifndef PROV_MAILADM_SET_H
#define PROV_MAILADM_SET_H

#include "common/base/crypto.h"
#include "common/base/err.h"
#include "common/base/seal.h"
#include <stdint.h>

enum { SET_STAMP = 32, SET_PATH = 4096, SET_HEX = 2 * CRYPTO_HASH + 1 };

struct set_file {
    unsigned char hash[CRYPTO_HASH];
    uint64_t size;  /* of the file in DIR */
    uint64_t plain; /* of a segment: before it was sealed */
    uint32_t segment;
    bool is_segment;
    char *name; /* below the set; of a segment below DIR */
};
struct set {
    char stamp[SET_STAMP]; /* 20261127T201500Z-123456 */
    char life[33];         /* hex */
    char key[SET_HEX];     /* the public key it is sealed to, hex; "": not sealed */
    struct set_file *v;
    size_t n, cap;
};

/* printf into a path; what does not fit ends the program with a sentence. */
void path_put(char out[SET_PATH], const char *format, ...) __attribute__((format(printf, 2, 3)));
void hex_of(const unsigned char *p, size_t n, char *out);
bool hex_read(const char *text, unsigned char *out, size_t n);

struct set_file *set_add(struct set *s, const char *name);
void set_free(struct set *s);
const struct set_file *set_find(const struct set *s, const char *name);
const struct set_file *set_segment(const struct set *s, uint32_t number);
/* Where the segments of this life and key lie, below DIR. */
void set_pool(const struct set *s, char out[SET_PATH]);

/* The set of that stamp (NULL: the newest). EX_OK, or the number to exit with, said. */
int adm_set_open(const char *dir, const char *stamp, struct set *out);

/* Write it into DIR/FOLDER/manifest, synced. */
CHECK_RESULT enum err_code set_write(const char *dir, const char *folder, const struct set *s,
                                     struct err *why);
/* ERR_SYNTAX: it is not whole. */
CHECK_RESULT enum err_code set_read(const char *dir, const char *stamp, struct set *out, struct err *why);
/* Stamps, the newest first; ERR_MISSING: not a folder of backups. */
struct stamps {
    char (*v)[SET_STAMP];
    size_t n;
};
CHECK_RESULT enum err_code set_list(const char *dir, struct stamps *out, struct err *why);

/* Remove a folder and all below it. */
bool remove_tree(const char *path);
/* mkdir with its parents; true when it is there. */
bool make_path(const char *path);
bool sync_dir(const char *path);

/* A file that is being written, hashed, and sealed when to is not NULL. */
struct sink;
struct sink *sink_new(const char *path, const unsigned char *to, struct err *why);
CHECK_RESULT enum err_code sink_add(struct sink *s, struct span bytes);
/* Sync and close; *hash and *size as it lies there. Frees it. */
CHECK_RESULT enum err_code sink_end(struct sink **s, unsigned char hash[CRYPTO_HASH], uint64_t *size);
void sink_drop(struct sink **s);

/* Read a file of a set, check its hash and size, and hand its plain bytes to out (NULL: only check). key:
 * secret, for sealed ones; without it sealed bytes are only checked. */
CHECK_RESULT enum err_code set_read_file(const char *dir, const struct set *s, const struct set_file *f,
                                         const unsigned char *key, seal_out *out, void *arg, struct err *why);

#endif
