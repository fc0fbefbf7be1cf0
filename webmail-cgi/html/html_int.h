/* Inside of the re-serialiser: tokens, character references, CSS declarations. */
#ifndef PROV_WEB_HTML_INT_H
#define PROV_WEB_HTML_INT_H

#include "webmail-cgi/html/html.h"

/* -- token.c -- */
enum html_kind { HTML_END_OF_FILE, HTML_TEXT, HTML_RAW_TEXT, HTML_START, HTML_END };
struct html_attr {
    struct span name, value; /* raw, pointing into the source */
};
struct html_token {
    enum html_kind kind;
    struct span text; /* HTML_TEXT: references undecoded; HTML_RAW_TEXT: literal */
    char name[16];    /* lower case, cut to fit; "" when longer than any that we know */
    struct html_attr attrs[HTML_ATTR_LIMIT];
    size_t attr_count; /* those past the limit are dropped */
};
struct html_tokens {
    struct span in;
    size_t at;
    char raw[16]; /* inside this raw text element */
    bool plaintext;
};
void html_tokens_init(struct html_tokens *t, struct span in);
/* The next token; comments, doctypes and processing instructions are passed over. */
void html_next(struct html_tokens *t, struct html_token *out);

/* -- entity.c -- */
/* A character reference at s.p[0] == '&': its code point(s) into cp[2], their count in *cps, and how many
 * bytes it takes; 0 when it is none that we know. */
size_t html_entity(struct span s, bool in_attribute, uint32_t cp[2], size_t *cps);
/* Text with references decoded, invalid UTF-8 replaced and controls dropped. False: out is full. */
bool html_decode(struct span s, bool in_attribute, struct buf *out) CHECK_RESULT;
/* UTF-8 bytes to HTML: quoted for text and double- or single-quoted values alike. */
bool html_escape(struct span utf8, struct buf *out) CHECK_RESULT;

/* -- css.c -- */
/* The allowed declarations of a decoded style attribute, "name:value;name:value". Remote loads taken out are
 * counted in *blocked. False: out is full. */
bool html_css(struct span style, struct buf *out, unsigned *blocked) CHECK_RESULT;

#endif
