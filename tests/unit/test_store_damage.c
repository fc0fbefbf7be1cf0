/* A verification of a store with a damaged page, for one page after the other of each table: it goes on
 * behind it, finds what else is wrong, takes nothing for wrong that it could not see, and repairs nothing by
 * halves. */
#include "tests/lib/cm.h"
#include "tests/lib/engine_drive.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { ACCOUNTS = 40, MESSAGES = 12, INNER = 3, LEAF = 5, TYPE_AT = 25, SIZE_AT = 20, FLIP_AT = 700 };

static char dir[DRIVE_DIR], store[DRIVE_STORE];
static struct engine_options options;

static int set_up(void **state)
{
    (void)state;
    if (!drive_store("store-damage", dir, store))
        return 1;
    options = drive_options(store);
    options.undelete_us = options.trace_us = (int64_t)3600 * 1000000; /* nothing is purged meanwhile */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return drive_folder_remove(dir);
}

/* Mailboxes, rows, history, queue: of each table some pages. */
static void fill(struct engine *e)
{
    char name[64];
    for (unsigned char a = 1; a <= ACCOUNTS; a++) {
        for (int i = 0; i < MESSAGES; i++)
            drive_deliver(e, a, "a message");
        const uint64_t inbox = drive_status(e, a, "INBOX").id;
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "Folder %d, for all that is not in another one", i);
            drive_create(e, a, name);
            drive_copy(e, a, inbox, 1, 3, name, false);
        }
        drive_flags(e, a, inbox, 2, 3, STORE_DELETED);
        drive_expunge(e, a, inbox);
    }
    for (unsigned char a = 1; a <= 90; a++)
        drive_call(e, drive_delivery(a, "for a group", true));
}

static void tamper_inbox(struct engine *e, unsigned char account)
{
    struct tx t;
    struct box b;
    unsigned char key[KEY_ID], box[REC_BOX];
    const uint64_t id = drive_status(e, account, "INBOX").id;
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    assert_int_equal(box_get(&t, id, &b), ERR_OK);
    tx_free(&t);
    b.r.unseen++;
    rec_box_put(&b.r, box);
    put_be64(key, id);
    drive_tamper(e, T_MAILBOX, span_of(key, sizeof key), box, sizeof box);
}

static unsigned times(const char *text)
{
    unsigned n = 0;
    for (const char *at = drive_told; (at = strstr(at, text)); at += strlen(text))
        n++;
    return n;
}

static unsigned lines(void)
{
    return times("\n");
}

/* The places in a table's file at which a flipped byte spoils a page of that type. */
static size_t pages_of(enum table table, unsigned char type, off_t *out, size_t most)
{
    char path[400];
    unsigned char head[4096];
    struct stat st;
    uint32_t size;
    size_t n = 0;
    snprintf(path, sizeof path, "%s/db/%s.db", store, env_table_name(table));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(pread(fd, head, 512, 0), 512);
    memcpy(&size, head + SIZE_AT, sizeof size);
    for (off_t at = size; at < st.st_size && n < most; at += size) {
        assert_int_equal(pread(fd, head, 512, at), 512);
        if (head[TYPE_AT] == type)
            out[n++] = at;
    }
    close(fd);
    return n;
}

static void flip(enum table table, off_t at)
{
    char path[400], byte;
    snprintf(path, sizeof path, "%s/db/%s.db", store, env_table_name(table));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, at + FLIP_AT), 1);
    byte ^= 0x20;
    assert_int_equal(pwrite(fd, &byte, 1, at + FLIP_AT), 1);
    close(fd);
}

