/* imapd's grammar: the command reader whole, byte by byte and cut at each place; atoms and strings; sequence
 * sets; modified UTF-7; FETCH sections; SEARCH programs. */
#include "tests/lib/cm.h"
#include "imapd/fetch.h"
#include "imapd/mutf7.h"
#include "imapd/reader.h"
#include "imapd/search.h"
#include <stdio.h>
#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* -- the reader -- */

struct reader_row {
    const char *name, *in;
    const char *wanted; /* events: C(text) command, L size, ! too long, 0 NUL */
};

static const struct reader_row reader_rows[] = {
    {"one line", "a NOOP\r\n", "C(a NOOP\r\n)"},
    {"two lines", "a NOOP\r\nb X\r\n", "C(a NOOP\r\n)C(b X\r\n)"},
    {"literal", "a LOGIN {3}\r\nabc {2+}\r\nde\r\n", "L3 L2+ C(a LOGIN {3}\r\nabc {2+}\r\nde\r\n)"},
    {"empty literal", "a X {0}\r\n\r\n", "L0 C(a X {0}\r\n\r\n)"},
    {"line ends in a literal", "a {4+}\r\n\r\n\r\n\r\n", "L4+ C(a {4+}\r\n\r\n\r\n\r\n)"},
    {"quoted brace is no literal", "a X \"{3}\r\n", "C(a X \"{3}\r\n)"},
    {"closed quote before a literal", "a \"\\\"\" {1}\r\nx\r\n", "L1 C(a \"\\\"\" {1}\r\nx\r\n)"},
    {"no number", "a {x}\r\n{}\r\n", "C(a {x}\r\n)C({}\r\n)"},
    {"bare LF", "a\nb\r\n", "C(a\n)C(b\r\n)"},
    {"too long", "a 0123456789012345678901234567890123456789\r\nb\r\n",
     "!C(a 01234567890123456789012345678901234567)C(b\r\n)"},
    {"too long, with a literal", "a 0123456789012345678901234567890123456789 {3+}\r\nx\r\n y\r\nb\r\n",
     "L3+ !C(a 01234567890123456789012345678901234567)C(b\r\n)"},
    {"literal does not fit",
     "a {90+}\r\n01234567890123456789012345678901234567890123456789012345678901234567890123456"
     "7890123456789\r\nb\r\n",
     "L90+ !C(a {90+}\r\n)C(b\r\n)"},
};

static void events(struct line_reader *r, struct buf *in, struct buf *out)
{
    struct reader_literal lit;
    for (;;)
        switch (reader_step(r, in, &lit)) {
        case READER_MORE:
            return;
        case READER_COMMAND:
            assert_true(buf_addf(out, "%sC(%.*s)", r->too_long ? "!" : "", SPAN_ARG(buf_span(&r->text))));
            reader_reset(r);
            break;
        case READER_LITERAL:
            assert_true(buf_addf(out, "L%llu%s ", (unsigned long long)lit.size, lit.sync ? "" : "+"));
            reader_take_literal(r, lit.size);
        }
}

static void play(const struct reader_row *row, size_t first, size_t piece)
{
    struct line_reader r;
    struct buf in, out;
    struct span all = span_str(row->in);
    reader_init(&r, 40);
    buf_init(&in, 1000);
    buf_init(&out, 4000);
    while (all.n) {
        struct span p = span_first(all, first ? first : piece);
        first = 0;
        all = span_drop(all, p.n);
        assert_true(buf_add_span(&in, p));
        events(&r, &in, &out);
    }
    if (!span_eq(buf_span(&out), span_str(row->wanted)))
        fail_msg("%s: %.*s", row->name, SPAN_ARG(buf_span(&out)));
    reader_free(&r);
    buf_free(&in);
    buf_free(&out);
}

static void test_reader(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(reader_rows); i++) {
        play(&reader_rows[i], 0, SIZE_MAX);
        play(&reader_rows[i], 0, 1);
        for (size_t cut = 1; cut < strlen(reader_rows[i].in); cut++)
            play(&reader_rows[i], cut, SIZE_MAX);
    }
}

/* -- small things -- */

static struct arena *arena;

static struct cursor cursor(const char *text)
{
    arena_reset(arena);
    return (struct cursor){.s = span_str(text), .a = arena};
}

