/* LDIF content records (RFC 2849): what a directory exports. Change records are refused with their line. */
#ifndef PROV_DIRECTORY_LDIF_H
#define PROV_DIRECTORY_LDIF_H

#include "common/base/arena.h"
#include "common/base/err.h"

enum {
    LDIF_LINE_LIMIT = 1 << 20, /* bytes of one unfolded line */
    LDIF_VALUE_LIMIT = 100000  /* attribute values of one record */
};

struct ldif_value {
    struct span name;  /* attribute description without its options ("cn" of "cn;lang-vi"), as written */
    struct span value; /* decoded */
};
struct ldif_record {
    struct span dn;
    unsigned line; /* where the record begins, from 1 */
    const struct ldif_value *v;
    size_t count;
};

/* A record was read; what it shows is borrowed until the callback returns. False ends the reading with
 * ERR_STATE. */
typedef bool ldif_record_cb(void *arg, const struct ldif_record *record);

/* Read all records of text, in order.
 * a        memory for one record at a time; it is reset after each of them. Its limit bounds a record.
 * outcome  ERR_OK; ERR_SYNTAX: not LDIF, or a change record, or a value by URL (never fetched); ERR_LIMIT: a
 * line or a record is too large; ERR_STATE: the callback ended it. why names the line and the fault; records
 *          before it have been delivered already. */
CHECK_RESULT enum err_code ldif_read(struct span text, struct arena *a, ldif_record_cb *cb, void *arg,
                                     struct err *why);

/* The first value of an attribute (name compared without case), or SPAN_NONE. */
struct span ldif_get(const struct ldif_record *record, const char *name);

#endif
