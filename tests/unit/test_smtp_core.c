/* The SMTP core against fakes. Every dialogue runs whole, byte by byte and cut in two at each position: the
 * replies and what reaches the store must be the same each time. */
#include "tests/lib/cm.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/base/log.h"
#include "tests/lib/fake_content.h"
#include "tests/lib/smtp_drive.h"
#include <stdio.h>
#include <stdlib.h>

#define GREET "220 mx.gialai.example ESMTP ready\r\n"
#define GREET_LMTP "220 mx.gialai.example LMTP ready\r\n"
#define CAPS_HEAD                                                                                            \
    "250-mx.gialai.example\r\n250-PIPELINING\r\n250-SIZE 65536\r\n250-8BITMIME\r\n"                          \
    "250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n"
#define CAPS CAPS_HEAD "250-STARTTLS\r\n250 SMTPUTF8\r\n"
#define CAPS_TLS CAPS_HEAD "250-AUTH PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER\r\n250 SMTPUTF8\r\n"
#define CAPS_IN CAPS_HEAD "250 SMTPUTF8\r\n"
#define EHLO "EHLO c.example\r\n"
#define MAIL "MAIL FROM:<a@c.example>\r\n"
#define RCPT "RCPT TO:<an@gialai.example>\r\n"
#define OK1 "250 2.1.0 Ok\r\n"
#define OK5 "250 2.1.5 Ok\r\n"
#define OK "250 2.0.0 Ok\r\n"
#define GO "354 End the message with <CRLF>.<CRLF>\r\n"
#define TAKEN "250 2.0.0 Ok: queued as TRACE\r\n"
#define LOGIN "AUTH PLAIN AGFuAHNlY3JldA==\r\n"
#define IN "235 2.7.0 Authentication succeeded\r\n"
#define LOCAL_IN GREET CAPS_TLS IN
#define FROM_AN "MAIL FROM:<an@gialai.example>\r\n"
#define BYE "221 2.0.0 mx.gialai.example Goodbye\r\n"
#define TRACE1                                                                                               \
    "Received: from c.example ([192.0.2.1])\r\n\tby mx.gialai.example with ESMTP\r\n\tid TRACE"              \
    " for <an@gialai.example>;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"
#define TRACE_N                                                                                              \
    "Received: from c.example ([192.0.2.1])\r\n\tby mx.gialai.example with ESMTP\r\n\tid TRACE;"             \
    "\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"
#define TRACE_LOCAL                                                                                          \
    "Received: from c.example (local)\r\n\tby mx.gialai.example with ESMTPA\r\n\tid TRACE"                   \
    " for <an@gialai.example>;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"
#define TRACE_LMTP                                                                                           \
    "Received: from c.example ([192.0.2.1])\r\n\tby mx.gialai.example with LMTP\r\n\tid TRACE"               \
    " for <an@gialai.example>;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"

enum { MX, SUB, SUB_LOCAL, LMTP };

struct row {
    const char *name;
    int kind;
    const char *in, *out;
    const char *log;    /* what reached the store; NULL: nothing */
    const char *in_tls; /* sent after STARTTLS */
};

/* Most rows end early: nothing reaches the store. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include "tests/unit/smtp_rows.h"

static struct conf *conf;

static void replace_trace(struct span s, struct buf *out)
{
    static const char mark[] = "queued as ";
    while (s.n) {
        size_t at = span_search(s, SPAN(mark));
        assert_true(buf_add(out, s.p, at));
        if (at == s.n)
            return;
        assert_true(buf_addf(out, "%sTRACE", mark));
        s = span_drop(s, at + sizeof mark - 1 + TRACE_TEXT - 1);
    }
}

static void feed_cut(struct smtp_drive *d, struct span in, size_t cut)
{
    if (cut == 0) { /* byte by byte */
        for (size_t i = 0; i < in.n; i++)
            smtp_drive_feed(d, span_of(in.p + i, 1));
        return;
    }
    smtp_drive_feed(d, span_first(in, cut));
    smtp_drive_feed(d, span_drop(in, cut));
}

static void check(const struct row *r, const char *how, size_t cut, const char *what, struct span got,
                  const char *want)
{
    if (span_eq(got, span_str(want)))
        return;
    print_error("%s (%s, %zu): %s\n--- got\n%.*s\n--- wanted\n%s\n", r->name, how, cut, what, SPAN_ARG(got),
                want);
    fail();
}

