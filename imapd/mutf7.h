/* Mailbox names: modified UTF-7 on the wire (RFC 3501 5.1.3), UTF-8 inside. */
#ifndef PROV_IMAPD_MUTF7_H
#define PROV_IMAPD_MUTF7_H

#include "common/base/arena.h"
#include "common/base/buf.h"

/* Append the UTF-8 form. False: not valid modified UTF-7 (also: characters encoded that need not be, two
 * encodings in a row, surrogates alone, 8-bit bytes), or out is full. */
bool mutf7_decode(struct span in, struct buf *out) __attribute__((warn_unused_result));
/* Append the modified UTF-7 form of valid UTF-8. */
bool mutf7_encode(struct span utf8, struct buf *out) __attribute__((warn_unused_result));

/* A client's name as the store knows it, from a: UTF-8 (modified UTF-7, or raw UTF-8 as some clients send);
 * "inbox" and "inbox/..." with INBOX in capitals. False: no name. */
bool mailbox_name(struct arena *a, struct span raw, struct span *out) __attribute__((warn_unused_result));

#endif
