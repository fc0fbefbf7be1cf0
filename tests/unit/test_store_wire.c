/* A hostile worker on stored's sockets: frames of other roles, no grant, forged, foreign and expired grants,
 * lying sizes, a descriptor where none belongs, garbage, and one who asks and never reads. Each is refused or
 * dropped, and stored serves the others as before. */
#include "tests/lib/cm.h"
#include "tests/lib/store_env.h"
#include "common/base/clock.h"
#include "common/store/wire.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct store_env env;

/* A raw connection and the last thing it said. */
struct raw {
    struct ipc *c;
    bool told; /* an answer, or the end */
    bool gone;
    uint8_t status;
    unsigned answers;
};

static bool on_frame(void *arg, struct ipc *c, const struct ipc_head *h, struct span body, int fd)
{
    struct raw *r = arg;
    (void)c;
    (void)body;
    if (fd >= 0)
        close(fd);
    if (h->type & IPC_ANSWER) {
        r->told = true;
        r->status = h->status;
        r->answers++;
    }
    return true;
}

static void on_gone(void *arg, struct ipc *c)
{
    struct raw *r = arg;
    (void)c;
    r->told = r->gone = true;
    r->c = NULL;
}

static const struct ipc_ops ops = {on_frame, on_gone};

static void open_raw(struct raw *r, const char *role)
{
    struct err why;
    int fd = -1;
    *r = (struct raw){.c = NULL};
    assert_int_equal(ipc_connect(env_socket(&env, role), &fd, &why), ERR_OK);
    r->c = ipc_new(env.loop, fd, &ops, r);
}

static void close_raw(struct raw *r)
{
    if (r->c)
        ipc_close(r->c);
    r->c = NULL;
}

/* Send type with a body behind wire_ask, wait for what comes of it. */
static void ask(struct raw *r, uint16_t type, uint32_t session, uint64_t mailbox, struct span body, int fd)
{
    const struct wire_ask a = {.id = request_new(), .session = session, .mailbox = mailbox};
    const struct span parts[] = {span_of(&a, sizeof a), body};
    r->told = false;
    assert_true(ipc_send(r->c, type, 0, 1, parts, 2, fd));
    env_wait(&env, &r->told);
}

static void test_no_grant(void **state)
{
    (void)state;
    static const struct {
        uint16_t type;
        size_t n;
    } all[] = {{WIRE_LIST, 0},    {WIRE_STATUS, 64}, {WIRE_STATUS_ID, 0},  {WIRE_CREATE, 64},
               {WIRE_DELETE, 64}, {WIRE_RENAME, 64}, {WIRE_SUBSCRIBE, 64}, {WIRE_WATCH, 8},
               {WIRE_ROWS, 8},    {WIRE_CHANGES, 8}, {WIRE_META, 4},       {WIRE_READ, 32},
               {WIRE_FLAGS, 64},  {WIRE_COPY, 64},   {WIRE_EXPUNGE, 8},    {WIRE_APPEND, 256}};
    char body[256] = "";
    struct raw r;
    open_raw(&r, "session");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        ask(&r, all[i].type, 1, 1, span_of(body, all[i].n), -1);
        assert_false(r.gone);
        assert_int_equal(r.status, ERR_DENIED);
    }
    close_raw(&r);
}

static void login(struct raw *r, struct span grant)
{
    ask(r, WIRE_LOGIN, 1, 0, grant, -1);
}

static void test_forged_grant(void **state)
{
    (void)state;
    struct raw r;
    struct buf grant;
    buf_init(&grant, GRANT_LIMIT);
    env_grant(&env, 1, &grant);
    open_raw(&r, "session");
    for (size_t i = 0; i < grant.n; i += 7) { /* any bit that is turned */
        grant.p[i] = (char)(grant.p[i] ^ 0x10);
        login(&r, buf_span(&grant));
        assert_int_equal(r.status, ERR_DENIED);
        grant.p[i] = (char)(grant.p[i] ^ 0x10);
    }
    for (size_t n = 1; n < grant.n; n += 5) { /* cut short */
        login(&r, span_of(grant.p, n));
        assert_int_equal(r.status, ERR_DENIED);
    }
    ask(&r, WIRE_LIST, 1, 0, SPAN_NONE, -1);
    assert_int_equal(r.status, ERR_DENIED);
    login(&r, buf_span(&grant));
    assert_int_equal(r.status, ERR_OK);
    ask(&r, WIRE_LIST, 1, 0, SPAN_NONE, -1);
    assert_int_equal(r.status, ERR_OK);
    ask(&r, WIRE_LIST, 2, 0, SPAN_NONE, -1); /* another number has shown none */
    assert_int_equal(r.status, ERR_DENIED);
    close_raw(&r);
    buf_free(&grant);
}

