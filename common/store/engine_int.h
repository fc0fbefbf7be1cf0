/* Friend header of the engine's files: the only ones that include db.h. */
#ifndef PROV_STORE_ENGINE_INT_H
#define PROV_STORE_ENGINE_INT_H

#include "common/base/clock.h"
#include "common/base/grant.h"
#include "common/base/log.h"
#include "common/store/engine.h"
#include "common/store/rec.h"
#include "common/store/wire.h"
#include <db.h>
#include <pthread.h>
#include <stdatomic.h>

/* In the order in which a transaction touches them. */
enum table {
    T_STORE,
    T_ACCOUNT,
    T_NAME,
    T_NAME_CHANGE,
    T_QUOTA,
    T_UNIT,
    T_MAILBOX,
    T_KEYWORD,
    T_MESSAGE,
    T_CONTENT,
    T_REF,
    T_CHANGE,
    T_QUEUE,
    T_QUEUE_DUE,
    T_TRACE,
    T_REPEAT,
    T_DONE,
    T_SEGMENT,
    T_COUNT
};

enum id_kind { ID_MAILBOX, ID_UIDVALIDITY, ID_CONTENT, ID_QUEUE, ID_KINDS };

struct lease {
    uint64_t queue_id, asker, until_ms, length_ms;
};

/* A segment that grows. The writer has one for small contents, the stager one for large ones. */
struct stream {
    struct engine *e;
    bool large, compact;
    int fd; /* -1: none open */
    uint32_t number;
    uint64_t written; /* bytes in the file that are spoken for */
    struct buf pending;
    bool dirty;    /* written, not synced */
    bool unlogged; /* some of it is not in the log either */
};

/* Contents that a recovery writes into their segments again. */
struct redo {
    int fd;
    uint32_t number; /* of the segment */
    bool dirty;
    uint64_t count;
};

/* What a backup holds back: log files from first_log on, and all segments. */
struct hold {
    uint64_t number; /* 0: free */
    uint32_t first_log;
};
enum { HOLDS = 16 };

/* Requests of the care thread to the writer, inside the process: host order. */
struct purge_ask {
    uint64_t mailbox; /* 0: the history of the account's folders */
    struct uuid account;
    int64_t before_us;
    uint32_t limit, pad; /* records */
};
struct purge_said {
    uint32_t more, changes, rows, mailboxes;
};
struct sweep_ask { /* keys as texts */
    int64_t before_us;
    uint32_t table, pad;
};
enum { SEGMENT_DROP, SEGMENT_GONE /* its file is unlinked */, SEGMENT_EMPTIED /* nothing in it is alive */ };
struct segment_ask {
    uint32_t number, what;
};
struct relocate_ask { /* struct relocated ascending by content */
    uint32_t from, to, count, pad;
    uint64_t end; /* of `to`, all synced */
};
struct relocated {
    uint64_t content, old_offset, new_offset;
};

enum mend {
    MEND_WATCH,
    MEND_REFS,
    MEND_BOX,
    MEND_ACCOUNT,
    MEND_DUE,
    MEND_SEGMENT,
    MEND_CONTENT,
    MEND_META,   /* id: a content whose meta record cannot be read */
    MEND_DONE,   /* the parts of a request */
    MEND_RECORD, /* id: the table, T_TRACE or T_REPEAT */
    MEND_HISTORY /* the names' history of an account */
};
struct mend_ask { /* MEND_WATCH: content ids; MEND_REFS: a u32 for each; MEND_CONTENT: mend_content, frame
                     table; MEND_DONE: the request id; MEND_RECORD: the key */
    uint32_t what, fix;
    uint64_t id, other;
    uint64_t was; /* MEND_SEGMENT: dead bytes that were on record */
    struct uuid account;
    uint32_t always, pad; /* put right without being asked to: bookkeeping */
};
struct mend_said {
    uint32_t wrong, fixed;
};
struct mend_ref {
    uint64_t id;
    uint32_t counted, recorded;
    uint8_t touched, wrong, fixed, has_ref, has_content, pad[3];
};
struct mend_content {
    uint64_t id, size, packed, offset;
    uint32_t segment, frames;
};
/* A content that verify has doubts about; whoever changes a reference of it marks it. The writer's. */
struct watched_content {
    uint64_t id;
    uint32_t counted;
    bool touched;
};

/* A walk through a table that goes on where it was. */
struct walk {
    enum table table;
    uint64_t every_ms, next_ms;
    int64_t keep_us;
    bool under_way, ordered;
    size_t n; /* of key: the last one that was looked at */
    unsigned char key[64];
};
/* A segment that is being rewritten. */
struct compacting {
    uint32_t number; /* 0: none */
    uint64_t at, end;
};
enum { CARE_WALKS = 6 };
struct care {
    struct compacting compacting;
    struct walk walks[CARE_WALKS];
    struct purge_ask *todo; /* found, not purged yet */
    size_t todo_count;
    int64_t oldest_us; /* change that this round has met */
    int64_t start_wall_us;
    uint64_t start_mono_ms;
    uint64_t asked, started; /* rounds that somebody wants now */
    bool ask_purge, ask_compact, thorough;
    _Atomic uint64_t finished;
};

enum { SEGMENT_FDS = 128, SEGMENT_HEAD = 64 };
struct segment_fd {
    uint32_t number;
    int fd;
    unsigned users;
    uint64_t used;
};

struct counters {
    _Atomic uint64_t batches, flushes, jobs, deadlocks, checkpoints, refused_full, refused_late,
        segments_made;
    _Atomic uint64_t purged_changes, purged_rows, purged_mailboxes, swept, segments_dropped, compacted_bytes;
    _Atomic uint64_t flush_us, flush_max_us;      /* of the log */
    _Atomic uint64_t syncs, sync_us, sync_max_us; /* of segments */
    _Atomic uint64_t batch_max;                   /* requests */
    _Atomic uint64_t oldest_change_us;            /* as the last round met it; 0: none */
};

/* The format of the store's folder that this code writes; STORE.md tells what each brought. */
enum { STORE_FORMAT = 2 };

