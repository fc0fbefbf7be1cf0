/* The course of an SMTP or LMTP session: lines are cut, verbs found in the table and called when they are in
 * order, and what waits for others is resumed. The hard problem is to stay in step with a client that
 * pipelines: each command gets one answer, in order, whatever was wrong with it, and bytes that belong to a
 * message are never read as commands. Verbs are in verb_*.c, whole messages in accept.c.
 *
 *   START -> HELLO -> READY -> MAIL -> RCPT -> DATA ----------> FILING -> READY
 *              ^        |               |  \-> CHUNK <-> BDAT     ^
 *              |        +-> AUTH        |        \________________/
 *             TLS <-----+               any <-> DRAIN (a refused chunk)            any -> END            */
#include "smtpd/core_int.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include <assert.h>
#include <stdlib.h>

static const struct {
    enum phase from;
    unsigned to;
} edges[] = {
    {PH_START, PH_HELLO | PH_END},
    {PH_HELLO, PH_READY | PH_TLS | PH_DRAIN | PH_END},
    {PH_READY, PH_READY | PH_MAIL | PH_AUTH | PH_TLS | PH_DRAIN | PH_END},
    {PH_MAIL, PH_READY | PH_RCPT | PH_TLS | PH_DRAIN | PH_END},
    {PH_RCPT, PH_RCPT | PH_READY | PH_DATA | PH_CHUNK | PH_TLS | PH_DRAIN | PH_END},
    {PH_DATA, PH_FILING | PH_END},
    {PH_CHUNK, PH_BDAT | PH_FILING | PH_READY | PH_END},
    {PH_DRAIN, PH_ANY | PH_END},
    {PH_BDAT, PH_CHUNK | PH_READY | PH_TLS | PH_DRAIN | PH_END},
    {PH_FILING, PH_READY | PH_END},
    {PH_AUTH, PH_READY | PH_END},
    {PH_TLS, PH_HELLO | PH_START | PH_END},
    {PH_END, PH_END},
};

void enter(struct smtp_core *p, enum phase to)
{
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        if (edges[i].from == p->phase)
            assert(edges[i].to & to);
    p->phase = to;
}

static const struct verb verbs[] = {
    {"MAIL", on_mail, PH_READY, V_ARG},
    {"RCPT", on_rcpt, PH_MAIL | PH_RCPT, V_ARG},
    {"DATA", on_data, PH_RCPT, V_NO_ARG},
    {"BDAT", on_bdat, PH_ANY, V_ARG},
    {"EHLO", on_ehlo, PH_ANY, V_ARG | V_SMTP},
    {"LHLO", on_ehlo, PH_ANY, V_ARG | V_LMTP},
    {"HELO", on_helo, PH_ANY, V_ARG | V_SMTP},
    {"RSET", on_rset, PH_ANY, V_NO_ARG},
    {"NOOP", on_noop, PH_ANY, 0},
    {"QUIT", on_quit, PH_ANY, V_NO_ARG},
    {"AUTH", on_auth, PH_ANY, V_ARG},
    {"STARTTLS", on_starttls, PH_ANY, V_NO_ARG},
    {"VRFY", on_vrfy, PH_ANY, V_ARG},
    {"EXPN", on_expn, PH_ANY, V_ARG},
    {"HELP", on_help, PH_ANY, 0},
    /* browsers made to speak to us by a web page; nothing of theirs may be obeyed */
    {"GET", on_stranger, PH_ANY, 0},
    {"POST", on_stranger, PH_ANY, 0},
    {"PUT", on_stranger, PH_ANY, 0},
    {"HEAD", on_stranger, PH_ANY, 0},
    {"OPTIONS", on_stranger, PH_ANY, 0},
    {"CONNECT", on_stranger, PH_ANY, 0},
};

const struct verb *verb_find(struct span name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (span_caseeq(name, span_str(verbs[i].name)))
            return &verbs[i];
    return NULL;
}

bool core_secure(const struct smtp_core *p)
{
    return p->tls.on || p->setup.local;
}

/* -- birth and death -- */

struct smtp_core *smtp_core_new(const struct smtp_setup *setup)
{
    struct smtp_core *p = xcalloc(1, sizeof *p);
    p->setup = *setup;
    p->conf = setup->conf;
    p->b = setup->backend;
    p->phase = setup->implicit_tls ? PH_TLS : PH_START;
    crypto_random_text(10, p->session, sizeof p->session);
    p->log = (struct log_ctx){.session = p->session, .peer = setup->peer};
    p->sum.began_us = clock_wall_us();
    buf_init(&p->auth.challenge, 1 << 20);
    buf_init(&p->receipt, 1 << 20);
    return p;
}

void smtp_core_crowded(struct smtp_core *p)
{
    p->crowded = true;
}

void tx_clear(struct smtp_core *p)
{
    intake_free(&p->tx.intake);
    arena_free(&p->tx.arena);
    free(p->tx.rcpts);
    free(p->tx.targets);
    free(p->tx.group_ids);
    free(p->tx.outcome);
    free(p->tx.traces);
    p->tx = (struct tx){.arena = NULL};
}