static void test_foreign_and_old_grants(void **state)
{
    (void)state;
    struct raw r;
    struct buf sealed;
    struct grant *g = xcalloc(1, sizeof *g);
    const unsigned char other_key[32] = "not the key that stored has";
    buf_init(&sealed, GRANT_LIMIT);
    *g = (struct grant){.account = env_account(1), .issued_us = 1, .expires_us = INT64_MAX};
    open_raw(&r, "session");
    assert_true(grant_seal(g, other_key, &sealed));
    login(&r, buf_span(&sealed));
    assert_int_equal(r.status, ERR_DENIED);
    buf_reset(&sealed);
    g->expires_us = clock_wall_us() - 1;
    assert_true(grant_seal(g, env.key, &sealed));
    login(&r, buf_span(&sealed));
    assert_int_equal(r.status, ERR_DENIED);
    close_raw(&r);
    buf_free(&sealed);
    free(g);
}

static void test_roles(void **state)
{
    (void)state;
    static const struct {
        const char *role;
        uint16_t first, last; /* what it may send */
        uint16_t also;
    } rows[] = {{"deliver", WIRE_DELIVER, WIRE_CONFIRM, 0},
                {"relay", WIRE_LEASE, WIRE_QUEUE_WATCH, 0},
                {"session", WIRE_LOGIN, WIRE_APPEND, 0},
                {"admin", WIRE_ACCOUNTS, WIRE_REVOKE, 0},
                {"directory", WIRE_REVOKE, WIRE_REVOKE, 0}};
    static const uint16_t types[] = {
        WIRE_DELIVER,  WIRE_CONFIRM,   WIRE_LEASE,  WIRE_SLICE,  WIRE_DEFER,  WIRE_LOGIN,   WIRE_LIST,
        WIRE_STATUS,   WIRE_STATUS_ID, WIRE_CREATE, WIRE_DELETE, WIRE_RENAME, WIRE_WATCH,   WIRE_ROWS,
        WIRE_CHANGES,  WIRE_META,      WIRE_READ,   WIRE_FLAGS,  WIRE_COPY,   WIRE_EXPUNGE, WIRE_APPEND,
        WIRE_ACCOUNTS, WIRE_MAILBOXES, WIRE_TRACE,  WIRE_STATS,  WIRE_REVOKE};
    char body[512] = "";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct raw r;
        open_raw(&r, rows[i].role);
        for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
            if (types[k] >= rows[i].first && types[k] <= rows[i].last)
                continue;
            ask(&r, types[k], 1, 1, span_of(body, sizeof body), -1);
            assert_false(r.gone);
            assert_int_equal(r.status, ERR_DENIED);
        }
        close_raw(&r);
    }
}

static void dropped(const char *role, uint16_t type, struct span body, int fd)
{
    struct raw r;
    open_raw(&r, role);
    const struct wire_ask a = {.session = 1};
    const struct span parts[] = {span_of(&a, type == WIRE_STATS ? 5 : sizeof a), body};
    assert_true(ipc_send(r.c, type, 0, 1, parts, 2, fd));
    env_wait(&env, &r.told);
    assert_true(r.gone);
}

static void test_malformed(void **state)
{
    (void)state;
    dropped("session", 999, SPAN("x"), -1);               /* no such type */
    dropped("session", WIRE_EVENT, SPAN("x"), -1);        /* stored's own */
    dropped("session", WIRE_CLAIM, SPAN("xxxxxxxx"), -1); /* inside stored only */
    dropped("session", WIRE_TOUCH, SPAN("xxxxxxxx"), -1);
    dropped("session", WIRE_ROWS, SPAN("xx"), -1); /* short */
    dropped("deliver", WIRE_DELIVER, SPAN("xx"), -1);
    dropped("relay", WIRE_LEASE, SPAN("x"), -1);
    dropped("admin", WIRE_STATS, SPAN_NONE, -1); /* not even a wire_ask */
    dropped("relay", WIRE_LEASE, SPAN("12345678"),
            open("/dev/null", O_RDONLY | O_CLOEXEC)); /* a descriptor */
}

