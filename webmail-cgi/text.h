/* Words of the pages: one table (text.def), two languages. */
#ifndef PROV_WEB_TEXT_H
#define PROV_WEB_TEXT_H

#include "common/base/span.h"

enum lang { LANG_VI, LANG_EN };
enum text_id {
#define TXT(name, vi, en) T_##name,
#include "webmail-cgi/text.def"
#undef TXT
    T_COUNT
};

/* The words in that language; never NULL. */
const char *text(enum lang l, enum text_id id);
/* "vi" or "en". */
const char *lang_code(enum lang l);
/* A two-letter code; false when it is neither of ours. */
bool lang_named(struct span code, enum lang *out);
/* The best of an Accept-Language value (RFC 9110 12.5.4), or the fallback. */
enum lang lang_accept(struct span accept, enum lang fallback);

#endif
