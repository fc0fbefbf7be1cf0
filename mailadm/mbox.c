/* Reading mbox files. The hard problem is where a message ends: "From " at the start of a line is believed
 * behind an empty line when a date follows it, and anywhere when it is a whole From_ line; a Content-Length
 * is believed when a message or the file's end stands where it points, and then nothing in between is looked
 * at. The bytes pass in pieces of bounded size. Line ends, sizes and NUL are the taker's business
 * (import_target.c). */
#include "mailadm/mbox.h"
#include "common/mime/date.h"
#include "common/store/store.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WINDOW = 256 << 10, FROM_LINE = 1000, FIELD_LIMIT = 4000 };

struct mbox {
    mbox_read_fn *read;
    void *arg;
    enum mbox_quoting quoting;
    uint64_t at;    /* in the file */
    size_t from, n; /* of buf: what comes next */
    bool end, failed;
    bool inside;     /* the next piece goes on with a line */
    struct span gap; /* a line end that is owed: the last one of a message may have to stay away */
    char gap_bytes[2];
    mbox_bytes_fn *put;
    void *put_arg;
    char buf[WINDOW];
};

struct mbox *mbox_new(mbox_read_fn *read, void *arg, enum mbox_quoting quoting)
{
    struct mbox *m = xcalloc(1, sizeof *m);
    m->read = read;
    m->arg = arg;
    m->quoting = quoting;
    return m;
}

void mbox_free(struct mbox **m)
{
    free(*m);
    *m = NULL;
}

uint64_t mbox_offset(const struct mbox *m)
{
    return m->at;
}

/* -- the window -- */

static struct span front(const struct mbox *m)
{
    return span_of(m->buf + m->from, m->n);
}

static void fill(struct mbox *m)
{
    if (m->from) {
        memmove(m->buf, m->buf + m->from, m->n);
        m->from = 0;
    }
    while (m->n < WINDOW && !m->end && !m->failed) {
        long got = m->read(m->arg, m->at + m->n, m->buf + m->n, WINDOW - m->n);
        m->end = got == 0;
        m->failed = got < 0;
        m->n += got > 0 ? (size_t)got : 0;
    }
}

static void skip(struct mbox *m, size_t n)
{
    m->inside = n ? m->buf[m->from + n - 1] != '\n' : m->inside;
    m->at += n;
    m->from += n;
    m->n -= n;
}

/* The rest of the window from n on holds a whole From_ line, if there is one in the file. */
static struct span look(struct mbox *m, size_t n)
{
    if (m->n < n + FROM_LINE)
        fill(m);
    return span_drop(front(m), n);
}

/* -- From_ lines -- */

static bool is_month(struct span word, int *month)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int i = 0; i < 12; i++)
        if (word.n == 3 && memcmp(word.p, names + 3 * i, 3) == 0) {
            *month = i;
            return true;
        }
    return false;
}

static bool clock_of(struct span word, struct tm *tm)
{
    uint32_t hour, minute, second = 0;
    struct span h = span_cut(&word, ':'), min = span_cut(&word, ':');
    if (!span_u32(h, &hour) || !span_u32(min, &minute) || (word.n && !span_u32(word, &second)))
        return false;
    tm->tm_hour = (int)hour;
    tm->tm_min = (int)minute;
    tm->tm_sec = (int)second;
    return hour < 24 && minute < 60 && second < 61;
}

static bool zone_of(struct span word, int *zone_min)
{
    uint32_t v;
    if (word.n != 5 || (word.p[0] != '+' && word.p[0] != '-') || !span_u32(span_drop(word, 1), &v))
        return false;
    *zone_min = (int)(v / 100 * 60 + v % 100) * (word.p[0] == '-' ? -1 : 1);
    return v <= 1400;
}

static size_t split(struct span line, struct span *v, size_t max)
{
    size_t n = 0;
    while (line.n && n < max) {
        struct span word = span_cut(&line, ' ');
        if (word.n)
            v[n++] = word;
    }
    return n;
}

/* "From who Thu Jan  1 00:00:00 1970", with a zone before or behind the year in some: the date. */
static bool from_date(struct span line, int64_t *s, int *zone_min)
{
    struct span w[24];
    size_t n = split(span_trim(span_drop(line, 5)), w, sizeof w / sizeof *w), i = 0;
    struct tm tm = {0};
    uint32_t day, year = 0;
    *zone_min = 0;
    while (i < n && !is_month(w[i], &tm.tm_mon))
        i++;
    if (i + 3 >= n || !span_u32(w[i + 1], &day) || day < 1 || day > 31 || !clock_of(w[i + 2], &tm))
        return false;
    for (size_t k = i + 3; k < n && k < i + 6; k++)
        if (!zone_of(w[k], zone_min) && w[k].n == 4)
            (void)span_u32(w[k], &year);
    if (year < 1970 || year > 9999)
        return false;
    tm.tm_mday = (int)day;
    tm.tm_year = (int)year - 1900;
    *s = timegm(&tm) - *zone_min * 60;
    return true;
}

