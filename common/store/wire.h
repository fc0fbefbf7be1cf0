/* What goes over the store's sockets: every frame, as fixed structs with trailing bytes. Host byte order
 * (ipc.h says why that is safe); the answers of writes also lie in `done`, so a change of them is a change of
 * the store's format.
 *
 * A request is: struct wire_ask, the struct of its type, trailing bytes in the order that the struct's
 * comment names. Texts are a uint32_t length and the bytes. An answer carries enum err_code in
 * ipc_head.status and, when that is ERR_OK, its body; WIRE_MORE in its type says that another one of the same
 * seq follows. Events have seq 0. Every role may send WIRE_ACK and WIRE_PING; else a type belongs to one
 * role, and ERR_DENIED is the answer of others.
 */
#ifndef PROV_STORE_WIRE_H
#define PROV_STORE_WIRE_H

#include "common/base/buf.h"
#include "common/base/ids.h"
#include "common/net/ipc.h"
#include "common/store/frames_int.h"
#include "common/store/store.h"

enum wire_type {
    WIRE_ACK = 1, /* trailing: request ids whose answers have arrived; no answer */
    WIRE_PING, /* wire_ping; WIRE_UNDERWAY at once, its answer when the writer comes to it: a sign of life */

    WIRE_DELIVER = 16, /* wire_deliver */
    WIRE_CONFIRM,      /* wire_confirm, any number of them; no answer */
    WIRE_FULL_WATCH,   /* WIRE_FULL_EVENT from now on, the first ones at once; no answer */

    WIRE_LEASE = 32,  /* wire_lease */
    WIRE_SLICE,       /* wire_slice */
    WIRE_DEFER,       /* wire_defer */
    WIRE_QUEUE_WATCH, /* events from now on; no answer */
    WIRE_NOTICE,      /* wire_notice, content */

    WIRE_LOGIN = 48, /* trailing: the sealed grant. wire_ask.session names it from now on */
    WIRE_LOGOUT,     /* no answer */
    WIRE_LIST,
    WIRE_STATUS,    /* wire_status, text name */
    WIRE_STATUS_ID, /* wire_ask.mailbox */
    WIRE_CREATE,    /* wire_create, text name */
    WIRE_DELETE,    /* text name */
    WIRE_RENAME,    /* text from, text to */
    WIRE_SUBSCRIBE, /* wire_subscribe, text name */
    WIRE_WATCH,     /* wire_watch; no answer but an event at once */
    WIRE_ROWS,      /* wire_rows */
    WIRE_CHANGES,   /* wire_changes */
    WIRE_META,      /* trailing: UIDs */
    WIRE_READ,      /* wire_read */
    WIRE_FLAGS,     /* wire_flags */
    WIRE_COPY,      /* wire_copy, text to, UIDs */
    WIRE_EXPUNGE,   /* wire_expunge, UIDs */
    WIRE_APPEND,    /* wire_append */
    WIRE_CLAIM,     /* inside stored, u32: the UID up to which messages are not recent any more */
    WIRE_TOUCH,     /* inside stored: an account as a login leaves it */

    WIRE_ACCOUNTS = 80, /* wire_accounts */
    WIRE_MAILBOXES,     /* wire_account */
    WIRE_TRACE,         /* text trace */
    WIRE_STATS,
    WIRE_REVOKE,    /* wire_revoke; the directory role may send it too */
    WIRE_QUOTA,     /* of the session role: limits and use of the account and of its units */
    WIRE_UNITS,     /* of the directory role: wire_units */
    WIRE_LIMITS,    /* of the directory role: wire_limits */
    WIRE_UNIT_LIST, /* all units with their limits and use */

    WIRE_PAST_NAMES = 96, /* wire_past_names */
    WIRE_VIEW,            /* wire_view; wire_ask.mailbox */
    WIRE_RESTORE,         /* wire_restore, struct store_row or UIDs; wire_ask.mailbox is the destination */
    WIRE_FOLDER,          /* wire_folder, text name; wire_ask.mailbox */

