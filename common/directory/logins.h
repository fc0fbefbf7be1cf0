/* Logins: every SASL exchange of directoryd, without sockets. libsasl2 runs PLAIN, LOGIN and SCRAM
 * (sasl_exchange.h); OAUTHBEARER (RFC 7628) is written here. Slow work (hashes, LDAP binds) runs in helper
 * threads; answers come from the loop. One name from one address is tried auth_failure_limit times in vain
 * within a quarter of an hour, then ERR_LIMIT; nobody else is held up. */
#ifndef PROV_DIRECTORY_LOGINS_H
#define PROV_DIRECTORY_LOGINS_H

#include "common/base/buf.h"
#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/directory/scram.h"
#include "common/net/loop.h"

struct logins;
struct login; /* one exchange */

/* What a login must know of a person. All spans are borrowed until the next call of find. */
struct login_person {
    struct uuid id;
    struct span dn, address, name;
    const struct span *passwords; /* userPassword values that may be checked here */
    size_t password_count;
    const struct span *scram; /* RFC 5803 authPassword values "SCRAM-SHA-256$ITER:SALT$STORED:SERVER" */
    size_t scram_count;
    bool no_login;
    bool dated; /* the copy sees when the password changes, though it may not see the password */
};

/* What the people have, taken all together: which mechanisms can be offered, and what an unknown name must
 * look like to be told from nobody's. */
struct login_census {
    size_t accounts; /* persons who may log in */
    size_t able;     /* of them: with a value that a password can be checked against */
    size_t keyed[SCRAM_HASHES];
    bool readable;                     /* some keys are made from readable passwords */
    uint32_t iterations[SCRAM_HASHES]; /* of keys in the directory; 0: there are none */
    size_t salt_n[SCRAM_HASHES];
    char sample[256]; /* a stored password: what a check costs */
};

/* What the logins ask of the rest of directoryd. */
struct login_env {
    /* Who logs in under this name (uid, address, alias; any case)? False: nobody. From the loop. */
    bool (*find)(void *arg, struct span name, struct login_person *out);
    /* Check by bind, blocking, from a helper thread; NULL when the source has none. */
    enum err_code (*bind)(void *arg, struct span dn, struct span password, struct err *why);
    /* Whose webmail token is it? ERR_OK, ERR_DENIED. From the loop. */
    enum err_code (*token)(void *arg, struct span token, struct uuid *out_account);
    bool (*find_id)(void *arg, const struct uuid *id, struct login_person *out);
    /* Salted verifiers of good logins, for an outage of LDAP: kept durably by the copy. Get answers false
     * when there is none. at_us: when it was made. From helper threads. */
    bool (*verifier_get)(void *arg, const struct uuid *id, struct buf *out, int64_t *at_us);
    void (*verifier_put)(void *arg, const struct uuid *id, struct span verifier, int64_t at_us);
    void (*verifier_drop)(void *arg, const struct uuid *id);
    void *arg;
    unsigned char key[32]; /* lasts over starts: salts of names without keys come from it */
};

CHECK_RESULT enum err_code logins_new(struct loop *l, const struct conf *c, const struct login_env *env,
                                      struct logins **out, struct err *why);
/* No login may be left. */
void logins_free(struct logins **l);
/* Is a helper thread at work, which may still use what env lends? */
bool logins_busy(const struct logins *l);
/* The copy has changed: memory of successes of these people (or of all, id NULL) is dropped. */
void logins_forget(struct logins *l, const struct uuid *id);
/* The people as the copy now has them. True: the mechanisms to offer are others now. */
bool logins_census(struct logins *l, const struct login_census *c);
/* Blank-separated mechanisms for a connection. bound: it has a channel binding. Borrowed until the next
 * census. */
const char *logins_mechs(const struct logins *l, bool secure, bool bound);

struct login_facts {
    char service[16], peer[64], tls_version[16];
    bool secure;
    unsigned char binding[64]; /* channel binding data, binding_n bytes */
    size_t binding_n;
};
/* code as in directory.h's directory_auth_cb. who is set with ERR_OK only. Called once for login_begin and
 * once for each login_step; after anything but ERR_STATE the login is gone. */
typedef void login_cb(void *arg, enum err_code code, struct span challenge, const struct login_person *who);
struct login *login_begin(struct logins *l, struct span mech, const struct login_facts *facts,
                          bool has_initial, struct span initial, login_cb *cb, void *arg);
void login_step(struct login *g, struct span response);
void login_cancel(struct login **g);
/* Name and password at once (the webmail's login page), with the same limits and memory. */
struct login *login_password(struct logins *l, struct span name, struct span password,
                             const struct login_facts *facts, login_cb *cb, void *arg);

#endif