static void run_row(const struct row *r, size_t cut, bool sync)
{
    static const enum smtp_kind kinds[] = {SMTP_MX, SMTP_SUBMISSION, SMTP_SUBMISSION, SMTP_LMTP};
    struct smtp_drive d;
    struct buf out;
    smtp_drive_start(&d, conf, kinds[r->kind], r->kind == SUB_LOCAL);
    d.fake.sync = sync;
    smtp_drive_feed(&d, SPAN(""));
    feed_cut(&d, span_str(r->in), cut);
    if (r->in_tls)
        feed_cut(&d, span_str(r->in_tls), cut < strlen(r->in_tls) ? cut : 1);
    buf_init(&out, 1 << 20);
    replace_trace(buf_span(&d.out), &out);
    check(r, sync ? "sync" : "async", cut, "replies", buf_span(&out), r->out);
    check(r, sync ? "sync" : "async", cut, "store", buf_span(&d.fake.log), r->log ? r->log : "");
    buf_free(&out);
    smtp_drive_end(&d);
    assert_int_equal(d.fake.exchanges, 0);
    assert_int_equal(fake_content_alive, 0);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].in);
        run_row(&rows[i], n, false);
        run_row(&rows[i], n, true);
        run_row(&rows[i], 0, false);
        run_row(&rows[i], 0, true);
        for (size_t cut = 1; cut < n; cut++)
            run_row(&rows[i], cut, false);
    }
}

/* -- what rows cannot say -- */

static void talk(struct smtp_drive *d, const char *text)
{
    buf_reset(&d->out);
    smtp_drive_feed(d, span_str(text));
}

static bool said(const struct smtp_drive *d, const char *text)
{
    return span_search(buf_span(&d->out), span_str(text)) < d->out.n;
}

static void test_helpers_away(void **state)
{
    (void)state;
    struct smtp_drive d;
    smtp_drive_start(&d, conf, SMTP_MX, false);
    d.fake.down = true;
    smtp_drive_feed(&d, SPAN(""));
    assert_true(span_starts(buf_span(&d.out), SPAN("421 4.3.2 ")));
    assert_int_equal(d.last, STEP_CLOSE);
    smtp_drive_end(&d);

    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(EHLO MAIL));
    d.fake.directory = ERR_RETRY;
    talk(&d, RCPT);
    assert_true(said(&d, "451 4.3.0 "));
    d.fake.directory = ERR_OK;
    talk(&d, RCPT);
    d.fake.store = ERR_RETRY;
    talk(&d, "DATA\r\nx\r\n.\r\n");
    assert_true(said(&d, "451 4.3.0 "));
    assert_int_equal(d.accepted, 0);
    d.fake.store = ERR_OK;
    talk(&d, MAIL RCPT "DATA\r\nx\r\n.\r\n");
    assert_true(said(&d, "250 2.0.0 Ok: queued"));
    assert_int_equal(d.accepted, 1);
    smtp_drive_end(&d);
}

/* LMTP: what was served may be forgotten by the store only when nobody is told to come again (a group's
 * members are not told apart); and each reply names the trace that this recipient's copy has. */
static void test_lmtp_receipts(void **state)
{
    (void)state;
    struct smtp_drive d;
    smtp_drive_start(&d, conf, SMTP_LMTP, false);
    smtp_drive_feed(&d, SPAN("LHLO c.example\r\n"));
    talk(&d, MAIL RCPT "RCPT TO:<full@gialai.example>\r\nDATA\r\nx\r\n.\r\n");
    assert_true(said(&d, "250 2.0.0 <an@gialai.example> Ok: queued as "));
    assert_true(said(&d, "452 4.2.2 "));
    assert_int_equal(d.accepted, 0);
    d.fake.repeat = true;
    talk(&d, MAIL RCPT "DATA\r\nx\r\n.\r\n");
    assert_true(said(&d, "250 2.0.0 <an@gialai.example> Ok: queued as EARLIERTRACE00000001\r\n"));
    assert_int_equal(d.accepted, 1);
    smtp_drive_end(&d);
}

