/* The engine in a temporary folder, without sockets: the lock and the format, and what a start makes of a
 * process that ended at a bad moment (a child that leaves by _exit). */
#include "tests/lib/cm.h"
#include "tests/lib/engine_drive.h"
#include "common/base/crypto.h"
#include "common/store/crc.h"
#include "common/store/page_sum.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[DRIVE_DIR], store[300];

static enum err_code try_open(struct engine **e, struct err *why)
{
    const struct engine_options o = drive_options(store);
    *e = NULL;
    return engine_open(&o, e, why);
}

static struct engine *open_engine(void)
{
    const struct engine_options o = drive_options(store);
    return drive_open(&o);
}

/* Of a mailbox that is there. */
static struct wire_box status(struct engine *e, unsigned char n, const char *name)
{
    struct wire_box box = drive_status(e, n, name);
    assert_int_not_equal(box.id, 0);
    return box;
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
    drive_deliver(e, 1, "one");
    drive_deliver(e, 1, "two");
    drive_deliver(e, 2, "three");
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
    assert_int_equal(drive_read(e, 1, box.id, 2, text), ERR_OK);
    assert_string_equal(text, "two");
    drive_deliver(e, 1, "four"); /* into a fresh segment */
    assert_int_equal(drive_read(e, 1, box.id, 3, text), ERR_OK);
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
    assert_int_equal(drive_read(e, 1, box.id, 1, text), ERR_BUG);
    assert_int_equal(drive_read(e, 1, box.id, 2, text), ERR_OK);
    engine_close(&e);
    assert_int_equal(ftruncate(fd, at), 0);
    close(fd);
    e = open_engine();
    assert_int_equal(drive_read(e, 1, box.id, 2, text), ERR_BUG);
    drive_deliver(e, 1, "goes on");
    engine_close(&e);
}

static void test_outcome_is_kept(void **state)
{
    (void)state;
    struct engine *e = open_engine();
    struct job *j = drive_delivery(1, "only once", false);
    const struct request_id id = j->id;
    struct buf body;
    buf_init(&body, 4096);
    assert_true(buf_add_span(&body, buf_span(&j->body)));
    drive_call(e, j);
    engine_close(&e);
    e = open_engine();
    for (int i = 0; i < 2; i++) { /* marked as sent again, and (wrongly) not */
        j = job_new(WIRE_DELIVER);
        j->id = id;
        j->again = i == 0;
        assert_true(buf_add_span(&j->body, buf_span(&body)));
        j = drive_call(e, j);
        assert_int_equal(j->code, ERR_OK);
        assert_int_equal(j->answer.n, 1);
        assert_int_equal(status(e, 1, "INBOX").messages, 1);
    }
    /* once acknowledged it is forgotten */
    j = job_new(WIRE_ACK);
    assert_true(buf_add(&j->body, &id, sizeof id));
    engine_submit(e, j);
    usleep(700000);
    drive_deliver(e, 2, "so that a batch runs");
    j = job_new(WIRE_DELIVER);
    j->id = id;
    j->again = true;
    assert_true(buf_add_span(&j->body, buf_span(&body)));
    drive_call(e, j);
    assert_int_equal(status(e, 1, "INBOX").messages, 2);
    buf_free(&body);
    engine_close(&e);
}

enum { MANY = 6000 };

static const struct request_id flags_id = {"flags in slices"};

static struct job *set_deleted(uint64_t box, uint32_t count, const struct request_id *id, bool again)
{
    struct job *j = drive_flags_job(5, box, 1, count, STORE_DELETED);
    j->id = *id;
    j->again = again;
    return j;
}

static struct engine *hurried;

static void hurry(const struct news *n)
{
    (void)n;
    engine_hurry(hurried); /* no second slice in the next batch */
}

/* The process ends once n slices, a batch each, are durable. */
static void leave_after_slices(struct engine *e, unsigned n)
{
    hurried = e;
    drive_watch(hurry);
    engine_hurry(e);
    drive_leave_after(n);
}

/* The first slices have nothing to do, and the process ends between those and the others. */
static void flags_and_leave(struct engine *e)
{
    const struct request_id first = request_new();
    uint64_t box = status(e, 5, "INBOX").id;
    assert_int_equal(drive_call(e, set_deleted(box, MANY / 2, &first, false))->code, ERR_OK);
    leave_after_slices(e, MANY / 2 / SLICE + 1);
    drive_call(e, set_deleted(box, MANY, &flags_id, false));
    _exit(1); /* it must not get this far */
}

