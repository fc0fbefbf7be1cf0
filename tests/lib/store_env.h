/* A stored of one's own in a temporary folder, and the asynchronous client made to wait: for tests and load
 * programs. Only processes that it started are ended. */
#ifndef PROV_TESTS_STORE_ENV_H
#define PROV_TESTS_STORE_ENV_H

#include "common/base/grant.h"
#include "common/net/loop.h"
#include "common/store/store.h"
#include <sys/types.h>

struct store_env {
    char dir[256];
    pid_t pid; /* of stored, 0: not running */
    unsigned char key[32];
    struct loop *loop;
};
/* Make the folder and start stored (top_builddir names where it lies). options: lines of provmail.conf, or
 * "". */
void env_start(struct store_env *e, const char *options);
/* kill -9 and wait. */
void env_kill(struct store_env *e);
/* SIGTERM and wait: the exit status. */
int env_stop(struct store_env *e);
/* Start it again in the same folder. */
void env_restart(struct store_env *e);
/* Stop, remove the folder. */
void env_end(struct store_env *e);
/* Free the loop, once all that used it has been closed. */
void env_loop_free(struct store_env *e);
/* A client of a role: "deliver", "relay", "session", "admin". */
struct store *env_client(struct store_env *e, const char *role);
/* The path of a role's socket, in a static buffer. */
const char *env_socket(struct store_env *e, const char *role);
/* A grant for account number n, sealed into out. */
void env_grant(struct store_env *e, unsigned n, struct buf *out);
struct uuid env_account(unsigned n);

/* Run the loop until *flag is set; aborts the program after 120 s. */
void env_wait(struct store_env *e, const bool *flag);
/* A finished content of these bytes, with meta. */
struct content *env_content(struct span text, struct span meta);
/* Log in; NULL: refused, *code says why (code may be NULL). */
struct store_account *env_login(struct store_env *e, struct store *s, unsigned n, enum err_code *code);
/* Deliver text to the INBOX of account n. */
enum err_code env_deliver(struct store_env *e, struct store *s, unsigned n, const char *text);
/* The state of a mailbox by name; views are copied: only numbers are valid. */
enum err_code env_status(struct store_env *e, struct store_account *a, const char *name,
                         struct store_mailbox *out);

#endif