static void test_strings(void **state)
{
    static const struct {
        const char *in, *out, *left; /* out NULL: refused */
    } rows[] = {{"abc def", "abc", " def"},
                {"\"a b\" c", "a b", " c"},
                {"\"a\\\"\\\\\"", "a\"\\", ""},
                {"{3}\r\na b c", "a b", " c"},
                {"{3+}\r\nabc", "abc", ""},
                {"\"\"", "", ""},
                {"\"\xc4\x91\"", "\xc4\x91", ""},
                {"\"a\\b\"", NULL, ""},
                {"\"abc", NULL, ""},
                {"{4}\r\nabc", NULL, ""},
                {"(", NULL, ""},
                {"", NULL, ""},
                {"a]b", "a]b", ""},
                {"{99999999999999999999}\r\n", NULL, ""}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cursor c = cursor(rows[i].in);
        struct span out;
        bool ok = cur_astring(&c, &out);
        if (ok != (rows[i].out != NULL) ||
            (ok && (!span_eq(out, span_str(rows[i].out)) || !span_eq(c.s, span_str(rows[i].left)))))
            fail_msg("%s", rows[i].in);
    }
}

static void test_sequence_sets(void **state)
{
    static const struct {
        const char *in, *out; /* out NULL: refused; after seqset_fix(10) */
    } rows[] = {{"1", "1:1 "},
                {"1:3,5", "1:3 5:5 "},
                {"5,1:3,2:6", "1:6 "},
                {"*", "10:10 "},
                {"12:*", "10:12 "},
                {"*:4", "4:10 "},
                {"3:1", "1:3 "},
                {"1,2,3", "1:3 "},
                {"4294967295", "4294967295:4294967295 "},
                {"0", NULL},
                {"1:0", NULL},
                {"1,", NULL},
                {"", NULL},
                {"a", NULL},
                {"4294967296", NULL},
                {"1:*,*:1", "1:10 "},
                {"4294967295:1,5", "1:4294967295 "}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cursor c = cursor(rows[i].in);
        struct seqset set;
        char text[200] = "";
        bool ok = seqset_parse(&c, &set) && c.s.n == 0;
        if (ok)
            seqset_fix(&set, 10);
        for (size_t k = 0; ok && k < set.n; k++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%u:%u ", set.v[k].first,
                     set.v[k].last);
        if (ok != (rows[i].out != NULL) || (ok && strcmp(text, rows[i].out) != 0))
            fail_msg("%s: %s", rows[i].in, text);
    }
}

static void test_sequence_set_of_an_empty_mailbox(void **state)
{
    struct cursor c = cursor("1:*,5");
    struct seqset set;
    (void)state;
    assert_true(seqset_parse(&c, &set));
    seqset_fix(&set, 0);
    assert_int_equal(set.n, 1);
    assert_true(seqset_has(&set, 5));
    assert_false(seqset_has(&set, 1));
}

static void test_uid_ranges(void **state)
{
    static const uint32_t v[] = {1, 2, 3, 7, 9, 10};
    struct uidset u = {0};
    struct buf b;
    (void)state;
    buf_init(&b, 100);
    for (size_t i = 0; i < COUNT(v); i++)
        uidset_add(&u, v[i]);
    for (uint32_t x = 0; x < 12; x++)
        assert_int_equal(uidset_has(&u, x), (x >= 1 && x <= 3) || x == 7 || x == 9 || x == 10);
    assert_true(uidset_put(v, COUNT(v), &b));
    assert_true(span_eq(buf_span(&b), SPAN("1:3,7,9:10")));
    buf_free(&b);
    uidset_free(&u);
}

static void test_mutf7(void **state)
{
    static const struct {
        const char *wire, *utf8; /* utf8 NULL: refused */
    } rows[] = {{"INBOX", "INBOX"},
                {"a&-b", "a&b"},
                {"&AOk-valuations", "évaluations"},
                {"&U,BTFw-&ZeVnLIqe-", NULL}, /* a shift right behind a shift */
                {"&U,BTF2XlZyyKng-", "台北日本語"},
                {"Th&AbA- v&Hqc-y", "Thư vầy"},
                {"v&Hqd-y", NULL}, /* bits left over */
                {"Th&AbA-", "Thư"},
                {"&2D3eAA-", "😀"},
                {"&2D0-", NULL}, /* half of a pair */
                {"&3gA-", NULL},
                {"&AGE-", NULL}, /* "a" needs no encoding */
                {"&AAA-", "\0"},
                {"&", NULL},
                {"&abc", NULL},
                {"&!-", NULL},
                {"\xc3\xa9", NULL},
                {"a\tb", NULL}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf out, back;
        buf_init(&out, 100);
        buf_init(&back, 100);
        bool ok = mutf7_decode(span_str(rows[i].wire), &out);
        if (ok && out.n == 1 && out.p[0] == 0) {
            buf_free(&out);
            continue; /* NUL: mailbox_name refuses it */
        }
        if (ok != (rows[i].utf8 != NULL) || (ok && !span_eq(buf_span(&out), span_str(rows[i].utf8))))
            fail_msg("%s: %.*s", rows[i].wire, SPAN_ARG(buf_span(&out)));
        if (ok) {
            assert_true(mutf7_encode(buf_span(&out), &back));
            assert_true(span_eq(buf_span(&back), span_str(rows[i].wire)));
        }
        buf_free(&out);
        buf_free(&back);
    }
}

