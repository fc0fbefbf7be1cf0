/* Encoded words (RFC 2047) inside unfolded text. */
#ifndef PROV_MIME_WORDS_H
#define PROV_MIME_WORDS_H

#include "common/base/buf.h"

/* Append text with its encoded words decoded, UTF-8 in NFC; control characters become blanks. Adjacent
 * words of one charset are joined before conversion, so that a character cut between two is whole.
 * text    a field value, unfolded; raw 8-bit bytes are UTF-8 when valid, else of the charset hint.
 * hint    "" when nothing is known.
 * False: out is full; what fitted is there. RFC 2047 5, 6.2; 2231 5 (language in a word). */
bool words_decode(struct span text, struct span hint, struct buf *out) __attribute__((warn_unused_result));
/* The length of the encoded word at the front of s, 0 when there is none (it holds no blank). */
size_t words_token(struct span s);

#endif
