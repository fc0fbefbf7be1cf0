/* Records that cannot be read and chains with a hole, made behind the engine's back: verify names each,
 * repairs what can be set right, and the store is clean and works afterwards. And what is left of requests in
 * slices that failed. */
#include "tests/lib/cm.h"
#include "tests/lib/engine_drive.h"
#include "common/base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[DRIVE_DIR], store[DRIVE_STORE];
static struct engine_options options;

static bool meta_ok(struct span meta)
{
    return span_eq(meta, SPAN("meta")) || span_eq(meta, SPAN("new"));
}

static int set_up(void **state)
{
    (void)state;
    if (!drive_store("store-records", dir, store))
        return 1;
    options = drive_options(store);
    options.undelete_us = options.trace_us = (int64_t)3600 * 1000000; /* nothing is purged meanwhile */
    options.meta_ok = meta_ok;
    log_threshold(LOG_ALARM + 1); /* what is provoked here need not be read */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return drive_folder_remove(dir);
}

static void assert_clean(struct engine *e)
{
    if (drive_verify(e, true, false) != 0)
        fail_msg("verify found:\n%s", drive_told);
}

static void check_found(struct engine *e, const char *what)
{
    assert_int_equal(drive_verify(e, false, false), 1);
    if (!strstr(drive_told, what))
        fail_msg("not told: %s, but %s", what, drive_told);
}

static void check_repair(struct engine *e, const char *what)
{
    check_found(e, what);
    assert_int_equal(drive_verify(e, false, true), 0);
    if (!strstr(drive_told, "repaired: "))
        fail_msg("not repaired: %s", drive_told);
    assert_clean(e);
}

/* The n-th key of a table (from 0) under a prefix. */
static size_t key_at(struct engine *e, enum table table, struct span prefix, unsigned n,
                     unsigned char out[64])
{
    struct tx t;
    struct scan s;
    struct span key, value;
    size_t size = 0;
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    scan_open(&s, &t, table, prefix, prefix.n, 64 << 10);
    while (!size && scan_next(&s, &key, &value))
        if (n-- == 0) {
            assert_in_range(key.n, 1, 64);
            memcpy(out, key.p, key.n);
            size = key.n;
        }
    assert_int_equal(scan_close(&s), ERR_OK);
    tx_free(&t);
    assert_int_not_equal(size, 0);
    return size;
}

/* ERR_OK: it can be told, with the line that stands for the lost one. */
static enum err_code ask_trace(struct engine *e, struct span trace)
{
    struct buf body;
    buf_init(&body, 100);
    assert_true(wire_put_text(&body, trace));
    struct query q = {.type = WIRE_TRACE, .body = buf_span(&body), .budget = 100};
    enum err_code code = engine_query(e, &q);
    if (code == ERR_OK)
        assert_true(span_search(buf_span(&q.answer.v[0]), SPAN("was damaged and is lost")) < q.answer.v[0].n);
    parts_free(&q.answer);
    buf_free(&body);
    return code;
}

static void test_traces_and_repeats(void **state)
{
    (void)state;
    unsigned char key[64];
    struct engine *e = drive_open(&options);
    const struct wire_target to = {.id = drive_account(1), .kind = STORE_TO_ACCOUNT};
    drive_call(e, drive_delivery_to(&to, 1, WIRE_DELIVER_FIND_REPEAT, "s@x", SPAN("a message")));
    drive_append(e, 1, "INBOX", NULL, "appended");
    assert_clean(e);
    size_t n = key_at(e, T_TRACE, SPAN_NONE, 0, key);
    drive_tamper(e, T_TRACE, span_of(key, n), "\1\0\0", 3);
    assert_int_equal(ask_trace(e, span_of(key, TRACE_TEXT - 1)), ERR_BUG);
    check_repair(e, "a line of it cannot be read");
    assert_int_equal(ask_trace(e, span_of(key, TRACE_TEXT - 1)), ERR_OK);
    n = key_at(e, T_REPEAT, SPAN_NONE, 0, key);
    drive_tamper(e, T_REPEAT, span_of(key, n), "\2\0\0\0\0\0\0\0\0cut", 12);
    assert_int_equal(
        drive_call(e, drive_delivery_to(&to, 1, WIRE_DELIVER_FIND_REPEAT, "s@x", SPAN("a message")))->code,
        ERR_BUG); /* whether it is there is not known */
    check_repair(e, "it cannot be read");
    assert_int_equal(
        drive_call(e, drive_delivery_to(&to, 1, WIRE_DELIVER_FIND_REPEAT, "s@x", SPAN("a message")))->code,
        ERR_OK);
    assert_clean(e);
    engine_close(&e);
}

