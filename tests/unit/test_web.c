/* The webmail's parts that need no server: words, quoting, forms, IMAP answers, messages written. */
#include "tests/lib/cm.h"
#include "common/base/crypto.h"
#include "common/mime/charset.h"
#include "common/mime/parse.h"
#include "webmail-cgi/mail.h"
#include "webmail-cgi/page.h"
#include "webmail-cgi/request.h"
#include "webmail-cgi/web.h"
#include "webmail-cgi/write.h"
#include <stdio.h>
#include <stdlib.h>

static unsigned slots(const char *s)
{
    return (strstr(s, "{0}") ? 1u : 0u) | (strstr(s, "{1}") ? 2u : 0u);
}

/* No string lacks a translation, both say the same things, and all is UTF-8. */
static void test_words(void **state)
{
    (void)state;
    for (int i = 0; i < T_COUNT; i++) {
        const char *vi = text(LANG_VI, (enum text_id)i), *en = text(LANG_EN, (enum text_id)i);
        assert_true(vi && en && *vi && *en);
        assert_true(utf8_valid(span_str(vi)) && utf8_valid(span_str(en)));
        assert_int_equal(slots(vi), slots(en));
        bool marks = false;
        for (const char *c = en; *c; c++)
            marks = marks || ((unsigned char)*c >= 0xc3 && (unsigned char)*c < 0xe2);
        assert_true(!marks || i == T_OTHER_LANGUAGE); /* no Vietnamese left in English */
    }
}

static void test_language(void **state)
{
    (void)state;
    assert_int_equal(lang_accept(SPAN("en-US,en;q=0.9,vi;q=0.8"), LANG_VI), LANG_EN);
    assert_int_equal(lang_accept(SPAN("fr, en;q=0.2, vi;q=0.8"), LANG_EN), LANG_VI);
    assert_int_equal(lang_accept(SPAN("fr"), LANG_EN), LANG_EN);
    assert_int_equal(lang_accept(SPAN("vi;q=0"), LANG_EN), LANG_EN);
    assert_int_equal(lang_accept(SPAN(""), LANG_VI), LANG_VI);
}

static void test_quoting(void **state)
{
    (void)state;
    struct page p;
    page_init(&p, LANG_EN);
    PUT(&p, "<a title=\"%h\" href=\"/x?q=%u\">%s%%%d</a>", SPAN("\"><b>&'"), SPAN("a b&c=đ\""), "<i>", 7);
    assert_true(buf_add_char(&p.out, 0));
    assert_string_equal(
        p.out.p,
        "<a title=\"&quot;&gt;&lt;b&gt;&amp;&#39;\" href=\"/x?q=a%20b%26c%3D%C4%91%22\">&lt;i&gt;%7</a>");
    page_head(&p, "X", SPAN("a\r\nSet-Cookie: b"));
    assert_true(buf_add_char(&p.heads, 0));
    assert_string_equal(p.heads.p, "X: a  Set-Cookie: b\r\n");
    page_free(&p);
}

static void test_urlencoded(void **state)
{
    (void)state;
    struct request r = {.a = arena_new(1 << 20)};
    request_parse_urlencoded(&r, SPAN("a=1&b=x+y%26%c4%91&&c&a=2&d=%ff%zz%00"), &r.query, &r.query_count);
    assert_int_equal(r.query_count, 5);
    assert_true(span_eq(request_query(&r, "a"), SPAN("1")));
    assert_true(span_eq(request_query(&r, "b"), SPAN("x y&đ")));
    assert_true(span_eq(request_query(&r, "c"), SPAN("")));
    assert_true(utf8_valid(request_query(&r, "d")));
    arena_free(&r.a);
}

struct feed {
    struct span s;
    size_t piece;
};

static ssize_t read_feed(void *arg, char *to, size_t n)
{
    struct feed *f = arg;
    n = n < f->piece ? n : f->piece;
    n = n < f->s.n ? n : f->s.n;
    memcpy(to, f->s.p, n);
    f->s = span_drop(f->s, n);
    return (ssize_t)n;
}

static const char form[] =
    "--XX\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\nđỗ\r\n--X\r\n"
    "\r\n--XX\r\nContent-Disposition: form-data; name=\"files\"; filename=\"C:\\a\\Quyết %22định%22.pdf\"\r\n"
    "Content-Type: application/pdf\r\n\r\nPDF\0\r\n--\r\nend\r\n--XX\r\n"
    "Content-Disposition: form-data; name=\"files\"; filename=\"\"\r\n\r\n\r\n--XX--\r\n";

