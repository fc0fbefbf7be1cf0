/* Structured log lines. A line is built in one bounded buffer and written by one write(2), so that
 * lines of several processes in one file never mix; what passes the bound is cut with a mark. The
 * program's name, file and level are the one piece of process-wide state in this library. */
#include "common/base/log.h"
#include "common/base/buf.h"
#include <errno.h>
#include <fcntl.h>
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
} the_log = {"provmail", NULL, 2, LOG_INFO};

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

static void put_field(struct line *l, const struct log_field *f)
{
    char num[32];
    if (f->kind == LOG_F_INT)
        snprintf(num, sizeof num, "%lld", (long long)f->i);
    else if (f->kind == LOG_F_UINT)
        snprintf(num, sizeof num, "%llu", (unsigned long long)f->u);
    put_pair(l, f->key, f->kind == LOG_F_SPAN ? f->s : span_str(num));
}

void log_write(enum log_level level, const struct log_ctx *ctx, const char *event,
               const struct log_field *fields, size_t count)
{
    if (level < the_log.threshold)
        return;
    struct line l = {.n = 0};
    struct timespec now;
    struct tm tm;
    char head[128];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t at = strftime(head, sizeof head, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(head + at, sizeof head - at, ".%03ldZ %s %s[%ld] ", now.tv_nsec / 1000000, level_names[level],
             the_log.program, (long)getpid());
    put_str(&l, head);
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
