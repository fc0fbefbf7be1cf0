/* The engine in a temporary folder, without sockets: names and records, the lock and the format, and what a
 * start makes of a process that ended at a bad moment (a child that leaves by _exit). */
#include "tests/lib/cm.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/store/crc.h"
#include "common/store/engine_int.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef SANITIZERS
/* libdb keeps the records of transactions whose page versions are still cached, and leaves them at the end.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:__os_malloc\n";
}
#endif

static char dir[256], store[300];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static struct job *finished; /* the one that was waited for */
static struct news *kept;
static unsigned leave_after; /* batches after which the process ends without a word; 0: never */
static unsigned batches;

static void on_done(void *arg, struct news *n)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    if (leave_after && ++batches == leave_after)
        _exit(9);
    struct job *mine = n->jobs;
    while (mine && mine->owner != &finished)
        mine = mine->next;
    if (mine) {
        news_free(&kept);
        kept = n;
        finished = mine;
        pthread_cond_signal(&arrived);
    } else {
        news_free(&n);
    }
    pthread_mutex_unlock(&lock);
}

static enum err_code try_open(struct engine **e, struct err *why)
{
    const struct engine_options o = {.dir = store,
                                     .cache_size = 16 << 20,
                                     .segment_size = 1 << 20,
                                     .checkpoint_ms = 500,
                                     .checkpoint_size = 8 << 20,
                                     .message_limit = 64 << 20,
                                     .reserve = 1 << 20,
                                     .done = on_done};
    *e = NULL;
    return engine_open(&o, e, why);
}

static struct engine *open_engine(void)
{
    struct engine *e;
    struct err why = {.code = ERR_OK};
    enum err_code code = try_open(&e, &why);
    if (code != ERR_OK)
        fail_msg("engine_open: %s", why.log);
    return e;
}

/* Submit and wait; the job stays valid until the next call. */
static struct job *call(struct engine *e, struct job *j)
{
    pthread_mutex_lock(&lock);
    finished = NULL;
    j->owner = &finished;
    engine_submit(e, j);
    while (!finished)
        pthread_cond_wait(&arrived, &lock);
    j = finished;
    pthread_mutex_unlock(&lock);
    return j;
}

static struct uuid account(unsigned char n)
{
    struct uuid u = {{n}};
    return u;
}

/* A delivery whose "packed" bytes are text itself: the engine does not look inside frames. */
static struct job *delivery(unsigned char to, const char *text)
{
    struct job *j = job_new(WIRE_DELIVER);
    const struct trace_id trace = trace_new();
    struct wire_deliver d = {.received_us = clock_wall_us(), .target_count = 1};
    const struct wire_target t = {.id = account(to)};
    const uint32_t n = (uint32_t)strlen(text);
    const struct wire_content c = {.size = n, .packed = n, .frames = 1, .meta_n = 4, .inline_n = n};
    const struct frame_size f = {n, n};
    memcpy(d.trace, trace.text, TRACE_TEXT);
    j->id = request_new();
    assert_true(buf_add(&j->body, &d, sizeof d) && wire_put_text(&j->body, SPAN("s")) &&
                wire_put_text(&j->body, SPAN("p")) && wire_put_text(&j->body, SPAN("")) &&
                buf_add(&j->body, &t, sizeof t) && buf_add(&j->body, &c, sizeof c) &&
                buf_add(&j->body, &f, sizeof f) && buf_add_str(&j->body, "meta") &&
                buf_add_str(&j->body, text));
    return j;
}

static void deliver(struct engine *e, unsigned char to, const char *text)
{
    const struct job *j = call(e, delivery(to, text));
    assert_int_equal(j->code, ERR_OK);
    assert_int_equal(j->answer.v[0].p[sizeof(struct wire_delivered)], ERR_OK);
}

static struct wire_box status(struct engine *e, unsigned char n, const char *name)
{
    struct wire_box box = {.id = 0};
    struct buf body;
    buf_init(&body, 2000);
    assert_true(buf_add(&body, &(struct wire_status){0, 0}, sizeof(struct wire_status)) &&
                wire_put_text(&body, span_str(name)));
    struct query q = {.type = WIRE_STATUS, .account = account(n), .body = buf_span(&body), .budget = 100};
    assert_int_equal(engine_query(e, &q), ERR_OK);
    memcpy(&box, q.answer.v[0].p, sizeof box);
    parts_free(&q.answer);
    buf_free(&body);
    return box;
}

