/* STATUS items (RFC 3501 6.3.10 and its extensions), for STATUS and LIST ... RETURN (STATUS ...). */
#ifndef PROV_IMAPD_STATUS_H
#define PROV_IMAPD_STATUS_H

#include "imapd/imap_int.h"

enum {
    ST_MESSAGES = 1,
    ST_RECENT = 2,
    ST_UIDNEXT = 4,
    ST_UIDVALIDITY = 8,
    ST_UNSEEN = 16,
    ST_HIGHESTMODSEQ = 32,
    ST_SIZE = 64,
    ST_DELETED = 128,
    ST_MAILBOXID = 256,
    ST_APPENDLIMIT = 512
};
/* "(MESSAGES UNSEEN)" */
bool status_items(struct cursor *c, unsigned *out) MUST;
/* "* STATUS name (...)" of box; recent is asked for separately. */
void status_put(struct imap *s, const struct store_mailbox *box, struct span name, unsigned items,
                size_t recent);
/* Whether the number of recent messages has to be counted by store_rows from box->recent_from. */
bool status_counts(const struct store_mailbox *box, unsigned items);

#endif