/* A delivery of one frame whose parts can be told wrongly. */
struct lie {
    const char *name;
    uint64_t size, packed;
    uint32_t frames, meta_n, inline_n, raw, frame_packed, targets;
    int fd;
};

static void put_delivery(struct buf *b, const struct lie *l)
{
    const struct trace_id trace = trace_new();
    struct wire_deliver d = {.received_us = 1, .target_count = l->targets};
    const struct wire_target t = {.id = env_account(77)};
    const struct wire_content c = {.size = l->size,
                                   .packed = l->packed,
                                   .frames = l->frames,
                                   .meta_n = l->meta_n,
                                   .inline_n = l->inline_n};
    const struct frame_size f = {l->raw, l->frame_packed};
    memcpy(d.trace, trace.text, TRACE_TEXT);
    assert_true(buf_add(b, &d, sizeof d) && wire_put_text(b, SPAN("s")) && wire_put_text(b, SPAN("p")) &&
                wire_put_text(b, SPAN("")) && buf_add(b, &t, sizeof t) && buf_add(b, &c, sizeof c) &&
                buf_add(b, &f, sizeof f) && buf_add_str(b, "metaPACKED"));
}

static void test_lying_sizes(void **state)
{
    (void)state;
    static const struct lie lies[] = {
        {"true", 9, 6, 1, 4, 6, 9, 6, 1, 0},
        {"size", 10, 6, 1, 4, 6, 9, 6, 1, 0},
        {"packed", 9, 7, 1, 4, 6, 9, 6, 1, 0},
        {"more packed than sent", 9, 7, 1, 4, 6, 9, 7, 1, 0},
        {"inline over packed", 9, 5, 1, 4, 6, 9, 5, 1, 0},
        {"no frames", 9, 6, 0, 4, 6, 9, 6, 1, 0},
        {"many frames", 9, 6, 0xffffffff, 4, 6, 9, 6, 1, 0},
        {"huge meta", 9, 6, 1, 0xfffffff0, 6, 9, 6, 1, 0},
        {"huge inline", 9, 0xfffffff0, 1, 4, 0xfffffff0, 9, 6, 1, 0},
        {"frame of nothing", 0, 6, 1, 4, 6, 0, 6, 1, 0},
        {"frame over its bound", 1 << 20, 6, 1, 4, 6, 1 << 20, 6, 1, 0},
        {"four gigabytes", 0x1ffffffff, 6, 1, 4, 6, 9, 6, 1, 0},
        {"no targets", 9, 6, 1, 4, 6, 9, 6, 0, 0},
        {"many targets", 9, 6, 1, 4, 6, 9, 6, 0xffffffff, 0},
        {"a short descriptor", 9, 100006, 1, 4, 6, 9, 100006, 1, 1},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct raw r;
        struct buf b;
        buf_init(&b, 4096);
        put_delivery(&b, &lies[i]);
        open_raw(&r, "deliver");
        ask(&r, WIRE_DELIVER, 0, 0, buf_span(&b), lies[i].fd ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1);
        if (!r.gone && (r.status == ERR_OK) != (i == 0))
            fail_msg("%s: status %u", lies[i].name, r.status);
        close_raw(&r);
        buf_free(&b);
    }
}

/* What is in frames that are no frames costs only its reader. */
static void test_garbage_content(void **state)
{
    (void)state;
    struct store *s = env_client(&env, "session");
    struct store_account *a = env_login(&env, s, 77, NULL);
    struct store_mailbox box;
    assert_non_null(a);
    assert_int_equal(env_status(&env, a, "INBOX", &box), ERR_OK);
    assert_int_equal(box.messages, 1); /* the true one of the lies above */
    store_logout(&a);
    store_free(&s);
}

static long resident_kb(void)
{
    char path[64], line[256];
    long kb = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)env.pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb;
}

static bool logged(const char *text)
{
    char path[400], line[1024];
    bool found = false;
    snprintf(path, sizeof path, "%s/log/stored.log", env.dir);
    FILE *f = fopen(path, "r");
    while (f && !found && fgets(line, sizeof line, f))
        found = strstr(line, text) != NULL;
    if (f)
        fclose(f);
    return found;
}