static void test_policy(void **state)
{
    (void)state;
    struct smtp_drive d;
    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(EHLO));
    d.fake.verdict = (struct policy_verdict){.act = POLICY_REFUSE, .text = SPAN("no\r\nway")};
    talk(&d, MAIL RCPT "DATA\r\nx\r\n.\r\n");
    assert_true(said(&d, "550 5.7.1 no  way\r\n"));
    d.fake.verdict = (struct policy_verdict){.act = POLICY_DEFER};
    talk(&d, MAIL RCPT "DATA\r\nx\r\n.\r\n");
    assert_true(said(&d, "451 4.7.1 "));
    assert_int_equal(d.fake.log.n, 0);
    d.fake.verdict = (struct policy_verdict){.act = POLICY_ACCEPT, .fields = SPAN("X-Seen: yes\r\n")};
    talk(&d, MAIL RCPT "DATA\r\nx\r\n.\r\n");
    assert_true(said(&d, "250 2.0.0 Ok: queued"));
    assert_true(span_search(buf_span(&d.fake.log),
                            SPAN("\nReturn-Path: <a@c.example>\r\nX-Seen: yes\r\nReceived: ")) <
                d.fake.log.n);
    smtp_drive_end(&d);
}

/* Lines: just long enough, too long, endless. */
static void test_long_lines(void **state)
{
    (void)state;
    char line[70001];
    struct smtp_drive d;
    smtp_drive_start(&d, conf, SMTP_MX, false);
    memset(line, 'x', sizeof line);
    memcpy(line, "NOOP ", 5);
    smtp_drive_feed(&d, SPAN(""));
    line[2046] = '\r', line[2047] = '\n', line[2048] = 0;
    talk(&d, line);
    assert_true(span_eq(buf_span(&d.out), SPAN("250 2.0.0 Ok\r\n")));
    line[2046] = line[2047] = line[2048] = 'x';
    memcpy(line + 5000, "\r\nNOOP\r\n", 9);
    talk(&d, line);
    assert_true(span_eq(buf_span(&d.out), SPAN("500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n")));
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = 0;
    talk(&d, line);
    assert_true(span_eq(buf_span(&d.out), SPAN("500 5.5.2 Line far too long\r\n")));
    assert_int_equal(d.last, STEP_CLOSE);
    smtp_drive_end(&d);
}

static void test_errors(void **state)
{
    (void)state;
    struct smtp_drive d;
    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(""));
    for (int i = 0; i < 30; i++)
        smtp_drive_feed(&d, SPAN("WHAT\r\n"));
    assert_true(said(&d, "421 4.7.0 mx.gialai.example Too many errors\r\n"));
    assert_int_equal(d.last, STEP_CLOSE);
    smtp_drive_end(&d);
}

static void test_many_recipients(void **state)
{
    (void)state;
    struct smtp_drive d;
    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(EHLO MAIL));
    for (int i = 0; i < 100; i++) {
        talk(&d, RCPT);
        assert_true(said(&d, OK5));
    }
    talk(&d, RCPT);
    assert_true(said(&d, "452 4.5.3 "));
    talk(&d, "DATA\r\nx\r\n.\r\n");
    assert_true(said(&d, "queued as"));
    assert_true(span_starts(buf_span(&d.fake.log), SPAN("<a@c.example> login= queue=0 repeat=1 to=a1\n")));
    smtp_drive_end(&d);
}

static void feed_filler(struct smtp_drive *d, size_t lines)
{
    static const char line[] = "0123456789012345678901234567890123456789012345678901234567\r\n";
    for (size_t i = 0; i < lines; i++)
        smtp_drive_feed(d, SPAN(line));
}

/* Over the limit: read to the end, 552, and in step afterwards. */
static void test_size(void **state)
{
    (void)state;
    struct smtp_drive d;
    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(EHLO MAIL RCPT "DATA\r\n"));
    buf_reset(&d.out);
    feed_filler(&d, 2000);
    assert_int_equal(d.out.n, 0);
    talk(&d, ".\r\nNOOP\r\n");
    assert_true(span_eq(buf_span(&d.out),
                        SPAN("552 5.3.4 Message is larger than this system takes\r\n250 2.0.0 Ok\r\n")));
    talk(&d, MAIL RCPT "BDAT 70000\r\n");
    assert_true(said(&d, "552 5.3.4 "));
    buf_reset(&d.out);
    char zeros[7000];
    memset(zeros, 'A', sizeof zeros);
    for (int i = 0; i < 10; i++)
        smtp_drive_feed(&d, span_of(zeros, sizeof zeros));
    assert_int_equal(d.out.n, 0);
    talk(&d, "NOOP\r\n");
    assert_true(said(&d, OK));
    talk(&d, MAIL RCPT "BDAT 60000\r\n");
    for (int i = 0; i < 8; i++)
        smtp_drive_feed(&d, span_of(zeros, sizeof zeros));
    smtp_drive_feed(&d, span_of(zeros, 4000));
    assert_true(said(&d, "250 2.0.0 Ok, more\r\n"));
    talk(&d, "BDAT 6000 LAST\r\n");
    assert_true(said(&d, "552 5.3.4 "));
    assert_int_equal(d.fake.log.n, 0);
    talk(&d, "x");
    talk(&d, "BDAT 99999999999\r\n");
    smtp_drive_end(&d);

    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(EHLO MAIL RCPT));
    talk(&d, "BDAT 99999999999\r\n");
    assert_true(said(&d, "552 5.3.4 "));
    assert_int_equal(d.last, STEP_CLOSE);
    smtp_drive_end(&d);

    fake_content_budget = 1000;
    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(EHLO MAIL RCPT "DATA\r\n"));
    feed_filler(&d, 100);
    talk(&d, ".\r\n");
    assert_true(said(&d, "452 4.3.1 "));
    smtp_drive_end(&d);
    fake_content_budget = SIZE_MAX;
}

