/* What a message list, SORT, THREAD and SEARCH ask of a message's header; inside common/mime. */
#ifndef PROV_MIME_SUMMARY_H
#define PROV_MIME_SUMMARY_H

#include "common/mime/part.h"

/* Fill the head's texts (subject to base_subject) and the date of m; they come from a. hint: the charset of
 * the body, for raw bytes. */
void summary_read(const struct fields *f, struct span hint, struct arena *a, struct mime_meta *m);
/* The first 200 characters of a part's text (RFC 8970): sample holds its first bytes, still encoded. */
struct span summary_preview(struct arena *a, const struct mime_part *p, struct span sample);

#endif