static void test_mailbox_names(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {{"inbox", "INBOX"},       {"Inbox/a", "INBOX/a"}, {"inboxes", "inboxes"}, {"\"&AOk-\"", "é"},
                {"{2}\r\n\xc3\xa9", "é"}, {"\"&AAA-\"", NULL},    {"\"&\"", NULL},        {"\"\xff\"", NULL}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cursor c = cursor(rows[i].in);
        struct span out;
        assert_true(cur_mailbox(&c, &out));
        if (c.bad_name != (rows[i].out == NULL) || (rows[i].out && !span_eq(out, span_str(rows[i].out))))
            fail_msg("%s", rows[i].in);
    }
}

/* -- FETCH -- */

static struct imap session;

static void test_fetch_sections(void **state)
{
    static const struct {
        const char *in, *label; /* label NULL: refused */
        bool peek;
    } rows[] = {{" 1 BODY[]", "BODY[]", false},
                {" 1 (BODY.PEEK[1.2.TEXT]<5.10>)", "BODY[1.2.TEXT]<5>", true},
                {" 1 body[header.fields (From {2}\r\nTo)]", "BODY[HEADER.FIELDS (From To)]", false},
                {" 1 BODY[3.HEADER.FIELDS.NOT (a)]", "BODY[3.HEADER.FIELDS.NOT (a)]", false},
                {" 1 BODY[2.MIME]", "BODY[2.MIME]", false},
                {" 1 RFC822.HEADER", "RFC822.HEADER", true},
                {" 1 RFC822", "RFC822", false},
                {" 1 BODY[MIME]", NULL, false},
                {" 1 BODY[1.]", NULL, false},
                {" 1 BODY[0]", NULL, false},
                {" 1 BODY[1.X]", NULL, false},
                {" 1 BODY[]<0.0>", NULL, false},
                {" 1 BODY[]<0>", NULL, false},
                {" 1 BODY[HEADER.FIELDS ()]", NULL, false},
                {" 1 BODY[1TEXT]", NULL, false},
                {" 1 BODY[", NULL, false},
                {" 1 ()", NULL, false},
                {" 1 XYZ", NULL, false}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cursor c = cursor(rows[i].in);
        struct fetch_wants *w = calloc(1, sizeof *w);
        bool ok = fetch_parse(&session, &c, w);
        if (ok != (rows[i].label != NULL) ||
            (ok && (!span_eq(w->items[0].label, span_str(rows[i].label)) || w->sets_seen == rows[i].peek)))
            fail_msg("%s", rows[i].in);
        free(w);
    }
}

static void test_fetch_which_bytes(void **state)
{
    /* 0 header 50 | 1: header 60 body 80..100 | 2: message, its header 130..150, body to 200 */
    static const struct mime_part parts[] = {
        {.kind = MIME_MULTIPART, .header_n = 50, .body_at = 50, .body_n = 200, .number = {"", 0}},
        {.kind = MIME_LEAF, .header_at = 60, .header_n = 20, .body_at = 80, .body_n = 20, .number = {"1", 1}},
        {.kind = MIME_MESSAGE,
         .header_at = 110,
         .header_n = 20,
         .body_at = 130,
         .body_n = 70,
         .inner_header_at = 130,
         .inner_header_n = 20,
         .number = {"2", 1}}};
    static const struct mime_meta m = {.size = 250, .header_n = 50, .parts = parts, .part_count = 3};
    static const struct {
        const char *in;
        bool there;
        unsigned at, n;
    } rows[] = {{" 1 BODY[]", true, 0, 250},          {" 1 BODY[HEADER]", true, 0, 50},
                {" 1 BODY[TEXT]", true, 50, 200},     {" 1 BODY[1]", true, 80, 20},
                {" 1 BODY[1.MIME]", true, 60, 20},    {" 1 BODY[2]", true, 130, 70},
                {" 1 BODY[2.HEADER]", true, 130, 20}, {" 1 BODY[2.TEXT]", true, 150, 50},
                {" 1 BODY[1.TEXT]", false, 0, 0},     {" 1 BODY[3]", false, 0, 0}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cursor c = cursor(rows[i].in);
        struct fetch_wants *w = calloc(1, sizeof *w);
        uint64_t at = 0, n = 0;
        assert_true(fetch_parse(&session, &c, w));
        bool there = fetch_section(&w->items[0], &m, 250, &at, &n);
        if (there != rows[i].there || (there && (at != rows[i].at || n != rows[i].n)))
            fail_msg("%s: %u %u", rows[i].in, (unsigned)at, (unsigned)n);
        free(w);
    }
}