static void check_flags(struct engine *e, uint64_t box)
{
    uint32_t changed = 0;
    struct job *j = drive_call(e, set_deleted(box, MANY, &flags_id, true));
    assert_int_equal(j->code, ERR_OK);
    assert_int_equal(j->answer.n, (MANY + SLICE - 1) / SLICE);
    for (size_t i = 0; i < j->answer.n; i++) {
        struct wire_flagged_part part;
        struct store_flag_run run;
        memcpy(&part, j->answer.v[i].p, sizeof part);
        for (uint32_t k = 0; k < part.run_count; k++) {
            memcpy(&run, j->answer.v[i].p + sizeof part + k * sizeof run, sizeof run);
            assert_int_equal(run.modseq, part.modseq);
            assert_int_equal(run.flags, STORE_DELETED);
            assert_int_equal(run.first, MANY / 2 + changed + 1); /* the others were so before */
            changed += run.count;
        }
    }
    assert_int_equal(changed, MANY / 2);
    assert_int_equal(status(e, 5, "INBOX").deleted, MANY);
}

static const struct request_id expunge_id = {"an expunge in..."};

static struct job *expunge(uint64_t box, bool again)
{
    struct job *j = drive_expunge_job(5, box);
    j->id = expunge_id;
    j->again = again;
    return j;
}

static void expunge_and_leave(struct engine *e)
{
    uint64_t box = status(e, 5, "INBOX").id;
    leave_after_slices(e, 2);
    drive_call(e, expunge(box, false));
    _exit(1); /* it must not get this far */
}

/* A request in many slices, cut off between two of them: the next start finishes it, and who asks again
 * gets the whole answer. */
