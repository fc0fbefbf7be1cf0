/* HTML of mail made harmless. The input is read as a browser would read it (WHATWG tokenizer), and what comes
 * out is written anew from tokens: elements, attributes and CSS properties of an allow-list only, text and
 * values quoted, elements closed in order. Nothing of the input's markup is copied. Linear in the input,
 * bounded in depth. serialise(serialise(x)) = serialise(x). */
#ifndef PROV_WEB_HTML_H
#define PROV_WEB_HTML_H

#include "common/base/buf.h"
#include "common/base/err.h"

enum { HTML_DEPTH_LIMIT = 100, HTML_ATTR_LIMIT = 64 };

/* Where the picture with this Content-ID (no angle brackets, decoded) is to be had: append a data: address to
 * out and answer true, or false when there is none. */
typedef bool html_image_cb(void *arg, struct span cid, struct buf *out);

struct html_opts {
    html_image_cb *image; /* NULL: cid: pictures are dropped, their text stays */
    void *arg;
};
struct html_result {
    unsigned blocked; /* remote loads that were taken out */
};

/* Append the harmless form of utf8 (a document or a fragment) to out: a fragment for the inside of <body>.
 * ERR_OK; ERR_LIMIT: out is full (what is in it is then cut and must not be shown). */
CHECK_RESULT enum err_code html_serialise(struct span utf8, const struct html_opts *opts, struct buf *out,
                                          struct html_result *result);
/* The text of a document, for quoting in an answer: blocks and <br> become lines, links keep their words.
 * ERR_OK; ERR_LIMIT: out is full. */
CHECK_RESULT enum err_code html_plain(struct span utf8, struct buf *out);

#endif
