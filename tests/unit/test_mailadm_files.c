/* What mailadm reads and writes of mbox and Maildir: rows of an mbox and what its messages are, read whole
 * and in pieces of every size; what is written is read back; names of Maildir. */
#include "tests/lib/cm.h"
#include "common/store/store.h"
#include "mailadm/maildir.h"
#include "mailadm/mbox.h"
#include <stdio.h>
#include <stdlib.h>

struct text {
    struct span s;
    size_t most; /* bytes of one read */
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
    assert_true(buf_add_span(arg, bytes));
}

/* All messages as "[flags|keywords|date zone|bytes]", and how it ended. */
static void read_all(struct span in, size_t most, enum mbox_quoting quoting, struct buf *out)
{
    struct text t = {in, most};
    struct mbox *m = mbox_new(read_text, &t, quoting);
    struct mbox_message *one = calloc(1, sizeof *one);
    struct buf bytes;
    enum err_code code;
    buf_init(&bytes, 1 << 20);
    buf_reset(out);
    while ((code = mbox_next(m, add, &bytes, one)) == ERR_OK) {
        assert_true(buf_addf(out, "[%u|%s|%lld %d|%.*s]%s", one->flags, one->keywords,
                             one->has_date ? (long long)one->internal_s : -1LL, one->zone_min,
                             SPAN_ARG(buf_span(&bytes)), one->not_mail ? "-" : ""));
        buf_reset(&bytes);
    }
    assert_true(buf_add_str(out, err_name(code)));
    buf_free(&bytes);
    free(one);
    mbox_free(&m);
}

#define F "From a@b Thu Jan  1 00:00:05 1970\n"

static const struct row {
    const char *name, *in, *out;
} rows[] = {
    {"nothing", "", "missing"},
    {"only empty lines", "\n\n\r\n", "missing"},
    {"no mbox", "Subject: x\n", "syntax"},
    {"one", F "A: b\n\nc\n", "[0||5 0|A: b\n\nc\n]missing"},
    {"one, with its empty line", F "A: b\n\nc\n\n", "[0||5 0|A: b\n\nc\n]missing"},
    {"two", F "A: b\n\nc\n\n" F "D: e\n\nf\n\n", "[0||5 0|A: b\n\nc\n][0||5 0|D: e\n\nf\n]missing"},
    {"an empty line more", F "A: b\n\nc\n\n\n" F "\nf\n", "[0||5 0|A: b\n\nc\n\n][0||5 0|\nf\n]missing"},
    {"none between", F "A: b\n\nc\n" F "\nf\n", "[0||5 0|A: b\n\nc\n][0||5 0|\nf\n]missing"},
    {"only a header", F "A: b\n\n" F "\nf\n", "[0||5 0|A: b\n][0||5 0|\nf\n]missing"},
    {"a header and its end", F "A: b\n\n\n" F "\nf\n", "[0||5 0|A: b\n\n][0||5 0|\nf\n]missing"},
    {"a line that does not end", F "A: b\n\nc", "[0||5 0|A: b\n\nc]missing"},
    {"crlf", "From a@b Thu Jan  1 00:00:05 1970\r\nA: b\r\n\r\nc\r\n\r\n" F "\nf\n",
     "[0||5 0|A: b\r\n\r\nc\r\n][0||5 0|\nf\n]missing"},
    {"quoted", F "\n>From x\n>>From y\n>Fro\n> From z\n",
     "[0||5 0|\nFrom x\n>From y\n>Fro\n> From z\n]missing"},
    {"From without a date", F "\na\n\nFrom me to you\n", "[0||5 0|\na\n\nFrom me to you\n]missing"},
    {"flags", F "A: b\nStatus: RO\nX-Status: AFTD\nX-Keywords: one  two\n three\nB: c\n\nd\n",
     "[31|one two three|5 0|A: b\nB: c\n\nd\n]missing"},
    {"Mozilla",
     F "X-Mozilla-Status: 0007\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: $label1\n\nd\n\n" F
       "X-Mozilla-Status: 0009\n\ne\n",
     "[7|$label1|5 0|\nd\n][1||5 0|\ne\n]-missing"},
    {"the folder's own", F "X-IMAP: 1 2\nA: b\n\nc\n", "[0||5 0|A: b\n\nc\n]-missing"},
    {"length", F "Content-Length: 37\n\n" F "ab\n\n" F "\nf\n", "[0||5 0|\n" F "ab\n][0||5 0|\nf\n]missing"},
    {"length at the end", F "Content-Length: 2\n\nab", "[0||5 0|\nab]missing"},
    {"length too short", F "Content-Length: 1\n\nab\n\n" F "\nf\n", "[0||5 0|\nab\n][0||5 0|\nf\n]missing"},
    {"length too long", F "Content-Length: 99999\n\nab\n\n" F "\nf\n",
     "[0||5 0|\nab\n][0||5 0|\nf\n]missing"},
    {"length 0", F "Content-Length: 0\n\n\n" F "\nf\n", "[0||5 0|\n][0||5 0|\nf\n]missing"},
    {"a zone", "From a Tue Nov 24 10:00:00 2026 +0700\n\nx\n", "[0||1795489200 420|\nx\n]missing"},
    {"a zone's name", "From a Tue Nov 24 10:00:00 ICT 2026\n\nx\n", "[0||1795514400 0|\nx\n]missing"},
    {"the Date field", "From nobody\nDate: Tue, 24 Nov 2026 10:00:00 +0700\n\nx\n",
     "[0||1795489200 420|Date: Tue, 24 Nov 2026 10:00:00 +0700\n\nx\n]missing"},
    {"no date at all", "From \n\nx\n", "[0||-1 0|\nx\n]missing"},
    {"our own",
     F "X-Provmail-Message: 1 date=7 zone=-30 flags=5 eol=0 lines=1\nStatus: O\nStatus: mine\n\nx\n\n" F "\n",
     "[5||7 -30|Status: mine\n\nx][0||5 0|]missing"},
};

