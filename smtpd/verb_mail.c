/* MAIL (RFC 5321 4.1.1.2; SIZE RFC 1870, BODY RFC 6152, SMTPUTF8 RFC 6531, AUTH RFC 4954 5). Who is logged in
 * may send as himself and as what the directory gives him; the null sender is free, for receipts (RFC 8098
 * 3).
 */
#include "smtpd/core_int.h"
#include "common/base/clock.h"

/* What a parameter says against the message: a reply, or code 0. */
struct objection {
    int code;
    const char *enhanced, *text;
};
static const struct objection fine = {0, "", ""};

static struct objection on_size(struct smtp_core *p, struct span v)
{
    uint64_t n;
    if (!v.p || v.n > 20)
        return (struct objection){501, "5.5.4", "SIZE takes up to 20 digits"};
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < '0' || v.p[i] > '9')
            return (struct objection){501, "5.5.4", "SIZE takes up to 20 digits"};
    if (!span_u64(v, &n) || n > p->conf->message_size_limit)
        return (struct objection){552, "5.3.4", "Message is larger than this system takes"};
    return fine;
}

static struct objection on_body(struct smtp_core *p, struct span v)
{
    (void)p;
    if (v.p && (span_caseeq(v, SPAN("7BIT")) || span_caseeq(v, SPAN("8BITMIME"))))
        return fine;
    return (struct objection){501, "5.5.4", "BODY is 7BIT or 8BITMIME"};
}

static struct objection on_utf8(struct smtp_core *p, struct span v)
{
    if (v.p)
        return (struct objection){501, "5.5.4", "SMTPUTF8 takes no value"};
    p->tx.utf8 = true;
    return fine;
}

/* Who the message was first submitted by: not trusted, so only its form is looked at. */
static struct objection on_auth_param(struct smtp_core *p, struct span v)
{
    (void)p;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] == '+') {
            for (size_t k = 1; k <= 2; k++)
                if (i + k >= v.n || !v.p[i + k] || !strchr("0123456789ABCDEF", v.p[i + k]))
                    return (struct objection){501, "5.5.4", "AUTH takes xtext"};
            i += 2;
        }
    return v.p ? fine : (struct objection){501, "5.5.4", "AUTH takes a mailbox or <>"};
}

static const struct {
    const char *name;
    struct objection (*on)(struct smtp_core *p, struct span v);
} mail_params[] = {{"SIZE", on_size}, {"BODY", on_body}, {"SMTPUTF8", on_utf8}, {"AUTH", on_auth_param}};

static struct objection check_params(struct smtp_core *p, const struct path_arg *a)
{
    for (size_t i = 0; i < a->param_count; i++) {
        struct objection o = {555, "5.5.4", "Parameter not recognised"};
        for (size_t k = 0; p->esmtp && k < sizeof mail_params / sizeof *mail_params; k++)
            if (span_caseeq(a->params[i].name, span_str(mail_params[k].name)))
                o = mail_params[k].on(p, a->params[i].value);
        if (o.code)
            return o;
    }
    return fine;
}

static enum step accepted(struct smtp_core *p, struct buf *out)
{
    enter(p, PH_MAIL);
    return reply(p, out, 250, "2.1.0", "Ok");
}

static enum step refused(struct smtp_core *p, struct buf *out, int code, const char *enhanced,
                         const char *text)
{
    log_event(LOG_INFO, &p->log, "smtp.mail.refused", F_SPAN("sender", p->tx.sender), F_INT("code", code));
    enum step s = reply(p, out, code, enhanced, "%s", text);
    tx_clear(p);
    return s;
}

static enum step may_send_known(struct smtp_core *p, struct buf *out)
{
    switch (p->wait.code) {
    case ERR_OK:
        return accepted(p, out);
    case ERR_DENIED:
    case ERR_MISSING:
        return refused(p, out, 553, "5.7.1", "This sender address does not belong to your login");
    default:
        return refused(p, out, 451, "4.3.0", "Cannot check the sender now, try again later");
    }
}

static void may_send_answer(void *session, enum err_code code)
{
    struct smtp_core *p = session;
    p->wait.code = code;
    wait_over(p);
}

static enum step with_sender(struct smtp_core *p, struct buf *out)
{
    if (p->setup.kind == SMTP_SUBMISSION && !p->login.in)
        return refused(p, out, 530, "5.7.0",
                       core_secure(p) || p->conf->auth_plaintext_without_tls
                           ? "Authentication required"
                           : "Authentication required, STARTTLS comes first");
    if (!p->login.in)
        return accepted(p, out);
    /* Asked each time, for the own address and the null sender too: a session may outlast the account's
     * right. */
    struct span as = p->tx.sender.n ? p->tx.sender : span_str(p->login.address);
    struct ticket *t = wait_for(p, may_send_known);
    p->b->may_send(p->b->arg, &p->login.account, as, t, may_send_answer);
    return STEP_PAUSED;
}

enum step on_mail(struct smtp_core *p, struct span arg, struct buf *out)
{
    struct path_arg a;
    enum err_code code = path_arg_parse(arg, SPAN("FROM:"), false, false, &a);
    if (code == ERR_DENIED)
        return reply(p, out, 553, "5.6.7", "An address outside ASCII needs SMTPUTF8");
    if (code == ERR_LIMIT)
        return reply(p, out, 501, "5.1.7", "Sender address is too long");
    if (code != ERR_OK)
        return reply(p, out, 501, "5.1.7", "Syntax: MAIL FROM:<address> [parameters]");
    tx_clear(p);
    p->tx.arena = arena_new((size_t)p->conf->recipients_limit * (PATH_LIMIT + 32) + 65536);
    p->tx.sender = arena_dup(p->tx.arena, a.path);
    struct objection o = check_params(p, &a);
    if (o.code)
        return refused(p, out, o.code, o.enhanced, o.text);
    return with_sender(p, out);
}
