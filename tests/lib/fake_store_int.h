/* What the two files of the store in memory share: fake_store.c (calls, people, sessions, mailboxes) and
 * fake_messages.c (what is in mailboxes). Nobody else includes it. */
#ifndef PROV_TESTS_FAKE_STORE_INT_H
#define PROV_TESTS_FAKE_STORE_INT_H

#include "tests/lib/fake_store.h"

enum { MAX_BOXES = 500, MAX_KEYWORDS = 64 };

struct message {
    struct store_row row;
    struct content *content;
};

struct gone {
    uint32_t uid;
    uint64_t modseq;
};

struct box {
    uint64_t id;
    char *name;
    enum store_use use;
    bool exists, subscribed; /* exists false: only a name */
    bool deleted;            /* gone for good */
    uint32_t uidvalidity, uidnext, recent_from;
    uint64_t modseq;
    char *keywords[MAX_KEYWORDS + 1];
    struct message *m;
    size_t n;
    struct gone *gone;
    size_t gone_n;
};

struct person {
    char *address;
    struct box *boxes[MAX_BOXES];
    size_t n;
    struct person *next;
};

struct store_account {
    struct person *p;
    store_event_cb *cb;
    void *arg;
    uint64_t watched[16];
    size_t watched_n;
    struct store_account *next;
};

struct call {
    struct call *next;
    void (*run)(struct call *c, void *session);
    struct ticket *ticket;
    struct store_account *a;
    uint64_t box, since, first, want;
    char *name, *to;
    size_t to_n;
    bool flag;
    int use;
    uint32_t *uids, lo, hi;
    size_t count;
    struct store_flag_change change;
    struct span *keywords;
    struct store_append append;
    void (*cb)(void); /* cast to its own type by run */
};

/* Queue a call; who asks fills in the rest, the pump runs and frees it. */
struct call *fake_call(struct store_account *a, struct ticket *t, void (*run)(struct call *, void *));
/* Once for each call that runs: this is the one that is to fail. */
bool fake_fails(void);
uint64_t fake_next_id(void);

/* A mailbox of that name, also one that is only a name; NULL: none. */
struct box *fake_by_name(struct person *p, struct span name);
/* A mailbox that exists; NULL: none. */
struct box *fake_by_id(struct person *p, uint64_t id);
/* As callers see it; borrows the mailbox's texts. */
struct store_mailbox fake_view(const struct box *b);
/* Tell the sessions that watch it. */
void fake_changed(struct person *p, struct box *b);
/* Put a message in, with a UID and a modseq of its own; holds the content. The UID. */
uint32_t fake_file(struct person *p, struct box *b, struct content *content, struct store_row row);

#endif
