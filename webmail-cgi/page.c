/* Output: the template letters, quoting, and the header fields that keep a page in its place (no script but
 * ours, no frame around it, no copy in a cache). Its hard problem is that one forgotten quote is a hole:
 * hence a formatter whose every letter quotes, and no way to append foreign bytes without one. */
#include "webmail-cgi/page.h"
#include "webmail-cgi/html/html.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void page_init(struct page *p, enum lang lang)
{
    *p = (struct page){.lang = lang, .status = 200};
    buf_init(&p->out, PAGE_LIMIT);
    buf_init(&p->heads, 65536);
}

void page_free(struct page *p)
{
    buf_free(&p->out);
    buf_wipe(&p->heads);
}

void page_reset(struct page *p)
{
    buf_reset(&p->out);
    buf_reset(&p->heads);
    p->status = 200;
    p->full = false;
}

static void add(struct page *p, struct span s)
{
    p->full = p->full || !buf_add_span(&p->out, s);
}

void html_text(struct page *p, struct span s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *as;
        switch (s.p[i]) {
        case '&':
            as = "&amp;";
            break;
        case '<':
            as = "&lt;";
            break;
        case '>':
            as = "&gt;";
            break;
        case '"':
            as = "&quot;";
            break;
        case '\'':
            as = "&#39;";
            break;
        case '\0':
            as = "";
            break;
        default:
            continue;
        }
        add(p, span_of(s.p + from, i - from));
        add(p, span_str(as));
        from = i + 1;
    }
    add(p, span_of(s.p + from, s.n - from));
}

bool url_encode(struct buf *out, struct span s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c && memchr("-._~", c, 4) != NULL);
        char e[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (plain ? !buf_add_char(out, (char)c) : !buf_add(out, e, 3))
            return false;
    }
    return true;
}

void url_part(struct page *p, struct span s)
{
    p->full = p->full || !url_encode(&p->out, s);
}

static void put_number(struct page *p, uint64_t v)
{
    p->full = p->full || !buf_addf(&p->out, "%llu", (unsigned long long)v);
}

void page_put(struct page *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    for (const char *at = fmt; *at;) {
        size_t run = strcspn(at, "%");
        add(p, span_of(at, run));
        at += run;
        if (!*at)
            break;
        switch (at[1]) {
        case 's':
            html_text(p, span_str(va_arg(ap, const char *)));
            break;
        case 'h':
            html_text(p, va_arg(ap, struct span));
            break;
        case 'u':
            url_part(p, va_arg(ap, struct span));
            break;
        case 'd':
            p->full = p->full || !buf_addf(&p->out, "%d", va_arg(ap, int));
            break;
        case 'U':
            put_number(p, va_arg(ap, uint64_t));
            break;
        case 't':
            html_text(p, span_str(text(p->lang, (enum text_id)va_arg(ap, int))));
            break;
        default:
            add(p, SPAN("%"));
        }
        at += 2;
    }
    va_end(ap);
}

bool words_fill(struct buf *out, const char *words, struct span a0, struct span a1)
{
    for (; *words; words++) {
        bool slot = words[0] == '{' && (words[1] == '0' || words[1] == '1') && words[2] == '}';
        if (slot ? !buf_add_span(out, words[1] == '0' ? a0 : a1) : !buf_add_char(out, *words))
            return false;
        words += slot ? 2 : 0;
    }
    return true;
}

void page_words(struct page *p, enum text_id id, struct span a0, struct span a1)
{
    struct buf b;
    buf_init(&b, PAGE_LIMIT);
    p->full = p->full || !words_fill(&b, text(p->lang, id), a0, a1);
    html_text(p, buf_span(&b));
    buf_free(&b);
}

void size_text(enum lang lang, uint64_t bytes, char out[SIZE_TEXT])
{
    static const enum text_id units[] = {T_SIZE_BYTES, T_SIZE_KB, T_SIZE_MB, T_SIZE_GB};
    char n[32];
    struct buf b;
    unsigned u = 0;
    while (u < 3 && bytes >> (10 * (u + 1)))
        u++;
    if (u < 2) {
        snprintf(n, sizeof n, "%llu", (unsigned long long)(u ? (bytes + 512) / 1024 : bytes));
    } else {
        const uint64_t tenths = (bytes >> (10 * (u - 1))) * 10 / 1024; /* rounded down: 4,99 is not 5 */
        snprintf(n, sizeof n, tenths % 10 ? "%llu%c%llu" : "%llu", (unsigned long long)(tenths / 10),
                 lang == LANG_EN ? '.' : ',', (unsigned long long)(tenths % 10));
    }
    buf_init(&b, SIZE_TEXT - 1);
    bool ok = words_fill(&b, text(lang, units[u]), span_str(n), SPAN_NONE);
    snprintf(out, SIZE_TEXT, "%.*s", ok ? (int)b.n : 0, ok ? b.p : "");
    buf_free(&b);
}

void page_size(struct page *p, uint64_t bytes)
{
    char words[SIZE_TEXT];
    size_text(p->lang, bytes, words);
    html_text(p, span_str(words));
}

void page_head(struct page *p, const char *name, struct span value)
{
    p->full = p->full || !buf_add_str(&p->heads, name) || !buf_add_str(&p->heads, ": ");
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        p->full = p->full || !buf_add_char(&p->heads, c < 0x20 || c == 0x7f ? ' ' : (char)c);
    }
    p->full = p->full || !buf_add_str(&p->heads, "\r\n");
}

void page_redirect(struct page *p, struct span location)
{
    p->status = 303;
    page_head(p, "Location", location);
    buf_reset(&p->out);
    PUT(p, "<!DOCTYPE html><title>303</title>");
}

bool page_write(struct span s)
{
    while (s.n) {
        ssize_t n = write(STDOUT_FILENO, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s = span_drop(s, (size_t)n);
    }
    return true;
}

static bool has_head(const struct page *p, const char *name)
{
    return span_search(buf_span(&p->heads), span_str(name)) < p->heads.n;
}

bool page_send_heads(struct page *p)
{
    static const char common[] =
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
        "Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\n"
        "Permissions-Policy: camera=(), microphone=(), geolocation=()\r\n";
    static const char policy[] = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src "
                                 "'self'; img-src 'self' data:; "
                                 "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
                                 "frame-ancestors 'none'\r\n"
                                 "X-Frame-Options: DENY\r\n";
    struct buf b;
    buf_init(&b, 1 << 17);
    bool ok =
        buf_addf(&b, "Status: %d\r\n", p->status) && buf_add_span(&b, buf_span(&p->heads)) &&
        buf_add_str(&b, common) &&
        (has_head(p, "Content-Type: ") || buf_add_str(&b, "Content-Type: text/html; charset=utf-8\r\n")) &&
        (has_head(p, "Content-Security-Policy: ") || buf_add_str(&b, policy)) && buf_add_str(&b, "\r\n") &&
        page_write(buf_span(&b));
    buf_free(&b);
    return ok;
}

bool page_send(struct page *p)
{
    return page_send_heads(p) && page_write(buf_span(&p->out));
}
