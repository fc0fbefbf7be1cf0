/* Mailbox names: modified UTF-7 on the wire (RFC 3501 5.1.3), UTF-8 inside. */
#ifndef PROV_IMAPD_MUTF7_H
#define PROV_IMAPD_MUTF7_H

#include "common/base/arena.h"
#include "common/mime/mutf7.h"

/* A client's name as the store knows it, from a: UTF-8 (modified UTF-7, or raw UTF-8 as some clients send);
 * "inbox" and "inbox/..." with INBOX in capitals. False: no name. */
bool mailbox_name(struct arena *a, struct span raw, struct span *out) __attribute__((warn_unused_result));

#endif
