/* Identities: text forms and fresh ones. */
#include "common/base/ids.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include <stdio.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool uuid_parse(struct span text, struct uuid *out)
{
    struct uuid u;
    size_t at = 0;
    if (text.n != UUID_TEXT - 1)
        return false;
    for (size_t i = 0; i < sizeof u.b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            if (text.p[at++] != '-')
                return false;
        int hi = hex_digit(text.p[at]), lo = hex_digit(text.p[at + 1]);
        if (hi < 0 || lo < 0)
            return false;
        u.b[i] = (unsigned char)(hi << 4 | lo);
        at += 2;
    }
    *out = u;
    return true;
}

void uuid_format(const struct uuid *u, char out[UUID_TEXT])
{
    size_t at = 0;
    for (size_t i = 0; i < sizeof u->b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        snprintf(out + at, 3, "%02x", u->b[i]);
        at += 2;
    }
}

bool uuid_is_none(const struct uuid *u)
{
    static const struct uuid none;
    return uuid_cmp(u, &none) == 0;
}

/* The time leads, in steps of two seconds and digits that sort: who keeps traces in order of their names adds
 * each one at the end, not at a random place of all. */
struct trace_id trace_new_at(int64_t wall_s)
{
    enum { TIME = 6 };
    static const char digits[] = "234567abcdefghijklmnopqrstuvwxyz";
    char text[24];
    struct trace_id t;
    uint64_t steps = (uint64_t)wall_s / 2;
    crypto_random_text(9, text, sizeof text);
    for (size_t i = TIME; i-- > 0; steps /= 32)
        t.text[i] = digits[steps % 32];
    memcpy(t.text + TIME, text, TRACE_TEXT - 1 - TIME);
    t.text[TRACE_TEXT - 1] = '\0';
    return t;
}

struct trace_id trace_new(void)
{
    return trace_new_at(clock_wall_s());
}

struct request_id request_new(void)
{
    struct request_id r;
    crypto_random(r.b, sizeof r.b);
    return r;
}
