/* Friend header of the copy's files: its tables, and calls of Berkeley DB with what every use wants alike. */
#ifndef PROV_DIRECTORY_COPY_INT_H
#define PROV_DIRECTORY_COPY_INT_H

#include "common/directory/copy.h"
#include <db.h>
#include <pthread.h>

enum copy_table { C_STATE, C_ENTRY, C_DN, C_OUTBOX, C_TOKEN, C_VERIFIER, C_TABLES };
struct copy {
    DB_ENV *env;
    DB *db[C_TABLES];
    int lock_fd, db_fd; /* db_fd: the folder of databases and logs */
    /* Held around every use of outbox, tokens and verifiers, and by a taking over from its first change of
     * them to its commit: so no two of them can block each other. The other tables have one user at a time.
     */
    pthread_mutex_t small;
};
enum { COPY_VERSION = 1, COPY_VALUE_LIMIT = 64 << 20 };

/* Log what failed and end the process: nothing can be promised any more. */
void copy_fatal(const char *what, int ret) __attribute__((noreturn));
const char *copy_table_name(enum copy_table t);
/* A transaction; sync: its commit waits for the disk, else it outlives this process, not the machine. */
DB_TXN *copy_begin(struct copy *c);
void copy_commit(struct copy *c, DB_TXN *t, bool sync);
/* The value behind key goes to out (reset first); false: there is none. t may be NULL. */
bool copy_get(struct copy *c, DB_TXN *t, enum copy_table table, struct span key, struct buf *out);
void copy_put(struct copy *c, DB_TXN *t, enum copy_table table, struct span key, struct span value);
void copy_del(struct copy *c, DB_TXN *t, enum copy_table table, struct span key);
/* All rows of a table in the order of their keys; false of cb ends it. Answers whether the end was reached.
 */
bool copy_scan(struct copy *c, enum copy_table table,
               bool (*cb)(void *arg, struct span key, struct span value), void *arg);

bool copy_state_get(struct copy *c, DB_TXN *t, const char *name, uint64_t *out);
void copy_state_put(struct copy *c, DB_TXN *t, const char *name, uint64_t v);

/* A record as it is kept. a holds the list of its values; the spans point into value. */
bool copy_encode(const struct ldif_record *r, struct buf *out) __attribute__((warn_unused_result));
bool copy_decode(struct span value, struct arena *a, struct ldif_record *out)
    __attribute__((warn_unused_result));

#endif
