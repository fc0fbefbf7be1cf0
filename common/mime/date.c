/* Dates: RFC 5322 with its obsolete and its merely broken forms, and those of IMAP.
 * The hard problem is reading what no grammar allows: the words of a date are told apart by their shape
 * (month name, hh:mm, zone, four digits), in any order, comments passed over. */
#include "common/mime/date.h"
#include <stdio.h>

static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
static const char *const month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char *const day_names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

struct when {
    int year, month, day, hour, minute, second, zone; /* month 1-12; -1 not seen */
    bool zone_seen;
};

/* Days since 1970 of a day of the Gregorian calendar (Howard Hinnant's algorithm). */
static int64_t days_of(int y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_of(int64_t days, int *y, int *m, int *d)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

static bool when_seconds(const struct when *w, int64_t *out_s)
{
    static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (w->year < 1900 || w->year > 9999 || w->month < 1 || w->month > 12 || w->day < 1 ||
        w->day > lengths[w->month - 1] || w->hour > 23 || w->minute > 59 || w->second > 60)
        return false;
    bool leap = (w->year % 4 == 0 && w->year % 100 != 0) || w->year % 400 == 0;
    if (w->month == 2 && w->day == 29 && !leap)
        return false;
    *out_s = days_of(w->year, w->month, w->day) * 86400 + w->hour * 3600 + w->minute * 60 + w->second -
             (int64_t)w->zone * 60;
    return true;
}

static int month_number(struct span s)
{
    if (s.n < 3)
        return 0;
    for (int i = 0; i < 12; i++)
        if (span_caseeq(span_first(s, 3), span_of(months + i * 3, 3)))
            return i + 1;
    return 0;
}

static bool all_digits(struct span s)
{
    uint32_t v;
    return s.n > 0 && s.n < 9 && span_u32(s, &v);
}

static int number(struct span s)
{
    uint32_t v = 0;
    return s.n < 9 && span_u32(s, &v) ? (int)v : -1;
}

static void take_zone(struct when *w, struct span s)
{
    static const struct {
        const char *name;
        int min;
    } zones[] = {{"ut", 0},     {"utc", 0},    {"gmt", 0},    {"z", 0},      {"est", -300}, {"edt", -240},
                 {"cst", -360}, {"cdt", -300}, {"mst", -420}, {"mdt", -360}, {"pst", -480}, {"pdt", -420},
                 {"ict", 420},  {"cet", 60},   {"cest", 120}, {"bst", 60},   {"jst", 540}};
    if (s.n >= 3 && (s.p[0] == '+' || s.p[0] == '-')) {
        char digits[4];
        size_t n = 0;
        for (size_t i = 1; i < s.n && n < 4; i++)
            if (s.p[i] >= '0' && s.p[i] <= '9')
                digits[n++] = s.p[i];
        int v = number(span_of(digits, n));
        if (n == 2)
            v *= 100;
        if ((n != 2 && n != 4) || v % 100 > 59 || v > 2359)
            return;
        w->zone = (v / 100 * 60 + v % 100) * (s.p[0] == '-' ? -1 : 1);
        w->zone_seen = true;
        return;
    }
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++)
        if (span_caseeq(s, span_str(zones[i].name))) {
            w->zone = zones[i].min;
            w->zone_seen = true;
        }
}

static void take_time(struct when *w, struct span s)
{
    struct span at = s;
    int h = number(span_cut(&at, ':')), m = number(span_cut(&at, ':'));
    struct span sec = span_first(at, span_find(at, '.'));
    if (h < 0 || m < 0)
        return;
    w->hour = h;
    w->minute = m;
    w->second = sec.n ? number(sec) : 0;
    if (w->second < 0)
        w->second = 0;
}

static void take_number(struct when *w, struct span s)
{
    int v = number(s);
    if (w->day < 0 && s.n <= 2) {
        w->day = v;
        return;
    }
    if (w->year >= 0)
        return;
    if (s.n <= 3) /* RFC 5322 4.3 */
        v += s.n == 3 || v >= 50 ? 1900 : 2000;
    w->year = v;
}

static void take_word(struct when *w, struct span s)
{
    int month = month_number(s);
    if (s.n == 0)
        return;
    if (span_find(s, ':') < s.n && s.p[0] >= '0' && s.p[0] <= '9') {
        struct span zone = span_drop(s, 1);
        size_t cut =
            1 + (span_find(zone, '+') < span_find(zone, '-') ? span_find(zone, '+') : span_find(zone, '-'));
        take_time(w, span_first(s, cut));
        if (cut < s.n)
            take_zone(w, span_drop(s, cut));
    } else if (all_digits(s)) {
        take_number(w, s);
    } else if (month && w->month < 0) {
        w->month = month;
    } else if (s.p[0] == '+' || s.p[0] == '-' || !w->zone_seen) {
        take_zone(w, s);
    }
}

