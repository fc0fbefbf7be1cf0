/* Mailbox names as IMAP4rev1 and Maildir++ write them: modified UTF-7 (RFC 3501 5.1.3). */
#ifndef PROV_MIME_MUTF7_H
#define PROV_MIME_MUTF7_H

#include "common/base/buf.h"

/* Append the UTF-8 form. False: not valid modified UTF-7 (also: characters encoded that need not be, two
 * encodings in a row, surrogates alone, 8-bit bytes), or out is full. */
bool mutf7_decode(struct span in, struct buf *out) __attribute__((warn_unused_result));
/* Append the modified UTF-7 form of valid UTF-8. */
bool mutf7_encode(struct span utf8, struct buf *out) __attribute__((warn_unused_result));

#endif