/* A list of content ids that grows. */
struct ids {
    uint64_t *v;
    size_t n, cap;
};
void ids_add(struct ids *l, uint64_t id);
void ids_free(struct ids *l);

enum { MARKS = 1 << 15 };

struct units; /* quota_units.c */

struct lazy_key;
struct lazy {
    struct job *in; /* the writer is not woken for them */
    size_t in_count;
    struct job *jobs; /* taken from in, the last one first */
    size_t count;
    uint64_t since_ms;       /* when the oldest was taken */
    struct lazy_key *keys;   /* repeat keys that they speak of, */
    const struct job *keyed; /* those from this one on */
};

struct engine {
    struct engine_options o;
    unsigned format;
    char *dir;
    int lock_fd, dir_fd, segment_dir_fd, db_dir_fd;
    bool paged;  /* pages_start was called */
    bool making; /* the store is being made: until it is, a start begins anew */
    DB_ENV *env;
    DB *db[T_COUNT];

    pthread_mutex_t id_lock;
    uint64_t id_next[ID_KINDS], id_end[ID_KINDS];

    pthread_mutex_t verify_lock;
    struct verify *verify; /* under way, or NULL */
    struct watched_content *watch;
    size_t watch_n;

    pthread_mutex_t hold_lock;
    struct hold holds[HOLDS];
    uint64_t next_hold;
    unsigned char life[16];      /* of this store; a restore from a backup begins another one */
    _Atomic uint64_t hold_below; /* queue entries below this number are held; 0: none */
    int64_t hold_since_us;

    pthread_mutex_t segment_lock; /* guards next_segment and fds */
    uint32_t next_segment;
    struct segment_fd fds[SEGMENT_FDS];
    uint64_t fd_clock;
    struct stream small, large, compact; /* the writer's, the stager's, the care thread's */
    _Atomic uint32_t small_segment;      /* that small writes to; 0: none */
    struct redo redo;
    struct lazy lazy;

    pthread_mutex_t lock; /* guards the lists for writer and stager, lazy.in and the flags */
    pthread_cond_t work, large_work;
    struct job *first, **last;             /* for the writer */
    struct job *large_first, **large_last; /* for the stager */
    unsigned staging;
    bool stopping;
    pthread_t writer, stager, care;
    bool threads;
    pthread_cond_t care_wake, inside_done;
    struct care care_state;

    /* the writer's own */
    struct job *sliced;
    bool commits; /* since the last flush */
    pthread_mutex_t lease_lock;
    struct lease *leases;
    size_t lease_count;

    struct units *units; /* the tree of units with what their accounts use */

    _Atomic uint64_t visible, durable;
    uint64_t batch;                /* that is being applied; the writer's own */
    _Atomic uint64_t marks[MARKS]; /* mark.c: the last batch that wrote there */
    _Atomic uint64_t mark_all;     /* or to what anybody may see */
    _Atomic bool hurry;            /* a reader's answer is held until the next flush */
    _Atomic bool full;
    _Atomic uint64_t short_ms; /* when a shortage was last met */
    struct counters count;
};

enum { NAME_KEY_LIMIT = KEY_UUID + STORE_NAME_LIMIT };

struct quota_figures {
    uint64_t bytes, limit_bytes, messages, limit_messages; /* limits of 0: none */
};

/* What a transaction changes in memory when it commits: the use of units, accounts that became full or have
 * room again, and notices that it has to queue. */
struct quota_news {
    struct unit_change {
        struct uuid unit;
        int64_t bytes, messages, accounts;
    } * units;
    size_t unit_count, unit_cap;
    struct full_change *fulls;
    size_t full_count, full_cap;
    struct quota_notice {
        struct uuid account;
        struct quota_figures figures;
    } * notices;
    size_t notice_count, notice_cap;
    bool units_read; /* the records of units changed */
};

/* -- mark.c: what a reader has to wait for -- */
struct tx;
/* A record with this key (eight bytes at least) is written or removed; before the commit. */
void mark_written(struct tx *t, enum table table, const void *key);
/* A record is changed that mailboxes share: a content that is there already. */
void mark_all(struct engine *e);
/* After the reading: the batch that must be durable before what was seen of a mailbox (its record, rows,
 * keywords, changes, and the contents of its rows), or of an account (its record and names), may be told.
 * They never fall. */
uint64_t mark_of_mailbox(struct engine *e, uint64_t id);
uint64_t mark_of_account(struct engine *e, const struct uuid *account);

/* -- tx.c: transactions and records -- */
struct tx {
    struct engine *e;
    DB_TXN *t;
    struct buf scratch; /* for values of no fixed size */
    struct touched *touched;
    size_t touched_count, touched_cap;
    bool queue_due;
    struct quota_news quota;
    bool reads;    /* a snapshot */
    bool unmarked; /* what it writes may be seen before it is durable */
    bool
        lazy_first; /* it fell because of acknowledgements that wait; they are due before it is tried again */
    size_t writes;  /* since it began */
};
/* Open with code (write: NOSYNC; read: snapshot). */
enum err_code tx_begin(struct engine *e, bool reads, struct tx *t) CHECK_RESULT;
/* Begin another with what t has allocated. */
enum err_code tx_renew(struct tx *t) CHECK_RESULT;
enum err_code tx_commit(struct tx *t) CHECK_RESULT;
void tx_abort(struct tx *t);
/* Forget what is kept between the transactions of one tx. */
void tx_free(struct tx *t);
/* The event of a mailbox; it counts when the transaction commits. */
void tx_touch(struct tx *t, const struct uuid *account, uint64_t mailbox, uint64_t modseq);

/* A fixed record of at most size bytes; *n is its length. ERR_MISSING; ERR_RETRY: deadlock or a full disk. */
enum err_code tx_get(struct tx *t, enum table table, struct span key, void *out, size_t size,
                     size_t *n) CHECK_RESULT;
/* A record of any size, into out (reset first). */
enum err_code tx_get_buf(struct tx *t, enum table table, struct span key, struct buf *out) CHECK_RESULT;
/* Its first n bytes only. */
enum err_code tx_get_head(struct tx *t, enum table table, struct span key, void *out, size_t size,
                          size_t *n) CHECK_RESULT;
