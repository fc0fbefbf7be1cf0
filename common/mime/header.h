/* Header fields (RFC 5322 2.2): walking a header block, unfolding, parameters (RFC 2045, 2231). */
#ifndef PROV_MIME_HEADER_H
#define PROV_MIME_HEADER_H

#include "common/base/arena.h"
#include "common/base/buf.h"

struct header_field {
    struct span raw;   /* the whole field with its line ends */
    struct span name;  /* as written, without blanks before the colon */
    struct span value; /* raw, still folded, without the first blank and the last line end */
};

/* Take the next field off *block. A line that is no field is skipped. False at the blank line or the end. */
bool header_next(struct span *block, struct header_field *out);
/* The first field of that name (ASCII letters compare alike), false when there is none. */
bool header_find(struct span block, struct span name, struct header_field *out);
/* Value with the folding taken out (RFC 5322 2.2.3) and blanks trimmed; SPAN_NONE when a is full. */
struct span header_unfold(struct arena *a, struct span value);
/* Decode a Subject-like (unstructured) value: unfold, encoded words, raw 8-bit bytes; UTF-8 in NFC. */
struct span header_text(struct arena *a, struct span value);
/* The parameter of a Content-Type-like value, decoded (RFC 2231 continuations and charsets, RFC 2047 as a
 * courtesy), UTF-8; SPAN_NONE when absent. */
struct span header_param(struct arena *a, struct span value, struct span name);

/* Writing. Append "Name: value\r\n" to out, folded below 78 columns; text that is not ASCII becomes
 * RFC 2047 words (UTF-8, B or Q, whichever is shorter). CR, LF and NUL in value become blanks. */
bool header_write(struct buf *out, struct span name, struct span text) __attribute__((warn_unused_result));
/* A Content-Disposition or Content-Type parameter "; name=value", quoted or RFC 2231 as needed. */
bool header_write_param(struct buf *out, struct span name, struct span value)
    __attribute__((warn_unused_result));
/* "Display name <addr>" pieces: a display name as atom, quoted string or encoded words. */
bool header_write_mailbox(struct buf *out, struct span display, struct span addr)
    __attribute__((warn_unused_result));

#endif
