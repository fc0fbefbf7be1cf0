/* Submissions that come again because their connection fell before our answer, or because the answer came too
 * late and the client was told to try again. What was filed or queued for a recipient is remembered under
 * peer, sender and bytes until the worker says that this recipient's 250 was written, for an hour at most.
 * The hard point is that a peer need not repeat as it began: over LMTP it repeats for some recipients only
 * (RFC 2033 4.2), and a relay may cut its recipients into other transactions. So it is not the submission
 * that is found again but each of its recipients. */
#include "common/store/engine_int.h"
#include "common/base/crypto.h"
#include <string.h>

enum { GROUPS_LIMIT = 64 }; /* tries that one record remembers */
static const int64_t repeat_us = (int64_t)3600 * 1000000;

static void hash_text(struct crypto_hash *h, struct span s)
{
    const uint64_t n = s.n;
    crypto_hash_add(h, span_of(&n, sizeof n));
    crypto_hash_add(h, s);
}

void repeat_key(unsigned char key[REPEAT_KEY], struct span peer, struct span sender,
                const unsigned char content_hash[32])
{
    struct crypto_hash h;
    unsigned char out[CRYPTO_HASH];
    crypto_hash_init(&h);
    hash_text(&h, peer);
    hash_text(&h, sender);
    crypto_hash_add(&h, span_of(content_hash, 32));
    crypto_hash_final(&h, out);
    memcpy(key, out, REPEAT_KEY);
}

void repeat_target(unsigned char out[REC_REPEAT_TARGET], uint32_t kind, const struct uuid *id)
{
    out[0] = (unsigned char)kind;
    memcpy(out + 1, id->b, sizeof id->b);
}

static bool names(struct span targets, const unsigned char what[REC_REPEAT_TARGET])
{
    for (size_t at = 0; at < targets.n; at += REC_REPEAT_TARGET)
        if (memcmp(targets.p + at, what, REC_REPEAT_TARGET) == 0)
            return true;
    return false;
}

/* Copy those groups of a record that still count; *count says how many. */
static enum err_code take_groups(struct span record, int64_t now_us, struct buf *out)
{
    struct span groups;
    struct rec_repeat_group g;
    size_t count = 0, skip;
    if (!rec_repeat_get(record, &groups))
        return ERR_BUG;
    for (struct span rest = groups; rest.n; count++)
        if (!rec_repeat_next(&rest, &g))
            return ERR_BUG;
    skip = count >= GROUPS_LIMIT ? count - GROUPS_LIMIT + 1 : 0; /* the oldest, room for one more */
    while (groups.n && rec_repeat_next(&groups, &g)) {
        const int64_t age_us = now_us - g.at_us;
        if (skip)
            skip--;
        else if (age_us >= 0 && age_us <= repeat_us && !rec_repeat_add(&g, out))
            return ERR_LIMIT;
    }
    return ERR_OK;
}

enum err_code repeat_load(struct tx *t, const unsigned char key[REPEAT_KEY], struct buf *groups)
{
    if (lazy_confirms(t->e, key)) { /* what is known of them, but not on record yet, comes first */
        t->lazy_first = true;
        return ERR_RETRY;
    }
    enum err_code code = tx_get_buf(t, T_REPEAT, span_of(key, REPEAT_KEY), &t->scratch);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_OK : code;
    return take_groups(buf_span(&t->scratch), clock_wall_us(), groups);
}

bool repeat_find(struct span groups, const unsigned char target[REC_REPEAT_TARGET], char trace[TRACE_TEXT])
{
    struct rec_repeat_group g;
    while (groups.n && rec_repeat_next(&groups, &g))
        if (names(g.targets, target)) {
            memcpy(trace, g.trace, TRACE_TEXT);
            return true;
        }
    return false;
}

static enum err_code put_groups(struct tx *t, const unsigned char key[REPEAT_KEY], struct span groups)
{
    buf_reset(&t->scratch);
    if (!rec_repeat_head(clock_wall_us(), &t->scratch) || !buf_add_span(&t->scratch, groups))
        return ERR_LIMIT;
    return tx_put(t, T_REPEAT, span_of(key, REPEAT_KEY), buf_span(&t->scratch));
}

enum err_code repeat_keep(struct tx *t, const unsigned char key[REPEAT_KEY], struct buf *groups,
                          const char *trace, struct span targets)
{
    struct rec_repeat_group g = {.at_us = clock_wall_us(), .targets = targets};
    memcpy(g.trace, trace, TRACE_TEXT);
    if (!rec_repeat_add(&g, groups))
        return ERR_LIMIT;
    return put_groups(t, key, buf_span(groups));
}

/* -- confirmations -- */

/* The same; *at is where it may well be, and then where the next one may be: both lists have one order. */
static bool names_next(struct span targets, size_t *at, const unsigned char what[REC_REPEAT_TARGET])
{
    if (*at < targets.n && memcmp(targets.p + *at, what, REC_REPEAT_TARGET) == 0) {
        *at += REC_REPEAT_TARGET;
        return true;
    }
    return names(targets, what);
}

/* A group without the targets whose 250 was written. */
static bool add_without(const struct rec_repeat_group *g, struct span told, struct buf *targets,
                        struct buf *groups)
{
    bool ok = true;
    size_t next = 0;
    buf_reset(targets);
    for (size_t at = 0; at < g->targets.n && ok; at += REC_REPEAT_TARGET)
        if (!names_next(told, &next, (const unsigned char *)g->targets.p + at))
            ok = buf_add(targets, g->targets.p + at, REC_REPEAT_TARGET);
    struct rec_repeat_group left = *g;
    left.targets = buf_span(targets);
    return ok && (targets->n == 0 || rec_repeat_add(&left, groups));
}

static enum err_code confirm(struct tx *t, const unsigned char key[REPEAT_KEY], struct span told)
{
    struct span groups;
    struct rec_repeat_group g;
    struct buf left, targets;
    enum err_code code = tx_get_buf(t, T_REPEAT, span_of(key, REPEAT_KEY), &t->scratch);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_OK : code;
    if (!rec_repeat_get(buf_span(&t->scratch), &groups))
        return ERR_BUG;
    buf_init(&left, t->scratch.n + 1);
    buf_init(&targets, t->scratch.n + 1);
    while (groups.n && code == ERR_OK)
        if (!rec_repeat_next(&groups, &g) || !add_without(&g, told, &targets, &left))
            code = ERR_BUG;
    if (code == ERR_OK)
        code = left.n ? put_groups(t, key, buf_span(&left)) : tx_del(t, T_REPEAT, span_of(key, REPEAT_KEY));
    buf_free(&left);
    buf_free(&targets);
    return code;
}

bool repeat_receipt(struct wire_in *in, unsigned char key[REPEAT_KEY], struct span *targets)
{
    struct wire_confirm w;
    if (!wire_get(in, &w, sizeof w))
        return false;
    memcpy(key, w.repeat, REPEAT_KEY);
    *targets = wire_items(in, w.count, REC_REPEAT_TARGET);
    return !in->bad;
}

enum err_code repeat_confirm(struct tx *t, struct span receipts)
{
    struct wire_in in = {receipts, false};
    unsigned char key[REPEAT_KEY];
    struct span targets;
    enum err_code code = ERR_OK;
    while (code == ERR_OK && in.s.n && repeat_receipt(&in, key, &targets))
        code = confirm(t, key, targets);
    return code;
}
