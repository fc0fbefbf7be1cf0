/* The parser and its record: each row is run whole, byte by byte, and cut at each place, with equal
 * results; then bounds, and records that are damaged. */
#include "tests/lib/cm.h"
#include "common/mime/meta_int.h"
#include "common/mime/parse.h"
#include "common/mime/meta.h"
#include <stdio.h>
#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define US "(\"charset\" \"US-ASCII\")"
#define NOENV "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"

struct row {
    const char *name, *in, *envelope, *structure;
};

static const struct row rows[] = {
    {"empty", "", NOENV, "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 0 0 NIL NIL NIL NIL)"},
    {"plain",
     "Date: Tue, 24 Nov 2026 10:00:00 +0700\r\nFrom: Ann <a@b.c>\r\nTo: d@e.f, g: h@i;\r\nSubject: x "
     "\"y\"\r\n"
     "Message-ID: <1@b.c>\r\n\r\nhello\r\nyou\r\n",
     "(\"Tue, 24 Nov 2026 10:00:00 +0700\" \"x \\\"y\\\"\" ((\"Ann\" NIL \"a\" \"b.c\")) ((\"Ann\" NIL \"a\" "
     "\"b.c\")) "
     "((\"Ann\" NIL \"a\" \"b.c\")) ((NIL NIL \"d\" \"e.f\")(NIL NIL \"g\" NIL)(NIL NIL \"h\" \"i\")(NIL NIL "
     "NIL NIL)) "
     "NIL NIL NIL \"<1@b.c>\")",
     "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 12 2 NIL NIL NIL NIL)"},
    {"empty fields", "Subject:\r\nSender: \r\nFrom: a@b\r\nCc:\r\n\r\n",
     "(NIL \"\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL)",
     "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 0 0 NIL NIL NIL NIL)"},
    {"raw bytes and words", "Subject: Vi\xe1\xbb\x87t\r\nFrom: =?utf-8?Q?A?= <a@b>\r\n\r\n",
     "(NIL {6}\r\nVi\xe1\xbb\x87t ((\"=?utf-8?Q?A?=\" NIL \"a\" \"b\")) ((\"=?utf-8?Q?A?=\" NIL \"a\" "
     "\"b\")) "
     "((\"=?utf-8?Q?A?=\" NIL \"a\" \"b\")) NIL NIL NIL NIL NIL)",
     "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 0 0 NIL NIL NIL NIL)"},
    {"mixed",
     "Content-Type: multipart/mixed; boundary=\"b b\"\r\n\r\npreamble\r\n--b b\r\n"
     "Content-Type: TEXT/html; charset=utf-8\r\nContent-Transfer-Encoding: Base64\r\n\r\nYQ==\r\n--b b  \r\n"
     "Content-Type: image/png; name=a.png\r\nContent-ID: <i@d>\r\nContent-Disposition: inline; "
     "filename=a.png\r\n"
     "Content-Language: vi, en\r\n\r\nxx\r\n--b b--\r\nepilogue\r\n",
     NOENV,
     "((\"TEXT\" \"HTML\" (\"charset\" \"utf-8\") NIL NIL \"BASE64\" 4 1 NIL NIL NIL NIL)"
     "(\"IMAGE\" \"PNG\" (\"name\" \"a.png\") \"<i@d>\" NIL \"7BIT\" 2 NIL (\"inline\" (\"filename\" "
     "\"a.png\")) "
     "(\"vi\" \"en\") NIL) \"MIXED\" (\"boundary\" \"b b\") NIL NIL NIL)"},
    {"no closing line", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n", NOENV,
     "((\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 3 1 NIL NIL NIL NIL)(\"TEXT\" \"PLAIN\" " US
     " NIL NIL \"7BIT\" 4 1 NIL NIL NIL NIL) \"MIXED\" (\"boundary\" \"b\") NIL NIL NIL)"},
    {"no part", "Content-Type: multipart/mixed; boundary=b\r\n\r\nno part\r\n", NOENV,
     "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 9 1 NIL NIL NIL NIL)"},
    {"boundary by RFC 2231",
     "Content-Type: multipart/mixed; boundary*=us-ascii''b%5Fb\r\n\r\n--b_b\r\n\r\none\r\n--b_b--\r\n", NOENV,
     "((\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 3 1 NIL NIL NIL NIL) \"MIXED\" (\"boundary*\" "
     "\"us-ascii''b%5Fb\") NIL NIL NIL)"},
    {"no boundary", "Content-Type: multipart/mixed\r\n\r\n--b\r\n", NOENV,
     "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 5 1 NIL NIL NIL NIL)"},
    {"a message inside",
     "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: "
     "in\r\n\r\n"
     "a\r\nb\r\n--b--\r\n",
     NOENV,
     "((\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 19 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) "
     "(\"TEXT\" \"PLAIN\" " US
     " NIL NIL \"7BIT\" 4 2 NIL NIL NIL NIL) 4 NIL NIL NIL NIL) \"MIXED\" (\"boundary\" \"b\") NIL NIL NIL)"},
    {"digest",
     "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: d\r\n\r\nx\r\n--b--\r\n", NOENV,
     "((\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 15 (NIL \"d\" NIL NIL NIL NIL NIL NIL NIL NIL) (\"TEXT\" "
     "\"PLAIN\" " US " NIL NIL \"7BIT\" 1 1 NIL NIL NIL NIL) 3 NIL NIL NIL NIL) \"DIGEST\" (\"boundary\" "
     "\"b\") NIL NIL NIL)"},
    {"outer closes inner",
     "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/alternative; "
     "boundary=oo\r\n\r\n"
     "--oo\r\n\r\nx\r\n--o--\r\n",
     NOENV,
     "(((\"TEXT\" \"PLAIN\" " US
     " NIL NIL \"7BIT\" 1 1 NIL NIL NIL NIL) \"ALTERNATIVE\" (\"boundary\" \"oo\") NIL NIL NIL) "
     "\"MIXED\" (\"boundary\" \"o\") NIL NIL NIL)"},
    {"blank line missing", "Subject: s\r\nHello there\r\nbye\r\n\r\nx\r\n",
     "(NIL \"s\" NIL NIL NIL NIL NIL NIL NIL NIL)",
     "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 23 4 NIL NIL NIL NIL)"},
    {"broken fold", "Subject: s\r\nmore of it\r\nFrom: a@b\r\n\r\nx\r\n",
     "(NIL \"s\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL "
     "NIL)",
     "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 3 1 NIL NIL NIL NIL)"},
    {"boundary right behind the header",
     "Content-Type: multipart/mixed; boundary=b\r\n--b\r\nContent-Type: text/x\r\n\r\nq\r\n--b--", NOENV,
     "((\"TEXT\" \"X\" " US
     " NIL NIL \"7BIT\" 1 1 NIL NIL NIL NIL) \"MIXED\" (\"boundary\" \"b\") NIL NIL NIL)"},
    {"preamble right behind the header",
     "Content-Type: multipart/mixed; boundary=b\r\nSome text.\r\n--b\r\nContent-Type: "
     "text/x\r\n\r\nq\r\n--b--",
     NOENV,
     "((\"TEXT\" \"X\" " US
     " NIL NIL \"7BIT\" 1 1 NIL NIL NIL NIL) \"MIXED\" (\"boundary\" \"b\") NIL NIL NIL)"},
    {"boundary inside a header",
     "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/x\r\n--b--", NOENV,
     "((\"TEXT\" \"X\" " US
     " NIL NIL \"7BIT\" 0 0 NIL NIL NIL NIL) \"MIXED\" (\"boundary\" \"b\") NIL NIL NIL)"},
    {"extended name", "Content-Disposition: attachment; filename*0*=utf-8''a%20; filename*1=\"b c\"\r\n\r\n",
     NOENV,
     "(\"TEXT\" \"PLAIN\" " US
     " NIL NIL \"7BIT\" 0 0 NIL (\"attachment\" (\"filename*\" \"utf-8''a%20b%20c\")) NIL NIL)"},
    {"no address", "To: Some people\r\nCc: root\r\n\r\n",
     "(NIL NIL NIL NIL NIL ((\"Some people\" NIL \"\" \"\")) ((NIL NIL \"root\" \"\")) NIL NIL NIL)",
     "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 0 0 NIL NIL NIL NIL)"},
    {"unterminated text", "A: b\r\n\r\nx\r\ny", NOENV,
     "(\"TEXT\" \"PLAIN\" " US " NIL NIL \"7BIT\" 4 2 NIL NIL NIL NIL)"},
};

