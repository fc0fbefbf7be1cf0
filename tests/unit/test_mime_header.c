/* Header fields, encoded words, parameters, addresses; reading and writing. */
#include "tests/lib/cm.h"
#include "common/mime/address.h"
#include "common/mime/header.h"
#include <stdio.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void same(const char *name, struct span got, const char *want)
{
    if (!span_eq(got, span_str(want)))
        fail_msg("%s: got \"%.*s\", want \"%s\"", name, SPAN_ARG(got), want);
}

static void fields(void **state)
{
    (void)state;
    struct span block = SPAN("From x\r\nA: 1\r\nno field\r\n more\r\nB :2\r\n  3\r\nC:\r\n\r\nD: 4\r\n");
    struct header_field f;
    assert_true(header_next(&block, &f));
    same("A", f.name, "A");
    same("A", f.value, "1");
    same("A", f.raw, "A: 1\r\n");
    assert_true(header_next(&block, &f));
    same("B", f.name, "B");
    same("B", f.value, "2\r\n  3");
    assert_true(header_next(&block, &f));
    same("C", f.value, "");
    assert_false(header_next(&block, &f));
    assert_true(header_find(SPAN("a: 1\nSUBJECT: x\n"), SPAN("Subject"), &f));
    same("Subject", f.value, "x");
    assert_false(header_find(SPAN("a: 1\n\nb: 2\n"), SPAN("b"), &f));
    struct arena *a = arena_new(10000);
    same("unfold", header_unfold(a, SPAN(" a\r\n\tb\n c ")), "a\tb c");
    arena_free(&a);
}

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"plain", "plain"},
        {"=?utf-8?B?VmnhurfhdA==?=", "Viặ\xef\xbf\xbdt"},
        {"=?UTF-8?Q?Vi=E1=BB=87t_Nam?=", "Việt Nam"},
        {"=?utf-8?Q?Vi=E1?= =?utf-8?Q?=BB=87t?=", "Việt"}, /* cut inside a character */
        {"=?utf-8?B?4bs=?=\r\n =?utf-8?Q?=87?=", "ệ"},
        {"a =?utf-8?Q?b?= c", "a b c"},
        {"=?utf-8?Q?a?= =?iso-8859-1?Q?=E9?=", "aé"},
        {"=?utf-8?Q?a?=b", "ab"},
        {"=?utf-8?Q?a", "=?utf-8?Q?a"},
        {"=?utf-8?X?a?=", "=?utf-8?X?a?="},
        {"=?utf-8*vi?Q?=C3=A1?=", "á"},
        {"=?utf-8?Q?a b?=", "a b"},
        {"=?utf-8?Q?a=0D=0Ab?=", "a  b"},
        {"Vi\xe1\xbb\x87t", "Việt"},
        {"caf\xe9", "café"},
        {"=?windows-1258?Q?Ti=EA?= =?windows-1258?Q?=ECng?=", "Tiếng"},
        {"=?utf-7?Q?Hi+AO?= =?utf-7?Q?k-?=", "Hié"},
        {"=?x-unknown?Q?=C3=A1?=", "á"},
        {"=?=?=?=?=?", "=?=?=?=?=?"},
    };
    struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < COUNT(rows); i++)
        same(rows[i].in, header_text(a, span_str(rows[i].in)), rows[i].want);
    arena_free(&a);
}

static void parameters(void **state)
{
    (void)state;
    static const struct {
        const char *in, *name, *want; /* want NULL: absent */
    } rows[] = {
        {"text/plain; charset=utf-8", "charset", "utf-8"},
        {"text/plain; CHARSET=\"us-ascii\" (c)", "charset", "us-ascii"},
        {"text/plain; charset = utf-8 (c); x=y", "x", "y"},
        {"a; filename=my file (1).pdf; x=y", "filename", "my file (1).pdf"},
        {"a; filename=\"a\\\"b;c\"", "filename", "a\"b;c"},
        {"a; filename*=utf-8'vi'B%C3%A1o.doc; filename=x", "filename", "Báo.doc"},
        {"a; filename*0*=utf-8''B%C3; filename*1*=%A1o; filename*2=\".doc\"", "filename", "Báo.doc"},
        {"a; filename*1=b; filename*0=a", "filename", "ab"},
        {"a; name*0=a; name*2=c; name*99999999999=z", "name", "a"},
        {"a; filename=\"=?utf-8?Q?B=C3=A1o?=\"", "filename", "Báo"},
        {"a; filename*=plain.txt", "filename", "plain.txt"},
        {"a; x", "x", NULL},
        {";;;=;x=1", "x", "1"},
        {"a; filename=\"unclosed", "filename", "unclosed"},
        {"a; filename=\"a\r\n b\"", "filename", "a b"},
    };
    struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct span got = header_param(a, span_str(rows[i].in), span_str(rows[i].name));
        if (!rows[i].want)
            assert_null(got.p);
        else
            same(rows[i].in, got, rows[i].want);
    }
    arena_free(&a);
}

