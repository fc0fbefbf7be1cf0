/* Charsets, composition, folding, transfer encodings and dates. */
#include "tests/lib/cm.h"
#include "common/mime/charset.h"
#include "common/mime/codec.h"
#include "common/mime/date.h"
#include "common/mime/fold.h"
#include <stdio.h>
#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void check(const char *name, struct buf *got, const char *want)
{
    if (!span_eq(buf_span(got), span_str(want)))
        fail_msg("%s: got \"%.*s\", want \"%s\"", name, SPAN_ARG(buf_span(got)), want);
    buf_reset(got);
}

static void charset_rows(void **state)
{
    (void)state;
    static const struct {
        const char *charset, *in, *want;
        enum err_code code;
    } rows[] = {
        {"utf-8", "Vi\xe1\xbb\x87t", "Việt", ERR_OK},
        {"UTF8", "e\xcc\x82\xcc\x81", "ế", ERR_OK},
        {"utf-8",
         "a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b",
         ERR_OK},
        {"utf-8", "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", ERR_OK},
        {"windows-1258",
         "Ti\xea\xec"
         "ng Vi\xea\xf2t",
         "Tiếng Việt", ERR_OK},
        {"cp1258", "\xd0\xe2\xec", "Đấ", ERR_OK},
        {"x-viet-tcvn5712", "\xae\xd2 ngh\xde qu\xfd c\xac quan", "đề nghị quý cơ quan", ERR_OK},
        {"TCVN3", "\xa7\xb5 N\xbdng", "Đà Nẵng", ERR_OK},
        {"tcvn5712-1", "\x01\x02", "ÚỤ", ERR_OK},
        {"tcvn5712-3", "\x01", "\x01", ERR_OK},
        {"TCVN", "\xa9\xb3", "ấ", ERR_OK},
        {"VISCII", "Vi\xaet Nam \xd0\xa4t", "Việt Nam Đất", ERR_OK},
        {"x-viet-vni", "Vie\xe4t Nam, \xd1o\xe0ng Tha\xf9p M\xf6\xf4\xf8i", "Việt Nam, Đồng Tháp Mười",
         ERR_OK},
        {"vni", "VIE\xc4T", "VIỆT", ERR_OK},
        {"iso-8859-1", "caf\xe9 \x93q\x94", "café “q”", ERR_OK},
        {"ISO-8859-8-I", "\xf9\xec", "של", ERR_OK},
        {"koi8-r", "\xf0\xd2", "Пр", ERR_OK},
        {"ks_c_5601-1987", "\xc7\xd1", "한", ERR_OK},
        {"gb2312", "\xd6\xd0", "中", ERR_OK},
        {"big5", "\xa4\xa4", "中", ERR_OK},
        {"shift_jis", "\x93\xfa", "日", ERR_OK},
        {"iso-2022-jp", "\x1b$BF|\x1b(B", "日", ERR_OK},
        {"euc-jp", "\xc6\xfc\xff", "日\xef\xbf\xbd", ERR_OK},
        {"unicode-1-1-utf-7", "Hi+AOk-,+-", "Hié,+", ERR_OK},
        {"utf-7", "+2D3eAA-", "\xf0\x9f\x98\x80", ERR_OK},
        {"us-ascii", "Vi\xe1\xbb\x87t", "Việt", ERR_OK},
        {"", "caf\xe9", "café", ERR_OK},
        {"x-unknown", "caf\xe9", "café", ERR_MISSING},
        {"x-unknown", "plain", "plain", ERR_MISSING},
        {"charset=us-ascii", "a", "a", ERR_OK},
        {"../../etc/passwd", "a", "a", ERR_MISSING},
        {"utf-8*vi", "\xc3\xa1", "á", ERR_OK},
    };
    struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(charset_to_utf8(span_str(rows[i].charset), span_str(rows[i].in), &out),
                         rows[i].code);
        check(rows[i].charset, &out, rows[i].want);
    }
    assert_int_equal(charset_to_utf8(SPAN("utf-16"), SPAN("\xff\xfeV\0i\0\xc7\x1e"), &out), ERR_OK);
    check("utf-16 le", &out, "Việ");
    assert_int_equal(charset_to_utf8(SPAN("utf-16"), SPAN("\0V\x1e\xc7"), &out), ERR_OK);
    check("utf-16 be", &out, "Vệ");
    assert_int_equal(charset_to_utf8(SPAN("utf-16"), SPAN("V\0i\0"), &out), ERR_OK);
    check("utf-16 unmarked le", &out, "Vi");
    buf_free(&out);
    buf_init(&out, 4);
    assert_int_equal(charset_to_utf8(SPAN("viscii"), SPAN("\xae\xae\xae"), &out), ERR_LIMIT);
    buf_free(&out);
    assert_true(charset_known(SPAN("UTF-8")) && charset_known(SPAN("x-viet-tcvn5712")));
    assert_false(charset_known(SPAN("")) || charset_known(SPAN("klingon")));
    charset_warm();
    assert_true(charset_known(SPAN("gbk")) && charset_known(SPAN("iso-2022-kr")));
}