static void test_history_of_names(void **state)
{
    (void)state;
    unsigned char key[64];
    const struct uuid account = drive_account(1);
    struct engine *e = drive_open(&options);
    drive_deliver(e, 1, "a message");
    static const char *const names[] = {"Một", "Hai", "Ba"};
    for (int i = 0; i < 3; i++)
        drive_create(e, 1, names[i]);
    assert_clean(e);
    size_t n = key_at(e, T_NAME_CHANGE, key_uuid(&account), 1, key);
    drive_tamper(e, T_NAME_CHANGE, span_of(key, n), "\1\0", 2);
    check_repair(e, "has a change that cannot be read");
    drive_delete(e, 1, "Hai");
    assert_clean(e);
    drive_tamper(e, T_NAME_CHANGE, span_of(key, n), NULL, 0);
    check_found(e, "has a gap");
    assert_int_equal(drive_verify(e, false, true), 1); /* nobody knows what it said */
    engine_close(&e);
}

/* The newest change of each name is what the name is, else one is added. */
static void test_history_against_the_names(void **state)
{
    (void)state;
    unsigned char key[64], other[REC_NAME];
    char name[KEY_UUID + 8];
    struct rec_name was;
    struct tx t;
    const struct uuid account = drive_account(1);
    struct engine *e = drive_open(&options);
    drive_deliver(e, 1, "a message");
    drive_create(e, 1, "One");
    drive_create(e, 1, "Two");
    drive_delete(e, 1, "Two");
    assert_clean(e);
    memcpy(name, account.b, KEY_UUID);
    memcpy(name + KEY_UUID, "One", 3);
    const struct span one = span_of(name, KEY_UUID + 3);
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    assert_int_equal(name_get(&t, &account, SPAN("One"), &was), ERR_OK);
    tx_free(&t);
    was.flags ^= 1;
    rec_name_put(&was, other);
    drive_tamper(e, T_NAME, one, other, sizeof other);
    check_repair(e, "does not say what they are");
    drive_tamper(e, T_NAME, one, NULL, 0); /* and the mailbox has no name any more */
    assert_int_equal(drive_verify(e, false, false), 3);
    assert_non_null(strstr(drive_told, "does not say what they are"));
    drive_tamper(e, T_NAME, one, other, sizeof other);
    assert_clean(e);
    memcpy(name + KEY_UUID, "Two", 3); /* it was deleted, says the history */
    was.mailbox = 0;
    rec_name_put(&was, other);
    drive_tamper(e, T_NAME, span_of(name, KEY_UUID + 3), other, sizeof other);
    check_repair(e, "does not say what they are");
    /* While words of the history are lost, it is not known what it says. */
    size_t n = key_at(e, T_NAME_CHANGE, key_uuid(&account), 1, key);
    drive_tamper(e, T_NAME_CHANGE, span_of(key, n), "\1\0", 2);
    drive_tamper(e, T_NAME, span_of(name, KEY_UUID + 3), NULL, 0);
    check_repair(e, "has a change that cannot be read");
    engine_close(&e);
}

