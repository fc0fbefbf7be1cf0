/* See engine_drive.h. One job is waited for at a time; the rest of a batch's news is dropped. */
#include "tests/lib/engine_drive.h"
#include "common/base/crypto.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef SANITIZERS
/* libdb keeps the records of transactions whose page versions are still cached, and leaves them at the end.
 * It is named as a module: function names need a symbolizer, which a machine may not have. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libdb-\n";
}
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static struct job *finished; /* the one that was waited for */
static struct news *kept;
static unsigned leave_after, batches;
static void (*watching)(const struct news *n);

static void __attribute__((noreturn)) failed(const char *what, enum err_code code)
{
    fprintf(stderr, "engine_drive: %s: %s\n", what, err_name(code));
    abort();
}

static void must(bool ok, const char *what)
{
    if (!ok)
        failed(what, ERR_BUG);
}

static void on_done(void *arg, struct news *n)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    if (leave_after && ++batches == leave_after)
        _exit(9);
    if (watching)
        watching(n);
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

bool drive_folder(const char *name, char dir[DRIVE_DIR])
{
    const char *tmp = getenv("TMPDIR");
    int n = snprintf(dir, DRIVE_DIR, "%s/%s-XXXXXX", tmp ? tmp : "/tmp", name);
    return n > 0 && n < DRIVE_DIR && mkdtemp(dir) != NULL;
}

bool drive_store(const char *name, char dir[DRIVE_DIR], char store[DRIVE_STORE])
{
    const bool ok = drive_folder(name, dir);
    snprintf(store, DRIVE_STORE, "%s/store", dir);
    return ok;
}