/* The packed bytes of a message, or the code. */
static enum err_code read_back(struct engine *e, unsigned char n, uint64_t box, uint32_t uid, char *out)
{
    const struct wire_read w = {0, 1000, uid, 0};
    struct query q = {
        .type = WIRE_READ, .account = account(n), .mailbox = box, .body = span_of(&w, sizeof w)};
    enum err_code code = engine_query(e, &q);
    if (code == ERR_OK) {
        size_t head = sizeof(struct wire_read_part) + sizeof(struct frame_size);
        memcpy(out, q.answer.v[0].p + head, q.answer.v[0].n - head);
        out[q.answer.v[0].n - head] = '\0';
    }
    parts_free(&q.answer);
    return code;
}

static void segment_path(char *out, size_t size, unsigned number)
{
    snprintf(out, size, "%s/segments/%08x.seg", store, number);
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* Run body in a child that leaves without closing anything. */
static void in_child(void (*body)(struct engine *e))
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        body(open_engine());
        _exit(9);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

/* -- tests -- */

static void test_crc(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, SPAN("123456789")), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, SPAN("1234")), SPAN("56789")), 0xe3069283);
    assert_int_equal(crc32c(0, SPAN_NONE), 0);
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* NULL: not a name */
    } rows[] = {{"INBOX", "INBOX"},
                {"inbox", "INBOX"},
                {"Inbox/Con", "INBOX/Con"},
                {"inboxes", "inboxes"},
                {"a/b/c", "a/b/c"},
                {"Công văn", "Công văn"},
                {"Co\u0302ng va\u0306n \u0111e\u0302\u0301n", "Công văn đến"},
                {"", NULL},
                {"/", NULL},
                {"/a", NULL},
                {"a/", NULL},
                {"a//b", NULL},
                {"a\nb", NULL},
                {"\x80", NULL},
                {"\xc0\x80", NULL},
                {"\xf5\x80\x80\x80", NULL},
                {"\xe0\x80\x80", NULL},
                {"\xed\xa0\x80", NULL},
                {"a\xc3", NULL},
                {"\xc2\x85", NULL},
                {"a b", "a b"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct name n;
        bool ok = name_normal(span_str(rows[i].in), &n);
        if (ok != (rows[i].out != NULL) || (ok && !span_eq(span_of(n.p, n.n), span_str(rows[i].out))))
            fail_msg("row %zu: %s", i, rows[i].in);
    }
    char longest[STORE_NAME_LIMIT + 1];
    struct name n;
    memset(longest, 'a', sizeof longest);
    assert_true(name_normal(span_of(longest, STORE_NAME_LIMIT), &n));
    assert_false(name_normal(span_of(longest, STORE_NAME_LIMIT + 1), &n));
}

static void test_records(void **state)
{
    (void)state;
    const struct store_row row = {.modseq = 0x1122334455667788,
                                  .keywords = 1ULL << 63,
                                  .content = 77,
                                  .internal_s = -5,
                                  .uid = 9,
                                  .flags = 31,
                                  .size = 0xfffffffe,
                                  .saved_s_low = -3,
                                  .zone_min = -720};
    struct store_row back = {.uid = 9};
    unsigned char v[REC_ROW];
    rec_row_put(&row, v);
    assert_true(rec_row_get(span_of(v, sizeof v), &back));
    assert_memory_equal(&row, &back, sizeof row);
    assert_false(rec_row_get(span_of(v, sizeof v - 1), &back));
    v[0] = 9;
    assert_false(rec_row_get(span_of(v, sizeof v), &back));
    struct rec_queue q = {.trace = "abcdefghijklmnopqrst",
                          .due_us = 5,
                          .sender = SPAN("x@y"),
                          .target_count = 0,
                          .skip_count = 1,
                          .skip = SPAN("0123456789abcdef")},
                     q2;
    struct buf b;
    buf_init(&b, 1000);
    assert_true(rec_queue_put(&q, &b));
    assert_true(rec_queue_get(buf_span(&b), &q2));
    assert_string_equal(q2.trace, q.trace);
    assert_true(span_eq(q2.skip, q.skip));
    for (size_t n = 0; n < b.n; n++)
        assert_false(rec_queue_get(span_of(b.p, n), &q2));
    buf_free(&b);
}

static void test_lock_and_format(void **state)
{
    (void)state;
    struct err why;
    struct engine *e = open_engine(), *second;
    char path[400];
    assert_int_equal(try_open(&second, &why), ERR_STATE);
    engine_close(&e);
    snprintf(path, sizeof path, "%s/format", store);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "provmail store 9\n", 17), 17);
    close(fd);
    assert_int_equal(try_open(&second, &why), ERR_SYNTAX);
    assert_non_null(strstr(why.log, "not a store of this release"));
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "provmail store 1\n", 17), 17);
    close(fd);
    e = open_engine();
    engine_close(&e);
    /* databases, but the file that says what they are is gone */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_open(&second, &why), ERR_SYNTAX);
}

