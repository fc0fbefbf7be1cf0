/* Addresses: the lists of RFC 5322 3.4 header fields (obsolete forms and broken ones included), and the
 * strict paths of RFC 5321 4.1.2 with RFC 6531. */
#ifndef PROV_MIME_ADDRESS_H
#define PROV_MIME_ADDRESS_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

struct address {
    struct span display;     /* decoded, UTF-8 NFC, "" when none */
    struct span display_raw; /* as written, comments and quotes taken out, encoded words kept: for ENVELOPE */
    struct span local, domain;   /* quotes taken out of local; domain "" when the address has none */
    bool group_start, group_end; /* RFC 5322 groups, as ENVELOPE marks them: local is the group's name */
    struct address *next;
};

/* Parse a field value. Never fails: rubbish becomes display text. At most limit addresses are read. NULL
 * for none. */
struct address *address_list(struct arena *a, struct span value, size_t limit);

/* A mailbox in a command: "<" Path ">" content without the brackets, "local@domain". Spans point into s.
 * ERR_SYNTAX when it is not of RFC 5321 4.1.2 (allow_utf8: RFC 6531 3.3); ERR_LIMIT: over RFC 5321 4.5.3.1
 * (64 for local, 255 for domain). A source route ("@a,@b:u@c") is accepted and cut off. */
CHECK_RESULT enum err_code address_path(struct span s, bool allow_utf8, struct span *out_local,
                                        struct span *out_domain);
/* The same for a reverse-path, which is kept and repeated but never compared: "_" in the labels of the
 * domain, and any share of 320 octets for a local part without quotes (signed bounce addresses pass 64; RFC
 * 5321 4.5.3.1 wants no limit where none is needed). */
CHECK_RESULT enum err_code address_path_wild(struct span s, bool allow_utf8, struct span *out_local,
                                             struct span *out_domain);
/* The form that directories and tables compare: local in lower case and NFC, unneeded quotes removed, domain
 * in lower case and as A-labels (IDNA 2008). out is reset first; false when it is no address. */
bool address_normal(struct span addr, struct buf *out) __attribute__((warn_unused_result));

#endif
