/* Writing mbox files: mboxrd, lines end in LF. A first field of our own carries what the format cannot say
 * (the zone of the date, whether the last line ends), and how many of the fields behind it are not the
 * message's, so that a message that has a Status field of its own comes back as it was. Where the bytes go is
 * the caller's. */
#include "common/store/store.h"
#include "mailadm/mbox.h"
#include <time.h>

static bool put_flags(struct buf *out, uint32_t flags)
{
    bool ok = buf_addf(out, "Status: %sO\n", flags & STORE_SEEN ? "R" : "");
    return ok && buf_addf(out, "X-Status: %s%s%s%s\n", flags & STORE_ANSWERED ? "A" : "",
                          flags & STORE_FLAGGED ? "F" : "", flags & STORE_DRAFT ? "T" : "",
                          flags & STORE_DELETED ? "D" : "");
}

bool mbox_write_begin(struct mbox_writer *w, struct buf *out, int64_t internal_s, int zone_min,
                      uint32_t flags, struct span keywords, bool ends_lf)
{
    char date[40] = "Thu Jan  1 00:00:00 1970";
    time_t s = (time_t)internal_s;
    struct tm tm;
    *w = (struct mbox_writer){.out = out, .last_lf = true};
    if (gmtime_r(&s, &tm) && tm.tm_year < 8099 && tm.tm_year >= 70)
        strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", &tm);
    bool ok =
        buf_addf(out,
                 "From MAILER-DAEMON %s\nX-Provmail-Message: 1 date=%lld zone=%d flags=%u eol=%d lines=%d\n",
                 date, (long long)internal_s, zone_min, flags & 0x1fU, ends_lf, keywords.n ? 3 : 2) &&
        put_flags(out, flags);
    return ok && (!keywords.n || buf_addf(out, "X-Keywords: %.*s\n", SPAN_ARG(keywords)));
}

/* What was held back at the start of the line: it is no From_ after all, or it is and gets one more ">". */
static bool let_go(struct mbox_writer *w, bool quoted)
{
    bool ok = !quoted || buf_add_char(w->out, '>');
    for (; ok && w->angles; w->angles--)
        ok = buf_add_char(w->out, '>');
    ok = ok && buf_add(w->out, "From ", w->from);
    w->from = 0;
    w->in_line = true;
    return ok;
}

static bool write_char(struct mbox_writer *w, char c)
{
    if (!w->in_line && c == '>' && w->from == 0) {
        w->angles++;
        return true;
    }
    if (!w->in_line && c == "From "[w->from]) {
        w->from++;
        return w->from < 5 || let_go(w, true);
    }
    if (!w->in_line && !let_go(w, false))
        return false;
    w->in_line = c != '\n';
    return buf_add_char(w->out, c);
}

bool mbox_write(struct mbox_writer *w, struct span bytes)
{
    bool ok = true;
    for (size_t i = 0; i < bytes.n && ok; i++) {
        char c = bytes.p[i];
        if (w->after_cr && c != '\n')
            ok = write_char(w, '\r'); /* cannot be in the store */
        w->after_cr = c == '\r';
        if (!w->after_cr)
            ok = ok && write_char(w, c);
        w->last_lf = c == '\n';
    }
    return ok;
}

bool mbox_write_end(struct mbox_writer *w)
{
    bool ok = (w->in_line || let_go(w, false)) && (!w->after_cr || write_char(w, '\r'));
    if (!w->last_lf)
        ok = ok && buf_add_char(w->out, '\n');
    return ok && buf_add_char(w->out, '\n');
}
