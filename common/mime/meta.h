/* The meta record of a message: what the parser found, ready to answer from, as it is kept in the store's
 * content record. Big-endian, first byte a version; read through bounds checks. All spans of a view point
 * into the record or into the arena that it was read with (it may be kept packed), and live as long as both.
 * Offsets are of bytes of the message as stored (CRLF line ends). */
#ifndef PROV_MIME_META_H
#define PROV_MIME_META_H

#include "common/base/arena.h"
#include "common/base/err.h"

enum mime_kind { MIME_LEAF, MIME_MULTIPART, MIME_MESSAGE /* message/rfc822 or message/global */ };
enum mime_encoding { MIME_7BIT, MIME_8BIT, MIME_BINARY, MIME_QP, MIME_BASE64, MIME_ENC_OTHER };
enum { MIME_NO_PART = 0xffff };
enum { MIME_META_LIMIT = 8 << 20 /* bytes of a record, and of one unpacked */ };

/* One part. parts[0] is the message itself (its body's type). The children of a multipart are in order
 * through first_child and next. A MIME_MESSAGE has one child: the body of the message inside; the fields
 * inner_header_* are that message's own header. */
struct mime_part {
    enum mime_kind kind;
    enum mime_encoding encoding;
    uint16_t parent, first_child, next; /* indexes into parts, or MIME_NO_PART */
    uint64_t header_at, header_n; /* the part's MIME header (parts[0]: the message's), with the blank line */
    uint64_t body_at, body_n;     /* its body, still encoded; without the CRLF before a boundary */
    uint64_t inner_header_at, inner_header_n; /* MIME_MESSAGE only, else 0 */
    uint32_t lines;                           /* of the body */
    struct span type, subtype;                /* lower case; defaults of RFC 2045 5.2 filled in */
    struct span charset;                      /* lower case, "" when none is given */
    struct span filename;                     /* decoded (RFC 2231, 2047), UTF-8, "" when none */
    struct span disposition;                  /* lower case "attachment", "inline", "" */
    struct span content_id;                   /* without the angle brackets, "" when none */
    struct span number;                       /* IMAP section number, "1.2"; "" for parts[0] of a multipart */
};

struct mime_meta {
    uint64_t size;     /* of the whole message */
    uint64_t header_n; /* of the message's header, with the blank line */
    int64_t date;      /* Date field, seconds since 1970 UTC; INT64_MIN when there is none that can be read */
    struct span envelope;      /* IMAP ENVELOPE value, "(...)", RFC 9051 7.5.2; literals where needed */
    struct span body;          /* IMAP BODY value (no extension data) */
    struct span bodystructure; /* IMAP BODYSTRUCTURE value */
    struct span subject;       /* decoded to UTF-8 NFC, white space folded */
    struct span from;          /* what a list shows: display name, or address, of the first From */
    struct span to;            /* the same of the To field's members, joined with ", " */
    struct span from_addr, to_addr, cc_addr; /* "local@domain" of all, joined with ", " */
    struct span message_id, in_reply_to;     /* first id of the field, with angle brackets, "" when none */
    struct span references;                  /* ids separated by blanks, newest 100 at most */
    struct span base_subject;                /* RFC 5256 2.1, folded (fold.h), for SORT and THREAD */
    struct span preview;                     /* up to 200 characters of text, UTF-8, RFC 8970 */
    uint32_t flags;                          /* MIME_F_* */
    const struct mime_part *parts;
    size_t part_count;
};
enum {
    MIME_F_ATTACHMENT = 1, /* has a part that a list marks with a paper clip */
    MIME_F_BROKEN = 2,     /* something was against the grammar */
    MIME_F_TRUNCATED = 4,  /* a bound of parse.h was met */
    MIME_F_8BIT = 8,       /* has a byte over 127 */
    MIME_F_8BIT_HEADER = 16,
    MIME_F_AUTO = 32, /* Auto-Submitted other than "no", or Precedence bulk, list, junk */
};

/* Read a record. What is not in the record itself comes from a. ERR_SYNTAX: not a record of a known version
 * (a program error or a damaged store, never a property of a message). ERR_LIMIT: a is full. */
CHECK_RESULT enum err_code mime_meta_read(struct span record, struct arena *a, struct mime_meta *out);

/* Only the head, without the parts: fast, for lists (parts is NULL, part_count 0). */
CHECK_RESULT enum err_code mime_meta_head(struct span record, struct arena *a, struct mime_meta *out);

/* The part with this IMAP section number ("1", "2.1.3"), NULL when there is none (RFC 9051 6.4.5.1: "1" of
 * a message that is no multipart is its body). */
const struct mime_part *mime_meta_part(const struct mime_meta *m, struct span number);

#endif
