/* Friend header of verify: what one verification remembers between its steps. */
#ifndef PROV_STORE_VERIFY_H
#define PROV_STORE_VERIFY_H

#include "common/store/engine_int.h"

enum {
    VERIFY_STEP_MS = 20,
    COUNT_PAGE = 16384,
    BARE = 4096, /* that were there, and at most so many lost ones */
    HOLES = 64   /* that are told */
};
/* Tables, as bits: those that the counts of references come from, and all. */
#define VERIFY_BIT(table) (1U << (table))
#define VERIFY_REFS                                                                                          \
    (VERIFY_BIT(T_MAILBOX) | VERIFY_BIT(T_MESSAGE) | VERIFY_BIT(T_CHANGE) | VERIFY_BIT(T_QUEUE) |            \
     VERIFY_BIT(T_CONTENT) | VERIFY_BIT(T_REF))
#define VERIFY_ALL UINT32_MAX

struct verify_segment {
    uint32_t number;
    uint8_t sealed;
    uint64_t end, dead; /* as recorded at the start */
    uint64_t live;      /* of the contents that were met */
};

struct verify {
    struct engine *e;
    bool deep, repair;
    unsigned phase;
    uint64_t at; /* where the phase is */
    struct uuid at_account;

    uint64_t limit; /* contents below it are judged */
    /* References of each content: pages for those ranges of ids in which there are contents (ids jump after a
     * restore), ascending. A count is taken away when it has been compared. */
    struct count_page {
        uint64_t number; /* id / COUNT_PAGE */
        uint32_t *v;
    } * pages;
    size_t page_n;
    struct ids living, named; /* mailboxes */
    struct verify_segment *segments;
    size_t segment_n;

    struct ids suspects; /* contents whose count is doubtful: those that are looked at */
    struct ids later;    /* and those that are not yet */
    uint32_t again[4096];
    bool watching;
    unsigned rounds;
    struct ids lost, damaged; /* contents without a record; with bytes that are not what they were */

    unsigned char at_key[64]; /* where the walk through a table is */
    size_t at_key_n;
    bool at_key_met;

    struct ids unread;    /* contents of this step whose meta record cannot be read */
    struct ids bare;      /* contents without a meta record; sorted when they are looked for */
    bool *bare_met;       /* a message of it was told */
    struct buf bare_said; /* struct store_bare of this step */

    uint32_t torn;         /* tables that were not read whole, as bits */
    uint64_t leaps;        /* past damaged pages */
    struct scan_past past; /* of the scan that is open */
    struct verify_hole {
        enum table table;
        bool open; /* up to the end */
        unsigned char from[48], to[48];
    } holes[HOLES]; /* that were told */
    size_t hole_n;

    struct buf *out; /* of the step's answer */
    uint32_t told;
    uint64_t done, bytes, found, fixed;
};

/* Tell a finding; fixed: it was repaired. */
void verify_tell(struct verify *v, bool fixed, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum err_code verify_mend(struct verify *v, const struct mend_ask *ask, struct span more,
                          struct mend_said *said) CHECK_RESULT;
/* A reference to a content was met. */
void verify_count(struct verify *v, uint64_t id);
void verify_sort(struct ids *l);
/* Where it stands; sorted->n: nowhere. */
size_t verify_place(const struct ids *sorted, uint64_t id);
bool verify_has(const struct ids *sorted, uint64_t id);
/* The next mailbox behind an id; ERR_MISSING: none. */
enum err_code verify_next_box(struct verify *v, struct tx *t, uint64_t after, struct box *out) CHECK_RESULT;

/* -- verify_holes.c -- */
/* scan_open of a scan that goes on past damaged pages and tells of them (one at a time is open); v->leaps
 * says whether there were any. */
void verify_scan(struct verify *v, struct scan *s, struct tx *t, enum table table, struct span from,
                 size_t prefix_n, size_t block_size);
/* Whether one of these tables was not read whole: then nothing may be concluded from what it lacks. */
bool verify_torn(const struct verify *v, uint32_t tables);
/* For reads that are no scans: take a mark before, and ask about the outcome. True: a damaged page was in the
 * way; it is told (unless what is NULL), and these tables count as not read whole. */
uint64_t verify_mark(void);
bool verify_hit(struct verify *v, enum err_code code, uint64_t mark, uint32_t tables, const char *what);

/* -- verify_accounts.c, verify_queue.c -- */
enum err_code verify_accounts(struct verify *v, bool *end) CHECK_RESULT;
enum err_code verify_queue(struct verify *v, bool *end) CHECK_RESULT;

/* -- verify_records.c -- */
enum err_code verify_records(struct verify *v, bool *end) CHECK_RESULT;
/* The names' history of an account, of which the writer may then be asked. */
enum err_code verify_history(struct verify *v, struct tx *t, const struct uuid *account,
                             bool *odd) CHECK_RESULT;
enum err_code verify_history_judge(struct verify *v, const struct uuid *account) CHECK_RESULT;

/* -- verify_bytes.c -- */
/* Read a content's frames as its record has them; damage is told and remembered. */
enum err_code verify_frames(struct verify *v, uint64_t id, const struct rec_content *r) CHECK_RESULT;
enum err_code verify_segments(struct verify *v, bool *end) CHECK_RESULT;
enum err_code verify_files(struct verify *v, bool *end) CHECK_RESULT;
enum err_code verify_losses(struct verify *v, bool *end) CHECK_RESULT;

#endif
