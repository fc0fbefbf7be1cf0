/* AUTH (RFC 4954). The blobs are directoryd's; here are base64, the order of lines, and the rule that nothing
 * is asked for on a line that others can read. SCRAM ends with data of the server, which SMTP can only send
 * as one more challenge: the client answers it with an empty line (RFC 4422 5, RFC 4954 4). */
#include "smtpd/core_int.h"
#include "common/mime/codec.h"
#include <stdio.h>

enum { BLOB_LIMIT = 12288 };

static void drop_exchange(struct smtp_core *p)
{
    auth_clear(p);
    enter(p, PH_READY);
}

static enum step succeeded(struct smtp_core *p, struct buf *out)
{
    drop_exchange(p);
    p->login.in = true;
    p->log.user = p->login.address;
    log_event(LOG_INFO, &p->log, "smtp.login.succeeded", F_STR("listener", p->setup.listener));
    return reply(p, out, 235, "2.7.0", "Authentication succeeded");
}

static enum step failed(struct smtp_core *p, struct buf *out, int code, const char *enhanced,
                        const char *text)
{
    drop_exchange(p);
    log_event(LOG_INFO, &p->log, "smtp.login.failed", F_STR("listener", p->setup.listener),
              F_INT("code", code));
    if (code == 421) {
        enter(p, PH_END);
        (void)reply(p, out, code, enhanced, "%s", text);
        return STEP_CLOSE;
    }
    return reply(p, out, code, enhanced, "%s", text);
}

static enum step send_challenge(struct smtp_core *p, struct buf *out)
{
    bool ok = buf_add_str(out, "334 ") && base64_encode(buf_span(&p->auth.challenge), 0, out) &&
              buf_add_str(out, "\r\n");
    buf_wipe(&p->auth.challenge);
    return ok ? STEP_AGAIN : STEP_CLOSE;
}

static enum step known(struct smtp_core *p, struct buf *out)
{
    switch (p->wait.code) {
    case ERR_OK:
        if (!p->auth.final)
            return succeeded(p, out);
        return send_challenge(p, out);
    case ERR_STATE:
        return send_challenge(p, out);
    case ERR_DENIED:
        return failed(p, out, 535, "5.7.8", "Authentication failed");
    case ERR_SYNTAX:
        return failed(p, out, 501, "5.5.2", "The response is not of this mechanism");
    case ERR_LIMIT:
        return failed(p, out, 421, "4.7.0", "Too many failed logins");
    default:
        return failed(p, out, 454, "4.7.0", "Cannot check logins now, try again later");
    }
}

static void answer(void *session, enum err_code code, struct span challenge, const struct dir_login *login)
{
    struct smtp_core *p = session;
    p->wait.code = code;
    if (code != ERR_STATE) {
        p->auth.over = true;
        p->auth.exchange = NULL; /* freed by its owner */
    }
    buf_wipe(&p->auth.challenge);
    if (!buf_add_span(&p->auth.challenge, challenge))
        p->wait.code = ERR_BUG;
    if (code == ERR_OK) {
        p->auth.final = challenge.p && challenge.n;
        p->login.account = login->account;
        int n = snprintf(p->login.address, sizeof p->login.address, "%.*s", SPAN_ARG(login->address));
        if (n < 0 || (size_t)n >= sizeof p->login.address)
            p->wait.code = ERR_BUG;
    }
    wait_over(p);
}

static enum step begin(struct smtp_core *p, struct span mech, struct span initial)
{
    struct dir_facts facts = {.service = "smtp",
                              .peer = p->setup.peer,
                              .secure = core_secure(p),
                              .tls_version = p->tls.on ? p->tls.version : NULL,
                              .channel_binding = p->tls.binding};
    enter(p, PH_AUTH);
    p->auth.over = p->auth.final = false;
    p->auth.ticket = ticket_new(p);
    wait_mark(p, known);
    struct dir_auth *a = p->b->auth(p->b->arg, mech, &facts, initial, p->auth.ticket, answer);
    if (!p->auth.over)
        p->auth.exchange = a;
    return STEP_PAUSED;
}

static bool offered(const char *mechs, struct span mech)
{
    struct span all = span_str(mechs);
    while (all.p && all.n)
        if (span_caseeq(span_cut(&all, ' '), mech))
            return true;
    return false;
}

/* What forbids AUTH now, or code 0. */
static int objection(const struct smtp_core *p, struct span mech, const char **enhanced, const char **text)
{
    *enhanced = "5.5.1";
    if (p->setup.kind == SMTP_LMTP)
        return *text = "AUTH is not available here", 502;
    if (p->phase != PH_READY || !p->esmtp)
        return *text =
                   p->phase == PH_READY || p->phase == PH_HELLO ? "EHLO comes first" : "AUTH is out of order",
               503;
    if (p->login.in)
        return *text = "You are logged in already", 503;
    if (!core_secure(p) && !p->conf->auth_plaintext_without_tls)
        return *enhanced = "5.7.11", *text = "Encryption is required, STARTTLS comes first", 538;
    const char *mechs = p->b->mechs(p->b->arg, core_secure(p), p->tls.binding.n > 0);
    if (!*mechs)
        return *enhanced = "4.7.0", *text = "Cannot check logins now, try again later", 454;
    if (!offered(mechs, mech))
        return *enhanced = "5.5.4", *text = "Mechanism not recognised", 504;
    return 0;
}

enum step on_auth(struct smtp_core *p, struct span arg, struct buf *out)
{
    const char *enhanced, *text;
    struct span initial = arg, mech = span_cut(&initial, ' ');
    struct buf blob;
    buf_init(&blob, BLOB_LIMIT);
    bool empty = span_eq(initial, SPAN("="));
    bool good = !initial.p || empty || (initial.n && base64_decode_strict(initial, &blob));
    enum step s;
    int code = 0;
    if (!good)
        s = reply(p, out, 501, "5.5.2", "The initial response is not base64");
    else if ((code = objection(p, mech, &enhanced, &text)) != 0)
        s = reply(p, out, code, enhanced, "%s", text);
    else
        s = begin(p, mech, !initial.p ? SPAN_NONE : blob.n ? buf_span(&blob) : SPAN(""));
    buf_wipe(&blob);
    return s;
}

enum step auth_line(struct smtp_core *p, struct span line, struct buf *out)
{
    struct buf blob;
    p->commands++;
    if (span_eq(line, SPAN("*")))
        return failed(p, out, 501, "5.7.0", "Authentication cancelled");
    buf_init(&blob, BLOB_LIMIT);
    enum step s = STEP_PAUSED;
    if (!base64_decode_strict(line, &blob)) {
        s = failed(p, out, 501, "5.5.2", "The response is not base64");
    } else if (p->auth.final) {
        s = blob.n ? failed(p, out, 501, "5.5.2", "An empty response was expected") : succeeded(p, out);
    } else {
        wait_mark(p, known);
        p->b->auth_step(p->auth.exchange, blob.n ? buf_span(&blob) : SPAN(""));
    }
    buf_wipe(&blob);
    return s;
}
