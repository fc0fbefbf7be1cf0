/* Where an export stands: a file in its folder that is there until all is written and synced, so that a cut
 * export is neither taken for a whole one nor begun anew. */
#ifndef PROV_MAILADM_EXPORT_STATE_H
#define PROV_MAILADM_EXPORT_STATE_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define EXPORT_UNFINISHED "export-unfinished"

struct export_state;

/* Take the folder (which is there). what: account, format and mailboxes in one line; an export of anything
 * else is not gone on with. ERR_STATE: the folder holds something else; ERR_DENIED: another export is at work
 * in it, or a file cannot be read or written. */
CHECK_RESULT enum err_code export_state_open(const char *top, const char *what, struct export_state **out,
                                             struct err *why);
void export_state_free(struct export_state **s);
/* It was cut before. */
bool export_state_resumed(const struct export_state *s);
/* A mailbox that was begun under this name, the i-th; NULL: no more. */
const char *export_state_name(const struct export_state *s, size_t i);
/* Is the mailbox written as it was at this modseq? */
bool export_state_done(const struct export_state *s, uint64_t mailbox, uint64_t modseq);

/* Each false: it cannot be written, errno says why. */
/* Names that are to be begun. */
bool export_state_begin(struct export_state *s, const char *const *names) __attribute__((warn_unused_result));
/* The mailbox is written. synced: its files and their names would survive a power cut; else it is on record
 * after one of the syncs that are made every half minute. */
bool export_state_mark(struct export_state *s, uint64_t mailbox, uint64_t modseq, bool synced)
    __attribute__((warn_unused_result));
/* All is: sync it, and take the file away. */
bool export_state_finish(struct export_state *s) __attribute__((warn_unused_result));

#endif
