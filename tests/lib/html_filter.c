/* The re-serialiser as a filter for tests: frames of a 4-byte big-endian size and HTML come in; for each,
 * frames with what was written, the plain text, and the time in microseconds go out. */
#include "webmail-cgi/html/html.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void put(struct span s)
{
    unsigned char h[4] = {(unsigned char)(s.n >> 24), (unsigned char)(s.n >> 16), (unsigned char)(s.n >> 8),
                          (unsigned char)s.n};
    if (fwrite(h, 1, 4, stdout) != 4 || fwrite(s.p, 1, s.n, stdout) != s.n)
        exit(1);
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int main(void)
{
    unsigned char h[4];
    struct buf out, text;
    buf_init(&out, 256 << 20);
    buf_init(&text, 256 << 20);
    while (fread(h, 1, 4, stdin) == 4) {
        size_t n = (size_t)h[0] << 24 | (size_t)h[1] << 16 | (size_t)h[2] << 8 | h[3];
        char *in = xmalloc(n + 1);
        if (fread(in, 1, n, stdin) != n)
            return 1;
        buf_reset(&out);
        buf_reset(&text);
        struct html_result r;
        uint64_t from = now_us();
        if (html_serialise(span_of(in, n), NULL, &out, &r) != ERR_OK ||
            html_plain(span_of(in, n), &text) != ERR_OK)
            return 2;
        char took[32];
        int len = snprintf(took, sizeof took, "%llu", (unsigned long long)(now_us() - from));
        put(buf_span(&out));
        put(buf_span(&text));
        put(span_of(took, (size_t)len));
        free(in);
    }
    buf_free(&out);
    buf_free(&text);
    return 0;
}
