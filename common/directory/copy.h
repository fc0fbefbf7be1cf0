/* The durable copy of the directory, and what else directoryd must not forget: ids of entries whose source
 * gives none, webmail tokens as hashes, verifiers of good logins, the outbox of account events. Everything is
 * in one Berkeley DB environment below directory_dir, opened by one process at a time. Functions may be
 * called from any thread; a database that fails ends the process (the next start recovers). */
#ifndef PROV_DIRECTORY_COPY_H
#define PROV_DIRECTORY_COPY_H

#include "common/base/buf.h"
#include "common/base/crypto.h"
#include "common/base/ids.h"
#include "common/directory/ldif.h"

struct copy;
/* Recover and open DIR/db. ERR_STATE: another process has it; ERR_BUG: the databases cannot be opened. */
CHECK_RESULT enum err_code copy_open(const char *dir, struct copy **out, struct err *why);
void copy_close(struct copy **c);
/* All of it into the pipe fd (closed at the end), in the form of common/store/backup_stream.h; blocks, for a
 * thread of its own, while all else goes on. dir: as opened. stop: give up. */
CHECK_RESULT enum err_code copy_backup(struct copy *c, const char *dir, int fd, _Atomic bool *stop,
                                       uint64_t *sent, struct err *why);

/* -- entries -- */

/* False ends the reading with ERR_STATE. What is shown is borrowed until the callback returns. */
typedef bool copy_entry_cb(void *arg, const struct ldif_record *r, const struct uuid *id);
/* Every entry, ascending by id. ERR_BUG: an entry cannot be read. */
CHECK_RESULT enum err_code copy_read(struct copy *c, copy_entry_cb *cb, void *arg, struct err *why);

/* The ids of all entries by their DNs, for a file that names none. ERR_BUG: an entry cannot be read. */
struct copy_ids;
CHECK_RESULT enum err_code copy_ids_new(struct copy *c, struct copy_ids **out, struct err *why);
void copy_ids_free(struct copy_ids **ids);
/* The id of the entry with this DN, or a new one (which nobody keeps). */
void copy_ids_find(const struct copy_ids *ids, struct span dn, struct uuid *out);

/* When a whole reading of the source was last taken over (wall clock); 0: never, the copy is not complete. */
int64_t copy_contact_us(struct copy *c);

/* -- a reading of the source -- */

enum copy_event { COPY_REVOKE = 1 }; /* the account's sessions end: removed, disabled, password changed */
struct copy_account {
    struct uuid id;
    bool revoked;
};
struct copy_changes {
    size_t added, changed, removed;     /* entries */
    size_t accounts, accounts_removed;  /* before this reading; of them gone now */
    size_t doubles;                     /* passed over: an id or a DN that came twice */
    const struct copy_account *account; /* accounts that changed or went */
    size_t account_count;
};
struct copy_sync;
struct copy_sync *copy_sync_new(struct copy *c);
void copy_sync_free(struct copy_sync **s);
/* Take one record. id NULL: the id kept for its DN, or a new one. ERR_LIMIT: larger than can be held. */
CHECK_RESULT enum err_code copy_sync_add(struct copy_sync *s, const struct ldif_record *r,
                                         const struct uuid *id, struct err *why);
/* Once, when all are there: what would change? Borrowed until the sync is freed. */
CHECK_RESULT enum err_code copy_sync_compare(struct copy_sync *s, struct copy_changes *out, struct err *why);
/* Take it over in one transaction, with its events in the outbox and now_us as the time of contact. The id of
 * a DN that is gone is forgotten: whoever bears that DN later is somebody else. */
CHECK_RESULT enum err_code copy_sync_commit(struct copy_sync *s, int64_t now_us, struct err *why);

/* -- events for the store -- */

struct copy_out {
    uint64_t number;
    enum copy_event event;
    struct uuid account;
    int64_t at_us;
};
/* The oldest event; false: none. */
bool copy_outbox_first(struct copy *c, struct copy_out *out);
void copy_outbox_done(struct copy *c, uint64_t number);

/* -- webmail sessions: the key is the SHA-256 of the token -- */

struct copy_token {
    struct uuid account;
    int64_t created_s, used_s, expires_s;
    char peer[64], agent[128];
};
bool copy_token_get(struct copy *c, const unsigned char hash[CRYPTO_HASH], struct copy_token *out);
/* durable: wait for the disk (a new one); else soon (a longer life). */
void copy_token_put(struct copy *c, const unsigned char hash[CRYPTO_HASH], const struct copy_token *t,
                    bool durable);
void copy_token_drop(struct copy *c, const unsigned char hash[CRYPTO_HASH]);
/* Drop those of an account, or (NULL) those that ended before now_s. */
size_t copy_token_purge(struct copy *c, const struct uuid *account, int64_t now_s);

/* -- verifiers of good logins -- */

bool copy_verifier_get(struct copy *c, const struct uuid *id, struct buf *out, int64_t *at_us);
void copy_verifier_put(struct copy *c, const struct uuid *id, struct span verifier, int64_t at_us);
void copy_verifier_drop(struct copy *c, const struct uuid *id);

#endif
