/* kill -9 of stored while workers use it, against a model. Several processes deliver, several change
 * mailboxes in every way that store.h has, one only looks; meanwhile stored is killed at random instants.
 * Afterwards: each acknowledged delivery is there exactly once, none twice, every mailbox is as its model
 * says, counters agree with rows, and no UID that anybody saw ever named another message. With a mode that is
 * not kill, it is not the process that dies but the power that fails (disk.c): what was not synced is lost or
 * torn by chance. usage: crash_store [KILLS [DELIVERIES [SEED [MODE]]]]; MODE: kill, power (blocks of 4096,
 * names as on ext4), strict (names need the sync of their folder), torn (blocks of 512), all (everything
 * unsynced goes), forget (syncs do nothing: must fail) */
#include "common/base/clock.h"
#include "tests/crash/disk_page.h"
#include "tests/lib/store_env.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DELIVERERS = 3,
    CHANGERS = 3,
    IN_FLIGHT = 25,
    ACCOUNTS = 40, /* that are delivered to */
    CHANGER_ACCOUNT = 500,
    STEPS = 400, /* of each changer */
    BOX_MAX = 3000,
    NUMBER_MAX = 100000
};

static struct store_env env;
static unsigned seed;

/* What the deliverers were told, shared with the parent. */
static struct shared {
    _Atomic unsigned char acknowledged[NUMBER_MAX];
    _Atomic unsigned delivered;
    _Atomic bool finished;
} * shared;

static void fail(const char *what, unsigned long a, unsigned long b)
{
    fprintf(stderr, "crash_store: %s (%lu, %lu), seed %u, pid %d\n", what, a, b, seed, (int)getpid());
    exit(1);
}

static uint32_t random_state;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(random_state >> 8) * n >> 24);
}

/* -- deliverers: message number k goes to account k % ACCOUNTS and to the next one -- */

struct sending {
    struct store *s;
    unsigned next, last, in_flight;
    bool done;
};
struct one {
    struct sending *all;
    unsigned number;
    struct trace_id trace;
    struct ticket *t;
};

static void send_next(struct sending *s);

static void on_delivered(void *session, enum err_code code, const struct store_delivered *d)
{
    struct one *o = session;
    if (code != ERR_OK)
        fail("a delivery was not taken", o->number, code);
    if (d->count != 2 || d->outcome[0] != ERR_OK || d->outcome[1] != ERR_OK)
        fail("a recipient was not served", o->number, d->count);
    shared->acknowledged[o->number] = 1;
    shared->delivered++;
    if (random_below(2))
        store_delivered_confirm(o->all->s, d->receipt);
    o->all->in_flight--;
    send_next(o->all);
    o->all->done = o->all->next == o->all->last && o->all->in_flight == 0;
    ticket_void(&o->t);
    free(o);
}

static void send_next(struct sending *s)
{
    char text[64];
    if (s->next == s->last)
        return;
    struct one *o = xcalloc(1, sizeof *o);
    *o = (struct one){.all = s, .number = s->next++, .trace = trace_new()};
    o->t = ticket_new(o);
    snprintf(text, sizeof text, "Number: %06u\r\n\r\nx\r\n", o->number);
    struct content *c = env_content(span_str(text), SPAN("m"));
    const struct store_target to[] = {
        {.kind = STORE_TO_ACCOUNT, .id = env_account(1 + o->number % ACCOUNTS), .address = SPAN("a@x")},
        {.kind = STORE_TO_ACCOUNT,
         .id = env_account(1 + (o->number + 1) % ACCOUNTS),
         .address = SPAN("b@x")}};
    const struct store_delivery d = {.trace = o->trace,
                                     .sender = SPAN("s@x"),
                                     .peer = SPAN("192.0.2.7"),
                                     .login = SPAN(""),
                                     .received_us = clock_wall_us(),
                                     .content = c,
                                     .to = to,
                                     .to_count = 2,
                                     .find_repeat = true};
    s->in_flight++;
    store_deliver(s->s, &d, o->t, on_delivered);
    content_free(&c);
}

