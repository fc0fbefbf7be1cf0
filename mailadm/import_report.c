/* What a person sees of an import while it runs and keeps afterwards: counters that all processes share, a
 * line of progress, and a report of what was refused, a JSON value a line. The one hard point is that several
 * processes write the report: each line is one write to a descriptor opened for appending. */
#include "common/base/clock.h"
#include "common/mime/charset.h"
#include "mailadm/import.h"
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* -- JSON -- */

bool import_json(struct buf *b, struct span s)
{
    bool ok = buf_add_char(b, '"');
    while (s.n && ok) {
        size_t n = 0;
        uint32_t cp = utf8_next(s, &n);
        if (n == 0)
            n = 1;
        if (!utf8_valid(span_first(s, n)))
            ok = buf_add_str(b, "\\ufffd");
        else if (cp == '"' || cp == '\\')
            ok = buf_addf(b, "\\%c", (char)cp);
        else if (cp < 32 || cp == 127)
            ok = buf_addf(b, "\\u%04" PRIx32, cp);
        else
            ok = buf_add_span(b, span_first(s, n));
        s = span_drop(s, n);
    }
    return ok && buf_add_char(b, '"');
}

static void write_line(struct import_report *r, struct buf *b, bool ok)
{
    ok = ok && buf_add_str(b, "}\n");
    if (r->fd >= 0 && (!ok || write(r->fd, b->p, b->n) != (ssize_t)b->n))
        fprintf(stderr, "mailadm: the report cannot be written\n");
    buf_free(b);
}

static bool begin_line(struct import_report *r, struct buf *b, struct span mailbox)
{
    buf_init(b, 1 << 20);
    bool ok = buf_add_str(b, "{\"account\": ") && import_json(b, span_str(r->account));
    if (ok && mailbox.n)
        ok = buf_add_str(b, ", \"mailbox\": ") && import_json(b, mailbox);
    return ok;
}

void import_refused(struct import_report *r, struct span mailbox, struct span source, const char *why)
{
    struct buf b;
    bool ok = begin_line(r, &b, mailbox);
    if (ok && source.n)
        ok = buf_add_str(&b, ", \"source\": ") && import_json(&b, source);
    ok = ok && buf_add_str(&b, ", \"refused\": ") && import_json(&b, span_str(why));
    atomic_fetch_add(&r->counts->refused, 1);
    write_line(r, &b, ok);
}

void import_noted(struct import_report *r, struct span mailbox, const char *kind, struct span json)
{
    struct buf b;
    bool ok = begin_line(r, &b, mailbox) && buf_addf(&b, ", \"%s\": ", kind) && buf_add_span(&b, json);
    write_line(r, &b, ok);
}

/* -- progress -- */

void import_size(uint64_t bytes, char out[IMPORT_SIZE])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 1000 && u + 1 < sizeof units / sizeof *units; u++)
        v /= 1000;
    snprintf(out, IMPORT_SIZE, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

static void put_time(uint64_t s, char *out, size_t size)
{
    if (s < 3600)
        snprintf(out, size, "%" PRIu64 ":%02" PRIu64, s / 60, s % 60);
    else
        snprintf(out, size, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600, s / 60 % 60, s % 60);
}

static double rest(double planned, double seen)
{
    return seen > 0 && planned > seen ? (planned - seen) / seen : 0;
}

/* Seconds that the rest will take, by bytes or by messages, whichever says more; accounts that were not
 * looked into yet count as much as those that were. */
static uint64_t remaining_s(struct import_counts *c, uint64_t spent_ms)
{
    unsigned begun = c->next < c->all ? c->next : c->all;
    double all = begun && !c->all_planned ? (double)c->all / begun : 1;
    double bytes = rest((double)c->planned_bytes * all, (double)c->seen_bytes);
    double messages = rest((double)c->planned * all, (double)c->seen);
    return (uint64_t)((bytes > messages ? bytes : messages) * (double)spent_ms / 1000);
}

void import_show(struct import_counts *c, bool final)
{
    char done[IMPORT_SIZE], rate[IMPORT_SIZE], left[32], line[240];
    uint64_t ms = clock_mono_ms() - c->begin_ms + 1, seen = c->seen;
    bool terminal = isatty(STDERR_FILENO);
    import_size(c->seen_bytes, done);
    import_size(c->seen_bytes * 1000 / ms, rate);
    put_time(final ? ms / 1000 : remaining_s(c, ms), left, sizeof left);
    snprintf(line, sizeof line,
             "%llu of %u accounts, %" PRIu64 "/%llu messages, %s, %" PRIu64
             " messages/s, %s/s, %llu refused, %s %s",
             (unsigned long long)c->accounts, c->all, seen, (unsigned long long)c->planned, done,
             seen * 1000 / ms, rate, (unsigned long long)c->refused, left, final ? "taken" : "left");
    fprintf(stderr, terminal ? "\r\033[K%s" : "%s\n", line);
    if (terminal && final)
        fputc('\n', stderr);
    fflush(stderr);
}