static void test_slices_go_on(void **state)
{
    (void)state;
    struct engine *e = open_engine();
    for (int i = 0; i < MANY; i++)
        engine_submit(e, drive_delivery(5, "x", false));
    drive_deliver(e, 6, "the last of them");
    assert_int_equal(status(e, 5, "INBOX").messages, MANY);
    struct wire_box box = status(e, 5, "INBOX");
    engine_close(&e);
    in_child(flags_and_leave);
    e = open_engine();
    check_flags(e, box.id);
    engine_close(&e);
    in_child(expunge_and_leave);
    e = open_engine();
    struct job *j = drive_call(e, expunge(box.id, true));
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

/* What has changed in a mailbox since a modseq: rows by UID, and how many UIDs are gone. */
struct seen {
    bool more;
    uint32_t rows, gone;
    uint32_t flags[MANY + 1]; /* by UID; UNSEEN: not told */
};
enum { UNSEEN = 0xff };

static void ask_changes(struct engine *e, uint64_t box, uint64_t since, uint32_t budget, struct seen *out)
{
    const struct wire_changes w = {since};
    struct query q = {.type = WIRE_CHANGES,
                      .account = drive_account(5),
                      .mailbox = box,
                      .body = span_of(&w, sizeof w),
                      .budget = budget};
    uint32_t last = 0;
    for (size_t i = 0; i <= MANY; i++)
        out->flags[i] = UNSEEN;
    assert_int_equal(engine_query(e, &q), ERR_OK);
    out->more = q.more;
    out->rows = out->gone = 0;
    for (size_t i = 0; i < q.answer.n; i++) {
        struct wire_changes_part part;
        struct store_row r;
        const struct buf *b = &q.answer.v[i];
        memcpy(&part, b->p, sizeof part);
        const char *p = b->p + b->n - 4 * (size_t)part.gone_count - part.row_count * sizeof r;
        for (uint32_t k = 0; k < part.row_count; k++) {
            memcpy(&r, p + k * sizeof r, sizeof r);
            assert_true(r.uid > last && r.uid <= MANY);
            out->flags[last = r.uid] = r.flags;
        }
        out->rows += part.row_count;
        out->gone += part.gone_count;
    }
    parts_free(&q.answer);
}

/* Rows that lie together are walked, others looked up: each comes once, as it is now. */
static void test_changes_near_and_far(void **state)
{
    enum { LOOP = 64, ALL = UINT32_MAX };
    struct seen got;
    (void)state;
    struct engine *e = open_engine();
    for (int i = 0; i < MANY; i++)
        engine_submit(e, drive_delivery(5, "x", false));
    drive_deliver(e, 6, "the last of them");
    struct wire_box box = status(e, 5, "INBOX");
    drive_flags(e, 5, box.id, 3, 40, STORE_SEEN);
    drive_flags(e, 5, box.id, 60, 62, STORE_SEEN);
    drive_flags(e, 5, box.id, 70, 70, STORE_SEEN);
    drive_flags(e, 5, box.id, 10, 12, STORE_SEEN | STORE_DELETED);
    drive_expunge(e, 5, box.id);
    drive_flags(e, 5, box.id, 20, 20, STORE_FLAGGED);
    ask_changes(e, box.id, box.modseq, LOOP, &got);
    assert_false(got.more);
    assert_int_equal(got.gone, 3);
    assert_int_equal(got.rows, 38 - 3 + 3 + 1);
    for (uint32_t uid = 1; uid <= MANY; uid++) {
        bool told =
            (uid >= 3 && uid <= 40 && (uid < 10 || uid > 12)) || (uid >= 60 && uid <= 62) || uid == 70;
        uint32_t now = uid == 20 ? STORE_SEEN | STORE_FLAGGED : STORE_SEEN;
        assert_int_equal(got.flags[uid], told ? now : UNSEEN);
    }
    /* few changes of many messages are not for the loop either */
    box = status(e, 5, "INBOX");
    drive_flags(e, 5, box.id, 1, MANY, STORE_ANSWERED);
    ask_changes(e, box.id, box.modseq, 8, &got);
    assert_true(got.more);
    assert_int_equal(got.rows, 0);
    ask_changes(e, box.id, box.modseq, ALL, &got);
    assert_false(got.more);
    assert_int_equal(got.rows, MANY - 3);
    engine_close(&e);
}

/* What a query of this account's session answers, and the batch that it has to wait for. */
static uint64_t marked(struct engine *e, uint16_t type, unsigned char account, uint64_t box, const char *name)
{
    struct buf body;
    buf_init(&body, 100);
    bool ok = true;
    if (type == WIRE_CHANGES)
        ok = buf_add(&body, &(struct wire_changes){1}, sizeof(struct wire_changes));
    if (type == WIRE_ROWS)
        ok = buf_add(&body, &(struct wire_rows){1, 0}, sizeof(struct wire_rows));
    if (type == WIRE_STATUS)
        ok = buf_add(&body, &(struct wire_status){0}, sizeof(struct wire_status)) &&
             wire_put_text(&body, span_str(name));
    assert_true(ok);
    struct query q = {.type = type,
                      .account = drive_account(account),
                      .mailbox = box,
                      .body = buf_span(&body),
                      .budget = 100};
    assert_int_equal(engine_query(e, &q), ERR_OK);
    parts_free(&q.answer);
    buf_free(&body);
    return q.mark;
}

/* A write of account 2 to its mailboxes `box` and "a". */
static void write_somehow(struct engine *e, int way, uint64_t box)
{
    switch (way) {
    case 0:
        drive_deliver(e, 2, "again");
        break;
    case 1:
        (void)drive_append(e, 2, "INBOX", "k", "more");
        break;
    case 2:
        drive_flags(e, 2, box, 1, 1, STORE_DELETED);
        break;
    case 3:
        drive_copy(e, 2, box, 2, 2, "a", true);
        break;
    case 4:
        drive_copy(e, 2, status(e, 2, "a").id, 1, 1, "INBOX", false);
        break;
    default:
        drive_expunge(e, 2, box);
    }
}

/* A reader waits for the last batch that wrote what it has read, in whichever way, and for no other's. */
static void test_marks(void **state)
{
    (void)state;
    enum { WAYS = 6 };
    static const uint16_t types[] = {WIRE_CHANGES, WIRE_ROWS, WIRE_STATUS_ID, WIRE_STATUS};
    const size_t n = sizeof types / sizeof *types;
    struct engine *e = open_engine();
    drive_deliver(e, 1, "to another one");
    drive_deliver(e, 2, "to the one who looks");
    drive_create(e, 2, "a");
    const uint64_t box = status(e, 2, "INBOX").id, others = status(e, 1, "INBOX").id;
    for (int way = 0; way < WAYS; way++) {
        const uint64_t before = marked(e, WIRE_CHANGES, 1, others, NULL);
        drive_deliver(e, 1, "meanwhile");
        const uint64_t at = marked(e, WIRE_CHANGES, 1, others, NULL);
        assert_true(at > before && at <= engine_durable(e));
        for (size_t i = 0; i < n; i++)
            if (marked(e, types[i], 2, box, "INBOX") >= at)
                fail_msg("way %d: type %u waits for another mailbox", way, types[i]);
        write_somehow(e, way, box);
        for (size_t i = 0; i < n; i++) {
            const uint64_t mark = marked(e, types[i], 2, box, "INBOX");
            if (mark <= at || mark > engine_durable(e))
                fail_msg("way %d: type %u does not wait for what it shows", way, types[i]);
        }
        assert_true(marked(e, WIRE_CHANGES, 1, others, NULL) == at);
    }
    const uint64_t mark = marked(e, WIRE_STATUS_ID, 2, box, NULL);
    const uint32_t to = 2;
    struct job *claim = drive_session_job(WIRE_CLAIM, 2, box);
    assert_true(buf_add(&claim->body, &to, sizeof to));
    assert_int_equal(drive_call(e, claim)->code, ERR_OK);
    assert_int_equal(status(e, 2, "INBOX").recent_from, to);
    assert_true(marked(e, WIRE_STATUS_ID, 2, box, NULL) == mark); /* nobody waits for that */
    drive_create(e, 2, "b");                                      /* a name; who asks by a name may see it */
    assert_true(marked(e, WIRE_STATUS_ID, 2, box, NULL) == mark);
    assert_true(marked(e, WIRE_STATUS, 2, 0, "INBOX") > mark);
    assert_true(marked(e, WIRE_LIST, 1, 0, NULL) > mark); /* of all */
    engine_close(&e);
}

/* UIDs of a request come as they come: twice, backwards, far apart, gone. Each message is counted once. */
static void test_flags_of_odd_lists(void **state)
{
    (void)state;
    static const uint32_t lists[][8] = {
        {3, 3, 1, 1, 2}, {9, 8, 7, 6, 5, 4}, {1, 30, 30, 2}, {1, 2, 3, 4, 5, 6, 7, 40}};
    struct engine *e = open_engine();
    for (int i = 0; i < 40; i++)
        drive_deliver(e, 1, "odd");
    const uint64_t box = status(e, 1, "INBOX").id;
    drive_flags(e, 1, box, 7, 7, STORE_DELETED);
    drive_expunge(e, 1, box);
    bool seen[41] = {false};
    uint32_t unseen = 39;
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        struct wire_flags w = {.op = STORE_FLAGS_ADD, .flags = STORE_SEEN};
        while (w.uid_count < 8 && lists[l][w.uid_count])
            w.uid_count++;
        struct job *j = drive_session_job(WIRE_FLAGS, 1, box);
        assert_true(buf_add(&j->body, &w, sizeof w) && buf_add(&j->body, lists[l], 4 * w.uid_count));
        assert_int_equal(drive_call(e, j)->code, ERR_OK);
        for (uint32_t i = 0; i < w.uid_count; i++) {
            const uint32_t uid = lists[l][i];
            unseen -= uid != 7 && !seen[uid];
            seen[uid] = true;
        }
        assert_int_equal(status(e, 1, "INBOX").unseen, unseen);
    }
    assert_int_equal(drive_verify(e, false, false), 0);
    engine_close(&e);
}

