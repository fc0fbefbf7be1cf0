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

static char dir[DRIVE_DIR], store[DRIVE_STORE];
static struct engine_options options;

static int set_up(void **state)
{
    (void)state;
    if (!drive_store("store-care", dir, store))
        return 1;
    options = drive_options(store);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return drive_folder_remove(dir);
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
        else if (table == T_QUEUE && key.n == KEY_ID && rec_queue_get(value, &queue))
            ids_add(out, queue.content);
        else if (table == T_QUEUE && key.n == KEY_PROGRESS && rec_progress_get(value, &queue))
            continue;
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

static const int64_t window = (int64_t)3600 * 1000000;

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

static void assert_clean(struct engine *e);

/* Nobody looks between two slices of an upgrade, for stored does not listen yet: but after a death there, the
 * next start finishes it, and the store is whole. */
static void test_upgrade_is_whole_after_each_slice(void **state)
{
    (void)state;
    unsigned n = 1;
    options.undelete_us = window;
    for (;; n++) {
        unpack_old();
        if (!upgrade_and_die(n))
            break;
        struct engine *e = drive_open(&options);
        assert_clean(e);
        engine_close(&e);
    }
    assert_in_range(n, 10, 1000);
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
    for (int i = 0; i < 400 && access(path, F_OK) == 0; i++)
        usleep(50000);
    assert_int_not_equal(access(path, F_OK), 0); /* it kept more than it may */
    assert_false(engine_hold_end(e, held));
    engine_close(&e);
}

/* -- verify -- */

static void assert_clean(struct engine *e)
{
    if (drive_verify(e, true, false) != 0)
        fail_msg("verify found:\n%s", drive_told);
}

/* A store with one of each thing. */
static struct engine *open_filled(void)
{
    struct engine *e = drive_open(&options);
    for (int i = 0; i < 5; i++)
        drive_deliver(e, 1, "a message");
    drive_create(e, 1, "Copies");
    drive_append(e, 1, "Copies", "Việc", "appended");
    uint64_t inbox = drive_status(e, 1, "INBOX").id;
    drive_copy(e, 1, inbox, 1, 2, "Copies", false);
    drive_copy(e, 1, inbox, 3, 3, "Copies", true);
    drive_flags(e, 1, inbox, 4, 4, STORE_DELETED);
    drive_expunge(e, 1, inbox);
    drive_create(e, 1, "Gone");
    drive_append(e, 1, "Gone", NULL, "deleted");
    drive_delete(e, 1, "Gone");
    drive_call(e, drive_delivery(9, "for a group", true));
    return e;
}

/* What was done is found once, repaired, and then the store is clean. */
static void check_repair(struct engine *e, const char *what)
{
    assert_int_equal(drive_verify(e, false, false), 1);
    if (!strstr(drive_told, what))
        fail_msg("not told: %s, but %s", what, drive_told);
    assert_int_equal(drive_verify(e, false, true), 0);
    if (!strstr(drive_told, "repaired: "))
        fail_msg("not repaired: %s", drive_told);
    assert_clean(e);
}

static void test_verify_finds_and_repairs(void **state)
{
    (void)state;
    unsigned char key[KEY_ID], ref[REC_REF], box[REC_BOX], quota[REC_QUOTA];
    struct engine *e = open_filled();
    assert_clean(e);
    uint64_t inbox = drive_status(e, 1, "INBOX").id, content = drive_content(e, inbox, 1);
    put_be64(key, content);
    rec_ref_put(&(struct rec_ref){.count = 7}, ref);
    drive_tamper(e, T_REF, span_of(key, sizeof key), ref, sizeof ref);
    check_repair(e, "counts 7 references, they are 2");
    assert_int_equal(drive_refs(e, content), 2);
    drive_tamper(e, T_REF, span_of(key, sizeof key), NULL, 0);
    check_repair(e, "counts 0 references, they are 2");
    struct tx t;
    struct box b;
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    assert_int_equal(box_get(&t, inbox, &b), ERR_OK);
    tx_free(&t);
    b.r.unseen++;
    rec_box_put(&b.r, box);
    put_be64(key, inbox);
    drive_tamper(e, T_MAILBOX, span_of(key, sizeof key), box, sizeof box);
    check_repair(e, "its counters say 3 messages");
    rec_quota_put(&(struct rec_quota){.bytes = 5, .messages = 900}, quota);
    const struct uuid a = drive_account(1);
    drive_tamper(e, T_QUOTA, key_uuid(&a), quota, sizeof quota);
    check_repair(e, "900 messages");
    struct scan s;
    struct span k, v;
    unsigned char due[KEY_CHANGE];
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    scan_open(&s, &t, T_QUEUE_DUE, SPAN_NONE, 0, 4096);
    assert_true(scan_next(&s, &k, &v));
    memcpy(due, k.p, sizeof due);
    assert_int_equal(scan_close(&s), ERR_OK);
    tx_free(&t);
    drive_tamper(e, T_QUEUE_DUE, span_of(due, sizeof due), NULL, 0);
    check_repair(e, "is not in the schedule");
    due[0] = 1;
    drive_tamper(e, T_QUEUE_DUE, span_of(due, sizeof due), "\1", 1);
    check_repair(e, "not its own");
    engine_close(&e);
    /* the segment is sealed now: a lost record comes back from its head */
    e = drive_open(&options);
    put_be64(key, content);
    drive_tamper(e, T_CONTENT, span_of(key, sizeof key), NULL, 0);
    assert_int_equal(drive_verify(e, false, true),
                     0); /* the loss is drive_told, then where it was found again */
    assert_non_null(strstr(drive_told, "its record is lost"));
    assert_non_null(strstr(drive_told, "repaired: content"));
    char text[1001];
    assert_int_equal(drive_read(e, 1, inbox, 1, text), ERR_OK);
    assert_string_equal(text, "a message");
    assert_clean(e);
    engine_close(&e);
}

static enum err_code describe(struct engine *e, uint64_t content, const char *record)
{
    struct job *j = job_new(WIRE_DESCRIBE);
    const struct wire_describe w = {content};
    assert_true(buf_add(&j->body, &w, sizeof w) && buf_add_str(&j->body, record));
    return drive_call(e, j)->code;
}

static void read_record(struct engine *e, uint64_t content, char out[20])
{
    struct tx t;
    struct buf b;
    struct rec_content r;
    unsigned char key[KEY_ID];
    put_be64(key, content);
    buf_init(&b, (size_t)64 << 20);
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    assert_int_equal(tx_get_buf(&t, T_CONTENT, span_of(key, sizeof key), &b), ERR_OK);
    assert_true(rec_content_get(buf_span(&b), &r));
    snprintf(out, 20, "%.*s", SPAN_ARG(r.meta));
    tx_free(&t);
    buf_free(&b);
}

/* More doubtful counts than are looked at at a time. */
static void test_verify_looks_at_many(void **state)
{
    (void)state;
    enum { MANY = 4500 };
    unsigned char key[KEY_ID], ref[REC_REF];
    struct engine *e = drive_open(&options);
    struct tx t;
    for (int i = 0; i < MANY; i++)
        drive_deliver(e, 1, "a message");
    const uint64_t first = drive_content(e, drive_status(e, 1, "INBOX").id, 1);
    rec_ref_put(&(struct rec_ref){.count = 3}, ref);
    assert_int_equal(tx_begin(e, false, &t), ERR_OK);
    for (uint64_t i = 0; i < MANY; i++) {
        put_be64(key, first + i);
        assert_int_equal(tx_put(&t, T_REF, span_of(key, sizeof key), span_of(ref, sizeof ref)), ERR_OK);
    }
    assert_int_equal(tx_commit(&t), ERR_OK);
    tx_free(&t);
    assert_int_equal(drive_verify(e, false, false), MANY);
    assert_int_equal(drive_verify(e, false, true), 0);
    assert_int_equal(drive_refs(e, first + MANY - 1), 1);
    assert_clean(e);
    engine_close(&e);
}

/* A deleted mailbox goes in slices, a verification between two of them sees a store that is whole. */
static void test_verify_between_slices(void **state)
{
    (void)state;
    struct purge_said said = {.more = 1};
    struct engine *e = open_filled();
    drive_create(e, 1, "Large");
    for (int i = 0; i < 5; i++)
        drive_append(e, 1, "Large", NULL, "deleted");
    const struct purge_ask ask = {drive_status(e, 1, "Large").id, drive_account(1), INT64_MAX, 2, 0};
    drive_delete(e, 1, "Large");
    unsigned slices = 0;
    for (; said.more; slices++) {
        struct job *j = job_new(WIRE_PURGE);
        assert_true(buf_add(&j->body, &ask, sizeof ask));
        j = drive_call(e, j);
        assert_int_equal(j->code, ERR_OK);
        assert_int_equal(j->answer.v[0].n, sizeof said);
        memcpy(&said, j->answer.v[0].p, sizeof said);
        assert_clean(e);
    }
    assert_true(said.mailboxes == 1 && slices > 6);
    engine_close(&e);
}

static uint64_t mark_of_inbox(struct engine *e, uint64_t inbox)
{
    struct query q = {.type = WIRE_STATUS_ID, .account = drive_account(1), .mailbox = inbox, .budget = 1};
    assert_int_equal(engine_query(e, &q), ERR_OK);
    parts_free(&q.answer);
    return q.mark;
}

/* A content that was made anew is drive_told, with a message of it, until it has been described: once. */
static void test_describe(void **state)
{
    (void)state;
    char text[1001], record[20];
    unsigned char key[KEY_ID];
    const struct uuid account = drive_account(1);
    struct engine *e = open_filled();
    uint64_t inbox = drive_status(e, 1, "INBOX").id, content = drive_content(e, inbox, 1);
    uint64_t deleted =
        drive_content(e, inbox, 5) + 2; /* of the mailbox that is gone, behind the appended one */
    engine_close(&e);
    e = drive_open(&options);
    assert_int_equal(describe(e, content, "other"), ERR_STATE);
    for (uint64_t id = content; id <= deleted; id += deleted - content) {
        put_be64(key, id);
        drive_tamper(e, T_CONTENT, span_of(key, sizeof key), NULL, 0);
    }
    assert_int_equal(describe(e, content, "new"), ERR_MISSING);
    assert_int_equal(drive_verify(e, false, true), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(drive_bare_count, 1); /* not the deleted one; and one of the two messages */
        assert_memory_equal(&drive_bare[0].account, &account, sizeof account);
        assert_int_equal(drive_bare[0].content, content);
        assert_int_equal(drive_content(e, drive_bare[0].mailbox, drive_bare[0].uid), content);
        assert_clean(e);
    }
    const uint64_t mark = mark_of_inbox(e, inbox);
    assert_int_equal(describe(e, content, "new"), ERR_OK);
    assert_true(mark_of_inbox(e, inbox) > mark); /* whoever sees it waits for it */
    assert_int_equal(describe(e, content, "newer"), ERR_STATE);
    read_record(e, content, record);
    assert_string_equal(record, "new");
    assert_int_equal(drive_read(e, 1, inbox, 1, text), ERR_OK);
    assert_string_equal(text, "a message");
    assert_clean(e);
    assert_int_equal(drive_bare_count, 0);
    engine_close(&e);
}

static void test_verify_names_who_is_hit(void **state)
{
    (void)state;
    char path[400], expected[100];
    struct engine *e = open_filled();
    uint64_t inbox = drive_status(e, 1, "INBOX").id;
    engine_close(&e);
    snprintf(path, sizeof path, "%s/segments/00000001.seg", store);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "X", 1, SEGMENT_HEAD + 40 + REC_FRAME), 1); /* of the first message */
    close(fd);
    e = drive_open(&options);
    assert_int_equal(drive_verify(e, false, false), 0);
    assert_int_equal(drive_verify(e, true, true), 1);
    snprintf(expected, sizeof expected, "mailbox %llu uid 1\n", (unsigned long long)inbox);
    assert_non_null(strstr(drive_told, "not what they were"));
    assert_non_null(strstr(drive_told, expected));
    engine_close(&e);
}

