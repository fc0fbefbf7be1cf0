/* The grammar's small things: atoms, strings, numbers, names (cursor.h).
 * The hard problem is what clients send beside the grammar: 8-bit quoted strings, two blanks, raw UTF-8
 * mailbox names; these are taken where the meaning is plain. The reader has made sure that literals are
 * whole and that no NUL is in the text. Commands' own arguments are their own files'. */
#include "imapd/cursor.h"
#include "common/mime/charset.h"
#include "common/store/store.h"
#include "imapd/mutf7.h"

bool is_atom_char(char ch)
{
    return (unsigned char)ch > 0x20 && (unsigned char)ch < 0x7f && !strchr("(){%*\"\\]", ch);
}

bool is_astring_char(char ch)
{
    return is_atom_char(ch) || ch == ']';
}

static bool is_pattern_char(char ch)
{
    return is_astring_char(ch) || ch == '%' || ch == '*';
}

bool cur_peek(const struct cursor *c, char ch)
{
    return c->s.n > 0 && c->s.p[0] == ch;
}

bool cur_char(struct cursor *c, char ch)
{
    if (!cur_peek(c, ch))
        return false;
    c->s = span_drop(c->s, 1);
    return true;
}

bool cur_sp(struct cursor *c)
{
    if (!cur_char(c, ' '))
        return false;
    while (cur_char(c, ' '))
        ;
    return true;
}

bool cur_end(struct cursor *c)
{
    while (cur_char(c, ' '))
        ;
    return c->s.n == 0;
}

static struct span run_of(const struct cursor *c, bool (*is)(char))
{
    size_t n = 0;
    while (n < c->s.n && is(c->s.p[n]))
        n++;
    return span_first(c->s, n);
}

static bool take(struct cursor *c, struct span what, struct span *out)
{
    if (!what.n)
        return false;
    *out = what;
    c->s = span_drop(c->s, what.n);
    return true;
}

bool cur_word(struct cursor *c, const char *word)
{
    struct span w = run_of(c, is_atom_char);
    return span_caseeq(w, span_str(word)) && take(c, w, &w);
}

bool cur_atom(struct cursor *c, struct span *out)
{
    return take(c, run_of(c, is_atom_char), out);
}

static bool quoted(struct cursor *c, struct span *out)
{
    size_t n = 1;
    bool escaped = false;
    while (n < c->s.n && c->s.p[n] != '"') {
        if (c->s.p[n] == '\\') {
            escaped = true;
            n++;
            if (n < c->s.n && c->s.p[n] != '"' && c->s.p[n] != '\\')
                return false;
        }
        if (n < c->s.n && (c->s.p[n] == '\r' || c->s.p[n] == '\n'))
            return false;
        n++;
    }
    if (n >= c->s.n)
        return false;
    struct span raw = span_of(c->s.p + 1, n - 1);
    c->s = span_drop(c->s, n + 1);
    if (!escaped) {
        *out = raw;
        return true;
    }
    char *p = arena_alloc(c->a, raw.n);
    if (!p)
        return false;
    size_t to = 0;
    for (size_t i = 0; i < raw.n; i++) {
        if (raw.p[i] == '\\')
            i++;
        p[to++] = raw.p[i];
    }
    *out = span_of(p, to);
    return true;
}

static bool literal(struct cursor *c, struct span *out)
{
    size_t close = span_find(c->s, '}');
    struct span digits = span_of(c->s.p + 1, close > 0 ? close - 1 : 0);
    uint64_t n;
    if (close == c->s.n)
        return false;
    if (span_ends(digits, SPAN("+")))
        digits.n--;
    if (!span_u64(digits, &n))
        return false;
    struct span rest = span_drop(c->s, close + 1);
    if (!span_starts(rest, SPAN("\r\n")) || rest.n - 2 < n)
        return false;
    *out = span_of(rest.p + 2, (size_t)n);
    c->s = span_drop(rest, 2 + (size_t)n);
    return true;
}

bool cur_string(struct cursor *c, struct span *out)
{
    return cur_peek(c, '"') ? quoted(c, out) : cur_peek(c, '{') && literal(c, out);
}

bool cur_astring(struct cursor *c, struct span *out)
{
    return take(c, run_of(c, is_astring_char), out) || cur_string(c, out);
}

bool cur_pattern(struct cursor *c, struct span *out)
{
    return take(c, run_of(c, is_pattern_char), out) || cur_string(c, out);
}

bool cur_nstring(struct cursor *c, struct span *out)
{
    if (cur_word(c, "NIL")) {
        *out = SPAN_NONE;
        return true;
    }
    return cur_string(c, out);
}

static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

bool cur_u32(struct cursor *c, uint32_t *out)
{
    struct span d = run_of(c, is_digit);
    return span_u32(d, out) && take(c, d, &d);
}

bool cur_u64(struct cursor *c, uint64_t *out)
{
    struct span d = run_of(c, is_digit);
    return span_u64(d, out) && take(c, d, &d);
}

bool cur_mailbox(struct cursor *c, struct span *out)
{
    struct span raw;
    if (!cur_astring(c, &raw))
        return false;
    if (!mailbox_name(c->a, raw, out)) {
        c->bad_name = true;
        *out = SPAN("");
    }
    return true;
}

bool cur_flag(struct cursor *c, uint32_t *bit, struct span *keyword)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } flags[] = {{"Seen", STORE_SEEN},
                 {"Answered", STORE_ANSWERED},
                 {"Flagged", STORE_FLAGGED},
                 {"Deleted", STORE_DELETED},
                 {"Draft", STORE_DRAFT}};
    struct span word;
    *bit = 0;
    *keyword = SPAN("");
    bool system = cur_char(c, '\\');
    if (!cur_atom(c, &word))
        return false;
    if (!system) {
        *keyword = word;
        return true;
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (span_caseeq(word, span_str(flags[i].name)))
            *bit = flags[i].bit;
    return true;
}
