/* The message writer. Its hard problem is that every value was typed or uploaded by somebody: header fields
 * go through common/mime's writers only, ids are filtered to their grammar, and a multipart's boundary is
 * random, so that no content can hold it. */
#include "webmail-cgi/write.h"
#include "common/base/crypto.h"
#include "common/mime/address.h"
#include "common/mime/codec.h"
#include "common/mime/date.h"
#include "common/mime/header.h"
#include <stdio.h>

/* Typed addresses in the form of a header field, folded after each. */
static bool put_people(struct buf *out, const char *field, struct span list)
{
    struct arena *a = arena_new(8 << 20);
    struct address *v = address_list(a, list, 10000);
    bool ok = true, first = true;
    for (; ok && v; v = v->next) {
        if (v->group_start || v->group_end || !v->domain.n)
            continue;
        struct buf addr;
        buf_init(&addr, 1024);
        ok = (first ? buf_add_str(out, field) && buf_add_str(out, ": ") : buf_add_str(out, ",\r\n ")) &&
             buf_add_span(&addr, v->local) && buf_add_char(&addr, '@') && buf_add_span(&addr, v->domain) &&
             header_write_mailbox(out, v->display, buf_span(&addr));
        buf_free(&addr);
        first = false;
    }
    arena_free(&a);
    return ok && (first || buf_add_str(out, "\r\n"));
}

/* Ids of a References-like value, one a line; what is no id is left out. */
static bool put_ids(struct buf *out, const char *field, struct span ids)
{
    bool first = true, ok = true;
    while (ok && ids.n) {
        struct span id = span_cut(&ids, ' ');
        bool good = id.n > 4 && id.n < 900 && id.p[0] == '<' && id.p[id.n - 1] == '>';
        for (size_t i = 0; i < id.n && good; i++)
            good = id.p[i] > 0x20 && id.p[i] < 0x7f;
        if (!good)
            continue;
        ok = (first ? buf_add_str(out, field) && buf_add_str(out, ": ") : buf_add_str(out, "\r\n ")) &&
             buf_add_span(out, id);
        first = false;
    }
    return ok && (first || buf_add_str(out, "\r\n"));
}

static bool put_head(const struct write_mail *m, struct buf *out)
{
    char date[40];
    date_format(m->date_s, 7 * 60, date, sizeof date);
    return buf_add_str(out, "From: ") && header_write_mailbox(out, m->from_name, m->from) &&
           buf_add_str(out, "\r\n") && put_people(out, "To", m->to) && put_people(out, "Cc", m->cc) &&
           (!m->keep_bcc || put_people(out, "Bcc", m->bcc)) &&
           header_write(out, SPAN("Subject"), m->subject) &&
           buf_addf(out, "Date: %s\r\nMessage-ID: %.*s\r\n", date, SPAN_ARG(m->message_id)) &&
           put_ids(out, "In-Reply-To", m->in_reply_to) && put_ids(out, "References", m->references) &&
           buf_add_str(out, "MIME-Version: 1.0\r\nUser-Agent: provmail\r\n");
}

/* Text as typed (any line ends) with CRLF, its last line ended. */
static bool put_lines(struct span s, struct buf *out)
{
    bool ok = true;
    while (ok && s.n) {
        size_t n = 0;
        while (n < s.n && s.p[n] != '\r' && s.p[n] != '\n')
            n++;
        ok = buf_add(out, s.p, n) && buf_add_str(out, "\r\n");
        if (span_starts(span_drop(s, n), SPAN("\r\n")))
            n++;
        s = span_drop(s, n + 1);
    }
    return ok;
}

static bool plain_enough(struct span s)
{
    size_t line = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        line = c == '\n' ? 0 : line + 1;
        if (c >= 0x7f || (c < 0x20 && !memchr("\t\r\n", c, 3)) || line > 900)
            return false;
    }
    return true;
}

/* base64 costs a third; quoted-printable two bytes for each that is not ASCII. */
static bool base64_is_shorter(struct span s)
{
    size_t high = 0;
    for (size_t i = 0; i < s.n; i++)
        high += (unsigned char)s.p[i] >= 0x7f;
    return high > s.n / 6;
}

static bool put_text(struct span body, struct buf *out)
{
    struct buf text;
    buf_init(&text, 2 * body.n + 16);
    bool ok = put_lines(body, &text) && buf_add_str(out, "Content-Type: text/plain; charset=utf-8\r\n");
    struct span s = buf_span(&text);
    if (plain_enough(s))
        ok = ok && buf_add_str(out, "Content-Transfer-Encoding: 7bit\r\n\r\n") && buf_add_span(out, s);
    else if (base64_is_shorter(s))
        ok = ok && buf_add_str(out, "Content-Transfer-Encoding: base64\r\n\r\n") && base64_encode(s, 76, out);
    else
        ok = ok && buf_add_str(out, "Content-Transfer-Encoding: quoted-printable\r\n\r\n") &&
             qp_encode(s, out);
    buf_free(&text);
    return ok && (span_ends(buf_span(out), SPAN("\r\n")) || buf_add_str(out, "\r\n"));
}

