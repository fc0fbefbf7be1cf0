/* Structured log: one line an event, "TIME LEVEL program[pid] event key=value ...". Values with a space,
 * a quote, a control byte or an equals sign are quoted and escaped, so that a line can be cut by machine.
 *
 *   log_event(LOG_INFO, s->log, "smtp.rcpt.refused", F_STR("rcpt", path), F_INT("code", 550));
 *
 * The layer that decides writes the line, once. Secrets are logged as a length. */
#ifndef PROV_BASE_LOG_H
#define PROV_BASE_LOG_H

#include "common/base/span.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_ALARM };

/* What every line of a session inherits. The strings are borrowed for the context's life. */
struct log_ctx {
    const char *session; /* session id, or NULL */
    const char *peer;    /* client address, or NULL */
    const char *user;    /* authenticated account, or NULL */
};

struct log_field {
    const char *key;
    enum { LOG_F_SPAN, LOG_F_INT, LOG_F_UINT } kind;
    struct span s;
    int64_t i;
    uint64_t u;
};
#define F_STR(k, cstr) ((struct log_field){.key = (k), .kind = LOG_F_SPAN, .s = span_str(cstr)})
#define F_SPAN(k, span) ((struct log_field){.key = (k), .kind = LOG_F_SPAN, .s = (span)})
#define F_INT(k, v) ((struct log_field){.key = (k), .kind = LOG_F_INT, .i = (int64_t)(v)})
#define F_UINT(k, v) ((struct log_field){.key = (k), .kind = LOG_F_UINT, .u = (uint64_t)(v)})

/* ctx may be NULL. At least one field is needed. */
#define log_event(level, ctx, event, ...)                                                                    \
    log_write((level), (ctx), (event), (const struct log_field[]){__VA_ARGS__},                              \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))

void log_write(enum log_level level, const struct log_ctx *ctx, const char *event,
               const struct log_field *fields, size_t count);

/* Open path for appending (O_APPEND, so several processes share it) and log there from now on; path
 * NULL: standard error. program is borrowed for ever. Call log_reopen after the file was rotated.
 * Answers false, errno set, when the file cannot be opened; the log then stays where it was. */
bool log_open(const char *program, const char *path);
bool log_reopen(void);
/* Lines below this level are not written. Default LOG_INFO. */
void log_threshold(enum log_level level);
/* Level by its name "debug", "info", "warn", "error", "alarm"; false when there is no such name. */
bool log_level_named(struct span name, enum log_level *out);
/* The descriptor that the log writes to. */
int log_fd(void);

#endif