static void check_row(const struct row *r, struct span record)
{
    struct arena *a = arena_new(1 << 20);
    struct mime_meta m;
    assert_int_equal(mime_meta_read(record, a, &m), ERR_OK);
    if (!span_eq(m.envelope, span_str(r->envelope)))
        fail_msg("%s: envelope %.*s", r->name, SPAN_ARG(m.envelope));
    if (!span_eq(m.bodystructure, span_str(r->structure)))
        fail_msg("%s: structure %.*s", r->name, SPAN_ARG(m.bodystructure));
    arena_free(&a);
}

static void parse_rows(void **state)
{
    (void)state;
    struct buf whole;
    buf_init(&whole, MIME_META_LIMIT);
    struct mime_parser *p = mime_parser_new();
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct span in = span_str(rows[i].in);
        assert_int_equal(mime_parse(in, &whole), ERR_OK);
        check_row(&rows[i], buf_span(&whole));
        for (size_t cut = 0; cut <= in.n + 1; cut++) {
            mime_parser_reset(p);
            for (size_t k = 0; cut == in.n + 1 && k < in.n; k++) /* the last round: byte by byte */
                mime_parser_feed(p, span_of(in.p + k, 1));
            if (cut <= in.n) {
                mime_parser_feed(p, span_first(in, cut));
                mime_parser_feed(p, span_drop(in, cut));
            }
            if (!span_eq(mime_parser_finish(p), buf_span(&whole)))
                fail_msg("%s: differs when cut at %zu", rows[i].name, cut);
        }
    }
    mime_parser_free(&p);
    buf_free(&whole);
}