/* type/subtype of RFC 2045 5.1 tokens, else the type of unknown bytes. message and multipart types must not
 * be encoded (RFC 2046 5), so an uploaded one travels as bytes. */
static struct span safe_type(struct span t)
{
    size_t slash = span_find(t, '/');
    bool good = slash > 0 && slash + 1 < t.n && t.n < 100 && !span_casestarts(t, SPAN("multipart/")) &&
                !span_casestarts(t, SPAN("message/"));
    for (size_t i = 0; i < t.n && good; i++) {
        char c = ascii_lower(t.p[i]);
        good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr(".+-_", c)) || i == slash;
    }
    return good ? t : SPAN("application/octet-stream");
}

static bool put_file(const struct write_file *f, struct buf *out)
{
    struct span type = safe_type(f->type);
    return buf_addf(out, "Content-Type: %.*s", SPAN_ARG(type)) &&
           header_write_param(out, SPAN("name"), f->name) &&
           buf_add_str(out, "\r\nContent-Disposition: attachment") &&
           header_write_param(out, SPAN("filename"), f->name) &&
           buf_add_str(out, "\r\nContent-Transfer-Encoding: base64\r\n\r\n") &&
           base64_encode(f->data, 76, out) &&
           (span_ends(buf_span(out), SPAN("\r\n")) || buf_add_str(out, "\r\n"));
}

enum err_code write_message(const struct write_mail *m, struct buf *out)
{
    char boundary[40];
    bool ok = put_head(m, out);
    if (!m->file_count)
        return ok && put_text(m->body, out) ? ERR_OK : ERR_LIMIT;
    crypto_random_text(15, boundary, sizeof boundary);
    ok = ok &&
         buf_addf(out, "Content-Type: multipart/mixed; boundary=\"=_%s\"\r\n\r\n--=_%s\r\n", boundary,
                  boundary) &&
         put_text(m->body, out);
    for (size_t i = 0; ok && i < m->file_count; i++)
        ok = buf_addf(out, "\r\n--=_%s\r\n", boundary) && put_file(&m->files[i], out);
    return ok && buf_addf(out, "\r\n--=_%s--\r\n", boundary) ? ERR_OK : ERR_LIMIT;
}

struct span write_message_id(struct arena *a, struct span from)
{
    char random[40], text[400];
    struct span domain = span_drop(from, span_find(from, '@') + 1);
    for (size_t i = 0; i < domain.n; i++)
        if (domain.p[i] <= 0x20 || domain.p[i] >= 0x7f || domain.p[i] == '<' || domain.p[i] == '>')
            domain = SPAN("localhost");
    crypto_random_text(16, random, sizeof random);
    int n = snprintf(text, sizeof text, "<%s@%.*s>", random, SPAN_ARG(span_first(domain, 255)));
    return arena_dup(a, span_of(text, (size_t)n));
}

static bool known(struct span *v, size_t n, struct span s)
{
    for (size_t i = 0; i < n; i++)
        if (span_caseeq(v[i], s))
            return true;
    return false;
}

static enum err_code take_address(struct arena *a, const struct address *v, struct span *to)
{
    char *p = arena_alloc(a, v->local.n + v->domain.n + 2);
    if (!p)
        return ERR_LIMIT;
    memcpy(p, v->local.p, v->local.n);
    p[v->local.n] = '@';
    memcpy(p + v->local.n + 1, v->domain.p, v->domain.n);
    *to = span_of(p, v->local.n + v->domain.n + 1);
    struct span local, domain;
    return address_path(*to, true, &local, &domain) == ERR_OK ? ERR_OK : ERR_SYNTAX;
}

enum err_code write_recipients(struct arena *a, const struct span *lists, size_t list_count, size_t limit,
                               struct span **out, size_t *out_count, struct span *bad)
{
    *out = arena_array(a, limit, sizeof **out);
    *out_count = 0;
    if (!*out)
        return ERR_LIMIT;
    for (size_t i = 0; i < list_count; i++)
        for (struct address *v = address_list(a, lists[i], 100000); v; v = v->next) {
            struct span one;
            if (v->group_start || v->group_end)
                continue;
            enum err_code code = v->domain.n ? take_address(a, v, &one) : ERR_SYNTAX;
            if (code == ERR_SYNTAX)
                *bad = v->domain.n ? one : v->local.n ? v->local : v->display;
            if (code != ERR_OK)
                return code;
            if (known(*out, *out_count, one))
                continue;
            if (*out_count == limit)
                return ERR_LIMIT;
            (*out)[(*out_count)++] = one;
        }
    return ERR_OK;
}