/* What is past its time is not begun, unless its connection has heard from the writer since; what was done in
 * time is answered whenever it is asked for, and what is half done goes on. */
static void test_late_requests(void **state)
{
    (void)state;
    struct engine *e = open_engine();
    const uint64_t now_ms = clock_mono_ms(), later_ms = now_ms + 3600000;
    static const struct {
        uint64_t until_ms; /* 0: none, 1: past, 2: to come */
        int more;          /* -1: there is none, else as until_ms */
        enum err_code code;
    } rows[] = {{0, -1, ERR_OK},   {1, -1, ERR_RETRY}, {2, -1, ERR_OK}, {1, 0, ERR_RETRY},
                {1, 1, ERR_RETRY}, {1, 2, ERR_OK},     {2, 1, ERR_OK}};
    const uint64_t times[] = {0, now_ms - 1, later_ms};
    uint32_t messages = 0;
    struct asker asker = {0, 0};
    drive_deliver(e, 7, "first");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct job *j = drive_delivery(7, "x", false);
        j->until_ms = times[rows[i].until_ms];
        atomic_store(&asker.more_ms, rows[i].more < 0 ? 0 : times[rows[i].more]);
        j->whose = rows[i].more < 0 ? NULL : &asker;
        assert_int_equal(drive_call(e, j)->code, rows[i].code);
        messages += rows[i].code == ERR_OK;
        assert_int_equal(status(e, 7, "INBOX").messages, 1 + messages);
    }
    /* Asked a second ago, with 500 ms each time: heard of it in time, again, and only now. */
    static const struct {
        int heard[2]; /* ms ago, in turn */
        enum err_code code;
    } hears[] = {{{600, 0}, ERR_OK}, {{900, 300}, ERR_OK}, {{0, 0}, ERR_RETRY}, {{950, 0}, ERR_RETRY}};
    for (size_t i = 0; i < sizeof hears / sizeof *hears; i++) {
        struct job *j = drive_delivery(7, "x", false);
        struct asker a = {0, 0};
        const uint64_t base_ms = clock_mono_ms();
        j->until_ms = base_ms - 500;
        for (int k = 0; k < 2; k++)
            asker_hears(&a, base_ms - (uint64_t)hears[i].heard[k], 500);
        j->whose = &a;
        assert_int_equal(drive_call(e, j)->code, hears[i].code);
        messages += hears[i].code == ERR_OK;
    }
    struct job *j = drive_delivery(7, "once", false);
    const struct request_id id = j->id;
    j->until_ms = later_ms;
    assert_int_equal(drive_call(e, j)->code, ERR_OK);
    j = drive_delivery(7, "once", false);
    j->id = id;
    j->again = true;
    j->until_ms = now_ms - 1;
    assert_int_equal(drive_call(e, j)->code, ERR_OK);
    assert_int_equal(status(e, 7, "INBOX").messages, 2 + messages);
    engine_close(&e);
}