static void numbers(void **state)
{
    (void)state;
    static const char message[] =
        "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\none\r\n--o\r\nContent-Type: "
        "message/rfc822\r\n\r\n"
        "Subject: in\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n\r\ntwo one\r\n--i\r\n"
        "Content-Type: text/html\r\n\r\ntwo two\r\n--i--\r\n\r\n--o\r\nContent-Type: "
        "message/rfc822\r\n\r\nSubject: l\r\n\r\n"
        "three\r\n--o\r\nContent-Type: multipart/mixed; "
        "boundary=n\r\n\r\n--n\r\n\r\nfour\r\n--n--\r\n--o--\r\n";
    static const struct {
        const char *number, *text;
    } want[] = {{"1", "one"}, {"2.1", "two one"}, {"2.2", "two two"}, {"3.1", "three"}, {"4.1", "four"}};
    struct buf record;
    struct arena *a = arena_new(1 << 20);
    struct mime_meta m;
    buf_init(&record, MIME_META_LIMIT);
    assert_int_equal(mime_parse(SPAN(message), &record), ERR_OK);
    assert_int_equal(mime_meta_read(buf_span(&record), a, &m), ERR_OK);
    for (size_t i = 0; i < COUNT(want); i++) {
        const struct mime_part *p = mime_meta_part(&m, span_str(want[i].number));
        assert_non_null(p);
        assert_true(span_eq(span_of(message + p->body_at, p->body_n), span_str(want[i].text)));
    }
    const struct mime_part *two = mime_meta_part(&m, SPAN("2"));
    assert_non_null(two);
    assert_int_equal(two->kind, MIME_MESSAGE);
    assert_true(
        span_starts(span_of(message + two->inner_header_at, two->inner_header_n), SPAN("Subject: in\r\n")));
    assert_int_equal(mime_meta_part(&m, SPAN("4"))->kind, MIME_MULTIPART);
    static const char *const none[] = {"", "0", "5", "1.1", "2.3", "2.1.1", "01", "1."};
    for (size_t i = 0; i < COUNT(none); i++)
        assert_null(mime_meta_part(&m, span_str(none[i])));
    buf_free(&record);
    arena_free(&a);
}

static void summary(void **state)
{
    (void)state;
    static const char message[] =
        "Date: Tue, 24 Nov 2026 17:20:00 +0700\r\nFrom: =?utf-8?B?TMOqIFF1YW5nIMav4bubYw==?= <a@x.vn>\r\n"
        "To: B <b@x.vn>, c@x.vn\r\nSubject: Re: [So] Fwd: =?utf-8?Q?Quy=E1=BA=BFt_=C4=91=E1=BB=8Bnh?= "
        "(fwd)\r\n"
        "References: <1@x>\r\n <2@x> junk <3@x>\r\nPrecedence: bulk\r\nContent-Type: text/html; "
        "charset=utf-8\r\n\r\n"
        "<style>x{}</style><p>K\xc3\xadnh g\xe1\xbb\xadi &amp; &#273;</p>\r\n";
    struct buf record;
    struct mime_meta m;
    buf_init(&record, MIME_META_LIMIT);
    assert_int_equal(mime_parse(SPAN(message), &record), ERR_OK);
    struct arena *a = arena_new(1 << 20);
    assert_int_equal(mime_meta_head(buf_span(&record), a, &m), ERR_OK);
    assert_true(m.date == 1795515600 && m.size == sizeof message - 1);
    assert_true(span_eq(m.from, SPAN("Lê Quang Ước")));
    assert_true(span_eq(m.to, SPAN("B, c@x.vn")));
    assert_true(span_eq(m.to_addr, SPAN("b@x.vn, c@x.vn")));
    assert_true(span_eq(m.subject, SPAN("Re: [So] Fwd: Quyết định (fwd)")));
    assert_true(span_eq(m.base_subject, SPAN("quyet dinh")));
    assert_true(span_eq(m.references, SPAN("<1@x> <2@x> <3@x>")));
    assert_true(span_eq(m.preview, SPAN("Kính gửi & đ")));
    assert_int_equal(m.flags, MIME_F_8BIT | MIME_F_AUTO);
    arena_free(&a);
    buf_free(&record);
}