static void test_verify_of_an_upgraded_store(void **state)
{
    (void)state;
    unpack_old();
    options.undelete_us = window;
    struct engine *e = drive_open(&options);
    assert_clean(e);
    engine_close(&e);
}

/* As after a restore of everything. */
static void test_verify_after_ids_jumped(void **state)
{
    (void)state;
    struct engine *e = open_filled();
    e->id_next[ID_CONTENT] = e->id_end[ID_CONTENT] = (uint64_t)1 << 40;
    drive_deliver(e, 1, "behind the jump");
    uint64_t inbox = drive_status(e, 1, "INBOX").id, content = drive_content(e, inbox, 6);
    assert_true(content >= (uint64_t)1 << 40);
    drive_copy(e, 1, inbox, 1, 6, "Copies", false);
    assert_clean(e);
    unsigned char key[KEY_ID], ref[REC_REF];
    put_be64(key, content);
    rec_ref_put(&(struct rec_ref){.count = 7}, ref);
    drive_tamper(e, T_REF, span_of(key, sizeof key), ref, sizeof ref);
    check_repair(e, "counts 7 references, they are 2");
    engine_close(&e);
}

static atomic_bool stop_load;

static void *load(void *arg)
{
    struct engine *e = arg;
    uint64_t inbox = drive_status(e, 2, "INBOX").id;
    uint32_t uid = drive_status(e, 2, "INBOX").uidnext;
    while (!atomic_load(&stop_load)) {
        drive_deliver(e, 2, "comes and goes");
        drive_copy(e, 2, inbox, uid, uid, "To", false);
        drive_copy(e, 2, inbox, uid, uid, "To", true);
        drive_flags(e, 2, drive_status(e, 2, "To").id, 1, uid, STORE_DELETED);
        drive_expunge(e, 2, drive_status(e, 2, "To").id);
        uid++;
    }
    return NULL;
}