static void test_multipart(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < sizeof form; piece++) {
        struct request r = {.a = arena_new(16 << 20)};
        struct feed f = {SPAN(form), piece};
        assert_int_equal(
            request_parse_multipart(&r, SPAN("multipart/form-data; boundary=XX"), 1000, read_feed, &f),
            ERR_OK);
        assert_false(r.cut || r.too_big);
        assert_true(span_eq(request_form(&r, "to"), SPAN("đỗ\r\n--X\r\n")));
        assert_int_equal(r.upload_count, 1);
        assert_true(span_eq(r.uploads[0].name, SPAN("Quyết \"định\".pdf")));
        assert_true(span_eq(r.uploads[0].type, SPAN("application/pdf")));
        assert_true(span_eq(buf_span(&r.uploads[0].data), SPAN("PDF\0\r\n--\r\nend")));
        request_free(&r);
    }
}

/* Cut anywhere it says so; too big a file is left out and the fields stay. */
static void test_multipart_limits(void **state)
{
    (void)state;
    for (size_t n = 0; n + 5 < sizeof form; n++) {
        struct request r = {.a = arena_new(16 << 20)};
        struct feed f = {span_of(form, n), 7};
        assert_int_equal(
            request_parse_multipart(&r, SPAN("multipart/form-data; boundary=XX"), 1000, read_feed, &f),
            ERR_OK);
        assert_true(r.cut);
        request_free(&r);
    }
    struct request r = {.a = arena_new(16 << 20)};
    struct feed f = {SPAN(form), 7};
    assert_int_equal(request_parse_multipart(&r, SPAN("multipart/form-data; boundary=XX"), 5, read_feed, &f),
                     ERR_OK);
    assert_true(r.too_big && !r.cut);
    assert_int_equal(r.upload_count, 0);
    assert_true(span_eq(request_form(&r, "to"), SPAN("đỗ\r\n--X\r\n")));
    request_free(&r);
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *utf8, *wire;
    } rows[] = {{"INBOX", "INBOX"},   {"A&B", "A&-B"},     {"Hồ sơ", "H&HtM- s&AaE-"},
                {"台北", "&U,BTFw-"}, {"😀x", "&2D3eAA-x"}, {"", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b;
        buf_init(&b, 1000);
        assert_true(imap_name_encode(span_str(rows[i].utf8), &b));
        assert_true(span_eq(buf_span(&b), span_str(rows[i].wire)));
        buf_reset(&b);
        assert_true(imap_name_decode(span_str(rows[i].wire), &b));
        assert_true(span_eq(buf_span(&b), span_str(rows[i].utf8)));
        buf_free(&b);
    }
}

static const char fetch[] =
    "12 FETCH (UID 7 FLAGS (\\Seen) BODY[HEADER.FIELDS (TO)] {5}\r\na)\r\n( X \"q\\\"(\" Y NIL ENVELOPE "
    "(\"Tue, 24 Nov 2026 10:00:00 +0700\" \"=?utf-8?B?xJHhu5c=?=\" ((\"A\" NIL \"a\" \"x.vn\")) NIL NIL "
    "((NIL NIL \"g\" NIL)(NIL NIL \"b\" \"x.vn\")(NIL NIL NIL NIL)) NIL NIL NIL \"<1@x>\"))\r\n";

static void test_answers(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 << 20);
    struct imap_node *n = imap_parse(a, SPAN(fetch));
    assert_non_null(n);
    const struct imap_node *list = imap_nth(n, 2);
    assert_int_equal(imap_number(imap_value(list, "UID")), 7);
    assert_true(span_eq(imap_text(imap_value(list, "BODY[")), SPAN("a)\r\n(")));
    assert_true(span_eq(imap_text(imap_value(list, "X")), SPAN("q\"(")));
    struct envelope *e = envelope_read(a, imap_value(list, "ENVELOPE"));
    assert_true(span_eq(e->subject, SPAN("đỗ")));
    assert_true(span_eq(e->to->address, SPAN("b@x.vn")) && !e->to->next);
    assert_true(e->dated && e->date_s == 1795489200);
    for (size_t cut = 0; cut + 1 < sizeof fetch - 1; cut++) { /* a response is whole only at its end */
        size_t from = 0;
        assert_int_equal(imap_response_end(span_of(fetch, cut), &from), 0);
    }
    size_t from = 0;
    assert_int_equal(imap_response_end(SPAN(fetch), &from), sizeof fetch - 1);
    static const char *const bad[] = {"1 FETCH (", "1 FETCH ())\r\n", "X {5}\r\nab\r\n", "X \"abc\r\n",
                                      "X )\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(imap_parse(a, span_str(bad[i])));
    arena_free(&a);
}

