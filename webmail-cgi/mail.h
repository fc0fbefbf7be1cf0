/* What a page needs of a message, out of IMAP's ENVELOPE and BODYSTRUCTURE (RFC 9051 7.5.2). Everything lives
 * in the arena. */
#ifndef PROV_WEB_MAIL_H
#define PROV_WEB_MAIL_H

#include "common/mime/meta.h"
#include "webmail-cgi/imap.h"

struct person {
    struct span name, address; /* decoded; address "" for the marks of groups, which are left out */
    struct person *next;
};
struct envelope {
    bool dated;
    int64_t date_s;
    struct span subject; /* decoded */
    struct person *from, *reply_to, *to, *cc, *bcc;
    struct span in_reply_to, message_id;
};
struct part {
    struct span type, subtype, charset; /* lower case */
    struct span filename;               /* decoded, "" when none */
    struct span disposition;            /* lower case */
    struct span content_id;             /* without brackets */
    struct span section;                /* IMAP section number */
    enum mime_encoding encoding;
    uint32_t size;          /* encoded bytes */
    struct envelope *inner; /* message/rfc822 */
    struct part *child, *next;
};

/* n may be NULL or of a wrong shape: what is missing is empty. NULL only when a is full. */
struct envelope *envelope_read(struct arena *a, const struct imap_node *n);
/* section: of the part itself, "" for the message. */
struct part *part_read(struct arena *a, const struct imap_node *n, struct span section);
/* The part with that section number, NULL when there is none. */
const struct part *part_find(const struct part *root, struct span section);
bool part_is(const struct part *p, const char *type, const char *subtype);
/* Whether a list marks the message with a paper clip. */
bool part_has_attachment(const struct part *p);
/* The first text part that is shown, text/plain before text/html in an alternative; NULL: none. */
const struct part *part_first_text(const struct part *p);

/* Seconds since 1970 as a date in Vietnam (+07:00): "24/11/2026 18:40"; brief: time of day for today, day and
 * month for this year, else the year too. out holds 32 bytes or more. */
void mail_date(int64_t s, int64_t now_s, bool brief, char *out, size_t size);

#endif
