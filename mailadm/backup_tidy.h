/* What leaves a folder of backups. Its lock is held by the caller. */
#ifndef PROV_MAILADM_BACKUP_TIDY_H
#define PROV_MAILADM_BACKUP_TIDY_H

#include "mailadm/set.h"

/* A segment of the set that grows in DIR/FOLDER is whole and synced: noted there, for the run after one that
 * is cut. */
void cut_note(const char *dir, const char *folder, const struct set *s, const struct set_file *f);
/* What runs that were cut have noted, of the life of `last` (or the newest life, when it is empty) and of
 * this key, is added to it: those that it lacks. */
void cut_adopt(const char *dir, const char *key, struct set *last);
/* Sets that never were: what a run that was cut left. Whether there was any. */
bool tidy_cut(const char *dir);
/* Remove all but the newest `keep` sets (0: none of them), then what sets share and none names. The number of
 * sets removed. */
size_t tidy_sets(const char *dir, uint64_t keep);

#endif
