/* Between Berkeley DB and its database files: whole pages or none, whenever the power fails. */
#ifndef PROV_STORE_PAGES_H
#define PROV_STORE_PAGES_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Put back the pages that a crash may have left torn, and take over the library's file calls. mail_dir: the
 * store's folder, where the journal `pages` lies; db_dir: that of the databases; both stay the caller's and
 * open until pages_stop. Before the environment is opened; one store of a process at a time. */
CHECK_RESULT enum err_code pages_start(int mail_dir, int db_dir, struct err *why);
/* After the environment was closed. */
void pages_stop(void);
/* Called before each sync that the library asks for, while set; false: errno, and the sync fails. NULL: none.
 * While no other thread uses the library. */
void pages_before_sync(bool (*call)(void *arg), void *arg);
/* Bring the names of new log files to the disk, if there are any: without them their bytes are lost. False:
 * errno. */
CHECK_RESULT bool pages_names_sync(void);
/* Pages that were read and found damaged since pages_start; file (may be NULL) gets the name of the newest's.
 */
size_t pages_damaged(char *file, size_t size);
/* Reads that failed because of one. */
uint64_t pages_refused(void);
/* Whether one failed in this thread since the last call. */
bool pages_refused_now(void);

#endif
