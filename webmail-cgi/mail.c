/* ENVELOPE and BODYSTRUCTURE into structs. The hard problem: both come from a stranger's message, so names
 * may be anything, parts may nest to the parser's bound, and any member may be NIL. */
#include "webmail-cgi/mail.h"
#include "common/mime/date.h"
#include "common/mime/header.h"
#include <stdio.h>
#include <time.h>

static struct span lower(struct arena *a, struct span s)
{
    struct span d = arena_dup(a, s);
    for (size_t i = 0; d.p && i < d.n; i++)
        ((char *)d.p)[i] = ascii_lower(d.p[i]);
    return d.p ? d : SPAN("");
}

static struct span join(struct arena *a, struct span x, struct span between, struct span y)
{
    char *p = arena_alloc(a, x.n + between.n + y.n + 1);
    if (!p)
        return SPAN("");
    memcpy(p, x.p, x.n);
    memcpy(p + x.n, between.p, between.n);
    memcpy(p + x.n + between.n, y.p, y.n);
    return span_of(p, x.n + between.n + y.n);
}

static struct person *people(struct arena *a, const struct imap_node *n)
{
    struct person *first = NULL, **tail = &first;
    for (n = n && n->kind == IMAP_LIST ? n->child : NULL; n; n = n->next) {
        if (n->kind != IMAP_LIST)
            continue;
        struct span local = imap_text(imap_nth(n->child, 2)), domain = imap_text(imap_nth(n->child, 3));
        if (!domain.n) /* a group's start or end */
            continue;
        struct person *p = arena_alloc(a, sizeof *p);
        if (!p)
            break;
        p->name = header_text(a, imap_text(imap_nth(n->child, 0)));
        p->address = join(a, local, SPAN("@"), domain);
        *tail = p;
        tail = &p->next;
    }
    return first;
}

struct envelope *envelope_read(struct arena *a, const struct imap_node *n)
{
    struct envelope *e = arena_alloc(a, sizeof *e);
    if (!e)
        return NULL;
    const struct imap_node *v = n && n->kind == IMAP_LIST ? n->child : NULL;
    int zone;
    e->dated = date_parse(imap_text(imap_nth(v, 0)), &e->date_s, &zone);
    e->subject = header_text(a, imap_text(imap_nth(v, 1)));
    e->from = people(a, imap_nth(v, 2));
    e->reply_to = people(a, imap_nth(v, 4));
    e->to = people(a, imap_nth(v, 5));
    e->cc = people(a, imap_nth(v, 6));
    e->bcc = people(a, imap_nth(v, 7));
    e->in_reply_to = imap_text(imap_nth(v, 8));
    e->message_id = imap_text(imap_nth(v, 9));
    return e;
}

/* A parameter out of ("key" "value" ...): the list is written as a header value again, and read by the one
 * reader of parameters. */
static struct span parameter(struct arena *a, const struct imap_node *list, const char *name)
{
    struct buf b;
    struct span v = SPAN_NONE;
    buf_init(&b, 1 << 20);
    bool ok = buf_add_str(&b, "x");
    for (const struct imap_node *n = list && list->kind == IMAP_LIST ? list->child : NULL; ok && n && n->next;
         n = n->next->next) {
        struct span value = imap_text(n->next);
        ok = buf_add_str(&b, "; ") && buf_add_span(&b, imap_text(n)) && buf_add_str(&b, "=\"");
        for (size_t i = 0; ok && i < value.n; i++)
            ok = (value.p[i] != '"' && value.p[i] != '\\')
                     ? buf_add_char(&b, value.p[i])
                     : buf_add_char(&b, '\\') && buf_add_char(&b, value.p[i]);
        ok = ok && buf_add_char(&b, '"');
    }
    if (ok)
        v = header_param(a, buf_span(&b), span_str(name));
    v = v.p ? arena_dup(a, v) : v;
    buf_free(&b);
    return v.p ? v : SPAN("");
}

static enum mime_encoding encoding(struct span s)
{
    return span_caseeq(s, SPAN("base64"))             ? MIME_BASE64
           : span_caseeq(s, SPAN("quoted-printable")) ? MIME_QP
           : span_caseeq(s, SPAN("8bit"))             ? MIME_8BIT
           : span_caseeq(s, SPAN("binary"))           ? MIME_BINARY
           : span_caseeq(s, SPAN("7bit")) || !s.n     ? MIME_7BIT
                                                      : MIME_ENC_OTHER;
}

static struct span sub_section(struct arena *a, struct span section, unsigned number)
{
    char n[16];
    int len = snprintf(n, sizeof n, "%u", number);
    return section.n ? join(a, section, SPAN("."), span_of(n, (size_t)len))
                     : arena_dup(a, span_of(n, (size_t)len));
}

static void read_disposition(struct arena *a, struct part *p, const struct imap_node *d)
{
    if (!d || d->kind != IMAP_LIST)
        return;
    p->disposition = lower(a, imap_text(d->child));
    struct span name = parameter(a, imap_nth(d->child, 1), "filename");
    if (name.n)
        p->filename = name;
}