/* Each page of a store that was closed bears the checksum that we look for, and any byte that is turned
 * shows. */
static void test_checksums_of_pages(void **state)
{
    (void)state;
    static const char *const files[] = {"account", "mailbox", "message", "content", "done", "store"};
    unsigned char head[PAGE_SUM_HEAD], page[64 << 10];
    struct engine *e = open_engine();
    for (int i = 0; i < 50; i++)
        drive_deliver(e, (unsigned char)(1 + i % 5), "a message");
    engine_close(&e);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s/db/%s.db", store, files[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, head, sizeof head, 0), sizeof head);
        const size_t n = page_sum_size(head);
        assert_in_range(n, 512, sizeof page);
        unsigned count = 0;
        for (off_t at = 0; pread(fd, page, n, at) == (ssize_t)n; at += (off_t)n, count++) {
            assert_true(page_sum_ok(page, n));
            const size_t bytes = at ? n : 512; /* of the first page */
            for (size_t k = 0; k < bytes; k += 101) {
                page[k] ^= 4;
                assert_false(page_sum_ok(page, n));
                page[k] ^= 4;
            }
        }
        assert_true(count >= 2);
        close(fd);
    }
    head[12] ^= 1;
    assert_int_equal(page_sum_size(head), 0);
}

/* Records with pages of their own come and go, so that a file grows and is cut, while checkpoints write its
 * pages: it is whole for Berkeley DB's own check and ends where its pages do, also after a death. */
enum { LARGE = 24, LARGE_ROUNDS = 60, LARGE_BYTES = 3000 };
static _Atomic bool checkpoints_end;

static void *checkpoints(void *engine)
{
    while (!atomic_load(&checkpoints_end))
        env_checkpoint(engine, false);
    return NULL;
}

static void large_record(struct engine *e, uint32_t i, char fill, bool put)
{
    char bytes[LARGE_BYTES], got[LARGE_BYTES];
    unsigned char key[REPEAT_KEY] = {7};
    const struct span k = span_of(key, sizeof key);
    struct tx t;
    size_t n = 0;
    put_be32(key + REPEAT_KEY - 4, i);
    memset(bytes, fill, sizeof bytes);
    assert_int_equal(tx_begin(e, false, &t), ERR_OK);
    if (put) {
        assert_int_equal(tx_put(&t, T_REPEAT, k, span_of(bytes, sizeof bytes)), ERR_OK);
    } else {
        assert_int_equal(tx_get(&t, T_REPEAT, k, got, sizeof got, &n), ERR_OK);
        assert_int_equal(n, sizeof got);
        assert_memory_equal(got, bytes, sizeof got);
        assert_int_equal(tx_del(&t, T_REPEAT, k), ERR_OK);
    }
    assert_int_equal(tx_commit(&t), ERR_OK);
    tx_free(&t);
}

