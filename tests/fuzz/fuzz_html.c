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

static bool is_one_of(struct span word, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (span_caseeq(word, span_str(list[i])))
            return true;
    return false;
}

static bool holds(struct span s, const char *what)
{
    return span_search(s, span_str(what)) < s.n;
}

/* " name="value"" pieces of a tag, without "<" and ">". */
static void check_tag(struct span tag, struct span out)
{
    static const char *const bad[] = {"script", "style", "svg",   "math",   "iframe", "form",
                                      "meta",   "base",  "link",  "object", "embed",  "body",
                                      "html",   "input", "audio", "video"};
    if (is_one_of(span_cut(&tag, ' '), bad, sizeof bad / sizeof *bad))
        fail("element", out);
    while (tag.n) {
        struct span name = span_cut(&tag, '=');
        if (!tag.n || tag.p[0] != '"')
            fail("unquoted value", out);
        tag = span_drop(tag, 1);
        struct span value = span_cut(&tag, '"');
        tag = span_drop(tag, 1);
        if (span_starts(name, SPAN("on")) || span_eq(name, SPAN("srcdoc")) || span_eq(name, SPAN("srcset")))
            fail("attribute", out);
        if (span_eq(name, SPAN("style")) &&
            (holds(value, "url(") || holds(value, "/*") || holds(value, "\\")))
            fail("style", out);
        if (span_eq(name, SPAN("src")) && !span_casestarts(value, SPAN("data:image/")))
            fail("src", out);
        if (span_eq(name, SPAN("href")) && span_casestarts(value, SPAN("javascript")))
            fail("href", out);
    }
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
        if (c != '/')
            check_tag(span_of(out.p + i + 1, end - 1), out);
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
