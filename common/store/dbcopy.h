/* A hot copy of a Berkeley DB environment and of files into a pipe, in the form of backup_stream.h. For
 * stored and directoryd, each in a thread of its own. */
#ifndef PROV_STORE_DBCOPY_H
#define PROV_STORE_DBCOPY_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/store/backup_stream.h"
#include <db.h>
#include <stdatomic.h>

struct dbcopy {
    int fd;             /* of the pipe; non-blocking from the first write on */
    _Atomic bool *stop; /* set: give up */
    uint64_t sent;
    enum err_code code; /* the first failure; all later calls do nothing */
    struct err *why;
    uint64_t in_file; /* of a database under way */
};
/* ERR_STATE: the reader went away, or does not read. ERR_RETRY: a file cannot be read. */
void dbcopy_start(struct dbcopy *c, int fd, _Atomic bool *stop, struct err *why);
void dbcopy_life(struct dbcopy *c, const unsigned char life[BACKUP_LIFE_SIZE]);
void dbcopy_total(struct dbcopy *c, uint64_t bytes);
void dbcopy_kept(struct dbcopy *c, const char *name, uint64_t size);
/* A file as it lies there, its first `most` bytes. */
void dbcopy_file(struct dbcopy *c, int dir_fd, const char *path, const char *name, uint64_t most);
/* Bytes from memory. */
void dbcopy_text(struct dbcopy *c, const char *name, struct span bytes);
/* A database of the environment, pages whole however the cache writes meanwhile. */
void dbcopy_table(struct dbcopy *c, DB_ENV *env, const char *file, const char *name);
/* All log files, after a flush; home: the environment's folder; names begin with prefix. */
void dbcopy_logs(struct dbcopy *c, DB_ENV *env, int home_fd, const char *prefix);
/* The end mark, or what failed. */
enum err_code dbcopy_finish(struct dbcopy *c) CHECK_RESULT;

#endif