static void deliverer(unsigned first, unsigned last)
{
    struct sending s = {.s = env_client(&env, "deliver"), .next = first, .last = last};
    for (int i = 0; i < IN_FLIGHT; i++)
        send_next(&s);
    env_wait(&env, &s.done);
    store_free(&s.s);
}

/* -- answers made to wait for -- */

static struct got {
    bool done;
    enum err_code code;
    struct store_row *rows;
    size_t row_count, row_cap;
    uint32_t from[BOX_MAX], to[BOX_MAX];
    size_t count;
    uint32_t uid;
    char text[64];
} got;

static struct ticket *begin(void)
{
    got.done = false;
    got.row_count = got.count = 0;
    return ticket_new(&got);
}

static void finish(struct ticket *t, const char *what)
{
    env_wait(&env, &got.done);
    ticket_void(&t);
    if (got.code != ERR_OK)
        fail(what, got.code, 0);
}

static void on_rows(void *s, enum err_code code, const struct store_row *rows, size_t count, bool more)
{
    struct got *g = s;
    g->code = code;
    g->done = !more;
    if (g->row_count + count > g->row_cap) {
        g->row_cap = (g->row_count + count) * 2;
        g->rows = xrealloc(g->rows, g->row_cap * sizeof *g->rows);
    }
    if (count)
        memcpy(g->rows + g->row_count, rows, count * sizeof *rows);
    g->row_count += count;
}

static void on_read(void *s, enum err_code code, struct span bytes)
{
    struct got *g = s;
    g->code = code;
    g->done = true;
    snprintf(g->text, sizeof g->text, "%.*s", SPAN_ARG(bytes));
}

static void on_done(void *s, enum err_code code)
{
    struct got *g = s;
    g->code = code;
    g->done = true;
}

static void on_appended(void *s, enum err_code code, const struct store_appended *a)
{
    struct got *g = s;
    g->code = code;
    g->done = true;
    g->uid = code == ERR_OK ? a->uid : 0;
}

static void on_copied(void *s, enum err_code code, const struct store_copied *c)
{
    struct got *g = s;
    g->code = code;
    g->done = true;
    if (code != ERR_OK)
        return;
    g->count = c->count;
    memcpy(g->from, c->from, c->count * 4);
    memcpy(g->to, c->to, c->count * 4);
}

static void on_expunged(void *s, enum err_code code, const uint32_t *gone, size_t count, uint64_t modseq)
{
    struct got *g = s;
    (void)modseq;
    g->code = code;
    g->done = true;
    g->count = count;
    if (count)
        memcpy(g->from, gone, count * 4);
}

static void on_flagged(void *s, enum err_code code, const struct store_flagged *f)
{
    struct got *g = s;
    g->code = code;
    g->done = true;
    g->count = 0;
    for (size_t i = 0; code == ERR_OK && i < f->run_count; i++)
        g->count += f->runs[i].count;
}

static void on_box(void *s, enum err_code code, const struct store_mailbox *box)
{
    struct got *g = s;
    (void)box;
    g->code = code;
    g->done = true;
}

/* -- changers: one account each, with a model -- */

struct message {
    uint32_t uid, flags, size;
};
struct model {
    const char *name;
    uint64_t id;
    uint32_t uid_high; /* the highest UID that was ever seen in it */
    struct message v[BOX_MAX];
    size_t n;
};
static struct model boxes[2] = {{.name = "INBOX"}, {.name = "Kho"}};
static struct store_account *account;
static uint32_t next_size = 100;

static void add(struct model *m, uint32_t uid, uint32_t flags, uint32_t size)
{
    if (uid <= m->uid_high)
        fail("a UID came twice", uid, m->uid_high);
    m->uid_high = uid;
    m->v[m->n++] = (struct message){uid, flags, size};
}

static void cut(struct model *m, uint32_t uid)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].uid == uid) {
            memmove(&m->v[i], &m->v[i + 1], (m->n - i - 1) * sizeof *m->v);
            m->n--;
            return;
        }
    fail("a UID that is not there", uid, m->n);
}

static const struct message *find(const struct model *m, uint32_t uid)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].uid == uid)
            return &m->v[i];
    fail("a UID that is not there", uid, m->n);
    return NULL;
}

