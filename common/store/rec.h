/* Records of the store's databases: big-endian, the first byte of each value a version, read through bounds
 * checks. STORE.md lists keys and values. */
#ifndef PROV_STORE_REC_H
#define PROV_STORE_REC_H

#include "common/base/buf.h"
#include "common/base/ids.h"
#include "common/store/frames_int.h"
#include "common/store/store.h"

enum { REC_VERSION = 1 };

/* -- keys -- */
enum { KEY_ID = 8, KEY_UUID = 16, KEY_MESSAGE = 12, KEY_CHANGE = 16, KEY_DONE = 20, KEY_TRACE = 24 };
static inline void put_be32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i));
}
static inline void put_be64(unsigned char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(v >> (56 - 8 * i));
}
static inline uint32_t get_be32(const void *from)
{
    const unsigned char *p = from;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint64_t get_be64(const void *from)
{
    const unsigned char *p = from;
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}
static inline void key_pair(unsigned char key[KEY_CHANGE], uint64_t a, uint64_t b)
{
    put_be64(key, a);
    put_be64(key + 8, b);
}
static inline void key_message(unsigned char key[KEY_MESSAGE], uint64_t mailbox, uint32_t uid)
{
    put_be64(key, mailbox);
    put_be32(key + 8, uid);
}

/* -- account -- */
struct rec_account {
    int64_t created_us, last_login_us;
    int64_t revoked_before_us; /* grants issued before it are refused */
    uint64_t quota_bytes;      /* as last told */
    uint64_t inbox;
    uint64_t list_serial; /* rises with each change of its list of mailboxes */
    uint32_t mailboxes;
    bool specials; /* the special-use mailboxes have been made */
    bool hold;     /* legal hold: nothing of it is purged (since version 2) */
};
enum { REC_ACCOUNT = 55 };
void rec_account_put(const struct rec_account *r, unsigned char out[REC_ACCOUNT]);
bool rec_account_get(struct span v, struct rec_account *out) CHECK_RESULT;

/* -- quota: the hot counters of an account, and what the directory says of it. Version 1 has only the first
 * three; it is read, and written as 2 -- */
enum {
    QUOTA_TOLD = 1,  /* the directory knows the account: its limits and its unit hold */
    QUOTA_WARNED = 2 /* the notice was queued; another one comes only after its use fell */
};
struct rec_quota {
    uint64_t bytes, messages;
    int64_t last_delivery_us;
    uint64_t limit_bytes, limit_messages; /* 0: none */
    struct uuid unit;                     /* or none */
    uint8_t flags;
    /* not on record: as quota_get found it, so that quota_put knows what the unit gains */
    uint64_t was_bytes, was_messages;
    struct uuid was_unit;
};
enum { REC_QUOTA = 58, REC_QUOTA_1 = 25 };
void rec_quota_put(const struct rec_quota *r, unsigned char out[REC_QUOTA]);
bool rec_quota_get(struct span v, struct rec_quota *out) CHECK_RESULT;

/* -- unit: an organisational unit as the directory has it; what its accounts use is summed up in memory.
 * Version 1 has no flags; it is read, and written as 2 -- */
enum { UNIT_WARNED = 1 /* as QUOTA_WARNED, of the sum of its accounts */ };
struct rec_unit {
    struct uuid parent;                   /* or none */
    uint64_t limit_bytes, limit_messages; /* 0: none */
    struct span code, name;
    uint8_t flags;
};
bool rec_unit_put(const struct rec_unit *r, struct buf *out) CHECK_RESULT;
bool rec_unit_get(struct span v, struct rec_unit *out) CHECK_RESULT; /* code and name: views of v */

/* -- mailbox -- */
struct rec_box {
    struct uuid account;
    uint64_t modseq, bytes;
    uint64_t change_floor; /* changes up to and including this modseq are not kept any more */
    int64_t deleted_us;    /* 0: it lives */
    uint32_t uidvalidity, uidnext, messages, unseen, deleted, recent_from;
    uint32_t keyword_count;
    uint8_t use;
};
enum { REC_BOX = 78 };
void rec_box_put(const struct rec_box *r, unsigned char out[REC_BOX]);
bool rec_box_get(struct span v, struct rec_box *out) CHECK_RESULT;

/* -- mailbox_name: key account + name -- */
enum { NAME_SUBSCRIBED = 1, NAME_LEVEL = 2 /* no mailbox, but a level that exists */ };
struct rec_name {
    uint64_t mailbox; /* 0: only a name */
    uint8_t use, flags;
};
enum { REC_NAME = 11 };
void rec_name_put(const struct rec_name *r, unsigned char out[REC_NAME]);
bool rec_name_get(struct span v, struct rec_name *out) CHECK_RESULT;

/* -- name_change: key account + serial. What a name record was and is -- */
struct rec_name_change {
    int64_t at_us;
    bool had, has;
    struct rec_name old, now;
    struct span name;
};
enum { KEY_NAME_CHANGE = 24 };
bool rec_name_change_put(const struct rec_name_change *r, struct buf *out) CHECK_RESULT;
bool rec_name_change_get(struct span v, struct rec_name_change *out) CHECK_RESULT;

/* -- message: key mailbox + UID; the uid member is the key's -- */
enum { REC_ROW = 48, REC_ROW_PACKED = 29 };
void rec_row_put(const struct store_row *r, unsigned char out[REC_ROW]); /* as old rows lie in a change */
/* As rows lie in the table; answers the size. */
size_t rec_row_pack(const struct store_row *r, unsigned char out[REC_ROW]);
bool rec_row_get(struct span v, struct store_row *out) CHECK_RESULT;

/* -- content -- */
struct rec_frame {
    uint32_t raw, packed, crc;
};
enum { REC_FRAME = 12 };
struct rec_content {
    char trace[TRACE_TEXT];
    int64_t stored_us;
    uint64_t size, packed;
    uint64_t offset; /* of the first frame in its segment */
    uint32_t segment, frame_count;
    struct span frames; /* REC_FRAME bytes each */
    struct span meta;
};
bool rec_content_put(const struct rec_content *r, struct buf *out) CHECK_RESULT;
/* Views point into v. Answers also when v was cut behind the head (frames and meta are then empty). */
bool rec_content_get(struct span v, struct rec_content *out) CHECK_RESULT;
enum { REC_CONTENT_HEAD = 1 + 20 + 8 + 8 + 8 + 8 + 4 + 4 + 4 };
static inline struct rec_frame rec_frame_at(struct span frames, size_t i)
{
    const char *p = frames.p + i * REC_FRAME;
    return (struct rec_frame){get_be32(p), get_be32(p + 4), get_be32(p + 8)};
}

/* -- content_ref: one for each row, each queue entry and each old row of a kept change record. At 0 the
 * record goes, and the content with it -- */
struct rec_ref {
    uint32_t count;
    int64_t dead_since_us; /* when count fell to 0, else 0 */
};
enum { REC_REF = 16 };
void rec_ref_put(const struct rec_ref *r, unsigned char out[REC_REF]);
bool rec_ref_get(struct span v, struct rec_ref *out) CHECK_RESULT;

/* -- change: key mailbox + modseq. Value: head, then items by operation -- */
enum change_op {
    CHANGE_DELIVER = 1, /* items: uid (first), count */
    CHANGE_APPEND,      /* the same */
    CHANGE_COPY_IN,     /* the same; other: the source mailbox */
    CHANGE_FLAGS,       /* items: struct rec_flags */
    CHANGE_EXPUNGE,     /* items: uid, old row */
    CHANGE_MOVE_OUT     /* items: uid, old row, new uid; other: the destination */
};
struct rec_change {
    int64_t at_us;
    uint64_t other;
    uint32_t count;
    uint8_t op;
    bool single; /* version 1: an item of CHANGE_FLAGS is one message */
    bool brief; /* version 3: one message that was added and has no other mailbox; its UID is all that follows
                 */
    struct span items;
};
enum {
    REC_CHANGE_HEAD = 1 + 8 + 1 + 8 + 4,
    REC_CHANGE_BRIEF = 1 + 8 + 1 + 4,
    ITEM_ADD = 8,
    ITEM_FLAGS = 26,
    ITEM_EXPUNGE = 4 + REC_ROW
};
enum { ITEM_MOVE = ITEM_EXPUNGE + 4 };
bool rec_change_head(struct buf *out, enum change_op op, int64_t at_us, uint64_t other,
                     uint32_t count) CHECK_RESULT;
/* A whole record of messages uid to uid + count - 1 that were added. Nearly always it is one, from nowhere
 * else: each delivery writes one, so that has a form of its own. */
bool rec_change_added(struct buf *out, enum change_op op, int64_t at_us, uint64_t other, uint32_t uid,
                      uint32_t count) CHECK_RESULT;
bool rec_change_get(struct span v, struct rec_change *out) CHECK_RESULT;
/* Item i of what was added. */
struct rec_added {
    uint32_t uid, count;
};
struct rec_added rec_added_at(const struct rec_change *r, uint32_t i);
/* When a change was; its head is enough. */
bool rec_change_time(struct span v, int64_t *at_us) CHECK_RESULT;
/* Messages uid to uid + count - 1, whose flags changed alike. */
struct rec_flags {
    uint64_t old_keywords, new_keywords;
    uint32_t uid, count;
    uint8_t old_flags, new_flags;
};
bool rec_flags_put(const struct rec_flags *f, struct buf *out) CHECK_RESULT;
/* Item i of a CHANGE_FLAGS. */
struct rec_flags rec_flags_at(const struct rec_change *r, uint32_t i);

/* -- queue -- */
enum queue_kind {
    QUEUE_MESSAGE, /* a content for accounts and groups */
    QUEUE_WARNING, /* no content: one account is to be told that its quota is nearly used up */
    QUEUE_REPORT,  /* the sender is to be told that the content did not reach the targets */
    QUEUE_UNIT     /* no content: the quota of a unit (id and name of the target) is nearly used up */
};
enum { QUEUE_NOTES = 4 };
struct rec_queue {
    char trace[TRACE_TEXT];
    int64_t queued_us, due_us;
    uint64_t content, size;
    uint32_t attempts, trace_lines;
    struct uuid cursor;
    struct span sender;
    uint32_t target_count;
    struct span targets; /* uuid, u64 quota, u8 kind, u16 n, address each */
    uint32_t skip_count;
    struct span skip; /* accounts that the same delivery filed directly, ascending uuids */
    uint8_t kind;     /* from here on: since version 2 */
    uint32_t left_count;
    struct span left;           /* targets that were full: tried again when the others are done */
    uint64_t note[QUEUE_NOTES]; /* of both warnings: bytes, their limit, messages, their limit */
};
/* How far its slices are, under its key and one byte: the entry of a circular may have hundreds of kilobytes,
 * which are not written anew with each slice. While there is none, the entry's own cursor and trace_lines
 * count. */
enum { KEY_PROGRESS = KEY_ID + 1, REC_PROGRESS = 1 + KEY_UUID + 4 };
void key_progress(unsigned char key[KEY_PROGRESS], uint64_t queue_id);
void rec_progress_put(const struct rec_queue *r, unsigned char out[REC_PROGRESS]);
/* Into r->cursor and r->trace_lines. */
bool rec_progress_get(struct span v, struct rec_queue *r) CHECK_RESULT;
bool rec_queue_put(const struct rec_queue *r, struct buf *out) CHECK_RESULT;
bool rec_queue_get(struct span v, struct rec_queue *out) CHECK_RESULT;

/* -- done: key request id + part. Value: head, then the part's answer -- */
struct rec_done {
    int64_t at_us;
    uint8_t final;
    uint8_t code;
    uint32_t next;      /* where a sliced request goes on */
    uint64_t other;     /* what it settled at its first slice */
    struct span intent; /* part 0 of a request in several slices: how to take it up again */
    struct span answer;
};
bool rec_done_put(const struct rec_done *r, struct buf *out) CHECK_RESULT;
bool rec_done_get(struct span v, struct rec_done *out) CHECK_RESULT;
/* Of its first bytes: whether it is the last part. */
enum { REC_DONE_HEAD = 1 + 8 + 1 };
bool rec_done_final(struct span head);

/* -- trace: key trace + number -- */
enum trace_kind { TRACE_RECEIVED = 1, TRACE_APPENDED, TRACE_FILED, TRACE_DEFERRED, TRACE_FINISHED };
struct rec_trace {
    int64_t at_us;
    uint8_t kind;
    uint64_t content, queue_id, size;
    unsigned char repeat[16]; /* key in repeat, zeros: none */
    struct span sender, peer, login, reason;
    uint32_t place_count;
    struct span places; /* REC_PLACE bytes each: account, mailbox, uid */
};
enum { REC_PLACE = 28 };
bool rec_trace_put(const struct rec_trace *r, struct buf *out) CHECK_RESULT;
bool rec_trace_get(struct span v, struct rec_trace *out) CHECK_RESULT;
/* The key of line n of a trace; a trace that is shorter than 20 bytes is filled up with zeros. */
void key_trace(unsigned char key[KEY_TRACE], const char *trace, uint32_t n);

/* -- repeat: key the first 16 bytes of a hash. Value: when it was last written, then a group for each try
 * that filed or queued something. (Version 1 had other keys: it is never met, and goes by its time.) -- */
struct rec_repeat_group {
    char trace[TRACE_TEXT];
    int64_t at_us;
    struct span targets; /* REC_REPEAT_TARGET bytes each: kind, id */
};
enum { REC_REPEAT_TARGET = 17 };
bool rec_repeat_head(int64_t at_us, struct buf *out) CHECK_RESULT;
bool rec_repeat_add(const struct rec_repeat_group *g, struct buf *out) CHECK_RESULT;
/* The groups, one behind the other; false: broken. */
bool rec_repeat_get(struct span v, struct span *groups) CHECK_RESULT;
/* The first of them, taken off; false: there is none, or it is broken (then groups is not empty). */
bool rec_repeat_next(struct span *groups, struct rec_repeat_group *out) CHECK_RESULT;

/* -- segment: key number -- */
enum { SEGMENT_COMPACTED = 2 }; /* large: filled by compaction; contents of any id */
enum { SEGMENT_OPEN, SEGMENT_SEALED, SEGMENT_DROPPED /* its file may be gone */ };
struct rec_segment {
    uint8_t sealed, large;
    uint64_t end;           /* once sealed; of one that compaction fills: what is committed */
    uint64_t first_content; /* contents with a smaller id are not in it (but those that compaction brought) */
    uint64_t dead;          /* bytes of contents that are gone (since version 2) */
};
enum { REC_SEGMENT = 27 };
void rec_segment_put(const struct rec_segment *r, unsigned char out[REC_SEGMENT]);
bool rec_segment_get(struct span v, struct rec_segment *out) CHECK_RESULT;

#endif