    WIRE_CARE = 104,    /* wire_care */
    WIRE_HOLD,          /* wire_hold */
    WIRE_BACKUP,        /* wire_backup, u32 segment numbers ascending; a pipe's write end rides on it */
    WIRE_QUEUE_HELD,    /* how much of the queue is held */
    WIRE_QUEUE_RELEASE, /* let it go */
    WIRE_VERIFY,        /* wire_verify */
    WIRE_DESCRIBE,      /* wire_describe, meta record */

    WIRE_EVENT = 112, /* wire_event */
    WIRE_QUEUE_EVENT,
    WIRE_FULL_EVENT, /* wire_full */
    WIRE_UNDERWAY,   /* wire_underway */

    WIRE_PURGE = 120, /* inside stored: purge_ask */
    WIRE_SWEEP,       /* inside stored: sweep_ask */
    WIRE_SEGMENT,     /* inside stored: segment_ask */
    WIRE_MEND,        /* inside stored: mend_ask */
    WIRE_RELOCATE     /* inside stored: relocate_ask */
};
enum { WIRE_MORE = 0x4000 };
enum { WIRE_AGAIN = 1 }; /* wire_ask.flags: this request was sent before */

struct wire_ask {
    struct request_id id; /* of writes; reads leave it zero */
    uint32_t session;
    uint32_t flags;
    uint64_t mailbox;
    uint64_t until_ms; /* of writes: not begun any more at this time (CLOCK_MONOTONIC); 0: at any time */
};
struct wire_ping {
    uint64_t more_ms; /* from its answer on, what this connection has asked may be begun for so long, too */
};

/* -- content: struct, frame table, meta, inline bytes; the rest of the packed bytes lies in the descriptor --
 */
struct wire_content {
    uint64_t size, packed; /* all raw bytes, all packed bytes */
    uint32_t frames, meta_n, inline_n, pad;
    unsigned char hash[32]; /* of the message without its prefix */
};

/* -- deliver -- */
struct wire_target {
    struct uuid id;
    uint64_t quota_bytes;
    uint32_t kind;
    uint32_t address_n; /* the address follows */
};
enum {
    WIRE_DELIVER_QUEUE = 1,
    WIRE_DELIVER_FIND_REPEAT = 2,
    WIRE_DELIVER_QUEUE_FULL = 4 /* who is full is queued, when anybody else is served */
};
struct wire_deliver { /* text sender, text peer, text login, targets, content */
    char trace[TRACE_TEXT + 3];
    int64_t received_us;
    uint32_t flags, target_count;
};
/* For each target a byte: its enum err_code. When repeats are looked for: the 16 bytes of the repeat key; and
 * when any target was found, for each the trace it is filed under (TRACE_TEXT bytes). */
struct wire_delivered {
    char trace[TRACE_TEXT + 3];
    uint32_t repeated, count; /* repeated: all of them */
};
struct wire_confirm { /* for each target a byte kind, and its id; then the next wire_confirm */
    unsigned char repeat[16];
    uint32_t count;
};

/* -- relay -- */
struct wire_lease {
    uint64_t lease_ms;
};
struct wire_queued { /* text sender, targets, text meta (of the content of a report) */
    uint64_t queue_id, content, size;
    uint64_t note[4]; /* of rec_queue */
    int64_t queued_us;
    struct uuid cursor;
    char trace[TRACE_TEXT + 3];
    uint32_t attempts, target_count;
    uint32_t kind, pad;
};
struct wire_notice {
    uint64_t queue_id;
    struct uuid to;
    char trace[TRACE_TEXT + 3];
    uint32_t kind; /* of to: STORE_TO_ACCOUNT, STORE_TO_GROUP */
};
struct wire_slice { /* targets */
    uint64_t queue_id;
    struct uuid cursor;
    uint32_t finished, target_count;
};
struct wire_defer { /* text reason */
    uint64_t queue_id;
    int64_t due_us;
};