static void step_append(struct model *m)
{
    char text[4096];
    if (m->n + 1 >= BOX_MAX)
        return;
    uint32_t size = next_size++;
    memset(text, 'x', sizeof text);
    struct content *c = env_content(span_of(text, size), SPAN("m"));
    const struct store_append a = {.mailbox = span_str(m->name),
                                   .content = c,
                                   .flags = STORE_FLAGGED,
                                   .internal_s = 1,
                                   .trace = trace_new()};
    struct ticket *t = begin();
    store_append(account, &a, t, on_appended);
    finish(t, "append");
    content_free(&c);
    add(m, got.uid, STORE_FLAGGED, size);
}

/* A random choice of UIDs, ascending; share of 100. */
static size_t choose(const struct model *m, uint32_t share, uint32_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        if (random_below(100) < share)
            out[n++] = m->v[i].uid;
    return n;
}

static void step_flags(struct model *m)
{
    static uint32_t uids[BOX_MAX];
    size_t n = choose(m, 60, uids), changed = 0;
    const uint32_t bit = 1U << random_below(5);
    const struct store_flag_change c = {.op = random_below(2) ? STORE_FLAGS_ADD : STORE_FLAGS_REMOVE,
                                        .flags = bit};
    for (size_t i = 0; i < n; i++) {
        struct message *x = (struct message *)(uintptr_t)find(m, uids[i]);
        uint32_t fresh = c.op == STORE_FLAGS_ADD ? x->flags | bit : x->flags & ~bit;
        changed += fresh != x->flags;
        x->flags = fresh;
    }
    struct ticket *t = begin();
    store_flags(account, m->id, uids, n, &c, t, on_flagged);
    finish(t, "flags");
    if (got.count != changed)
        fail("flags changed of another number of messages", got.count, changed);
}

static void step_copy(struct model *from, struct model *to, bool move)
{
    static uint32_t uids[BOX_MAX];
    size_t n = choose(from, move ? 30 : 70, uids);
    if (to->n + n >= BOX_MAX || n == 0)
        return;
    struct ticket *t = begin();
    store_copy(account, from->id, uids, n, span_str(to->name), move, t, on_copied);
    finish(t, move ? "move" : "copy");
    if (got.count != n)
        fail("another number of copies", got.count, n);
    for (size_t i = 0; i < n; i++) {
        struct message x = *find(from, got.from[i]);
        if (got.from[i] != uids[i])
            fail("another message was copied", got.from[i], uids[i]);
        add(to, got.to[i], x.flags, x.size);
        if (move)
            cut(from, uids[i]);
    }
}

static void step_expunge(struct model *m)
{
    size_t deleted = 0;
    for (size_t i = 0; i < m->n; i++)
        deleted += (m->v[i].flags & STORE_DELETED) != 0;
    struct ticket *t = begin();
    store_expunge(account, m->id, NULL, 0, t, on_expunged);
    finish(t, "expunge");
    if (got.count != deleted)
        fail("another number of messages was expunged", got.count, deleted);
    for (size_t i = 0; i < got.count; i++) {
        if (!(find(m, got.from[i])->flags & STORE_DELETED))
            fail("a message without the flag was expunged", got.from[i], 0);
        cut(m, got.from[i]);
    }
}

static void step_rename(struct model *m)
{
    const char *to = strcmp(m->name, "Kho") == 0 ? "Lưu/Kho" : "Kho";
    struct ticket *t = begin();
    store_rename(account, span_str(m->name), span_str(to), t, on_done);
    finish(t, "rename");
    m->name = to;
}

static void step_temporary(void)
{
    struct ticket *t = begin();
    store_create(account, SPAN("Tạm/Một"), STORE_USE_NONE, t, on_box);
    finish(t, "create");
    t = begin();
    store_delete(account, SPAN("Tạm/Một"), t, on_done);
    finish(t, "delete");
}

