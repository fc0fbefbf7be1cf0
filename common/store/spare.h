/* The next log file of Berkeley DB, made before it is needed. */
#ifndef PROV_STORE_SPARE_H
#define PROV_STORE_SPARE_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stdint.h>

/* Start the thread that makes spare log files of so many bytes in db_dir, which stays the caller's and open
 * until spare_stop; none is made when less than reserve bytes would be left. One store of a process at a
 * time. What an earlier process left is removed first. */
CHECK_RESULT enum err_code spare_start(int db_dir, uint64_t size, uint64_t reserve, struct err *why);
/* End the thread and remove the spare file; also when it was not started. */
void spare_stop(void);
/* Have one ready soon. Any thread. */
void spare_want(void);
/* Give the log file `name` of db_dir, which is about to be made, the spare's blocks. False: none is ready, or
 * the name is taken. The new name is not on the disk yet. Any thread. */
bool spare_take(const char *name);

#endif