static void reads_rows(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span in = span_str(rows[i].in);
        for (size_t most = 0; most <= in.n; most++) {
            read_all(in, most ? most : SIZE_MAX, MBOX_QUOTED, &out);
            if (!span_eq(buf_span(&out), span_str(rows[i].out)))
                print_message("%s, %zu at a time: %.*s\n", rows[i].name, most, SPAN_ARG(buf_span(&out)));
            assert_true(span_eq(buf_span(&out), span_str(rows[i].out)));
        }
        for (size_t cut = 0; cut < in.n; cut++) /* no crash, and an end */
            read_all(span_first(in, cut), SIZE_MAX, MBOX_NOT_QUOTED, &out);
    }
    read_all(SPAN(F "\n>From x\n"), SIZE_MAX, MBOX_NOT_QUOTED, &out);
    assert_true(span_eq(buf_span(&out), SPAN("[0||5 0|\n>From x\n]missing")));
    buf_free(&out);
}

/* Lines longer than the window, and a From_ line across its end. */
static void reads_long_lines(void **state)
{
    struct buf in, out, want;
    (void)state;
    buf_init(&in, 4 << 20);
    buf_init(&out, 4 << 20);
    buf_init(&want, 4 << 20);
    for (size_t n = (256 << 10) - 60; n < (256 << 10) + 60; n += 7) {
        buf_reset(&in);
        buf_reset(&want);
        assert_true(buf_add_str(&in, F "\n") && buf_add_str(&want, "[0||5 0|\n"));
        char *line = malloc(n);
        memset(line, 'x', n);
        assert_true(buf_add(&in, line, n) && buf_add(&want, line, n));
        free(line);
        assert_true(buf_add_str(&in, "\n\n" F "\nf\n") && buf_add_str(&want, "\n][0||5 0|\nf\n]missing"));
        read_all(buf_span(&in), SIZE_MAX, MBOX_QUOTED, &out);
        assert_true(span_eq(buf_span(&out), buf_span(&want)));
    }
    buf_free(&in);
    buf_free(&out);
    buf_free(&want);
}

/* parse(write(x)) = x, for texts of pieces that are hard. */
static void writes_what_it_reads(void **state)
{
    static const char *const pieces[] = {"From ",
                                         ">",
                                         "\r\n",
                                         "\r\n\r\n",
                                         "a",
                                         "Status: R",
                                         "From a",
                                         ">From x ",
                                         "X-UID: 1",
                                         ":",
                                         " ",
                                         "Fro",
                                         "From a@b Thu Jan  1 00:00:05 1970",
                                         "Content-Length: 3",
                                         "X-Provmail-Message: 1 "};
    unsigned seed = 7;
    struct buf text, file, out, want;
    (void)state;
    buf_init(&text, 1 << 16);
    buf_init(&file, 1 << 18);
    buf_init(&out, 1 << 18);
    buf_init(&want, 1 << 18);
    for (int round = 0; round < 3000; round++) {
        buf_reset(&file);
        buf_reset(&want);
        for (int k = 0; k < 3; k++) {
            struct mbox_writer w;
            buf_reset(&text);
            for (unsigned n = 1 + (unsigned)rand_r(&seed) % 12; n; n--)
                assert_true(
                    buf_add_str(&text, pieces[(unsigned)rand_r(&seed) % (sizeof pieces / sizeof *pieces)]));
            bool lf = span_ends(buf_span(&text), SPAN("\n"));
            assert_true(
                mbox_write_begin(&w, &file, 1000 + k, 60 * k, (unsigned)k, k ? SPAN("a b") : SPAN(""), lf));
            size_t half = text.n / 2;
            assert_true(mbox_write(&w, span_first(buf_span(&text), half)) &&
                        mbox_write(&w, span_drop(buf_span(&text), half)) && mbox_write_end(&w));
            assert_true(buf_addf(&want, "[%d|%s|%d %d|", k, k ? "a b" : "", 1000 + k, 60 * k));
            for (size_t i = 0; i < text.n; i++)
                assert_true(text.p[i] == '\r' || buf_add_char(&want, text.p[i]));
            assert_true(buf_add_char(&want, ']'));
        }
        assert_true(buf_add_str(&want, "missing"));
        read_all(buf_span(&file), SIZE_MAX, MBOX_QUOTED, &out);
        if (!span_eq(buf_span(&out), buf_span(&want)))
            print_message("file: %.*s\nread: %.*s\nwant: %.*s\n", SPAN_ARG(buf_span(&file)),
                          SPAN_ARG(buf_span(&out)), SPAN_ARG(buf_span(&want)));
        assert_true(span_eq(buf_span(&out), buf_span(&want)));
    }
    buf_free(&text);
    buf_free(&file);
    buf_free(&out);
    buf_free(&want);
}

