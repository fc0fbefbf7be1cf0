/* A page on its way out. Everything that is foreign passes a quoting helper: page_put's letters, html_text,
 * url_part. Format strings are literals (the macro sees to it). */
#ifndef PROV_WEB_PAGE_H
#define PROV_WEB_PAGE_H

#include "common/base/buf.h"
#include "webmail-cgi/text.h"

struct page {
    struct buf out;   /* body */
    struct buf heads; /* header fields of this page, whole lines */
    enum lang lang;
    int status;
    bool full; /* something did not fit: the page is not to be sent */
};

enum { PAGE_LIMIT = 64 << 20 };

void page_init(struct page *p, enum lang lang);
void page_free(struct page *p);
/* Forget the body and the header fields, for an error page in its place. */
void page_reset(struct page *p);

/* Append a template. %s const char *, %h struct span: quoted for text and quoted values. %u struct span:
 * percent-encoded for the query of an address. %d int, %U uint64_t. %t enum text_id: words in the page's
 * language. %% a percent sign. */
#define PUT(p, ...) page_put((p), "" __VA_ARGS__)
void page_put(struct page *p, const char *fmt, ...);
/* Words with {0} and {1} filled in, quoted. */
void page_words(struct page *p, enum text_id id, struct span a0, struct span a1);
void html_text(struct page *p, struct span s);
void url_part(struct page *p, struct span s);
/* The same into any buffer, unquoted: for mail texts and addresses. */
bool words_fill(struct buf *out, const char *words, struct span a0, struct span a1)
    __attribute__((warn_unused_result));
bool url_encode(struct buf *out, struct span s) __attribute__((warn_unused_result));
/* A size for people: "12 KB", "1,2 GB". */
enum { SIZE_TEXT = 48 };
void size_text(enum lang lang, uint64_t bytes, char out[SIZE_TEXT]);
void page_size(struct page *p, uint64_t bytes);

/* A header field; CR, LF and other controls in value become blanks. */
void page_head(struct page *p, const char *name, struct span value);
/* Answer 303 to a path of ours, which is already encoded. */
void page_redirect(struct page *p, struct span location);
/* Write the whole answer to standard output, with the security fields of a page. */
bool page_send(struct page *p) __attribute__((warn_unused_result));
/* Header fields only, for what is streamed behind them. */
bool page_send_heads(struct page *p) __attribute__((warn_unused_result));
bool page_write(struct span s) __attribute__((warn_unused_result));

#endif
