/* Distinguished names made comparable. */
#ifndef PROV_DIRECTORY_DN_H
#define PROV_DIRECTORY_DN_H

#include "common/base/arena.h"
#include "common/base/span.h"

/* The same text for all spellings of a name (RFC 4514): types and ASCII letters in lower case, no blanks
 * around separators, runs of blanks in values as one, each special character as backslash and two hex
 * digits, others as they are. Values are compared as caseIgnoreMatch does, letters outside ASCII as they are
 * written. What is no DN is lower-cased alone. The result lives in the arena; p NULL: the arena is full. */
struct span dn_normal(struct arena *a, struct span dn);

#endif
