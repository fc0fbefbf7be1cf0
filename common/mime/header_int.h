/* What the modules of common/mime share about headers; no part of the public contract. */
#ifndef PROV_MIME_HEADER_INT_H
#define PROV_MIME_HEADER_INT_H

#include "common/mime/header.h"

/* The length of the field name that the line begins with, 0 when the line is no field. Blanks before the
 * colon are allowed (obsolete form, RFC 5322 4.5). */
size_t header_name_length(struct span line);
/* header_text with the charset that raw 8-bit bytes are taken to be in when they are no UTF-8. */
struct span header_text_hint(struct arena *a, struct span value, struct span hint);

/* One parameter of a Content-Type-like value, its continuations joined (RFC 2231 3). */
struct mime_param {
    struct span name;  /* lower case, without any "*" */
    struct span value; /* raw; when extended: charset'language'percent-encoded */
    bool extended;
    struct mime_param *next;
};
enum { PARAM_LIMIT = 1000 }; /* pieces of one value that are looked at */

/* Take a value to pieces. *out_main: what stands before the first ";", comments and blanks taken out.
 * Pieces come from a; when it is full the list is short. */
struct mime_param *params_read(struct arena *a, struct span value, struct span *out_main);
/* The decoded parameter, UTF-8 in NFC; SPAN_NONE when absent. The extended form wins (RFC 6266 4.3). */
struct span params_text(struct arena *a, const struct mime_param *list, struct span name);
/* The raw one (boundary, charset), SPAN_NONE when absent. */
struct span params_raw(const struct mime_param *list, struct span name);
/* A copy in lower case. */
struct span arena_lower(struct arena *a, struct span s);

#endif
