/* What mailadm prints of foreign text: never a control byte to a terminal, never broken UTF-8 into JSON. */
#include "common/mime/charset.h"
#include "mailadm/ask.h"
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

void adm_json_span(struct span s)
{
    putchar('"');
    while (s.n) {
        size_t n = 0;
        uint32_t cp = utf8_next(s, &n);
        unsigned char c = (unsigned char)*s.p;
        if (n == 0)
            n = 1;
        if (!utf8_valid(span_first(s, n)))
            fputs("\\ufffd", stdout);
        else if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (cp < 32 || cp == 127)
            printf("\\u%04" PRIx32, cp);
        else
            printf("%.*s", SPAN_ARG(span_first(s, n)));
        s = span_drop(s, n);
    }
    putchar('"');
}

int adm_text(struct span s)
{
    int columns = 0;
    for (; s.n; columns++) {
        size_t n = 0;
        uint32_t cp = utf8_next(s, &n);
        if (n == 0)
            n = 1;
        bool shown = cp >= 32 && !(cp >= 127 && cp < 160) && utf8_valid(span_first(s, n));
        if (shown)
            printf("%.*s", SPAN_ARG(span_first(s, n)));
        else
            putchar('?');
        s = span_drop(s, n);
    }
    return columns;
}

void adm_time(int64_t us, char out[ADM_TIME])
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    char text[24];
    out[0] = '\0';
    if (us > 0 && gmtime_r(&s, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm))
        snprintf(out, ADM_TIME, "%s.%06dZ", text, (int)(us % 1000000));
}

static void value_json(struct span value)
{
    uint64_t number;
    if (span_u64(value, &number) && (value.n == 1 || value.p[0] != '0'))
        printf("%" PRIu64, number);
    else if (span_eq(value, SPAN("true")) || span_eq(value, SPAN("yes")))
        fputs("true", stdout);
    else if (span_eq(value, SPAN("false")) || span_eq(value, SPAN("no")))
        fputs("false", stdout);
    else
        adm_json_span(value);
}

/* The next line with its key cut off; false at the end. */
static bool next_pair(struct span *lines, struct span *key, struct span *value)
{
    while (lines->n) {
        *value = span_cut(lines, '\n');
        if (!value->n)
            continue;
        *key = span_cut(value, '=');
        return true;
    }
    return false;
}

/* A key that is repeated has all its values in an array. */
static void pairs_json(struct ask *k, struct span lines)
{
    struct span key, value, last = SPAN_NONE;
    bool list = false;
    while (next_pair(&lines, &key, &value)) {
        struct span rest = lines, next, ignored;
        bool more = next_pair(&rest, &next, &ignored) && span_eq(next, key);
        if (!span_eq(key, last)) {
            fputs(k->first ? "" : ", ", stdout);
            adm_json_span(key);
            fputs(more ? ": [" : ": ", stdout);
            list = more;
        } else {
            fputs(", ", stdout);
        }
        value_json(value);
        if (list && !more)
            putchar(']');
        last = key;
        k->first = false;
    }
}

void adm_pairs(struct ask *k, struct span lines)
{
    enum { COLUMN = 24 };
    struct span key, value;
    if (k->adm->json) {
        pairs_json(k, lines);
        return;
    }
    while (next_pair(&lines, &key, &value)) {
        int n = adm_text(key);
        printf("%*s ", n < COLUMN ? COLUMN - n : 0, "");
        adm_text(value);
        putchar('\n');
    }
}