static void preview_is(const char *head, const char *unit, size_t times, const char *want, size_t want_times)
{
    struct buf in, record, text;
    struct mime_meta m;
    buf_init(&in, 1 << 20);
    buf_init(&text, 1 << 20);
    buf_init(&record, MIME_META_LIMIT);
    assert_true(buf_add_str(&in, head) && buf_add_str(&in, "\r\n"));
    while (times--)
        assert_true(buf_add_str(&in, unit));
    while (want_times--)
        assert_true(buf_add_str(&text, want));
    text.n = span_trim(buf_span(&text)).n; /* a blank at the end is not shown */
    assert_int_equal(mime_parse(buf_span(&in), &record), ERR_OK);
    struct arena *a = arena_new(1 << 20);
    assert_int_equal(mime_meta_head(buf_span(&record), a, &m), ERR_OK);
    assert_int_equal(m.preview.n, text.n);
    assert_memory_equal(m.preview.p, text.p, text.n);
    arena_free(&a);
    buf_free(&in);
    buf_free(&record);
    buf_free(&text);
}

/* 200 composed characters, whatever they are made of; the sample that they come from may end inside one. */
static void previews(void **state)
{
    (void)state;
    preview_is("Subject: x\r\n", "\xe1\xba\xbf", 2000, "\xe1\xba\xbf", 200); /* no charset is named */
    preview_is("Content-Type: text/plain; charset=utf-8\r\n", "\xe1\xba\xbf", 2000, "\xe1\xba\xbf", 200);
    preview_is("Content-Type: text/plain; charset=utf-8\r\n", "e\xcc\x82\xcc\x81", 800, "\xe1\xba\xbf", 200);
    preview_is("Content-Type: text/html; charset=utf-8\r\n", "<b>e\xcc\x82\xcc\x81</b><i>", 250,
               "\xe1\xba\xbf ", 100);
    preview_is("Content-Type: text/html; charset=utf-8\r\n", "<b>a</b>&#7871; \r\n \t", 150,
               "a \xe1\xba\xbf ", 50);
    preview_is("Content-Type: text/plain; charset=windows-1258\r\n", "\xea\xec", 600, "\xe1\xba\xbf", 200);
    preview_is("Content-Type: text/plain\r\n", "caf\xe9", 1, "caf\xc3\xa9", 1);
    preview_is("Content-Type: text/plain; charset=utf-8\r\n", " \r\n", 1200, "", 0);
}

/* Nesting, parts and headers beyond the bounds of parse.h give a record all the same. */
static void bounds(void **state)
{
    (void)state;
    struct buf in, record;
    struct mime_meta m;
    buf_init(&in, 64 << 20);
    buf_init(&record, MIME_META_LIMIT);
    for (int i = 0; i < 200; i++)
        assert_true(buf_addf(&in, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i));
    assert_int_equal(mime_parse(buf_span(&in), &record), ERR_OK);
    struct arena *a = arena_new(64 << 20);
    assert_int_equal(mime_meta_read(buf_span(&record), a, &m), ERR_OK);
    assert_true((m.flags & MIME_F_TRUNCATED) && m.part_count == MIME_DEPTH_LIMIT + 1);

    buf_reset(&in);
    assert_true(buf_add_str(&in, "Content-Type: multipart/mixed; boundary=b\r\n\r\n"));
    for (int i = 0; i < 100000; i++)
        assert_true(buf_add_str(
            &in, "--b\r\nContent-Type: text/plain; name=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n\r\nx\r\n"));
    assert_int_equal(mime_parse(buf_span(&in), &record), ERR_OK);
    assert_int_equal(mime_meta_read(buf_span(&record), a, &m), ERR_OK);
    assert_true((m.flags & MIME_F_TRUNCATED) && m.part_count == MIME_PARTS_LIMIT);

    buf_reset(&in);
    while (in.n < 3 << 20)
        assert_true(buf_add_str(&in, "X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"));
    assert_true(buf_add_str(&in, "\r\nbody\r\n"));
    assert_int_equal(mime_parse(buf_span(&in), &record), ERR_OK);
    assert_int_equal(mime_meta_read(buf_span(&record), a, &m), ERR_OK);
    assert_true((m.flags & MIME_F_TRUNCATED) && m.parts[0].body_n == 6 && m.header_n == in.n - 6);
    arena_free(&a);
    buf_free(&in);
    buf_free(&record);
}