/* "display|local|domain" of each, "{name" and "}" for groups. */
static void show(struct address *d, struct buf *out)
{
    for (; d; d = d->next) {
        bool ok = out->n == 0 || buf_add_char(out, ',');
        if (d->group_end)
            ok = ok && buf_add_char(out, '}');
        else if (d->group_start)
            ok = ok && buf_addf(out, "{%.*s", SPAN_ARG(d->local));
        else
            ok = ok && buf_addf(out, "%.*s|%.*s|%.*s", SPAN_ARG(d->display), SPAN_ARG(d->local),
                                SPAN_ARG(d->domain));
        assert_true(ok);
    }
}

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"", ""},
        {" , ,", ""},
        {"a@b.c", "|a|b.c"},
        {"<a@b.c>", "|a|b.c"},
        {"Ann Lee <a@b.c>, d@e.f", "Ann Lee|a|b.c,|d|e.f"},
        {"\"Lee, Ann\" <a@b.c>", "Lee, Ann|a|b.c"},
        {"=?utf-8?Q?Nguy=E1=BB=85n,_An?= <an@x.vn>", "Nguyễn, An|an|x.vn"},
        {"\"=?utf-8?Q?Nguy=E1=BB=85n?= An\" <an@x.vn>", "Nguyễn An|an|x.vn"},
        {"a@b.c (Ann (the) Lee)", "Ann (the) Lee|a|b.c"},
        {"undisclosed-recipients:;", "{undisclosed-recipients,}"},
        {"team: a@b, C <c@d>; e@f", "{team,|a|b,C|c|d,},|e|f"},
        {"team: a@b", "{team,|a|b,}"},
        {"<@r1,@r2:u@h>", "|u|h"},
        {"\"john doe\"@x.y", "|john doe|x.y"},
        {"<\"a\\\"b@c\"@x.y>", "|a\"b@c|x.y"},
        {"a @ b . c", "|a|b"},
        {"root", "|root|"},
        {"Just some words", "Just some words||"},
        {"Ann a@b.c", "Ann|a|b.c"},
        {"Ann <a@b.c", "Ann|a|b.c"},
        {"Ann <a@b.c, Bob <d@e>", "Ann|a|b.c,Bob|d|e"},
        {"a@b; c@d", "|a|b,|c|d"},
        {"<>", ""},
        {"x@[10.0.0.1]", "|x|[10.0.0.1]"},
    };
    struct arena *a = arena_new(1 << 20);
    struct buf out;
    buf_init(&out, 10000);
    for (size_t i = 0; i < COUNT(rows); i++) {
        show(address_list(a, span_str(rows[i].in), 100), &out);
        same(rows[i].in, buf_span(&out), rows[i].want);
        buf_reset(&out);
    }
    show(address_list(a, SPAN("a@b,c@d,e@f"), 2), &out);
    same("limit", buf_span(&out), "|a|b,|c|d");
    buf_free(&out);
    arena_free(&a);
}

static void paths(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool utf8;
        enum err_code code;
        const char *normal;
    } rows[] = {
        {"An@Gialai.Example", false, ERR_OK, "an@gialai.example"},
        {"\"An.B\"@x.vn", false, ERR_OK, "an.b@x.vn"},
        {"\"a b\"@x.vn", false, ERR_OK, "\"a b\"@x.vn"},
        {"@r.example,@s:u@h.example", false, ERR_OK, "u@h.example"},
        {"u@[127.0.0.1]", false, ERR_OK, "u@[127.0.0.1]"},
        {"u@[IPv6:::1]", false, ERR_OK, "u@[ipv6:::1]"},
        {"u@[300.0.0.1]", false, ERR_SYNTAX, NULL},
        {"u@[IPv6:1:2]", false, ERR_SYNTAX, NULL},
        {"u", false, ERR_SYNTAX, NULL},
        {"@h", false, ERR_SYNTAX, NULL},
        {".u@h", false, ERR_SYNTAX, NULL},
        {"u..v@h", false, ERR_SYNTAX, NULL},
        {"u@h.", false, ERR_SYNTAX, NULL},
        {"u@-h", false, ERR_SYNTAX, NULL},
        {"u v@h", false, ERR_SYNTAX, NULL},
        {"u@h>", false, ERR_SYNTAX, NULL},
        {"\xc4\x90iện@x.vn", false, ERR_SYNTAX, NULL},
        {"\xc4\x90iện@x.vn", true, ERR_OK, "điện@x.vn"},
        {"a@m\xc3\xbcnchen.example", true, ERR_OK, "a@xn--mnchen-3ya.example"},
        {"\xff@x.vn", true, ERR_SYNTAX, NULL},
        {"u@h_i", false, ERR_SYNTAX, NULL},
        {"0123456789012345678901234567890123456789012345678901234567890123@h", false, ERR_OK, NULL},
        {"01234567890123456789012345678901234567890123456789012345678901234@h", false, ERR_LIMIT, NULL},
    };
    struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct span l, d;
        if (address_path(span_str(rows[i].in), rows[i].utf8, &l, &d) != rows[i].code)
            fail_msg("%s", rows[i].in);
        if (!rows[i].normal)
            continue;
        assert_true(address_normal(span_str(rows[i].in), &out));
        same(rows[i].in, buf_span(&out), rows[i].normal);
    }
    assert_false(address_normal(SPAN("no address"), &out));
    buf_free(&out);
}

