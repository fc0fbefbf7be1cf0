/* The HTML re-serialiser: what it writes is stable under itself and holds nothing that could run or load. The
 * check here is crude on purpose (bytes, not tags): in the output every "<" begins a tag of lower-case
 * letters, and the words below stand nowhere inside a tag. */
#include "webmail-cgi/html/html.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *why, struct span out)
{
    fprintf(stderr, "%s\n%.*s\n", why, SPAN_ARG(out));
    abort();
}

static void check_tag(struct span tag, struct span out)
{
    static const char *const bad[] = {"<script", "<style", "<svg",  "<math",  "<iframe", "<form",
                                      "<meta",   "<base",  "<link", "<input", "<obj",    "<embed",
                                      "srcdoc",  "srcset", "url(",  "/*",     "@import"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (span_search(tag, span_str(bad[i])) < tag.n && !span_starts(tag, SPAN("<a href=")) &&
            span_search(tag, SPAN("alt=")) == tag.n && span_search(tag, SPAN("title=")) == tag.n &&
            span_search(tag, SPAN("face=")) == tag.n && span_search(tag, SPAN("label=")) == tag.n &&
            span_search(tag, SPAN("summary=")) == tag.n && span_search(tag, SPAN("href=")) == tag.n)
            fail(bad[i], out);
    if (span_search(tag, SPAN(" on")) < tag.n && span_find(tag, '"') == tag.n)
        fail("handler", out);
}

static void check(struct span out)
{
    for (size_t i = 0; i < out.n; i++) {
        if (out.p[i] != '<')
            continue;
        char c = i + 1 < out.n ? out.p[i + 1] : 0;
        size_t end = span_find(span_drop(out, i), '>');
        if (!(c == '/' || (c >= 'a' && c <= 'z')) || i + end >= out.n)
            fail("stray <", out);
        check_tag(span_of(out.p + i, end), out);
        i += end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf once, twice, text;
    struct html_result r;
    buf_init(&once, 64 << 20);
    buf_init(&twice, 64 << 20);
    buf_init(&text, 64 << 20);
    if (html_serialise(span_of(data, size), NULL, &once, &r) == ERR_OK) {
        check(buf_span(&once));
        if (html_serialise(buf_span(&once), NULL, &twice, &r) != ERR_OK ||
            !span_eq(buf_span(&once), buf_span(&twice)))
            fail("not stable", buf_span(&once));
        if (r.blocked)
            fail("a remote load survived", buf_span(&once));
    }
    if (html_plain(span_of(data, size), &text) != ERR_OK)
        fail("plain", SPAN_NONE);
    buf_free(&once);
    buf_free(&twice);
    buf_free(&text);
    return 0;
}
