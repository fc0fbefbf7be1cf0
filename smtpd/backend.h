/* What the protocol core asks of others: directory, policy and store behind one table of functions, so that
 * tests and fuzzers put fakes in their place. Each asynchronous call answers once by its callback, from the
 * loop or at once, unless the ticket went void first; the meaning of the answers is directory.h's, store.h's
 * and policy.h's. */
#ifndef PROV_SMTPD_BACKEND_H
#define PROV_SMTPD_BACKEND_H

#include "common/directory/directory.h"
#include "common/store/store.h"
#include "smtpd/policy.h"

struct backend {
    void *arg; /* first argument of all but auth_step and auth_cancel */
    bool (*is_up)(void *arg);
    void (*lookup)(void *arg, struct span address, const struct uuid *sender, struct ticket *t,
                   directory_entry_cb *cb);
    bool (*known)(void *arg, struct span address, struct dir_entry *out); /* directory_known; or NULL */
    void (*members)(void *arg, const struct uuid *ids, size_t id_count, const struct uuid *after, size_t max,
                    struct ticket *t, directory_members_cb *cb);
    void (*may_send)(void *arg, const struct uuid *account, struct span address, struct ticket *t,
                     directory_code_cb *cb);
    bool (*is_full)(void *arg, const struct uuid *account); /* store_is_full */
    const char *(*mechs)(void *arg, bool secure, bool bound);
    struct dir_auth *(*auth)(void *arg, struct span mech, const struct dir_facts *facts, struct span initial,
                             struct ticket *t, directory_auth_cb *cb);
    void (*auth_step)(struct dir_auth *a, struct span response);
    void (*auth_cancel)(struct dir_auth **a);
    void (*policy)(void *arg, const struct policy_question *q, struct ticket *t, policy_cb *cb);
    void (*deliver)(void *arg, const struct store_delivery *d, struct ticket *t, store_delivered_cb *cb);
};

#endif