static void wild_paths(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        enum err_code code;
    } rows[] = {
        {".u@h", ERR_SYNTAX},
        {"u..v.@h", ERR_SYNTAX},
        {"bounce@em_7.mail.example", ERR_OK},
        {"bounce@em_7.mail-.example", ERR_SYNTAX},
        {"u@-h.example", ERR_SYNTAX},
        {"01234567890123456789012345678901234567890123456789012345678901234@h", ERR_OK},
        {"\"1234567890123456789012345678901234567890123456789012345678901234\"@h", ERR_LIMIT},
        {"u v@h", ERR_SYNTAX},
        {"u@h..i", ERR_SYNTAX},
        {"u@h i", ERR_SYNTAX},
        {"u>v@h", ERR_SYNTAX},
        {"@h", ERR_SYNTAX},
        {"u@", ERR_SYNTAX},
        {"u\r\n@h", ERR_SYNTAX},
        {"\xc4\x90@h", ERR_SYNTAX},
    };
    struct span l, d;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (address_path_wild(span_str(rows[i].in), false, &l, &d) != rows[i].code)
            fail_msg("%s", rows[i].in);
    char longest[330];
    memset(longest, 'u', sizeof longest);
    memcpy(longest + 318, "@h", 3);
    assert_int_equal(address_path_wild(span_str(longest), false, &l, &d), ERR_OK);
    memcpy(longest + 318, "u@h", 4);
    assert_int_equal(address_path_wild(span_str(longest), false, &l, &d), ERR_LIMIT);
}

static void writing(void **state)
{
    (void)state;
    static const char *const subjects[] = {
        "plain",
        "",
        "a subject of more than seventy-six columns that has to be folded somewhere, at a blank of course",
        "Về việc góp ý dự thảo Quyết định quy định chức năng, nhiệm vụ, quyền hạn và cơ cấu tổ chức của Sở",
        "mostly ascii with one é",
        "looks like =?utf-8?Q?a?= a word",
        "日本語の長い件名がここにあります。とても長いので折り返しが必要です。",
    };
    struct arena *a = arena_new(1 << 20);
    struct buf out;
    buf_init(&out, 100000);
    for (size_t i = 0; i < COUNT(subjects); i++) {
        buf_reset(&out);
        assert_true(header_write(&out, SPAN("Subject"), span_str(subjects[i])));
        struct span block = buf_span(&out), lines = block;
        struct header_field f;
        assert_true(header_next(&block, &f) && block.n == 0);
        same("written", header_text(a, f.value), subjects[i]);
        while (lines.p) {
            struct span line = span_cut(&lines, '\n');
            assert_true(line.n <= 79);
            for (size_t k = 0; k < line.n; k++)
                assert_true((unsigned char)line.p[k] < 0x80);
        }
        buf_reset(&out);
        assert_true(buf_add_str(&out, "attachment") &&
                    header_write_param(&out, SPAN("filename"), span_str(subjects[i])));
        same("parameter", header_param(a, buf_span(&out), SPAN("filename")), subjects[i]);
        buf_reset(&out);
        assert_true(header_write_mailbox(&out, span_str(subjects[i]), SPAN("a@b.c")));
        struct address *d = address_list(a, buf_span(&out), 10);
        assert_non_null(d);
        assert_null(d->next);
        same("mailbox", d->display, subjects[i]);
        same("mailbox", d->local, "a");
    }
    buf_reset(&out);
    assert_true(header_write(&out, SPAN("Subject"), SPAN("a\r\nBcc: evil@x")));
    same("injection", buf_span(&out), "Subject: a  Bcc: evil@x\r\n");
    assert_false(header_write_mailbox(&out, SPAN("x"), SPAN("a@b>\r\nBcc: c")));
    same("untouched", buf_span(&out), "Subject: a  Bcc: evil@x\r\n");
    buf_reset(&out);
    assert_true(header_write_mailbox(&out, SPAN("Lee, Ann \"x\""), SPAN("a@b.c")));
    same("quoted", buf_span(&out), "\"Lee, Ann \\\"x\\\"\" <a@b.c>");
    buf_free(&out);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fields),     cmocka_unit_test(texts),
                                       cmocka_unit_test(parameters), cmocka_unit_test(addresses),
                                       cmocka_unit_test(paths),      cmocka_unit_test(wild_paths),
                                       cmocka_unit_test(writing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