/* -- session -- */
struct wire_status {
    uint32_t claim_recent, pad;
};
struct wire_create {
    uint32_t use, pad;
};
struct wire_subscribe {
    uint32_t on, pad;
};
struct wire_watch {
    uint32_t on, pad;
};
struct wire_box { /* text name; keyword names as texts */
    uint64_t id, modseq, bytes;
    uint32_t uidvalidity, uidnext, messages, unseen, deleted, recent_from;
    uint32_t use, subscribed, no_select, keyword_count;
};
struct wire_boxes { /* boxes */
    uint32_t count, pad;
};
struct wire_rows {
    uint32_t first, last;
};
struct wire_rows_part { /* struct store_row */
    uint32_t count, pad;
};
struct wire_changes {
    uint64_t since;
};
struct wire_changes_part { /* box (first part only), struct store_row, gone UIDs */
    uint32_t has_box, whole, row_count, gone_count;
};
struct wire_meta_part { /* uid, n, bytes for each */
    uint32_t count, pad;
};
struct wire_read {
    uint64_t first, want;
    uint64_t seen; /* not 0: what was expunged after this modseq is read, too */
    uint32_t uid, pad;
};
struct wire_read_part { /* frame table, packed frames */
    uint64_t at;        /* raw offset of the first frame's first byte */
    uint32_t frames, pad;
};
struct wire_flags { /* keyword texts, UIDs */
    uint64_t unchanged_since;
    uint32_t op, flags, keyword_count, unchanged_since_given;
    uint32_t uid_count, pad;
};
struct wire_flagged_part { /* struct store_flag_run, modified UIDs, keyword texts (in the last part) */
    uint64_t modseq;
    uint32_t run_count, modified_count, keyword_count, pad;
};
struct wire_copy {
    uint32_t move, uid_count;
};
struct wire_copied_part { /* pairs from, to */
    uint64_t source_modseq;
    uint32_t uidvalidity, count;
};
struct wire_expunge {
    uint32_t all, uid_count;
};
struct wire_expunged_part { /* UIDs */
    uint64_t modseq;
    uint32_t count, pad;
};
struct wire_append { /* text mailbox, keyword texts, content */
    int64_t internal_s;
    char trace[TRACE_TEXT + 3];
    int32_t zone_min;
    uint32_t flags, keyword_count;
    uint32_t once; /* refused when the trace is there */
};
struct wire_appended {
    uint64_t mailbox;
    uint32_t uidvalidity, uid;
};

/* -- admin -- */
struct wire_accounts { /* those after this one */
    struct uuid after;
};
struct wire_accounts_part { /* struct store_account_info */
    uint32_t count, pad;
};
struct wire_account {
    struct uuid id;
};
struct wire_trace_part { /* for each int64_t at_us, text event, text detail */
    uint32_t count, pad;
};
struct wire_revoke {
    struct uuid account;
    int64_t before_us;
};

/* -- the past -- */
enum { WIRE_PAST_TOO_OLD = 1 }; /* flags of a first part: history does not reach back that far; no items */
struct wire_past_names {        /* the folders of an account at at_us, or those deleted since then */
    struct uuid account;
    int64_t at_us;
    uint32_t deleted, pad;
};
struct wire_past_names_part { /* struct wire_past_name with two texts each: its name then, its name now */
    int64_t oldest_us;        /* what history reaches back to; 0: all of it */
    uint32_t flags, count;
};
struct wire_past_name {
    uint64_t mailbox; /* 0: only a name */
    int64_t deleted_us;
    uint64_t bytes;
    uint32_t messages, use, subscribed, pad;
};
struct wire_view { /* rows at at_us (or at modseq, when that is not 0), or those expunged since then */
    struct uuid account;
    int64_t at_us;
    uint64_t modseq;
    uint32_t gone, pad;
};
struct wire_view_part { /* box (first part), struct store_past */
    int64_t oldest_us;
    uint32_t flags, has_box, count, uidnext; /* uidnext: as it was then */
};
enum wire_restore_kind { RESTORE_ADD, RESTORE_FLAGS, RESTORE_EXPUNGE };
struct wire_restore {
    struct uuid account;
    uint64_t from; /* the mailbox whose keyword bits the rows have */
    uint32_t kind, over_quota, count, pad;
};
struct wire_restored { /* behind it, for an expunge, what an expunge answers */
    uint64_t modseq;
    uint32_t done, missing; /* missing: content or message that is not there any more */
};
enum wire_folder_action { FOLDER_NEED, FOLDER_REVIVE, FOLDER_RENAME };
struct wire_folder { /* text name. Answer: a box */
    struct uuid account;
    uint32_t action, use, subscribe, over_quota;
};