static void compare(struct model *m)
{
    struct store_mailbox box;
    uint32_t unseen = 0, deleted = 0;
    uint64_t bytes = 0;
    if (env_status(&env, account, m->name, &box) != ERR_OK || box.id != m->id)
        fail("a mailbox is lost", m->id, box.id);
    struct ticket *t = begin();
    store_rows(account, m->id, 1, 0, t, on_rows);
    finish(t, "rows");
    if (got.row_count != m->n)
        fail("another number of messages than the model has", got.row_count, m->n);
    for (size_t i = 0; i < m->n; i++) {
        const struct store_row *r = &got.rows[i];
        if (r->uid != m->v[i].uid || r->size != m->v[i].size || r->flags != m->v[i].flags)
            fprintf(stderr, "UID %u %u size %u %u flags %u %u\n", r->uid, m->v[i].uid, r->size, m->v[i].size,
                    r->flags, m->v[i].flags);
        if (r->uid != m->v[i].uid || r->size != m->v[i].size || r->flags != m->v[i].flags)
            fail("a message is not as the model says", r->uid, m->v[i].uid);
        unseen += !(r->flags & STORE_SEEN);
        deleted += (r->flags & STORE_DELETED) != 0;
        bytes += r->size;
    }
    if (box.messages != m->n || box.unseen != unseen || box.deleted != deleted || box.bytes != bytes)
        fail("the counters of a mailbox are wrong", box.messages, box.unseen);
    if (box.uidnext <= m->uid_high)
        fail("UIDNEXT fell", box.uidnext, m->uid_high);
}

static void changer(unsigned number)
{
    struct store *s = env_client(&env, "session");
    struct store_mailbox box;
    account = env_login(&env, s, CHANGER_ACCOUNT + number, NULL);
    if (!account)
        fail("no login", number, 0);
    struct ticket *t = begin();
    store_create(account, SPAN("Kho"), STORE_USE_NONE, t, on_box);
    finish(t, "create");
    for (int i = 0; i < 2; i++) {
        if (env_status(&env, account, boxes[i].name, &box) != ERR_OK)
            fail("no mailbox", (unsigned long)i, 0);
        boxes[i].id = box.id;
    }
    for (int step = 0; step < STEPS; step++) {
        struct model *a = &boxes[random_below(2)], *b = a == boxes ? boxes + 1 : boxes;
        switch (random_below(10)) {
        case 0:
            step_copy(a, b, false);
            break;
        case 1:
            step_copy(a, b, true);
            break;
        case 2:
        case 3:
            step_flags(a);
            break;
        case 4:
            step_expunge(a);
            break;
        case 5:
            step_rename(&boxes[1]);
            break;
        case 6:
            step_temporary();
            break;
        default:
            for (int i = 0; i < 8; i++)
                step_append(a);
        }
        if (step % 20 == 19) {
            compare(&boxes[0]);
            compare(&boxes[1]);
        }
    }
    compare(&boxes[0]);
    compare(&boxes[1]);
    store_logout(&account);
    store_free(&s);
}

/* -- the one who only looks: a UID, once seen, names its content for ever -- */

enum { LOOKED_AT = 8 };
static uint64_t seen[LOOKED_AT][BOX_MAX];
static struct store_row rows_seen[LOOKED_AT][BOX_MAX]; /* as they were last */
static uint64_t modseq_seen[LOOKED_AT];

static void look(struct store_account *a, unsigned i)
{
    struct store_mailbox box;
    if (env_status(&env, a, "INBOX", &box) != ERR_OK)
        fail("no INBOX", i, 0);
    if (box.modseq < modseq_seen[i])
        fail("the modseq of a mailbox fell", i, box.modseq);
    modseq_seen[i] = box.modseq;
    struct ticket *t = begin();
    store_rows(a, box.id, 1, 0, t, on_rows);
    finish(t, "rows");
    for (size_t k = 0; k < got.row_count; k++) {
        const struct store_row *r = &got.rows[k];
        if (r->uid >= BOX_MAX)
            continue;
        if (seen[i][r->uid] && seen[i][r->uid] != r->content)
            fail("a UID names another message than before", r->uid, i);
        seen[i][r->uid] = r->content;
        const struct store_row *old = &rows_seen[i][r->uid];
        if (r->modseq < old->modseq || (r->modseq == old->modseq && r->flags != old->flags))
            fail("a modseq stands for two states of a message", r->uid, i);
        rows_seen[i][r->uid] = *r;
    }
}

