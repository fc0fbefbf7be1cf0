/* The mailbox store as workers see it: an asynchronous client of stored. All calls answer through the loop by
 * their callback, exactly once, unless the ticket went void first. cb's session is ticket_session(t); views
 * in an answer are borrowed and valid inside cb only.
 *
 * Writes are idempotent: when stored restarts, the client connects again, shows its grants again, and repeats
 * what was unanswered under the same request id; callers see a pause. ERR_RETRY comes only when stored stays
 * away, or gives no sign of life, for STORE_PATIENCE_MS (in a worker: store_patience). A write that was told
 * so is not done and will not be, except where store_done_perhaps says otherwise. Codes common to all:
 * ERR_RETRY, ERR_DENIED (grant refused or revoked), ERR_BUG.
 */
#ifndef PROV_STORE_STORE_H
#define PROV_STORE_STORE_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/net/daemon.h"
#include "common/net/ticket.h"
#include "common/store/frames.h"

enum { STORE_PATIENCE_MS = 20000, STORE_READ_LIMIT = 1 << 20, STORE_NAME_LIMIT = 1000 };

enum store_role { STORE_DELIVER, STORE_RELAY, STORE_SESSION, STORE_ADMIN };

struct store;
struct store_account; /* one login; freed by store_logout */

/* In a worker: the daemon_peer named "store" of its row must be the role's socket (RUN_DIR/store/ROLE/sock
 * with ROLE deliver, relay, session, admin). */
struct store *store_new_worker(struct worker *w, enum store_role role);
/* In a tool or test: connect to the socket path directly. */
struct store *store_new_path(struct loop *l, const char *path, enum store_role role);
bool store_is_up(const struct store *s);
/* Inside a callback that got ERR_RETRY: the writer of stored had begun with it, or stored went away meanwhile
 * and was not back in time. Nobody can say then whether it is done. */
bool store_done_perhaps(const struct store *s);
void store_free(struct store **s);

/* ---------------------------------------------------------------- deliver role */

struct store_target {
    enum { STORE_TO_ACCOUNT, STORE_TO_GROUP } kind;
    struct uuid id;       /* account or group */
    struct span address;  /* the envelope recipient (after alias lookup: as the client wrote it) */
    uint64_t quota_bytes; /* of the account; 0: no limit */
};

struct store_delivery {
    struct trace_id trace;
    struct span sender; /* Return-Path without brackets; "" is the null sender */
    struct span peer;   /* client address, for the trace */
    struct span login;  /* authenticated address, "" when none */
    int64_t received_us;
    struct content *content; /* finished */
    const struct store_target *to;
    size_t to_count; /* at least 1 */
    bool queue_full; /* accounts that are full are queued and tried again (outcome ERR_OK), unless nobody else
                        is served */
    bool queue;      /* file nothing now: one queue entry for all targets (large groups) */
    bool find_repeat; /* look for the same peer, sender and content_hash within the hour: targets that were
                         served then, and whose 250 was not confirmed, are answered with that trace and not
                         served again */
};
struct store_delivered {
    struct trace_id trace;         /* the first one's when repeated */
    bool repeated;                 /* every target was served before */
    const struct trace_id *traces; /* for each target */
    struct span receipt;           /* for store_delivered_confirm; empty: there is nothing to confirm */
    const enum err_code *outcome;  /* for each target: ERR_OK filed or queued; ERR_LIMIT over quota
                                      (per_recipient asks for it) ; ERR_DENIED, ERR_RETRY */
    size_t count;
};
typedef void store_delivered_cb(void *session, enum err_code code, const struct store_delivered *answer);
/* One transaction: content, mailbox entries (INBOX; account and mailbox are made when needed), queue entries.
 * A STORE_TO_GROUP target always becomes a queue entry. */
void store_deliver(struct store *s, const struct store_delivery *d, struct ticket *t, store_delivered_cb *cb);
/* The 250 of each target that was served has been written to the client: the same bytes are a new message
 * from now on. receipt: of the answer, borrowed. No answer. */
void store_delivered_confirm(struct store *s, struct span receipt);

/* Is the account known to be full? Answered from what stored told without being asked: no wait, and nothing
 * of the account is shown but this. False also while stored is away. */