static void large_records(struct engine *e)
{
    pthread_t thread;
    atomic_store(&checkpoints_end, false);
    assert_int_equal(pthread_create(&thread, NULL, checkpoints, e), 0);
    for (int round = 0; round < LARGE_ROUNDS; round++) {
        for (uint32_t i = 0; i < LARGE; i++)
            large_record(e, i, (char)('a' + round % 26), true);
        usleep((useconds_t)(round % 4) * 1000); /* the checkpoint is here or there */
        for (uint32_t i = LARGE; i-- > 0;)
            large_record(e, i, (char)('a' + round % 26), false);
    }
    atomic_store(&checkpoints_end, true);
    pthread_join(thread, NULL);
}

static void files_are_whole(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/db/repeat.db", store);
    DB *db = NULL;
    DB_BTREE_STAT *st = NULL;
    assert_int_equal(db_create(&db, NULL, 0), 0);
    assert_int_equal(db->open(db, NULL, path, NULL, DB_BTREE, DB_RDONLY, 0), 0);
    assert_int_equal(db->stat(db, NULL, &st, DB_FAST_STAT), 0);
    assert_int_equal(size_of(path),
                     (uint64_t)st->bt_pagecnt * st->bt_pagesize); /* it ends where the tree does */
    free(st);
    assert_int_equal(db->close(db, 0), 0);
    assert_int_equal(db_create(&db, NULL, 0), 0);
    assert_int_equal(db->verify(db, path, NULL, NULL, 0), 0); /* it closes the handle */
}

static void test_files_are_cut(void **state)
{
    (void)state;
    struct engine *e = open_engine();
    large_records(e);
    engine_close(&e);
    files_are_whole();
    in_child(large_records);
    e = open_engine(); /* recovers */
    engine_close(&e);
    files_are_whole();
}

static int set_up(void **state)
{
    (void)state;
    if (!drive_folder("engine-test", dir))
        return -1;
    snprintf(store, sizeof store, "%s/mail", dir);
    crypto_start();
    log_threshold(LOG_ALARM + 1); /* what is provoked here need not be read */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return drive_folder_remove(dir);
}

/* What a segment had not brought to the disk yet when the power failed is in the log: a start writes it there
 * again, and not where a message was never committed. A batch of many bytes is in the segment before. */
static void test_contents_come_from_the_log(void **state)
{
    (void)state;
    static char large[100 << 10];
    char path[400], text[1001];
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct engine_options o = drive_options(store);
        o.checkpoint_ms = 600000;
        struct engine *e = drive_open(&o);
        memset(large, 'L', sizeof large - 1);
        drive_deliver(e, 2, large);
        drive_deliver(e, 1, "one");
        drive_deliver(e, 1, "two");
        _exit(9);
    }
    int ended;
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 9);
    segment_path(path, sizeof path, 1);
    const off_t whole = size_of(path);
    assert_true(whole > (off_t)sizeof large);
    assert_int_equal(truncate(path, (off_t)sizeof large + 20), 0); /* only what was synced is left */
    struct engine *e = open_engine();
    assert_int_equal(size_of(path), whole);
    struct wire_box box = status(e, 1, "INBOX");
    assert_int_equal(box.messages, 2);
    assert_int_equal(drive_read(e, 1, box.id, 1, text), ERR_OK);
    assert_string_equal(text, "one");
    assert_int_equal(drive_read(e, 1, box.id, 2, text), ERR_OK);
    assert_string_equal(text, "two");
    engine_close(&e);
    assert_int_equal(truncate(path, (off_t)sizeof large + 20), 0); /* behind a checkpoint nothing is redone */
    e = open_engine();
    assert_int_equal(drive_read(e, 1, box.id, 2, text), ERR_BUG);
    engine_close(&e);
}

/* In place of the C library's: what happens when the first segment has just been synced. */
static void (*on_segment_synced)(void);

int fdatasync(int fd)
{
    char path[400];
    struct stat it, segment;
    int ret = (int)syscall(SYS_fdatasync, fd);
    void (*call)(void) = on_segment_synced;
    segment_path(path, sizeof path, 1);
    if (call && fstat(fd, &it) == 0 && stat(path, &segment) == 0 && it.st_ino == segment.st_ino) {
        on_segment_synced = NULL;
        call();
    }
    return ret;
}