/* While another thread delivers, copies, moves and expunges, and purge runs, nothing wrong is told. */
static void test_verify_beside_changes(void **state)
{
    (void)state;
    pthread_t thread;
    options.undelete_us = 1000;
    struct engine *e = open_filled();
    drive_deliver(e, 2, "first");
    drive_create(e, 2, "To");
    atomic_store(&stop_load, false);
    assert_int_equal(pthread_create(&thread, NULL, load, e), 0);
    for (int i = 0; i < 15; i++) {
        engine_care(e, true, true);
        if (drive_verify(e, true, false) != 0)
            fail_msg("verify found:\n%s", drive_told);
    }
    atomic_store(&stop_load, true);
    pthread_join(thread, NULL);
    assert_clean(e);
    engine_close(&e);
}

/* -- compaction -- */

enum { BODIES = 160, BODY = 800 };

static void body_text(char out[BODY + 1], unsigned i)
{
    memset(out, 'a' + (int)(i % 26), BODY);
    out[BODY] = '\0';
    snprintf(out, 20, "body %u", i);
    out[strlen(out)] = ' ';
}

/* Small segments, of whose contents three of four are dead. */
static struct engine *open_thinned(uint64_t *box)
{
    char text[BODY + 1];
    options.segment_size = 16 << 10;
    options.undelete_us = 1;
    struct engine *e = drive_open(&options);
    for (unsigned i = 1; i <= BODIES; i++) {
        body_text(text, i);
        drive_deliver(e, 1, text);
    }
    *box = drive_status(e, 1, "INBOX").id;
    for (uint32_t uid = 1; uid <= BODIES; uid += 4)
        drive_flags(e, 1, *box, uid, uid + 2, STORE_DELETED);
    drive_expunge(e, 1, *box);
    return e;
}