static void deliver_three(struct engine *e)
{
    deliver(e, 1, "one");
    deliver(e, 1, "two");
    deliver(e, 2, "three");
}

static void test_tail_is_cut(void **state)
{
    (void)state;
    char path[400], text[1001];
    in_child(deliver_three);
    segment_path(path, sizeof path, 1);
    off_t true_size = size_of(path);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC); /* bytes whose commit never came */
    assert_int_equal(write(fd, "garbage of a batch that was not committed", 41), 41);
    close(fd);
    segment_path(path, sizeof path, 2);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640); /* made, not on record, empty */
    assert_int_equal(write(fd, "PMSEG", 5), 5);
    close(fd);
    segment_path(path, sizeof path, 3);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640); /* the same, with bytes */
    memset(text, 'x', sizeof text);
    assert_int_equal(write(fd, text, sizeof text), (ssize_t)sizeof text);
    close(fd);
    struct engine *e = open_engine();
    segment_path(path, sizeof path, 1);
    assert_int_equal(size_of(path), true_size);
    segment_path(path, sizeof path, 2);
    assert_int_equal(size_of(path), -1);
    segment_path(path, sizeof path, 3);
    assert_int_equal(size_of(path), -1);
    strcat(path, ".stray");
    assert_int_equal(size_of(path), (off_t)sizeof text);
    struct wire_box box = status(e, 1, "INBOX");
    assert_int_equal(box.messages, 2);
    assert_int_equal(read_back(e, 1, box.id, 2, text), ERR_OK);
    assert_string_equal(text, "two");
    deliver(e, 1, "four"); /* into a fresh segment */
    assert_int_equal(read_back(e, 1, box.id, 3, text), ERR_OK);
    assert_string_equal(text, "four");
    engine_close(&e);
}

static void test_damage_is_told(void **state)
{
    (void)state;
    char path[400], text[1001];
    struct engine *e = open_engine();
    deliver_three(e);
    struct wire_box box = status(e, 1, "INBOX");
    engine_close(&e);
    segment_path(path, sizeof path, 1);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    off_t at = SEGMENT_HEAD + 40 + REC_FRAME; /* the first byte of "one" */
    assert_int_equal(pread(fd, text, 3, at), 3);
    assert_memory_equal(text, "one", 3);
    assert_int_equal(pwrite(fd, "One", 3, at), 3);
    e = open_engine();
    assert_int_equal(read_back(e, 1, box.id, 1, text), ERR_BUG);
    assert_int_equal(read_back(e, 1, box.id, 2, text), ERR_OK);
    engine_close(&e);
    assert_int_equal(ftruncate(fd, at), 0);
    close(fd);
    e = open_engine();
    assert_int_equal(read_back(e, 1, box.id, 2, text), ERR_BUG);
    deliver(e, 1, "goes on");
    engine_close(&e);
}

static void test_outcome_is_kept(void **state)
{
    (void)state;
    struct engine *e = open_engine();
    struct job *j = delivery(1, "only once");
    const struct request_id id = j->id;
    struct buf body;
    buf_init(&body, 4096);
    assert_true(buf_add_span(&body, buf_span(&j->body)));
    call(e, j);
    engine_close(&e);
    e = open_engine();
    for (int i = 0; i < 2; i++) { /* marked as sent again, and (wrongly) not */
        j = job_new(WIRE_DELIVER);
        j->id = id;
        j->again = i == 0;
        assert_true(buf_add_span(&j->body, buf_span(&body)));
        j = call(e, j);
        assert_int_equal(j->code, ERR_OK);
        assert_int_equal(j->answer.n, 1);
        assert_int_equal(status(e, 1, "INBOX").messages, 1);
    }
    /* once acknowledged it is forgotten */
    j = job_new(WIRE_ACK);
    assert_true(buf_add(&j->body, &id, sizeof id));
    engine_submit(e, j);
    usleep(700000);
    deliver(e, 2, "so that a batch runs");
    j = job_new(WIRE_DELIVER);
    j->id = id;
    j->again = true;
    assert_true(buf_add_span(&j->body, buf_span(&body)));
    call(e, j);
    assert_int_equal(status(e, 1, "INBOX").messages, 2);
    buf_free(&body);
    engine_close(&e);
}

enum { MANY = 6000 };

static const struct request_id flags_id = {"flags in slices"};

