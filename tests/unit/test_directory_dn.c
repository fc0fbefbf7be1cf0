/* DNs: one spelling for all; its own result unchanged; cut anywhere, nothing is read outside. */
#include "tests/lib/cm.h"
#include "common/directory/dn.h"
#include <stdlib.h>

static const struct row {
    const char *in, *out;
} rows[] = {
    {"", ""},
    {"UID=An,OU=People,DC=x", "uid=an,ou=people,dc=x"},
    {" uid = an , ou=People ;dc=x ", "uid=an,ou=people,dc=x"},
    {"ou=A\\, B,dc=x", "ou=a\\2c b,dc=x"},
    {"ou=A\\2c B,dc=x", "ou=a\\2c b,dc=x"},
    {"ou=\"A, B\",dc=x", "ou=a\\2c b,dc=x"},
    {"ou=A   B,dc=x", "ou=a b,dc=x"},
    {"ou=\\ A\\ ,dc=x", "ou=a,dc=x"},
    {"ou=Ph\xc3\xb2ng,dc=x", "ou=ph\xc3\xb2ng,dc=x"},
    {"ou=Ph\\C3\\B2ng,dc=x", "ou=ph\xc3\xb2ng,dc=x"},
    {"cn=a+SN=b,dc=x", "cn=a+sn=b,dc=x"},
    {"cn=1\\+1=2\\\\,dc=x", "cn=1\\2b1\\3d2\\5c,dc=x"},
    {"cn=1+1,dc=x", "cn=1+1,dc=x"}, /* no DN: letters alone */
    {"cn=\\#a,dc=x", "cn=\\23a,dc=x"},
    {"cn=a#b,dc=x", "cn=a#b,dc=x"},
    {"1.2.3=#04024869 ,dc=x", "1.2.3=#04024869,dc=x"},
    {"1.2.3=#04 X,dc=x", "1.2.3=#04 x,dc=x"},
    {"cn=,dc=x", "cn=,dc=x"},
    {"cn=a\\00b", "cn=a\\00b"},
    {"Not A Name", "not a name"},
    {"cn=A,", "cn=a,"},
    {"cn=\"A", "cn=\"a"},
    {"cn=A\\", "cn=a\\"},
};

static struct span text(struct arena *a, struct span s)
{
    /* In a piece of its own size, so that a read outside is seen under ASan. */
    char *copy = malloc(s.n ? s.n : 1);
    if (s.n)
        memcpy(copy, s.p, s.n);
    struct span out = dn_normal(a, span_of(copy, s.n));
    free(copy);
    assert_non_null(out.p);
    return out;
}

static void one_spelling(void **state)
{
    struct arena *a = arena_new(1 << 20);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span got = text(a, span_str(rows[i].in));
        if (!span_eq(got, span_str(rows[i].out)))
            fail_msg("%s: %.*s", rows[i].in, SPAN_ARG(got));
        if (!span_eq(text(a, got), got))
            fail_msg("%s: not the same again", rows[i].in);
    }
    arena_free(&a);
}

static void cut_anywhere(void **state)
{
    struct arena *a = arena_new(1 << 20);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t n = 0; n < strlen(rows[i].in); n++)
            (void)text(a, span_of(rows[i].in, n));
    arena_free(&a);
}

/* Longer than what is built on the stack; a NUL inside is no DN. */
static void long_and_odd(void **state)
{
    enum { LONG = 3000 };
    struct arena *a = arena_new(1 << 20), *full = arena_new(100);
    char in[LONG];
    (void)state;
    memset(in, ',', sizeof in);
    memcpy(in, "cn=\"", 4);
    in[LONG - 1] = '"';
    struct span got = text(a, span_of(in, sizeof in));
    assert_int_equal(got.n, 3 + 3 * (LONG - 5));
    assert_true(span_starts(got, SPAN("cn=\\2c\\2c")));
    assert_null(dn_normal(full, span_of(in, sizeof in)).p);
    assert_null(dn_normal(full, span_of(in, 300)).p);
    assert_true(span_eq(text(a, span_of("A=\0b", 4)), span_of("a=\0b", 4)));
    arena_free(&a);
    arena_free(&full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_spelling), cmocka_unit_test(cut_anywhere),
                                       cmocka_unit_test(long_and_odd)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
