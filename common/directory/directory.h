/* The directory as workers see it: an asynchronous client of directoryd. Every lookup has three answers:
 * found (ERR_OK), absent (ERR_MISSING: said only by a copy that is complete and fresh), or try again
 * (ERR_RETRY). Callbacks come from the loop, exactly once unless the ticket went void; views are valid inside
 * cb only. While directoryd is away or gives no sign of life, calls wait up to DIR_PATIENCE_MS (in a worker:
 * directory_patience), then answer ERR_RETRY. */
#ifndef PROV_DIRECTORY_DIRECTORY_H
#define PROV_DIRECTORY_DIRECTORY_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/net/daemon.h"
#include "common/net/ticket.h"

enum { DIR_PATIENCE_MS = 20000 };

struct directory;
/* Through the master; the daemon_peer is named "directory" (RUN_DIR/directory/ROLE/sock, ROLE smtp or imap).
 */
struct directory *directory_new_worker(struct worker *w);
/* Tools and tests: RUN_DIR/directory/admin/sock or another role's. */
struct directory *directory_new_path(struct loop *l, const char *path);
bool directory_is_up(const struct directory *d);
void directory_free(struct directory **d);

/* ---------------------------------------------------------------- addresses (roles smtp, admin) */

enum dir_kind {
    DIR_ACCOUNT, /* a person's or a shared mailbox */
    DIR_GROUP,   /* members, see directory_members */
    DIR_REMOTE   /* a domain that is not ours */
};
struct dir_entry {
    enum dir_kind kind;
    struct uuid id;
    struct span address;   /* primary, normal form */
    struct span name;      /* display name */
    struct uuid unit;      /* organisational unit, or none */
    uint64_t quota_bytes;  /* account: 0 none */
    bool disabled;         /* account: takes no mail (5.2.1) */
    bool no_login;         /* account: may not log in */
    uint32_t member_count; /* group: distinct accounts, expanded */
    bool may_post;         /* group: sender given in the call may post to it */
    struct span forward;   /* account: also forward there; "" none (for later) */
};
typedef void directory_entry_cb(void *session, enum err_code code, const struct dir_entry *entry);
/* Who is address? Aliases and alternate addresses are followed; postmaster@ and abuse@ of our domains always
 * resolve when the directory has them. sender: the authenticated account, or NULL for mail from outside:
 * decides may_post (a group without mailSendAsMember takes mail from every authenticated person and none from
 * outside). */
void directory_lookup(struct directory *d, struct span address, const struct uuid *sender, struct ticket *t,
                      directory_entry_cb *cb);
/* True: *out is what directory_lookup would answer now (its texts are SPAN_NONE), remembered of an earlier
 * call; accounts only, the same for every sender. */
bool directory_known(const struct directory *d, struct span address, struct dir_entry *out);
void directory_account(struct directory *d, const struct uuid *id, struct ticket *t, directory_entry_cb *cb);

struct dir_member {
    struct uuid id;
    struct span address;
    uint64_t quota_bytes;
};
typedef void directory_members_cb(void *session, enum err_code code, const struct dir_member *v, size_t count,
                                  bool more);
/* The distinct accounts (disabled ones left out) behind groups and accounts together, nested groups expanded,
 * cycles cut, ascending by id, those after `after` only, at most max. more: ask again after the last one. */
void directory_members(struct directory *d, const struct uuid *ids, size_t id_count, const struct uuid *after,
                       size_t max, struct ticket *t, directory_members_cb *cb);
/* May this account send as address (own address, or mailSendAsMember of a group or shared mailbox)?
 * ERR_OK, ERR_DENIED, ERR_RETRY. */
typedef void directory_code_cb(void *session, enum err_code code);
void directory_may_send(struct directory *d, const struct uuid *account, struct span address,
                        struct ticket *t, directory_code_cb *cb);

/* ---------------------------------------------------------------- logins (roles smtp, imap) */

