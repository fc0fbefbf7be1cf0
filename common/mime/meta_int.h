/* Writing a meta record; inside common/mime. */
#ifndef PROV_MIME_META_INT_H
#define PROV_MIME_META_INT_H

#include "common/base/buf.h"
#include "common/mime/meta.h"

enum { MIME_HEAD_TEXTS = 14 };
enum { META_PLAIN = 1, META_PACKED = 2 }; /* versions: the first byte of a record */

/* Append the plain record of m, whose parts are asked for one by one (m->parts is not looked at). */
bool mime_meta_write(const struct mime_meta *m, const struct mime_part *(*part)(const void *, size_t),
                     const void *of, struct buf *out) __attribute__((warn_unused_result));

/* Append a record as it is kept: packed when that makes it shorter. False: out's limit forbids it. */
bool meta_pack(struct span plain, struct buf *out) __attribute__((warn_unused_result));
/* The plain record: the record itself, or unpacked into a. ERR_SYNTAX: damaged. ERR_LIMIT: a is full. */
CHECK_RESULT enum err_code meta_unpack(struct span record, struct arena *a, struct span *plain);

#endif
