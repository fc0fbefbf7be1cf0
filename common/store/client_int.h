/* Friend header of the client's files. */
#ifndef PROV_STORE_CLIENT_INT_H
#define PROV_STORE_CLIENT_INT_H

#include "common/base/arena.h"
#include "common/store/wire.h"
#include <uthash.h>

struct pending;
/* One part of an answer (code is ERR_OK), or the end without one. False: not what the wire says. */
typedef bool part_fn(struct pending *p, enum err_code code, struct span body, bool more);

/* A question that is not answered yet. It lives in order of asking, and is found by seq. */
struct pending {
    struct store *s;
    uint64_t seq;
    uint16_t type;
    bool write, sent, failed;
    bool begun;     /* in slices, of which some are done */
    bool taken;     /* the writer had it when stored was last asked */
    bool unsettled; /* the connection fell while it was under way */
    enum err_code failure;
    struct wire_ask ask;
    struct buf body; /* behind ask; of streamed reads what is still wanted */
    struct content *content;
    int fd; /* -1, or rides on the question, which is asked once then */
    struct ticket *ticket;
    part_fn *part;
    void (*cb)(void); /* of the type that part knows */
    uint64_t asked_ms;
    struct buf rows, extra;        /* gathered from earlier parts */
    struct store_account *account; /* of a login */
    UT_hash_handle hh;
    struct pending *prev, *next;
};

/* One account's interest in one mailbox, found from both sides. */
struct account_watch {
    uint64_t mailbox;
    struct store_account *account;
    unsigned count;
    UT_hash_handle hh;                 /* of the account */
    struct account_watch *prev, *next; /* of the mailbox */
};
struct mailbox_watch {
    uint64_t mailbox;
    struct account_watch *watches;
    UT_hash_handle hh;
};
struct store_account {
    struct store *s;
    uint32_t id;
    struct buf grant;
    bool ready;
    uint64_t login_seq; /* of the grant that was shown again */
    store_event_cb *event;
    void *event_arg;
    struct account_watch *watches;
    UT_hash_handle hh; /* by id */
};

/* An account that takes no more mail. */
struct full_account {
    struct uuid id;
    UT_hash_handle hh;
};

struct store {
    struct loop *loop;
    struct ipc_client *client;
    enum store_role role;
    char *path;
    bool up, closed, deferred;
    bool telling; /* inside a caller's callback */
    bool perhaps; /* what is told failed, and may be done nevertheless */
    uint64_t patience_ms;
    uint64_t down_ms;   /* since when it is down */
    uint64_t life_ms;   /* of its last frame */
    uint64_t writer_ms; /* the same of its writer: an answer to a write or to a ping */
    uint64_t ping_ms, tick_ms;
    uint64_t next_seq, next_request;
    unsigned char instance[8]; /* first half of its request ids */
    struct pending *by_seq, *list;
    struct buf acks, confirms;
    struct store_account *accounts;
    struct mailbox_watch *watched;
    struct full_account *full;
    uint32_t next_account;
    void (*queue_event)(void *arg);
    void *queue_arg;
    struct loop_timer *patience;
    struct arena *arena; /* of the answer that is being told */
    struct buf bytes;    /* unpacked */
};

/* Tell a callback of type TYPE unless nobody waits. */
#define TELL(p, TYPE, ...)                                                                                   \
    do {                                                                                                     \
        void *session_ = ticket_session((p)->ticket);                                                        \
        if (session_ && (p)->cb)                                                                             \
            ((TYPE *)(p)->cb)(session_, __VA_ARGS__);                                                        \
    } while (0)
#define CB(cb) ((void (*)(void))(cb))

enum { CLIENT_BODY_LIMIT = IPC_FRAME_LIMIT - (1 << 20) };

/* A new question; the caller adds to p->body (checking ok), then calls ask. */
struct pending *pending_new(struct store *s, uint16_t type, bool write, struct ticket *t, part_fn *part,
                            void (*cb)(void));
/* Send it now or when stored is there. ok false: the body was too large, the answer is ERR_LIMIT. */
void pending_ask(struct pending *p, bool ok);
/* Append the content's head, table and meta to the body; its bytes go along at each sending. */
bool pending_content(struct pending *p, struct content *c) __attribute__((warn_unused_result));
/* A frame that is not repeated; its seq. */
uint64_t client_tell(struct store *s, uint16_t type, uint32_t session, uint64_t mailbox, struct span body);
/* A confirmation (wire_confirm): kept while stored is away. */
void client_confirm(struct store *s, struct span receipt);
/* Tell the boxes that lie in all, one behind the other. */
bool client_tell_list(struct pending *p, struct span all);
/* Accounts and watches, when the connection is new. */
void client_again(struct store *s);
void client_login_again(struct store *s, uint64_t seq, enum err_code code);
bool client_event(struct store *s, struct span body);

/* Reading of boxes, in the arena. */
bool take_box(struct wire_in *in, struct arena *a, struct store_mailbox *out)
    __attribute__((warn_unused_result));
/* count items of size bytes, aligned, in the arena. */
void *take_items(struct wire_in *in, struct arena *a, uint64_t count, size_t size);
const char *const *take_keywords(struct wire_in *in, struct arena *a, uint32_t count);

#endif
