/* The request: environment, query and urlencoded forms. multipart/form-data is upload.c's. Nothing here
 * trusts a length that the client gave; a field past a bound is an error, not a cut. */
#include "webmail-cgi/request.h"
#include "common/mime/charset.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct span request_env(const char *name)
{
    const char *v = getenv(name);
    return v ? span_str(v) : SPAN("");
}

static int hex(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* Percent-decoded; bytes that are not UTF-8 are made so. */
static struct span decode(struct arena *a, struct span s)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    if (!out)
        return SPAN_NONE;
    for (size_t i = 0; i < s.n; i++) {
        bool escape = s.p[i] == '%' && s.n - i > 2 && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0;
        char c = escape ? (char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2])) : s.p[i] == '+' ? ' ' : s.p[i];
        i += escape ? 2 : 0;
        if (c)
            out[n++] = c;
    }
    if (utf8_valid(span_of(out, n)))
        return span_of(out, n);
    struct buf fixed;
    buf_init(&fixed, 3 * n + 16);
    struct span kept = SPAN_NONE;
    if (charset_to_utf8(SPAN("utf-8"), span_of(out, n), &fixed) == ERR_OK)
        kept = arena_dup(a, buf_span(&fixed));
    buf_free(&fixed);
    return kept;
}

void request_parse_urlencoded(struct request *r, struct span s, struct field **out, size_t *out_count)
{
    size_t count = 0, n = 1;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '&';
    n = n > REQUEST_FIELDS_LIMIT ? REQUEST_FIELDS_LIMIT : n;
    *out = arena_array(r->a, n, sizeof **out);
    while (*out && s.n && count < n) {
        struct span value = span_cut(&s, '&');
        if (!value.n)
            continue;
        struct span name = span_cut(&value, '=');
        (*out)[count].name = decode(r->a, name);
        (*out)[count].value = decode(r->a, value);
        count += (*out)[count].name.p != NULL;
    }
    *out_count = *out ? count : 0;
}

static ssize_t read_stdin(void *arg, char *to, size_t n)
{
    (void)arg;
    ssize_t got;
    do
        got = read(STDIN_FILENO, to, n);
    while (got < 0 && errno == EINTR);
    return got;
}

static enum err_code read_urlencoded(struct request *r, uint64_t length)
{
    if (length > REQUEST_TEXT_LIMIT)
        return ERR_LIMIT;
    while (r->body.n < length) {
        size_t want = (size_t)length - r->body.n;
        char *to = buf_reserve(&r->body, want);
        ssize_t got = to ? read_stdin(NULL, to, want) : -1;
        if (got <= 0) {
            r->cut = true;
            break;
        }
        buf_commit(&r->body, (size_t)got);
    }
    request_parse_urlencoded(r, buf_span(&r->body), &r->form, &r->form_count);
    return ERR_OK;
}

enum err_code request_read(struct request *r, uint64_t upload_limit)
{
    struct span method = request_env("REQUEST_METHOD"), type = request_env("CONTENT_TYPE");
    uint64_t length = 0;
    *r = (struct request){.a = arena_new(4 * (size_t)REQUEST_TEXT_LIMIT)};
    buf_init(&r->body, REQUEST_TEXT_LIMIT + 1);
    r->path = request_env("PATH_INFO");
    if (!r->path.n)
        r->path = SPAN("/");
    request_parse_urlencoded(r, request_env("QUERY_STRING"), &r->query, &r->query_count);
    r->post = span_eq(method, SPAN("POST"));
    if (!r->post)
        return span_eq(method, SPAN("GET")) || span_eq(method, SPAN("HEAD")) ? ERR_OK : ERR_SYNTAX;
    if (request_env("CONTENT_LENGTH").n && !span_u64(request_env("CONTENT_LENGTH"), &length))
        return ERR_SYNTAX;
    if (span_casestarts(type, SPAN("multipart/form-data")))
        return request_parse_multipart(r, type, upload_limit, read_stdin, NULL);
    if (type.n && !span_casestarts(type, SPAN("application/x-www-form-urlencoded")))
        return ERR_SYNTAX;
    return read_urlencoded(r, length);
}

void request_free(struct request *r)
{
    for (size_t i = 0; i < r->upload_count; i++)
        buf_free(&r->uploads[i].data);
    buf_wipe(&r->body);
    if (r->a)
        arena_free(&r->a);
}

static struct span find(const struct field *v, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (span_eq(v[i].name, span_str(name)))
            return v[i].value.p ? v[i].value : SPAN("");
    return SPAN("");
}

struct span request_query(const struct request *r, const char *name)
{
    return find(r->query, r->query_count, name);
}

struct span request_form(const struct request *r, const char *name)
{
    return find(r->form, r->form_count, name);
}

uint32_t request_query_num(const struct request *r, const char *name)
{
    uint32_t v;
    return span_u32(request_query(r, name), &v) ? v : 0;
}

uint32_t request_form_num(const struct request *r, const char *name)
{
    uint32_t v;
    return span_u32(request_form(r, name), &v) ? v : 0;
}

struct span request_cookie(const char *name)
{
    struct span all = request_env("HTTP_COOKIE");
    while (all.n) {
        struct span value = span_trim(span_cut(&all, ';'));
        if (span_eq(span_cut(&value, '='), span_str(name)))
            return value.p ? value : SPAN("");
    }
    return SPAN("");
}

bool request_same_origin(void)
{
    struct span site = request_env("HTTP_SEC_FETCH_SITE"), origin = request_env("HTTP_ORIGIN");
    if (site.n)
        return span_eq(site, SPAN("same-origin"));
    if (!origin.n) /* neither: an old browser, or no browser; the token still guards */
        return true;
    size_t at = span_search(origin, SPAN("://"));
    return at < origin.n && span_caseeq(span_drop(origin, at + 3), request_env("HTTP_HOST"));
}