static void test_a_cursor_without_its_entry(void **state)
{
    (void)state;
    unsigned char key[64], value[REC_PROGRESS];
    struct engine *e = drive_open(&options);
    drive_call(e, drive_delivery(9, "for a group", true));
    key_at(e, T_QUEUE, SPAN_NONE, 0, key);
    key[KEY_ID] = 0;
    rec_progress_put(&(struct rec_queue){.cursor = drive_account(1)}, value);
    drive_tamper(e, T_QUEUE, span_of(key, KEY_PROGRESS), value, sizeof value);
    assert_clean(e); /* a cursor of this entry */
    put_be64(key, get_be64(key) + 1);
    drive_tamper(e, T_QUEUE, span_of(key, KEY_PROGRESS), value, sizeof value);
    for (int repair = 0; repair < 2; repair++) { /* it is named, no more; and its id was never given */
        assert_int_equal(drive_verify(e, false, repair != 0), 2);
        assert_non_null(strstr(drive_told, "its cursor is there without it"));
        assert_non_null(strstr(drive_told, "its id was never given"));
    }
    drive_tamper(e, T_QUEUE, span_of(key, KEY_PROGRESS), NULL, 0);
    assert_clean(e);
    engine_close(&e);
}

/* A part of a request's outcome. */
static void put_done(struct engine *e, const struct request_id *id, uint32_t part, bool final,
                     const struct job *intent)
{
    unsigned char key[KEY_DONE];
    struct buf text, value;
    buf_init(&text, 1 << 20);
    buf_init(&value, 1 << 20);
    if (intent)
        assert_true(buf_add_u16(&text, intent->type) &&
                    buf_add(&text, intent->account.b, sizeof intent->account.b) && buf_add_u64(&text, 0) &&
                    buf_add_u64(&text, intent->mailbox) && buf_add_span(&text, buf_span(&intent->body)));
    const struct rec_done r = {
        .at_us = clock_wall_us(), .final = final, .next = 2, .other = 999999, .intent = buf_span(&text)};
    assert_true(rec_done_put(&r, &value));
    memcpy(key, id->b, sizeof id->b);
    put_be32(key + sizeof id->b, part);
    drive_tamper(e, T_DONE, span_of(key, sizeof key), value.p, value.n);
    buf_free(&text);
    buf_free(&value);
}

static void test_outcomes(void **state)
{
    (void)state;
    unsigned char key[64];
    struct engine *e = drive_open(&options);
    drive_deliver(e, 1, "a message");
    assert_clean(e);
    size_t n = key_at(e, T_DONE, SPAN_NONE, 0, key);
    drive_tamper(e, T_DONE, span_of(key, n), "\1\1", 2);
    engine_close(&e);
    e = drive_open(&options); /* it is no reason not to start */
    check_repair(e, "its outcome cannot be read or has a gap");
    struct job *intent = drive_flags_job(1, drive_status(e, 1, "INBOX").id, 1, 1, STORE_SEEN);
    const struct request_id gap = request_new(), behind = request_new(), nothing = request_new();
    put_done(e, &gap, 0, false, intent);
    put_done(e, &gap, 2, true, NULL);
    check_repair(e, "its outcome cannot be read or has a gap");
    put_done(e, &behind, 0, true, NULL);
    put_done(e, &behind, 1, true, NULL);
    check_repair(e, "its outcome cannot be read or has a gap");
    put_done(e, &nothing, 0, false, NULL);
    check_repair(e, "its outcome cannot be read or has a gap");
    const struct request_id whole = request_new();
    put_done(e, &whole, 0, false, intent);
    put_done(e, &whole, 1, true, NULL);
    assert_clean(e);
    job_free(&intent);
    engine_close(&e);
}

/* The parts of a request and the code of the last. */
static unsigned parts_of(struct engine *e, const struct request_id *id, unsigned *code)
{
    struct tx t;
    struct scan s;
    struct span key, value;
    struct rec_done r;
    unsigned n = 0;
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    scan_open(&s, &t, T_DONE, span_of(id->b, sizeof id->b), sizeof id->b, 64 << 10);
    for (; scan_next(&s, &key, &value); n++) {
        assert_true(rec_done_get(value, &r));
        *code = r.final ? r.code : 0;
    }
    assert_int_equal(scan_close(&s), ERR_OK);
    tx_free(&t);
    return n;
}