static struct span first_line(struct span s)
{
    s = span_first(s, FROM_LINE);
    return span_first(s, span_find(s, '\n'));
}

/* Does a message begin at s? */
static bool begins(struct span s, bool behind_empty)
{
    int64_t when;
    int zone;
    if (!span_starts(s, SPAN("From ")))
        return false;
    struct span line = first_line(s);
    if (from_date(line, &when, &zone))
        return true;
    bool clock = false; /* some digits with a colon between will do */
    for (size_t i = 6; i + 1 < line.n && !clock; i++)
        clock = line.p[i] == ':' && line.p[i - 1] >= '0' && line.p[i - 1] <= '9' && line.p[i + 1] >= '0' &&
                line.p[i + 1] <= '9';
    return behind_empty && clock;
}

/* -- giving out -- */

static void put(struct mbox *m, struct span s)
{
    if (s.n)
        m->put(m->put_arg, s);
}

static void give_gap(struct mbox *m)
{
    put(m, m->gap);
    m->gap = SPAN_NONE;
}

static size_t line_end(struct span piece)
{
    return span_ends(piece, SPAN("\r\n")) ? 2 : span_ends(piece, SPAN("\n")) ? 1 : 0;
}

/* A piece of a line; its line end is kept back until it is known that something follows. */
static void give(struct mbox *m, struct span piece)
{
    size_t end = line_end(piece);
    give_gap(m);
    put(m, span_first(piece, piece.n - end));
    memcpy(m->gap_bytes, piece.p + piece.n - end, end);
    m->gap = span_of(m->gap_bytes, end);
}

/* True: what is at the front of the window, an empty line or none, stands between this message and the next.
 */
static bool is_separator(struct mbox *m, struct span line)
{
    if (line.n != line_end(line) || !line.n)
        return false;
    struct span next = look(m, line.n);
    return next.n == 0 || begins(next, true);
}

static struct span unquoted(const struct mbox *m, struct span line)
{
    size_t n = 0;
    if (m->quoting != MBOX_QUOTED || m->inside)
        return line;
    while (n < line.n && line.p[n] == '>')
        n++;
    return n && span_starts(span_drop(line, n), SPAN("From ")) ? span_drop(line, 1) : line;
}

/* -- header -- */

struct head {
    struct mbox_message *out;
    bool ours; /* written by mbox_write_begin: only the lines counted in own_lines are not the message's */
    unsigned own_lines;
    bool ends_lf;
    bool has_length;
    uint64_t length;
    bool has_date_field;
    int64_t date_s;
    int date_zone;
    struct buf field; /* the unfolded one that is being read, its name included */
};

static bool named(struct span field, struct span name, struct span *value)
{
    if (!span_casestarts(field, name) || field.n <= name.n || field.p[name.n] != ':')
        return false;
    *value = span_trim(span_drop(field, name.n + 1));
    return true;
}

static void add_keywords(struct mbox_message *out, struct span words)
{
    size_t n = strlen(out->keywords);
    while (words.n) {
        struct span w = span_cut(&words, ' ');
        if (!w.n || n + w.n + 2 > sizeof out->keywords)
            continue;
        if (n)
            out->keywords[n++] = ' ';
        memcpy(out->keywords + n, w.p, w.n);
        n += w.n;
    }
    out->keywords[n] = '\0';
}

static void letters(struct mbox_message *out, struct span v)
{
    static const struct {
        char c;
        uint32_t flag;
    } rows[] = {{'R', STORE_SEEN},
                {'A', STORE_ANSWERED},
                {'F', STORE_FLAGGED},
                {'D', STORE_DELETED},
                {'T', STORE_DRAFT}};
    for (size_t i = 0; i < v.n; i++)
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
            if (v.p[i] == rows[k].c)
                out->flags |= rows[k].flag;
}

static void mozilla(struct mbox_message *out, struct span v)
{
    char text[20];
    memcpy(text, v.p, v.n < 19 ? v.n : 19);
    text[v.n < 19 ? v.n : 19] = '\0';
    unsigned long bits = strtoul(text, NULL, 16);
    out->flags |=
        (bits & 1 ? STORE_SEEN : 0U) | (bits & 2 ? STORE_ANSWERED : 0U) | (bits & 4 ? STORE_FLAGGED : 0U);
    out->not_mail = out->not_mail || bits & 8; /* expunged, not yet compacted */
}