struct dir_facts {
    const char *service;         /* "smtp", "imap" */
    const char *peer;            /* client address, "unix" for the webmail */
    bool secure;                 /* TLS, or a local socket */
    const char *tls_version;     /* or NULL */
    struct span channel_binding; /* tls-exporter, or empty */
};
/* Mechanisms to offer, blank-separated ("PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER"), "" while directoryd is
 * away; PLAIN and LOGIN only on secure connections (unless the configuration says otherwise). bound: there is
 * a channel binding to give with the facts. Borrowed until the next call. */
const char *directory_mechs(struct directory *d, bool secure, bool bound);

struct dir_auth; /* one exchange */
struct dir_login {
    struct uuid account;
    struct span address; /* primary */
    struct span name;
    struct span grant; /* for store_login */
};
/* ERR_OK: login is set, the exchange is over (auth is freed). ERR_STATE: go on, challenge is to be sent (raw,
 * not base64) and the client's answer given to directory_auth_step. ERR_DENIED: wrong; the delay against
 * guessing has passed already. ERR_RETRY: cannot be checked now (4.7.0, [UNAVAILABLE]). ERR_SYNTAX: broken
 * blob or unknown mechanism. ERR_LIMIT: too many tries. In ERR_OK challenge may hold final data (RFC 4422 5
 * e: SCRAM's server signature), SPAN_NONE when none. After anything but ERR_STATE the exchange is gone. */
typedef void directory_auth_cb(void *session, enum err_code code, struct span challenge,
                               const struct dir_login *login);
/* initial: the initial response, p NULL when the client sent none. Blobs are raw, at most 12 KiB. */
struct dir_auth *directory_auth(struct directory *d, struct span mech, const struct dir_facts *facts,
                                struct span initial, struct ticket *t, directory_auth_cb *cb);
void directory_auth_step(struct dir_auth *a, struct span response);
/* The client gave up ("*") or went away; also void its ticket. */
void directory_auth_cancel(struct dir_auth **a);

/* ---------------------------------------------------------------- administration (role admin) */

typedef void directory_entries_cb(void *session, enum err_code code, const struct dir_entry *v, size_t count,
                                  bool more);
/* Accounts whose address or name holds filter ("" all), ascending by address. */
void directory_admin_accounts(struct directory *d, struct span filter, struct ticket *t,
                              directory_entries_cb *cb);
typedef void directory_text_cb(void *session, enum err_code code, struct span text);
/* All that is known of one address or id as "key=value" lines. */
void directory_admin_show(struct directory *d, struct span address, struct ticket *t, directory_text_cb *cb);
/* Read the source now. force: go on although more than directory_remove_limit per cent would vanish. text:
 * what changed, or why it was refused. */
void directory_admin_sync(struct directory *d, bool force, struct ticket *t, directory_text_cb *cb);
/* Put an LDIF file in the place of the source file (source ldif): checked whole first; faults come as text
 * with line numbers and ERR_SYNTAX. */
void directory_admin_import(struct directory *d, int fd, bool force, struct ticket *t, directory_text_cb *cb);
/* A grant for store_login of any account, for a tool that moves whole mailboxes: protocol is "import" or
 * "export", directoryd writes it into its log. over_quota: the account's limit does not hold. text: the
 * sealed grant. ERR_MISSING; ERR_DENIED: not an account, or another protocol. */
void directory_admin_grant(struct directory *d, const struct uuid *account, const char *protocol,
                           bool over_quota, struct ticket *t, directory_text_cb *cb);
/* Send the copy into the pipe fd (taken), in the form of common/store/backup_stream.h. cb comes when all was
 * sent or it failed; its text says why. ERR_STATE: another backup is under way. */
void directory_admin_backup(struct directory *d, int fd, struct ticket *t, directory_text_cb *cb);
/* "key=value" lines: source, complete, last contact, age, accounts, groups, units, failures ... */
void directory_admin_status(struct directory *d, struct ticket *t, directory_text_cb *cb);

#endif
