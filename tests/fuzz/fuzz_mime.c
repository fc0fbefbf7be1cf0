/* The MIME parser and the readers beside it. Properties: the record is the same however the input is cut
 * and can be read back; parts lie inside their parents; what is written is read back the same (base64,
 * quoted-printable, header text, parameters); composing twice changes nothing. */
#include "common/mime/address.h"
#include "common/mime/charset.h"
#include "common/mime/codec.h"
#include "common/mime/date.h"
#include "common/mime/fold.h"
#include "common/mime/header.h"
#include "common/mime/parse.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

static void check_parts(const struct mime_meta *m)
{
    for (size_t i = 1; i < m->part_count; i++) {
        const struct mime_part *p = &m->parts[i], *up = &m->parts[p->parent];
        MUST(p->header_at >= up->body_at && p->body_at + p->body_n <= up->body_at + up->body_n);
        MUST(p->header_at + p->header_n <= p->body_at);
        MUST(p->number.n == 0 || mime_meta_part(m, p->number) != NULL);
    }
}

static void parse_checked(struct span s)
{
    struct buf record;
    struct arena *a = arena_new(64 << 20);
    struct mime_meta m;
    buf_init(&record, MIME_META_LIMIT);
    MUST(mime_parse(s, &record) == ERR_OK);
    MUST(mime_meta_read(buf_span(&record), a, &m) == ERR_OK && m.size == s.n);
    MUST(utf8_valid(m.subject) && utf8_valid(m.from) && utf8_valid(m.preview) && utf8_valid(m.base_subject));
    check_parts(&m);
    struct mime_parser *p = mime_parser_new();
    size_t piece = s.n ? 1 + (unsigned char)s.p[s.n / 2] % 9 : 1;
    for (struct span rest = s; rest.n; rest = span_drop(rest, piece))
        mime_parser_feed(p, span_first(rest, piece));
    MUST(span_eq(mime_parser_finish(p), buf_span(&record)));
    mime_parser_free(&p);
    arena_free(&a);
    buf_free(&record);
}

static void codecs(struct span s)
{
    struct buf coded, plain, again;
    buf_init(&coded, s.n * 4 + 100);
    buf_init(&plain, s.n * 4 + 100);
    buf_init(&again, s.n * 4 + 100);
    struct codec c;
    MUST(base64_encode(s, 0, &coded) && base64_decode_strict(buf_span(&coded), &plain));
    MUST(span_eq(buf_span(&plain), s));
    buf_reset(&coded);
    buf_reset(&plain);
    MUST(qp_encode(s, &coded));
    codec_init(&c, MIME_QP);
    MUST(codec_decode(&c, buf_span(&coded), true, &plain) && span_eq(buf_span(&plain), s));
    for (int e = MIME_QP; e <= MIME_BASE64; e++) {
        buf_reset(&plain);
        buf_reset(&again);
        codec_init(&c, (enum mime_encoding)e);
        MUST(codec_decode(&c, s, true, &plain));
        codec_init(&c, (enum mime_encoding)e);
        for (size_t i = 0; i < s.n; i++)
            MUST(codec_decode(&c, span_of(s.p + i, 1), false, &again));
        MUST(codec_decode(&c, SPAN_NONE, true, &again) && span_eq(buf_span(&plain), buf_span(&again)));
    }
    buf_free(&coded);
    buf_free(&plain);
    buf_free(&again);
}

static void charsets(struct span s)
{
    static const char *const names[] = {"utf-7",       "utf-16",       "viscii", "tcvn",
                                        "x-viet-vni",  "windows-1258", "gb2312", "shift_jis",
                                        "iso-2022-jp", "euc-kr",       "big5",   "?"};
    struct buf out, again;
    buf_init(&out, s.n * 20 + 100);
    buf_init(&again, s.n * 80 + 400);
    const char *name = names[s.n ? (unsigned char)s.p[0] % (sizeof names / sizeof *names) : 0];
    MUST(charset_to_utf8(span_str(name), s, &out) != ERR_LIMIT && utf8_valid(buf_span(&out)));
    MUST(utf8_nfc(buf_span(&out), &again));
    if (out.n < 32) /* longer runs of marks are cut in segments */
        MUST(span_eq(buf_span(&out), buf_span(&again)));
    buf_reset(&again);
    MUST(fold_text(buf_span(&out), &again) && utf8_valid(buf_span(&again)));
    buf_free(&out);
    buf_free(&again);
}

/* header_write, then header_next and header_text, give the text back (blanks aside). */
static void writing(struct span s)
{
    struct arena *a = arena_new(64 << 20);
    struct buf out, param;
    struct header_field f;
    s = span_first(s, 3000);
    buf_init(&out, s.n * 40 + 1000);
    buf_init(&param, s.n * 40 + 1000);
    struct span plain = header_text(a, s);
    MUST(header_write(&out, SPAN("Subject"), plain));
    struct span block = buf_span(&out);
    MUST(header_next(&block, &f) && block.n == 0);
    MUST(span_eq(header_text(a, f.value), plain));
    MUST(buf_add_str(&param, "attachment") && header_write_param(&param, SPAN("filename"), plain));
    struct span back = header_param(a, buf_span(&param), SPAN("filename"));
    MUST(plain.n > 10000 || span_eq(back, plain));
    buf_reset(&out);
    if (header_write_mailbox(&out, plain, SPAN("a@b.example"))) {
        struct address *d = address_list(a, buf_span(&out), 5);
        MUST(d && !d->next && span_eq(d->domain, SPAN("b.example")) && span_eq(d->local, SPAN("a")));
        MUST(span_eq(d->display, plain));
    }
    buf_free(&out);
    buf_free(&param);
    arena_free(&a);
}

static void others(struct span s)
{
    struct arena *a = arena_new(64 << 20);
    struct buf out;
    struct span local, domain;
    int64_t t;
    int zone;
    buf_init(&out, s.n * 8 + 100);
    size_t n = 0;
    for (struct address *d = address_list(a, s, 100); d; d = d->next)
        n++;
    MUST(n <= 100);
    if (address_path(s, true, &local, &domain) == ERR_OK && address_normal(s, &out)) {
        struct span once = arena_dup(a, buf_span(&out));
        if (address_normal(once, &out))
            MUST(span_eq(once, buf_span(&out)));
        MUST(address_path_wild(s, true, &local, &domain) == ERR_OK);
    }
    if (date_parse(s, &t, &zone)) {
        char text[64];
        int64_t t2;
        date_format(t, zone, text, sizeof text);
        MUST(date_parse(span_str(text), &t2, &zone));
    }
    if (date_imap_parse(s, &t, &zone))
        MUST(zone > -1440 && zone < 1440);
    if (date_imap_day(s, &t))
        MUST(t > -720000 && t < 3000000);
    struct span value = header_param(a, s, SPAN("name"));
    MUST(utf8_valid(value));
    struct mime_meta m;
    if (mime_meta_read(s, a, &m) == ERR_OK)
        MUST(m.part_count > 0 && m.header_n <= m.size);
    buf_free(&out);
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span s = span_of(data, size);
    parse_checked(s);
    codecs(s);
    charsets(s);
    writing(s);
    others(s);
    return 0;
}
