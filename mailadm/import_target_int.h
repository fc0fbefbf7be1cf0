/* Friend header of the target's files: messages on their way (import_target.c), messages that came in an
 * earlier run (import_known.c), mailboxes (import_boxes.c). */
#ifndef PROV_MAILADM_IMPORT_TARGET_INT_H
#define PROV_MAILADM_IMPORT_TARGET_INT_H

#include "mailadm/import.h"
#include "mailadm/session.h"

enum {
    TARGET_WINDOW = 64,
    TARGET_KEYWORDS = 64
}; /* questions under way; keywords of a mailbox of the store */

struct target_box;
struct target {
    struct ask *k;
    const struct import_options *o;
    struct import_notes *notes;
    struct import_report *report;
    struct session session;
    struct target_box *boxes;
    unsigned waiting;
    uint64_t waiting_bytes;
    bool failed;
    /* the message that is coming */
    struct content *content;
    struct mime_parser *parser;
    struct crypto_hash *hash; /* dry run: there is no content that would have it */
    bool after_cr, finished;
    const char *why; /* it is refused */
    uint64_t size, in_size;
    struct buf line_ends;
};

/* A message being appended, or its flags being changed. */
struct target_op {
    struct target *t;
    struct ticket *ticket; /* its session is this */
    struct import_note note;
    struct trace_id trace;
    struct content *content;
    uint64_t bytes, in_bytes;
    char *mailbox, *source;
    int64_t internal_s;
    int zone_min;
    uint32_t flags;
    struct span keywords[TARGET_KEYWORDS]; /* into words */
    size_t keyword_count;
    char *words;
};
struct target_op *target_op_new(struct target *t, const struct target_message *m);
void target_op_free(struct target_op *p);

void target_fail(struct target *t, const char *why);
/* ERR_RETRY, ERR_DENIED: the account's run has failed. */
void target_lost(struct target *t, enum err_code code);
/* Wait until no more than this is under way. */
void target_drain(struct target *t, unsigned waiting, uint64_t bytes);
/* Let the loop send and take what it can, without waiting. */
void target_turn(struct target *t);

/* Read the account's mailboxes. */
CHECK_RESULT enum err_code target_boxes_read(struct target *t);
void target_boxes_free(struct target *t);

#endif
