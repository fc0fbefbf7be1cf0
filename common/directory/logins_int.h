/* Friend header of the logins' files. */
#ifndef PROV_DIRECTORY_LOGINS_INT_H
#define PROV_DIRECTORY_LOGINS_INT_H

#include "common/base/arena.h"
#include "common/base/crypto.h"
#include "common/directory/guard.h"
#include "common/directory/helpers.h"
#include "common/directory/logins.h"
#include "common/directory/sasl_exchange.h"
#include <pthread.h>

struct memory;
enum scram_offer { OFFER_AUTO, OFFER_YES, OFFER_NO };
struct logins {
    struct loop *loop;
    const struct conf *c;
    struct login_env env;
    struct helpers *helpers;
    struct guard *guard;
    enum scram_offer offer;
    char mechs[3][256]; /* to offer: in the clear, on TLS, on TLS with a channel binding */
    bool plus;          /* the -PLUS forms are among them */
    unsigned char memory_key[CRYPTO_HASH], salt_key[CRYPTO_HASH];

    pthread_mutex_t lock; /* all below */
    struct memory *memory;
    uint64_t epoch; /* grows with each logins_forget */
    struct login_census census;
};

enum login_kind { LOGIN_SASL, LOGIN_BEARER, LOGIN_PASSWORD, LOGIN_UNKNOWN };
struct login {
    struct logins *l;
    enum login_kind kind;
    struct loop_timer *timer;
    login_cb *cb;
    void *arg;
    struct login_facts facts;
    struct sasl_exchange *x;
    struct buf name, blob; /* name: of LOGIN_PASSWORD */
    bool has_blob;
    uint64_t asked_ms;    /* when the question at hand came */
    bool busy, cancelled; /* a helper has it; nobody wants the answer any more */
    /* what the work left */
    enum err_code code;
    struct span challenge;
    bool known;      /* id is of somebody who may log in */
    struct uuid id;  /* who it is, if the rest is right */
    bool is_failure; /* counts as a wrong password although code does not say so */
    bool is_try;     /* pair is set */
    struct guard_pair pair;
    bool has_tried; /* tried is set: a mark of the password */
    unsigned char tried[CRYPTO_HASH];
};

/* -- logins_check.c: in helper threads -- */
extern const struct sasl_asks login_asks; /* arg: the login */
enum err_code login_check(struct login *g, struct span name, struct span password);
void memory_forget(struct logins *l, const struct uuid *id);

#endif