/* "1 date=S zone=M flags=N eol=B lines=L" */
static void own_head(struct head *h, struct span v)
{
    long long date;
    int zone;
    unsigned flags, eol, lines;
    char text[200];
    memcpy(text, v.p, v.n < 199 ? v.n : 199);
    text[v.n < 199 ? v.n : 199] = '\0';
    if (sscanf(text, "1 date=%lld zone=%d flags=%u eol=%u lines=%u", &date, &zone, &flags, &eol, &lines) != 5)
        return;
    h->ours = true;
    h->own_lines = lines;
    h->ends_lf = eol;
    h->out->has_date = true;
    h->out->internal_s = date;
    h->out->zone_min = zone;
    h->out->flags = flags & 0x1f;
}

/* True: the field belongs to the file, not to the message. */
static bool only_here(struct head *h, struct span f)
{
    struct span v;
    if (named(f, SPAN("Status"), &v) || named(f, SPAN("X-Status"), &v))
        letters(h->out, v);
    else if (named(f, SPAN("X-Keywords"), &v) || named(f, SPAN("X-Mozilla-Keys"), &v))
        add_keywords(h->out, v);
    else if (named(f, SPAN("X-Mozilla-Status"), &v))
        mozilla(h->out, v);
    else if (named(f, SPAN("Content-Length"), &v))
        h->has_length = span_u64(v, &h->length);
    else if (named(f, SPAN("X-IMAP"), &v))
        h->out->not_mail = true;
    else
        return named(f, SPAN("X-IMAPbase"), &v) || named(f, SPAN("X-UID"), &v) ||
               named(f, SPAN("X-Mozilla-Status2"), &v);
    return true;
}

