/* Looks at the header of a message on its way in: counts Received fields, and for submission drops Bcc and
 * Return-Path, keeps the From and Sender fields and adds what RFC 6409 8 lets a submission server add. */
#ifndef PROV_SMTPD_HEAD_H
#define PROV_SMTPD_HEAD_H

#include "common/base/buf.h"

enum { HEAD_PROBE = 80, HEAD_FROM_LIMIT = 64 << 10 };

struct head {
    bool edit; /* submission: change the header as above */
    enum { HEAD_LINE, HEAD_FIELD, HEAD_BODY } at;
    char probe[HEAD_PROBE]; /* the start of a line, held back until its field is known */
    size_t probe_n;
    bool drop, in_field;
    unsigned received, from_count, sender_count;
    bool has_date, has_message_id, too_long;
    struct buf from, sender; /* the values of these fields, folded (edit only) */
    struct buf *kept;        /* where the value of the field at hand goes, NULL: nowhere */
    void (*emit)(void *arg, struct span bytes);
    /* The header is over: called once, before its blank line is emitted; whole fields may be emitted. */
    void (*missing)(void *arg);
    void *arg;
};

void head_init(struct head *h, bool edit, void (*emit)(void *, struct span), void (*missing)(void *),
               void *arg);
void head_free(struct head *h);
/* The next bytes, lines ending in CRLF. */
void head_feed(struct head *h, struct span in);
/* No more bytes. */
void head_finish(struct head *h);

#endif
