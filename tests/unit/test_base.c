/* Base library: spans, buffers, arenas, records and the configuration reader. */
#include "tests/lib/cm.h"
#include "common/base/arena.h"
#include "common/base/conf.h"
#include "common/base/crypto.h"
#include "common/base/grant.h"
#include "common/base/log.h"
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void span_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool ok;
        uint64_t v;
    } rows[] = {
        {"0", true, 0},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"1 ", false, 0},
        {"007", true, 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t v = 0;
        assert_int_equal(span_u64(span_str(rows[i].in), &v), rows[i].ok);
        if (rows[i].ok)
            assert_true(v == rows[i].v);
    }
}

static void span_cuts(void **state)
{
    (void)state;
    struct span s = SPAN("a,,b");
    assert_true(span_eq(span_cut(&s, ','), SPAN("a")));
    assert_true(span_eq(span_cut(&s, ','), SPAN("")));
    assert_true(span_eq(span_cut(&s, ','), SPAN("b")));
    assert_null(s.p);
    assert_true(span_caseeq(SPAN("INBOX"), SPAN("inBox")));
    assert_int_equal(span_search(SPAN("xxab"), SPAN("ab")), 2);
    assert_int_equal(span_search(SPAN("ab"), SPAN("abc")), 2);
}

static void buf_limits(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_true(buf_add_str(&b, "0123456789"));
    assert_false(buf_add_char(&b, 'x'));
    assert_true(span_eq(buf_span(&b), SPAN("0123456789")));
    buf_consume(&b, 4);
    assert_true(buf_add_str(&b, "abcd"));
    assert_true(span_eq(buf_span(&b), SPAN("456789abcd")));
    assert_false(buf_addf(&b, "%d", 5));
    buf_free(&b);
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 20000; i++) {
        assert_true(buf_addf(&b, "%d,", i));
        if (b.n > 5000)
            buf_consume(&b, b.n / 2);
    }
    assert_true(span_ends(buf_span(&b), SPAN("19999,")));
    buf_free(&b);
}

static void records(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_true(buf_add_u8(&b, 1) && buf_add_u16(&b, 0x203) && buf_add_u32(&b, 0x4050607) &&
                buf_add_u64(&b, 0x8090a0b0c0d0e0fULL));
    struct reader r = reader_of(buf_span(&b));
    assert_int_equal(read_u8(&r), 1);
    assert_int_equal(read_u16(&r), 0x203);
    assert_int_equal(read_u32(&r), 0x4050607);
    assert_true(read_u64(&r) == 0x8090a0b0c0d0e0fULL);
    assert_false(r.bad);
    assert_int_equal(read_u8(&r), 0);
    assert_true(r.bad);
    buf_free(&b);
}

static void arenas(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 << 20);
    for (int round = 0; round < 3; round++) {
        struct span s = arena_dup(a, SPAN("hello"));
        assert_string_equal(s.p, "hello");
        char *big = arena_alloc(a, 500000);
        assert_non_null(big);
        assert_int_equal(big[499999], 0);
        memset(big, 'x', 500000);
        assert_null(arena_alloc(a, 600000));
        assert_null(arena_array(a, (size_t)1 << 40, (size_t)1 << 40));
        arena_reset(a);
    }
    arena_free(&a);
    assert_null(a);
    arena_free(&a);
}

static void configuration(void **state)
{
    (void)state;
    struct buf faults;
    struct conf *c = NULL;
    buf_init(&faults, 10000);
    assert_int_equal(
        conf_parse("/tmp/x.conf",
                   SPAN("# c\nhostname = \"mx.example\"\ndomains = a.example b.example\n"
                        "message_size_limit=20M\nrun_dir = r\nimap_listen = 127.0.0.1:143 [::1]:143\n"),
                   &c, &faults),
        ERR_OK);
    assert_string_equal(c->hostname, "mx.example");
    assert_int_equal(c->domains.n, 2);
    assert_string_equal(c->domains.v[1], "b.example");
    assert_true(c->message_size_limit == 20 << 20);
    assert_string_equal(c->run_dir, "/tmp/r");
    assert_true(c->smtp_command_timeout == 300000);
    conf_free(&c);
    assert_int_equal(conf_parse("x.conf",
                                SPAN("nonsense\nno_such = 1\nworkers = many\nworkers = 1\n"
                                     "smtp_listen = nowhere\nldap_starttls = maybe\nhostname = a b\n"
                                     "domains = good.example a..b\n"),
                                &c, &faults),
                     ERR_SYNTAX);
    assert_null(c);
    for (int line = 1; line <= 8; line++) {
        char where[32];
        snprintf(where, sizeof where, "x.conf:%d: ", line);
        assert_true(span_search(buf_span(&faults), span_str(where)) < faults.n);
    }
    buf_free(&faults);
}