static void looker(void)
{
    struct store *s = env_client(&env, "session");
    struct store_account *a[LOOKED_AT];
    for (unsigned i = 0; i < LOOKED_AT; i++)
        if (!(a[i] = env_login(&env, s, 1 + i, NULL)))
            fail("no login", i, 0);
    while (!shared->finished) {
        unsigned i = random_below(LOOKED_AT);
        look(a[i], i);
        usleep(2000);
    }
    for (unsigned i = 0; i < LOOKED_AT; i++)
        store_logout(&a[i]);
    store_free(&s);
}

/* -- afterwards -- */

/* How often each number is in the account's INBOX. */
static void count_account(struct store *s, unsigned n, unsigned char *times, unsigned total)
{
    struct store_account *a = env_login(&env, s, n, NULL);
    struct store_mailbox box;
    if (!a || env_status(&env, a, "INBOX", &box) != ERR_OK)
        fail("no INBOX", n, 0);
    struct ticket *t = begin();
    store_rows(a, box.id, 1, 0, t, on_rows);
    finish(t, "rows");
    size_t rows = got.row_count;
    uint32_t last = 0;
    if (box.messages != rows)
        fail("the counter of a mailbox is wrong", box.messages, rows);
    for (size_t i = 0; i < rows; i++) {
        uint32_t uid = got.rows[i].uid;
        unsigned number = total;
        if (uid <= last)
            fail("UIDs do not ascend", uid, last);
        last = uid;
        struct got keep = got;
        t = begin();
        store_read(a, box.id, uid, 0, 64, t, on_read);
        finish(t, "read");
        if (sscanf(got.text, "Number: %u", &number) != 1 || number >= total)
            fail("a body is not what was sent", uid, n);
        got.rows = keep.rows;
        times[number]++;
    }
    store_logout(&a);
}

static void check_deliveries(unsigned total)
{
    struct store *s = env_client(&env, "session");
    for (unsigned n = 0; n < ACCOUNTS; n++) {
        unsigned char *times = xcalloc(total, 1);
        count_account(s, 1 + n, times, total);
        for (unsigned k = 0; k < total; k++) {
            unsigned want = k % ACCOUNTS == n || (k + 1) % ACCOUNTS == n;
            if (!want && times[k])
                fail("a message is in a mailbox that it was not for", k, n);
            if (want && shared->acknowledged[k] && times[k] != 1)
                fail("an acknowledged message is not there exactly once", k, times[k]);
            if (times[k] > 1)
                fail("a message is there twice", k, times[k]);
        }
        free(times);
    }
    store_free(&s);
}

static pid_t spawn(unsigned i, unsigned deliveries)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    env.loop = loop_new();
    random_state = seed * 7919 + i;
    unsigned share = deliveries / DELIVERERS;
    if (i < DELIVERERS)
        deliverer(i * share, (i + 1) * share);
    else if (i < DELIVERERS + CHANGERS)
        changer(i - DELIVERERS);
    else
        looker();
    free(got.rows);
    env_loop_free(&env);
    exit(0);
}

/* Whether all workers but the looker have ended. */
static bool reap(pid_t *pids, bool wait)
{
    bool all = true;
    for (int i = 0; i < DELIVERERS + CHANGERS; i++) {
        int status;
        if (!pids[i])
            continue;
        pid_t got_pid = waitpid(pids[i], &status, wait ? 0 : WNOHANG);
        if (got_pid == 0) {
            all = false;
            continue;
        }
        pids[i] = 0;
        if (status != 0) {
            fprintf(stderr, "crash_store: worker %d ended with status %d; %s is kept\n", i, status, env.dir);
            exit(1);
        }
    }
    return all;
}

/* -- the power -- */

static const struct mode {
    const char *name;
    uint32_t flags, grain;
} modes[] = {{"kill", 0, 0},
             {"power", 0, 4096},
             {"strict", DISK_STRICT, 4096},
             {"pages", DISK_NAMES, 16384},
             {"torn", DISK_STRICT, 512},
             {"all", DISK_STRICT | DISK_ALL, 4096},
             {"forget", DISK_FORGET, 4096}};
static struct disk_page *disk;

