/* The form in which text is searched and sorted: lower case, marks dropped, Vietnamese d-with-stroke as d,
 * compatibility forms and width unified, white space runs as one blank. "QUYẾT ĐỊNH" -> "quyet dinh". */
#ifndef PROV_MIME_FOLD_H
#define PROV_MIME_FOLD_H

#include "common/base/buf.h"

/* Appends the folded form of UTF-8 text to out; false when out is full. */
bool fold_text(struct span utf8, struct buf *out) __attribute__((warn_unused_result));

#endif
