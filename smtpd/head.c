/* The header of a message in passing. The hard problem is that bytes come in any pieces and must leave at
 * once: only the start of a line is held, until its field name is known. What is no field is passed on; in
 * submissions it ends the header (a blank line is put before it), so that no reader sees more fields than
 * were checked here. The meaning of addresses is left to accept.c, MIME to the parser. */
#include "smtpd/head.h"

void head_init(struct head *h, bool edit, void (*emit)(void *, struct span), void (*missing)(void *),
               void *arg)
{
    *h = (struct head){.edit = edit, .emit = emit, .missing = missing, .arg = arg};
    buf_init(&h->from, HEAD_FROM_LIMIT);
    buf_init(&h->sender, HEAD_FROM_LIMIT);
}

void head_free(struct head *h)
{
    buf_free(&h->from);
    buf_free(&h->sender);
}

static void pass(struct head *h, struct span s)
{
    if (h->kept && !buf_add_span(h->kept, s))
        h->too_long = true;
    if (!h->drop && s.n)
        h->emit(h->arg, s);
}

static void flush_probe(struct head *h)
{
    size_t n = h->probe_n;
    h->probe_n = 0;
    pass(h, span_of(h->probe, n));
}

/* A field begins; probe holds its name, blanks and the colon. */
static void begin_field(struct head *h)
{
    struct span name = span_trim(span_of(h->probe, h->probe_n - 1));
    h->drop = h->edit && (span_caseeq(name, SPAN("Bcc")) || span_caseeq(name, SPAN("Resent-Bcc")) ||
                          span_caseeq(name, SPAN("Return-Path")));
    h->received += span_caseeq(name, SPAN("Received"));
    h->has_date = h->has_date || span_caseeq(name, SPAN("Date"));
    h->has_message_id = h->has_message_id || span_caseeq(name, SPAN("Message-ID"));
    bool from = span_caseeq(name, SPAN("From")), sender = span_caseeq(name, SPAN("Sender"));
    h->from_count += from;
    h->sender_count += sender;
    h->kept = NULL;
    flush_probe(h);
    if (h->edit && from && h->from_count == 1)
        h->kept = &h->from;
    if (h->edit && sender && h->sender_count == 1)
        h->kept = &h->sender;
    h->in_field = true;
    h->at = HEAD_FIELD;
}

static void end_header(struct head *h)
{
    h->drop = false;
    h->kept = NULL;
    h->at = HEAD_BODY;
    h->missing(h->arg);
}

/* A line that is no field and no blank line; it may be cut short in the probe. */
static void no_field(struct head *h)
{
    if (h->edit) {
        end_header(h);
        h->emit(h->arg, SPAN("\r\n"));
    } else {
        h->at = HEAD_FIELD;
        h->in_field = false;
    }
    flush_probe(h);
}

static bool is_name(const struct head *h, char c)
{
    unsigned char b = (unsigned char)c;
    if (c == ' ' || c == '\t')
        return h->probe_n > 0;
    /* a blank inside means that the name was over before: only the colon may follow */
    char last = h->probe_n ? h->probe[h->probe_n - 1] : 'x';
    return b > 32 && b < 127 && last != ' ' && last != '\t';
}

/* A byte at the start of a line. */
static void probe(struct head *h, char c)
{
    bool first = h->probe_n == 0;
    if (first && (c == ' ' || c == '\t') && h->in_field) {
        h->at = HEAD_FIELD; /* continuation: follows what was decided for its field */
        pass(h, span_of(&c, 1));
        return;
    }
    bool known = c == ':' ? !first : is_name(h, c);
    h->probe[h->probe_n++] = c;
    if (c == ':' && known) {
        begin_field(h);
    } else if (c == '\n' && h->probe_n == 2 && h->probe[0] == '\r') {
        end_header(h);
        flush_probe(h);
    } else if (c == '\r' && first) {
        return; /* the blank line, if LF follows */
    } else if (!known || h->probe_n == HEAD_PROBE) {
        no_field(h);
        if (c == '\n' && h->at == HEAD_FIELD)
            h->at = HEAD_LINE;
    }
}

static size_t rest_of_line(struct head *h, struct span in)
{
    size_t n = span_find(in, '\n');
    bool whole = n < in.n;
    n += whole;
    pass(h, span_first(in, n));
    if (whole)
        h->at = HEAD_LINE;
    return n;
}

void head_feed(struct head *h, struct span in)
{
    while (in.n) {
        if (h->at == HEAD_BODY) {
            h->emit(h->arg, in);
            return;
        }
        size_t n = 1;
        if (h->at == HEAD_FIELD)
            n = rest_of_line(h, in);
        else
            probe(h, *in.p);
        in = span_drop(in, n);
    }
}

void head_finish(struct head *h)
{
    if (h->at == HEAD_BODY)
        return;
    if (h->probe_n)
        no_field(h);
    if (h->at != HEAD_BODY) {
        bool open_line = h->at == HEAD_FIELD && !h->drop;
        h->drop = false;
        h->kept = NULL;
        if (h->edit && open_line)
            h->emit(h->arg, SPAN("\r\n")); /* a field without its line end, by BDAT */
        end_header(h);
    }
}
