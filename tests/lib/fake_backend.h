/* A directory, a policy and a store in memory behind smtpd's backend table. Answers wait until
 * fake_backend_run, or come at once (sync). The people:
 *   an (id 1; also an.van, Hương), binh (2), chi (3), disabled, full (store: over quota), refuse (store:
 * denied), stuffed (known to be full) later@ cannot be looked up; small: group of 1, 2, 3; large: group of
 * 500; closed: only for who is logged in; empty: group without members; postmaster (1). All @gialai.example;
 * other domains are remote. Logins: an / secret; "later" cannot be checked, "many" has tried too often. */
#ifndef PROV_TESTS_FAKE_BACKEND_H
#define PROV_TESTS_FAKE_BACKEND_H

#include "smtpd/backend.h"

struct fake_backend {
    struct backend b;
    bool down; /* is_up answers false */
    bool sync;
    enum err_code directory, store; /* ERR_OK, or what every call answers */
    struct policy_verdict verdict;
    bool repeat; /* the store has seen every message before */
    unsigned deliveries, exchanges;
    struct buf log; /* one line a delivery: "<sender> login=... queue=N repeat=N to=..." , then the content */
    struct pending *pending;
};

void fake_backend_init(struct fake_backend *f);
/* Answer what waits; false when nothing does. */
bool fake_backend_run(struct fake_backend *f);
void fake_backend_free(struct fake_backend *f);

#endif