static struct job *set_deleted(uint64_t box, uint32_t count, const struct request_id *id, bool again)
{
    struct job *j = job_new(WIRE_FLAGS);
    const struct wire_flags w = {.op = STORE_FLAGS_ADD, .flags = STORE_DELETED, .uid_count = count};
    j->account = account(5);
    j->mailbox = box;
    j->id = *id;
    j->again = again;
    bool ok = buf_add(&j->body, &w, sizeof w);
    for (uint32_t uid = 1; uid <= count; uid++)
        ok = ok && buf_add(&j->body, &uid, sizeof uid);
    assert_true(ok);
    return j;
}

/* The first slices have nothing to do, and the process ends between those and the others. */
static void flags_and_leave(struct engine *e)
{
    const struct request_id first = request_new();
    uint64_t box = status(e, 5, "INBOX").id;
    assert_int_equal(call(e, set_deleted(box, MANY / 2, &first, false))->code, ERR_OK);
    pthread_mutex_lock(&lock);
    batches = 0;
    leave_after = 2;
    pthread_mutex_unlock(&lock);
    call(e, set_deleted(box, MANY, &flags_id, false));
    _exit(1); /* it must not get this far */
}

static void check_flags(struct engine *e, uint64_t box)
{
    uint32_t rows = 0;
    struct job *j = call(e, set_deleted(box, MANY, &flags_id, true));
    assert_int_equal(j->code, ERR_OK);
    assert_int_equal(j->answer.n, (MANY + SLICE - 1) / SLICE);
    for (size_t i = 0; i < j->answer.n; i++) {
        struct wire_flagged_part part;
        memcpy(&part, j->answer.v[i].p, sizeof part);
        rows += part.row_count;
    }
    assert_int_equal(rows, MANY / 2);
    assert_int_equal(status(e, 5, "INBOX").deleted, MANY);
}

static const struct request_id expunge_id = {"an expunge in..."};

static struct job *expunge(uint64_t box, bool again)
{
    struct job *j = job_new(WIRE_EXPUNGE);
    const struct wire_expunge w = {1, 0};
    j->account = account(5);
    j->mailbox = box;
    j->id = expunge_id;
    j->again = again;
    assert_true(buf_add(&j->body, &w, sizeof w));
    return j;
}

static void expunge_and_leave(struct engine *e)
{
    uint64_t box = status(e, 5, "INBOX").id;
    pthread_mutex_lock(&lock);
    batches = 0;
    leave_after = 2;
    pthread_mutex_unlock(&lock);
    call(e, expunge(box, false));
    _exit(1); /* it must not get this far */
}

/* A request in many slices, cut off after the second batch: the next start finishes it, and who asks again
 * gets the whole answer. */
static void test_slices_go_on(void **state)
{
    (void)state;
    struct engine *e = open_engine();
    for (int i = 0; i < MANY; i++)
        engine_submit(e, delivery(5, "x"));
    deliver(e, 6, "the last of them");
    assert_int_equal(status(e, 5, "INBOX").messages, MANY);
    struct wire_box box = status(e, 5, "INBOX");
    engine_close(&e);
    in_child(flags_and_leave);
    e = open_engine();
    check_flags(e, box.id);
    engine_close(&e);
    in_child(expunge_and_leave);
    e = open_engine();
    struct job *j = call(e, expunge(box.id, true));
    assert_int_equal(j->code, ERR_OK);
    uint32_t count = 0, last = 0;
    for (size_t i = 0; i < j->answer.n; i++) {
        struct wire_expunged_part part;
        memcpy(&part, j->answer.v[i].p, sizeof part);
        for (uint32_t k = 0; k < part.count; k++) {
            uint32_t uid;
            memcpy(&uid, j->answer.v[i].p + sizeof part + 4 * k, 4);
            assert_int_equal(uid, last + 1);
            last = uid;
        }
        count += part.count;
    }
    assert_int_equal(count, MANY);
    box = status(e, 5, "INBOX");
    assert_int_equal(box.messages, 0);
    assert_int_equal(box.bytes, 0);
    assert_int_equal(box.uidnext, MANY + 1);
    engine_close(&e);
}

static int set_up(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/engine-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return -1;
    snprintf(store, sizeof store, "%s/mail", dir);
    crypto_start();
    log_threshold(LOG_ALARM + 1); /* what is provoked here need not be read */
    return 0;
}

static int tear_down(void **state)
{
    char command[300];
    (void)state;
    news_free(&kept);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

int main(void)
{
#define ENGINE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),        cmocka_unit_test(test_names),   cmocka_unit_test(test_records),
        ENGINE_TEST(test_lock_and_format), ENGINE_TEST(test_tail_is_cut),  ENGINE_TEST(test_damage_is_told),
        ENGINE_TEST(test_outcome_is_kept), ENGINE_TEST(test_slices_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
