/* The small verbs: RSET, NOOP, QUIT, VRFY, EXPN, HELP (RFC 5321 4.1.1.5 to 4.1.1.10), STARTTLS (RFC 3207). */
#include "smtpd/core_int.h"

enum step on_rset(struct smtp_core *p, struct span arg, struct buf *out)
{
    (void)arg;
    tx_clear(p);
    if (p->phase != PH_HELLO)
        enter(p, PH_READY);
    return reply(p, out, 250, "2.0.0", "Ok");
}

enum step on_noop(struct smtp_core *p, struct span arg, struct buf *out)
{
    (void)arg;
    return reply(p, out, 250, "2.0.0", "Ok");
}

enum step on_quit(struct smtp_core *p, struct span arg, struct buf *out)
{
    (void)arg;
    (void)reply(p, out, 221, "2.0.0", "%s Goodbye", p->conf->hostname);
    enter(p, PH_END);
    return STEP_CLOSE;
}

/* Whether an address exists is told to RCPT only, where refusals are counted (RFC 5321 7.3). */
enum step on_vrfy(struct smtp_core *p, struct span arg, struct buf *out)
{
    (void)arg;
    return reply(p, out, 252, "2.5.0", "Cannot verify, but will take RCPT and try");
}

enum step on_expn(struct smtp_core *p, struct span arg, struct buf *out)
{
    (void)arg;
    return reply(p, out, 502, "5.5.1", "EXPN is not available");
}

enum step on_help(struct smtp_core *p, struct span arg, struct buf *out)
{
    (void)arg;
    return reply(p, out, 214, "2.0.0", "See RFC 5321; problems: postmaster");
}

enum step on_starttls(struct smtp_core *p, struct span arg, struct buf *out)
{
    (void)arg;
    if (core_secure(p))
        return reply(p, out, 503, "5.5.1", "The connection is protected already");
    if (!p->setup.tls_possible)
        return reply(p, out, 454, "4.7.0", "TLS is not available");
    tx_clear(p);
    enter(p, PH_TLS);
    return reply(p, out, 220, "2.0.0", "Ready to start TLS") == STEP_AGAIN ? STEP_STARTTLS : STEP_CLOSE;
}

enum step on_stranger(struct smtp_core *p, struct span arg, struct buf *out)
{
    (void)arg;
    log_event(LOG_WARN, &p->log, "smtp.stranger", F_STR("listener", p->setup.listener));
    (void)reply(p, out, 554, "5.5.1", "This is no web server");
    enter(p, PH_END);
    return STEP_CLOSE;
}
