/* A session's view of its selected mailbox: what the client has been told, and what it has not been told yet.
 * The client's message numbers are positions among the told rows, so a row that another session expunged
 * stays (GONE) until a response may say EXPUNGE, and new rows stand behind the told ones until EXISTS.
 *
 *   rows:  [ told ................. | new ....... ]
 *            1 2 3(gone) 4 5(dirty)   6 7
 *
 * Rows are loaded when a command needs them; without them the view knows the number of messages only. */
#ifndef PROV_IMAPD_VIEW_H
#define PROV_IMAPD_VIEW_H

#include "common/store/store.h"
#include "imapd/seqset.h"

enum { ROW_GONE = 1, ROW_DIRTY = 2 /* flags changed, client not told */ };

struct view_row {
    uint64_t modseq, keywords, content;
    int64_t internal_s;
    uint32_t uid, size;
    int32_t saved_s_low;
    int16_t zone_min;
    uint8_t flags, state;
};

struct view {
    bool open, read_only;
    uint64_t mailbox;
    char *name; /* UTF-8 */
    uint64_t modseq;
    uint32_t uidvalidity, uidnext;
    bool loaded, loading;
    struct view_row *rows; /* told and new, ascending by UID; when loaded */
    size_t count, cap;
    size_t told;        /* EXISTS as the client knows it; right without rows as well */
    size_t gone, dirty; /* rows in that state */
    struct uidset recent;
    size_t recent_count; /* of rows that are not announced as gone */
    size_t recent_told;
    struct uidset known; /* UIDs that the client knows, while the rows are dropped */
    bool has_known;
    char **keywords; /* names by bit, NULL-ended */
    size_t keyword_count;
    bool keywords_changed; /* the client has not been told */
};

/* Begin a view of box (told: its messages; no row is recent yet). */
void view_open(struct view *v, const struct store_mailbox *box, struct span name, bool read_only);
void view_close(struct view *v);

/* Loading: begin, then add as rows come, ascending; view_apply of the changes since v->modseq ends it. */
void view_load_begin(struct view *v);
void view_load_add(struct view *v, const struct store_row *rows, size_t count);
/* The rows did not all come: as before view_load_begin. */
void view_load_abort(struct view *v);
/* Drop the rows of a view that has nothing to tell; UIDs are kept as ranges. */
void view_drop(struct view *v);

enum view_news {
    VIEW_OK,
    VIEW_NEEDS_ROWS, /* nothing was applied: load first */
    VIEW_BROKEN      /* the client's numbers cannot be kept: end the session */
};
/* Take over what has changed since v->modseq. */
enum view_news view_apply(struct view *v, const struct store_changes *c);
/* What our own STORE has changed, in the order of the changes: the client is told by the
 * command. Where nobody else's change came before or between, v->modseq moves on: there is nothing to ask
 * for. */
void view_flagged(struct view *v, const struct store_flag_run *runs, size_t count);
void view_keywords(struct view *v, const char *const *names);
/* Expunged by us or others. */
void view_gone(struct view *v, const uint32_t *uids, size_t count);
/* This message is recent in this session; UIDs ascending from call to call. */
void view_recent(struct view *v, uint32_t uid);
/* Silently forget the gone rows and count all others as told (SELECT). */
void view_settle(struct view *v);

/* Position of the first row with this UID or a higher one; v->count when there is none. */
size_t view_lower(const struct view *v, uint32_t uid);
/* Position of the told row with this UID, SIZE_MAX when there is none. */
size_t view_find(const struct view *v, uint32_t uid);
bool view_is_recent(const struct view *v, const struct view_row *r);
/* The highest number that "*" means: message number or UID among the told rows; 0 when there are none. */
uint32_t view_max(const struct view *v, bool uid);

/* All from this UID on are recent, if that can be said without their rows: none of the mailbox's messages was
 * ever expunged, and none is recent yet. Else false. */
bool view_recent_from(struct view *v, uint32_t uid);

/* Walk the told rows of a fixed set in order. at: where to go on, 0 at first. False: no more. */
struct view_walk {
    size_t range, next;
    bool inside;
};
bool view_next(const struct view *v, const struct seqset *set, bool uid, struct view_walk *w,
               size_t *out_index);

#endif
