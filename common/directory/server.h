/* Friend header of directoryd's files: its state, its connections, and who serves what. */
#ifndef PROV_DIRECTORY_SERVER_H
#define PROV_DIRECTORY_SERVER_H

#include "common/base/log.h"
#include "common/directory/copy.h"
#include "common/directory/directory.h"
#include "common/directory/known.h"
#include "common/directory/logins.h"
#include "common/directory/people.h"
#include "common/directory/source.h"
#include "common/directory/wire.h"
#include "common/net/daemon.h"

enum role { ROLE_SMTP = 1, ROLE_IMAP = 2, ROLE_USER = 4, ROLE_ADMIN = 8 };
enum { ROLES = 4 };

struct book;
/* The people as one reading left them. Read by the loop only; built on any thread. */
/* The accounts behind the groups that were asked for last; the pieces are the view's. */
struct roll {
    struct buf ids;
    const struct people_entry **v;
    size_t n;
};
void roll_free(struct roll *k);
struct view {
    struct roll roll;
    struct people *people;
    struct book *book;
    size_t accounts, groups, units, claims; /* claims: addresses that two entries want */
    struct login_census census;
};
/* ERR_BUG, ERR_LIMIT: why says it. */
CHECK_RESULT enum err_code view_new(struct copy *c, struct view **out, struct err *why);
void view_free(struct view **v);

struct server;
struct listener {
    struct server *s;
    enum role role;
    int fd;
    uid_t uid;
    struct ipc_server *server;
};
struct exchange;
struct conn {
    struct server *s;
    struct ipc *ipc;
    enum role role;
    unsigned refused;
    struct exchange *exchanges; /* its logins */
    unsigned exchange_count;
    unsigned refs; /* the connection, and whoever will answer later */
    struct conn *prev, *next;
};

struct refresh;
struct outbox;
struct limits;
struct backup;
struct server {
    struct backup *backup; /* under way */
    struct daemon *d;
    struct loop *loop;
    struct copy *copy;
    struct source *source;
    struct view *view;
    struct logins *logins;
    struct refresh *refresh;
    struct outbox *outbox;
    struct limits *limits;
    unsigned char key[CRYPTO_HASH];
    struct listener listeners[ROLES];
    struct conn *conns;
    struct answers_page *page; /* or NULL */
    int page_fd;
    int64_t contact_us; /* of the copy; 0: it was never complete */
    uint64_t serial;    /* of the last grant */
    uint64_t logins_good, logins_bad;
    struct loop_timer *hourly;
};

/* -- life -- */
void server_start(struct server *s); /* once the user and the sandbox are settled */
void server_stop(struct server *s);
/* Take a new view; the old one is freed later, when nobody can hold a piece of it any more. */
void server_take_view(struct server *s, struct view *v);
/* Ids of the people whose entries changed. */
void server_changed(struct server *s, const struct copy_account *v, size_t count);
/* May the copy say that something does not exist? */
bool server_knows(const struct server *s);
void server_tell_mechs(struct server *s, struct conn *only);

/* -- requests -- */
struct request {
    struct conn *conn;
    uint16_t type;
    uint64_t seq;
    struct reader in;
    int fd; /* -1, or the request's; taken by setting -1 */
};
/* False: the request is malformed. */
typedef bool serve_fn(struct request *r);
serve_fn serve_lookup, serve_account, serve_members, serve_may_send;
serve_fn serve_auth, serve_auth_step, serve_auth_cancel;
serve_fn serve_user_login, serve_user_resume, serve_user_logout, serve_user_search;
serve_fn serve_accounts, serve_show, serve_sync, serve_import, serve_backup, serve_status, serve_grant;

void reply(struct conn *c, uint16_t type, uint64_t seq, enum err_code code, struct span body);
void conn_hold(struct conn *c);
void conn_release(struct conn *c);
void exchanges_free(struct conn *c);
/* Append a sealed grant for e. over_quota: without the account's limit. False: out is full. */
bool server_grant(struct server *s, const struct people_entry *e, const char *protocol, const char *peer,
                  bool over_quota, struct buf *out) __attribute__((warn_unused_result));
bool put_entry(struct buf *b, struct server *s, const struct people_entry *e, bool may_post)
    __attribute__((warn_unused_result));

/* -- logins -- */
enum err_code server_logins(struct server *s, struct err *why);
/* Whose token is it, and what is known of it? ERR_OK, ERR_DENIED. */
enum err_code token_find(struct server *s, struct span token, unsigned char hash[CRYPTO_HASH],
                         struct copy_token *out);

/* -- refresh.c: reading the source -- */
typedef void refresh_done(void *arg, enum err_code code, struct span text);
void refresh_new(struct server *s);
/* Read now (after a reading that runs already). done may be NULL. */
void refresh_now(struct server *s, bool force, refresh_done *done, void *arg);
/* False: a reading runs and cannot be waited for. */
bool refresh_stop(struct server *s);
/* "key=value" lines. */
bool refresh_status(struct server *s, struct buf *out);

/* -- outbox.c: events to stored -- */
void outbox_new(struct server *s);
void outbox_kick(struct server *s);
void outbox_free(struct server *s);

/* -- limits.c: quotas and units, to stored -- */
void limits_new(struct server *s);
/* There is a new view. */
void limits_changed(struct server *s);
void limits_free(struct server *s);
/* -- serve_backup.c -- */
void backup_stop(struct server *s);

/* -- book.c: search by name -- */
struct book *book_new(const struct people *p);
void book_free(struct book **b);
/* Those in whose name, address or unit every word of query occurs (folded: no marks needed), best first; at
 * most max. query "": everybody, by name. */
size_t book_search(const struct book *b, struct span query, const struct people_entry **v, size_t max);

#endif