static void check_bodies(struct engine *e, uint64_t box)
{
    char text[BODY + 200], expected[BODY + 1];
    for (unsigned uid = 4; uid <= BODIES; uid += 4) {
        enum err_code code = ERR_RETRY;
        for (int i = 0; i < 5 && code == ERR_RETRY; i++)
            code = drive_read(e, 1, box, uid, text);
        body_text(expected, uid);
        assert_int_equal(code, ERR_OK);
        assert_string_equal(text, expected);
    }
}

static size_t disk_use(void)
{
    size_t sum = 0;
    for (unsigned n = 1; n < 100; n++)
        sum += segment_size(n) > 0 ? (size_t)segment_size(n) : 0;
    return sum;
}

struct reading {
    struct engine *e;
    uint64_t box;
    unsigned rounds;
};

static void *read_on(void *arg)
{
    struct reading *r = arg;
    for (; !atomic_load(&stop_load); r->rounds++)
        check_bodies(r->e, r->box);
    return NULL;
}

static void test_compaction(void **state)
{
    (void)state;
    struct reading reading = {.rounds = 0};
    pthread_t thread;
    struct engine *e = open_thinned(&reading.box);
    size_t before = disk_use();
    reading.e = e;
    atomic_store(&stop_load, false);
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reading), 0);
    care(e, true, true);
    care(e, false, true); /* what was dead after the first had begun */
    atomic_store(&stop_load, true);
    pthread_join(thread, NULL);
    assert_in_range(reading.rounds, 1, 1000000);
    assert_in_range(disk_use(), BODIES / 4 * BODY, before / 2);
    check_bodies(e, reading.box);
    assert_clean(e);
    engine_close(&e);
    e = drive_open(&options);
    check_bodies(e, reading.box);
    assert_clean(e);
    drive_flags(e, 1, reading.box, 1, BODIES, STORE_DELETED);
    drive_expunge(e, 1, reading.box);
    care(e, true, true);
    care(e, true, true);
    assert_int_equal(disk_use(), 0);
    assert_clean(e);
    engine_close(&e);
}

