/* What the fake content shows to tests beside frames.h. */
#ifndef PROV_TESTS_FAKE_CONTENT_H
#define PROV_TESTS_FAKE_CONTENT_H

#include "common/store/frames.h"

extern size_t fake_content_budget; /* content_add answers ERR_LIMIT beyond; SIZE_MAX: never */
extern int fake_content_alive;     /* contents that were not freed */
struct span fake_content_meta(const struct content *c);

#endif
