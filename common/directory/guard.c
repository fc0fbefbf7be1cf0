/* A leaky bucket for each pair of name and address: it fills by one a failure, and is empty again after the
 * window. The hard point is whom a limit hits: a whole office comes from one address, and anybody may try
 * anybody's name; so neither an address nor a name alone is ever shut out, only this name from this address.
 * Guessing of many names, or from many addresses, is left to the delay and to connection_limit_per_peer. */
#include "common/directory/guard.h"
#include "common/base/buf.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

struct entry {
    struct guard_pair pair;
    unsigned char tried[CRYPTO_HASH];
    uint64_t level; /* in milliseconds of leaking: window / limit each failure */
    uint64_t at_ms; /* of level */
    UT_hash_handle hh;
};
struct guard {
    unsigned limit;
    uint64_t each_ms;
    size_t entries_max;
    unsigned char key[CRYPTO_HASH];
    pthread_mutex_t lock; /* entries */
    struct entry *entries;
};

struct guard *guard_new(unsigned limit, uint64_t window_ms, size_t entries_max)
{
    struct guard *g = xcalloc(1, sizeof *g);
    g->limit = limit;
    g->each_ms = limit ? window_ms / limit : 0;
    g->entries_max = entries_max;
    crypto_random(g->key, sizeof g->key);
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

static void drop(struct guard *g, struct entry *e)
{
    HASH_DEL(g->entries, e);
    free(e);
}

void guard_free(struct guard **gp)
{
    struct guard *g = *gp;
    if (!g)
        return;
    while (g->entries)
        drop(g, g->entries);
    pthread_mutex_destroy(&g->lock);
    free(g);
    *gp = NULL;
}

struct guard_pair guard_pair(const struct guard *g, struct span peer, struct span name)
{
    unsigned char key[CRYPTO_HASH];
    struct guard_pair out;
    struct in6_addr v6;
    char text[64], low[256];
    size_t n = peer.n < sizeof text - 1 ? peer.n : sizeof text - 1;
    memcpy(text, peer.p ? peer.p : "", n);
    text[n] = 0;
    if (inet_pton(AF_INET6, text, &v6) == 1 && !IN6_IS_ADDR_V4MAPPED(&v6))
        peer = span_of(v6.s6_addr, 8);
    n = name.n < sizeof low ? name.n : sizeof low;
    for (size_t i = 0; i < n; i++)
        low[i] = ascii_lower(name.p[i]);
    crypto_hmac(span_of(g->key, sizeof g->key), peer, key);
    crypto_hmac(span_of(key, sizeof key), span_of(low, n), out.b);
    return out;
}

/* Under lock: the entry with its level as of now. */
static struct entry *find(struct guard *g, const struct guard_pair *p, uint64_t now_ms)
{
    struct entry *e = NULL;
    HASH_FIND(hh, g->entries, p, sizeof *p, e);
    if (!e)
        return NULL;
    uint64_t leaked = now_ms - e->at_ms;
    e->level = leaked < e->level ? e->level - leaked : 0;
    e->at_ms = now_ms;
    return e;
}

bool guard_allows(struct guard *g, const struct guard_pair *p, uint64_t now_ms)
{
    if (!g->limit)
        return true;
    pthread_mutex_lock(&g->lock);
    const struct entry *e = find(g, p, now_ms);
    bool allows = !e || e->level <= g->each_ms * (g->limit - 1);
    pthread_mutex_unlock(&g->lock);
    return allows;
}

void guard_failed(struct guard *g, const struct guard_pair *p, const unsigned char tried[CRYPTO_HASH],
                  uint64_t now_ms)
{
    if (!g->limit)
        return;
    pthread_mutex_lock(&g->lock);
    struct entry *e = find(g, p, now_ms);
    bool again = e && tried && memcmp(e->tried, tried, sizeof e->tried) == 0;
    if (!e) {
        if (HASH_COUNT(g->entries) >= g->entries_max)
            drop(g, g->entries); /* the one that was added first */
        e = xcalloc(1, sizeof *e);
        e->pair = *p;
        e->at_ms = now_ms;
        HASH_ADD(hh, g->entries, pair, sizeof e->pair, e);
    }
    if (tried)
        memcpy(e->tried, tried, sizeof e->tried);
    if (!again)
        e->level += g->each_ms;
    pthread_mutex_unlock(&g->lock);
}
