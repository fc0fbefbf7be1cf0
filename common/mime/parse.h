/* The suite's one MIME parser (RFC 5322, 2045-2047, 2231, 6532): bytes are fed once, in pieces of any
 * size, as they arrive; at the end it gives a "meta" record (meta.h) with everything that IMAP, the
 * webmail and policy ask of a message. Linear in the input; depth, number of parts and memory are
 * bounded; it never fails on a message: what is broken is described as well as possible, and what
 * passes a bound becomes opaque content of the part that it stands in. */
#ifndef PROV_MIME_PARSE_H
#define PROV_MIME_PARSE_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/mime/meta.h" /* MIME_META_LIMIT */

struct mime_parser;

enum {
    MIME_DEPTH_LIMIT = 20,    /* nesting of multiparts and messages: with ENVELOPE inside, BODYSTRUCTURE stays
                                 within the 25 parentheses that imapflow follows */
    MIME_PARTS_LIMIT = 10000, /* parts of one message */
    MIME_HEADER_LIMIT = 1 << 20 /* bytes of one header block that are interpreted */
};

struct mime_parser *mime_parser_new(void);
void mime_parser_free(struct mime_parser **p);
/* Ready for the next message, allocations kept. */
void mime_parser_reset(struct mime_parser *p);
/* The next bytes of the message. CRLF line ends are expected; bare LF is treated as a line end as well. */
void mime_parser_feed(struct mime_parser *p, struct span bytes);
/* Trace fields that will stand before what is fed: n bytes of whole header fields, known only at the end
 * (Return-Path, Received, Authentication-Results). Every offset of the record is moved by n, header_n and
 * size grow by it; the fields themselves are not interpreted. Call before mime_parser_finish. */
void mime_parser_prefix(struct mime_parser *p, uint64_t n);
/* Call once, after the last byte. The meta record, borrowed until the next reset or free. */
struct span mime_parser_finish(struct mime_parser *p);

/* feed + finish on a message in memory; *out (reset first) gets the record. ERR_OK, or ERR_LIMIT when
 * out's limit forbids it. */
CHECK_RESULT enum err_code mime_parse(struct span message, struct buf *out);

#endif
