/* How often was a name tried from an address, in vain? Functions may be called from any thread. */
#ifndef PROV_DIRECTORY_GUARD_H
#define PROV_DIRECTORY_GUARD_H

#include "common/base/crypto.h"
#include "common/base/span.h"

struct guard;
/* limit: failures of one name from one address that are let pass in window_ms; 0: all of them. Remembers
 * entries_max pairs of them, the oldest goes first. */
struct guard *guard_new(unsigned limit, uint64_t window_ms, size_t entries_max);
void guard_free(struct guard **g);

/* A pair of name and address: letters of names compare alike, an IPv6 address counts by its /64. */
struct guard_pair {
    unsigned char b[CRYPTO_HASH];
};
struct guard_pair guard_pair(const struct guard *g, struct span peer, struct span name);
/* May it be tried? now_ms: monotonic. */
bool guard_allows(struct guard *g, const struct guard_pair *p, uint64_t now_ms);
/* It failed. tried: a mark of the password, the same for the same one, or NULL when it is not known: a client
 * that repeats one wrong password is not guessing, and is counted once. */
void guard_failed(struct guard *g, const struct guard_pair *p, const unsigned char tried[CRYPTO_HASH],
                  uint64_t now_ms);

#endif
