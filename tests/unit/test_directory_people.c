/* People in memory: addresses, aliases, clashes, statuses, groups that nest and form cycles, rights to send.
 */
#include "tests/lib/cm.h"
#include "common/base/buf.h"
#include "common/directory/people.h"

static const char text[] =
    "dn: uid=a,dc=x\nobjectClass: mailPerson\nuid: A\nmail: A@X.example\nmail: a2@x.example\n"
    "mailAlternateAddress: chief@x.example\ncn: Ann\n\n"
    "dn: uid=b,dc=x\nuid: b\nmail: b@x.example\nmailAlternateAddress: a@x.example\nmailAccountStatus: "
    "noaccess\n\n"
    "dn: uid=c,dc=x\nuid: c\nmail: c@x.example\nmailAccountStatus: disabled\n\n"
    "dn: uid=d,dc=x\nuid: d\ncn: no mailbox\n\n"
    "dn: cn=g,dc=x\nobjectClass: groupOfNames\nmail: g@x.example\nmember: UID=b, dc=x\nmember: cn=h,dc=x\n"
    "member: uid=c,dc=x\nmember: uid=gone,dc=x\n\n"
    "dn: uid=e,ou=Culture\\2C Sport,dc=x\nuid: e\nmail: e@x.example\n\n"
    "dn: cn=k,dc=x\nobjectClass: groupOfNames\nmail: k@x.example\nmember: uid=e,ou=Culture\\, Sport,dc=x\n\n"
    "dn: cn=h,dc=x\nobjectClass: groupOfNames\nmail: h@x.example\nmember: cn=g,dc=x\nmember: uid=a,dc=x\n"
    "member: uid=b,dc=x\nmailSendAsMember: uid=a,dc=x\n\n"
    "dn: cn=s,dc=x\nobjectClass: sharedMailbox\ncn: s\nmail: s@x.example\nmailSendAsMember: cn=h,dc=x\n";

struct load {
    struct people *p;
    unsigned char next;
};

static bool load(void *arg, const struct ldif_record *r)
{
    struct load *l = arg;
    struct uuid id = {{0}};
    id.b[0] = --l->next; /* descending, so that the order of answers is seen to be by id */
    return people_add(l->p, r, &id) == ERR_OK;
}

static int setup(void **state)
{
    struct load l = {people_new(1 << 20), 100};
    struct arena *a = arena_new(1 << 16);
    struct err why;
    assert_int_equal(ldif_read(span_str(text), a, load, &l, &why), ERR_OK);
    assert_int_equal(people_seal(l.p), 1); /* b claims a's primary address */
    arena_free(&a);
    *state = l.p;
    return 0;
}

static int teardown(void **state)
{
    struct people *p = *state;
    people_free(&p);
    assert_null(p);
    return 0;
}

static void finds(void **state)
{
    struct people *p = *state;
    const struct people_entry *a = people_find(p, SPAN("a@x.EXAMPLE"));
    assert_non_null(a);
    assert_true(span_eq(a->name, SPAN("Ann")));
    assert_true(span_eq(a->address, SPAN("a@x.example")));
    assert_ptr_equal(people_find(p, SPAN("a2@x.example")), a);
    assert_ptr_equal(people_find(p, SPAN("Chief@x.example")), a);
    assert_ptr_equal(people_login(p, SPAN("a")), a);
    assert_ptr_equal(people_login(p, SPAN("chief@x.example")), a);
    assert_null(people_login(p, SPAN("g@x.example")));
    assert_null(people_find(p, SPAN("d@x.example")));
    assert_null(people_find(p, SPAN("")));
    assert_null(people_login(p, SPAN("d")));
    assert_true(people_find(p, SPAN("b@x.example"))->no_login);
    assert_false(people_find(p, SPAN("b@x.example"))->disabled);
    assert_true(people_find(p, SPAN("c@x.example"))->disabled);
}

static void expands(void **state)
{
    struct people *p = *state;
    const struct people_entry *v[4];
    const struct people_entry *a = people_find(p, SPAN("a@x.example")),
                              *b = people_find(p, SPAN("b@x.example"));
    assert_int_equal(people_members(p, people_find(p, SPAN("g@x.example")), v, 4), 2);
    assert_ptr_equal(v[0], b);
    assert_ptr_equal(v[1], a);
    assert_int_equal(people_members(p, people_find(p, SPAN("h@x.example")), v, 1), 2);
    assert_int_equal(people_members(p, people_find(p, SPAN("k@x.example")), v, 4), 1);
    assert_true(span_eq(v[0]->dn, SPAN("uid=e,ou=Culture\\2C Sport,dc=x")));
    assert_int_equal(people_members(p, a, v, 4), 1);
    assert_ptr_equal(v[0], a);
}

static void rights(void **state)
{
    struct people *p = *state;
    const struct people_entry *a = people_find(p, SPAN("a@x.example")),
                              *c = people_find(p, SPAN("c@x.example"));
    assert_true(people_may_send(p, a, people_find(p, SPAN("h@x.example"))));
    assert_false(people_may_send(p, a, people_find(p, SPAN("g@x.example"))));
    assert_true(people_may_send(p, a, people_find(p, SPAN("s@x.example"))));
    assert_true(people_may_send(p, a, a));
    assert_false(people_may_send(p, a, c));
    assert_true(people_find(p, SPAN("h@x.example"))->restricted);
    assert_false(people_find(p, SPAN("g@x.example"))->restricted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(finds, setup, teardown),
                                       cmocka_unit_test_setup_teardown(expands, setup, teardown),
                                       cmocka_unit_test_setup_teardown(rights, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
