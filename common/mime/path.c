/* Mailboxes in commands (RFC 5321 4.1.2, RFC 6531 3.3), strict, and the form in which addresses are
 * compared. The hard problem is that a directory must never know one person under two spellings: case,
 * NFC, needless quotes and IDNA are all taken out here and nowhere else. */
#include "common/mime/address.h"
#include "common/mime/charset.h"
#include <idn2.h>
#include <stdlib.h>

enum { WILD_LIMIT = 64 + 1 + 255 };

static bool is_alnum(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_atext(unsigned char c, bool allow_utf8)
{
    return is_alnum(c) || (c && c < 0x80 && strchr("!#$%&'*+-/=?^_`{|}~", c)) || (allow_utf8 && c >= 0x80);
}

static bool dot_string(struct span s, bool allow_utf8)
{
    bool dot = true; /* none may lead, follow another or end */
    for (size_t i = 0; i < s.n; i++) {
        bool is_dot = s.p[i] == '.';
        if ((is_dot && dot) || (!is_dot && !is_atext((unsigned char)s.p[i], allow_utf8)))
            return false;
        dot = is_dot;
    }
    return s.n && !dot;
}

static bool quoted_string(struct span s, bool allow_utf8)
{
    if (s.n < 2 || s.p[0] != '"' || s.p[s.n - 1] != '"')
        return false;
    for (size_t i = 1; i + 1 < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\\') {
            c = (unsigned char)s.p[++i];
            if (i + 1 >= s.n || c < 32 || c > 126)
                return false;
        } else if (c < 32 || c == '"' || c == 127 || (c > 127 && !allow_utf8)) {
            return false;
        }
    }
    return true;
}