bool store_is_full(const struct store *s, const struct uuid *account);

/* ---------------------------------------------------------------- relay role (delivery workers) */

struct store_queued {
    enum store_queued_kind {
        STORE_QUEUED_MESSAGE,
        STORE_QUEUED_WARNING, /* tell the account to[0] that its quota is nearly used up (note) */
        STORE_QUEUED_REPORT,  /* tell sender that the message did not reach to (address): they stayed full */
        STORE_QUEUED_UNIT     /* tell the administrators that the quota of a unit (to[0]: its id, its name as
                                 address) is nearly used up (note) */
    } kind;
    struct {
        uint64_t bytes, limit_bytes, messages, limit_messages;
    } note;           /* of both warnings */
    struct span meta; /* of a report: the message's record, for mime_meta_read */
    uint64_t queue_id;
    struct trace_id trace;
    struct span sender;
    const struct store_target *to; /* what is not finished */
    size_t to_count;
    struct uuid cursor; /* accounts up to and including this one are filed; none: start */
    uint32_t attempts;
    int64_t queued_us;
    uint64_t content, size;
};
typedef void store_queued_cb(void *session, enum err_code code, const struct store_queued *entry);
/* Lease the next due entry for lease_ms; ERR_MISSING: nothing is due (watch with store_queue_event). A lease
 * that is not renewed by store_slice ends, and the entry is due again. */
void store_lease(struct store *s, uint64_t lease_ms, struct ticket *t, store_queued_cb *cb);
/* event is called when entries become due. */
void store_queue_event(struct store *s, void (*event)(void *arg), void *arg);

struct store_slice {
    uint64_t queue_id;
    const struct store_target *to; /* accounts of this slice, ascending by id, at most STORE_SLICE */
    size_t to_count;
    struct uuid cursor; /* recorded with the slice in one transaction */
    bool finished;      /* the entry is complete: take it off the queue in the same transaction */
};
enum { STORE_SLICE = 300 };
typedef void store_done_cb(void *session, enum err_code code);
/* File one slice of a leased entry. ERR_STATE: the lease is lost (another worker goes on). */
void store_slice(struct store *s, const struct store_slice *slice, struct ticket *t, store_done_cb *cb);
/* File the notice that a leased entry asks for, and take the entry off the queue, in one transaction. Quota
 * does not keep it out of an account. to: of a warning the entry's own account, of a report the sender's, of
 * a unit's whoever hears of it, who may be a group: then it is queued for its members like any message.
 * ERR_STATE: the lease is lost. An entry that nobody can be told is ended with store_slice (no targets,
 * finished). */
void store_notice(struct store *s, uint64_t queue_id, const struct store_target *to,
                  const struct trace_id *trace, struct content *content, struct ticket *t, store_done_cb *cb);
/* Give the entry back: due again at due_us (wall clock), with a reason for `trace`. */
void store_defer(struct store *s, uint64_t queue_id, int64_t due_us, struct span reason, struct ticket *t,
                 store_done_cb *cb);

/* ---------------------------------------------------------------- session role */

typedef void store_login_cb(void *session, enum err_code code, struct store_account *account);
/* Show a grant (grant.h). The account is made with INBOX and the special-use mailboxes when it is new. */
void store_login(struct store *s, struct span grant, struct ticket *t, store_login_cb *cb);
void store_logout(struct store_account **a);
/* event: a mailbox that was watched is at modseq; mailbox 0: the account's list of mailboxes changed or the
 * grant was revoked (code ERR_DENIED). Called from the loop, may be late but is never lost. */
typedef void store_event_cb(void *arg, enum err_code code, uint64_t mailbox, uint64_t modseq);
void store_events(struct store_account *a, store_event_cb *cb, void *arg);

/* Special use, RFC 6154. */
enum store_use {
    STORE_USE_NONE,
    STORE_USE_DRAFTS,
    STORE_USE_SENT,
    STORE_USE_TRASH,
    STORE_USE_JUNK,
    STORE_USE_ARCHIVE
};