enum err_code tx_put(struct tx *t, enum table table, struct span key, struct span value) CHECK_RESULT;
/* ERR_STATE: the key is there; the transaction must be aborted then. */
enum err_code tx_put_new(struct tx *t, enum table table, struct span key, struct span value) CHECK_RESULT;
enum err_code tx_del(struct tx *t, enum table table, struct span key) CHECK_RESULT; /* ERR_MISSING */
/* The last key of a table (with value); ERR_MISSING: it is empty. */
enum err_code tx_last(struct tx *t, enum table table, struct buf *key, struct buf *value) CHECK_RESULT;
/* A walk over records that are looked up to be changed, in ascending order of keys: each costs one search of
 * the tree, and none where the next one lies beside it. */
struct edit {
    struct tx *t;
    enum table table;
    DBC *c;
    bool placed;
    unsigned char whose[KEY_ID]; /* the key's first bytes */
};
enum err_code edit_open(struct edit *x, struct tx *t, enum table table) CHECK_RESULT;
/* Go to key and read its record of at most size bytes; beside: it may well be the next one. ERR_MISSING. */
enum err_code edit_get(struct edit *x, struct span key, bool beside, void *out, size_t size,
                       size_t *n) CHECK_RESULT;
/* Go to key and read the first bytes of its record, of any size. ERR_MISSING. */
enum err_code edit_head(struct edit *x, struct span key, void *out, size_t size, size_t *n) CHECK_RESULT;
/* Change or take away the record that was read last. */
enum err_code edit_put(struct edit *x, struct span value) CHECK_RESULT;
enum err_code edit_del(struct edit *x) CHECK_RESULT;
/* In any case, before the transaction ends: answers code when it is an error. */
enum err_code edit_close(struct edit *x, enum err_code code) CHECK_RESULT;
/* Records that are written together, in ascending order of their keys: a sixth less work for each. */
struct puts {
    struct tx *t;
    enum table table;
    char *room;
    size_t room_n;
    void *end; /* libdb's place in room */
    size_t n;
};
/* Room for count records of at most bytes each, with their keys. */
void puts_open(struct puts *p, struct tx *t, enum table table, size_t count, size_t bytes);
void puts_add(struct puts *p, struct span key, struct span value);
/* Write them, when code is ERR_OK; close in any case. Answers code when it is an error. */
enum err_code puts_close(struct puts *p, enum err_code code) CHECK_RESULT;
/* Turn a libdb result into a code; what cannot be lived with ends the process. */
enum err_code db_code(struct engine *e, const char *what, int ret);

/* A forward scan of the keys that start with the first prefix_n bytes of from. */
struct scan {
    struct tx *t;
    DBC *c;
    struct buf prefix;
    char *block;
    size_t block_size, prefix_n;
    void *at;
    DBT data;
    enum err_code code;     /* why it ended: ERR_OK at the end of the range */
    bool started, singly;   /* singly: record by record, as a damaged page is near */
    struct scan_past *past; /* NULL: a damaged page ends it (ERR_BUG) */
};
void scan_open(struct scan *s, struct tx *t, enum table table, struct span from, size_t prefix_n,
               size_t block_size);
/* Borrowed until the next call. False: the end, or s->code says why not. */
bool scan_next(struct scan *s, struct span *key, struct span *value);
enum err_code scan_close(struct scan *s) CHECK_RESULT;

/* -- scan_past.c: a scan that goes on past damaged pages -- */
enum { SCAN_KEY = NAME_KEY_LIMIT + KEY_UUID + 1 };
struct scan_past {
    /* Between these keys (to is empty: up to the end) nothing could be read. */
    void (*met)(void *arg, enum table table, struct span from, struct span to);
    /* Whether key lies in what is known to be such a gap, and where that ends (as above). */
    bool (*known)(void *arg, enum table table, struct span key, struct span *to);
    void *arg;
    enum table table;
    unsigned char next[SCAN_KEY];  /* where to go on */
    unsigned char begin[SCAN_KEY]; /* of what is passed over */
    unsigned char key[SCAN_KEY];
    size_t next_n;
};
/* After scan_open, with the same table and from. p's met and arg are set, and it outlives the scan. */
void scan_past_open(struct scan *s, struct scan_past *p, enum table table, struct span from);
/* For scan_next: a key was handed out; the next step from there. */
void scan_past_met(struct scan_past *p, struct span key);
enum scan_step { SCAN_PAIR, SCAN_LEAPT, SCAN_END };
enum scan_step scan_past_step(struct scan *s, struct span *key, struct span *value);

/* A backward walk over the keys that start with prefix (not empty), the last one first. key and value are the
 * caller's; value_size cuts longer values. Borrowed until the next call. */
struct back {
    struct tx *t;
    DBC *c;
    unsigned char prefix[KEY_UUID], key[NAME_KEY_LIMIT], *value;
    size_t prefix_n, value_size;
    bool started;
    enum err_code code; /* why it ended: ERR_OK at the end of the range */
};
void back_open(struct back *b, struct tx *t, enum table table, struct span prefix, void *value,
               size_t value_size);
bool back_next(struct back *b, struct span *key, struct span *value);
enum err_code back_close(struct back *b) CHECK_RESULT;

/* Microseconds, to measure with. */
uint64_t tick_us(void);
/* Count what began at begin_us: once more in *n (NULL: counted elsewhere), its length in *sum, the longest in
 * *most. */
void tick_count(uint64_t begin_us, _Atomic uint64_t *n, _Atomic uint64_t *sum, _Atomic uint64_t *most);

/* Log an alarm and end the process: nothing that was not durable leaves it. */
void __attribute__((noreturn)) engine_fatal(struct engine *e, const char *what, const char *why);

