/* Tickets: a counted cell between a session and the calls that will answer it later. The one hard
 * point is order: the session may die first or the call may; whoever drops the last reference frees. */
#include "common/net/ticket.h"
#include "common/base/buf.h"
#include <assert.h>
#include <stdlib.h>

struct ticket {
    void *session;
    unsigned refs;
};

struct ticket *ticket_new(void *session)
{
    struct ticket *t = xmalloc(sizeof *t);
    *t = (struct ticket){.session = session, .refs = 1};
    return t;
}

struct ticket *ticket_hold(struct ticket *t)
{
    assert(t->refs > 0);
    t->refs++;
    return t;
}

void ticket_drop(struct ticket **tp)
{
    struct ticket *t = *tp;
    *tp = NULL;
    if (!t)
        return;
    assert(t->refs > 0);
    if (--t->refs == 0)
        free(t);
}

void ticket_void(struct ticket **tp)
{
    if (*tp)
        (*tp)->session = NULL;
    ticket_drop(tp);
}

void *ticket_session(const struct ticket *t)
{
    return t ? t->session : NULL;
}