/* Is a line that starts so worth being put together? */
static bool may_matter(struct span line)
{
    static const char *const names[] = {"status:",    "x-status:",       "x-keywords:",
                                        "x-mozilla-", "content-length:", "x-imap",
                                        "x-uid:",     "date:",           "x-provmail-message:"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (span_casestarts(line, span_str(names[i])))
            return true;
    return false;
}

/* A whole field that may matter. True: it is not to be given out. */
static bool take_field(struct head *h, struct span raw, bool first)
{
    struct span v;
    struct span f = raw;
    for (size_t i = 0; i < f.n; i++)
        if (f.p[i] == '\r' || f.p[i] == '\n' || f.p[i] == '\t')
            ((char *)(uintptr_t)f.p)[i] = ' '; /* our own buffer */
    if (first && named(f, SPAN("X-Provmail-Message"), &v)) {
        own_head(h, v);
        return h->ours;
    }
    if (h->ours) {
        bool own = h->own_lines > 0;
        if (own && named(f, SPAN("X-Keywords"), &v))
            add_keywords(h->out, v);
        h->own_lines -= own;
        return own;
    }
    if (named(f, SPAN("Date"), &v) && !h->has_date_field)
        h->has_date_field = date_parse(v, &h->date_s, &h->date_zone);
    return only_here(h, f);
}

static bool folds(struct span s)
{
    return s.n && (s.p[0] == ' ' || s.p[0] == '\t');
}

/* The field at the front of the window, n bytes, when it fits; 0: too long to matter. */
static size_t field_length(struct mbox *m, bool one_line)
{
    size_t n = 0;
    for (;;) {
        if (m->n < n + FIELD_LIMIT)
            fill(m);
        struct span rest = span_drop(front(m), n);
        size_t line = span_find(rest, '\n');
        if (line == rest.n && !m->end)
            return 0;
        n += line < rest.n ? line + 1 : line;
        if (n > FIELD_LIMIT)
            return 0;
        if (one_line || !folds(span_drop(front(m), n)))
            return n;
    }
}

/* The line at the front of the window, with its end; a piece of it when it is longer. */
static struct span front_line(struct mbox *m)
{
    struct span s = look(m, 0);
    size_t n = span_find(s, '\n');
    return span_first(s, n < s.n ? n + 1 : n);
}

/* True: the field at the front was the file's own, and is passed. */
static bool take_own(struct mbox *m, struct head *h, bool first)
{
    char field[FIELD_LIMIT];
    struct span line = front_line(m);
    bool own = h->own_lines > 0 || (first && span_starts(line, SPAN("X-Provmail-Message:")));
    if (m->inside || (!own && !may_matter(line)))
        return false;
    size_t n = field_length(m, own);
    if (n)
        memcpy(field, front(m).p, n);
    if (!n || !take_field(h, span_of(field, n), first))
        return false;
    skip(m, n);
    return true;
}

/* Up to and with the empty line. */
static void read_head(struct mbox *m, struct head *h)
{
    bool first = true, empty = false;
    while (!empty) {
        if (!look(m, 0).n || (!m->inside && begins(look(m, 0), false)))
            return;
        bool passed = take_own(m, h, first);
        first = false;
        if (passed)
            continue;
        struct span line = front_line(m);
        empty = !m->inside && line.n == line_end(line);
        if (empty && !h->has_length && is_separator(m, line)) { /* a header that no empty line ends */
            skip(m, line.n);
            return;
        }
        give(m, unquoted(m, span_first(front(m), line.n)));
        skip(m, line.n);
    }
}

/* -- body -- */

/* n bytes at that offset, fewer at the file's end only. */
static size_t read_at(struct mbox *m, uint64_t at, char *out, size_t n)
{
    size_t got = 0;
    while (got < n) {
        long some = m->read(m->arg, at + got, out + got, n - got);
        if (some <= 0)
            break;
        got += (size_t)some;
    }
    return got;
}

/* Is there a message's end where the length says? */
static bool length_holds(struct mbox *m, uint64_t length)
{
    char text[FROM_LINE + 2];
    if (length > (uint64_t)1 << 40)
        return false;
    struct span s = span_of(text, read_at(m, m->at + length, text, sizeof text));
    if (!s.n) /* the end itself, or beyond it? */
        return !length || read_at(m, m->at + length - 1, text, 1) == 1;
    if (begins(s, true))
        return true;
    size_t end = span_starts(s, SPAN("\r\n")) ? 2 : span_starts(s, SPAN("\n")) ? 1 : 0;
    return end && (s.n == end || begins(span_drop(s, end), true));
}

static void read_length(struct mbox *m, uint64_t length)
{
    while (length) {
        struct span s = look(m, 0);
        size_t n = span_find(s, '\n');
        n += n < s.n;
        if (!n)
            return;
        struct span line = span_first(s, n < length ? n : (size_t)length);
        struct span text = unquoted(m, line);
        if (text.n)
            give(m, text);
        length -= line.n;
        skip(m, line.n);
    }
    struct span rest = look(m, 0);
    size_t end = span_starts(rest, SPAN("\r\n")) ? 2 : span_starts(rest, SPAN("\n")) ? 1 : 0;
    skip(m, end);
    m->inside = false;
}

static void read_body(struct mbox *m)
{
    for (;;) {
        struct span s = look(m, 0);
        size_t n = span_find(s, '\n');
        if (n == s.n && !m->end && s.n < WINDOW) {
            fill(m);
            continue;
        }
        if (!s.n || (!m->inside && begins(s, false)))
            return;
        struct span line = span_first(s, n < s.n ? n + 1 : n);
        if (!m->inside && is_separator(m, line)) {
            skip(m, line.n);
            return;
        }
        struct span text = unquoted(m, span_first(front(m), line.n));
        give(m, text);
        skip(m, line.n);
    }
}

static void skip_line(struct mbox *m)
{
    do {
        struct span s = look(m, 0);
        size_t n = span_find(s, '\n');
        skip(m, n < s.n ? n + 1 : n);
    } while (m->inside && m->n);
    m->inside = false;
}

enum err_code mbox_next(struct mbox *m, mbox_bytes_fn *put_bytes, void *arg, struct mbox_message *out)
{
    struct head h = {.out = out, .ends_lf = true};
    *out = (struct mbox_message){.at = m->at};
    while (look(m, 0).n && (m->buf[m->from] == '\n' || m->buf[m->from] == '\r'))
        skip(m, 1);
    m->inside = false;
    out->at = m->at;
    if (m->failed)
        return ERR_RETRY;
    if (!look(m, 0).n)
        return ERR_MISSING;
    if (!span_starts(look(m, 0), SPAN("From ")))
        return ERR_SYNTAX;
    out->has_date = from_date(first_line(look(m, 0)), &out->internal_s, &out->zone_min);
    m->put = put_bytes;
    m->put_arg = arg;
    m->gap = SPAN_NONE;
    skip_line(m);
    read_head(m, &h);
    if (h.has_length && length_holds(m, h.length))
        read_length(m, h.length);
    else
        read_body(m);
    if (h.ends_lf)
        give_gap(m);
    if (!out->has_date && h.has_date_field) {
        out->has_date = true;
        out->internal_s = h.date_s;
        out->zone_min = h.date_zone;
    }
    return m->failed ? ERR_RETRY : ERR_OK;
}
