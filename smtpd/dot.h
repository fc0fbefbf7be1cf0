/* From the bytes on the wire to the bytes of a message: dot-unstuffing and the end of data (RFC 5321 4.5.2,
 * 4.1.1.4), line ends held to CRLF. */
#ifndef PROV_SMTPD_DOT_H
#define PROV_SMTPD_DOT_H

#include "common/base/span.h"

struct dot {
    enum { DOT_LINE_START, DOT_TEXT, DOT_CR, DOT_DOT, DOT_DOT_CR } at;
    bool stuffed;               /* DATA: dots are stuffed and a lone dot ends; BDAT: neither */
    bool normalise;             /* bare CR and LF become CRLF (LMTP); else they are only noted */
    bool bare_cr, bare_lf, nul; /* seen so far */
    bool ended;
    /* The decoded bytes, in pieces; borrowed, valid inside only. */
    void (*emit)(void *arg, struct span bytes);
    void *arg;
};

void dot_init(struct dot *d, bool stuffed, bool normalise, void (*emit)(void *, struct span), void *arg);
/* Decode in; answers how many bytes were taken: all, or those up to and with the end of data (ended is then
 * set). The end is CRLF.CRLF alone, whatever bare line ends stand before it. */
size_t dot_feed(struct dot *d, struct span in);
/* BDAT: no more bytes come. A held CR is given out (as a bare one). */
void dot_finish(struct dot *d);

#endif
