/* Figures of the store over its sockets: one worker process (this one) and one stored. Deliveries of 10 KB
 * that pack to about 3.6 KB into 500 mailboxes at 1, 20 and 100 in flight; a circular to 9,000 in slices of
 * 300; a mailbox of 100,000. Prints a line each, with the CPU time of both sides. usage: bench_store [N
 * deliveries] */
#include "common/base/clock.h"
#include "tests/lib/store_env.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 10240, MAILBOXES = 500, PEOPLE = 9000, LARGE_BOX = 100000, LARGE_ACCOUNT = 100000 };

static struct store_env env;
static struct store *deliver, *relay, *session;
static char message[MESSAGE];
static char meta[1200]; /* the size of a plain message's record */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double own_cpu(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)r.ru_utime.tv_sec + (double)r.ru_stime.tv_sec +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static double stored_cpu(void)
{
    char path[64], line[1024];
    unsigned long user = 0, sys = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)env.pid);
    FILE *f = fopen(path, "r");
    if (f && fgets(line, sizeof line, f)) {
        const char *p = strrchr(line, ')');
        if (p)
            sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
    }
    if (f)
        fclose(f);
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

/* A little over a third of it random, so that it packs like mail does. */
static void make_message(unsigned seed)
{
    static const char words[] = "thu dien tu cong vu tinh Gia Lai kinh gui cac don vi noi dung cong van ";
    size_t at = (size_t)snprintf(message, sizeof message, "Subject: %u\r\n\r\n", seed);
    uint32_t x = seed * 2654435761U + 1;
    while (at < sizeof message) {
        x = x * 1664525 + 1013904223;
        if ((x >> 16) % 5 < 2)
            message[at++] = (char)('a' + (x >> 24) % 26);
        else
            message[at] = words[at % (sizeof words - 1)], at++;
    }
}

/* -- deliveries -- */

struct run {
    unsigned long sent, answered, total;
    unsigned in_flight, width;
    bool done;
    uint64_t bytes;
    uint32_t first_account;
    double *started, *took;
};

static void send_one(struct run *r);

struct one {
    struct run *r;
    double started;
    struct ticket *t;
};

static void on_delivered(void *s, enum err_code code, const struct store_delivered *d)
{
    struct one *o = s;
    struct run *r = o->r;
    if (code != ERR_OK || d->outcome[0] != ERR_OK)
        abort();
    r->took[r->answered++] = now() - o->started;
    store_delivered_confirm(deliver, d->receipt);
    ticket_void(&o->t);
    free(o);
    r->in_flight--;
    if (r->sent < r->total)
        send_one(r);
    r->done = r->answered == r->total;
}

static void send_one(struct run *r)
{
    struct one *o = xmalloc(sizeof *o);
    const unsigned box = r->first_account + (unsigned)(r->sent % r->width);
    *o = (struct one){.r = r, .started = now()};
    o->t = ticket_new(o);
    memcpy(message, &r->sent, sizeof r->sent);
    struct content *c = env_content(span_of(message, sizeof message), span_of(meta, sizeof meta));
    r->bytes = content_packed_size(c);
    const struct store_target to = {
        .kind = STORE_TO_ACCOUNT, .id = env_account(box), .address = SPAN("u@example.org")};
    const struct store_delivery d = {.trace = trace_new(),
                                     .sender = SPAN("s@example.net"),
                                     .peer = SPAN("127.0.0.1"),
                                     .login = SPAN(""),
                                     .received_us = clock_wall_us(),
                                     .content = c,
                                     .to = &to,
                                     .to_count = 1,
                                     .find_repeat = true};
    r->sent++;
    r->in_flight++;
    store_deliver(deliver, &d, o->t, on_delivered);
    content_free(&c);
}

