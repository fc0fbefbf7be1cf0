/* DNs are compared as text everywhere in the directory: members with entries, units with what lies below
 * them. The hard point is that one name has many spellings: a server may give "ou=A\2C B" as an entry's name
 * and "ou=A\, B" as a group's member, and some exporters write blanks or quotes (RFC 4514 2.4, RFC 2253 4).
 * Here each gets the one spelling; what attributes' own syntaxes say of equality is not known and everything
 * is taken for caseIgnoreMatch, as naming attributes are. */
#include "common/directory/dn.h"
#include <string.h>

struct writer {
    char *p;
    size_t n;
};

static int hex_value(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void put(struct writer *w, char c)
{
    w->p[w->n++] = c;
}

static void put_value_byte(struct writer *w, char c, bool first)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char u = (unsigned char)c;
    if (u < 32 || u == 127 || strchr(",+\"\\<>;=", c) || (first && c == '#')) {
        put(w, '\\');
        put(w, digits[u >> 4]);
        put(w, digits[u & 15]);
    } else {
        put(w, ascii_lower(c));
    }
}

static struct span skip_blanks(struct span s)
{
    while (s.n && s.p[0] == ' ')
        s = span_drop(s, 1);
    return s;
}

/* The byte that s begins with, escapes resolved; answers how much of s it took, 0: a lone backslash. */
static size_t take_byte(struct span s, char *out)
{
    *out = s.p[0];
    if (s.p[0] != '\\')
        return 1;
    if (s.n >= 3 && hex_value(s.p[1]) >= 0 && hex_value(s.p[2]) >= 0) {
        *out = (char)(unsigned char)(hex_value(s.p[1]) * 16 + hex_value(s.p[2]));
        return 3;
    }
    if (s.n < 2)
        return 0;
    *out = s.p[1];
    return 2;
}

/* One value, up to its separator. */
static bool value(struct span *s, struct writer *w)
{
    bool quoted = false, blank = false, any = false;
    *s = skip_blanks(*s);
    if (s->n && s->p[0] == '#') { /* BER in hex */
        for (; s->n && s->p[0] != ',' && s->p[0] != '+' && s->p[0] != ' '; *s = span_drop(*s, 1))
            put(w, ascii_lower(s->p[0]));
        *s = skip_blanks(*s);
        return s->n == 0 || strchr(",+;", s->p[0]);
    }
    while (s->n) {
        char c;
        if (s->p[0] == '"') {
            quoted = !quoted;
            *s = span_drop(*s, 1);
            continue;
        }
        if (!quoted && (s->p[0] == ',' || s->p[0] == '+' || s->p[0] == ';'))
            break;
        size_t n = take_byte(*s, &c);
        if (n == 0)
            return false;
        *s = span_drop(*s, n);
        if (c == ' ') { /* also an escaped one: leading and trailing ones do not count (RFC 4518 2.6.1) */
            blank = any;
            continue;
        }
        if (blank)
            put(w, ' ');
        put_value_byte(w, c, !any);
        any = true;
        blank = false;
    }
    return !quoted;
}

static bool type(struct span *s, struct writer *w)
{
    *s = skip_blanks(*s);
    size_t n = span_find(*s, '=');
    if (n == s->n)
        return false;
    struct span t = span_trim(span_first(*s, n));
    for (size_t i = 0; i < t.n; i++) {
        if (strchr(",+;\"\\ ", t.p[i]))
            return false;
        put(w, ascii_lower(t.p[i]));
    }
    put(w, '=');
    *s = span_drop(*s, n + 1);
    return t.n > 0;
}

static bool whole(struct span s, struct writer *w)
{
    while (s.n) {
        if (!type(&s, w) || !value(&s, w))
            return false;
        if (s.n == 0)
            return true;
        put(w, s.p[0] == '+' ? '+' : ',');
        s = span_drop(s, 1);
        if (s.n == 0)
            return false;
    }
    return true;
}

struct span dn_normal(struct arena *a, struct span dn)
{
    char small[3 * 512];
    dn = span_trim(dn);
    bool fits = dn.n <= sizeof small / 3;
    struct writer w = {fits ? small : dn.n <= SIZE_MAX / 3 ? arena_alloc(a, 3 * dn.n) : NULL, 0};
    if (!w.p)
        return SPAN_NONE;
    if (dn.n && (memchr(dn.p, 0, dn.n) || !whole(dn, &w)))
        for (w.n = 0; w.n < dn.n;)
            put(&w, ascii_lower(dn.p[w.n]));
    return fits ? arena_dup(a, span_of(small, w.n)) : span_of(w.p, w.n);
}
