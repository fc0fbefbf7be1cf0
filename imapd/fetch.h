/* FETCH between its files: what is asked (fetch_parse.c), which bytes a section is (fetch_section.c), and the
 * command itself (cmd_fetch.c). */
#ifndef PROV_IMAPD_FETCH_H
#define PROV_IMAPD_FETCH_H

#include "common/mime/meta.h"
#include "imapd/imap_int.h"

enum { FETCH_ITEMS = 200, FETCH_FIELDS = 500 };

enum fetch_kind {
    /* answered from the row */
    FI_FLAGS,
    FI_UID,
    FI_INTERNALDATE,
    FI_SIZE,
    FI_MODSEQ,
    FI_EMAILID,
    FI_THREADID,
    FI_SAVEDATE,
    /* from the meta record */
    FI_ENVELOPE,
    FI_BODY,
    FI_BODYSTRUCTURE,
    FI_PREVIEW,
    /* bytes of the message */
    FI_SECTION
};

enum fetch_what { SEC_ALL, SEC_HEADER, SEC_FIELDS, SEC_FIELDS_NOT, SEC_TEXT, SEC_MIME };

struct fetch_item {
    enum fetch_kind kind;
    /* FI_SECTION */
    enum fetch_what what;
    struct span part; /* "1.2", "" for the message */
    const struct span *fields;
    size_t field_count;
    bool partial, peek;
    uint64_t first, want;
    struct span label; /* "BODY[TEXT]<0>" */
};

struct fetch_wants {
    struct seqset set;
    struct fetch_item items[FETCH_ITEMS];
    size_t item_count;
    bool needs_meta, has_sections, sets_seen, has_flags, has_uid, has_modseq;
    bool changed_since_given;
    uint64_t changed_since;
};

/* The arguments of FETCH. */
bool fetch_parse(struct imap *s, struct cursor *c, struct fetch_wants *out) MUST;

/* Which bytes of the message item is; false: there is no such part (NIL). meta may be NULL for BODY[] of
 * size bytes. For the header fields: the header that they are in. */
bool fetch_section(const struct fetch_item *item, const struct mime_meta *meta, uint64_t size, uint64_t *at,
                   uint64_t *n) MUST;
/* Append the chosen fields of header and the blank line (RFC 3501 6.4.5). */
bool fetch_fields(const struct fetch_item *item, struct span header, struct buf *out) MUST;

#endif