/* -- Maildir -- */

static void reads_maildir_names(void **state)
{
    static const struct {
        const char *folder, *name;
        char separator;
    } names[] = {
        {".Sent", "Sent", '.'},
        {".A.B", "A/B", '.'},
        {"A.B", "A/B", '.'},
        {".C&APQ-ng", "C\xc3\xb4ng", '.'},
        {".v1\\2e0", "v1.0", '.'},
        {".a/b", "a_b", '.'},
        {"A\tB.c", "A/B.c", '\t'},
        {".C\xc3\xb4ng", "C\xc3\xb4ng", '.'},
        {".A&-B", "A&B", '.'},
        {".&nope", "&nope", '.'},
        {"Plain.name", "Plain.name", '/'},
    };
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        buf_reset(&b);
        assert_true(maildir_name(span_str(names[i].folder), names[i].separator, &b));
        assert_true(span_eq(buf_span(&b), span_str(names[i].name)));
    }
    static const char *const back[] = {"A/B", "v1.0/x",   "C\xc3\xb4ng v\xc4\x83n", "a\\b", "~", "100%",
                                       "A&B", "a.b.c/d.e"};
    for (size_t i = 0; i < sizeof back / sizeof *back; i++) {
        struct buf folder;
        buf_init(&folder, 1000);
        buf_reset(&b);
        assert_true(maildir_folder(span_str(back[i]), &folder) && maildir_name(buf_span(&folder), '.', &b));
        assert_true(span_eq(buf_span(&b), span_str(back[i])));
        buf_free(&folder);
    }
    buf_free(&b);
}

static void reads_maildir_flags(void **state)
{
    struct maildir_keywords k = {{NULL}};
    struct maildir_info info;
    struct buf b;
    size_t lost = 0;
    (void)state;
    assert_int_equal(maildir_keyword(&k, SPAN("$Work")), 0);
    assert_int_equal(maildir_keyword(&k, SPAN("Gap")), 1);
    assert_int_equal(maildir_keyword(&k, SPAN("$work")), 0);
    maildir_info(SPAN("123.M4U5.host,S=10,W=12,z=-210:2,FPRSbz"), &k, &info);
    assert_true(span_eq(info.unique, SPAN("123.M4U5.host")));
    assert_int_equal(info.flags, STORE_FLAGGED | STORE_ANSWERED | STORE_SEEN);
    assert_int_equal(info.keyword_count, 2);
    assert_true(span_eq(info.keywords[0], SPAN("$Forwarded")) && span_eq(info.keywords[1], SPAN("Gap")));
    assert_int_equal(info.delivered_s, 123);
    assert_int_equal(info.zone_min, -210);
    maildir_info(SPAN("x"), &k, &info);
    assert_true(span_eq(info.unique, SPAN("x")) && !info.flags && !info.keyword_count && !info.delivered_s);
    buf_init(&b, 200);
    const struct span words[] = {SPAN("Gap"), SPAN("$Forwarded"), SPAN("new")};
    assert_true(maildir_put_info(&b, STORE_SEEN | STORE_DRAFT, words, 3, &k, &lost));
    assert_true(span_eq(buf_span(&b), SPAN(":2,DPSbc")));
    for (int i = 0; i < 30; i++) {
        char name[20];
        snprintf(name, sizeof name, "word%d", i);
        const struct span word = span_str(name);
        buf_reset(&b);
        assert_true(maildir_put_info(&b, 0, &word, 1, &k, &lost));
    }
    assert_int_equal(lost, 3 + 30 - MAILDIR_KEYWORDS);
    buf_free(&b);
    maildir_keywords_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_rows),           cmocka_unit_test(reads_long_lines),
        cmocka_unit_test(writes_what_it_reads), cmocka_unit_test(reads_maildir_names),
        cmocka_unit_test(reads_maildir_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