static void test_fetch_header_fields(void **state)
{
    struct buf out;
    struct cursor c = cursor(" 1 BODY[HEADER.FIELDS (to X-NONE)]");
    struct fetch_wants *w = calloc(1, sizeof *w);
    (void)state;
    buf_init(&out, 1000);
    assert_true(fetch_parse(&session, &c, w));
    struct span header = SPAN("From: a\r\nTo: b,\r\n c\r\nTOO: d\r\nTO: e\r\n\r\n");
    assert_true(fetch_fields(&w->items[0], header, &out));
    assert_true(span_eq(buf_span(&out), SPAN("To: b,\r\n c\r\nTO: e\r\n\r\n")));
    buf_reset(&out);
    w->items[0].what = SEC_FIELDS_NOT;
    assert_true(fetch_fields(&w->items[0], header, &out));
    assert_true(span_eq(buf_span(&out), SPAN("From: a\r\nTOO: d\r\n\r\n")));
    buf_free(&out);
    free(w);
}

/* -- SEARCH -- */

static void test_search_programs(void **state)
{
    static const struct {
        const char *in;
        bool ok;
    } rows[] = {{" ALL", true},
                {" RETURN (MIN MAX) 1:3 NOT (SEEN OR DELETED UID 5)", true},
                {" RETURN () UNSEEN", true},
                {" CHARSET UTF-8 SUBJECT \"\xc4\x91\"", true},
                {" HEADER X-A \"\" LARGER 5 SENTSINCE 1-Feb-2020", true},
                {" MODSEQ \"/flags/\\\\seen\" all 5", true},
                {" ( SEEN )", true},
                {" $", true},
                {"", false},
                {" ", false},
                {" NOT", false},
                {" OR SEEN", false},
                {" (SEEN", false},
                {" SEEN)", false},
                {" XYZ", false},
                {" SENTON 40-Feb-2020", false},
                {" LARGER x", false},
                {" RETURN (XX) ALL", false},
                {" SUBJECT", false}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cursor c = cursor(rows[i].in);
        struct search_program p;
        if (search_parse(&session, &c, &p) != rows[i].ok)
            fail_msg("%s", rows[i].in);
    }
}

static void test_search_is_bounded(void **state)
{
    char deep[1000] = " ", *at = deep + 1;
    (void)state;
    for (unsigned i = 0; i < 200; i++)
        at += sprintf(at, "NOT ");
    strcpy(at, "ALL");
    struct cursor c = cursor(deep);
    struct search_program p;
    assert_false(search_parse(&session, &c, &p));
}

static void test_text_scan(void **state)
{
    /* A word that lies across pieces, in quoted-printable, cut at each place. */
    static const char body[] = "C=C3=B4ng v=C4=83n =C4=91i=E1=BB=\r\n=87n\r\nt=E1=BB=AD";
    static const struct mime_part part = {.encoding = MIME_QP, .charset = {"utf-8", 5}};
    (void)state;
    for (size_t cut = 0; cut < sizeof body - 1; cut++) {
        struct cursor c = cursor(" BODY \"VAN \xc4\x90i\xe1\xbb\x87n t\xe1\xbb\xad\"");
        struct search_program p;
        assert_true(search_parse(&session, &c, &p));
        struct text_scan *t = text_scan_new(&p);
        text_scan_begin(t, &part);
        text_scan_feed(t, span_of(body, cut), false);
        text_scan_feed(t, span_of(body + cut, sizeof body - 1 - cut), true);
        assert_true(p.root->child->found);
        text_scan_free(&t);
    }
}

static int set_up(void **state)
{
    (void)state;
    arena = arena_new(16 << 20);
    session.arena = arena;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_sequence_sets),
        cmocka_unit_test(test_sequence_set_of_an_empty_mailbox),
        cmocka_unit_test(test_uid_ranges),
        cmocka_unit_test(test_mutf7),
        cmocka_unit_test(test_mailbox_names),
        cmocka_unit_test(test_fetch_sections),
        cmocka_unit_test(test_fetch_which_bytes),
        cmocka_unit_test(test_fetch_header_fields),
        cmocka_unit_test(test_search_programs),
        cmocka_unit_test(test_search_is_bounded),
        cmocka_unit_test(test_text_scan),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