struct store_mailbox {
    uint64_t id;
    struct span name; /* UTF-8, levels separated by "/", "INBOX" for the inbox; SPAN_NONE in answers by id */
    enum store_use use;
    bool subscribed, no_select; /* no_select: only a name (deleted with children, or only subscribed) */
    uint32_t uidvalidity, uidnext;
    uint32_t messages, unseen, deleted;
    uint32_t recent_from; /* UIDs from here on are \Recent for the next SELECT */
    uint64_t modseq;      /* HIGHESTMODSEQ */
    uint64_t bytes;
    const char *const *keywords; /* names by bit number, NULL-ended */
};
typedef void store_list_cb(void *session, enum err_code code, const struct store_mailbox *boxes,
                           size_t count);
/* All mailboxes and subscribed names of the account, ascending by name bytes, INBOX first. */
void store_list(struct store_account *a, struct ticket *t, store_list_cb *cb);

typedef void store_mailbox_cb(void *session, enum err_code code, const struct store_mailbox *box);
/* By name ("INBOX" in any case). claim_recent: recent_from moves to uidnext (SELECT; not EXAMINE, STATUS);
 * the answer holds the mark as it was. Answered from the mailbox record. ERR_MISSING. */
void store_status(struct store_account *a, struct span name, bool claim_recent, struct ticket *t,
                  store_mailbox_cb *cb);
void store_status_id(struct store_account *a, uint64_t mailbox, struct ticket *t, store_mailbox_cb *cb);
/* ERR_STATE: the name exists. ERR_SYNTAX: not a name (empty level, over STORE_NAME_LIMIT, control bytes, not
 * UTF-8). Missing superiors are made (RFC 9051 6.3.4). use may be STORE_USE_NONE. */
void store_create(struct store_account *a, struct span name, enum store_use use, struct ticket *t,
                  store_mailbox_cb *cb);
/* ERR_MISSING; ERR_DENIED: INBOX; ERR_STATE: a name that is already no_select. Children stay; a mailbox with
 * children becomes no_select. */
void store_delete(struct store_account *a, struct span name, struct ticket *t, store_done_cb *cb);
/* Children follow. INBOX: its messages move to the new name, INBOX stays empty (RFC 9051 6.3.6). */
void store_rename(struct store_account *a, struct span from, struct span to, struct ticket *t,
                  store_done_cb *cb);
void store_subscribe(struct store_account *a, struct span name, bool on, struct ticket *t, store_done_cb *cb);
/* Events of one mailbox on or off; counted, so that several sessions of an account may watch. */
void store_watch(struct store_account *a, uint64_t mailbox, bool on);

/* System flags in rows. Keywords are bits of store_mailbox.keywords. */
enum { STORE_SEEN = 1, STORE_ANSWERED = 2, STORE_FLAGGED = 4, STORE_DELETED = 8, STORE_DRAFT = 16 };

struct store_row {
    uint64_t modseq, keywords, content;
    int64_t internal_s; /* INTERNALDATE, seconds since 1970 */
    uint32_t uid, flags, size;
    int32_t saved_s_low; /* SAVEDATE, seconds since 2020-01-01 */
    int16_t zone_min;    /* of INTERNALDATE */
    uint16_t pad[3];
};
typedef void store_rows_cb(void *session, enum err_code code, const struct store_row *rows, size_t count,
                           bool more);
/* The rows with first <= uid <= last (last 0: no end), ascending; several calls while more is true. */
void store_rows(struct store_account *a, uint64_t mailbox, uint32_t first, uint32_t last, struct ticket *t,
                store_rows_cb *cb);

struct store_changes {
    struct store_mailbox box;     /* as it is now (name SPAN_NONE) */
    const struct store_row *rows; /* new and changed since, ascending by uid, as they are now */
    size_t row_count;
    const uint32_t *gone; /* expunged since, ascending */
    size_t gone_count;
    bool whole; /* since is below the change floor: rows holds every row; what is not in it is gone */
};
typedef void store_changes_cb(void *session, enum err_code code, const struct store_changes *changes);
/* What changed after modseq since. ERR_MISSING: the mailbox is deleted. */
void store_changes(struct store_account *a, uint64_t mailbox, uint64_t since, struct ticket *t,
                   store_changes_cb *cb);

struct store_meta {
    uint32_t uid;
    struct span record; /* for mime_meta_read */
};
typedef void store_meta_cb(void *session, enum err_code code, const struct store_meta *metas, size_t count,
                           bool more);
