/* The care of the store: references that the history keeps, the upgrade of a store of format 1 (made by the
 * code of its time: tests/data/make_store.c) with a death after each of its transactions. */
#include "tests/lib/cm.h"
#include "tests/lib/engine_drive.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[256], store[300];
static struct engine_options options;

static int set_up(void **state)
{
    (void)state;
    char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/store-care-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    snprintf(store, sizeof store, "%s/store", dir);
    options = drive_options(store);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

/* -- references, counted anew -- */

static void count_table(struct tx *t, enum table table, struct ids *out)
{
    struct scan s;
    struct span key, value;
    scan_open(&s, t, table, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct store_row row;
        struct rec_change change;
        struct rec_queue queue;
        if (table == T_MESSAGE && rec_row_get(value, &row))
            ids_add(out, row.content);
        else if (table == T_CHANGE && rec_change_get(value, &change))
            assert_true(change_contents(&change, out));
        else if (table == T_QUEUE && rec_queue_get(value, &queue))
            ids_add(out, queue.content);
        else
            fail_msg("a record of table %d is broken", table);
    }
    assert_int_equal(scan_close(&s), ERR_OK);
}

static uint64_t times_in(const struct ids *l, uint64_t id)
{
    uint64_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += l->v[i] == id;
    return n;
}

/* Each content has the count of what names it, none is named that is not there; answers how many there are.
 */
static size_t check_references(struct engine *e)
{
    struct tx t;
    struct scan s;
    struct span key, value;
    struct ids named = {NULL, 0, 0};
    uint64_t sum = 0;
    size_t contents = 0;
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    count_table(&t, T_MESSAGE, &named);
    count_table(&t, T_CHANGE, &named);
    count_table(&t, T_QUEUE, &named);
    scan_open(&s, &t, T_REF, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct rec_ref r;
        assert_true(rec_ref_get(value, &r));
        assert_int_equal(r.count, times_in(&named, get_be64(key.p)));
        assert_int_not_equal(r.count, 0);
        sum += r.count;
        contents++;
    }
    assert_int_equal(scan_close(&s), ERR_OK);
    assert_int_equal(sum, named.n);
    scan_open(&s, &t, T_CONTENT, SPAN_NONE, 0, 64 << 10);
    for (size_t i = 0; i < contents; i++)
        assert_true(scan_next(&s, &key, &value));
    assert_false(scan_next(&s, &key, &value));
    assert_int_equal(scan_close(&s), ERR_OK);
    tx_free(&t);
    ids_free(&named);
    return contents;
}

static void test_references_follow_the_history(void **state)
{
    (void)state;
    struct engine *e = drive_open(&options);
    drive_deliver(e, 1, "one");
    drive_deliver(e, 1, "two");
    uint64_t box = drive_status(e, 1, "INBOX").id;
    uint64_t one = drive_content(e, box, 1), two = drive_content(e, box, 2);
    drive_create(e, 1, "To");
    drive_copy(e, 1, box, 1, 1, "To", false);
    assert_int_equal(drive_refs(e, one), 2);
    drive_copy(e, 1, box, 1, 1, "To", true); /* the row there, and the old row in the change */
    assert_int_equal(drive_refs(e, one), 3);
    drive_flags(e, 1, box, 2, 2, STORE_DELETED);
    drive_expunge(e, 1, box);
    assert_int_equal(drive_refs(e, two), 1);
    drive_copy(e, 1, drive_status(e, 1, "To").id, 1, 1, "To", true); /* into itself */
    assert_int_equal(drive_refs(e, one), 4);
    drive_delete(e, 1, "To");
    assert_int_equal(drive_refs(e, one), 4);
    drive_call(e, drive_delivery(9, "for a group", true));
    assert_int_equal(check_references(e), 3);
    engine_close(&e);
}

/* -- upgrade -- */

static void unpack_old(void)
{
    char command[1000];
    const char *top = getenv("top_srcdir");
    snprintf(command, sizeof command,
             "rm -rf '%s' && tar -C '%s' --no-same-owner -xzf '%s/tests/data/store-1.tar.gz'", store, dir,
             top ? top : ".");
    assert_int_equal(system(command), 0);
}

static void read_format(char out[64])
{
    char path[400];
    snprintf(path, sizeof path, "%s/format", store);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, out, 63);
    out[n > 0 ? n : 0] = '\0';
    close(fd);
}

static void check_upgraded(struct engine *e)
{
    char text[1001];
    uint64_t inbox = drive_status(e, 1, "INBOX").id, copies = drive_status(e, 1, "Copies").id;
    read_format(text);
    assert_string_equal(text, "provmail store 2\n");
    assert_int_equal(check_references(e), 10); /* of as many deliveries and appends */
    assert_int_equal(drive_status(e, 1, "INBOX").messages, 2);
    assert_int_equal(drive_read(e, 1, inbox, 1, text), ERR_OK);
    assert_string_equal(text, "stays in the inbox");
    assert_int_equal(drive_read(e, 1, copies, 3, text), ERR_OK);
    assert_string_equal(text, "copied, then expunged");
    assert_int_equal(drive_refs(e, drive_content(e, copies, 3)), 2);
    assert_int_equal(drive_read(e, 1, drive_status(e, 1, "Moved").id, 1, text), ERR_OK);
    assert_string_equal(text, "was moved away");
    assert_int_equal(drive_status(e, 3, "INBOX").messages, 1024);
}

static void test_upgrade(void **state)
{
    (void)state;
    char text[64];
    unpack_old();
    read_format(text);
    assert_string_equal(text, "provmail store 1\n");
    struct engine *e = drive_open(&options);
    check_upgraded(e);
    drive_deliver(e, 1, "goes on");
    engine_close(&e);
    e = drive_open(&options);
    assert_int_equal(check_references(e), 11);
    engine_close(&e);
}

static unsigned leave_at, passed;
static void count_and_leave(void *arg, const char *what, uint64_t records)
{
    (void)arg;
    (void)what;
    (void)records;
    if (++passed == leave_at)
        _exit(9);
}

/* Opens in a child that ends after n transactions of the upgrade; answers whether it did. */
static bool upgrade_and_die(unsigned n)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct engine_options o = options;
        leave_at = n;
        o.progress = count_and_leave;
        o.slice = 1;
        struct engine *e = drive_open(&o);
        engine_close(&e);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0));
    return WEXITSTATUS(status) == 9;
}

static void test_upgrade_goes_on_after_a_death(void **state)
{
    (void)state;
    unsigned deaths = 0;
    unpack_old();
    while (upgrade_and_die(17)) /* it flushes after 16: one transaction is lost each time */
        assert_in_range(++deaths, 1, 100);
    assert_in_range(deaths, 1, 100);
    struct engine *e = drive_open(&options);
    check_upgraded(e);
    engine_close(&e);
}

#define CARE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CARE_TEST(test_references_follow_the_history),
        CARE_TEST(test_upgrade),
        CARE_TEST(test_upgrade_goes_on_after_a_death),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
