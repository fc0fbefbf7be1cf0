/* Friend header of stored's files: connections with their roles, sessions with their grants, what waits for
 * the disk, and the readers. All of it belongs to the loop's thread but the task queue. */
#ifndef PROV_STORE_SERVER_H
#define PROV_STORE_SERVER_H

#include "common/base/crypto.h"
#include "common/base/log.h"
#include "common/net/daemon.h"
#include "common/net/ipc.h"
#include "common/net/loop.h"
#include "common/store/engine.h"
#include "common/store/wire.h"
#include <pthread.h>
#include <uthash.h>

enum role { ROLE_DELIVER = 1, ROLE_RELAY = 2, ROLE_SESSION = 4, ROLE_ADMIN = 8, ROLE_DIRECTORY = 16 };
enum { ROLES = 5 };

struct server;

/* One login on a connection. */
struct session {
    uint32_t id; /* the worker's number for it */
    struct conn *conn;
    struct uuid account;
    uint64_t quota_bytes;
    int64_t issued_us;
    bool revoked;
    UT_hash_handle hh;
    struct session *prev, *next; /* of the account */
};
/* Sessions of one account over all connections. */
struct account {
    struct uuid id;
    struct session *sessions;
    UT_hash_handle hh;
};
/* One connection's interest in one mailbox. */
struct watch {
    uint64_t mailbox;
    struct conn *conn;
    uint64_t told;             /* modseq of the last event */
    UT_hash_handle hh;         /* of the connection */
    struct watch *prev, *next; /* of the mailbox */
};
struct watched {
    uint64_t mailbox;
    struct watch *watches;
    UT_hash_handle hh;
};

struct conn {
    struct server *s;
    struct ipc *ipc; /* NULL: gone */
    enum role role;
    uint64_t number;
    unsigned refs; /* jobs and tasks under way, and the connection itself */
    size_t waiting_bytes;
    unsigned waiting;
    bool paused, queue_watch, full_watch;
    unsigned refused; /* frames of other roles */
    struct session *sessions;
    struct watch *watches;
    struct asker asker; /* by the answers to its pings */
    struct conn *prev, *next;
};

/* An answer or event that may not leave before its batch is durable. */
struct held {
    struct held *next;
    struct conn *conn;
    uint64_t mark, seq;
    uint16_t type;
    enum err_code code;
    struct parts parts;
    bool more; /* of the last part */
};

/* A mark of \Recent that has moved further than the record says yet. */
struct claim {
    uint64_t mailbox;
    uint32_t to;
    unsigned jobs; /* that write it, under way */
    UT_hash_handle hh;
};

/* A query for the reader threads. */
struct task {
    struct task *next;
    struct conn *conn;
    uint64_t seq;
    struct query q;
    struct buf body;
    enum err_code code;
};

enum { READERS = 2 };

struct server {
    struct daemon *d;
    struct loop *loop;
    struct engine *e;
    bool upgrade_only;
    uint64_t progress_ms; /* when an upgrade last said where it is */
    unsigned char key[CRYPTO_HASH];
    struct listener {
        struct server *s;
        enum role role;
        int fd;
        uid_t uid;
        struct ipc_server *server;
    } listeners[ROLES];
    struct conn *conns;
    uint64_t next_conn;
    struct account *accounts;
    struct watched *watched;
    uint64_t durable; /* as the loop has heard */
    struct held *held, **held_last;
    struct claim *claims;
    struct job *fresh, **fresh_last; /* for the writer, when this round of the loop is over */
    struct loop_timer *queue_timer;
    unsigned queue_watchers;

    pthread_mutex_t lock; /* guards the next four */
    pthread_cond_t work;
    struct task *tasks, **tasks_last;
    bool stopping;
    pthread_t readers[READERS];
    pthread_t backup; /* while backup_runs */
    bool backup_runs;
    _Atomic bool backup_stop;
    struct task *stalled; /* the asker does not read fast enough */
    struct loop_timer *stall_timer;
};

/* -- server.c -- */
void server_start(struct server *s);
/* Open the store, which upgrades an older one, close it, and end the process. */
void server_upgrade(struct server *s);
struct offline_options {
    bool deep, repair, json;
};
/* Verify a store that was opened for nothing else (offline.c); the exit status. */
int offline_verify(struct engine *e, const struct offline_options *o) CHECK_RESULT;
/* Open the store, verify it, close it, leave. */
void server_verify(struct server *s, const struct offline_options *o) __attribute__((noreturn));
/* Answers are out, connections closed. */
void server_stop(struct server *s);
void conn_hold(struct conn *c, size_t bytes);
void conn_drop(struct conn *c, size_t bytes);
/* Send, or keep until mark is durable. Takes the parts. */
void reply(struct conn *c, uint64_t mark, uint16_t type, uint64_t seq, enum err_code code,
           struct parts *parts, bool more);
/* An answer without a body, of something that is durable. */
void reply_code(struct conn *c, uint16_t type, uint64_t seq, enum err_code code);
/* A frame that was checked against the table of types. */
struct request {
    struct conn *conn;
    uint16_t type;
    uint64_t seq;
    struct wire_ask ask;
    struct span body; /* behind ask */
    int fd;           /* or -1; whoever takes it sets -1 */
    struct session *session;
};
/* Takes the job; it reaches the engine at the end of this round of the loop. */
void submit_job(struct server *s, struct job *j);
/* Hand a write to the engine. type: the request's own, or another one that stands for it. */
void submit_write(struct request *r, uint16_t type);
struct conn *conn_new(struct server *s, struct ipc *ipc, enum role role);
void conn_gone(struct conn *c);

/* -- serve_read.c -- */
bool serve_read(struct request *r);
bool serve_status(struct request *r);
/* A job of WIRE_CLAIM is done, or failed. */
void claim_written(struct server *s, const struct job *j);
void readers_start(struct server *s);
void readers_stop(struct server *s);

/* -- serve_backup.c -- */
bool serve_backup(struct request *r);
void backup_stop(struct server *s);

/* -- serve_session.c -- */
bool serve_login(struct request *r);
bool serve_logout(struct request *r);
bool serve_watch(struct request *r);
bool serve_queue_watch(struct request *r);
bool serve_full_watch(struct request *r);
struct session *session_find(struct conn *c, uint32_t id);
void sessions_free(struct conn *c);
void tell_news(struct server *s, const struct news *n);
/* A revocation has been recorded. */
void revoke_sessions(struct server *s, const struct wire_revoke *w);

#endif
