/* A waiting session's ticket. A call that answers later keeps a reference; when the session has gone on or
 * gone away, the ticket is void and the late answer is dropped. */
#ifndef PROV_NET_TICKET_H
#define PROV_NET_TICKET_H

struct ticket;

/* A ticket with one reference that stands for session (borrowed). */
struct ticket *ticket_new(void *session);
/* One more reference, for a pending call. */
struct ticket *ticket_hold(struct ticket *t);
/* Drop a reference; *t becomes NULL. */
void ticket_drop(struct ticket **t);
/* The session is no longer interested: mark it void and drop the session's reference. */
void ticket_void(struct ticket **t);
/* The session, or NULL when the ticket is void. */
void *ticket_session(const struct ticket *t);

#endif