static void test_injection(void **state)
{
    (void)state;
    struct smtp_drive d;
    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(EHLO "STARTTLS\r\nMAIL FROM:<x@y.example>\r\n"));
    assert_true(d.injected);
    assert_int_equal(d.last, STEP_STARTTLS);
    assert_true(said(&d, "220 2.0.0 "));
    assert_false(said(&d, OK1));
    smtp_drive_end(&d);
}

/* A message that was seen before gets the first one's trace. */
static void test_stop_and_timeout(void **state)
{
    (void)state;
    struct smtp_drive d;
    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(EHLO MAIL));
    assert_false(smtp_core_stop(d.core, &d.out));
    talk(&d, RCPT);
    assert_true(said(&d, "421 4.3.2 "));
    assert_int_equal(d.last, STEP_CLOSE);
    smtp_drive_end(&d);

    smtp_drive_start(&d, conf, SMTP_MX, false);
    smtp_drive_feed(&d, SPAN(EHLO));
    buf_reset(&d.out);
    assert_true(smtp_core_stop(d.core, &d.out));
    assert_true(said(&d, "421 4.3.2 "));
    buf_reset(&d.out);
    smtp_core_timeout(d.core, &d.out);
    assert_true(said(&d, "421 4.4.2 "));
    smtp_drive_end(&d);
}

/* The session may end while anything is awaited. */
static void test_death_while_waiting(void **state)
{
    (void)state;
    static const char all[] = EHLO LOGIN FROM_AN "RCPT TO:<small@gialai.example>\r\nDATA\r\nFrom: "
                                                 "an.van@gialai.example\r\n\r\nx\r\n.\r\n";
    for (size_t n = 1; n < sizeof all; n++)
        for (unsigned runs = 0; runs < 8; runs++) {
            struct smtp_drive d;
            smtp_drive_start(&d, conf, SMTP_SUBMISSION, true);
            unsigned left = runs;
            assert_true(buf_add(&d.in, all, n));
            for (;;) {
                d.last = smtp_core_step(d.core, &d.in, &d.out);
                if (d.last == STEP_NEED_INPUT || (d.last == STEP_PAUSED && left-- == 0))
                    break;
                if (d.last == STEP_PAUSED)
                    fake_backend_run(&d.fake);
            }
            smtp_core_free(&d.core);
            while (fake_backend_run(&d.fake))
                ;
            smtp_drive_end(&d);
            assert_int_equal(d.fake.exchanges, 0);
            assert_int_equal(fake_content_alive, 0);
        }
}

int main(void)
{
    static const char text[] = "hostname = mx.gialai.example\ndomains = gialai.example\n"
                               "message_size_limit = 65536\nrecipients_limit = 100\nreceived_limit = 10\n"
                               "group_inline_limit = 100\nsmtp_error_limit = 20\n";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_helpers_away),
        cmocka_unit_test(test_lmtp_receipts),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_many_recipients),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_injection),
        cmocka_unit_test(test_stop_and_timeout),
        cmocka_unit_test(test_death_while_waiting),
    };
    struct buf faults;
    setenv("TZ", "UTC", 1);
    crypto_start();
    log_threshold(LOG_ALARM);
    clock_fake(1000, INT64_C(1795514400) * 1000000); /* 2026-11-24 10:00:00 UTC */
    buf_init(&faults, 4096);
    if (conf_parse("test.conf", SPAN(text), &conf, &faults) != ERR_OK) {
        fprintf(stderr, "%.*s\n", SPAN_ARG(buf_span(&faults)));
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    conf_free(&conf);
    buf_free(&faults);
    return failed;
}