static int by_time(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void deliveries(unsigned in_flight, unsigned long total, unsigned first, unsigned width,
                       const char *what)
{
    struct run r = {.total = total, .width = width, .first_account = first};
    r.took = xcalloc(total, sizeof *r.took);
    double wall = now(), own = own_cpu(), theirs = stored_cpu();
    for (unsigned i = 0; i < in_flight && r.sent < total; i++)
        send_one(&r);
    for (unsigned long seen = 0; !r.done; seen++) { /* env_wait has a limit of its own */
        bool tick = false;
        const bool *flag = r.total > 200000 ? &tick : &r.done;
        env_wait(&env, flag);
    }
    wall = now() - wall;
    own = own_cpu() - own;
    theirs = stored_cpu() - theirs;
    qsort(r.took, total, sizeof *r.took, by_time);
    printf("%s, %u in flight: %.0f/s  (p50 %.2f ms, p99 %.2f ms; CPU a message: worker %.3f ms, stored %.3f "
           "ms; packed %llu)\n",
           what, in_flight, (double)total / wall, 1e3 * r.took[total / 2], 1e3 * r.took[total * 99 / 100],
           1e3 * own / (double)total, 1e3 * theirs / (double)total, (unsigned long long)r.bytes);
    free(r.took);
}

/* -- the circular -- */

struct circular {
    bool done;
    enum err_code code;
    uint64_t queue_id;
};

static void on_queued_delivery(void *s, enum err_code code, const struct store_delivered *d)
{
    struct circular *c = s;
    (void)d;
    c->code = code;
    c->done = true;
}

static void on_leased(void *s, enum err_code code, const struct store_queued *q)
{
    struct circular *c = s;
    c->code = code;
    c->queue_id = code == ERR_OK ? q->queue_id : 0;
    c->done = true;
}

static void on_sliced(void *s, enum err_code code)
{
    struct circular *c = s;
    c->code = code;
    c->done = true;
}

static void step(struct circular *c, struct ticket **t)
{
    env_wait(&env, &c->done);
    ticket_void(t);
    if (c->code != ERR_OK)
        abort();
    c->done = false;
}

static void circular(unsigned slice, const char *what)
{
    struct circular c = {.done = false};
    static struct store_target to[STORE_SLICE];
    struct content *body = env_content(span_of(message, sizeof message), span_of(meta, sizeof meta));
    const struct store_target group = {
        .kind = STORE_TO_GROUP, .id = env_account(1), .address = SPAN("all@example.org")};
    const struct store_delivery d = {.trace = trace_new(),
                                     .sender = SPAN("s@example.net"),
                                     .peer = SPAN("127.0.0.1"),
                                     .login = SPAN(""),
                                     .received_us = clock_wall_us(),
                                     .content = body,
                                     .to = &group,
                                     .to_count = 1};
    double wall = now(), theirs = stored_cpu();
    struct ticket *t = ticket_new(&c);
    store_deliver(deliver, &d, t, on_queued_delivery);
    step(&c, &t);
    t = ticket_new(&c);
    store_lease(relay, 60000, t, on_leased);
    step(&c, &t);
    for (unsigned at = 0; at < PEOPLE; at += slice) {
        unsigned n = PEOPLE - at < slice ? PEOPLE - at : slice;
        for (unsigned i = 0; i < n; i++)
            to[i] = (struct store_target){STORE_TO_ACCOUNT, env_account(1000 + at + i), SPAN(""), 0};
        const struct store_slice s = {.queue_id = c.queue_id,
                                      .to = to,
                                      .to_count = n,
                                      .cursor = env_account(1000 + at + n - 1),
                                      .finished = at + n == PEOPLE};
        t = ticket_new(&c);
        store_slice(relay, &s, t, on_sliced);
        step(&c, &t);
    }
    printf("%s to %d in slices of %u: %.0f ms (stored %.0f ms CPU)\n", what, PEOPLE, slice,
           1e3 * (now() - wall), 1e3 * (stored_cpu() - theirs));
    content_free(&body);
}

/* -- one large mailbox -- */

struct reading {
    bool done;
    enum err_code code;
    size_t count;
    double first;
};

static void on_rows(void *s, enum err_code code, const struct store_row *rows, size_t count, bool more)
{
    struct reading *r = s;
    (void)rows;
    if (r->first == 0)
        r->first = now();
    r->code = code;
    r->count += count;
    r->done = !more;
}

static void on_meta(void *s, enum err_code code, const struct store_meta *m, size_t count, bool more)
{
    struct reading *r = s;
    (void)m;
    r->code = code;
    r->count += count;
    r->done = !more;
}

static void on_read(void *s, enum err_code code, struct span bytes)
{
    struct reading *r = s;
    r->code = code;
    r->count = bytes.n;
    r->done = true;
}

static void on_status(void *s, enum err_code code, const struct store_mailbox *box)
{
    struct reading *r = s;
    (void)box;
    r->code = code;
    r->done = true;
}

static void on_flagged(void *s, enum err_code code, const struct store_flagged *f)
{
    struct reading *r = s;
    r->code = code;
    r->count = 0;
    for (size_t i = 0; code == ERR_OK && i < f->run_count; i++)
        r->count += f->runs[i].count;
    r->done = true;
}

static void on_copied(void *s, enum err_code code, const struct store_copied *c)
{
    struct reading *r = s;
    r->code = code;
    r->count = code == ERR_OK ? c->count : 0;
    r->done = true;
}

static void on_expunged(void *s, enum err_code code, const uint32_t *gone, size_t count, uint64_t modseq)
{
    struct reading *r = s;
    (void)gone;
    (void)modseq;
    r->code = code;
    r->count = count;
    r->done = true;
}

static struct reading last;
static double began;

static struct ticket *start(void)
{
    last = (struct reading){.done = false};
    began = now();
    return ticket_new(&last);
}

static double finish(struct ticket *t)
{
    env_wait(&env, &last.done);
    double ms = 1e3 * (now() - began);
    ticket_void(&t);
    if (last.code != ERR_OK)
        abort();
    return ms;
}

static void large_mailbox(void)
{
    enum { ROUNDS = 7, SOME = 50, MANY = 10000 };
    static uint32_t uids[LARGE_BOX];
    struct store_mailbox box;
    double best[5] = {1e9, 1e9, 1e9, 1e9, 1e9};
    struct store_account *a = env_login(&env, session, LARGE_ACCOUNT, NULL);
    if (!a || env_status(&env, a, "INBOX", &box) != ERR_OK)
        abort();
    for (int round = 0; round < ROUNDS; round++) {
        struct ticket *t = start();
        store_rows(a, box.id, 1, 0, t, on_rows);
        double ms = finish(t);
        best[0] = ms < best[0] ? ms : best[0];
        for (uint32_t i = 0; i < SOME; i++)
            uids[i] = 1 + i * (box.messages / SOME) + (uint32_t)(rand() % (int)(box.messages / SOME));
        t = start();
        store_meta(a, box.id, uids, SOME, t, on_meta);
        ms = finish(t);
        best[1] = ms < best[1] ? ms : best[1];
        t = start();
        store_read(a, box.id, uids[7], 0, STORE_READ_LIMIT, t, on_read);
        ms = finish(t);
        best[2] = ms < best[2] ? ms : best[2];
        t = start();
        store_status(a, SPAN("INBOX"), false, t, on_status);
        ms = finish(t);
        best[3] = ms < best[3] ? ms : best[3];
    }
    printf("%u rows: %.2f ms; %d metas at random: %.2f ms; a body of 10 KB: %.3f ms; status: %.3f ms\n",
           box.messages, best[0], SOME, best[1], best[2], best[3]);
    for (uint32_t i = 0; i < box.messages; i++)
        uids[i] = i + 1;
    struct ticket *t = start();
    store_meta(a, box.id, uids, box.messages, t, on_meta);
    printf("%u metas of %zu bytes: %.0f ms\n", box.messages, sizeof meta, finish(t));
    const struct store_flag_change seen = {.op = STORE_FLAGS_ADD, .flags = STORE_SEEN | STORE_DELETED};
    t = start();
    store_flags(a, box.id, uids, MANY, &seen, t, on_flagged);
    printf("flags of %zu: ", last.count ? last.count : (size_t)MANY);
    printf("%.0f ms\n", finish(t));
    t = start();
    store_copy(a, box.id, uids, MANY, SPAN("Archive"), false, t, on_copied);
    printf("copy of %d: ", MANY);
    printf("%.0f ms\n", finish(t));
    t = start();
    store_expunge(a, box.id, NULL, 0, t, on_expunged);
    printf("expunge of %d: ", MANY);
    printf("%.0f ms\n", finish(t));
    store_logout(&a);
}

int main(int argc, char **argv)
{
    unsigned long total = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    setvbuf(stdout, NULL, _IOLBF, 0);
    char options[64];
    snprintf(options, sizeof options, "store_cache_size = %s\n", argc > 2 ? argv[2] : "256M");
    env_start(&env, options);
    deliver = env_client(&env, "deliver");
    relay = env_client(&env, "relay");
    session = env_client(&env, "session");
    make_message(1);
    deliveries(20, MAILBOXES, 1, MAILBOXES, "first deliveries (accounts are made)");
    deliveries(1, total / 10, 1, MAILBOXES, "deliveries");
    deliveries(20, total, 1, MAILBOXES, "deliveries");
    deliveries(100, total, 1, MAILBOXES, "deliveries");
    circular(300, "first circular (accounts are made)");
    circular(300, "circular");
    circular(100, "circular");
    deliveries(100, LARGE_BOX, LARGE_ACCOUNT, 1, "100,000 into one mailbox");
    large_mailbox();
    store_free(&deliver);
    store_free(&relay);
    store_free(&session);
    env_end(&env);
    return 0;
}
