/* The identities that cross process borders. */
#ifndef PROV_BASE_IDS_H
#define PROV_BASE_IDS_H

#include "common/base/span.h"

/* The directory's lasting identity of a person, group or unit (entryUUID, objectGUID): 16 bytes, compared and
 * ordered as bytes. All zero: none. */
struct uuid {
    unsigned char b[16];
};
bool uuid_parse(struct span text, struct uuid *out) __attribute__((warn_unused_result));
enum { UUID_TEXT = 37 };
void uuid_format(const struct uuid *u, char out[UUID_TEXT]);
static inline int uuid_cmp(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b);
}
bool uuid_is_none(const struct uuid *u);

/* A message's name from accept to delivery to read: 20 characters of base 32: the time in 6 of
 * them, then 70 random bits. */
enum { TRACE_TEXT = 21 };
struct trace_id {
    char text[TRACE_TEXT];
};
struct trace_id trace_new(void);
struct trace_id trace_new_at(int64_t wall_s); /* as of a time, in seconds since 1970 */

/* The id under which a write request is applied once (design: write requests are idempotent). */
struct request_id {
    unsigned char b[16];
};
struct request_id request_new(void);

#endif
