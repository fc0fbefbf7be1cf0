/* The SMTP core from every phase, over fakes. The first byte says which service, which phase (a prelude is
 * played first) and whether answers come at once; the second how the input is cut. Properties: the same
 * replies and the same deliveries however the input is cut; each reply is a line of three digits ending in
 * CRLF; nothing is stored with a bare CR, a bare LF or NUL; the record given with a content is that of its
 * bytes; nothing leaks.
 */
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/base/log.h"
#include "tests/lib/fake_content.h"
#include "tests/lib/smtp_drive.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const preludes[] = {
    "",
    "EHLO c.example\r\n",
    "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\n",
    "EHLO c.example\r\nMAIL FROM:<a@c.example> SMTPUTF8\r\nRCPT TO:<an@gialai.example>\r\n",
    "EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<small@gialai.example>\r\nRCPT "
    "TO:<an@gialai.example>\r\nDATA\r\n",
    "EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<an@gialai.example>\r\nBDAT 100\r\n",
    "EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<an@gialai.example>\r\nBDAT 1\r\nxBDAT 9999999\r\n",
    "EHLO c.example\r\nAUTH PLAIN\r\n",
    "EHLO c.example\r\nAUTH LOGIN\r\n",
    "EHLO c.example\r\nAUTH SCRAM-SHA-256 bj0x\r\n",
    "EHLO c.example\r\nAUTH PLAIN AGFuAHNlY3JldA==\r\n",
    "EHLO c.example\r\nAUTH PLAIN AGFuAHNlY3JldA==\r\nMAIL FROM:<an@gialai.example>\r\n"
    "RCPT TO:<large@gialai.example>\r\nDATA\r\n",
    "EHLO c.example\r\nSTARTTLS\r\n",
    "LHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<small@gialai.example>\r\nRCPT "
    "TO:<full@gialai.example>\r\nDATA\r\n",
    "LHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<an@gialai.example>\r\nBDAT 7\r\n",
};
enum { PRELUDES = sizeof preludes / sizeof *preludes };

static struct conf *conf;

static void check(bool good)
{
    if (!good)
        abort();
}

static void start(void)
{
    static const char text[] = "hostname = mx.gialai.example\ndomains = gialai.example\n"
                               "message_size_limit = 65536\nrecipients_limit = 100\nreceived_limit = 10\n"
                               "smtp_error_limit = 1000\n";
    struct buf faults;
    if (conf)
        return;
    crypto_start();
    log_threshold(LOG_ALARM);
    setenv("TZ", "UTC", 1);
    clock_fake(1000, INT64_C(1795514400) * 1000000);
    buf_init(&faults, 4096);
    check(conf_parse("fuzz.conf", SPAN(text), &conf, &faults) == ERR_OK);
    buf_free(&faults);
}

static void play(struct smtp_drive *d, uint8_t how, struct span in, size_t cut)
{
    static const enum smtp_kind kinds[] = {SMTP_MX, SMTP_SUBMISSION, SMTP_LMTP, SMTP_SUBMISSION};
    const char *prelude = preludes[how % PRELUDES];
    unsigned kind = prelude[0] == 'L' ? 2 : (how / PRELUDES) % 4;
    bool local = kind == 3 || strstr(prelude, "AUTH");
    if (local)
        kind = 3;
    smtp_drive_start(d, conf, kinds[kind], local);
    d->fake.sync = how & 0x80;
    smtp_drive_feed(d, SPAN(""));
    smtp_drive_feed(d, span_str(prelude));
    while (in.n) {
        smtp_drive_feed(d, span_first(in, cut));
        in = span_drop(in, cut);
    }
}

/* Without the trace ids, which are random. */
static void replies(const struct smtp_drive *d, struct buf *out)
{
    struct span s = buf_span(&d->out);
    while (s.n) {
        size_t at = span_search(s, SPAN("queued as "));
        check(buf_add(out, s.p, at));
        s = span_drop(s, at == s.n ? at : at + 10 + TRACE_TEXT - 1);
    }
}

static void check_replies(struct span s)
{
    while (s.n) {
        size_t n = span_search(s, SPAN("\r\n"));
        check(n < s.n && n >= 4 && s.p[0] >= '2' && s.p[0] <= '5' && (s.p[3] == ' ' || s.p[3] == '-'));
        check(!memchr(s.p, '\n', n) && !memchr(s.p, '\r', n) && !memchr(s.p, 0, n));
        s = span_drop(s, n + 2);
    }
}

/* What reached the store, between its log lines, is made of whole lines. */
static void check_store(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        check(s.p[i] != 0);
        if (s.p[i] == '\r')
            check(i + 1 < s.n && s.p[i + 1] == '\n');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_drive whole, cut;
    struct buf a, b;
    start();
    if (size < 2)
        return 0;
    struct span in = span_of(data + 2, size - 2);
    play(&whole, data[0], in, in.n ? in.n : 1);
    play(&cut, data[0], in, data[1] % 64 + 1u);
    buf_init(&a, 64 << 20);
    buf_init(&b, 64 << 20);
    replies(&whole, &a);
    replies(&cut, &b);
    if (whole.injected == cut.injected) { /* what waits behind STARTTLS depends on the cut */
        if (!whole.injected && data[0] % PRELUDES != 12 && !memmem(data, size, "STARTTLS", 8))
            check(span_eq(buf_span(&a), buf_span(&b)) &&
                  span_eq(buf_span(&whole.fake.log), buf_span(&cut.fake.log)));
    }
    check_replies(buf_span(&whole.out));
    check_store(buf_span(&whole.fake.log));
    smtp_drive_end(&whole);
    smtp_drive_end(&cut);
    check(whole.fake.exchanges == 0 && cut.fake.exchanges == 0 && fake_content_alive == 0);
    buf_free(&a);
    buf_free(&b);
    return 0;
}
