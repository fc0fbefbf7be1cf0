/* What restore and undelete share: how an account was, read into memory, and bringing rows back in slices. */
#ifndef PROV_MAILADM_PAST_H
#define PROV_MAILADM_PAST_H

#include "mailadm/ask.h"

/* A folder as it was. */
struct past_name {
    char *then, *now; /* now "": deleted */
    uint64_t mailbox;
    int64_t deleted_us;
    uint64_t bytes;
    uint32_t messages;
    enum store_use use;
    bool subscribed;
};
struct past_names {
    struct past_name *v;
    size_t n;
    int64_t oldest_us;
};
/* The folders at at_us, or (deleted) those deleted since. An exit number; said. subject: for the sentence. */
int past_names_get(struct ask *k, const struct uuid *account, int64_t at_us, bool deleted,
                   const char *subject, struct past_names *out);
void past_names_free(struct past_names *n);
const struct past_name *past_names_find(const struct past_names *n, const char *then);

/* The messages of a mailbox as they were. */
struct past_view {
    uint64_t mailbox;
    char *keywords[65]; /* NULL-ended, by bit */
    uint32_t uidnext;   /* then */
    struct store_past *v;
    size_t n, cap;
    int64_t oldest_us;
};
int past_view_get(struct ask *k, const struct uuid *account, uint64_t mailbox, int64_t at_us, bool gone,
                  const char *subject, struct past_view *out);
void past_view_free(struct past_view *v);
/* The same bits under the other mailbox's names; *whole: it has all of them. */
uint64_t past_keywords(const struct past_view *from, const struct past_view *to, uint64_t bits, bool *whole);

/* The status of a deleted folder that was asked back: ERR_LIMIT means that the account has no room for it. */
int past_revived(enum err_code code, const char *name);
/* Ask for a folder; *mailbox: its number. The code. */
enum err_code past_folder(struct ask *k, const struct store_folder *f, uint64_t *mailbox);

struct rows {
    struct store_row *v;
    size_t n, cap;
    uint64_t bytes;
};
void rows_add(struct rows *r, const struct store_row *row);
void rows_free(struct rows *r);

/* Progress: on a terminal one line that is written over, else a line now and then. */
struct progress {
    uint64_t total, done, begin_ms, told_ms;
    bool bytes; /* tell it in MiB */
};
void progress_start(struct progress *p, uint64_t total);
void progress_add(struct progress *p, uint64_t n);
void progress_end(struct progress *p);

/* Send rows in slices, several under way; r gives account, mailboxes, kind. done and missing are added to.
 */
enum err_code past_send(struct ask *k, const struct store_restore *r, const struct rows *rows,
                        struct progress *p, uint64_t *done, uint64_t *missing);

/* Read a time or say that it is none. */
int past_time(const char *text, int64_t *us);

#endif
