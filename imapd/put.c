/* Output, quoted by type: foreign bytes leave through put_string, put_nstring or put_mailbox only.
 * The hard problem is text that no quoted string can hold (8-bit, CR, LF): it becomes a literal. What the
 * commands say is theirs. */
#include "common/base/buf.h"
#include "imapd/imap_int.h"
#include "imapd/mutf7.h"

enum { QUOTED_LIMIT = 1000 };

void put_span(struct imap *s, struct span bytes)
{
    if (!buf_add_span(s->out, bytes))
        s->overflow = true;
}

void put(struct imap *s, const char *text)
{
    put_span(s, span_str(text));
}

void putf(struct imap *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!buf_vaddf(s->out, fmt, ap))
        s->overflow = true;
    va_end(ap);
}

static bool quotable(struct span t)
{
    if (t.n > QUOTED_LIMIT)
        return false;
    for (size_t i = 0; i < t.n; i++)
        if ((unsigned char)t.p[i] < 0x20 || (unsigned char)t.p[i] >= 0x7f)
            return false;
    return true;
}

static void put_quoted(struct imap *s, struct span t)
{
    put(s, "\"");
    while (t.n) {
        size_t n = 0;
        while (n < t.n && t.p[n] != '"' && t.p[n] != '\\')
            n++;
        put_span(s, span_first(t, n));
        t = span_drop(t, n);
        if (t.n) {
            put(s, t.p[0] == '"' ? "\\\"" : "\\\\");
            t = span_drop(t, 1);
        }
    }
    put(s, "\"");
}

void put_string(struct imap *s, struct span text)
{
    if (quotable(text)) {
        put_quoted(s, text);
        return;
    }
    size_t nuls = 0;
    for (size_t i = 0; i < text.n; i++)
        nuls += text.p[i] == 0;
    putf(s, "{%zu}\r\n", text.n - nuls);
    while (text.n) {
        size_t n = span_find(text, 0);
        put_span(s, span_first(text, n));
        text = span_drop(text, n < text.n ? n + 1 : n);
    }
}

void put_nstring(struct imap *s, struct span text)
{
    if (text.p)
        put_string(s, text);
    else
        put(s, "NIL");
}

void put_mailbox(struct imap *s, struct span utf8)
{
    struct buf b;
    buf_init(&b, utf8.n * 8 + 16);
    if (mutf7_encode(utf8, &b))
        put_quoted(s, buf_span(&b));
    else
        s->overflow = true;
    buf_free(&b);
}

void put_flags(struct imap *s, const struct view_row *r)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{STORE_ANSWERED, "\\Answered"},
                 {STORE_DELETED, "\\Deleted"},
                 {STORE_DRAFT, "\\Draft"},
                 {STORE_FLAGGED, "\\Flagged"},
                 {0, "\\Recent"},
                 {STORE_SEEN, "\\Seen"}};
    const char *gap = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool on = names[i].bit ? r->flags & names[i].bit : view_is_recent(&s->view, r);
        if (!on)
            continue;
        put(s, gap);
        put(s, names[i].name);
        gap = " ";
    }
    if (!r->keywords)
        return;
    for (size_t i = 0; i < s->view.keyword_count; i++)
        if (r->keywords >> i & 1) {
            put(s, gap);
            put(s, s->view.keywords[i]);
            gap = " ";
        }
}

void put_fetch_flags(struct imap *s, size_t index, bool uid)
{
    const struct view_row *r = &s->view.rows[index];
    putf(s, "* %zu FETCH (", index + 1);
    if (uid)
        putf(s, "UID %u ", r->uid);
    put(s, "FLAGS (");
    put_flags(s, r);
    put(s, ")");
    if (s->enabled & EN_CONDSTORE)
        putf(s, " MODSEQ (%llu)", (unsigned long long)r->modseq);
    put(s, ")\r\n");
}

static void put_keywords(struct imap *s)
{
    for (size_t i = 0; i < s->view.keyword_count; i++)
        putf(s, " %s", s->view.keywords[i]);
}

void put_select_flags(struct imap *s)
{
    put(s, "* FLAGS (\\Answered \\Deleted \\Draft \\Flagged \\Seen");
    put_keywords(s);
    put(s, ")\r\n");
}

void put_permanent_flags(struct imap *s)
{
    if (s->view.read_only) {
        put(s, "* OK [PERMANENTFLAGS ()] Read-only\r\n");
        return;
    }
    put(s, "* OK [PERMANENTFLAGS (\\Answered \\Deleted \\Draft \\Flagged \\Seen");
    put_keywords(s);
    put(s, s->view.keyword_count < IMAP_KEYWORDS ? " \\*)] Limited\r\n" : ")] Limited\r\n");
}
