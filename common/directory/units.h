/* The tree of offices: which unit does an entry belong to, and what is it called from the top down? */
#ifndef PROV_DIRECTORY_UNITS_H
#define PROV_DIRECTORY_UNITS_H

#include "common/base/buf.h"
#include "common/base/ids.h"
#include "common/directory/ldif.h"

struct units;
struct unit {
    struct uuid id;
    struct span dn;   /* normal form */
    struct span name; /* displayName, else ou */
    struct span code; /* unitCode, lower case, or "" */
    /* limits of the sum of all accounts in it and in the units below; 0: none */
    uint64_t quota_bytes, quota_messages;
    const struct unit *parent;
};
enum { UNIT_DEPTH = 16 };

/* a (borrowed) holds what is copied. */
struct units *units_new(struct arena *a);
void units_free(struct units **u);
/* Is the record a unit? */
bool units_is_unit(const struct ldif_record *r);
/* dn: its normal form, in the arena. False: the arena is full. */
bool units_add(struct units *u, const struct ldif_record *r, struct span dn, const struct uuid *id)
    __attribute__((warn_unused_result));
/* Sort, and join each to the nearest unit above it. */
void units_seal(struct units *u);
size_t units_count(const struct units *u);
const struct unit *units_at(const struct units *u, size_t i);
/* The unit of an entry: by its unitCode (any case), else the nearest one that its DN (normal form) lies
 * under; NULL: none. */
const struct unit *units_of(const struct units *u, struct span code, struct span dn);
/* "Phòng Quản trị, Văn phòng UBND tỉnh" into out, at most UNIT_DEPTH steps. */
bool units_path(const struct unit *u, struct buf *out) __attribute__((warn_unused_result));

#endif
