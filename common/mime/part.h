/* What a header block says about the part behind it, and about the message; inside common/mime. */
#ifndef PROV_MIME_PART_H
#define PROV_MIME_PART_H

#include "common/mime/describe.h"

/* Fields of one header block, raw values; p is NULL for an absent one. */
struct fields {
    struct envelope_fields env;
    struct span type, encoding, id, description, disposition, md5, language, location;
    struct span references, auto_submitted, precedence;
    bool high; /* a byte over 127 is in the block */
};
/* joined: where repeated To, Cc and Bcc fields are put together. */
void fields_read(struct span block, struct arena *joined, struct fields *out);

/* Fill type, encoding, names and the description pieces of d from f. kept: for what the record needs;
 * scratch: for the way there. digest: the default type is message/rfc822 (RFC 2046 5.1.5). *boundary: of a
 * multipart, "" when none is given. d->m.kind says what it would like to be. False: kept is full. */
bool part_describe(const struct fields *f, bool digest, struct arena *kept, struct arena *scratch,
                   struct described *d, struct span *boundary) __attribute__((warn_unused_result));
/* Make a container that cannot be one a leaf: type/subtype and its parameters are replaced. */
void part_demote(struct described *d, const char *type, const char *subtype);

#endif