/* A copy whose destination went away between two of its slices fails, and that is what everybody hears who
 * asks for it again: also after another start, which must not go on with it. */
static void test_failure_after_slices(void **state)
{
    (void)state;
    struct engine *e = drive_open(&options);
    drive_deliver(e, 1, "a message");
    drive_create(e, 1, "Copies");
    struct job *intent = drive_copy_job(1, drive_status(e, 1, "INBOX").id, 1, 1, "Copies", false);
    const struct request_id id = intent->id;
    put_done(e, &id, 0, false, intent);
    engine_close(&e);
    for (int i = 0; i < 2; i++) {
        e = drive_open(&options);
        struct job *j = job_new(WIRE_COPY);
        j->account = intent->account;
        j->mailbox = intent->mailbox;
        j->id = id;
        j->again = true;
        assert_true(buf_add_span(&j->body, buf_span(&intent->body)));
        assert_int_equal(drive_call(e, j)->code, ERR_MISSING);
        assert_int_equal(drive_status(e, 1, "Copies").messages, 0);
        unsigned code = 0;
        assert_int_equal(parts_of(e, &id, &code), 2);
        assert_int_equal(code, ERR_MISSING);
        assert_clean(e);
        engine_close(&e);
    }
    job_free(&intent);
}

/* -- requests in slices, one slice in a batch: whatever batch was the last, the store is whole -- */

enum { MANY = 600 }; /* three slices */
static struct engine *hurried;

static void hurry(const struct news *n)
{
    (void)n;
    if (hurried)
        engine_hurry(hurried); /* no second slice in the next batch */
}

static struct job *rename_job(uint64_t inbox)
{
    struct job *j = drive_session_job(WIRE_RENAME, 1, inbox);
    assert_true(wire_put_text(&j->body, SPAN("INBOX")) && wire_put_text(&j->body, SPAN("Cũ")));
    return j;
}

static struct job *sliced_job(int which, uint64_t inbox)
{
    switch (which) {
    case 0:
        return drive_flags_job(1, inbox, 1, MANY, STORE_SEEN);
    case 1:
        return drive_copy_job(1, inbox, 1, MANY, "Copies", false);
    case 2:
        return drive_copy_job(1, inbox, 1, MANY, "Copies", true);
    case 3:
        return drive_expunge_job(1, inbox);
    default:
        return rename_job(inbox);
    }
}
enum { SLICED_JOBS = 5 };

/* The process leaves once n batches of it are durable. True: it had come to its end before. */
static bool leave_after(int which, unsigned n)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        hurried = drive_open(&options);
        const uint64_t inbox = drive_status(hurried, 1, "INBOX").id;
        drive_watch(hurry);
        engine_hurry(hurried);
        drive_leave_after(n);
        const enum err_code code = drive_call(hurried, sliced_job(which, inbox))->code;
        _exit(code == ERR_OK ? 3 : 4);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 3));
    return WEXITSTATUS(status) == 3;
}

static uint32_t count_in(struct engine *e, const char *name)
{
    return drive_status(e, 1, name).messages;
}

static void check_done(struct engine *e, int which)
{
    static const struct {
        const char *to;
        uint32_t inbox, there, unseen;
    } want[SLICED_JOBS] = {{"Copies", MANY, 0, 0},
                           {"Copies", MANY, MANY, MANY},
                           {"Copies", 0, MANY, 0},
                           {"Copies", 0, 0, 0},
                           {"Cũ", 0, MANY, 0}};
    assert_int_equal(count_in(e, "INBOX"), want[which].inbox);
    assert_int_equal(count_in(e, want[which].to), want[which].there);
    assert_int_equal(drive_status(e, 1, "INBOX").unseen, want[which].unseen);
}