int drive_folder_remove(const char *dir)
{
    char command[DRIVE_DIR + 20];
    news_free(&kept);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

struct engine_options drive_options(const char *dir)
{
    return (struct engine_options){.dir = dir,
                                   .cache_size = 16 << 20,
                                   .segment_size = 1 << 20,
                                   .checkpoint_ms = 500,
                                   .checkpoint_size = 8 << 20,
                                   .message_limit = 64 << 20,
                                   .reserve = 1 << 20,
                                   .done = on_done};
}

struct engine *drive_open(const struct engine_options *o)
{
    struct engine *e = NULL;
    struct err why = {.code = ERR_OK};
    if (engine_open(o, &e, &why) != ERR_OK)
        failed(why.log, why.code);
    return e;
}

void drive_leave_after(unsigned n)
{
    pthread_mutex_lock(&lock);
    batches = 0;
    leave_after = n;
    pthread_mutex_unlock(&lock);
}

void drive_watch(void (*see)(const struct news *n))
{
    pthread_mutex_lock(&lock);
    watching = see;
    pthread_mutex_unlock(&lock);
}

struct job *drive_call(struct engine *e, struct job *j)
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

static struct job *called(struct engine *e, struct job *j, const char *what)
{
    j = drive_call(e, j);
    if (j->code != ERR_OK)
        failed(what, j->code);
    return j;
}

struct uuid drive_account(unsigned char n)
{
    struct uuid u = {{n}};
    return u;
}

void drive_put_content(struct buf *body, struct span text)
{
    const uint32_t n = (uint32_t)text.n;
    const struct wire_content c = {.size = n, .packed = n, .frames = 1, .meta_n = 4, .inline_n = n};
    const struct frame_size f = {n, n};
    must(buf_add(body, &c, sizeof c) && buf_add(body, &f, sizeof f) && buf_add_str(body, "meta") &&
             buf_add_span(body, text),
         "content");
}

struct job *drive_delivery_to(const struct wire_target *targets, uint32_t count, uint32_t flags,
                              const char *sender, struct span text)
{
    struct job *j = job_new(WIRE_DELIVER);
    const struct trace_id trace = trace_new();
    struct wire_deliver d = {.received_us = clock_wall_us(), .target_count = count, .flags = flags};
    memcpy(d.trace, trace.text, TRACE_TEXT);
    j->id = request_new();
    must(buf_add(&j->body, &d, sizeof d) && wire_put_text(&j->body, span_str(sender)) &&
             wire_put_text(&j->body, SPAN("p")) && wire_put_text(&j->body, SPAN("")),
         "delivery");
    for (uint32_t i = 0; i < count; i++)
        must(buf_add(&j->body, &targets[i], sizeof *targets) && buf_add(&j->body, "a", targets[i].address_n),
             "target");
    drive_put_content(&j->body, text);
    return j;
}

struct job *drive_delivery(unsigned char to, const char *text, bool group)
{
    const struct wire_target t = {.id = drive_account(to), .kind = group ? STORE_TO_GROUP : STORE_TO_ACCOUNT};
    return drive_delivery_to(&t, 1, 0, "s", span_str(text));
}

void drive_deliver(struct engine *e, unsigned char to, const char *text)
{
    const struct job *j = called(e, drive_delivery(to, text, false), "deliver");
    must(j->answer.v[0].p[sizeof(struct wire_delivered)] == ERR_OK, "deliver to the account");
}

struct wire_box drive_status(struct engine *e, unsigned char n, const char *name)
{
    struct wire_box box = {.id = 0};
    struct buf body;
    buf_init(&body, 2000);
    must(buf_add(&body, &(struct wire_status){0, 0}, sizeof(struct wire_status)) &&
             wire_put_text(&body, span_str(name)),
         "status");
    struct query q = {
        .type = WIRE_STATUS, .account = drive_account(n), .body = buf_span(&body), .budget = 100};
    enum err_code code = engine_query(e, &q);
    if (code == ERR_OK)
        memcpy(&box, q.answer.v[0].p, sizeof box);
    else if (code != ERR_MISSING)
        failed("status", code);
    parts_free(&q.answer);
    buf_free(&body);
    return box;
}

/* -- what a session asks -- */

struct job *drive_session_job(uint16_t type, unsigned char account, uint64_t box)
{
    struct job *j = job_new(type);
    j->account = drive_account(account);
    j->mailbox = box;
    j->id = request_new();
    return j;
}

uint32_t drive_append(struct engine *e, unsigned char account, const char *name, const char *keyword,
                      const char *text)
{
    struct job *j = drive_session_job(WIRE_APPEND, account, 0);
    const struct trace_id trace = trace_new();
    struct wire_append w = {.internal_s = 1700000000, .zone_min = 420, .flags = STORE_SEEN};
    struct wire_appended answer;
    w.keyword_count = keyword ? 1 : 0;
    memcpy(w.trace, trace.text, TRACE_TEXT);
    must(buf_add(&j->body, &w, sizeof w) && wire_put_text(&j->body, span_str(name)) &&
             (!keyword || wire_put_text(&j->body, span_str(keyword))),
         "append");
    drive_put_content(&j->body, span_str(text));
    j = called(e, j, "append");
    memcpy(&answer, j->answer.v[0].p, sizeof answer);
    return answer.uid;
}

void drive_create(struct engine *e, unsigned char account, const char *name)
{
    struct job *j = drive_session_job(WIRE_CREATE, account, 0);
    const struct wire_create w = {0, 0};
    must(buf_add(&j->body, &w, sizeof w) && wire_put_text(&j->body, span_str(name)), "create");
    called(e, j, "create");
}

void drive_delete(struct engine *e, unsigned char account, const char *name)
{
    struct job *j = drive_session_job(WIRE_DELETE, account, 0);
    must(wire_put_text(&j->body, span_str(name)), "delete");
    called(e, j, "delete");
}

static void add_uids(struct buf *body, uint32_t first, uint32_t last)
{
    for (uint32_t uid = first; uid <= last; uid++)
        must(buf_add(body, &uid, sizeof uid), "uids");
}

struct job *drive_flags_job(unsigned char account, uint64_t box, uint32_t first, uint32_t last,
                            uint32_t flags)
{
    struct job *j = drive_session_job(WIRE_FLAGS, account, box);
    const struct wire_flags w = {.op = STORE_FLAGS_ADD, .flags = flags, .uid_count = last - first + 1};
    must(buf_add(&j->body, &w, sizeof w), "flags");
    add_uids(&j->body, first, last);
    return j;
}

void drive_flags(struct engine *e, unsigned char account, uint64_t box, uint32_t first, uint32_t last,
                 uint32_t flags)
{
    called(e, drive_flags_job(account, box, first, last, flags), "flags");
}

struct job *drive_copy_job(unsigned char account, uint64_t box, uint32_t first, uint32_t last, const char *to,
                           bool move)
{
    struct job *j = drive_session_job(WIRE_COPY, account, box);
    const struct wire_copy w = {.move = move, .uid_count = last - first + 1};
    must(buf_add(&j->body, &w, sizeof w) && wire_put_text(&j->body, span_str(to)), "copy");
    add_uids(&j->body, first, last);
    return j;
}

void drive_copy(struct engine *e, unsigned char account, uint64_t box, uint32_t first, uint32_t last,
                const char *to, bool move)
{
    called(e, drive_copy_job(account, box, first, last, to, move), "copy");
}

struct job *drive_expunge_job(unsigned char account, uint64_t box)
{
    struct job *j = drive_session_job(WIRE_EXPUNGE, account, box);
    const struct wire_expunge w = {.all = 1};
    must(buf_add(&j->body, &w, sizeof w), "expunge");
    return j;
}

void drive_expunge(struct engine *e, unsigned char account, uint64_t box)
{
    called(e, drive_expunge_job(account, box), "expunge");
}

enum err_code drive_read(struct engine *e, unsigned char n, uint64_t box, uint32_t uid, char *out)
{
    return drive_read_seen(e, n, box, uid, 0, out);
}

enum err_code drive_read_seen(struct engine *e, unsigned char n, uint64_t box, uint32_t uid, uint64_t seen,
                              char *out)
{
    const struct wire_read w = {0, 1000, seen, uid, 0};
    struct query q = {.type = WIRE_READ,
                      .account = drive_account(n),
                      .mailbox = box,
                      .body = span_of(&w, sizeof w),
                      .budget = 1};
    enum err_code code;
    do
        code = engine_query(e, &q);
    while (code == ERR_OK && q.more);
    if (code == ERR_OK) {
        size_t head = sizeof(struct wire_read_part) + sizeof(struct frame_size);
        memcpy(out, q.answer.v[0].p + head, q.answer.v[0].n - head);
        out[q.answer.v[0].n - head] = '\0';
    }
    parts_free(&q.answer);
    return code;
}

/* -- records -- */

long drive_refs(struct engine *e, uint64_t content)
{
    struct tx t;
    unsigned char key[KEY_ID], v[REC_REF];
    struct rec_ref r = {.count = 0};
    size_t n = 0;
    put_be64(key, content);
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = tx_get(&t, T_REF, span_of(key, sizeof key), v, sizeof v, &n);
    if (code == ERR_OK)
        must(rec_ref_get(span_of(v, n), &r), "count");
    tx_free(&t);
    must(code == ERR_OK || code == ERR_MISSING, "count");
    return code == ERR_OK ? (long)r.count : -1;
}

struct rec_quota drive_quota(struct engine *e, unsigned char n)
{
    struct tx t;
    struct rec_quota q;
    const struct uuid id = drive_account(n);
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = quota_get(&t, &id, &q);
    tx_free(&t);
    if (code != ERR_OK)
        failed("quota", code);
    return q;
}

uint64_t drive_content(struct engine *e, uint64_t box, uint32_t uid)
{
    struct tx t;
    struct store_row r = {.content = 0};
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = row_get(&t, box, uid, &r);
    tx_free(&t);
    must(code == ERR_OK || code == ERR_MISSING, "row");
    return code == ERR_OK ? r.content : 0;
}

/* -- verify -- */

char drive_told[64 << 10];
struct store_bare drive_bare[16];
size_t drive_bare_count;

static void take_findings(struct wire_in *in, const struct wire_verify_said *said, size_t *n)
{
    for (uint32_t i = 0; i < said->count; i++) {
        bool fixed = wire_u32(in) != 0;
        struct span text = wire_text(in);
        *n += (size_t)snprintf(drive_told + *n, sizeof drive_told - *n, "%s%.*s\n", fixed ? "repaired: " : "",
                               SPAN_ARG(text));
        must(*n < sizeof drive_told, "more findings than fit");
    }
    must(drive_bare_count + said->bare <= sizeof drive_bare / sizeof *drive_bare,
         "more bare contents than fit");
    wire_get(in, drive_bare + drive_bare_count, said->bare * sizeof *drive_bare);
    drive_bare_count += said->bare;
    must(wire_whole(in), "a step of a verification");
}

uint64_t drive_verify(struct engine *e, bool deep, bool repair)
{
    struct wire_verify_said said = {.phases = 1};
    size_t n = 0;
    drive_told[0] = '\0';
    drive_bare_count = 0;
    for (bool start = true; said.phase < said.phases; start = false) {
        const struct wire_verify w = {start, deep, repair, 0};
        struct query q = {.type = WIRE_VERIFY, .body = span_of(&w, sizeof w)};
        must(engine_query(e, &q) == ERR_OK, "verify");
        struct wire_in in = {buf_span(&q.answer.v[0]), false};
        must(wire_get(&in, &said, sizeof said), "a step of a verification");
        take_findings(&in, &said, &n);
        parts_free(&q.answer);
    }
    return said.found - said.fixed;
}

void drive_tamper(struct engine *e, enum table table, struct span key, const void *value, size_t n)
{
    struct tx t;
    must(tx_begin(e, false, &t) == ERR_OK, "tamper");
    enum err_code code = value ? tx_put(&t, table, key, span_of(value, n)) : tx_del(&t, table, key);
    must(code == ERR_OK && tx_commit(&t) == ERR_OK, "tamper");
    tx_free(&t);
}
