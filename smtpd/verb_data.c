/* DATA (RFC 5321 4.1.1.4) and BDAT (RFC 3030): the message's bytes. The hard problem of BDAT is that its
 * bytes follow whatever we think of the command, so a refused chunk is read away before the next command is
 * looked for; its refusal is answered at once. */
#include "smtpd/core_int.h"
#include "common/base/clock.h"

void begin_message(struct smtp_core *p, bool stuffed)
{
    p->tx.trace = trace_new();
    p->tx.began_us = clock_wall_us();
    struct intake_rules rules = {.stuffed = stuffed,
                                 .normalise = p->setup.kind == SMTP_LMTP,
                                 .submission = p->login.in,
                                 .limit = p->conf->message_size_limit,
                                 .received_limit = (unsigned)p->conf->received_limit,
                                 .hostname = p->conf->hostname,
                                 .sender = p->tx.sender.n ? p->tx.sender : span_str(p->login.address),
                                 .trace = &p->tx.trace};
    p->tx.intake = intake_new(&rules);
}

enum step on_data(struct smtp_core *p, struct span arg, struct buf *out)
{
    (void)arg;
    begin_message(p, true);
    enter(p, PH_DATA);
    return reply(p, out, 354, "", "End the message with <CRLF>.<CRLF>");
}

enum step data_bytes(struct smtp_core *p, struct buf *in, struct buf *out)
{
    bool ended = false;
    buf_consume(in, intake_feed(p->tx.intake, buf_span(in), &ended));
    if (!ended)
        return STEP_NEED_INPUT;
    enter(p, PH_FILING);
    return accept_begin(p, out);
}

/* -- BDAT -- */

/* Refuse the chunk: the answer goes out now, its bytes are read away, the transaction is over. */
static enum step drain(struct smtp_core *p, uint64_t size, enum phase after)
{
    p->chunk.left = size;
    p->after_drain = after;
    enter(p, PH_DRAIN);
    return STEP_AGAIN;
}

static bool chunk_arg(struct span arg, uint64_t *size, bool *last)
{
    struct span word = span_cut(&arg, ' ');
    arg = span_trim(arg);
    *last = span_caseeq(arg, SPAN("LAST"));
    return span_u64(word, size) && (*last || arg.n == 0);
}

static enum step close_after(struct smtp_core *p)
{
    enter(p, PH_END);
    return STEP_CLOSE;
}

enum step on_bdat(struct smtp_core *p, struct span arg, struct buf *out)
{
    uint64_t size, limit = p->conf->message_size_limit;
    bool last;
    if (!chunk_arg(arg, &size, &last)) {
        /* nobody knows where the next command starts */
        (void)reply(p, out, 501, "5.5.4", "Syntax: BDAT size [LAST]");
        return close_after(p);
    }
    uint64_t have = p->tx.intake ? intake_wire_bytes(p->tx.intake) : 0;
    bool order = p->phase & (PH_RCPT | PH_BDAT), fits = size <= limit && have <= limit - size;
    if (order && fits) {
        if (!p->tx.intake)
            begin_message(p, false);
        enter(p, PH_CHUNK);
        p->chunk.left = size;
        p->chunk.last = last;
        return STEP_AGAIN;
    }
    enum phase after = p->phase;
    if (order) {
        tx_clear(p);
        after = PH_READY;
        (void)reply(p, out, 552, "5.3.4", "Message is larger than this system takes");
    } else {
        (void)reply(p, out, 503, "5.5.1", "BDAT is out of order");
    }
    return size / 2 > limit ? close_after(p) : drain(p, size, after);
}

/* The chunk is complete. */
static enum step chunk_end(struct smtp_core *p, struct buf *out)
{
    if (p->chunk.last) {
        enter(p, PH_FILING);
        return accept_begin(p, out);
    }
    enum err_code fault = intake_fault(p->tx.intake);
    if (fault != ERR_OK) {
        enum step s = reply_err(p, out, fault);
        p->sum.refused++;
        tx_end(p);
        return s;
    }
    enter(p, PH_BDAT);
    return reply(p, out, 250, "2.0.0", "Ok, more");
}

enum step chunk_bytes(struct smtp_core *p, struct buf *in, struct buf *out)
{
    bool ended;
    struct span piece = span_first(buf_span(in), p->chunk.left > SIZE_MAX ? SIZE_MAX : (size_t)p->chunk.left);
    size_t n = intake_feed(p->tx.intake, piece, &ended);
    buf_consume(in, n);
    p->chunk.left -= n;
    return p->chunk.left ? STEP_NEED_INPUT : chunk_end(p, out);
}

enum step drain_bytes(struct smtp_core *p, struct buf *in, struct buf *out)
{
    (void)out;
    uint64_t n = p->chunk.left < in->n ? p->chunk.left : in->n;
    buf_consume(in, (size_t)n);
    p->chunk.left -= n;
    if (p->chunk.left)
        return STEP_NEED_INPUT;
    enter(p, p->after_drain);
    return STEP_AGAIN;
}