static void read_multipart(struct arena *a, struct part *p, const struct imap_node *v)
{
    struct part **tail = &p->child;
    unsigned number = 1;
    p->type = SPAN("multipart");
    for (; v && v->kind == IMAP_LIST; v = v->next, number++) {
        *tail = part_read(a, v, sub_section(a, p->section, number));
        if (!*tail)
            return;
        tail = &(*tail)->next;
    }
    p->subtype = lower(a, imap_text(v));
    read_disposition(a, p, imap_nth(v, 2));
}

static struct span no_brackets(struct span s)
{
    s = span_trim(s);
    if (span_starts(s, SPAN("<")))
        s = span_drop(s, 1);
    return span_ends(s, SPAN(">")) ? span_first(s, s.n - 1) : s;
}

struct part *part_read(struct arena *a, const struct imap_node *n, struct span section)
{
    struct part *p = arena_alloc(a, sizeof *p);
    if (!p)
        return NULL;
    const struct imap_node *v = n && n->kind == IMAP_LIST ? n->child : NULL;
    p->filename = p->disposition = p->charset = p->content_id = SPAN("");
    p->section = section;
    if (v && v->kind == IMAP_LIST) {
        read_multipart(a, p, v);
        return p;
    }
    if (!section.n)
        p->section = SPAN("1");
    p->type = lower(a, imap_text(v));
    p->subtype = lower(a, imap_text(imap_nth(v, 1)));
    p->charset = lower(a, parameter(a, imap_nth(v, 2), "charset"));
    p->filename = parameter(a, imap_nth(v, 2), "name");
    p->content_id = no_brackets(imap_text(imap_nth(v, 3)));
    p->encoding = encoding(imap_text(imap_nth(v, 5)));
    p->size = imap_number(imap_nth(v, 6));
    unsigned at = 7; /* extension data start behind what the type adds */
    if (span_eq(p->type, SPAN("message")) && imap_nth(v, 8) && imap_nth(v, 7)->kind == IMAP_LIST) {
        p->inner = envelope_read(a, imap_nth(v, 7));
        const struct imap_node *body = imap_nth(v, 8);
        bool multi = body && body->kind == IMAP_LIST && body->child && body->child->kind == IMAP_LIST;
        p->child = part_read(a, body, multi ? p->section : join(a, p->section, SPAN("."), SPAN("1")));
        at = 10;
    } else if (span_eq(p->type, SPAN("text"))) {
        at = 8;
    }
    read_disposition(a, p, imap_nth(v, at + 1));
    return p;
}

/* The body of an embedded message that is a multipart bears its message's number, so parts with content go
 * before multiparts. */
const struct part *part_find(const struct part *p, struct span section)
{
    for (; p; p = p->next) {
        if (span_eq(p->section, section) && !span_eq(p->type, SPAN("multipart")))
            return p;
        const struct part *inside = part_find(p->child, section);
        if (inside)
            return inside;
    }
    return NULL;
}

bool part_is(const struct part *p, const char *type, const char *subtype)
{
    return span_eq(p->type, span_str(type)) && (!subtype || span_eq(p->subtype, span_str(subtype)));
}

bool part_has_attachment(const struct part *p)
{
    for (; p; p = p->next) {
        if (part_is(p, "multipart", NULL)) {
            if (part_has_attachment(p->child))
                return true;
        } else if (span_eq(p->disposition, SPAN("attachment")) ||
                   (!part_is(p, "text", NULL) && !p->content_id.n &&
                    !part_is(p, "application", "pkcs7-signature") &&
                    !part_is(p, "application", "pgp-signature"))) {
            return true;
        }
    }
    return false;
}

const struct part *part_first_text(const struct part *p)
{
    const struct part *html = NULL;
    if (!part_is(p, "multipart", NULL))
        return part_is(p, "text", NULL) && !span_eq(p->disposition, SPAN("attachment")) ? p : NULL;
    for (const struct part *c = p->child; c; c = c->next) {
        const struct part *t = part_first_text(c);
        if (t && (part_is(t, "text", "plain") || !part_is(p, "multipart", "alternative")))
            return t;
        html = html ? html : t;
    }
    return html;
}

void mail_date(int64_t s, int64_t now_s, bool brief, char *out, size_t size)
{
    time_t at = (time_t)(s + 7 * 3600), now = (time_t)(now_s + 7 * 3600);
    struct tm t, n;
    if (s < -62135596800 || s > 253402300799 || !gmtime_r(&at, &t) || !gmtime_r(&now, &n)) {
        snprintf(out, size, "-");
        return;
    }
    bool today = t.tm_year == n.tm_year && t.tm_yday == n.tm_yday;
    size_t len = !brief                   ? strftime(out, size, "%d/%m/%Y %H:%M", &t)
                 : today                  ? strftime(out, size, "%H:%M", &t)
                 : t.tm_year == n.tm_year ? strftime(out, size, "%d/%m", &t)
                                          : strftime(out, size, "%d/%m/%Y", &t);
    if (len == 0)
        out[0] = 0;
}
