/* mailadm export: what the two formats share with the reading of the store (export.c). */
#ifndef PROV_MAILADM_EXPORT_H
#define PROV_MAILADM_EXPORT_H

#include "common/store/store.h"

struct export_message {
    const struct store_row *row;
    uint64_t mailbox;
    struct span keywords[64]; /* at most one a bit */
    size_t keyword_count;
    bool ends_lf;
};
struct export_box {
    const struct store_mailbox *box;
    const char *top; /* --to */
    bool resumed;    /* files of a run that was cut may be there */
    bool whole;      /* at end_box: every message was written */
    bool synced;     /* end_box has synced it */
    void *state;     /* of the format */
    size_t lost;     /* keywords that the format has no room for */
};

/* Each false: a file cannot be written, errno says why. */
struct export_format {
    const char *name;
    bool (*begin_box)(struct export_box *b);
    /* *kept: an earlier run has written the message. NULL: this format begins each mailbox anew. */
    bool (*keep)(struct export_box *b, const struct export_message *m, bool *kept);
    bool (*begin)(struct export_box *b, const struct export_message *m);
    bool (*add)(struct export_box *b, struct span bytes);
    bool (*end)(struct export_box *b, const struct export_message *m);
    /* Instead of end: the message was expunged while it was read. */
    bool (*drop)(struct export_box *b);
    bool (*end_box)(struct export_box *b);
    /* subscribed names, NULL-ended */
    bool (*subscriptions)(const char *top, char *const *names);
};
extern const struct export_format export_maildir, export_mbox;

/* Make the folder and those above it. */
bool export_folders(const char *path);

#endif