static void damage(struct buf *record)
{
    struct arena *a = arena_new(16 << 20);
    struct mime_meta m;
    for (size_t i = 0; i < record->n; i++) {
        struct span cut = span_first(buf_span(record), i);
        assert_int_equal(mime_meta_read(cut, a, &m), ERR_SYNTAX);
        for (int bit = 0; bit < 8; bit++) {
            record->p[i] = (char)(record->p[i] ^ 1 << bit);
            if (mime_meta_read(buf_span(record), a, &m) == ERR_OK)
                for (size_t k = 1; k < m.part_count; k++)
                    assert_true(m.parts[k].parent < k && m.parts[k].body_at <= m.size);
            record->p[i] = (char)(record->p[i] ^ 1 << bit);
            arena_reset(a);
        }
    }
    arena_free(&a);
}

/* A record with any byte changed, or cut anywhere, is refused or read within its bounds; packed, and plain as
 * earlier releases kept it. */
static void damaged(void **state)
{
    (void)state;
    struct buf record, old;
    struct span plain;
    struct mime_meta m, of_old;
    struct arena *a = arena_new(1 << 20);
    buf_init(&record, MIME_META_LIMIT);
    buf_init(&old, MIME_META_LIMIT);
    assert_int_equal(mime_parse(SPAN("Subject: s\r\nContent-Type: multipart/digest; "
                                     "boundary=b\r\n\r\n--b\r\n\r\nSubject: d\r\n\r\nx\r\n--b--\r\n"),
                                &record),
                     ERR_OK);
    assert_int_equal(record.p[0], META_PACKED);
    assert_int_equal(meta_unpack(buf_span(&record), a, &plain), ERR_OK);
    assert_true(buf_add_span(&old, plain) && old.p[0] == META_PLAIN && old.n > record.n);
    assert_int_equal(mime_meta_read(buf_span(&record), a, &m), ERR_OK);
    assert_int_equal(mime_meta_read(buf_span(&old), a, &of_old), ERR_OK);
    assert_true(span_eq(m.bodystructure, of_old.bodystructure) && span_eq(m.subject, SPAN("s")));
    assert_int_equal(m.part_count, of_old.part_count);
    arena_free(&a);
    damage(&record);
    damage(&old);
    buf_free(&record);
    buf_free(&old);
}

/* Trace fields named at the end give the record of the message that begins with them. */
static void prefix(void **state)
{
    static const char fields[] = "Return-Path: <a@b>\r\nReceived: from x\r\n\tby y; date\r\n";
    static const char *const messages[] = {
        "Subject: x\r\n\r\nbody\r\n",
        "",
        "\r\nbody",
        "body alone\r\nmore\r\n",
        "Subject: header alone\r\n",
        "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nin\r\n",
        ("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
         "Subject: in\r\n\r\nin\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>x\r\n--b--\r\n")};
    (void)state;
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        struct buf whole, record;
        buf_init(&whole, 4096);
        buf_init(&record, MIME_META_LIMIT);
        assert_true(buf_add_span(&whole, SPAN(fields)) && buf_add_str(&whole, messages[i]));
        assert_int_equal(mime_parse(buf_span(&whole), &record), ERR_OK);
        struct mime_parser *p = mime_parser_new();
        mime_parser_feed(p, span_str(messages[i]));
        mime_parser_prefix(p, sizeof fields - 1);
        struct span got = mime_parser_finish(p);
        assert_int_equal(got.n, record.n);
        assert_memory_equal(got.p, record.p, record.n);
        mime_parser_free(&p);
        buf_free(&whole);
        buf_free(&record);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parse_rows), cmocka_unit_test(numbers),
                                       cmocka_unit_test(summary),    cmocka_unit_test(bounds),
                                       cmocka_unit_test(damaged),    cmocka_unit_test(prefix),
                                       cmocka_unit_test(previews)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