enum step tx_end(struct smtp_core *p)
{
    tx_clear(p);
    enter(p, PH_READY);
    return STEP_AGAIN;
}

void auth_clear(struct smtp_core *p)
{
    ticket_void(&p->auth.ticket);
    if (p->auth.exchange)
        p->b->auth_cancel(&p->auth.exchange);
    p->auth.exchange = NULL;
    p->auth.final = false;
    buf_wipe(&p->auth.challenge);
}

void smtp_core_free(struct smtp_core **pp)
{
    struct smtp_core *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    ticket_void(&p->wait.ticket);
    auth_clear(p);
    tx_clear(p);
    buf_free(&p->receipt);
    free(p);
}

/* -- waiting -- */

void wait_mark(struct smtp_core *p, resume_fn *then)
{
    assert(!p->wait.then);
    ticket_void(&p->wait.ticket);
    p->wait = (struct wait){.then = then};
}

struct ticket *wait_for(struct smtp_core *p, resume_fn *then)
{
    wait_mark(p, then);
    p->wait.ticket = ticket_new(p);
    return p->wait.ticket;
}

void wait_over(struct smtp_core *p)
{
    p->wait.answered = true;
    p->setup.kick(p->setup.kick_arg);
}

static enum step resume(struct smtp_core *p, struct buf *out)
{
    if (!p->wait.answered)
        return STEP_PAUSED;
    resume_fn *then = p->wait.then;
    p->wait.then = NULL;
    p->wait.answered = false;
    return then(p, out);
}

/* -- lines -- */

static enum step greet(struct smtp_core *p, struct buf *out)
{
    if (p->stopping || !p->b->is_up(p->b->arg)) {
        enter(p, PH_END);
        (void)reply(p, out, 421, "4.3.2", "%s Service not available, try again later", p->conf->hostname);
        return STEP_CLOSE;
    }
    if (p->crowded) {
        enter(p, PH_END);
        (void)reply(p, out, 421, "4.7.0", "%s Too many connections from your address", p->conf->hostname);
        return STEP_CLOSE;
    }
    enter(p, PH_HELLO);
    return reply(p, out, 220, "", "%s %s ready", p->conf->hostname,
                 p->setup.kind == SMTP_LMTP ? "LMTP" : "ESMTP");
}

static enum step call_verb(struct smtp_core *p, const struct verb *v, struct span arg, struct buf *out)
{
    bool lmtp = p->setup.kind == SMTP_LMTP;
    if (!v || (v->flags & V_SMTP && lmtp) || (v->flags & V_LMTP && !lmtp))
        return reply(p, out, 500, "5.5.1", "Command not recognised");
    if ((v->flags & V_NO_ARG && arg.n) || (v->flags & V_ARG && !arg.n))
        return reply(p, out, 501, "5.5.4", arg.n ? "%s takes no argument" : "%s needs an argument", v->name);
    if (!(v->phases & (unsigned)p->phase))
        return reply(p, out, 503, "5.5.1", "%s is out of order%s", v->name,
                     p->phase == PH_HELLO ? (lmtp ? ", LHLO comes first" : ", EHLO comes first") : "");
    return v->on(p, arg, out);
}

static enum step command(struct smtp_core *p, struct span line, struct buf *out)
{
    p->commands++;
    if (p->stopping) {
        enter(p, PH_END);
        (void)reply(p, out, 421, "4.3.2", "%s Service stops, try again later", p->conf->hostname);
        return STEP_CLOSE;
    }
    struct span arg = line, name = span_cut(&arg, ' ');
    while (arg.n && arg.p[0] == ' ')
        arg = span_drop(arg, 1);
    while (arg.n && (arg.p[arg.n - 1] == ' ' || arg.p[arg.n - 1] == '\t'))
        arg.n--;
    return call_verb(p, verb_find(name), arg, out);
}

/* A line cannot be a command: RFC 5321 2.3.8 knows no other line end than CRLF. */
static const char *line_fault(struct span line)
{
    if (line.n < 2 || line.p[line.n - 2] != '\r')
        return "Line does not end in CRLF";
    for (size_t i = 0; i + 2 < line.n; i++)
        if ((unsigned char)line.p[i] < 32 && line.p[i] != '\t')
            return "Control character in a command";
    return NULL;
}

static enum step bad_line(struct smtp_core *p, const char *why, struct buf *out)
{
    if (p->phase == PH_AUTH) {
        auth_clear(p);
        enter(p, PH_READY);
    }
    return reply(p, out, 500, "5.5.2", "%s", why);
}

/* The rest of a line that is too long. */
static enum step skip_line(struct smtp_core *p, struct buf *in, struct buf *out)
{
    size_t lf = span_find(buf_span(in), '\n');
    bool found = lf < in->n;
    p->line.skipped += found ? lf + 1 : in->n;
    buf_consume(in, found ? lf + 1 : in->n);
    if (p->line.skipped > SKIP_LIMIT) {
        (void)bad_line(p, "Line far too long", out);
        enter(p, PH_END);
        return STEP_CLOSE;
    }
    if (!found)
        return STEP_NEED_INPUT;
    p->line.skipping = false;
    return bad_line(p, "Line too long", out);
}

