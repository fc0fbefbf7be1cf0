/* Trace fields (RFC 5321 4.4, RFC 3848, RFC 6531 4.3). They are the same for all recipients of a message. */
#include "smtpd/core_int.h"
#include "common/base/clock.h"
#include "common/mime/date.h"
#include <stdio.h>
#include <time.h>

const char *trace_protocol(const struct smtp_core *p, char out[16])
{
    const char *base = p->setup.kind == SMTP_LMTP ? "LMTP" : p->esmtp || p->tx.utf8 ? "ESMTP" : "SMTP";
    if (p->tx.utf8)
        base = p->setup.kind == SMTP_LMTP ? "UTF8LMTP" : "UTF8SMTP";
    snprintf(out, 16, "%s%s%s", base, p->tls.on ? "S" : "", p->login.in ? "A" : "");
    return out;
}

/* The client's name for itself, with what has no place in a Received field taken out. */
static bool put_hello(const struct smtp_core *p, struct buf *out)
{
    for (const char *c = p->hello; *c; c++) {
        bool safe = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                    strchr(".-:_[]", *c);
        if (!buf_add_char(out, safe ? *c : '?'))
            return false;
    }
    return true;
}

static bool put_peer(const struct smtp_core *p, struct buf *out)
{
    if (p->setup.local)
        return buf_add_str(out, " (local)");
    bool v6 = strchr(p->setup.peer, ':');
    return buf_addf(out, " ([%s%s])", v6 ? "IPv6:" : "", p->setup.peer);
}

static bool put_received(const struct smtp_core *p, struct buf *out)
{
    char protocol[16], date[64];
    time_t now = (time_t)(p->tx.began_us / 1000000);
    struct tm tm;
    localtime_r(&now, &tm);
    date_format((int64_t)now, (int)(tm.tm_gmtoff / 60), date, sizeof date);
    bool ok = buf_add_str(out, "Received: from ") && put_hello(p, out) && put_peer(p, out) &&
              buf_addf(out, "\r\n\tby %s with %s", p->conf->hostname, trace_protocol(p, protocol));
    if (p->tls.on)
        ok = ok && buf_addf(out, "\r\n\t(%s %s)", p->tls.version, p->tls.cipher);
    ok = ok && buf_addf(out, "\r\n\tid %s", p->tx.trace.text);
    if (p->tx.rcpt_count == 1)
        ok = ok && buf_addf(out, " for <%.*s>", SPAN_ARG(p->tx.rcpts[0].target.address));
    return ok && buf_addf(out, ";\r\n\t%s\r\n", date);
}

bool trace_fields(const struct smtp_core *p, struct span extra, struct buf *out)
{
    return buf_addf(out, "Return-Path: <%.*s>\r\n", SPAN_ARG(p->tx.sender)) && buf_add_span(out, extra) &&
           put_received(p, out);
}