static void composing(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"", ""},
        {"abc", "abc"},
        {"a\xcc\xa3\xcc\x82", "ậ"},    /* a, dot below, circumflex */
        {"a\xcc\x82\xcc\xa3", "ậ"},    /* in the other order */
        {"\xc3\xa2\xcc\xa3", "ậ"},     /* â, dot below */
        {"\xe1\xba\xa1\xcc\x82", "ậ"}, /* ạ, circumflex */
        {"\xc6\xb0\xcc\xa3x", "ựx"},   /* ư, dot below */
        {"\xcc\x81"
         "a",
         "\xcc\x81"
         "a"}, /* a mark alone */
        {"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "한"},
        {"\xe2\x84\xab", "Å"}, /* a singleton */
        {"xy\xcc\x81 z", "x\xc3\xbd z"},
    };
    struct buf out;
    buf_init(&out, 1 << 22);
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_true(utf8_nfc(span_str(rows[i].in), &out));
        check(rows[i].in, &out, rows[i].want);
    }
    char *marks = xmalloc(2000001);
    marks[0] = 'a';
    for (size_t i = 0; i < 1000000; i++)
        memcpy(marks + 1 + 2 * i, i % 2 ? "\xcc\x81" : "\xcc\xa3", 2);
    assert_true(utf8_nfc(span_of(marks, 2000001), &out)); /* and does not take for ever */
    free(marks);
    buf_free(&out);
}

static void folding(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"QUYẾT ĐỊNH", "quyet dinh"},
        {"Điện tử", "dien tu"},
        {"  a \t\r\n b", "a b"},
        {"ＡＢＣ", "abc"},
        {"ﬁne", "fine"},
        {"Straße", "strasse"},
        {"e\xcc\x82\xcc\x81", "e"},
        {"Ưng Hoàng Phúc", "ung hoang phuc"},
        {"日本", "日本"},
        {"Œuvre Øre", "oeuvre ore"},
        {"a\xc2\xa0"
         "b",
         "a b"},
    };
    struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_true(fold_text(span_str(rows[i].in), &out));
        check(rows[i].in, &out, rows[i].want);
    }
    buf_free(&out);
}