/* The process ends without a word at some moment of it, again and again. */
static void test_compaction_and_deaths(void **state)
{
    (void)state;
    uint64_t box;
    struct engine *e = open_thinned(&box);
    engine_close(&e);
    for (useconds_t us = 1000; us < 400000; us += us / 2) {
        int status;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            e = drive_open(&options);
            engine_care(e, true, true);
            usleep(us);
            _exit(9);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
        e = drive_open(&options);
        check_bodies(e, box);
        assert_clean(e);
        engine_close(&e);
    }
}

/* -- reading what another session expunged meanwhile -- */

static void test_what_was_seen_can_be_read(void **state)
{
    (void)state;
    char text[1001];
    struct engine *e = drive_open(&options);
    drive_deliver(e, 1, "one");
    drive_deliver(e, 1, "two");
    drive_deliver(e, 1, "three");
    struct wire_box box = drive_status(e, 1, "INBOX");
    drive_create(e, 1, "To");
    drive_flags(e, 1, box.id, 2, 2, STORE_DELETED);
    drive_copy(e, 1, box.id, 1, 1, "To", true);
    drive_expunge(e, 1, box.id);
    assert_int_equal(drive_read(e, 1, box.id, 1, text), ERR_MISSING);
    assert_int_equal(drive_read_seen(e, 1, box.id, 1, box.modseq, text), ERR_OK);
    assert_string_equal(text, "one");
    assert_int_equal(drive_read_seen(e, 1, box.id, 2, box.modseq, text), ERR_OK);
    assert_string_equal(text, "two");
    assert_int_equal(drive_read_seen(e, 1, box.id, 3, box.modseq, text), ERR_OK);
    assert_string_equal(text, "three");
    assert_int_equal(drive_read_seen(e, 1, box.id, 4, box.modseq, text), ERR_MISSING);
    assert_int_equal(drive_read_seen(e, 2, box.id, 1, box.modseq, text), ERR_DENIED); /* not his */
    uint64_t now = drive_status(e, 1, "INBOX").modseq;
    assert_int_equal(drive_read_seen(e, 1, box.id, 2, now, text), ERR_MISSING);
    engine_close(&e);
    options.undelete_us = 1;
    e = drive_open(&options);
    care(e, true, false);
    assert_int_equal(drive_read_seen(e, 1, box.id, 2, box.modseq, text), ERR_MISSING);
    engine_close(&e);
}

#define CARE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CARE_TEST(test_references_follow_the_history),
        CARE_TEST(test_upgrade),
        CARE_TEST(test_upgrade_goes_on_after_a_death),
        CARE_TEST(test_upgrade_is_whole_after_each_slice),
        CARE_TEST(test_purge),
        CARE_TEST(test_dead_segments_go),
        CARE_TEST(test_what_was_seen_can_be_read),
        CARE_TEST(test_logs_are_held),
        CARE_TEST(test_verify_finds_and_repairs),
        CARE_TEST(test_verify_looks_at_many),
        CARE_TEST(test_verify_between_slices),
        CARE_TEST(test_describe),
        CARE_TEST(test_verify_names_who_is_hit),
        CARE_TEST(test_verify_of_an_upgraded_store),
        CARE_TEST(test_verify_after_ids_jumped),
        CARE_TEST(test_verify_beside_changes),
        CARE_TEST(test_compaction),
        CARE_TEST(test_compaction_and_deaths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
