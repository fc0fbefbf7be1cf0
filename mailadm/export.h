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
    void *state;     /* of the format */
    size_t lost;     /* keywords that the format has no room for */
};

/* Each false: a file cannot be written, errno says why. */
struct export_format {
    const char *name;
    bool (*begin_box)(struct export_box *b);
    bool (*begin)(struct export_box *b, const struct export_message *m);
    bool (*add)(struct export_box *b, struct span bytes);
    bool (*end)(struct export_box *b, const struct export_message *m);
    bool (*end_box)(struct export_box *b);
    /* subscribed names, NULL-ended */
    bool (*subscriptions)(const char *top, char *const *names);
};
extern const struct export_format export_maildir, export_mbox;

/* Make the folder and those above it. */
bool export_folders(const char *path);

#endif
