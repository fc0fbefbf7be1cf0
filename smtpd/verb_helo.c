/* EHLO, LHLO and HELO (RFC 5321 4.1.1.1, RFC 2033 4.1): the client names itself, a new start. */
#include "smtpd/core_int.h"
#include "common/mime/charset.h"
#include <inttypes.h>
#include <stdio.h>

/* One word of printable characters. What stands in the wild here is seldom a domain, so no more is asked;
 * trace.c makes it safe for a Received field. */
static bool learn_name(struct smtp_core *p, struct span arg)
{
    if (arg.n > HELLO_LIMIT || !utf8_valid(arg))
        return false;
    for (size_t i = 0; i < arg.n; i++)
        if ((unsigned char)arg.p[i] <= 32 || arg.p[i] == 127)
            return false;
    memcpy(p->hello, arg.p, arg.n);
    p->hello[arg.n] = 0;
    return true;
}

static bool start(struct smtp_core *p, struct span arg, bool esmtp)
{
    if (!learn_name(p, arg))
        return false;
    p->esmtp = esmtp;
    tx_clear(p);
    enter(p, PH_READY);
    return true;
}

enum step on_helo(struct smtp_core *p, struct span arg, struct buf *out)
{
    if (!start(p, arg, false))
        return reply(p, out, 501, "5.5.4", "HELO takes one domain");
    return reply(p, out, 250, "", "%s", p->conf->hostname);
}

enum step on_ehlo(struct smtp_core *p, struct span arg, struct buf *out)
{
    if (!start(p, arg, true))
        return reply(p, out, 501, "5.5.4", "One domain or address literal is expected");
    const char *mechs = "";
    if (p->setup.kind != SMTP_LMTP && !p->login.in && (core_secure(p) || p->conf->auth_plaintext_without_tls))
        mechs = p->b->mechs(p->b->arg, core_secure(p), p->tls.binding.n > 0);
    bool ok = buf_addf(out, "250-%s\r\n250-PIPELINING\r\n250-SIZE %" PRIu64 "\r\n250-8BITMIME\r\n",
                       p->conf->hostname, p->conf->message_size_limit) &&
              buf_add_str(out, "250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n");
    if (p->setup.tls_possible && !core_secure(p))
        ok = ok && buf_add_str(out, "250-STARTTLS\r\n");
    if (*mechs)
        ok = ok && buf_addf(out, "250-AUTH %s\r\n", mechs);
    return ok && buf_add_str(out, "250 SMTPUTF8\r\n") ? STEP_AGAIN : STEP_CLOSE;
}
