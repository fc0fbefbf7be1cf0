/* Transfer encodings, streaming (RFC 2045 6.7, 6.8), and encoded words (RFC 2047). */
#ifndef PROV_MIME_CODEC_H
#define PROV_MIME_CODEC_H

#include "common/base/buf.h"
#include "common/mime/meta.h"

struct codec {
    enum mime_encoding encoding;
    uint32_t bits;
    unsigned have; /* base64 */
    bool ended;
    char held[80]; /* QP: blanks and a cut escape that wait for what follows */
    unsigned held_n;
};

void codec_init(struct codec *c, enum mime_encoding encoding);
/* Decode the next bytes, appending to out; last: no more follow. Errors in the encoding are passed over
 * as RFC 2045 suggests. False: out is full. */
bool codec_decode(struct codec *c, struct span in, bool last, struct buf *out)
    __attribute__((warn_unused_result));

/* Base64 with CRLF after every 76 columns (columns 0: one line), and quoted-printable. */
bool base64_encode(struct span in, unsigned columns, struct buf *out) __attribute__((warn_unused_result));
/* Strict: RFC 4648 4, no blanks, padding required (SASL). False on anything else. */
bool base64_decode_strict(struct span in, struct buf *out) __attribute__((warn_unused_result));
bool qp_encode(struct span in, struct buf *out) __attribute__((warn_unused_result));

#endif
