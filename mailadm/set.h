/* A folder of backups: sets, each whole in itself by its manifest, and what sets share.
 *   DIR/provmail-backup              what this folder is
 *   DIR/sets/STAMP/manifest, ...     a set; made as DIR/new-STAMP, renamed when it is whole
 *   DIR/segments/LIFE[-KEY]/N.seg    segments by the life of the store (and the key that they are sealed to)
 *   DIR/chunks/HH/HASH               pieces of databases, logs and open segments
 * The manifest's lines (version 2; 1 has no chunks and is read):
 *   chunk-size BYTES                 plain bytes of a chunk; the last one of a file may be shorter
 *   file HASH SIZE NAME              a file of the set's own
 *   segment HASH SIZE PLAIN NUMBER
 *   chunked SIZE NAME                a file (SIZE plain bytes) that is the chunks of the lines behind it:
 *   chunk HASH [ID]                  ID: of a sealed one, the keyed hash of its plain bytes
 *   end SHA256                       of all before it
 * A HASH is BLAKE2b-256 of a file as it lies there, sealed or not; SIZE likewise where nothing else is said.
 */
#ifndef PROV_MAILADM_SET_H
#define PROV_MAILADM_SET_H

#include "common/base/crypto.h"
#include "common/base/err.h"
#include "common/base/seal.h"
#include <stdint.h>

enum { SET_STAMP = 32, SET_PATH = 4096, SET_HEX = 2 * CRYPTO_HASH + 1 };

enum { SET_CHUNK = 128 << 10 };

struct set_chunk {
    unsigned char hash[CRYPTO_HASH]; /* as it lies there: its name */
    unsigned char id[CRYPTO_HASH];   /* of its plain bytes; not sealed: the same */
};
struct set_file {
    unsigned char hash[CRYPTO_HASH]; /* not of chunked ones */
    uint64_t size;                   /* of the file in DIR; of a chunked one plain */
    uint64_t plain;                  /* of a segment: before it was sealed */
    uint32_t segment;
    bool is_segment, chunked;
    struct set_chunk *chunk;
    size_t chunks, chunk_cap;
    char *name; /* below the set; of a segment below DIR */
};
struct set {
    char stamp[SET_STAMP]; /* 20261127T201500Z-123456 */
    char life[33];         /* hex */
    char key[SET_HEX];     /* the public key it is sealed to, hex; "": not sealed */
    uint64_t chunk_bytes;  /* plain, of each chunk */
    struct set_file *v;
    size_t n, cap;
};

/* printf into a path; what does not fit ends the program with a sentence. */
void path_put(char out[SET_PATH], const char *format, ...) __attribute__((format(printf, 2, 3)));
void hex_of(const unsigned char *p, size_t n, char *out);
bool hex_read(const char *text, unsigned char *out, size_t n);

struct set_file *set_add(struct set *s, const char *name);
void set_add_chunk(struct set_file *f, const struct set_chunk *c);
void set_cut(struct set *s, size_t n); /* to its first n files */
void set_free(struct set *s);
const struct set_file *set_find(const struct set *s, const char *name);
const struct set_file *set_segment(const struct set *s, uint32_t number);
/* Where the segments of this life and key lie, below DIR. */
void set_pool(const struct set *s, char out[SET_PATH]);
/* The name of a chunk below DIR. */
void set_chunk_name(const unsigned char hash[CRYPTO_HASH], char out[SET_PATH]);
/* Bytes of chunk i of a file as it lies there. */
uint64_t set_chunk_size(const struct set *s, const struct set_file *f, size_t i);

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
/* Sync (or not) and close; *hash and *size as it lies there. Frees it. */
CHECK_RESULT enum err_code sink_end(struct sink **s, bool sync, unsigned char hash[CRYPTO_HASH],
                                    uint64_t *size);
void sink_drop(struct sink **s);

/* Read a file of a set, check its hash and size, and hand its plain bytes to out (NULL: only check). key:
 * secret, for sealed ones; without it sealed bytes are only checked. */
CHECK_RESULT enum err_code set_read_file(const char *dir, const struct set *s, const struct set_file *f,
                                         const unsigned char *key, seal_out *out, void *arg, struct err *why);
/* The same of one chunk of a chunked file. */
CHECK_RESULT enum err_code set_read_chunk(const char *dir, const struct set *s, const struct set_file *f,
                                          size_t i, const unsigned char *key, seal_out *out, void *arg,
                                          struct err *why);

#endif
