/* The HTML re-serialiser: rows of input and what must come out. */
#include "tests/lib/cm.h"
#include "webmail-cgi/html/html.h"
#include <stdlib.h>
#include <time.h>

struct row {
    const char *in, *out;
    unsigned blocked;
};
#define LINK_REL " target=\"_blank\" rel=\"noopener noreferrer nofollow\""
static const struct row rows[] = {
    {"plain & <b>bold", "plain &amp; <b>bold</b>", 0},
    {"<p>a<p>b", "<p>a</p><p>b</p>", 0},
    {"<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>", 0},
    {"<table><tr><td>1<td>2<tr><td>3</table>",
     "<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>", 0},
    {"<td>cell without a table", "cell without a table", 0},
    {"<script>alert(1)</script>x", "x", 0},
    {"<SCRIPT/x>alert(1)</SCRIPT >x", "x", 0},
    {"<style>p{}</style>x", "x", 0},
    {"<img src=x onerror=alert(1) alt=\"a\">", "<img alt=\"a\">", 1},
    {"<img src=http://a/b.gif>", "<img>", 1},
    {"<img src=\"cid:1\">", "<img>", 0},
    {"<img src=\"data:image/png;base64,AAAA\">", "<img src=\"data:image/png;base64,AAAA\">", 0},
    {"<img src=\"data:image/svg+xml;base64,AAAA\">", "<img>", 1},
    {"<a href=\"jav&#x09;ascript:alert(1)\">k</a>", "<a>k</a>", 0},
    {"<a href=\"javascript&colon;alert(1)\">k</a>", "<a>k</a>", 0},
    {"<a href=' https://x.vn/?a=1&b=2'>k</a>", "<a href=\"https://x.vn/?a=1&amp;b=2\"" LINK_REL ">k</a>", 0},
    {"<p style=\"color:red;position:fixed\">x", "<p style=\"color:red\">x</p>", 0},
    {"<p style=\"background:url(//a/b) #fff\">x", "<p style=\"background:#fff\">x</p>", 1},
    {"<p style=\"b\\61ckground:u\\72l(//a)\">x", "<p>x</p>", 0},
    {"<p style=\"width:expression(alert(1))\">x", "<p>x</p>", 0},
    {"<p style=\"color:re/**/d\">x", "<p style=\"color:re d\">x</p>", 0},
    {"<p title=\"a&quot;>b`'\">x", "<p title=\"a&quot;&gt;b&#96;&#39;\">x</p>", 0},
    {"a<!-- <b> -->b<!--> c --> d<!--x--!>e", "ab c --&gt; de", 0},
    {"a < b <3 </ x>c</>d", "a &lt; b &lt;3 cd", 0},
    {"<svg><style><img src=x onerror=alert(1)></style></svg>", "", 0},
    {"<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 "
     "onerror=alert(1)&gt;\">",
     "<table><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\"></table>", 0},
    {"<xmp><b></xmp><plaintext><i>", "&lt;b&gt;&lt;i&gt;", 0},
    {"<textarea><b>&lt;</textarea>", "&lt;b&gt;&lt;", 0},
    {"<body bgcolor=red onload=x>t</body>", "<div bgcolor=\"red\">t</div>", 0},
    {"&copy;&copy&#x80;&#0;&nosuch; &ampx", "\xc2\xa9\xc2\xa9\xe2\x82\xac\xef\xbf\xbd&amp;nosuch; &amp;x", 0},
    {"<b x", "", 0},
    {"<font color=red size=+1 face='A, B'>x</font>", "<font color=\"red\" size=\"+1\" face=\"A, B\">x</font>",
     0},
    {"\x80\xc3<b>\xe1\xbb\x87", "\xef\xbf\xbd\xef\xbf\xbd<b>\xe1\xbb\x87</b>", 0},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out;
        struct html_result r;
        buf_init(&out, 1 << 20);
        assert_int_equal(html_serialise(span_str(rows[i].in), NULL, &out, &r), ERR_OK);
        assert_true(buf_add_char(&out, 0));
        assert_string_equal(out.p, rows[i].out);
        assert_int_equal(r.blocked, rows[i].blocked);
        buf_free(&out);
    }
}

/* Cut anywhere, the input must give something stable. */
static void test_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t n = 0; n <= strlen(rows[i].in); n++) {
            struct buf once, twice;
            struct html_result r;
            buf_init(&once, 1 << 20);
            buf_init(&twice, 1 << 20);
            char *cut = xstrspan(span_of(rows[i].in, n));
            assert_int_equal(html_serialise(span_of(cut, n), NULL, &once, &r), ERR_OK);
            assert_int_equal(html_serialise(buf_span(&once), NULL, &twice, &r), ERR_OK);
            if (!span_eq(buf_span(&once), buf_span(&twice)))
                fail_msg("%.*s\n%.*s", SPAN_ARG(buf_span(&once)), SPAN_ARG(buf_span(&twice)));
            free(cut);
            buf_free(&once);
            buf_free(&twice);
        }
}

static bool picture(void *arg, struct span cid, struct buf *out)
{
    (void)arg;
    return span_eq(cid, SPAN("logo@x")) && buf_add_str(out, "data:image/gif;base64,R0lG");
}

static void test_cid(void **state)
{
    (void)state;
    struct html_opts opts = {picture, NULL};
    struct html_result r;
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(html_serialise(SPAN("<img src=\"cid:logo@x\"><img src='cid:no'>"), &opts, &out, &r),
                     ERR_OK);
    assert_true(span_eq(buf_span(&out), SPAN("<img src=\"data:image/gif;base64,R0lG\"><img>")));
    buf_free(&out);
}

static void test_full(void **state)
{
    (void)state;
    struct html_result r;
    struct buf out;
    buf_init(&out, 10);
    assert_int_equal(html_serialise(SPAN("<p>more than ten</p>"), NULL, &out, &r), ERR_LIMIT);
    buf_free(&out);
}

/* 56 kB of nested tags: the case that took another library 15 s. */
static void test_time(void **state)
{
    (void)state;
    static const char *const units[] = {
        "<div>",   "<b><i>", "<table><tr><td>",     "<p><a href=x>", "<ul><li>", "<", "<!--", "</b>",
        "<a a=\"", "&amp",   "<p style=\"a:url(\">"};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        struct buf in, out;
        struct html_result r;
        buf_init(&in, 1 << 20);
        buf_init(&out, 1 << 24);
        while (in.n < 56000)
            assert_true(buf_add_str(&in, units[u]));
        clock_t from = clock();
        assert_int_equal(html_serialise(buf_span(&in), NULL, &out, &r), ERR_OK);
        assert_true(clock() - from < CLOCKS_PER_SEC / 4); /* milliseconds, and room for sanitizers */
        buf_free(&in);
        buf_free(&out);
    }
}

static void test_plain(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(
        html_plain(
            SPAN("<style>x</style><p>Chào  <b>anh</b>,<p>a<br>b&nbsp;&lt;c<table><tr><td>1<td>2</table>"),
            &out),
        ERR_OK);
    assert_true(buf_add_char(&out, 0));
    assert_string_equal(out.p, "Chào anh,\n\na\nb <c\n1 2\n");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_cut),
                                       cmocka_unit_test(test_cid),  cmocka_unit_test(test_full),
                                       cmocka_unit_test(test_time), cmocka_unit_test(test_plain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