static void grants(void **state)
{
    (void)state;
    crypto_start();
    static struct grant g, back;
    unsigned char key[32];
    struct buf b;
    crypto_random(key, sizeof key);
    crypto_random(&g.account, sizeof g.account);
    g.serial = 7;
    g.expires_us = 1000;
    strcpy(g.protocol, "imap");
    strcpy(g.peer, "[::1]:5");
    g.group_count = 2;
    crypto_random(g.groups, sizeof g.groups[0] * 2);
    buf_init(&b, GRANT_LIMIT);
    assert_true(grant_seal(&g, key, &b));
    assert_int_equal(grant_open(buf_span(&b), key, 999, &back), ERR_OK);
    assert_memory_equal(&g, &back, sizeof g);
    assert_int_equal(grant_open(buf_span(&b), key, 1000, &back), ERR_STATE);
    for (size_t i = 0; i < b.n; i++) {
        b.p[i] ^= 1;
        assert_int_equal(grant_open(buf_span(&b), key, 0, &back), ERR_DENIED);
        b.p[i] ^= 1;
        assert_int_not_equal(grant_open(span_first(buf_span(&b), i), key, 0, &back), ERR_OK);
    }
    buf_free(&b);
}

static void identities(void **state)
{
    (void)state;
    struct uuid u;
    char text[UUID_TEXT];
    assert_true(uuid_parse(SPAN("6ba7b810-9dad-11d1-80b4-00C04FD430C8"), &u));
    uuid_format(&u, text);
    assert_string_equal(text, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    assert_false(uuid_parse(SPAN("6ba7b8109dad-11d1-80b4-00c04fd430c8x"), &u));
    struct trace_id a = trace_new(), b = trace_new();
    assert_int_equal(strlen(a.text), 20);
    assert_string_not_equal(a.text, b.text);
    int64_t wall_s = 1796000000; /* in order of their time */
    for (int64_t step_s = 2; step_s < (int64_t)1 << 29; step_s *= 3) {
        a = trace_new_at(wall_s);
        b = trace_new_at(wall_s + step_s);
        assert_true(strcmp(a.text, b.text) < 0);
    }
}

/* What fn makes in a child of fork, as text. */
static void in_child(void (*fn)(char out[500]), char out[500])
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fn(out);
        _exit(write(ends[1], out, 500) == 500 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(read(ends[0], out, 500), 500);
    close(ends[0]);
    close(ends[1]);
}

static void make_names(char out[500])
{
    memset(out, 0, 500);
    for (size_t i = 0; i < 20; i++)
        crypto_random_text(9, out + 24 * i, 24);
}

/* Random bytes in stock are a process's own: parent and child give different names from the first one on. */
static void names_after_fork(void **state)
{
    (void)state;
    char first[32], parent[500], child[500];
    crypto_start();
    crypto_random_text(9, first, sizeof first); /* something is in stock from here on */
    in_child(make_names, child);
    make_names(parent);
    for (size_t i = 0; i < 20; i++)
        for (size_t k = 0; k < 20; k++) {
            assert_int_equal(strlen(parent + 24 * i), 15);
            assert_string_not_equal(parent + 24 * i, child + 24 * k);
            assert_true(i == k || strcmp(parent + 24 * i, parent + 24 * k) != 0);
        }
}

static void make_line(char out[500])
{
    char want[100];
    int old = dup(2), ends[2];
    memset(out, 0, 500);
    if (old < 0 || pipe(ends) != 0 || dup2(ends[1], 2) < 0)
        return;
    log_event(LOG_INFO, NULL, "a.b", F_INT("least", INT64_MIN), F_INT("minus", -70),
              F_UINT("most", UINT64_MAX), F_UINT("none", 0), F_STR("text", "c \"d\" "));
    dup2(old, 2);
    close(old);
    close(ends[1]);
    ssize_t n = read(ends[0], out, 499);
    close(ends[0]);
    snprintf(want, sizeof want, "Z info unit[%ld] a.b ", (long)getpid());
    if (n < 24 || strncmp(out + 23, want, strlen(want)) != 0)
        strcpy(out, "another head");
}

/* Each process names itself, also when its parent has written lines before. */
static void log_lines(void **state)
{
    (void)state;
    static const char fields[] = " a.b least=-9223372036854775808 minus=-70 most=18446744073709551615 none=0 "
                                 "text=\"c \\\"d\\\" \"\n";
    char parent[500], child[500];
    assert_true(log_open("unit", NULL));
    make_line(parent);
    in_child(make_line, child);
    assert_string_equal(strstr(parent, " a.b"), fields);
    assert_non_null(strstr(child, " a.b"));
    assert_string_equal(strstr(child, " a.b"), fields);
}

static void test_base64(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}}; /* RFC 4648 10 */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b;
        buf_init(&b, 64);
        assert_true(buf_add_base64(&b, span_str(rows[i][0])));
        assert_true(span_eq(buf_span(&b), span_str(rows[i][1])));
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64),      cmocka_unit_test(span_numbers), cmocka_unit_test(span_cuts),
        cmocka_unit_test(buf_limits),       cmocka_unit_test(records),      cmocka_unit_test(arenas),
        cmocka_unit_test(configuration),    cmocka_unit_test(grants),       cmocka_unit_test(identities),
        cmocka_unit_test(names_after_fork), cmocka_unit_test(log_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
