/* IMAP's descriptions of a message: ENVELOPE, BODY, BODYSTRUCTURE (RFC 9051 7.5.2). Inside common/mime. */
#ifndef PROV_MIME_DESCRIBE_H
#define PROV_MIME_DESCRIBE_H

#include "common/mime/header_int.h"
#include "common/mime/meta.h"

/* A part and the pieces of its description, ready to be put together when its children are known. */
struct described {
    struct mime_part m;
    struct span params;    /* body-fld-param */
    struct span id, desc;  /* nstrings */
    struct span encoding;  /* as named, lower case */
    struct span extension; /* " md5 dsp lang loc", or for a multipart what follows its parameters */
    struct span envelope;  /* of the message inside (MIME_MESSAGE) */
    uint64_t first_line;   /* lines of the message before its body */
    uint32_t ordinal;      /* its place among its parent's parts, from 1 */
};

/* An nstring: NIL when s.p is NULL, quoted when it is short 7-bit text, else a literal. NUL, CR and LF
 * become blanks. */
bool imap_nstring(struct buf *out, struct span s) __attribute__((warn_unused_result));

/* The fields that an envelope is made of, raw; p is NULL for an absent one. */
struct envelope_fields {
    struct span date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id;
};
/* Append the envelope. *left bounds the addresses and is counted down. A false answer leaves out cut. */
bool envelope_write(struct arena *a, const struct envelope_fields *f, size_t *left, struct buf *out)
    __attribute__((warn_unused_result));
/* Append " (...)" of a body-fld-param for the list, NIL when it is empty; charset: add the US-ASCII
 * default of text when no charset is there. */
bool params_write(const struct mime_param *list, bool charset, struct buf *out)
    __attribute__((warn_unused_result));
/* Append BODY (extension false) or BODYSTRUCTURE of parts[0]. */
bool structure_write(const struct described *parts, size_t count, bool extension, struct buf *out)
    __attribute__((warn_unused_result));

#endif