static void test_depth(void **state)
{
    (void)state;
    struct arena *a = arena_new(64 << 20);
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 100000; i++)
        assert_true(buf_add_char(&b, '('));
    assert_true(buf_add_str(&b, "\r\n"));
    assert_null(imap_parse(a, buf_span(&b)));
    buf_free(&b);
    arena_free(&a);
}

static void test_structure(void **state)
{
    (void)state;
    static const char line[] =
        "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"utf-8\") NIL NIL \"7BIT\" 10 1 NIL NIL NIL NIL)"
        "(\"APPLICATION\" \"PDF\" (\"NAME*\" \"utf-8''Quy%E1%BA%BFt.pdf\") NIL NIL \"BASE64\" 100 NIL "
        "(\"ATTACHMENT\" NIL) NIL NIL)"
        "(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 500 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) "
        "((\"TEXT\" \"HTML\" NIL NIL NIL \"QUOTED-PRINTABLE\" 9 1)(\"IMAGE\" \"PNG\" NIL \"<c@x>\" NIL "
        "\"BASE64\" 9) \"RELATED\") 20 "
        "NIL NIL NIL NIL) \"MIXED\" (\"BOUNDARY\" \"x\") NIL NIL NIL)\r\n";
    struct arena *a = arena_new(1 << 20);
    struct part *p = part_read(a, imap_parse(a, SPAN(line)), SPAN(""));
    assert_true(part_is(p, "multipart", "mixed"));
    const struct part *pdf = part_find(p, SPAN("2")), *mail = part_find(p, SPAN("3"));
    assert_true(span_eq(pdf->filename, SPAN("Quyết.pdf")) && span_eq(pdf->disposition, SPAN("attachment")));
    assert_true(mail->inner && span_eq(mail->inner->subject, SPAN("in")));
    assert_true(part_is(part_find(p, SPAN("3.1")), "text", "html"));
    assert_true(span_eq(part_find(p, SPAN("3.2"))->content_id, SPAN("c@x")));
    assert_true(part_has_attachment(p));
    assert_true(part_first_text(p) == p->child);
    assert_null(part_find(p, SPAN("4")));
    arena_free(&a);
}

#define LEAF(type, subtype, id, disposition)                                                                 \
    "(\"" type "\" \"" subtype "\" NIL " id " NIL \"7BIT\" 10" disposition ")"
#define TEXT(subtype) LEAF("TEXT", subtype, "NIL", " 1 NIL NIL NIL NIL")
#define PDF LEAF("APPLICATION", "PDF", "NIL", " NIL (\"ATTACHMENT\" NIL) NIL NIL")
#define PICTURE LEAF("IMAGE", "PNG", "\"<c@x>\"", " NIL (\"INLINE\" NIL) NIL NIL")
#define PICTURE_FILE LEAF("IMAGE", "PNG", "\"<d@x>\"", " NIL (\"ATTACHMENT\" NIL) NIL NIL")

