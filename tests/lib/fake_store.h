/* The store's session role in memory, for tests of imapd: same header (common/store/store.h), no process.
 * Calls are done and answered in order by fake_store_pump, never inside the call. A grant is an account's
 * address. A message that has the text "X-Record: lost" has an empty record, with "X-Record: broken" one that
 * cannot be read, and with "X-Bytes: damaged" its bytes are not readable either. */
#ifndef PROV_TESTS_FAKE_STORE_H
#define PROV_TESTS_FAKE_STORE_H

#include "common/store/store.h"

struct fake_store_hooks {
    void (*wake)(void *arg); /* a call waits: pump soon; may be NULL */
    void *arg;
    unsigned fail_at; /* the call of that number (1 is the next) is answered ERR_RETRY; 0: none */
    unsigned calls;   /* made so far */
    size_t chunk;     /* rows and records of one callback */
    bool down;        /* store_is_up says no */
    bool perhaps;     /* store_done_perhaps says yes */
};
extern struct fake_store_hooks fake_store;

/* Do and answer what waits; true: something was done. */
bool fake_store_pump(void);
/* Forget all accounts. No session may be left. */
void fake_store_reset(void);
/* File a message into a mailbox of the account (made when new), as a delivery does. The UID. */
uint32_t fake_store_file(const char *account, const char *mailbox, struct span message, uint32_t flags);

#endif
