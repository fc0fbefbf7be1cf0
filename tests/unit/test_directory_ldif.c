/* The LDIF reader: rows of text and what is read, faults with their lines, limits, and the demo's province.
 */
#include "tests/lib/cm.h"
#include "common/base/buf.h"
#include "common/directory/ldif.h"
#include <stdio.h>
#include <stdlib.h>

static bool print_record(void *arg, const struct ldif_record *r)
{
    struct buf *b = arg;
    bool ok = buf_addf(b, "[%.*s", SPAN_ARG(r->dn));
    for (size_t i = 0; i < r->count; i++)
        ok = ok && buf_addf(b, "|%.*s=%.*s", SPAN_ARG(r->v[i].name), SPAN_ARG(r->v[i].value));
    return ok && buf_add_char(b, ']');
}

static const struct row {
    const char *in;
    enum err_code code;
    const char *out; /* the records, or how the log text begins */
} rows[] = {
    {"", ERR_OK, ""},
    {"version: 1\n\ndn: cn=a\ncn: a\n", ERR_OK, "[cn=a|cn=a]"},
    {"dn: cn=a\r\ncn:a\r\nx:\r\n\r\n\r\ndn: cn=b\r\ncn:  b", ERR_OK, "[cn=a|cn=a|x=][cn=b|cn=b]"},
    {"\xEF\xBB\xBF"
     "dn: cn=a\ncn: a\n",
     ERR_OK, "[cn=a|cn=a]"},
    {"# one\n two\ndn: cn=lo\n ng\nsn: a\n  b\n# c\ncn: x\n", ERR_OK, "[cn=long|sn=a b|cn=x]"},
    {"dn:: Y249w6k=\ncn;lang-vi:: w6k=\n", ERR_OK, "[cn=\xC3\xA9|cn=\xC3\xA9]"},
    {"dn: cn=a\ncn:: w6\n k=\n", ERR_OK, "[cn=a|cn=\xC3\xA9]"},
    {"version: 2\n", ERR_SYNTAX, "line 1: only version 1"},
    {"cn: a\n", ERR_SYNTAX, "line 1: a record must"},
    {"dn: cn=a\n\n", ERR_SYNTAX, "line 1: a record without"},
    {"\n\ndn: cn=a\ncn a\n", ERR_SYNTAX, "line 4: no \"name"},
    {"dn: cn=a\ncn: a\ndn: cn=b\ncn: b\n", ERR_SYNTAX, "line 3: dn inside"},
    {"dn: cn=a\nchangetype: delete\n", ERR_SYNTAX, "line 2: change"},
    {"dn: cn=a\njpegPhoto:< file:///etc/passwd\n", ERR_SYNTAX, "line 2: values by URL"},
    {"dn: cn=a\nsn: x\n y\ncn:: !!\n", ERR_SYNTAX, "line 4: the value is not base64"},
    {" dn: cn=a\n", ERR_SYNTAX, "line 1: no \"name"},
};

static void reads_rows(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b;
        struct err why = {0};
        buf_init(&b, 1 << 16);
        enum err_code code = ldif_read(span_str(rows[i].in), a, print_record, &b, &why);
        if (code != rows[i].code)
            print_message("row %zu\n", i);
        assert_int_equal(code, rows[i].code);
        struct span got = code ? span_str(why.log) : buf_span(&b);
        if (code)
            assert_true(span_starts(got, span_str(rows[i].out)));
        else
            assert_true(span_eq(got, span_str(rows[i].out)));
        buf_free(&b);
    }
    arena_free(&a);
}

static bool refuse(void *arg, const struct ldif_record *r)
{
    (void)r;
    return ++*(int *)arg < 2;
}

static void bounds(void **state)
{
    (void)state;
    struct arena *a = arena_new(4096);
    struct buf b, out;
    struct err why = {0};
    buf_init(&b, 8 << 20);
    buf_init(&out, 8 << 20);
    assert_true(buf_add_str(&b, "dn: cn=a\n"));
    for (int i = 0; i < 1000; i++)
        assert_true(buf_add_str(&b, "member: cn=b\n"));
    assert_int_equal(ldif_read(buf_span(&b), a, print_record, &out, &why), ERR_LIMIT);
    buf_reset(&b);
    assert_true(buf_add_str(&b, "dn: cn=a\ncn: "));
    for (int i = 0; i < LDIF_LINE_LIMIT; i++)
        assert_true(buf_add_char(&b, 'x'));
    assert_int_equal(ldif_read(buf_span(&b), a, print_record, &out, &why), ERR_LIMIT);
    assert_true(span_starts(span_str(why.log), SPAN("line 2:")));
    assert_int_equal(ldif_read(SPAN("dn: a\ncn:: AGE=\n"), a, print_record, &out, &why), ERR_OK);
    assert_int_equal(ldif_read(span_of("dn: a\ncn: a\0b\n", 14), a, print_record, &out, &why), ERR_SYNTAX);
    int calls = 0;
    assert_int_equal(ldif_read(SPAN("dn: a\nc: 1\n\ndn: b\nc: 2\n\ndn: c\nc: 3\n"), a, refuse, &calls, &why),
                     ERR_STATE);
    assert_int_equal(calls, 2);
    buf_free(&b);
    buf_free(&out);
    arena_free(&a);
}

struct sample {
    unsigned people, groups, an;
};

static bool count_sample(void *arg, const struct ldif_record *r)
{
    struct sample *s = arg;
    if (ldif_get(r, "uid").p) {
        s->people++;
        assert_true(span_eq(ldif_get(r, "USERPASSWORD"), SPAN("thu-dien-tu")));
        assert_true(span_ends(ldif_get(r, "mail"), SPAN("@gialai.example")));
    }
    s->groups += ldif_get(r, "member").p != NULL;
    s->an += span_eq(ldif_get(r, "mail"), SPAN("an@gialai.example"));
    return true;
}

static void reads_sample(void **state)
{
    (void)state;
    char path[4096], text[65536];
    const char *top = getenv("top_srcdir");
    snprintf(path, sizeof path, "%s/conf/sample/directory.ldif", top ? top : ".");
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    struct arena *a = arena_new(1 << 16);
    struct sample s = {0};
    struct err why = {0};
    assert_int_equal(ldif_read(span_of(text, n), a, count_sample, &s, &why), ERR_OK);
    assert_int_equal(s.people, 14);
    assert_int_equal(s.groups, 4);
    assert_int_equal(s.an, 1);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_rows), cmocka_unit_test(bounds),
                                       cmocka_unit_test(reads_sample)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
