/* The engine of the mailbox store: Berkeley DB, content segments, one writer thread. It lives in stored and
 * in offline tools; requests and answers are bodies of wire.h, so that what a request did can be recorded and
 * repeated as it was. Who may ask what is the caller's to check before (roles, grants); that a mailbox
 * belongs to the job's account is checked here.
 *
 * Writes are jobs: submitted from any thread, applied in order by the writer thread in batches with one
 * flush, handed back when they are durable. Reads are queries: run by the caller's thread on a snapshot; what
 * they saw may not be durable yet, so their answers are held until engine_durable() has reached the query's
 * mark. */
#ifndef PROV_STORE_ENGINE_H
#define PROV_STORE_ENGINE_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/ids.h"
#include <stdatomic.h>

struct engine;

/* Parts of an answer, one frame each; all but the last carry WIRE_MORE. */
struct parts {
    struct buf *v;
    size_t n, cap;
};
/* A new empty part. */
struct buf *parts_add(struct parts *p);
void parts_free(struct parts *p);

/* One that asks, as far as it has heard of the writer: what it asked is begun until more_ms, but not what it
 * has given up before it heard (until_ms before gone_ms). */
struct asker {
    _Atomic uint64_t more_ms, gone_ms;
};
/* It hears now that the writer works, and for `more` milliseconds takes that for hope. */
void asker_hears(struct asker *a, uint64_t now_ms, uint64_t more);

struct job {
    /* what is asked: filled in by the submitter */
    uint16_t type;        /* enum wire_type */
    bool again;           /* it may have been applied before */
    struct request_id id; /* none (zeros): not recorded */
    struct uuid account;  /* of the session */
    uint64_t quota_bytes; /* of the account; 0: no limit */
    uint64_t mailbox;
    struct buf body;   /* behind struct wire_ask; owned */
    int fd;            /* large content, or -1; owned */
    void *owner;       /* the submitter's, untouched */
    uint64_t seq;      /* the same */
    uint64_t asker;    /* whoever holds leases: a number that the submitter gives */
    uint64_t until_ms; /* not begun any more from then on (ERR_RETRY), clock_mono_ms(); 0: always begun */
    const struct asker *whose; /* may move that time; borrowed until the job comes back; NULL: nobody */
    /* what came of it */
    enum err_code code;
    struct parts answer;
    /* the writer's own */
    struct job *next;
    uint32_t part, at; /* slices done; where the next one starts */
    uint64_t other;    /* what the first slice settled */
    bool more;
    bool inside, ended; /* of the engine's own; it is waited for */
    bool settled;       /* code is known before the writer sees it */
    bool has_place;     /* the content is in a segment already */
    uint32_t segment;
    uint64_t offset, content;
    struct buf frames; /* its frame table with checksums */
};
struct job *job_new(uint16_t type);
void job_free(struct job **j);

/* A mailbox that a batch changed; mailbox 0: the list of mailboxes of the account. */
struct touched {
    struct uuid account;
    uint64_t mailbox, modseq;
};
/* An account that takes no more mail because it is full, or has room again. */
struct full_change {
    struct uuid account;
    bool full;
};
/* What a batch did; owned by the receiver. All of it is durable. */
struct news {
    struct job *jobs; /* finished, linked by next */
    struct touched *touched;
    size_t touched_count, touched_cap;
    struct full_change *fulls;
    size_t full_count, full_cap;
    struct job_name { /* requests in slices whose first one is durable now */
        void *owner;
        uint64_t seq;
    } * begun;
    size_t begun_count;
    bool queue_due;
    uint64_t durable; /* engine_durable() now */
};
void news_free(struct news **n);

struct engine_options {
    const char *dir; /* made when it is missing (its parent exists) */
    uint64_t cache_size, segment_size, checkpoint_ms, checkpoint_size;
    uint64_t message_limit;     /* raw bytes of one message */
    int64_t undelete_us;        /* how far back deleted mail can be had */
    uint64_t reserve;           /* free bytes below which nothing is added */
    int64_t trace_us;           /* how long traces are kept */
    uint64_t log_size;          /* of a log file; 0: 10 MiB */
    uint64_t log_keep;          /* bytes of log that holds may keep; 0: no bound */
    uint32_t slice;             /* records in a transaction of care and upgrades; 0: 256 */
    unsigned quota_grace;       /* per cent of its limits by which a delivery may pass them */
    unsigned quota_warning;     /* per cent at which an account is warned; 0: never */
    uint64_t queue_retry_ms;    /* first wait for a full recipient */
    uint64_t queue_lifetime_ms; /* a full recipient is given up after it; 0: at the first try */
    bool still;                 /* open only to look: requests that were under way wait for the next start */
    bool (*meta_ok)(struct span meta); /* for verify: whether a parser's record can be read; may be NULL */
    void (*done)(void *arg, struct news *n); /* called on the writer thread after each batch */
    /* While an older store is upgraded, before engine_open returns; may be NULL. */
    void (*progress)(void *arg, const char *what, uint64_t records);
    void *arg;
};

