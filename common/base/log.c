/* Structured log lines. A line is built in one bounded buffer and written by one write(2), so that
 * lines of several processes in one file never mix; what passes the bound is cut with a mark. The
 * program's name, file and level are the one piece of process-wide state in this library. */
#include "common/base/log.h"
#include "common/base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { LINE_LIMIT = 4000, VALUE_LIMIT = 1000 };

static struct {
    const char *program;
    char *path;
    int fd;
    enum log_level threshold;
    long pid; /* noted when the log is opened, and in each child of fork; 0: not */
} the_log = {.program = "provmail", .fd = 2, .threshold = LOG_INFO};
/* The time of a line up to its second, which many lines share. */
static _Thread_local struct {
    time_t second;
    char text[sizeof "2026-01-01T00:00:00" + 8];
} clock_text;

static const char *const level_names[] = {"debug", "info", "warn", "error", "alarm"};

bool log_level_named(struct span name, enum log_level *out)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (span_eq(name, span_str(level_names[i]))) {
            *out = (enum log_level)i;
            return true;
        }
    return false;
}

void log_threshold(enum log_level level)
{
    the_log.threshold = level;
}

int log_fd(void)
{
    return the_log.fd;
}

static void note_pid(void)
{
    the_log.pid = (long)getpid();
}

bool log_reopen(void)
{
    if (!the_log.path)
        return true;
    int fd = open(the_log.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return false;
    if (the_log.fd != 2)
        close(the_log.fd);
    the_log.fd = fd;
    return true;
}

bool log_open(const char *program, const char *path)
{
    the_log.program = program;
    if (!the_log.pid && pthread_atfork(NULL, NULL, note_pid) == 0)
        note_pid();
    char *old = the_log.path;
    the_log.path = path ? xstrdup(path) : NULL;
    if (!log_reopen()) {
        int saved = errno;
        free(the_log.path);
        the_log.path = old;
        errno = saved;
        return false;
    }
    free(old);
    return true;
}

struct line {
    char text[LINE_LIMIT + 8];
    size_t n;
};

static void put(struct line *l, const char *p, size_t n)
{
    if (n > LINE_LIMIT - l->n)
        n = LINE_LIMIT - l->n;
    memcpy(l->text + l->n, p, n);
    l->n += n;
}

static void put_str(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

static bool is_plain(struct span v)
{
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f)
            return false;
    }
    return v.n > 0;
}

static void put_value(struct line *l, struct span v)
{
    bool cut = v.n > VALUE_LIMIT;
    v = span_first(v, VALUE_LIMIT);
    if (is_plain(v) && !cut) {
        put(l, v.p, v.n);
        return;
    }
    put_str(l, "\"");
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        char hex[8];
        if (c < ' ' || c == 0x7f) {
            snprintf(hex, sizeof hex, "\\x%02x", c);
            put_str(l, hex);
        } else {
            if (c == '"' || c == '\\')
                put_str(l, "\\");
            put(l, (const char *)&c, 1);
        }
    }
    put_str(l, cut ? "...\"" : "\"");
}

static void put_pair(struct line *l, const char *key, struct span v)
{
    put_str(l, " ");
    put_str(l, key);
    put_str(l, "=");
    put_value(l, v);
}

/* v in decimal, at the end of num. */
static struct span number(uint64_t v, bool negative, char num[24])
{
    size_t at = 24;
    do
        num[--at] = (char)('0' + v % 10);
    while (v /= 10);
    if (negative)
        num[--at] = '-';
    return span_of(num + at, 24 - at);
}

static void put_field(struct line *l, const struct log_field *f)
{
    char num[24];
    if (f->kind == LOG_F_SPAN)
        put_pair(l, f->key, f->s);
    else if (f->kind == LOG_F_INT)
        put_pair(l, f->key, number(f->i < 0 ? -(uint64_t)f->i : (uint64_t)f->i, f->i < 0, num));
    else
        put_pair(l, f->key, number((uint64_t)f->u, false, num));
}

static void put_head(struct line *l, enum log_level level)
{
    struct timespec now;
    struct tm tm;
    char num[24], ms[] = ".000Z ";
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != clock_text.second || !clock_text.text[0]) {
        gmtime_r(&now.tv_sec, &tm);
        if (!strftime(clock_text.text, sizeof clock_text.text, "%Y-%m-%dT%H:%M:%S", &tm))
            clock_text.text[0] = '\0';
        clock_text.second = now.tv_sec;
    }
    for (long v = now.tv_nsec / 1000000, at = 3; at > 0; v /= 10)
        ms[at--] = (char)('0' + v % 10);
    put_str(l, clock_text.text);
    put_str(l, ms);
    put_str(l, level_names[level]);
    put_str(l, " ");
    put_str(l, the_log.program);
    put_str(l, "[");
    struct span pid = number((uint64_t)(the_log.pid ? the_log.pid : (long)getpid()), false, num);
    put(l, pid.p, pid.n);
    put_str(l, "] ");
}

void log_write(enum log_level level, const struct log_ctx *ctx, const char *event,
               const struct log_field *fields, size_t count)
{
    if (level < the_log.threshold)
        return;
    struct line l; /* 4 KB that need not be cleared */
    l.n = 0;
    put_head(&l, level);
    put_str(&l, event);
    if (ctx && ctx->session)
        put_pair(&l, "session", span_str(ctx->session));
    if (ctx && ctx->peer)
        put_pair(&l, "peer", span_str(ctx->peer));
    if (ctx && ctx->user)
        put_pair(&l, "user", span_str(ctx->user));
    for (size_t i = 0; i < count; i++)
        put_field(&l, &fields[i]);
    if (l.n == LINE_LIMIT) {
        memcpy(l.text + l.n, " ...", 4);
        l.n += 4;
    }
    l.text[l.n++] = '\n';
    while (write(the_log.fd, l.text, l.n) < 0 && errno == EINTR)
        ;
}