/* -- quota -- */
struct wire_units { /* for each wire_unit, text code, text name: all that there are */
    uint32_t count, pad;
};
struct wire_unit {
    struct uuid id, parent;
    uint64_t limit_bytes, limit_messages;
};
struct wire_limits { /* struct wire_limit ascending by account: all that there are in (after, last] */
    struct uuid after, last;
    uint32_t count, pad;
};
struct wire_limit {
    struct uuid account, unit;
    uint64_t limit_bytes, limit_messages;
};
struct wire_roots { /* for each wire_root, text code, text name; the account's first (code and name are "") */
    uint32_t count, pad;
};
struct wire_root {
    struct uuid id, parent;
    uint64_t limit_bytes, limit_messages, bytes, messages, accounts;
};
struct wire_backup {
    unsigned char life[16]; /* of the store that the segments are of */
    uint32_t count, pad;
};

/* -- care -- */
struct wire_care { /* start a round of care; with both 0 only ask */
    uint32_t purge, compact;
};
struct wire_care_said { /* the newest round that was asked for, the newest that is over */
    uint64_t asked, finished;
    uint64_t purged_changes, purged_rows, purged_mailboxes, swept, segments_dropped, compacted_bytes;
};
struct wire_verify { /* a step of the verification that is under way, or a new one */
    uint32_t start, deep, repair, pad;
};
struct wire_verify_said { /* for each finding of the step: u32 repaired, text; then struct store_bare */
    uint64_t done, found, fixed; /* so far: records, findings, those of them that were repaired */
    uint64_t bytes;              /* read in this step */
    uint32_t phase, phases, count, bare;
    char name[16]; /* of the phase */
};
struct wire_describe {
    uint64_t content;
};
struct wire_hold {
    struct uuid account;
    uint32_t on, pad;
};

/* -- events -- */
enum { WIRE_UNDERWAY_THESE, WIRE_UNDERWAY_OTHERS };
struct wire_underway { /* u64 seqs. Writes of this connection that are half done (these), or: all that were
                          asked */
    uint64_t before;   /* before this seq, but for these, which wait for the writer to take them (others) */
    uint32_t which, count;
};
struct wire_full { /* account ids */
    uint32_t full, count;
};
struct wire_event {
    uint64_t mailbox, modseq;
    uint32_t session; /* of mailbox 0: whose list changed or whose grant fell */
    uint32_t code;
};

/* -- reading and writing of bodies -- */
struct wire_in {
    struct span s;
    bool bad; /* set by the first read that failed; later reads give zeros */
};
static inline struct span wire_take(struct wire_in *in, size_t n)
{
    if (in->bad || n > in->s.n) {
        in->bad = true;
        return SPAN_NONE;
    }
    struct span got = span_first(in->s, n);
    in->s = span_drop(in->s, n);
    return got;
}
static inline bool wire_get(struct wire_in *in, void *out, size_t n)
{
    struct span got = wire_take(in, n);
    if (got.n != n) {
        memset(out, 0, n);
        return false;
    }
    if (n)
        memcpy(out, got.p, n);
    return true;
}
static inline uint32_t wire_u32(struct wire_in *in)
{
    uint32_t v;
    wire_get(in, &v, sizeof v);
    return v;
}
static inline struct span wire_text(struct wire_in *in)
{
    return wire_take(in, wire_u32(in));
}
/* count items of size bytes each, borrowed and unaligned; bad when there are fewer. */
static inline struct span wire_items(struct wire_in *in, uint64_t count, size_t size)
{
    if (in->bad || count > in->s.n / size) {
        in->bad = true;
        return SPAN_NONE;
    }
    return wire_take(in, (size_t)count * size);
}
/* Nothing was short and nothing is left. */
static inline bool wire_whole(const struct wire_in *in)
{
    return !in->bad && in->s.n == 0;
}
static inline bool wire_put_text(struct buf *b, struct span s)
{
    const uint32_t n = (uint32_t)s.n;
    return buf_add(b, &n, sizeof n) && buf_add_span(b, s);
}

#endif
