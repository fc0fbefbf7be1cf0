/* imapd's core from every state, over the store and directory in memory. The first byte chooses the state and
 * how the rest is cut into pieces; the second may make a call of the store fail. Properties: it ends, frees
 * all, and what comes in pieces is answered as what comes whole. */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "imapd/imap.h"
#include "tests/lib/fake_content.h"
#include "tests/lib/fake_directory.h"
#include "tests/lib/fake_store.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct drive {
    struct imap *core;
    struct buf in, out;
    bool kicked, listening, closed;
};

static void kick(void *arg)
{
    ((struct drive *)arg)->kicked = true;
}

static void deadline(void *arg, uint64_t ms, bool restart)
{
    (void)arg;
    (void)ms;
    (void)restart;
}

static void listen_on(void *arg, bool on)
{
    ((struct drive *)arg)->listening = on;
}

static void later(void *arg, uint64_t ms)
{
    (void)arg;
    (void)ms;
    abort(); /* the fakes are always up */
}

static void run(struct drive *d)
{
    for (unsigned rounds = 0; !d->closed; rounds++) {
        if (rounds > 200000)
            abort(); /* it turns in a circle */
        d->kicked = false;
        switch (imap_step(d->core, &d->in, &d->out)) {
        case STEP_AGAIN:
            continue;
        case STEP_STARTTLS: {
            const struct tls_facts facts = {.version = "TLSv1.3", .cipher = "none"};
            if (d->in.n)
                d->closed = true;
            else
                imap_tls_up(d->core, &facts);
            continue;
        }
        case STEP_CLOSE:
            d->closed = true;
            return;
        case STEP_NEED_INPUT:
        case STEP_PAUSED:
            break;
        }
        bool did = fake_store_pump();
        did = fake_directory_pump() || did;
        if (!did && !d->kicked)
            return;
    }
}

static void feed(struct drive *d, struct span bytes, size_t piece)
{
    while (bytes.n && !d->closed) {
        struct span p = span_first(bytes, piece);
        bytes = span_drop(bytes, p.n);
        if (!buf_add_span(&d->in, p))
            return;
        run(d);
    }
}

/* The session's answers to input, from the state. */
static void play(unsigned state, struct span input, size_t piece, unsigned fail_at, struct buf *answers)
{
    static const char mail[] =
        "From: \"A\" <a@b.c>\r\nTo: d@e.f\r\nSubject: =?utf-8?Q?x?= y\r\nDate: Tue, 24 Nov 2026 "
        "10:00:00 +0700\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
        "text\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ninner\r\n--b--\r\n";
    static const char *const before[] = {
        "",
        "a LOGIN a@x thu-dien-tu\r\n",
        "a LOGIN a@x thu-dien-tu\r\nb SELECT INBOX\r\n",
        "a LOGIN a@x thu-dien-tu\r\nb EXAMINE INBOX\r\n",
        "a LOGIN a@x thu-dien-tu\r\nb SELECT INBOX\r\nc IDLE\r\n",
        "a LOGIN a@x thu-dien-tu\r\nb SELECT INBOX\r\nc UID SEARCH RETURN (SAVE) ALL\r\n"};
    static const struct imap_host host = {kick, deadline, listen_on, later};
    struct drive d = {0};
    struct conf *conf;
    struct buf faults;
    buf_init(&faults, 4096);
    if (conf_parse("fuzz.conf", SPAN("imap_append_limit = 100K\n"), &conf, &faults) != ERR_OK)
        abort();
    buf_init(&d.in, 1 << 20);
    buf_init(&d.out, 64 << 20);
    fake_store_file("a@x", "INBOX", SPAN(mail), 0);
    fake_store_file("a@x", "INBOX", SPAN("Subject: 2\r\n\r\nb\r\n"), STORE_DELETED);
    fake_store_file("a@x", "INBOX", SPAN("Subject: 3\r\n\r\nc\r\n"), STORE_SEEN);
    struct store *store = store_new_worker(NULL, STORE_SESSION);
    struct directory *directory = directory_new_worker(NULL);
    struct imap_start start = {.conf = conf,
                               .store = store,
                               .directory = directory,
                               .host = &host,
                               .host_arg = &d,
                               .peer = "192.0.2.1:1",
                               .local = state,
                               .starttls = !state};
    d.core = imap_new(&start);
    run(&d);
    feed(&d, span_str(before[state % (sizeof before / sizeof *before)]), SIZE_MAX);
    buf_reset(&d.out);
    fake_store.fail_at = fail_at ? fake_store.calls + fail_at : 0;
    feed(&d, input, piece);
    fake_store.fail_at = 0;
    if (d.listening && !d.closed) {
        fake_store_file("a@x", "INBOX", SPAN("Subject: 4\r\n\r\nd\r\n"), 0);
        run(&d);
    }
    if (!buf_add_span(answers, buf_span(&d.out)))
        abort();
    imap_free(&d.core);
    fake_store_pump();
    fake_store_reset();
    store_free(&store);
    directory_free(&directory);
    conf_free(&conf);
    buf_free(&d.in);
    buf_free(&d.out);
    buf_free(&faults);
    if (fake_content_alive)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, pieces;
    if (size < 2)
        return 0;
    log_threshold(LOG_ALARM);
    clock_fake(1, 1790000000000000);
    buf_init(&whole, 128 << 20);
    buf_init(&pieces, 128 << 20);
    unsigned state = data[0] % 6, cut = data[0] / 6;
    struct span input = span_of(data + 2, size - 2);
    fake_store.chunk = 1 + data[1] % 3;
    play(state, input, SIZE_MAX, data[1] >> 3, &whole);
    play(state, input, 1 + cut, data[1] >> 3, &pieces);
    /* Bytes behind STARTTLS end the session when they come with it. */
    bool tls = false;
    for (size_t i = 0; i < input.n; i++)
        tls = tls || span_casestarts(span_drop(input, i), SPAN("STARTTLS"));
    if (!tls && !span_eq(buf_span(&whole), buf_span(&pieces))) {
        fprintf(stderr, "whole:\n%.*s\npieces:\n%.*s\n", SPAN_ARG(buf_span(&whole)),
                SPAN_ARG(buf_span(&pieces)));
        abort();
    }
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