/* Nothing that was attached is out of reach: it stands where the program that wrote the message put it. */
static void test_view(void **state)
{
    (void)state;
    static const struct {
        const char *name, *body;
        bool prefer_text;
        const char *shown, *files, *related;
    } rows[] = {{"files in the HTML branch",
                 "(" TEXT("PLAIN") "(" TEXT("HTML") PDF TEXT("HTML") " \"MIXED\") \"ALTERNATIVE\")", false,
                 "2.1 2.3 ", "2.2 ", ""},
                {"the same as text",
                 "(" TEXT("PLAIN") "(" TEXT("HTML") PDF TEXT("HTML") " \"MIXED\") \"ALTERNATIVE\")", true,
                 "1 ", "2.2 ", ""},
                {"pictures",
                 "(" TEXT("PLAIN") "(" TEXT("HTML") PICTURE PICTURE_FILE " \"RELATED\") \"ALTERNATIVE\")",
                 false, "2.1 ", "2.3 ", "2.2 "},
                {"pictures as text",
                 "(" TEXT("PLAIN") "(" TEXT("HTML") PICTURE PICTURE_FILE " \"RELATED\") \"ALTERNATIVE\")",
                 true, "1 ", "2.3 2.2 ", ""},
                {"an invitation", "(" TEXT("PLAIN") TEXT("HTML") TEXT("CALENDAR") " \"ALTERNATIVE\")", false,
                 "2 ", "3 ", ""},
                {"an invitation alone", "(" TEXT("CALENDAR") " \"ALTERNATIVE\")", false, "", "1 ", ""},
                {"other texts say the same", "(" TEXT("ENRICHED") TEXT("PLAIN") " \"ALTERNATIVE\")", false,
                 "2 ", "", ""},
                {"text attached", "(" TEXT("PLAIN") PDF " \"MIXED\")", true, "1 ", "2 ", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena *a = arena_new(1 << 20);
        struct view v;
        char line[2000], got[3][200] = {"", "", ""};
        snprintf(line, sizeof line, "%s\r\n", rows[i].body);
        web_view(part_read(a, imap_parse(a, span_str(line)), SPAN("")), rows[i].prefer_text, &v);
        const struct part **lists[] = {v.shown, v.files, v.related};
        const size_t counts[] = {v.shown_count, v.file_count, v.related_count};
        for (size_t k = 0; k < 3; k++)
            for (size_t n = 0; n < counts[k]; n++)
                snprintf(got[k] + strlen(got[k]), sizeof got[k] - strlen(got[k]), "%.*s ",
                         SPAN_ARG(lists[k][n]->section));
        if (strcmp(got[0], rows[i].shown) != 0 || strcmp(got[1], rows[i].files) != 0 ||
            strcmp(got[2], rows[i].related) != 0)
            fail_msg("%s: shown %s files %s related %s", rows[i].name, got[0], got[1], got[2]);
        arena_free(&a);
    }
}

/* More parts than a page holds: texts become files, and files without room are counted. */
static void test_view_limits(void **state)
{
    (void)state;
    struct part root = {.type = SPAN("multipart"), .subtype = SPAN("mixed")};
    static struct part parts[WEB_FILES_LIMIT + WEB_SHOWN_LIMIT + 3];
    struct view v;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        parts[i] = (struct part){.type = SPAN("text"),
                                 .subtype = SPAN("plain"),
                                 .next = i + 1 < sizeof parts / sizeof *parts ? &parts[i + 1] : NULL};
    root.child = parts;
    web_view(&root, false, &v);
    assert_int_equal(v.shown_count, WEB_SHOWN_LIMIT);
    assert_int_equal(v.file_count, WEB_FILES_LIMIT);
    assert_int_equal(v.more_files, 3);
}

/* What is written is read back the same by the suite's own parser, and holds no line of the typist's making.
 */
static void test_write(void **state)
{
    (void)state;
    struct write_file files[] = {{SPAN("Quyết định số 1.pdf"), SPAN("application/pdf"), SPAN("%PDF")},
                                 {SPAN("x\r\nBcc: y@z"), SPAN("text/html\r\nX: y"), SPAN("")}};
    struct arena *a = arena_new(4 << 20);
    struct write_mail m = {.from_name = SPAN("Nguyễn Văn An"),
                           .from = SPAN("an@gialai.example"),
                           .to = SPAN("\"Trần, Bình\" <binh@gialai.example>, chi@gialai.example"),
                           .cc = SPAN(""),
                           .bcc = SPAN("secret@x.vn"),
                           .subject = SPAN("Báo cáo\r\nBcc: evil@x.vn"),
                           .body = SPAN("Kính gửi,\n.\nFrom here\r\nxong"),
                           .in_reply_to = SPAN("<1@x> rubbish\r\nX: y"),
                           .references = SPAN("<0@x> <1@x>"),
                           .date_s = 1795489200,
                           .message_id = write_message_id(a, SPAN("an@gialai.example")),
                           .files = files,
                           .file_count = 2};
    struct buf out, meta;
    buf_init(&out, 1 << 20);
    buf_init(&meta, 8 << 20);
    assert_int_equal(write_message(&m, &out), ERR_OK);
    assert_true(span_search(buf_span(&out), SPAN("secret")) == out.n);
    assert_true(span_search(buf_span(&out), SPAN("\r\nBcc:")) == out.n);
    assert_true(span_search(buf_span(&out), SPAN("\r\nX:")) == out.n);
    for (size_t i = 0; i < out.n; i++) {
        assert_true((unsigned char)out.p[i] < 0x80);
        assert_true(out.p[i] != '\n' || (i && out.p[i - 1] == '\r'));
    }
    struct mime_meta v;
    assert_int_equal(mime_parse(buf_span(&out), &meta), ERR_OK);
    assert_int_equal(mime_meta_read(buf_span(&meta), a, &v), ERR_OK);
    assert_true(span_starts(v.subject, SPAN("Báo cáo")));
    assert_true(span_eq(v.from, SPAN("Nguyễn Văn An")));
    assert_true(span_eq(v.to_addr, SPAN("binh@gialai.example, chi@gialai.example")));
    assert_true(span_eq(v.in_reply_to, SPAN("<1@x>")));
    assert_int_equal(v.part_count, 4);
    assert_true(span_eq(v.parts[2].filename, SPAN("Quyết định số 1.pdf")));
    assert_true(span_eq(v.parts[3].subtype, SPAN("octet-stream")));
    assert_int_equal(v.date, 1795489200);
    assert_int_equal(v.flags & MIME_F_BROKEN, 0);
    buf_free(&out);
    buf_free(&meta);
    arena_free(&a);
}

static void test_recipients(void **state)
{
    (void)state;
    struct arena *a = arena_new(4 << 20);
    struct span *to, bad;
    size_t n;
    struct span good[] = {SPAN("\"Bình\" <binh@gialai.example>, an@gialai.example"),
                          SPAN("BINH@gialai.example")};
    assert_int_equal(write_recipients(a, good, 2, 10, &to, &n, &bad), ERR_OK);
    assert_int_equal(n, 2);
    struct span wrong[] = {SPAN("an@gialai.example, binh")};
    assert_int_equal(write_recipients(a, wrong, 1, 10, &to, &n, &bad), ERR_SYNTAX);
    assert_true(span_eq(bad, SPAN("binh")));
    assert_int_equal(write_recipients(a, good, 1, 1, &to, &n, &bad), ERR_LIMIT);
    arena_free(&a);
}

static void test_date(void **state)
{
    (void)state;
    char s[40];
    mail_date(1795489200, 1795489200 + 3600, true, s, sizeof s);
    assert_string_equal(s, "10:00");
    mail_date(1795489200, 1795489200 + 86400, true, s, sizeof s);
    assert_string_equal(s, "24/11");
    mail_date(1795489200, 0, false, s, sizeof s);
    assert_string_equal(s, "24/11/2026 10:00");
}

static void test_sizes(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *vi, *en;
    } rows[] = {{0, "0 B", "0 B"},
                {1023, "1023 B", "1023 B"},
                {1024, "1 KB", "1 KB"},
                {1535, "1 KB", "1 KB"},
                {1536, "2 KB", "2 KB"},
                {1048575, "1024 KB", "1024 KB"},
                {1048576, "1 MB", "1 MB"},
                {3 * 1048576 - 1, "2,9 MB", "2.9 MB"},
                {5368709120 - 1, "4,9 GB", "4.9 GB"},
                {5368709120, "5 GB", "5 GB"},
                {UINT64_MAX, "17179869183,9 GB", "17179869183.9 GB"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char words[SIZE_TEXT];
        size_text(LANG_VI, rows[i].bytes, words);
        assert_string_equal(words, rows[i].vi);
        size_text(LANG_EN, rows[i].bytes, words);
        assert_string_equal(words, rows[i].en);
    }
}

int main(void)
{
    crypto_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),     cmocka_unit_test(test_language),
        cmocka_unit_test(test_quoting),   cmocka_unit_test(test_urlencoded),
        cmocka_unit_test(test_multipart), cmocka_unit_test(test_multipart_limits),
        cmocka_unit_test(test_names),     cmocka_unit_test(test_answers),
        cmocka_unit_test(test_depth),     cmocka_unit_test(test_structure),
        cmocka_unit_test(test_view),      cmocka_unit_test(test_view_limits),
        cmocka_unit_test(test_write),     cmocka_unit_test(test_recipients),
        cmocka_unit_test(test_date),      cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