/* "24-Nov-2026" and "2026-11-24": cut at the dashes, which are no zone there. */
static bool take_dashed(struct when *w, struct span s)
{
    if (s.n < 8 || s.p[0] < '0' || s.p[0] > '9')
        return false;
    struct span rest = s, a = span_cut(&rest, '-'), b = span_cut(&rest, '-');
    if (a.n == s.n || !rest.p || !all_digits(a))
        return false;
    if (a.n == 4 && all_digits(b)) {
        w->year = number(a);
        w->month = number(b);
        w->day = number(span_first(rest, 2));
        if (rest.n > 3 && (rest.p[2] == 'T' || rest.p[2] == 't')) {
            struct span time = span_drop(rest, 3);
            size_t z = time.n && (time.p[time.n - 1] | 0x20) == 'z' ? time.n - 1 : time.n;
            take_word(w, span_first(time, z));
        }
        return true;
    }
    w->day = number(a);
    w->month = month_number(b);
    if (all_digits(rest))
        take_number(w, rest);
    return true;
}

bool date_parse(struct span value, int64_t *out_s, int *out_zone_min)
{
    struct when w = {.year = -1, .month = -1, .day = -1};
    unsigned depth = 0;
    value = span_first(value, 1000);
    for (size_t i = 0; i < value.n;) {
        char c = value.p[i];
        if (c == '(' || c == ')') {
            depth = c == '(' ? depth + 1 : depth ? depth - 1 : 0;
            i++;
            continue;
        }
        size_t from = i;
        while (i < value.n && (unsigned char)value.p[i] > ' ' && !memchr(",()", value.p[i], 3))
            i++;
        struct span word = span_of(value.p + from, i - from);
        if (depth == 0 && word.n && !take_dashed(&w, word))
            take_word(&w, word);
        if (i == from)
            i++;
    }
    if (!when_seconds(&w, out_s))
        return false;
    *out_zone_min = w.zone;
    return true;
}

static void put_zone(int zone_min, char out[8])
{
    int z = zone_min < 0 ? -zone_min : zone_min;
    snprintf(out, 8, "%c%02d%02d", zone_min < 0 ? '-' : '+', z / 60 % 24, z % 60);
}

static void format(bool imap, int64_t s, int zone_min, char *out, size_t size)
{
    const int64_t far = 253402300799; /* the last second of 9999 */
    if (s > far - 86400)
        s = far - 86400;
    if (s < -2208988800 + 86400)
        s = -2208988800 + 86400;
    if (zone_min > 1439 || zone_min < -1439)
        zone_min = 0;
    int64_t local = s + (int64_t)zone_min * 60, days = local / 86400 - (local % 86400 < 0);
    int sec = (int)(local - days * 86400), y, m, d;
    char zone[8];
    civil_of(days, &y, &m, &d);
    put_zone(zone_min, zone);
    if (imap)
        snprintf(out, size, "%02d-%s-%04d %02d:%02d:%02d %s", d, month_names[m - 1], y, sec / 3600,
                 sec / 60 % 60, sec % 60, zone);
    else
        snprintf(out, size, "%s, %d %s %04d %02d:%02d:%02d %s", day_names[((days + 4) % 7 + 7) % 7], d,
                 month_names[m - 1], y, sec / 3600, sec / 60 % 60, sec % 60, zone);
}

void date_format(int64_t s, int zone_min, char *out, size_t size)
{
    format(false, s, zone_min, out, size);
}

void date_imap_format(int64_t s, int zone_min, char *out, size_t size)
{
    format(true, s, zone_min, out, size);
}

/* "24-Nov-2026", strict (RFC 9051 date-text); day_fixed: two columns, the first may be a blank. */
static bool imap_date(struct span s, bool day_fixed, struct when *w)
{
    struct span rest = s, day = span_cut(&rest, '-'), month = span_cut(&rest, '-');
    if (!rest.p || rest.n != 4 || month.n != 3 || day.n < 1 || day.n > 2 || (day_fixed && day.n != 2))
        return false;
    if (day_fixed && day.p[0] == ' ')
        day = span_drop(day, 1);
    *w = (struct when){.year = number(rest), .month = month_number(month), .day = number(day)};
    return true;
}

bool date_imap_parse(struct span s, int64_t *out_s, int *out_zone_min)
{
    struct when w;
    if (s.n != 26 || s.p[11] != ' ' || s.p[20] != ' ' || !imap_date(span_first(s, 11), true, &w))
        return false;
    const char *t = s.p + 12;
    if (t[2] != ':' || t[5] != ':' || (s.p[21] != '+' && s.p[21] != '-'))
        return false;
    w.hour = number(span_of(t, 2));
    w.minute = number(span_of(t + 3, 2));
    w.second = number(span_of(t + 6, 2));
    int z = number(span_of(s.p + 22, 4));
    if (w.hour < 0 || w.minute < 0 || w.second < 0 || z < 0 || z > 2359 || z % 100 > 59)
        return false;
    w.zone = (z / 100 * 60 + z % 100) * (s.p[21] == '-' ? -1 : 1);
    if (!when_seconds(&w, out_s))
        return false;
    *out_zone_min = w.zone;
    return true;
}

bool date_imap_day(struct span s, int64_t *out_day)
{
    struct when w;
    int64_t seconds;
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
        s = span_of(s.p + 1, s.n - 2);
    if (!imap_date(s, false, &w) || !when_seconds(&w, &seconds))
        return false;
    *out_day = days_of(w.year, w.month, w.day);
    return true;
}
