/* Points in time as an administrator writes them: ISO 8601 with or without a zone, and "so long ago". The
 * hard point is to refuse what is only nearly right: a restore to a wrong second is worse than a question. */
#include "mailadm/when.h"
#include "common/base/span.h"
#include <stdlib.h>
#include <time.h>

static const int64_t second_us = 1000000;

/* count digits exactly. */
static bool digits(struct span *s, size_t count, int *out)
{
    *out = 0;
    if (s->n < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        *out = *out * 10 + (s->p[i] - '0');
    }
    *s = span_drop(*s, count);
    return true;
}

static bool sign(struct span *s, char c)
{
    if (!s->n || *s->p != c)
        return false;
    *s = span_drop(*s, 1);
    return true;
}

static bool fraction(struct span *s, int64_t *us)
{
    int64_t unit = second_us / 10;
    *us = 0;
    if (!sign(s, '.'))
        return true;
    if (!s->n || *s->p < '0' || *s->p > '9')
        return false;
    for (; s->n && *s->p >= '0' && *s->p <= '9'; *s = span_drop(*s, 1), unit /= 10)
        *us += unit * (*s->p - '0');
    return true;
}

static bool time_of_day(struct span *s, struct tm *tm, int64_t *us)
{
    *us = 0;
    if (!digits(s, 2, &tm->tm_hour) || !sign(s, ':') || !digits(s, 2, &tm->tm_min))
        return false;
    if (sign(s, ':') && (!digits(s, 2, &tm->tm_sec) || !fraction(s, us)))
        return false;
    return tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec < 61;
}

/* Z or an offset; *given false: neither. */
static bool zone(struct span *s, bool *given, int *minutes)
{
    int h, m, by;
    *given = true;
    *minutes = 0;
    if (sign(s, 'Z'))
        return true;
    if (sign(s, '+'))
        by = 1;
    else if (sign(s, '-'))
        by = -1;
    else {
        *given = false;
        return true;
    }
    if (!digits(s, 2, &h))
        return false;
    sign(s, ':');
    if (!digits(s, 2, &m) || h > 14 || m > 59)
        return false;
    *minutes = by * (h * 60 + m);
    return true;
}

static bool absolute(struct span s, int64_t *out_us)
{
    struct tm tm = {.tm_isdst = -1}, read;
    int year, month, minutes = 0;
    bool given = false;
    int64_t us = 0;
    if (!digits(&s, 4, &year) || !sign(&s, '-') || !digits(&s, 2, &month) || !sign(&s, '-') ||
        !digits(&s, 2, &tm.tm_mday))
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    if (month < 1 || month > 12 || tm.tm_mday < 1 || year < 1970)
        return false;
    if (s.n &&
        ((!sign(&s, 'T') && !sign(&s, ' ')) || !time_of_day(&s, &tm, &us) || !zone(&s, &given, &minutes)))
        return false;
    if (s.n)
        return false;
    read = tm;
    if (given)
        read.tm_isdst = 0;
    time_t t = given ? timegm(&read) : mktime(&read);
    if (t == (time_t)-1 || read.tm_mday != tm.tm_mday || read.tm_mon != tm.tm_mon) /* 31 February */
        return false;
    *out_us = ((int64_t)t - minutes * 60) * second_us + us;
    return true;
}

static int64_t unit_s(struct span word)
{
    static const struct {
        const char *name;
        int64_t s;
    } units[] = {{"s", 1},        {"second", 1},   {"seconds", 1}, {"m", 60},        {"minute", 60},
                 {"minutes", 60}, {"h", 3600},     {"hour", 3600}, {"hours", 3600},  {"d", 86400},
                 {"day", 86400},  {"days", 86400}, {"w", 604800},  {"week", 604800}, {"weeks", 604800}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (span_eq(word, span_str(units[i].name)))
            return units[i].s;
    return 0;
}

static void blanks(struct span *s)
{
    while (s->n && *s->p == ' ')
        *s = span_drop(*s, 1);
}

/* "N unit", with or without "ago" behind it. */
static bool ago(struct span s, int64_t now_us, int64_t *out_us)
{
    int64_t n = 0;
    size_t count = 0, letters = 0;
    for (; s.n && *s.p >= '0' && *s.p <= '9' && count < 9; s = span_drop(s, 1), count++)
        n = n * 10 + (*s.p - '0');
    blanks(&s);
    while (letters < s.n && s.p[letters] >= 'a' && s.p[letters] <= 'z')
        letters++;
    int64_t unit = unit_s(span_first(s, letters));
    s = span_drop(s, letters);
    blanks(&s);
    if (!count || !unit || (s.n && !span_eq(s, SPAN("ago"))) || n > now_us / second_us / unit)
        return false;
    *out_us = now_us - n * unit * second_us;
    return true;
}

bool when_parse(const char *text, int64_t now_us, int64_t *out_us)
{
    struct span s = span_str(text);
    if (span_eq(s, SPAN("now"))) {
        *out_us = now_us;
        return true;
    }
    return absolute(s, out_us) || ago(s, now_us, out_us);
}
