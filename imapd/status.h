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
    ST_APPENDLIMIT = 512,
    ST_DELETED_STORAGE = 1024 /* RFC 9208 4.1.4 */
};
/* What stands in the rows, not in the record. */
struct status_sums {
    size_t recent;
    uint64_t deleted_bytes;
};
/* "(MESSAGES UNSEEN)" */
bool status_items(struct cursor *c, unsigned *out) MUST;
/* "* STATUS name (...)" of box. */
void status_put(struct imap *s, const struct store_mailbox *box, struct span name, unsigned items,
                const struct status_sums *sums);
/* The UID from which rows have to be looked through for the sums; 0: none need to be. */
uint32_t status_counts(const struct store_mailbox *box, unsigned items);
void status_count(const struct store_mailbox *box, const struct store_row *rows, size_t count,
                  struct status_sums *sums);

#endif