static bool domain_name(struct span s, bool allow_utf8, bool wild)
{
    size_t label = 0;
    for (size_t i = 0; i <= s.n; i++) {
        unsigned char c = i < s.n ? (unsigned char)s.p[i] : '.';
        if (c == '.') {
            if (label == 0 || label > 63 || s.p[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!(is_alnum(c) || (c == '-' && label > 0) || (c == '_' && wild) || (allow_utf8 && c >= 0x80)))
            return false;
        label++;
    }
    return true;
}

static bool ipv4(struct span s)
{
    for (int i = 0; i < 4; i++) {
        uint32_t v;
        struct span part = span_cut(&s, '.');
        if (part.n > 3 || !span_u32(part, &v) || v > 255 || (i < 3) != (s.p != NULL))
            return false;
    }
    return true;
}

static bool ipv6(struct span s)
{
    int groups = 0;
    bool gap = false;
    size_t i = 0;
    if (span_starts(s, SPAN("::"))) {
        gap = true;
        i = 2;
    }
    while (i < s.n) {
        struct span rest = span_drop(s, i);
        size_t n = span_find(rest, ':');
        if (n == rest.n && span_find(rest, '.') < rest.n)
            return ipv4(rest) && (gap ? groups <= 4 : groups == 6);
        if (n == 0 || n > 4)
            return false;
        for (size_t k = 0; k < n; k++)
            if (!is_alnum((unsigned char)rest.p[k]) || ascii_lower(rest.p[k]) > 'f')
                return false;
        groups++;
        i += n;
        if (i == s.n)
            break;
        i++;
        if (i < s.n && s.p[i] == ':') {
            if (gap)
                return false;
            gap = true;
            i++;
        } else if (i == s.n) {
            return false;
        }
    }
    return gap ? groups <= 6 : groups == 8;
}

static bool address_literal(struct span s)
{
    if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    s = span_of(s.p + 1, s.n - 2);
    if (span_casestarts(s, SPAN("IPv6:")))
        return ipv6(span_drop(s, 5));
    if (ipv4(s))
        return true;
    size_t colon = span_find(s, ':');
    if (colon == 0 || colon + 1 >= s.n || !is_alnum((unsigned char)s.p[colon - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (i < colon ? !is_alnum(c) && c != '-' : c < 33 || c > 126 || c == '\\' || (c >= '[' && c <= ']'))
            return false;
    }
    return true;
}

/* Where the "@" between local and domain stands, or s.n. */
static size_t at_sign(struct span s)
{
    bool quote = false;
    for (size_t i = 0; i < s.n; i++) {
        if (quote && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            quote = !quote;
        else if (s.p[i] == '@' && !quote)
            return i;
    }
    return s.n;
}

/* Cut a source route "@a,@b:" off; it is checked and then ignored (RFC 5321 4.1.1.3, appendix C). */
static bool drop_route(struct span *s, bool allow_utf8)
{
    if (s->n == 0 || s->p[0] != '@')
        return true;
    struct span rest = *s, route = span_cut(&rest, ':');
    if (!rest.p)
        return false;
    while (route.p) {
        struct span hop = span_cut(&route, ',');
        if (hop.n < 2 || hop.p[0] != '@' || !domain_name(span_drop(hop, 1), allow_utf8, false))
            return false;
    }
    *s = rest;
    return true;
}

static enum err_code path(struct span s, bool allow_utf8, bool wild, struct span *out_local,
                          struct span *out_domain)
{
    if (!drop_route(&s, allow_utf8))
        return ERR_SYNTAX;
    size_t at = at_sign(s);
    struct span local = span_first(s, at), domain = span_drop(s, at + 1);
    if (at >= s.n || (allow_utf8 && !utf8_valid(s)))
        return ERR_SYNTAX;
    const bool dots = dot_string(local, allow_utf8);
    if (!dots && !quoted_string(local, allow_utf8))
        return ERR_SYNTAX;
    if (domain.n == 0 ||
        !(domain.p[0] == '[' ? address_literal(domain) : domain_name(domain, allow_utf8, wild)))
        return domain.n > 255 ? ERR_LIMIT : ERR_SYNTAX;
    if (domain.n > 255 || (wild && dots ? s.n > WILD_LIMIT : local.n > 64))
        return ERR_LIMIT;
    *out_local = local;
    *out_domain = domain;
    return ERR_OK;
}

enum err_code address_path(struct span s, bool allow_utf8, struct span *out_local, struct span *out_domain)
{
    return path(s, allow_utf8, false, out_local, out_domain);
}

enum err_code address_path_wild(struct span s, bool allow_utf8, struct span *out_local,
                                struct span *out_domain)
{
    return path(s, allow_utf8, true, out_local, out_domain);
}

/* The lower case of a letter; what has no simple one stays. Vietnamese and Latin letters alternate in
 * pairs or stand 32 apart; other scripts keep their case. */
static uint32_t lower(uint32_t c)
{
    if (c < 0x80)
        return (unsigned char)ascii_lower((char)c);
    if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
        return c + 32;
    if (c >= 0x400 && c <= 0x40f)
        return c + 80;
    if (c == 0x1af || (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
        return c + (c & 1);
    if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14a && c <= 0x177) || c == 0x1a0 ||
        (c >= 0x1e00 && c <= 0x1e95) || (c >= 0x1ea0 && c <= 0x1eff))
        return c | 1;
    return c;
}

static bool put_local(struct span local, struct buf *out)
{
    struct buf plain, composed;
    buf_init(&plain, local.n + 1);
    buf_init(&composed, local.n * 4 + 16);
    bool quoted = local.n >= 2 && local.p[0] == '"', ok = true;
    for (size_t i = quoted; ok && i < local.n - quoted; i++) {
        if (quoted && local.p[i] == '\\')
            i++;
        ok = buf_add_char(&plain, local.p[i]);
    }
    ok = ok && utf8_nfc(buf_span(&plain), &composed);
    struct span c = buf_span(&composed);
    bool bare = dot_string(c, true);
    ok = ok && (bare || buf_add_char(out, '"'));
    while (ok && c.n) {
        size_t n;
        uint32_t cp = utf8_next(c, &n);
        c = span_drop(c, n);
        ok = (bare || (cp != '"' && cp != '\\') || buf_add_char(out, '\\')) && utf8_put(out, lower(cp));
    }
    ok = ok && (bare || buf_add_char(out, '"'));
    buf_free(&plain);
    buf_free(&composed);
    return ok;
}

static bool put_domain(struct span domain, struct buf *out)
{
    bool ascii = true, ok = true;
    for (size_t i = 0; i < domain.n; i++)
        ascii = ascii && (unsigned char)domain.p[i] < 0x80;
    if (ascii) {
        for (size_t i = 0; i < domain.n && ok; i++)
            ok = buf_add_char(out, ascii_lower(domain.p[i]));
        return ok;
    }
    char *name = xstrspan(domain), *alabel = NULL;
    ok = idn2_to_ascii_8z(name, &alabel, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT) == IDN2_OK;
    ok = ok && buf_add_str(out, alabel);
    if (alabel)
        idn2_free(alabel);
    free(name);
    return ok;
}

bool address_normal(struct span addr, struct buf *out)
{
    struct span local, domain;
    buf_reset(out);
    if (address_path(addr, true, &local, &domain) != ERR_OK)
        return false;
    if (put_local(local, out) && buf_add_char(out, '@') && put_domain(domain, out))
        return true;
    buf_reset(out);
    return false;
}