static void transfer(void **state)
{
    (void)state;
    static const struct {
        enum mime_encoding encoding;
        const char *in, *want;
    } rows[] = {
        {MIME_BASE64, "TGlua3M=", "Links"},
        {MIME_BASE64, "TGl\r\nua3M", "Links"},
        {MIME_BASE64, "YQ==\r\nYg==", "ab"},
        {MIME_BASE64, "T*G!l", "Li"},
        {MIME_BASE64, "", ""},
        {MIME_BASE64, "T", ""},
        {MIME_QP, "a=3Db=3d", "a=b="},
        {MIME_QP, "a=\r\nb", "ab"},
        {MIME_QP, "a= \t\r\nb", "ab"},
        {MIME_QP, "a  \r\nb", "a\r\nb"},
        {MIME_QP, "a=\nb", "ab"},
        {MIME_QP, "a=zz=4", "a=zz=4"},
        {MIME_QP, "a=", "a"},
        {MIME_QP, "a =\r\n b", "a  b"},
        {MIME_7BIT, "a=3D", "a=3D"},
    };
    struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct span in = span_str(rows[i].in);
        for (size_t cut = 0; cut <= in.n; cut++) {
            struct codec c;
            codec_init(&c, rows[i].encoding);
            assert_true(codec_decode(&c, span_first(in, cut), false, &out));
            assert_true(codec_decode(&c, span_drop(in, cut), true, &out));
            check(rows[i].in, &out, rows[i].want);
        }
    }
    assert_true(base64_encode(SPAN("any carnal pleas"), 0, &out));
    check("base64", &out, "YW55IGNhcm5hbCBwbGVhcw==");
    assert_true(base64_encode(SPAN("0123456789"), 8, &out));
    check("base64 in lines", &out, "MDEyMzQ1\r\nNjc4OQ==\r\n");
    assert_true(qp_encode(SPAN("\xc3\xa1 = \r\n.x"), &out));
    check("qp", &out, "=C3=A1 =3D=20\r\n=2Ex");
    assert_false(base64_decode_strict(SPAN("YQ="), &out));
    assert_false(base64_decode_strict(SPAN("YQ=A"), &out));
    assert_false(base64_decode_strict(SPAN("YR=="), &out));
    assert_false(base64_decode_strict(SPAN("Y Q="), &out));
    assert_true(base64_decode_strict(SPAN("YQ=="), &out));
    check("strict", &out, "a");
    buf_free(&out);
}

static void dates(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool ok;
        int64_t s;
        int zone;
    } rows[] = {
        {"Tue, 24 Nov 2026 17:20:00 +0700", true, 1795515600, 420},
        {"24 Nov 2026 17:20 +0700 (ICT)", true, 1795515600, 420},
        {"Tue Nov 24 10:20:00 2026", true, 1795515600, 0},
        {"Tue, 24 (day) Nov\r\n 2026 10:20:00 GMT", true, 1795515600, 0},
        {"Fri, 21 Nov 97 09:55:06 -0600", true, 880127706, -360},
        {"1 Jan 70 00:00:00 +0000", true, 0, 0},
        {"24-Nov-2026 10:20:00 UT", true, 1795515600, 0},
        {"2026-11-24T10:20:00Z", true, 1795515600, 0},
        {"Tue, 24 Nov 2026 05:20:00 EST", true, 1795515600, -300},
        {"", false, 0, 0},
        {"yesterday", false, 0, 0},
        {"31 Feb 2026 10:00:00 +0000", false, 0, 0},
        {"24 Nov 2026 25:00:00 +0000", false, 0, 0},
    };
    int64_t s = 0;
    int zone = 0;
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (date_parse(span_str(rows[i].in), &s, &zone) != rows[i].ok)
            fail_msg("%s", rows[i].in);
        if (rows[i].ok && (s != rows[i].s || zone != rows[i].zone))
            fail_msg("%s: %lld %d", rows[i].in, (long long)s, zone);
    }
    char text[40];
    date_format(1795515600, 420, text, sizeof text);
    assert_string_equal(text, "Tue, 24 Nov 2026 17:20:00 +0700");
    date_imap_format(1795515600, -90, text, sizeof text);
    assert_string_equal(text, "24-Nov-2026 08:50:00 -0130");
    assert_true(date_imap_parse(SPAN(" 4-Nov-2026 17:20:00 +0700"), &s, &zone) && zone == 420);
    assert_false(date_imap_parse(SPAN("4-Nov-2026 17:20:00 +0700"), &s, &zone));
    assert_false(date_imap_parse(SPAN("24-Nov-2026 17:20:00 0700 "), &s, &zone));
    assert_true(date_imap_day(SPAN("1-Jan-1970"), &s) && s == 0);
    assert_true(date_imap_day(SPAN("24-Nov-2026"), &s) && s == 1795515600 / 86400);
    assert_false(date_imap_day(SPAN("24-Nov-26"), &s));
    assert_false(date_imap_day(SPAN("30-Feb-2026"), &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(charset_rows), cmocka_unit_test(composing),
                                       cmocka_unit_test(folding), cmocka_unit_test(transfer),
                                       cmocka_unit_test(dates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
