/* Sets of message numbers and UIDs (RFC 3501 9 sequence-set, RFC 5182 "$"), and lists of UIDs as ranges. */
#ifndef PROV_IMAPD_SEQSET_H
#define PROV_IMAPD_SEQSET_H

#include "common/base/buf.h"
#include "imapd/cursor.h"

struct range {
    uint32_t first, last; /* first <= last once the set is fixed */
};

enum { SEQ_STAR = 0 }; /* "*" until seqset_fix */

struct seqset {
    struct range *v;
    size_t n;
    bool saved;       /* "$": the result that was saved */
    uint32_t highest; /* number named in it, "*" left out */
};

/* Parse; memory is the cursor's arena's. */
bool seqset_parse(struct cursor *c, struct seqset *out) MUST;
/* Put max in the place of "*", order and join the ranges. With max 0 (an empty mailbox) a range with "*" is
 * taken out. */
void seqset_fix(struct seqset *set, uint32_t max);
bool seqset_has(const struct seqset *set, uint32_t number);

/* Owned, ascending, disjoint ranges. */
struct uidset {
    struct range *v;
    size_t n, cap;
};
/* number must not be below one that was added before. */
void uidset_add(struct uidset *u, uint32_t number);
/* first to last, above all that are in it. */
void uidset_add_range(struct uidset *u, uint32_t first, uint32_t last);
bool uidset_has(const struct uidset *u, uint32_t number);
void uidset_free(struct uidset *u);
/* Append "1:3,5" of count ascending numbers. */
bool uidset_put(const uint32_t *numbers, size_t count, struct buf *out) MUST;

#endif
