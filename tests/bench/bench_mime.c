/* Throughput of the MIME parser: an ordinary message, a large attachment, and inputs that are made to be
 * slow. Prints time, rate and size of the record for each; arguments are not needed. */
#include "common/mime/parse.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(const char *name, struct buf *in, int times)
{
    struct mime_parser *p = mime_parser_new();
    size_t record = 0;
    double start = now_s();
    for (int i = 0; i < times; i++) {
        mime_parser_reset(p);
        for (struct span rest = buf_span(in); rest.n; rest = span_drop(rest, 65536))
            mime_parser_feed(p, span_first(rest, 65536));
        record = mime_parser_finish(p).n;
    }
    double each = (now_s() - start) / times;
    printf("%-24s %10zu bytes %10.1f us %9.1f MB/s, record %zu\n", name, in->n, each * 1e6,
           (double)in->n / each / 1e6, record);
    mime_parser_free(&p);
    buf_reset(in);
}

static void add(struct buf *b, const char *s)
{
    if (!buf_add_str(b, s))
        exit(1);
}

/* s again and again until b holds total bytes. */
static void fill(struct buf *b, const char *s, size_t total)
{
    while (b->n < total)
        add(b, s);
}

static void ordinary(struct buf *b)
{
    add(b,
        "Received: from a.example by b.example with ESMTPS id 123;\r\n\tTue, 24 Nov 2026 10:00:00 +0700\r\n"
        "Date: Tue, 24 Nov 2026 10:00:00 +0700\r\nFrom: =?utf-8?B?TMOqIFF1YW5nIMav4bubYw==?= "
        "<a@x.example>\r\n"
        "To: B <b@x.example>, c@x.example\r\nSubject: =?utf-8?Q?Quy=E1=BA=BFt_=C4=91=E1=BB=8Bnh?=\r\n"
        "Message-ID: <1@x.example>\r\nContent-Type: multipart/alternative; boundary=bbbbbbbb\r\n\r\n"
        "--bbbbbbbb\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n");
    fill(b, "Kính gửi: Các sở, ban, ngành; UBND các huyện, thị xã, thành phố.\r\n", 5000);
    add(b, "--bbbbbbbb\r\nContent-Type: text/html; charset=utf-8\r\n\r\n");
    fill(b, "<p>Kính gửi: Các sở, ban, ngành; UBND các huyện.</p>\r\n", 10000);
    add(b, "--bbbbbbbb--\r\n");
}

int main(void)
{
    struct buf b;
    buf_init(&b, 100 << 20);
    ordinary(&b);
    run("10 KB message", &b, 3000);
    add(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/pdf\r\n\r\n");
    fill(&b, "JVBERi0xLjQKJeLjz9MKMyAwIG9iago8PC9UeXBlL1BhZ2UvUGFyZW50IDIgMCBSL1Jlc291cmN\r\n", 50 << 20);
    run("50 MB attachment", &b, 5);
    add(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    fill(&b, "--b\r\n\r\nx\r\n", 1 << 20);
    run("1e5 boundaries", &b, 1);
    for (int i = 0; i < 20000; i++)
        if (!buf_addf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i))
            return 1;
    run("20000 levels", &b, 1);
    fill(&b, "X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 50 << 20);
    run("50 MB header", &b, 1);
    add(&b, "Content-Type: text/plain");
    for (int i = 0; i < 50000; i++)
        if (!buf_addf(&b, ";\r\n name*%d*=%%41", i))
            return 1;
    run("50000 continuations", &b, 1);
    add(&b, "To: a@b");
    fill(&b, ",\r\n cc@d", 1 << 20);
    run("1e5 addresses", &b, 1);
    add(&b, "Subject: ");
    fill(&b, "=?utf-8?Q?=C3=A1?=\r\n ", 1 << 20);
    run("many words", &b, 1);
    add(&b, "To: ");
    fill(&b, "=?a?b?", 1 << 20);
    run("words without an end", &b, 1);
    add(&b, "Content-Type: multipart/digest; boundary=b\r\n\r\n");
    fill(&b, "--b\r\n\r\nbad line\r\nTo: a@b, c@d\r\nbad\r\n", 20 << 20);
    run("a digest of bad headers", &b, 1);
    buf_free(&b);
    return 0;
}
