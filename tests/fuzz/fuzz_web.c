/* What the webmail reads from others: IMAP responses and mailbox names, forms, multipart bodies, mail as
 * text. The first byte chooses. A multipart body must give the same in pieces as whole. */
#include "webmail-cgi/mail.h"
#include "webmail-cgi/request.h"
#include "webmail-cgi/shown.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct feed {
    struct span s;
    size_t piece;
};

static ssize_t read_feed(void *arg, char *to, size_t n)
{
    struct feed *f = arg;
    n = n < f->piece ? n : f->piece;
    n = n < f->s.n ? n : f->s.n;
    if (n)
        memcpy(to, f->s.p, n);
    f->s = span_drop(f->s, n);
    return (ssize_t)n;
}

static void multipart(struct request *r, struct span in, size_t piece)
{
    struct feed f = {in, piece};
    *r = (struct request){.a = arena_new(64 << 20)};
    if (request_parse_multipart(r, SPAN("multipart/form-data; boundary=XX"), 4096, read_feed, &f) == ERR_BUG)
        abort();
}

static void on_multipart(struct span in)
{
    struct request whole, pieces;
    multipart(&whole, in, SIZE_MAX);
    multipart(&pieces, in, 1 + in.n % 7);
    if (whole.form_count != pieces.form_count || whole.upload_count != pieces.upload_count ||
        whole.cut != pieces.cut)
        abort();
    for (size_t i = 0; i < whole.form_count; i++)
        if (!span_eq(whole.form[i].value, pieces.form[i].value))
            abort();
    request_free(&whole);
    request_free(&pieces);
}

static void on_response(struct span in)
{
    struct arena *a = arena_new(16 << 20);
    size_t from = 0, end = imap_response_end(in, &from);
    struct imap_node *n = end ? imap_parse(a, span_first(in, end)) : NULL;
    for (const struct imap_node *v = n; v; v = v->next) {
        struct envelope *e = envelope_read(a, v);
        struct part *p = part_read(a, v, SPAN(""));
        if (!e || !p)
            break;
        part_has_attachment(p);
        part_first_text(p);
        struct view view;
        web_view(p, false, &view);
    }
    arena_free(&a);
}

static void on_name(struct span in)
{
    struct buf out;
    buf_init(&out, 16 << 20);
    if (!imap_name_decode(in, &out))
        abort();
    buf_free(&out);
}

static void on_text(struct span in)
{
    struct page p;
    page_init(&p, LANG_VI);
    shown_text(&p, in);
    for (size_t i = 0; i + 1 < p.out.n; i++) /* only our own three tags */
        if (p.out.p[i] == '<' && !memchr("d/a", p.out.p[i + 1], 3))
            abort();
    page_free(&p);
}

static void on_form(struct span in)
{
    struct request r = {.a = arena_new(16 << 20)};
    request_parse_urlencoded(&r, in, &r.query, &r.query_count);
    arena_free(&r.a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const run[])(struct span) = {on_multipart, on_response, on_name, on_text, on_form};
    if (size && size < 100000)
        run[data[0] % 5](span_of(data + 1, size - 1));
    return 0;
}
