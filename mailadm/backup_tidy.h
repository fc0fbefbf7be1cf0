/* What leaves a folder of backups. Its lock is held by the caller. */
#ifndef PROV_MAILADM_BACKUP_TIDY_H
#define PROV_MAILADM_BACKUP_TIDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets that never were: what a run that was cut left. Whether there was any. */
bool tidy_cut(const char *dir);
/* Remove all but the newest `keep` sets (0: none of them), then what sets share and none names. The number of
 * sets removed. */
size_t tidy_sets(const char *dir, uint64_t keep);

#endif