static size_t line_limit(const struct smtp_core *p, const struct buf *in)
{
    return p->phase == PH_AUTH || span_casestarts(buf_span(in), SPAN("AUTH ")) ? AUTH_LINE_LIMIT : LINE_LIMIT;
}

static enum step one_line(struct smtp_core *p, struct buf *in, struct buf *out)
{
    if (p->line.skipping)
        return skip_line(p, in, out);
    size_t limit = line_limit(p, in);
    struct span head = span_first(buf_span(in), limit);
    size_t lf = span_find(head, '\n');
    if (lf == head.n) {
        if (in->n < limit)
            return STEP_NEED_INPUT;
        p->line.skipping = true;
        p->line.skipped = 0;
        return STEP_AGAIN;
    }
    struct span line = span_first(head, lf + 1);
    const char *fault = line_fault(line);
    enum step s;
    if (fault)
        s = bad_line(p, fault, out);
    else if (p->phase == PH_AUTH)
        s = auth_line(p, span_first(line, line.n - 2), out);
    else
        s = command(p, span_first(line, line.n - 2), out);
    buf_consume(in, line.n);
    return s;
}

/* -- the step -- */

static enum step step(struct smtp_core *p, struct buf *in, struct buf *out)
{
    if (p->wait.then)
        return resume(p, out);
    switch (p->phase) {
    case PH_START:
        return greet(p, out);
    case PH_DATA:
        return data_bytes(p, in, out);
    case PH_CHUNK:
        return chunk_bytes(p, in, out);
    case PH_DRAIN:
        return drain_bytes(p, in, out);
    case PH_END:
        return STEP_CLOSE;
    case PH_TLS:
        return STEP_NEED_INPUT;
    default:
        return one_line(p, in, out);
    }
}

enum step smtp_core_step(struct smtp_core *p, struct buf *in, struct buf *out)
{
    enum step s = step(p, in, out);
    if (p->errors > p->conf->smtp_error_limit && (s == STEP_AGAIN || s == STEP_NEED_INPUT) &&
        p->phase & PH_ANY) {
        enter(p, PH_END);
        log_event(LOG_WARN, &p->log, "smtp.errors.exceeded", F_UINT("errors", p->errors));
        (void)reply(p, out, 421, "4.7.0", "%s Too many errors", p->conf->hostname);
        return STEP_CLOSE;
    }
    if (s == STEP_CLOSE)
        p->phase = PH_END;
    return s;
}

void smtp_core_tls_up(struct smtp_core *p, const struct tls_facts *facts)
{
    bool first = p->setup.implicit_tls && !p->tls.on;
    p->tls.on = true;
    p->tls.version = facts->version;
    p->tls.cipher = facts->cipher;
    p->tls.binding = facts->has_exporter ? span_of(facts->exporter, sizeof facts->exporter) : SPAN_NONE;
    tx_clear(p);
    p->hello[0] = 0;
    p->esmtp = false;
    p->login.in = false;
    p->log.user = NULL;
    enter(p, first ? PH_START : PH_HELLO);
}

void smtp_core_timeout(struct smtp_core *p, struct buf *out)
{
    if (p->phase != PH_TLS)
        (void)reply(p, out, 421, "4.4.2", "%s Waited too long", p->conf->hostname);
}

bool smtp_core_stop(struct smtp_core *p, struct buf *out)
{
    p->stopping = true;
    if (p->wait.then || !(p->phase & (PH_HELLO | PH_READY)))
        return false;
    enter(p, PH_END);
    (void)reply(p, out, 421, "4.3.2", "%s Service stops, try again later", p->conf->hostname);
    return true;
}

enum smtp_wait smtp_core_waits(const struct smtp_core *p, uint64_t *progress)
{
    bool data = p->phase & (PH_DATA | PH_CHUNK);
    *progress = data && p->tx.intake ? intake_wire_bytes(p->tx.intake) : p->commands;
    return data ? SMTP_WAIT_DATA : SMTP_WAIT_COMMAND;
}

bool smtp_core_accepted(struct smtp_core *p, struct span *receipt)
{
    bool told = p->told && p->receipt.n > 0;
    *receipt = told ? buf_span(&p->receipt) : SPAN_NONE;
    p->told = false;
    return told;
}

void smtp_core_log_end(struct smtp_core *p, const char *why)
{
    log_event(LOG_INFO, &p->log, "smtp.session.ended", F_STR("listener", p->setup.listener),
              F_STR("hello", p->hello), F_STR("tls", p->tls.on ? p->tls.version : "none"),
              F_UINT("commands", p->commands), F_UINT("accepted", p->sum.accepted),
              F_UINT("refused", p->sum.refused), F_UINT("recipients", p->sum.recipients),
              F_UINT("bytes", p->sum.bytes), F_UINT("errors", p->errors),
              F_INT("ms", (clock_wall_us() - p->sum.began_us) / 1000), F_STR("end", why));
}