/* -- env.c -- */
uint32_t env_log_size(const struct engine *e); /* bytes of a log file */
enum err_code env_open(struct engine *e, struct err *why) CHECK_RESULT;
void env_close(struct engine *e);
void env_checkpoint(struct engine *e, bool force);
/* Flush the log, with the names of its files; a failure ends the process. */
void env_log_flush(struct engine *e);
bool env_has_versions(enum table t);
uint64_t env_log_bytes(struct engine *e); /* bytes of log ever written, roughly */

/* What Berkeley DB counts. */
struct env_figures {
    uint64_t cache_hits, cache_misses, lock_waits, history_bytes, database_bytes, log_files, log_file_bytes;
};
void env_figures(struct engine *e, struct env_figures *out);

/* -- care.c -- */
void *care_main(void *engine);
int64_t care_now(const struct engine *e);
/* engine_call when nobody else waits for the writer, or after a tenth of a second. */
enum err_code care_call(struct engine *e, struct job *j) CHECK_RESULT;
const char *env_table_name(enum table t);
/* The first log file that a hold wants kept; UINT32_MAX: none. Holds beyond the bound are broken here. */
uint32_t holds_first_log(struct engine *e);
/* Whether segments may leave the disk now. */
bool holds_segments(struct engine *e);

/* -- purge.c -- */
enum err_code op_purge(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_sweep(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_segment(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_hold(struct tx *t, struct job *j) CHECK_RESULT;
/* The time of a record that has it behind its version. */
int64_t record_time(struct span value);

/* -- mend.c, verify.c -- */
struct box;
struct account_sums {
    uint32_t mailboxes, dangling;
    uint64_t bytes, messages;
};
enum err_code op_describe(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_mend(struct tx *t, struct job *j) CHECK_RESULT;
void watch_touch(struct engine *e, uint64_t content);
enum err_code box_sum(struct tx *t, const struct box *b, struct box *out) CHECK_RESULT;
bool box_same(const struct rec_box *a, const struct rec_box *b);
enum err_code account_sum(struct tx *t, const struct uuid *id, struct account_sums *out) CHECK_RESULT;
enum err_code read_verify(struct tx *t, struct query *q) CHECK_RESULT;
struct verify;
void verify_free(struct verify **v);

/* -- compact.c -- */
enum err_code op_relocate(struct tx *t, struct job *j) CHECK_RESULT;
/* A bit of the round through the segments. True: it is over. */
bool segments_step(struct engine *e, struct walk *w);

/* -- upgrade.c -- */
/* Read the format file, or make it where there is no store yet. ERR_SYNTAX: not a store, or a newer one. */
enum err_code format_check(struct engine *e, struct err *why) CHECK_RESULT;
/* Bring an older store to STORE_FORMAT. */
enum err_code upgrade_run(struct engine *e, struct err *why) CHECK_RESULT;

/* -- making.c -- */
/* Before the databases are opened, with all folders open; false: errno. */
bool making_begin(struct engine *e) CHECK_RESULT;
/* All databases are there, with their names. */
bool making_end(struct engine *e) CHECK_RESULT;
/* -- backup.c, restored.c -- */
/* The identity of the store's life; fresh: another one. */
enum err_code life_load(struct engine *e, bool fresh) CHECK_RESULT;
/* Whether the store was put back from a backup and has not been settled yet. */
bool restored_pending(const struct engine *e);
/* Whether it was begun and there is no store yet. */
bool restored_half(const struct engine *e);
enum err_code restored_settle(struct engine *e, struct err *why) CHECK_RESULT;
enum err_code restored_done(struct engine *e, struct err *why) CHECK_RESULT;
enum err_code queue_hold_load(struct engine *e) CHECK_RESULT;
enum err_code op_queue_release(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code read_queue_held(struct tx *t, struct query *q) CHECK_RESULT;

/* -- ids.c -- */
enum err_code ids_load(struct engine *e) CHECK_RESULT;
/* All counters far ahead of what any client can have seen. */
enum err_code ids_jump(struct engine *e) CHECK_RESULT;
/* The next identity of a kind; never given twice, across restarts too. */
enum err_code id_take(struct engine *e, enum id_kind kind, uint64_t *out) CHECK_RESULT;

/* -- segment.c -- */
enum err_code segments_open(struct engine *e, struct err *why) CHECK_RESULT;
void segments_close(struct engine *e);
/* Queue a content for writing; its place is known at once. */
enum err_code stream_add(struct stream *s, struct job *j, const struct wire_content *w, struct span table,
                         struct span bytes) CHECK_RESULT;
/* Write what is pending. ERR_RETRY: no space; what was added since the last flush is lost. */
enum err_code stream_flush(struct stream *s) CHECK_RESULT;
/* Bring it to the disk, or end the process. */
void stream_sync(struct stream *s);
/* Both, or, for little, written and put into the log, which is to be flushed anyway. */
enum err_code stream_secure(struct stream *s) CHECK_RESULT;
/* A content whose bytes lie (partly) in j->fd: written and synced. */
enum err_code stream_add_large(struct stream *s, struct job *j, const struct wire_content *w,
                               struct span table, struct span bytes) CHECK_RESULT;
void stream_close(struct stream *s);
/* Copy a content of another segment to the end of the stream, checked; its new place. Not synced. ERR_BUG:
 * its bytes are damaged. */
enum err_code stream_copy(struct stream *s, uint64_t id, const struct rec_content *r,
                          uint64_t *offset) CHECK_RESULT;
/* A content's head at a place of a segment's file, with its frame table. False: there is none that is whole.
 */
bool segment_head(int fd, uint64_t at, uint64_t end, struct mend_content *out,
                  struct buf *table) CHECK_RESULT;
int segment_open(struct engine *e, uint32_t number); /* for reading, or -1 */
int segment_open_as(struct engine *e, uint32_t number, int flags);
bool segment_write(int fd, struct span s, uint64_t at) CHECK_RESULT; /* false: errno */
/* Bytes that a content takes in its segment, with its head. */
uint64_t segment_share(uint32_t frames, uint64_t packed);
enum err_code segment_get(struct tx *t, uint32_t number, struct rec_segment *out) CHECK_RESULT;
enum err_code segment_put(struct tx *t, uint32_t number, const struct rec_segment *r) CHECK_RESULT;
/* That many bytes of a segment are dead from now on. */
enum err_code segment_dead(struct tx *t, uint32_t number, uint64_t bytes) CHECK_RESULT;
/* Its file is unlinked: no descriptor is kept. */
void segment_forget(struct engine *e, uint32_t number);
/* Raise next_segment to what is on record. */
enum err_code segment_next(struct tx *t) CHECK_RESULT;
/* ERR_MISSING: there is no such file. ERR_BUG: said in the log. */
enum err_code segment_read(struct engine *e, uint32_t number, uint64_t offset, char *out,
                           size_t n) CHECK_RESULT;
enum err_code segment_recover(struct engine *e, struct err *why) CHECK_RESULT;

/* -- redo.c -- */
/* What was written to a segment goes into the log, before the transactions that name it. False: it did not.
 */
bool redo_put(struct engine *e, uint32_t segment, uint64_t at, struct span s) CHECK_RESULT;
/* Around a checkpoint: sync what it may pass, and hold it back from passing more. Answers libdb's code. */
int redo_hold(struct engine *e, DB_TXN **out) CHECK_RESULT;
void redo_release(struct engine *e, DB_TXN *t);
/* Around the opening of the environment, which recovers; redo_begin answers libdb's code. */
int redo_begin(struct engine *e) CHECK_RESULT;
void redo_end(struct engine *e);

/* -- content.c -- */
struct content_in {
    struct wire_content head;
    struct span table, meta, bytes;
};
/* Take the content that ends a body, checked against the bounds. */
bool content_take(struct wire_in *in, uint64_t limit, struct content_in *out) CHECK_RESULT;
/* Where in a body of this type the content starts; false: it has none or is broken. */
bool content_find(uint16_t type, struct span body, uint64_t limit, struct content_in *out) CHECK_RESULT;
enum err_code content_store(struct tx *t, const struct job *j, const struct content_in *in, const char *trace,
                            uint32_t refs) CHECK_RESULT;
/* by: how many references more or less. Without any the content goes at once. */
enum err_code content_ref(struct tx *t, uint64_t content, int by) CHECK_RESULT;
/* One reference more, or less, for each id of the list (which is sorted then; an id may stand there often).
 * lenient: a content that is not there is passed over with an alarm. */
enum err_code content_refs_add(struct tx *t, struct ids *l, bool lenient) CHECK_RESULT;
enum err_code content_refs_drop(struct tx *t, struct ids *l) CHECK_RESULT;

/* -- account.c -- */
enum err_code account_get(struct tx *t, const struct uuid *id, struct rec_account *out) CHECK_RESULT;
enum err_code account_put(struct tx *t, const struct uuid *id, const struct rec_account *r) CHECK_RESULT;
/* The account with its INBOX; made when it is new. specials: with the special-use mailboxes. */
enum err_code account_need(struct tx *t, const struct uuid *id, bool specials,
                           struct rec_account *out) CHECK_RESULT;
enum err_code op_login(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_touch(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_revoke(struct tx *t, struct job *j) CHECK_RESULT;

/* -- quota.c: what accounts use, and whether more fits -- */
enum quota_how {
    QUOTA_INCOMING, /* mail that comes to the account: taken while it is below its limits, within the grace */
    QUOTA_OWN,      /* what its user adds: within the limits */
    QUOTA_ANYWAY    /* whatever the limits say */
};
struct quota_wish {
    enum quota_how how;
    uint64_t bytes, messages;
    uint64_t told_bytes; /* a limit that the asker tells; counts while the directory has not told any */
    int64_t now_us;      /* of a delivery, or 0 */
};
enum err_code quota_get(struct tx *t, const struct uuid *id, struct rec_quota *out) CHECK_RESULT;
/* The only way to change one: q was got in this transaction. Its unit, and who knows of full accounts, follow
 * when the transaction commits. */
enum err_code quota_put(struct tx *t, const struct uuid *id, struct rec_quota *q) CHECK_RESULT;
/* Whether it would fit: ERR_LIMIT. */
enum err_code quota_fits(struct tx *t, const struct uuid *id, const struct quota_wish *w) CHECK_RESULT;
/* Add it if it fits; ERR_LIMIT: nothing was changed. */
enum err_code quota_take(struct tx *t, const struct uuid *id, const struct quota_wish *w) CHECK_RESULT;
/* Add and subtract whatever the limits say. */
enum err_code quota_move(struct tx *t, const struct uuid *id, int64_t bytes, int64_t messages) CHECK_RESULT;
bool quota_room(uint64_t use, uint64_t by, uint64_t limit, enum quota_how how, unsigned grace);
/* How a session adds: its grant may lift the limits (an import over quota). */
static inline enum quota_how quota_how_of(const struct job *j)
{
    return j->quota_bytes == GRANT_UNBOUND ? QUOTA_ANYWAY : QUOTA_OWN;
}
/* After new limits: a notice is due again only once its use has passed the threshold of them. */
void quota_limits_changed(struct tx *t, const struct uuid *id, struct rec_quota *q);
bool quota_is_full(const struct rec_quota *q);
/* What becomes of the mark that its holder was warned: 1 it is set, and a notice is due; -1 it goes; 0. */
int quota_crossing(const struct engine *e, const struct quota_figures *f, bool warned, bool rising);
/* Queue the notices of a transaction, those of units too; its last step but the outcome. */
enum err_code quota_notify(struct tx *t) CHECK_RESULT;
void quota_news_clear(struct quota_news *n);
void quota_news_free(struct quota_news *n);
void full_add(struct full_change **v, size_t *n, size_t *cap, const struct full_change *c);

/* -- quota_units.c: the tree of units in memory, and what the directory tells -- */
enum err_code units_open(struct engine *e) CHECK_RESULT;
void units_close(struct engine *e);
/* The transaction under way adds this much to a unit and those above it. */
void units_add(struct tx *t, const struct unit_change *c);
/* Whether so much more fits into a unit and those above it, with what the transaction has added. */
bool units_fit(const struct tx *t, const struct uuid *unit, const struct quota_wish *w);
/* The marks of units that the transaction brings over their threshold, or well below it, and their notices.
 */
enum err_code units_watch(struct tx *t) CHECK_RESULT;
/* It was committed, or not. */
void units_settle(struct tx *t, bool committed);
bool units_is_full(struct engine *e, const struct uuid *account);
enum { UNIT_DEPTH = 32 };
struct unit_use {
    struct uuid id, parent;
    uint64_t limit_bytes, limit_messages;
    uint64_t bytes, messages; /* of its accounts and of those in the units below */
    uint64_t accounts;        /* directly in it */
};
/* The unit and those above it, at most UNIT_DEPTH; from any thread. */
size_t units_chain(struct engine *e, const struct uuid *unit, struct unit_use *out);
/* All of them, in no order; the caller frees. */
size_t units_all(struct engine *e, struct unit_use **out);
enum err_code op_units(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_limits(struct tx *t, struct job *j) CHECK_RESULT;

/* -- mailbox.c: boxes and keywords -- */
struct box {
    uint64_t id;
    struct rec_box r;
};
enum err_code box_get(struct tx *t, uint64_t id, struct box *out) CHECK_RESULT;
enum err_code box_put(struct tx *t, const struct box *b) CHECK_RESULT;
/* Without an event: nothing that a session sees has changed. */
enum err_code box_put_quietly(struct tx *t, const struct box *b) CHECK_RESULT;
enum err_code op_claim(struct tx *t, struct job *j) CHECK_RESULT;
/* Living and of this account: ERR_MISSING, ERR_DENIED. */
enum err_code box_of(struct tx *t, const struct uuid *account, uint64_t id, struct box *out) CHECK_RESULT;
enum err_code box_new(struct tx *t, const struct uuid *account, enum store_use use,
                      struct box *out) CHECK_RESULT;
/* Keyword names of a mailbox. */
enum { KEYWORDS = 64, KEYWORD_LIMIT = 200 };
struct keywords {
    struct buf text;
    struct span v[KEYWORDS];
    size_t n;
};
void keywords_init(struct keywords *k);
void keywords_free(struct keywords *k);
enum err_code keywords_get(struct tx *t, const struct box *b, struct keywords *out) CHECK_RESULT;
/* The bits of names (texts of wire); add: missing ones are made and written (ERR_LIMIT: no room). */
enum err_code keywords_bits(struct tx *t, struct box *b, struct keywords *k, struct wire_in *in, size_t count,
                            bool add, uint64_t *bits) CHECK_RESULT;
/* The destination's bits for a row's keywords of another mailbox. */
enum err_code keywords_map(struct tx *t, const struct keywords *from, struct box *to, struct keywords *names,
                           uint64_t bits, uint64_t *out) CHECK_RESULT;
bool box_wire(const struct box *b, const struct rec_name *n, struct span name, const struct keywords *k,
              struct buf *out) CHECK_RESULT;

/* -- name.c -- */
struct name {
    size_t n;
    char p[STORE_NAME_LIMIT];
};
/* The canonical form. False: not a name. */
bool name_normal(struct span in, struct name *out) CHECK_RESULT;
enum err_code name_get(struct tx *t, const struct uuid *account, struct span name,
                       struct rec_name *out) CHECK_RESULT;
enum err_code name_put(struct tx *t, const struct uuid *account, struct span name,
                       const struct rec_name *r) CHECK_RESULT;
/* INBOX of an account that is made; the account's record is the caller's to write. */
enum err_code name_first(struct tx *t, const struct uuid *account, struct box *out) CHECK_RESULT;
/* The living mailbox of a name: ERR_SYNTAX, ERR_MISSING. */
enum err_code name_box(struct tx *t, const struct uuid *account, struct span name, struct name *normal,
                       struct rec_name *rec, struct box *out) CHECK_RESULT;
/* A new mailbox under a name that is not taken by one; superiors are made. */
enum err_code name_make(struct tx *t, const struct uuid *account, const struct name *name, enum store_use use,
                        bool subscribe, struct box *out) CHECK_RESULT;
/* A deleted mailbox under a name again (ERR_STATE: a mailbox has it), if quota lets it. */
enum err_code name_revive(struct tx *t, const struct name *name, enum store_use use, bool subscribe,
                          enum quota_how how, struct box *b) CHECK_RESULT;
/* The tree of names at from goes to another place: ERR_STATE when that is taken or below from. */
enum err_code name_move(struct tx *t, const struct uuid *account, const struct name *from,
                        const struct name *to) CHECK_RESULT;
enum err_code name_list_changed(struct tx *t, const struct uuid *account, int mailboxes) CHECK_RESULT;
enum err_code op_create(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_delete(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_rename(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_subscribe(struct tx *t, struct job *j) CHECK_RESULT;

/* -- message.c -- */
enum err_code row_get(struct tx *t, uint64_t mailbox, uint32_t uid, struct store_row *out) CHECK_RESULT;
enum err_code row_put(struct tx *t, uint64_t mailbox, const struct store_row *r) CHECK_RESULT;
/* A new message at the end of b: UID, modseq and counters are b's (not written yet); the change is. */
enum err_code message_add(struct tx *t, struct box *b, struct store_row *row, enum change_op op) CHECK_RESULT;
enum err_code row_del(struct tx *t, uint64_t mailbox, uint32_t uid) CHECK_RESULT;
/* The rows of one mailbox, changed in ascending order of UIDs. */
struct row_edit {
    struct edit x;
    uint64_t mailbox;
    uint32_t uid; /* the last one that was read */
};
enum err_code row_edit_open(struct row_edit *x, struct tx *t, uint64_t mailbox) CHECK_RESULT;
enum err_code row_edit_get(struct row_edit *x, uint32_t uid, struct store_row *out) CHECK_RESULT;
/* Hand over the rows of UIDs that rise, each that is there; a walk where they lie close together. take may
 * put no rows. Answers the first code that is not ERR_OK. */
typedef enum err_code row_cb(void *arg, const struct store_row *r);
enum err_code rows_each(struct tx *t, uint64_t mailbox, const uint32_t *uids, size_t n, row_cb *take,
                        void *arg) CHECK_RESULT;
void box_count(struct box *b, const struct store_row *r, int by);
int32_t saved_now(void);
uint32_t uid_at(struct span uids, size_t i); /* of a list as it lies in a body */
enum err_code op_append(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_flags(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_copy(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_expunge(struct tx *t, struct job *j) CHECK_RESULT;
enum { SLICE = 256 };
/* The rows of a slice. */
struct slice {
    struct store_row v[SLICE];
    size_t n;
};
/* Expunge these rows of b in one transaction; adds the answer of an expunge (one part). */
enum err_code expunge_slice(struct tx *t, struct job *j, struct box *b, const struct slice *s) CHECK_RESULT;
/* One reference more to the content of each row. */
enum err_code slice_refs(struct tx *t, const struct slice *s) CHECK_RESULT;

/* -- history.c -- */
/* Note what a name record was and is (NULL: nothing); called by name_put and name_del. */
enum err_code history_name(struct tx *t, const struct uuid *account, struct span name,
                           const struct rec_name *old, const struct rec_name *now) CHECK_RESULT;
/* The same for the first name of an account that is made. */
enum err_code history_first_name(struct tx *t, const struct uuid *account, struct span name,
                                 const struct rec_name *now) CHECK_RESULT;
/* Forget the folder history of an account that is older than before_us, a slice of at most SLICE records; its
 * newest record stays, so that serials go on. *more: there is more to forget. */
enum err_code history_purge(struct tx *t, const struct uuid *account, int64_t before_us,
                            bool *more) CHECK_RESULT;
/* The row of a message that was expunged by one of the changes from q->next on: as it was then. At most
 * q->budget changes are looked through; q->more: go on later at q->next. ERR_MISSING: in none of them. */
enum err_code history_row(struct tx *t, const struct box *b, uint32_t uid, struct query *q,
                          struct store_row *out) CHECK_RESULT;
enum err_code read_view(struct tx *t, struct query *q) CHECK_RESULT;
enum err_code read_past_names(struct tx *t, struct query *q) CHECK_RESULT;

/* -- restore.c -- */
enum err_code op_restore(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_folder(struct tx *t, struct job *j) CHECK_RESULT;

/* -- change.c -- */
enum err_code change_put(struct tx *t, uint64_t mailbox, uint64_t modseq, struct span value) CHECK_RESULT;
enum err_code change_added(struct tx *t, const struct box *b, enum change_op op, uint64_t other, uint32_t uid,
                           uint32_t count) CHECK_RESULT;
/* Flags that change in one transaction: messages side by side that change alike are one item. */
struct flag_changes {
    struct rec_flags *v;
    size_t n, cap;
};
void flag_changes_add(struct flag_changes *c, const struct store_row *old, const struct store_row *now);
/* Their change, under the mailbox's modseq. */
enum err_code flag_changes_put(struct tx *t, const struct box *b, const struct flag_changes *c) CHECK_RESULT;
void flag_changes_free(struct flag_changes *c);
/* Add the contents that old rows of a change name. False: a row is broken. */
bool change_contents(const struct rec_change *r, struct ids *out) CHECK_RESULT;

/* -- deliver.c, queue.c, trace.c -- */
enum err_code op_deliver(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_confirm(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_lease(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_slice(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code op_defer(struct tx *t, struct job *j) CHECK_RESULT;
struct filing {
    uint64_t content;
    uint32_t size;
    int64_t now_us;
    bool forced; /* also over quota */
};
/* File one content into the INBOX of an account. ERR_LIMIT: over quota. place (REC_PLACE bytes) says where.
 */
enum err_code file_inbox(struct tx *t, const struct filing *f, const struct uuid *account,
                         uint64_t quota_bytes, unsigned char place[REC_PLACE]) CHECK_RESULT;
/* A notice for an account, which no quota keeps out, in the place of its queue entry. */
enum err_code op_notice(struct tx *t, struct job *j) CHECK_RESULT;
enum err_code queue_get(struct tx *t, uint64_t id, struct buf *v, struct rec_queue *out) CHECK_RESULT;
/* A new entry, due at q->due_us. */
enum err_code queue_new(struct tx *t, const struct rec_queue *q, uint64_t *id) CHECK_RESULT;
enum err_code queue_drop(struct tx *t, uint64_t id, const struct rec_queue *q) CHECK_RESULT;
/* The quota of a unit is nearly used up. */
enum err_code notice_unit(struct tx *t, const struct uuid *id, const struct rec_unit *u,
                          const struct quota_figures *f) CHECK_RESULT;
/* Take a notice off the queue. */
enum err_code notice_drop(struct tx *t, uint64_t id, const struct rec_queue *q) CHECK_RESULT;
int64_t queue_retry_us(const struct engine *e, uint32_t attempts);
/* Whether the asker has the entry, or nobody has. */
bool lease_renew(struct engine *e, uint64_t queue_id, uint64_t asker) CHECK_RESULT;
void lease_over(struct engine *e, uint64_t queue_id);
/* texts and targets of wire to the form of rec_queue; false: broken */
bool queue_target_put(struct buf *out, const struct wire_target *w, struct span address) CHECK_RESULT;
enum err_code queue_put(struct tx *t, uint64_t id, const struct rec_queue *q) CHECK_RESULT;
enum err_code queue_due_set(struct tx *t, int64_t due_us, uint64_t id, bool on) CHECK_RESULT;
enum err_code trace_put(struct tx *t, const char *trace, uint32_t n, const struct rec_trace *r) CHECK_RESULT;

/* -- repeat.c -- */
enum { REPEAT_KEY = 16 };
void repeat_key(unsigned char key[REPEAT_KEY], struct span peer, struct span sender,
                const unsigned char content_hash[32]);
void repeat_target(unsigned char out[REC_REPEAT_TARGET], uint32_t kind, const struct uuid *id);
/* Add to groups what is known of earlier tries. ERR_RETRY: confirmations wait that speak of it. */
enum err_code repeat_load(struct tx *t, const unsigned char key[REPEAT_KEY], struct buf *groups) CHECK_RESULT;
/* Whether an earlier try filed or queued for this target, and under which trace. */
bool repeat_find(struct span groups, const unsigned char target[REC_REPEAT_TARGET],
                 char trace[TRACE_TEXT]) CHECK_RESULT;
/* Put on record what this try filed and queued, behind the earlier ones. */
enum err_code repeat_keep(struct tx *t, const unsigned char key[REPEAT_KEY], struct buf *groups,
                          const char *trace, struct span targets) CHECK_RESULT;
/* The next wire_confirm of those that follow each other. */
bool repeat_receipt(struct wire_in *in, unsigned char key[REPEAT_KEY], struct span *targets) CHECK_RESULT;
/* The 250 of what they name was written. */
enum err_code repeat_confirm(struct tx *t, struct span receipts) CHECK_RESULT;

/* -- done.c -- */
enum err_code done_put(struct tx *t, struct job *j, bool final, struct span answer) CHECK_RESULT;
/* A request ends with j->code after some of its slices. */
enum err_code done_fail(struct tx *t, struct job *j) CHECK_RESULT;
/* The recorded parts of j: *final says whether it is finished (then j->code and answer are filled in), else
 * part, at and other tell where it stopped. ERR_MISSING: never seen. */
enum err_code done_find(struct engine *e, struct job *j, bool *final) CHECK_RESULT;
enum err_code done_forget(struct edit *x, const struct request_id *id) CHECK_RESULT;
enum err_code done_resume(struct engine *e) CHECK_RESULT; /* unfinished ones go to e->sliced */
/* Whether a part 0 that is not final says how to go on. */
bool done_intent_ok(const struct rec_done *r);

/* -- history_check.c -- */
bool history_same(const struct rec_name *a, const struct rec_name *b);
/* How many names are not what the newest change of each says; fix: a change is added that says it. None where
 * the words of a change were lost. */
enum err_code history_differs(struct tx *t, const struct uuid *account, bool fix,
                              unsigned *differ) CHECK_RESULT;

/* -- mend_records.c -- */
enum err_code mend_meta(struct tx *t, uint64_t content, bool fix, struct mend_said *out) CHECK_RESULT;
enum err_code mend_done(struct tx *t, struct span id, bool fix, struct mend_said *out) CHECK_RESULT;
enum err_code mend_record(struct tx *t, enum table table, struct span key, bool fix,
                          struct mend_said *out) CHECK_RESULT;
enum err_code mend_history(struct tx *t, const struct uuid *account, bool fix,
                           struct mend_said *out) CHECK_RESULT;
/* Whether the parser's record of a content can be read, as far as that can be said here. */
bool record_meta_ok(const struct engine *e, struct span meta);
/* The same for who reads: whether a record of this table can be read. */
bool record_ok(const struct engine *e, enum table table, struct span key, struct span value);
/* Parts of one request as they are met; false: they are not what a request leaves. */
struct done_parts {
    struct request_id id;
    uint32_t next;
    bool final, any;
    int64_t at_us; /* of the first one met */
};
bool done_parts_add(struct done_parts *p, struct span key, struct span value);

/* -- lazy.c: acknowledgements and confirmations; the writer's own but for lazy.in -- */

enum { LAZY_JOBS = 256 }; /* that make a transaction worth while */
bool engine_is_lazy(uint16_t type);
/* With the engine's lock held: those that came since the last time. */
void lazy_take(struct engine *e);
bool lazy_due(const struct engine *e);
/* When the oldest is due, in milliseconds of CLOCK_MONOTONIC; 0: none waits. */
uint64_t lazy_due_ms(const struct engine *e);
/* Whether a confirmation that waits speaks of this repeat key. */
bool lazy_confirms(struct engine *e, const unsigned char key[REPEAT_KEY]);
/* Put all that wait on record, in a transaction of their own through t. */
void lazy_run(struct engine *e, struct tx *t);

/* -- batch.c -- */
/* Submit a job of the engine's own and wait until it is durable; the caller keeps it. Its code; ERR_STATE
 * also when the engine is ending. */
enum err_code engine_call(struct engine *e, struct job *j) CHECK_RESULT;
/* Whether requests wait for the writer. */
bool engine_busy(struct engine *e);
void *writer_main(void *engine);
/* What waits in lazy.in is seen in time; from a thread that comes by every now and then. */
void engine_nudge(struct engine *e);
void *stager_main(void *engine);

/* -- read.c, read_admin.c -- */
enum err_code read_accounts(struct tx *t, struct query *q) CHECK_RESULT;
enum err_code read_mailboxes(struct tx *t, struct query *q) CHECK_RESULT;
enum err_code read_trace(struct tx *t, struct query *q) CHECK_RESULT;
enum err_code read_care(struct tx *t, struct query *q) CHECK_RESULT;
enum err_code read_stats(struct tx *t, struct query *q) CHECK_RESULT;
enum err_code read_meta(struct tx *t, struct query *q) CHECK_RESULT;
/* A content that a row of this snapshot names is not where it was. ERR_RETRY: the row has gone since, or the
 * content has been moved (another snapshot sees that). ERR_BUG: it is lost. */
enum err_code content_gone(struct engine *e, uint64_t mailbox, const struct store_row *row,
                           uint32_t segment) CHECK_RESULT;
enum err_code read_list_of(struct tx *t, const struct uuid *account, struct query *q) CHECK_RESULT;
enum err_code read_changes(struct tx *t, struct query *q) CHECK_RESULT;
enum err_code read_quota(struct tx *t, struct query *q) CHECK_RESULT;
enum err_code read_units(struct tx *t, struct query *q) CHECK_RESULT;
enum { ROWS_PART = 4096 };

static inline struct span key_of(const unsigned char *p, size_t n)
{
    return span_of(p, n);
}
static inline struct span key_uuid(const struct uuid *u)
{
    return span_of(u->b, sizeof u->b);
}
/* The answer's only part so far. */
bool answer_add(struct job *j, const void *p, size_t n) CHECK_RESULT;

#endif