/* One who asks for a lot and never reads: dropped at the limit of the queue, and nobody else feels it. */
static void test_does_not_read(void **state)
{
    (void)state;
    struct raw r;
    struct buf grant;
    enum { ASKS = 3000 };
    struct store *d = env_client(&env, "deliver");
    for (int i = 0; i < 200; i++)
        assert_int_equal(env_deliver(&env, d, 50, "Subject: x\r\n\r\nx\r\n"), ERR_OK);
    buf_init(&grant, GRANT_LIMIT);
    env_grant(&env, 50, &grant);
    open_raw(&r, "session");
    login(&r, buf_span(&grant));
    assert_int_equal(r.status, ERR_OK);
    struct store *s = env_client(&env, "session");
    struct store_account *a = env_login(&env, s, 50, NULL);
    struct store_mailbox box;
    assert_int_equal(env_status(&env, a, "INBOX", &box), ERR_OK);
    ipc_reading(r.c, false);
    long before = resident_kb();
    const struct wire_rows w = {1, 0};
    const struct wire_ask ask_rows = {.session = 1, .mailbox = box.id};
    const struct span parts[] = {span_of(&ask_rows, sizeof ask_rows), span_of(&w, sizeof w)};
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < ASKS && r.c; i++)
            (void)ipc_send(r.c, WIRE_ROWS, 0, (uint64_t)i + 2, parts, 2, -1);
        assert_int_equal(env_status(&env, a, "INBOX", &box), ERR_OK); /* the others are served */
        if (kill(env.pid, 0) != 0)
            fail_msg("stored is gone");
    }
    long after = resident_kb();
    assert_true(after - before < 300 * 1024);
    assert_true(logged("the peer does not read"));
    close_raw(&r);
    assert_int_equal(env_deliver(&env, d, 50, "x\r\n"), ERR_OK);
    store_logout(&a);
    store_free(&s);
    store_free(&d);
    buf_free(&grant);
}

/* Valid frames with some bytes turned: answered or dropped, never the end of stored. */
static void test_turned_bytes(void **state)
{
    (void)state;
    static const uint16_t types[] = {WIRE_STATUS,  WIRE_CREATE,  WIRE_RENAME, WIRE_ROWS,
                                     WIRE_CHANGES, WIRE_META,    WIRE_READ,   WIRE_FLAGS,
                                     WIRE_COPY,    WIRE_EXPUNGE, WIRE_APPEND, WIRE_SUBSCRIBE};
    struct buf grant;
    uint32_t x = 12345;
    buf_init(&grant, GRANT_LIMIT);
    env_grant(&env, 60, &grant);
    for (int round = 0; round < 60; round++) {
        struct raw r;
        open_raw(&r, "session");
        login(&r, buf_span(&grant));
        for (size_t i = 0; i < 3 * sizeof types / sizeof *types && !r.gone; i++) {
            unsigned char body[300] = {0};
            size_t n = 8 + (x >> 8) % 290;
            for (size_t k = 0; k < n; k++) {
                x = x * 1664525 + 1013904223;
                if (x >> 28 < 4)
                    body[k] = (unsigned char)((x >> 16) % 9);
            }
            ask(&r, types[i % (sizeof types / sizeof *types)], 1, 1 + (x >> 20) % 40, span_of(body, n), -1);
        }
        close_raw(&r);
    }
    struct store *d = env_client(&env, "deliver");
    assert_int_equal(env_deliver(&env, d, 60, "still here\r\n"), ERR_OK);
    store_free(&d);
    buf_free(&grant);
}

static int set_up(void **state)
{
    (void)state;
    env_start(&env, "");
    struct store *s = env_client(&env, "session"); /* the sockets are there once it answers */
    struct store_account *a = env_login(&env, s, 1, NULL);
    store_logout(&a);
    store_free(&s);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int status = env_stop(&env);
    env_end(&env);
    return status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_grant),
        cmocka_unit_test(test_forged_grant),
        cmocka_unit_test(test_foreign_and_old_grants),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_lying_sizes),
        cmocka_unit_test(test_garbage_content),
        cmocka_unit_test(test_does_not_read),
        cmocka_unit_test(test_turned_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
