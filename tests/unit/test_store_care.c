/* The care of the store: references that the history keeps, the upgrade of a store of format 1 (made by the
 * code of its time: tests/data/make_store.c) with a death after each of its transactions. */
#include "tests/lib/cm.h"
#include "tests/lib/engine_drive.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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

/* -- purge -- */

/* A whole round of care. */
static void care(struct engine *e, bool purge, bool compact)
{
    uint64_t number = engine_care(e, purge, compact);
    for (int i = 0; engine_care_finished(e) < number; i++) {
        assert_in_range(i, 0, 3000);
        usleep(10000);
    }
}

static void hold(struct engine *e, unsigned char account, bool on)
{
    struct job *j = job_new(WIRE_HOLD);
    const struct wire_hold w = {drive_account(account), on, 0};
    assert_true(buf_add(&j->body, &w, sizeof w));
    assert_int_equal(drive_call(e, j)->code, ERR_OK);
}

/* The oldest modseq whose change is kept, 0: none; and the floor. */
static uint64_t oldest_kept(struct engine *e, uint64_t box, uint64_t *floor)
{
    struct tx t;
    struct scan s;
    struct span key, value;
    struct box b;
    unsigned char from[KEY_CHANGE];
    uint64_t out = 0;
    key_pair(from, box, 0);
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    assert_int_equal(box_get(&t, box, &b), ERR_OK);
    scan_open(&s, &t, T_CHANGE, span_of(from, sizeof from), KEY_ID, 8192);
    if (scan_next(&s, &key, &value))
        out = get_be64(key.p + KEY_ID);
    assert_int_equal(scan_close(&s), ERR_OK);
    tx_free(&t);
    *floor = b.r.change_floor;
    return out;
}

static bool box_is_there(struct engine *e, uint64_t box)
{
    struct tx t;
    struct box b;
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    enum err_code code = box_get(&t, box, &b);
    tx_free(&t);
    return code == ERR_OK;
}

static off_t segment_size(unsigned number)
{
    char path[400];
    struct stat st;
    snprintf(path, sizeof path, "%s/segments/%08x.seg", store, number);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static const int64_t window = (int64_t)3600 * 1000000;

static void later(int64_t us)
{
    clock_fake(0, clock_wall_us() + us);
}

static void test_purge(void **state)
{
    (void)state;
    uint64_t floor;
    options.undelete_us = window;
    options.trace_us = window;
    options.slice = 3;
    struct engine *e = drive_open(&options);
    for (int i = 0; i < 10; i++)
        drive_deliver(e, 1, i % 2 ? "odd" : "even");
    drive_create(e, 1, "Gone");
    uint64_t box = drive_status(e, 1, "INBOX").id, gone = drive_status(e, 1, "Gone").id;
    drive_copy(e, 1, box, 1, 8, "Gone", false);
    drive_append(e, 1, "Gone", "Việc", "only here");
    drive_flags(e, 1, box, 1, 5, STORE_DELETED);
    drive_expunge(e, 1, box);
    drive_delete(e, 1, "Gone");
    uint64_t kept = oldest_kept(e, box, &floor);
    care(e, true, false); /* nothing is old */
    assert_int_equal(oldest_kept(e, box, &floor), kept);
    assert_int_equal(floor, 0);
    assert_int_equal(check_references(e), 11);
    later(window + 1000000);
    drive_deliver(e, 1, "young");
    hold(e, 1, true);
    care(e, true, false); /* held */
    assert_int_equal(oldest_kept(e, box, &floor), kept);
    assert_true(box_is_there(e, gone));
    hold(e, 1, false);
    care(e, true, false);
    assert_int_equal(oldest_kept(e, box, &floor), drive_status(e, 1, "INBOX").modseq);
    assert_int_equal(floor, drive_status(e, 1, "INBOX").modseq - 1);
    assert_false(box_is_there(e, gone));
    assert_int_equal(check_references(e), 6); /* five of the ten, and the young one */
    assert_int_equal(drive_status(e, 1, "INBOX").messages, 6);
    engine_close(&e);
    e = drive_open(&options);
    assert_int_equal(check_references(e), 6);
    engine_close(&e);
    clock_fake(0, 0);
}

static void test_dead_segments_go(void **state)
{
    (void)state;
    options.undelete_us = 1;
    struct engine *e = drive_open(&options);
    drive_deliver(e, 1, "first");
    drive_deliver(e, 1, "second");
    engine_close(&e); /* seals segment 1 */
    e = drive_open(&options);
    drive_deliver(e, 1, "third");
    uint64_t box = drive_status(e, 1, "INBOX").id;
    char text[1001];
    assert_int_equal(drive_read(e, 1, box, 1, text), ERR_OK); /* its descriptor is kept */
    drive_flags(e, 1, box, 1, 2, STORE_DELETED);
    drive_expunge(e, 1, box);
    assert_in_range(segment_size(1), 100, 10000);
    uint64_t held = engine_hold(e, 0);
    assert_int_not_equal(held, 0);
    care(e, true, false);
    assert_in_range(segment_size(1), 100, 10000);
    assert_true(engine_hold_end(e, held));
    care(e, true, false);
    assert_int_equal(segment_size(1), -1);
    assert_int_equal(drive_read(e, 1, box, 1, text), ERR_MISSING);
    assert_int_equal(drive_read(e, 1, box, 3, text), ERR_OK);
    drive_flags(e, 1, box, 3, 3, STORE_DELETED);
    drive_expunge(e, 1, box);
    engine_close(&e);
    e = drive_open(&options);
    care(e, true, false);
    assert_int_equal(segment_size(2), -1);
    assert_int_equal(check_references(e), 0);
    drive_deliver(e, 1, "its number is new");
    assert_in_range(segment_size(3), 100, 10000);
    engine_close(&e);
}

static void test_logs_are_held(void **state)
{
    (void)state;
    char path[400];
    options.checkpoint_size = 1 << 20;
    options.log_keep = 15 << 20;
    struct engine *e = drive_open(&options);
    uint64_t held = engine_hold(e, 0);
    snprintf(path, sizeof path, "%s/db/log.0000000001", store);
    drive_deliver(e, 1, "one");
    uint64_t box = drive_status(e, 1, "INBOX").id;
    for (uint32_t n = 1; n < 4096; n *= 2)
        drive_copy(e, 1, box, 1, n, "INBOX", false);
    for (int i = 0; i < 60 && access(path, F_OK) == 0; i++) {
        drive_flags(e, 1, box, 1, 4096, i % 2 ? STORE_SEEN : STORE_FLAGGED);
        drive_copy(e, 1, box, 1, 4096, "INBOX", false);
        if (i == 0) {
            usleep(300000);
            assert_int_equal(access(path, F_OK), 0);
            assert_true(engine_hold_move(e, held, 1));
        }
    }
    usleep(700000);
    assert_int_not_equal(access(path, F_OK), 0); /* it kept more than it may */
    assert_false(engine_hold_end(e, held));
    engine_close(&e);
}

#define CARE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CARE_TEST(test_references_follow_the_history),
        CARE_TEST(test_upgrade),
        CARE_TEST(test_upgrade_goes_on_after_a_death),
        CARE_TEST(test_purge),
        CARE_TEST(test_dead_segments_go),
        CARE_TEST(test_logs_are_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