/* Meta records of the UIDs (ascending); those that are gone are left out. Several calls while more. */
void store_meta(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                struct ticket *t, store_meta_cb *cb);

typedef void store_read_cb(void *session, enum err_code code, struct span bytes);
/* Bytes first .. first+want of the message as stored; want at most STORE_READ_LIMIT: the caller asks again
 * for the rest. Fewer bytes come only at the message's end. ERR_MISSING: the UID is expunged. */
void store_read(struct store_account *a, uint64_t mailbox, uint32_t uid, uint64_t first, uint64_t want,
                struct ticket *t, store_read_cb *cb);
/* The same of a message that was there at modseq seen: it is read from the history if it was expunged since.
 * A FETCH that has begun to answer needs it, for half a literal cannot be taken back (RFC 2180 4.1).
 * ERR_MISSING: the history of it is purged. */
void store_read_seen(struct store_account *a, uint64_t mailbox, uint32_t uid, uint64_t seen, uint64_t first,
                     uint64_t want, struct ticket *t, store_read_cb *cb);

struct store_flag_change {
    enum store_flags_op { STORE_FLAGS_SET, STORE_FLAGS_ADD, STORE_FLAGS_REMOVE } op;
    uint32_t flags;
    const struct span *keywords;
    size_t keyword_count;
    bool unchanged_since_given; /* RFC 7162 3.1.3 */
    uint64_t unchanged_since;
};
/* Messages side by side (UIDs first to first + count - 1) that one change left with the same flags. */
struct store_flag_run {
    uint64_t modseq, keywords;
    uint32_t first, count, flags, pad;
};
struct store_flagged {
    const struct store_flag_run *runs; /* what changed, in the order of the changes; messages that were
                                        * already so are left out */
    size_t run_count;
    const uint32_t *modified; /* UIDs that failed unchanged_since */
    size_t modified_count;
    uint64_t modseq;
    const char *const *keywords; /* the mailbox's names now, NULL-ended */
};
typedef void store_flagged_cb(void *session, enum err_code code, const struct store_flagged *answer);
/* ERR_LIMIT: the mailbox has no room for another keyword (64). UIDs that are gone are passed over. */
void store_flags(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                 const struct store_flag_change *change, struct ticket *t, store_flagged_cb *cb);

struct store_copied {
    uint32_t uidvalidity;      /* of the destination */
    const uint32_t *from, *to; /* pairs, ascending by from */
    size_t count;
    uint64_t source_modseq; /* after a move */
};
typedef void store_copied_cb(void *session, enum err_code code, const struct store_copied *answer);
/* All or nothing for the client (slices inside). ERR_MISSING: no such destination name (answer TRYCREATE).
 * ERR_LIMIT: quota. UIDs that are gone are passed over. */
void store_copy(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count, struct span to,
                bool move, struct ticket *t, store_copied_cb *cb);

typedef void store_expunged_cb(void *session, enum err_code code, const uint32_t *gone, size_t count,
                               uint64_t modseq);
/* Expunge those with \Deleted, of the UIDs given (uids NULL: of all). */
void store_expunge(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                   struct ticket *t, store_expunged_cb *cb);

struct store_append {
    struct span mailbox;     /* name */
    struct content *content; /* finished */
    uint32_t flags;
    const struct span *keywords;
    size_t keyword_count;
    int64_t internal_s;
    int16_t zone_min;
    struct trace_id trace;
    bool once; /* ERR_STATE when a message was ever stored under this trace: for import, where the trace is
                  the name of the source's message, so that it comes in once however often it is sent */
};
struct store_appended {
    uint64_t mailbox;
    uint32_t uidvalidity, uid;
};
typedef void store_appended_cb(void *session, enum err_code code, const struct store_appended *answer);
/* ERR_MISSING: no such mailbox (TRYCREATE); ERR_LIMIT: quota (OVERQUOTA). */
void store_append(struct store_account *a, const struct store_append *m, struct ticket *t,
                  store_appended_cb *cb);

struct store_quota;
/* The account first, then its unit and those above it, also such without limits. RFC 9208. */
void store_quota(struct store_account *a, struct ticket *t,
                 void (*cb)(void *session, enum err_code code, const struct store_quota *v, size_t count));

/* ---------------------------------------------------------------- admin role */