/* What a verification of the store as it is finds of a whole table, and with a damaged leaf of it. */
static void look(enum table table, off_t leaf, bool repair, unsigned wrong)
{
    char file[64];
    snprintf(file, sizeof file, "db/%s.db has a damaged page", env_table_name(table));
    flip(table, leaf);
    struct engine *e = drive_open(&options);
    const uint64_t left = drive_verify(e, true, repair);
    if (!times(file) || left == 0)
        fail_msg("%s at %lld: not told, but:\n%s", file, (long long)leaf, drive_told);
    if (lines() != times("has a damaged page") + times("because of damaged pages") +
                       times("its counters say") + times("a file that is no segment"))
        fail_msg("%s at %lld: takes for wrong what it did not see:\n%s", file, (long long)leaf, drive_told);
    if (times("nothing was looked at") > 1)
        fail_msg("%s at %lld: one page is told more than once:\n%s", file, (long long)leaf, drive_told);
    assert_int_equal(times("a file that is no segment"), wrong ? 1 : 0);
    /* Few mailboxes have rows on one page, or are on one themselves. */
    if (wrong && times("its counters say") < wrong - 10)
        fail_msg("%s at %lld: %u mailboxes of %u:\n%s", file, (long long)leaf, times("its counters say"),
                 wrong, drive_told);
    engine_close(&e);
    flip(table, leaf);
}

static const enum table tables[] = {T_NAME, T_NAME_CHANGE, T_MAILBOX, T_MESSAGE, T_CONTENT,
                                    T_REF,  T_CHANGE,      T_QUEUE,   T_TRACE};

static void test_verify_goes_on_behind_a_damaged_page(void **state)
{
    (void)state;
    char path[400];
    struct engine *e = drive_open(&options);
    fill(e);
    for (unsigned char a = 1; a <= ACCOUNTS; a++)
        tamper_inbox(e, a);
    assert_int_equal(drive_verify(e, true, false), ACCOUNTS);
    engine_close(&e);
    snprintf(path, sizeof path, "%s/segments/rubbish", store);
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    for (size_t i = 0; i < COUNT(tables); i++) {
        off_t leaf[4096];
        const size_t n = pages_of(tables[i], LEAF, leaf, COUNT(leaf));
        if (n < 3)
            fail_msg("%s has %zu leaves", env_table_name(tables[i]), n);
        look(tables[i], leaf[0], false, ACCOUNTS);
        look(tables[i], leaf[n / 2], false, ACCOUNTS);
        look(tables[i], leaf[n - 1], false, ACCOUNTS);
    }
}

/* Nothing of the table can be read; the others are. */
static void test_a_damaged_root(void **state)
{
    (void)state;
    static const enum table all[] = {T_NAME_CHANGE, T_MESSAGE, T_CHANGE, T_TRACE};
    struct engine *e = drive_open(&options);
    fill(e);
    engine_close(&e);
    for (size_t i = 0; i < COUNT(all); i++) {
        off_t root[2];
        assert_int_equal(pages_of(all[i], INNER, root, COUNT(root)), 1);
        look(all[i], root[0], true, 0);
        assert_true(times("to the end nothing was looked at") == 1);
    }
    e = drive_open(&options);
    if (drive_verify(e, true, false) != 0)
        fail_msg("%s", drive_told);
    engine_close(&e);
}

static void test_nothing_is_repaired_by_halves(void **state)
{
    (void)state;
    struct engine *e = drive_open(&options);
    fill(e);
    assert_int_equal(drive_verify(e, true, false), 0);
    engine_close(&e);
    for (size_t i = 0; i < COUNT(tables); i++) {
        off_t leaf[4096];
        const size_t n = pages_of(tables[i], LEAF, leaf, COUNT(leaf));
        look(tables[i], leaf[n / 2], true, 0);
        e = drive_open(&options);
        if (drive_verify(e, true, false) != 0)
            fail_msg("after a repair with a damaged page of %s:\n%s", env_table_name(tables[i]), drive_told);
        engine_close(&e);
    }
}

#define DAMAGE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DAMAGE_TEST(test_verify_goes_on_behind_a_damaged_page),
        DAMAGE_TEST(test_a_damaged_root),
        DAMAGE_TEST(test_nothing_is_repaired_by_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