static void copy_store(const char *from, const char *to)
{
    char command[1100];
    snprintf(command, sizeof command, "rm -rf '%s' && cp -a '%s' '%s'", to, from, to);
    assert_int_equal(system(command), 0);
}

static void test_verify_at_each_slice(void **state)
{
    (void)state;
    char base[320];
    struct engine *e = drive_open(&options);
    drive_deliver(e, 1, "a message");
    drive_create(e, 1, "Copies");
    for (int i = 1; i < MANY; i++)
        engine_submit(e, drive_delivery(1, "a message", false));
    drive_deliver(e, 2, "behind them");
    engine_close(&e);
    snprintf(base, sizeof base, "%s.base", store);
    copy_store(store, base);
    for (int which = 0; which < SLICED_JOBS; which++) {
        unsigned deaths = 0;
        copy_store(base, store);
        if (which == 3) { /* what it expunges */
            e = drive_open(&options);
            drive_flags(e, 1, drive_status(e, 1, "INBOX").id, 1, MANY, STORE_DELETED);
            engine_close(&e);
            copy_store(store, base);
        }
        while (!leave_after(which, ++deaths)) {
            options.still = true;
            e = drive_open(&options); /* as the last batch left it */
            assert_clean(e);
            engine_close(&e);
            options.still = false;
            e = drive_open(&options); /* gone on with */
            drive_deliver(e, 2, "behind it");
            assert_clean(e);
            if (deaths > 1)
                check_done(e, which);
            engine_close(&e);
            copy_store(base, store);
        }
        assert_in_range(deaths, 4, 20);
    }
}

static void test_meta(void **state)
{
    (void)state;
    unsigned char key[KEY_ID];
    struct tx t;
    struct buf b, v;
    struct rec_content r;
    struct engine *e = drive_open(&options);
    drive_deliver(e, 1, "a message");
    uint64_t inbox = drive_status(e, 1, "INBOX").id, content = drive_content(e, inbox, 1);
    assert_clean(e);
    put_be64(key, content);
    buf_init(&b, 1 << 20);
    buf_init(&v, 1 << 20);
    assert_int_equal(tx_begin(e, true, &t), ERR_OK);
    assert_int_equal(tx_get_buf(&t, T_CONTENT, span_of(key, sizeof key), &b), ERR_OK);
    tx_free(&t);
    assert_true(rec_content_get(buf_span(&b), &r));
    r.meta = SPAN("mexx");
    assert_true(rec_content_put(&r, &v));
    drive_tamper(e, T_CONTENT, span_of(key, sizeof key), v.p, v.n);
    check_found(e, "what the parser said of it cannot be read");
    assert_int_equal(drive_bare_count, 0); /* it is not taken away unless that was asked for */
    assert_int_equal(drive_verify(e, false, true), 0);
    assert_int_equal(drive_bare_count, 1);
    assert_int_equal(drive_bare[0].content, content);
    const char *const records[] = {"mexx", "new"};
    const enum err_code codes[] = {ERR_SYNTAX, ERR_OK};
    for (int i = 0; i < 2; i++) {
        struct job *j = job_new(WIRE_DESCRIBE);
        const struct wire_describe w = {content};
        assert_true(buf_add(&j->body, &w, sizeof w) && buf_add_str(&j->body, records[i]));
        assert_int_equal(drive_call(e, j)->code, codes[i]);
    }
    assert_clean(e);
    assert_int_equal(drive_bare_count, 0);
    buf_free(&b);
    buf_free(&v);
    engine_close(&e);
}

int main(void)
{
#define RECORDS_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        RECORDS_TEST(test_traces_and_repeats),
        RECORDS_TEST(test_history_of_names),
        RECORDS_TEST(test_history_against_the_names),
        RECORDS_TEST(test_a_cursor_without_its_entry),
        RECORDS_TEST(test_outcomes),
        RECORDS_TEST(test_failure_after_slices),
        RECORDS_TEST(test_meta),
        RECORDS_TEST(test_verify_at_each_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