struct store_account_info {
    struct uuid id, unit; /* unit: or none */
    uint32_t mailboxes, warned;
    uint32_t hold, pad;                                    /* legal hold: nothing of it is purged */
    uint64_t messages, bytes, quota_bytes, quota_messages; /* limits of 0: none */
    int64_t created_us, last_login_us, last_delivery_us;
};
typedef void store_accounts_cb(void *session, enum err_code code, const struct store_account_info *v,
                               size_t count, bool more);
void store_admin_accounts(struct store *s, struct ticket *t, store_accounts_cb *cb);
void store_admin_mailboxes(struct store *s, const struct uuid *account, struct ticket *t, store_list_cb *cb);
/* One quota root: an account, or a unit with all that its accounts and those of the units below it use. */
struct store_quota {
    struct uuid id, parent; /* parent: of an account its unit, of a unit the one above; or none */
    struct span code, name; /* of a unit, else "" */
    uint64_t bytes, messages, accounts;
    uint64_t limit_bytes, limit_messages; /* 0: none */
};
typedef void store_quota_cb(void *session, enum err_code code, const struct store_quota *v, size_t count);
/* All units, ascending by id; also those that only accounts name (without a name). */
void store_admin_units(struct store *s, struct ticket *t, store_quota_cb *cb);
struct store_trace_line {
    int64_t at_us;
    struct span event;  /* "received", "queued", "filed", "deferred", "moved", "expunged", "seen" ... */
    struct span detail; /* "key=value ..." */
};
typedef void store_trace_cb(void *session, enum err_code code, const struct store_trace_line *v, size_t count,
                            bool more);
/* Where the message of this trace is and was. ERR_MISSING. */
void store_admin_trace(struct store *s, struct span trace, struct ticket *t, store_trace_cb *cb);
typedef void store_text_cb(void *session, enum err_code code, struct span text);
/* Counters as "key=value" lines: accounts, mailboxes, messages, contents, bytes, segments, queue, deadlocks,
 * batches, flushes, ... */
void store_admin_stats(struct store *s, struct ticket *t, store_text_cb *cb);
/* -- the past: how an account and a mailbox were -- */
struct store_past_name {
    struct span then, now; /* its name then and now; now "": it has none (deleted) */
    uint64_t mailbox;      /* 0: only a name */
    int64_t deleted_us;    /* 0: it lives */
    uint64_t bytes;
    uint32_t messages; /* now */
    enum store_use use;
    bool subscribed;
};
/* The folders of an account at at_us by their names, or (deleted) those deleted since at_us that are still
 * kept. ERR_MISSING: no such account. ERR_LIMIT: history does not reach back that far; *oldest_us says to
 * when. */
typedef void store_past_names_cb(void *session, enum err_code code, int64_t oldest_us,
                                 const struct store_past_name *v, size_t count);
void store_admin_past_names(struct store *s, const struct uuid *account, int64_t at_us, bool deleted,
                            struct ticket *t, store_past_names_cb *cb);
struct store_past {
    struct store_row row; /* modseq 0: it has changed since */
    int64_t gone_us;      /* when it was expunged; 0: unknown, or it is still there */
};
struct store_view {
    const struct store_mailbox *box; /* as it is now, without a name; NULL in later parts */
    uint32_t uidnext;                /* then */
    int64_t oldest_us;
    const struct store_past *v;
    size_t count;
    bool more;
};
/* The messages of a mailbox (deleted ones too) at at_us (STORE_NOW: now), ascending by UID; or (gone) those
 * expunged since at_us, not those moved. cb is called until more is false. ERR_MISSING, ERR_DENIED: not this
 * account's. ERR_LIMIT: as above, view->oldest_us says. */
#define STORE_NOW INT64_MAX
typedef void store_view_cb(void *session, enum err_code code, const struct store_view *view);
void store_admin_view(struct store *s, const struct uuid *account, uint64_t mailbox, int64_t at_us, bool gone,
                      struct ticket *t, store_view_cb *cb);
