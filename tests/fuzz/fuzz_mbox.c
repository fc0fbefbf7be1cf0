/* The mbox reader under hostile bytes: it comes to an end, reading in small pieces gives what reading whole
 * gives, no byte is given that was not in the file, and what a message is comes back when it is written and
 * read again. */
#include "mailadm/mbox.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    struct span s;
    size_t most;
};

static long read_text(void *arg, uint64_t at, char *out, size_t n)
{
    const struct text *t = arg;
    struct span rest = at > t->s.n ? SPAN_NONE : span_drop(t->s, (size_t)at);
    rest = span_first(rest, n < t->most ? n : t->most);
    if (rest.n)
        memcpy(out, rest.p, rest.n);
    return (long)rest.n;
}

static void add(void *arg, struct span bytes)
{
    if (!buf_add_span(arg, bytes))
        abort();
}

/* The same message with CRLF for every LF and CR (as import_target.c does). */
static void normalise(struct span in, struct buf *out)
{
    bool ok = true, cr = false;
    buf_reset(out);
    for (size_t i = 0; i < in.n && ok; i++) {
        char c = in.p[i];
        if (cr && c != '\n')
            ok = buf_add_char(out, '\n');
        else if (c == '\n' && !cr)
            ok = buf_add_char(out, '\r');
        ok = ok && buf_add_char(out, c);
        cr = c == '\r';
    }
    if (!ok || (cr && !buf_add_char(out, '\n')))
        abort();
}

static void again(const struct mbox_message *m, struct span bytes)
{
    struct buf text, file, back, normal;
    struct mbox_writer w;
    struct mbox_message *one = calloc(1, sizeof *one);
    buf_init(&text, 8 << 20);
    buf_init(&file, 16 << 20);
    buf_init(&back, 8 << 20);
    buf_init(&normal, 8 << 20);
    normalise(bytes, &text);
    bool lf = span_ends(buf_span(&text), SPAN("\n"));
    if (!mbox_write_begin(&w, &file, m->internal_s, m->zone_min, m->flags, span_str(m->keywords), lf) ||
        !mbox_write(&w, buf_span(&text)) || !mbox_write_end(&w))
        abort();
    struct text t = {buf_span(&file), SIZE_MAX};
    struct mbox *r = mbox_new(read_text, &t, MBOX_QUOTED);
    if (mbox_next(r, add, &back, one) != ERR_OK)
        abort();
    normalise(buf_span(&back), &normal);
    if (!span_eq(buf_span(&normal), buf_span(&text)) || one->flags != m->flags ||
        one->internal_s != m->internal_s)
        abort();
    buf_reset(&back);
    if (mbox_next(r, add, &back, one) != ERR_MISSING)
        abort();
    mbox_free(&r);
    free(one);
    buf_free(&text);
    buf_free(&file);
    buf_free(&back);
    buf_free(&normal);
}

static void read_all(struct span in, size_t most, enum mbox_quoting quoting, struct buf *out, bool write)
{
    struct text t = {in, most};
    struct mbox *m = mbox_new(read_text, &t, quoting);
    struct mbox_message *one = calloc(1, sizeof *one);
    size_t begin = 0;
    uint64_t at = 0;
    while (mbox_next(m, add, out, one) == ERR_OK) {
        if (write)
            again(one, span_drop(buf_span(out), begin));
        if (mbox_offset(m) <= at ||
            !buf_addf(out, "|%u|%s|%lld|", one->flags, one->keywords, (long long)one->internal_s))
            abort();
        at = mbox_offset(m);
        begin = out->n;
    }
    free(one);
    mbox_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, pieces;
    if (size < 1 || size > 100000)
        return 0;
    struct span in = span_of(data + 1, size - 1);
    enum mbox_quoting quoting = data[0] & 1 ? MBOX_NOT_QUOTED : MBOX_QUOTED;
    buf_init(&whole, 32 << 20);
    buf_init(&pieces, 32 << 20);
    read_all(in, SIZE_MAX, quoting, &whole, true);
    read_all(in, (size_t)(data[0] >> 1) + 1, quoting, &pieces, false);
    if (!span_eq(buf_span(&whole), buf_span(&pieces)))
        abort();
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