/* Lock the folder, recover, upgrade a store of an older format, start the threads. ERR_STATE: another process
 * has it. ERR_SYNTAX: made by a newer release, or not a store. ERR_RETRY, ERR_BUG: why says. */
CHECK_RESULT enum err_code engine_open(const struct engine_options *o, struct engine **out, struct err *why);
/* Finish what was submitted, checkpoint, stop. Jobs come back through done before it returns. */
void engine_close(struct engine **e);

/* Takes the job, and all that it is linked to by next. */
void engine_submit(struct engine *e, struct job *j);
/* Somebody waits for what the batch under way has made visible: no more slices before its flush. Any thread.
 */
void engine_hurry(struct engine *e);
/* Add to out the seqs of this owner's jobs that the writer has not taken yet (u64). Any thread. */
bool engine_waiting(struct engine *e, const void *owner, struct buf *out) CHECK_RESULT;
/* Whether engine knows this type as a write. */
bool engine_is_write(uint16_t type);

struct query {
    uint16_t type;
    struct uuid account;
    uint64_t quota_bytes; /* as the account's grant tells it */
    uint64_t mailbox;
    struct span body; /* borrowed */
    uint32_t budget;  /* items after which it stops with more set */
    /* where it goes on; zeros at first */
    uint64_t next;
    struct uuid next_uuid;
    uint64_t named; /* the mailbox that a STATUS has found */
    /* the answer */
    struct parts answer;
    bool more; /* run it again for the rest; all parts so far carry WIRE_MORE. LIST and CHANGES do not go on:
                  over their budget they answer nothing, and want a larger one */
    uint64_t mark;
};
/* ERR_RETRY: the snapshot fell (deadlock): ask again. */
CHECK_RESULT enum err_code engine_query(struct engine *e, struct query *q);
/* Batches up to this number are on the disk. */
uint64_t engine_durable(const struct engine *e);

/* What a login needs to know of an account. ERR_MISSING: it has not been seen yet. *mark as in a query. */
struct account_state {
    int64_t revoked_before_us, last_login_us;
    uint64_t quota_bytes;
    bool complete; /* INBOX and the special-use mailboxes are there */
};
CHECK_RESULT enum err_code engine_account(struct engine *e, const struct uuid *account,
                                          struct account_state *out, uint64_t *mark);
/* The state of a mailbox for an event. ERR_MISSING; ERR_DENIED: another account's. */
CHECK_RESULT enum err_code engine_modseq(struct engine *e, const struct uuid *account, uint64_t mailbox,
                                         uint64_t *modseq, uint64_t *mark);
/* Start a round of care now: purge of what is old, compaction also of segments that would not be worth it
 * yet. Answers its number: it is over when engine_care_finished has reached it. */
uint64_t engine_care(struct engine *e, bool purge, bool compact);
uint64_t engine_care_finished(struct engine *e);
/* Hold back what a backup still has to copy: log files from number first_log on (0: from the oldest that is
 * there) and every segment stay on the disk. Answers the hold, 0: there are too many. It falls by
 * engine_hold_end, or by itself when it keeps more log than engine_options.log_keep. */
uint64_t engine_hold(struct engine *e, uint32_t first_log);
/* Older log files are copied. False: the hold had fallen, files may be gone. */
CHECK_RESULT bool engine_hold_move(struct engine *e, uint64_t hold, uint32_t first_log);
/* False: it had fallen before. */
bool engine_hold_end(struct engine *e, uint64_t hold);
/* The accounts that are full, as full_change; the caller frees. Later changes come as news. *mark as in a
 * query. */
size_t engine_fulls(struct engine *e, struct full_change **out, uint64_t *mark);
/* Look through a store that was just opened: what is in it, and contents that do not lie whole in their
 * segment.
 */
struct probe {
    uint64_t accounts, mailboxes, messages, contents, broken;
};
CHECK_RESULT enum err_code engine_probe(struct engine *e, struct probe *out);
/* Send the whole store into the pipe fd (closed at the end), in the form of backup_stream.h; blocks, for a
 * thread of its own. have: u32 numbers of segments, ascending, that the asker holds of this life (else all
 * come). stop: give up. ERR_STATE: the reader went away, the log was removed under it; ERR_RETRY: a file
 * cannot be read. */
CHECK_RESULT enum err_code engine_backup(struct engine *e, int fd, const unsigned char life[16],
                                         struct span have, _Atomic bool *stop, uint64_t *sent,
                                         struct err *why);
/* Whether a queue entry is due that no worker has leased. */
bool engine_queue_due(struct engine *e);
/* Take back the leases of an asker that went away. */
void engine_lease_drop(struct engine *e, uint64_t asker);

#endif
