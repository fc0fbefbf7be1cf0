/* Writing a meta record; inside common/mime. */
#ifndef PROV_MIME_META_INT_H
#define PROV_MIME_META_INT_H

#include "common/base/buf.h"
#include "common/mime/meta.h"

enum { MIME_HEAD_TEXTS = 14 };

/* Append the record of m, whose parts are asked for one by one (m->parts is not looked at). */
bool mime_meta_write(const struct mime_meta *m, const struct mime_part *(*part)(const void *, size_t),
                     const void *of, struct buf *out) __attribute__((warn_unused_result));

#endif
