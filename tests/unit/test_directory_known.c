/* Recipients that are remembered: never under another number, never without a page, never for another
 * address. */
#include "tests/lib/cm.h"
#include "common/directory/known.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct both {
    struct answers_page *page;
    int fd;
    struct known *k;
};

static int setup(void **state)
{
    struct both *b = xcalloc(1, sizeof *b);
    b->page = answers_page_new(&b->fd);
    assert_non_null(b->page);
    b->k = known_new();
    assert_true(known_page(b->k, dup(b->fd)));
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct both *b = *state;
    known_free(&b->k);
    assert_null(b->k);
    munmap(b->page, sizeof *b->page);
    close(b->fd);
    free(b);
    return 0;
}

static struct dir_entry person(unsigned char id)
{
    struct dir_entry e = {
        .kind = DIR_ACCOUNT, .quota_bytes = 1000U + id, .disabled = id & 1, .no_login = id & 2};
    e.id.b[0] = e.unit.b[1] = id;
    e.address = e.name = SPAN("of a view");
    return e;
}

static void keep(struct both *b, const char *address, unsigned char id)
{
    const struct dir_entry e = person(id);
    known_keep(b->k, known_number(b->k), span_str(address), &e);
}

static bool is(const struct both *b, const char *address, unsigned char id)
{
    struct dir_entry e;
    const struct dir_entry want = person(id);
    return known_find(b->k, span_str(address), &e) && uuid_cmp(&e.id, &want.id) == 0 &&
           uuid_cmp(&e.unit, &want.unit) == 0 && e.quota_bytes == want.quota_bytes && e.kind == DIR_ACCOUNT &&
           e.disabled == want.disabled && e.no_login == want.no_login && !e.address.p && !e.name.p;
}

static bool absent(const struct both *b, const char *address)
{
    struct dir_entry e;
    return !known_find(b->k, span_str(address), &e);
}

static void numbers(void **state)
{
    struct both *b = *state;
    assert_true(absent(b, "a@x") && absent(b, ""));
    keep(b, "a@x", 1);
    keep(b, "b@x", 2);
    assert_true(is(b, "a@x", 1) && is(b, "b@x", 2) && absent(b, "A@x") && absent(b, "a@"));
    keep(b, "a@x", 3);
    assert_true(is(b, "a@x", 3));
    uint64_t before = known_number(b->k);
    answers_changed(b->page);
    answers_changed(NULL);
    assert_true(known_number(b->k) == before + 1);
    assert_true(absent(b, "a@x") && absent(b, "b@x"));
    keep(b, "b@x", 2);
    assert_true(absent(b, "a@x") && is(b, "b@x", 2));
    /* It was asked for before the change: which answer it is nobody knows. */
    const struct dir_entry late = person(9);
    known_keep(b->k, before, SPAN("c@x"), &late);
    known_keep(b->k, 0, SPAN("c@x"), &late);
    assert_true(absent(b, "c@x"));
}

static void not_kept(void **state)
{
    struct both *b = *state;
    char name[200];
    struct dir_entry group = person(1), remote = group;
    group.kind = DIR_GROUP;
    remote.kind = DIR_REMOTE;
    known_keep(b->k, known_number(b->k), SPAN("g@x"), &group);
    known_keep(b->k, known_number(b->k), SPAN("r@y"), &remote);
    memset(name, 'n', sizeof name);
    name[100] = '\0';
    keep(b, name, 1);
    keep(b, "", 1);
    assert_true(absent(b, "g@x") && absent(b, "r@y") && absent(b, name) && absent(b, ""));
}

/* More than there are places: each is itself or unknown, and all places are in use. As many as a province has
 * people: nearly all are there. */
static void many(void **state)
{
    struct both *b = *state;
    char name[32];
    size_t found = 0;
    for (unsigned i = 0; i < 50000; i++) {
        snprintf(name, sizeof name, "u%u@x", i);
        keep(b, name, (unsigned char)(i % 250));
        assert_true(is(b, name, (unsigned char)(i % 250)));
    }
    for (unsigned i = 0; i < 50000; i++) {
        snprintf(name, sizeof name, "u%u@x", i);
        assert_true(absent(b, name) || is(b, name, (unsigned char)(i % 250)));
        found += is(b, name, (unsigned char)(i % 250));
    }
    assert_in_range(found, 16000, 16384);
    answers_changed(b->page);
    found = 0;
    for (unsigned i = 0; i < 9000; i++) {
        snprintf(name, sizeof name, "u%u@x", i);
        keep(b, name, 7);
    }
    for (unsigned i = 0; i < 9000; i++) {
        snprintf(name, sizeof name, "u%u@x", i);
        found += is(b, name, 7);
    }
    assert_true(found > 8500);
}

static void connections(void **state)
{
    struct both *b = *state;
    int other_fd, pipe_fds[2];
    struct answers_page *other = answers_page_new(&other_fd);
    keep(b, "a@x", 1);
    known_forget(b->k);
    assert_true(known_number(b->k) == 0 && absent(b, "a@x"));
    keep(b, "a@x", 1);
    assert_true(absent(b, "a@x"));
    assert_true(known_page(b->k, dup(b->fd))); /* the same numbers again, and nothing is known */
    assert_true(absent(b, "a@x"));
    keep(b, "a@x", 1);
    assert_true(known_page(b->k, other_fd));
    assert_true(absent(b, "a@x"));
    keep(b, "a@x", 2);
    answers_changed(b->page);
    assert_true(is(b, "a@x", 2));
    assert_int_equal(pipe(pipe_fds), 0);
    assert_false(known_page(b->k, pipe_fds[0]));
    assert_true(known_number(b->k) == 0);
    close(pipe_fds[1]);
    munmap(other, sizeof *other);
}

/* Who has the descriptor cannot change the number, nor take the memory away. */
static void read_only(void **state)
{
    struct both *b = *state;
    const uint64_t forged = 1;
    assert_true(mmap(NULL, sizeof *b->page, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0) == MAP_FAILED);
    assert_int_equal(errno, EPERM);
    assert_int_equal(pwrite(b->fd, &forged, sizeof forged, 0), -1);
    assert_int_equal(ftruncate(b->fd, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(not_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(many, setup, teardown),
        cmocka_unit_test_setup_teardown(connections, setup, teardown),
        cmocka_unit_test_setup_teardown(read_only, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