static void power_start(const char *name)
{
    static char path[] = "/tmp/disk-XXXXXX", shim[4096];
    const struct mode *m = NULL;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, name) == 0)
            m = &modes[i];
    if (!m)
        fail("no such mode", 0, 0);
    if (!m->grain)
        return;
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0 || ftruncate(fd, sizeof *disk) != 0)
        fail("no control file", (unsigned long)errno, 0);
    disk = mmap(NULL, sizeof *disk, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (disk == MAP_FAILED)
        fail("mmap", (unsigned long)errno, 0);
    close(fd);
    disk->cut_after = -1;
    disk->flags = m->flags;
    disk->grain = m->grain;
    disk->seed = seed;
    snprintf(shim, sizeof shim, "%s/tests/crash/disk.so",
             getenv("top_builddir") ? getenv("top_builddir") : ".");
    setenv("STORED_PRELOAD", shim, 1);
    setenv("DISK_CONTROL", path, 1);
}

static void power_end(void)
{
    if (!disk)
        return;
    printf("crash_store: %lu power cuts in %lu operations; blocks lost %lu, kept %lu; names lost %lu\n",
           (unsigned long)disk->cuts, (unsigned long)disk->ops, (unsigned long)disk->blocks_lost,
           (unsigned long)disk->blocks_kept, (unsigned long)disk->names_lost);
    unlink(getenv("DISK_CONTROL"));
}

/* Let the power fail within some operations; a start may be hit as well. */
static void power_cut(void)
{
    enum { PATIENCE_MS = 3000 };
    int status = 0;
    disk->seed = random_below(1 << 30);
    disk->cut_after = (int32_t)random_below(random_below(3) ? 60 : 600);
    for (int ms = 0; ms < PATIENCE_MS && env.pid; ms++) {
        usleep(1000);
        if (waitpid(env.pid, &status, WNOHANG) == env.pid)
            env.pid = 0;
    }
    disk->cut_after = -1;
    if (!env.pid && WIFEXITED(status))
        fail("stored ended by itself", (unsigned long)WEXITSTATUS(status), disk->cuts);
    env_kill(&env);
}

static void end_stored(void)
{
    if (disk)
        power_cut();
    else
        env_kill(&env);
}

int main(int argc, char **argv)
{
    unsigned kills = argc > 1 ? (unsigned)atoi(argv[1]) : 12;
    unsigned deliveries = argc > 2 ? (unsigned)atoi(argv[2]) : 2001;
    pid_t pids[DELIVERERS + CHANGERS + 1];
    seed = argc > 3 ? (unsigned)atoi(argv[3]) : (unsigned)getpid();
    deliveries = deliveries > NUMBER_MAX ? NUMBER_MAX : deliveries;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        fail("mmap", (unsigned long)errno, 0);
    if (argc > 4)
        power_start(argv[4]);
    env_start(&env, "store_segment_size = 1M\nstore_checkpoint_interval = 100ms\nstore_log_size = 1M\n");
    env_loop_free(&env); /* each child has its own, and none is inherited */
    for (unsigned i = 0; i < DELIVERERS + CHANGERS + 1; i++)
        pids[i] = spawn(i, deliveries);
    env.loop = loop_new();
    random_state = seed;
    unsigned killed = 0;
    while (killed < kills && !reap(pids, false)) {
        if (!disk || killed % 4) /* some come at once: at the start */
            usleep(1000 * (100 + random_below(500)));
        end_stored();
        killed++;
        env_restart(&env);
    }
    reap(pids, true);
    shared->finished = true;
    int status = 0;
    waitpid(pids[DELIVERERS + CHANGERS], &status, 0);
    if (status != 0)
        fail("the one who looks ended badly", (unsigned long)status, 0);
    check_deliveries(deliveries / DELIVERERS * DELIVERERS);
    env_kill(&env); /* and once more, with nothing under way */
    env_restart(&env);
    check_deliveries(deliveries / DELIVERERS * DELIVERERS);
    printf("crash_store: %u kills, %u deliveries acknowledged and there once, seed %u\n", killed,
           shared->delivered, seed);
    free(got.rows);
    status = env_stop(&env);
    env_end(&env);
    power_end();
    return status;
}