enum { STORE_RESTORE_SLICE = 256 };
struct store_restore {
    struct uuid account;
    uint64_t from, to; /* mailboxes: whose keyword bits the rows have; where to */
    enum { STORE_RESTORE_ADD, STORE_RESTORE_FLAGS, STORE_RESTORE_EXPUNGE } kind;
    const struct store_row *rows; /* ADD: under new UIDs; FLAGS: UIDs of `to`; EXPUNGE: only uid counts */
    size_t count;                 /* STORE_RESTORE_SLICE at most: one transaction */
    bool over_quota;
};
/* done: messages added, changed or expunged; missing: those whose content or row is gone. ERR_LIMIT: quota.
 */
typedef void store_restored_cb(void *session, enum err_code code, uint32_t done, uint32_t missing);
void store_admin_restore(struct store *s, const struct store_restore *r, struct ticket *t,
                         store_restored_cb *cb);
struct store_folder {
    struct uuid account;
    enum {
        STORE_FOLDER_NEED,   /* the mailbox of that name, made when there is none */
        STORE_FOLDER_REVIVE, /* the deleted mailbox gets that name; ERR_STATE: it is taken */
        STORE_FOLDER_RENAME  /* the living mailbox gets that name, those below it follow; ERR_STATE */
    } action;
    uint64_t mailbox;
    struct span name;
    enum store_use use;
    bool subscribe, over_quota;
};
typedef void store_folder_cb(void *session, enum err_code code, const struct store_mailbox *box);
void store_admin_folder(struct store *s, const struct store_folder *f, struct ticket *t, store_folder_cb *cb);

struct store_care {
    uint64_t asked, finished; /* rounds: the one that was asked for here (0: none), the newest that is over */
    uint64_t purged_changes, purged_rows, purged_mailboxes, swept, segments_dropped,
        compacted_bytes; /* since start */
};
typedef void store_care_cb(void *session, enum err_code code, const struct store_care *answer);
/* Start a round of care now (purge of what is old, compaction), or with both false only ask. */
void store_admin_care(struct store *s, bool purge, bool compact, struct ticket *t, store_care_cb *cb);
struct store_bare {
    struct uuid account;
    uint64_t mailbox, content;
    uint32_t uid, pad;
};
struct store_verify {
    struct store_finding {
        struct span text;
        bool repaired;
    } const *findings; /* of this step */
    size_t count;
    uint64_t records, found, repaired; /* so far */
    uint64_t bytes;                    /* read in this step */
    unsigned phase, phases;            /* phase = phases: it is over */
    const char *name;                  /* of the phase */
    /* A message of each content that has no meta record (it was made anew from its segment); only of
     * mailboxes that live. They are no findings: store_admin_describe sets them right. */
    const struct store_bare *bare;
    size_t bare_count;
};
typedef void store_verify_cb(void *session, enum err_code code, const struct store_verify *step);
/* A step of a verification: the first one (start), or the next of the one that is under way. There is one at
 * a time; ERR_STATE: another was started, or stored was. */
void store_admin_verify(struct store *s, bool start, bool deep, bool repair, struct ticket *t,
                        store_verify_cb *cb);
/* Give a content the meta record that it lacks. ERR_STATE: it has one; ERR_MISSING: there is no such content.
 */
void store_admin_describe(struct store *s, uint64_t content, struct span record, struct ticket *t,
                          store_done_cb *cb);
/* Set or take away an account's legal hold. */
void store_admin_hold(struct store *s, const struct uuid *account, bool on, struct ticket *t,
                      store_done_cb *cb);
/* Send the whole store into the pipe fd (taken), in the form of backup_stream.h. have: numbers, ascending, of
 * segments that are there already from this life of the store. cb comes when all was sent or it failed (then
 * the stream says why). ERR_STATE: another backup is under way. */
void store_admin_backup(struct store *s, const unsigned char life[16], const uint32_t *have, size_t count,
                        int fd, struct ticket *t, store_done_cb *cb);
/* "held=", "queued=", "held_since_us=": what of the queue waits since a restore. */
void store_admin_queue_held(struct store *s, struct ticket *t, store_text_cb *cb);
void store_admin_queue_release(struct store *s, struct ticket *t, store_done_cb *cb);

/* Refuse the account's grants that were issued before now (directoryd's announcement, or an administrator).
 */
void store_admin_revoke(struct store *s, const struct uuid *account, int64_t before_us, struct ticket *t,
                        store_done_cb *cb);

#endif
