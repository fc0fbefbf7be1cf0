/* Text in any charset to UTF-8 in NFC. iconv where it serves; TCVN3 (TCVN 5712), VISCII, VNI and
 * windows-1258 are ours, because Vietnam's archives need them and their results must be composed. */
#ifndef PROV_MIME_CHARSET_H
#define PROV_MIME_CHARSET_H

#include "common/base/buf.h"
#include "common/base/err.h"

/* Convert bytes of the named charset (any label in use, letters compare alike; "" or unknown: UTF-8 when
 * the bytes are valid UTF-8, else windows-1258 is not guessed but windows-1252 taken). What cannot be
 * converted becomes U+FFFD; conversion goes on. Appends to out. ERR_OK; ERR_LIMIT: out is full; ERR_MISSING:
 * the charset is not known (out then holds the fallback's result). */
CHECK_RESULT enum err_code charset_to_utf8(struct span charset, struct span bytes, struct buf *out);
/* Whether the bytes are UTF-8 as they are: charset_to_utf8 would only compose them. */
bool charset_is_utf8(struct span charset, struct span bytes);
/* Open what iconv needs (about a millisecond), before a sandbox forbids it; sandbox_enter calls it.
 * Afterwards no conversion touches a file. Without it the first use of an East Asian charset opens its
 * module. */
void charset_warm(void);
/* Whether the label names a charset that can be converted (SEARCH CHARSET, RFC 9051 6.4.4). */
bool charset_known(struct span charset);
/* Valid UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool utf8_valid(struct span s);
/* The code point at the front and its length in *n (1 and U+FFFD for an invalid byte). s.n > 0. */
uint32_t utf8_next(struct span s, size_t *n);
bool utf8_put(struct buf *out, uint32_t cp) __attribute__((warn_unused_result));
/* Compose Vietnamese and Latin sequences (base letter + marks) to NFC. Appends. */
bool utf8_nfc(struct span s, struct buf *out) __attribute__((warn_unused_result));

#endif