static struct engine *checkpointed;

static void deliver_meanwhile(void)
{
    drive_deliver(checkpointed, 1, "two");
}

/* A checkpoint syncs the segment of what it passes, and does not pass what comes while it is under way. */
static void test_checkpoint_passes_what_is_synced(void **state)
{
    (void)state;
    char path[400], text[1001];
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct engine_options o = drive_options(store);
        o.checkpoint_ms = 600000;
        checkpointed = drive_open(&o);
        drive_deliver(checkpointed, 1, "one");
        on_segment_synced = deliver_meanwhile;
        env_checkpoint(checkpointed, true);
        _exit(on_segment_synced ? 8 : 9);
    }
    int ended;
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 9);
    segment_path(path, sizeof path, 1);
    const off_t whole = size_of(path);
    assert_int_equal(truncate(path, SEGMENT_HEAD + (whole - SEGMENT_HEAD) / 2), 0); /* "two" was not synced */
    struct engine *e = open_engine();
    assert_int_equal(size_of(path), whole);
    struct wire_box box = status(e, 1, "INBOX");
    assert_int_equal(box.messages, 2);
    assert_int_equal(drive_read(e, 1, box.id, 1, text), ERR_OK);
    assert_string_equal(text, "one");
    assert_int_equal(drive_read(e, 1, box.id, 2, text), ERR_OK);
    assert_string_equal(text, "two");
    engine_close(&e);
}

/* The inode of db/NAME when its blocks are all there, else 0. */
static ino_t written_out(const char *name)
{
    struct stat st;
    char path[400];
    snprintf(path, sizeof path, "%s/db/%s", store, name);
    return stat(path, &st) == 0 && (st.st_blocks + 8) * 512 >= 1 << 20 ? st.st_ino : 0;
}

static bool is_a_log(ino_t ino)
{
    for (unsigned i = 1; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "log.%010u", i);
        if (ino && written_out(name) == ino)
            return true;
    }
    return false;
}

/* Under load the next log file is written with zeros beforehand, and takes its place; at rest there is none.
 */
static void test_log_has_a_spare(void **state)
{
    (void)state;
    enum { MOST = 3000 };
    struct engine_options o = drive_options(store);
    o.log_size = 1 << 20;
    struct engine *e = drive_open(&o);
    ino_t spare = 0;
    unsigned n = 0, before = 0;
    assert_int_equal(written_out("log.spare"), 0);
    for (; n < MOST && !is_a_log(spare); n++) {
        drive_deliver(e, (unsigned char)(n % 100 + 1), "text");
        ino_t now = written_out("log.spare");
        before = now && !spare ? n : before;
        spare = spare ? spare : now;
    }
    assert_in_range(n, 1, MOST - 1);
    assert_in_range(before, 10, MOST - 1); /* not from the first message on */
    assert_int_equal(status(e, 1, "INBOX").id != 0, 1);
    engine_close(&e);
    assert_int_equal(written_out("log.spare"), 0);
    char path[400];
    snprintf(path, sizeof path, "%s/db/log.spare", store);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640); /* half a spare, of a crash */
    assert_int_equal(write(fd, path, 100), 100);
    close(fd);
    e = drive_open(&o);
    assert_int_equal(size_of(path), -1);
    struct wire_box box = status(e, 1, "INBOX");
    assert_int_equal(box.messages, n / 100 + (n % 100 ? 1 : 0));
    engine_close(&e);
}

int main(void)
{
#define ENGINE_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ENGINE_TEST(test_lock_and_format),
        ENGINE_TEST(test_tail_is_cut),
        ENGINE_TEST(test_damage_is_told),
        ENGINE_TEST(test_outcome_is_kept),
        ENGINE_TEST(test_marks),
        ENGINE_TEST(test_flags_of_odd_lists),
        ENGINE_TEST(test_late_requests),
        ENGINE_TEST(test_checksums_of_pages),
        ENGINE_TEST(test_slices_go_on),
        ENGINE_TEST(test_log_has_a_spare),
        ENGINE_TEST(test_changes_near_and_far),
        ENGINE_TEST(test_contents_come_from_the_log),
        ENGINE_TEST(test_checkpoint_passes_what_is_synced),
        ENGINE_TEST(test_files_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
