/* Scans that go on past damaged pages (verify's). The library fails a read in blocks as a whole and cannot
 * say where the next page begins. So what lies before the damage is read record by record; then keys that are
 * further and further away are tried until one can be read, and the distance is halved down to the first such
 * key. The hard point is that this must end: each leap moves on by at least one key. */
#include "common/store/engine_int.h"
#include <errno.h>
#include <stdlib.h>

/* Keys are taken as numbers of so many bytes; longer ones differ in these nearly always. */
enum { WIDTH = 48 };

void scan_past_open(struct scan *s, struct scan_past *p, enum table table, struct span from)
{
    s->past = p;
    p->table = table;
    p->next_n = from.n;
    if (from.n)
        memcpy(p->next, from.p, from.n);
}

void scan_past_met(struct scan_past *p, struct span key)
{
    /* The next key that there can be: this one and a zero byte. */
    memcpy(p->next, key.p, key.n);
    p->next[key.n] = 0;
    p->next_n = key.n + 1;
}

/* The first pair at or behind a key, whole. */
static int seek(struct scan *s, const void *from, size_t n, DBT *k)
{
    for (;;) {
        memcpy(s->past->key, from, n);
        *k = (DBT){
            .data = s->past->key, .size = (u_int32_t)n, .ulen = sizeof s->past->key, .flags = DB_DBT_USERMEM};
        DBT d = {.data = s->block, .ulen = (u_int32_t)s->block_size, .flags = DB_DBT_USERMEM};
        int ret = s->c->get(s->c, k, &d, DB_SET_RANGE);
        if (ret != DB_BUFFER_SMALL) {
            s->data = d;
            return ret;
        }
        s->block_size = ((size_t)d.size + 4096) & ~(size_t)1023;
        s->block = xrealloc(s->block, s->block_size);
    }
}

static bool damaged(struct scan *s, const unsigned char from[WIDTH])
{
    DBT k;
    return seek(s, from, WIDTH, &k) == EBADMSG;
}

/* a += 2^bit; false: it does not fit. */
static bool add_bit(unsigned char a[WIDTH], unsigned bit)
{
    unsigned carry = 1U << bit % 8;
    for (size_t i = WIDTH - bit / 8; i-- > 0 && carry; carry >>= 8) {
        carry += a[i];
        a[i] = (unsigned char)carry;
    }
    return carry == 0;
}

/* (a + b) / 2. False: it is a. */
static bool middle(const unsigned char a[WIDTH], const unsigned char b[WIDTH], unsigned char out[WIDTH])
{
    unsigned char sum[WIDTH + 1];
    unsigned carry = 0;
    for (size_t i = WIDTH; i-- > 0; carry >>= 8) {
        carry += (unsigned)a[i] + b[i];
        sum[i + 1] = (unsigned char)carry;
    }
    sum[0] = (unsigned char)carry;
    for (size_t i = 0; i < WIDTH; i++)
        out[i] = (unsigned char)(sum[i] << 7 | sum[i + 1] >> 1);
    return memcmp(out, a, WIDTH) != 0;
}

/* Move p->next to the first key that can be read. False: nothing behind can. */
static bool leap(struct scan *s)
{
    struct scan_past *p = s->past;
    unsigned char begin[WIDTH] = {0}, low[WIDTH], high[WIDTH], mid[WIDTH];
    memcpy(begin, p->next, p->next_n < WIDTH ? p->next_n : WIDTH);
    if (p->next_n > WIDTH && !add_bit(begin, 0))
        return false;
    memcpy(low, begin, WIDTH);
    for (unsigned bit = 0;; bit++) {
        memcpy(high, begin, WIDTH);
        const bool last = bit == 8 * WIDTH || !add_bit(high, bit);
        if (last)
            memset(high, 0xff, WIDTH);
        if (!damaged(s, high))
            break;
        if (last)
            return false;
        memcpy(low, high, WIDTH);
    }
    while (middle(low, high, mid))
        memcpy(damaged(s, mid) ? low : high, mid, WIDTH);
    memcpy(p->next, high, WIDTH);
    p->next_n = WIDTH;
    return true;
}

/* The same where it is known already. */
static bool leap_known(struct scan_past *p, bool *more)
{
    struct span to = SPAN_NONE;
    if (!p->known(p->arg, p->table, span_of(p->next, p->next_n), &to))
        return false;
    *more = to.n != 0;
    if (to.n)
        memcpy(p->next, to.p, to.n);
    p->next_n = to.n ? to.n : p->next_n;
    return true;
}

enum scan_step scan_past_step(struct scan *s, struct span *key, struct span *value)
{
    struct scan_past *p = s->past;
    struct span from = span_of(p->begin, p->next_n);
    DBT k;
    s->at = NULL;
    int ret = seek(s, p->next, p->next_n, &k);
    if (ret == 0) {
        *key = span_of(k.data, k.size);
        *value = span_of(s->data.data, s->data.size);
        return SCAN_PAIR;
    }
    if (ret != EBADMSG) {
        if (ret != DB_NOTFOUND)
            s->code = db_code(s->t->e, "scan", ret);
        return SCAN_END;
    }
    memcpy(p->begin, p->next, p->next_n);
    bool more;
    if (!leap_known(p, &more))
        more = leap(s);
    p->met(p->arg, p->table, from, more ? span_of(p->next, p->next_n) : SPAN_NONE);
    s->singly = s->started = false; /* in blocks again, from there */
    return more ? SCAN_LEAPT : SCAN_END;
}
