/* The one policy step between a whole message and its delivery (design.md 4, 3): one question, one verdict.
 * Milters, SPF, DKIM, DMARC and the rest will answer here; today everything passes. */
#ifndef PROV_SMTPD_POLICY_H
#define PROV_SMTPD_POLICY_H

#include "common/base/span.h"
#include "common/net/ticket.h"
#include "common/store/frames.h"

struct policy_question {
    struct span peer;   /* client address, "unix" for a local socket */
    struct span hello;  /* as the client named itself */
    struct span login;  /* authenticated address, "" when none */
    struct span sender; /* "" is the null sender */
    const struct span *recipients;
    size_t recipient_count;
    uint64_t size;
    const struct content *content; /* whole, not yet finished: no trace fields */
};

struct policy_verdict {
    enum { POLICY_ACCEPT, POLICY_REFUSE, POLICY_DEFER } act;
    struct span fields; /* whole header fields to stand before the message, or SPAN_NONE */
    struct span text;   /* refuse, defer: words for the client, or SPAN_NONE */
};

/* Views are borrowed, valid inside only. */
typedef void policy_cb(void *session, const struct policy_verdict *verdict);
/* Ask; cb is called once, perhaps before policy_ask returns, unless t went void first. q is borrowed for the
 * time of the call only. */
void policy_ask(const struct policy_question *q, struct ticket *t, policy_cb *cb);

#endif
