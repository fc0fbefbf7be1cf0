/* The configuration reader. One pass over the lines; each fault is collected and reading goes on, so
 * that an administrator sees all of them at once. The option table is conf/options.def; a member of
 * struct conf is reached through its offset in that table. */
#include "common/base/conf.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <fcntl.h>
#include <unistd.h>

enum { FILE_LIMIT = 1 << 20, PATH_LIMIT = 4096 };
enum opt_type { T_STR, T_PATH, T_NUM, T_SIZE, T_TIME, T_BOOL, T_LIST, T_LISTEN, T_HOST, T_HOSTS };

static const struct opt_row {
    struct conf_option o;
    enum opt_type type;
    size_t offset;
} rows[] = {
#define OPT(name, TYPE, def, lo, hi, help)                                                                   \
    {{#name, #TYPE, def, help, lo, hi}, T_##TYPE, offsetof(struct conf, name)},
#include "conf/options.def"
#undef OPT
};
enum { ROWS = sizeof rows / sizeof *rows };

struct parse {
    struct conf *c;
    struct buf *faults;
    bool seen[ROWS];
    bool bad;
    unsigned line;
};

static void fault(struct parse *p, const char *text, struct span what)
{
    p->bad = true;
    /* The list of faults has its own ceiling; beyond it the first ones are what counts. */
    if (!buf_addf(p->faults, "%s:%u: %s: %.*s\n", p->c->file, p->line, text, SPAN_ARG(span_first(what, 200))))
        return;
}

static bool read_scaled(struct span v, bool is_time, uint64_t *out)
{
    static const struct {
        const char *suffix;
        bool time;
        uint64_t factor;
    } units[] = {
        {"ms", true, 1},          {"s", true, 1000},           {"m", true, 60000}, {"h", true, 3600000},
        {"d", true, 86400000},    {"k", false, 1024},          {"K", false, 1024}, {"M", false, 1048576},
        {"G", false, 1073741824}, {"T", false, 1099511627776},
    };
    size_t digits = 0;
    while (digits < v.n && v.p[digits] >= '0' && v.p[digits] <= '9')
        digits++;
    struct span suffix = span_drop(v, digits);
    uint64_t factor = 0;
    if (suffix.n == 0)
        factor = is_time ? 1000 : 1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (units[i].time == is_time && span_eq(suffix, span_str(units[i].suffix)))
            factor = units[i].factor;
    uint64_t n;
    if (!factor || !span_u64(span_first(v, digits), &n) || n > UINT64_MAX / factor)
        return false;
    *out = n * factor;
    return true;
}

bool conf_host_port(struct span s, struct span *out_host, uint16_t *out_port)
{
    struct span host, port;
    uint32_t n;
    if (span_starts(s, SPAN("["))) {
        size_t end = span_find(s, ']');
        if (end + 1 >= s.n || s.p[end + 1] != ':')
            return false;
        host = span_of(s.p + 1, end - 1);
        port = span_drop(s, end + 2);
    } else {
        size_t colon = span_find(s, ':');
        host = span_first(s, colon);
        port = span_drop(s, colon + 1);
    }
    if (host.n == 0 || !span_u32(port, &n) || n == 0 || n > 65535)
        return false;
    *out_host = host;
    *out_port = (uint16_t)n;
    return true;
}

static char *absolute(const struct conf *c, struct span v)
{
    if (v.n == 0)
        return xstrdup("");
    if (v.p[0] == '/')
        return xstrspan(v);
    struct buf b;
    buf_init(&b, PATH_LIMIT);
    char *path = buf_addf(&b, "%s/%.*s", c->dir, SPAN_ARG(v)) ? xstrspan(buf_span(&b)) : NULL;
    buf_free(&b);
    return path;
}

static void free_list(struct conf_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
    *l = (struct conf_list){NULL, 0};
}

/* Labels of letters, digits, "-", "_" and whatever is not ASCII, 253 bytes at most: it will stand in
 * greetings and trace fields. */
static bool is_domain(struct span s)
{
    size_t label = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || (unsigned char)c >= 0x80;
        bool edge = label == 0 || i + 1 == s.n || s.p[i + 1] == '.';
        if (c == '.' ? label == 0 : !word && (c != '-' || edge))
            return false;
        label = c == '.' ? 0 : label + 1;
    }
    return label > 0 && s.n <= 253;
}

static bool fits(enum opt_type type, struct span word)
{
    struct span host;
    uint16_t port;
    return type == T_LISTEN ? conf_host_port(word, &host, &port) : type != T_HOSTS || is_domain(word);
}

static bool read_list(struct span v, enum opt_type type, struct conf_list *out)
{
    struct conf_list l = {NULL, 0};
    while ((v = span_trim(v)).n) {
        size_t end = 0;
        while (end < v.n && v.p[end] != ' ' && v.p[end] != '\t' && v.p[end] != ',')
            end++;
        struct span word = span_first(v, end);
        v = span_drop(v, end < v.n ? end + 1 : end);
        if (word.n == 0)
            continue;
        if (!fits(type, word)) {
            free_list(&l);
            return false;
        }
        l.v = xrealloc(l.v, (l.n + 1) * sizeof *l.v);
        l.v[l.n++] = xstrspan(word);
    }
    free_list(out);
    *out = l;
    return true;
}

static const char *set_number(const struct opt_row *r, struct span v, uint64_t *at)
{
    uint64_t n;
    bool ok = r->type == T_NUM ? span_u64(v, &n) : read_scaled(v, r->type == T_TIME, &n);
    if (!ok)
        return r->type == T_NUM    ? "not a whole number"
               : r->type == T_TIME ? "not a time (like 30s, 5m, 1d)"
                                   : "not a size (like 500k, 100M, 2G)";
    if (n < r->o.lowest)
        return "lower than allowed";
    if (r->o.highest && n > r->o.highest)
        return "higher than allowed";
    *at = n;
    return NULL;
}

/* NULL, or what is wrong with the value. */
static const char *set_value(struct conf *c, const struct opt_row *r, struct span v)
{
    void *at = (char *)c + r->offset;
    switch (r->type) {
    case T_HOST:
        if (!is_domain(v))
            return "not a domain name";
        /* fall through */
    case T_STR:
    case T_PATH: {
        char *s = r->type == T_PATH ? absolute(c, v) : xstrspan(v);
        if (!s)
            return "path too long";
        free(*(char **)at);
        *(char **)at = s;
        return NULL;
    }
    case T_NUM:
    case T_SIZE:
    case T_TIME:
        return set_number(r, v, at);
    case T_BOOL:
        if (!span_eq(v, SPAN("yes")) && !span_eq(v, SPAN("no")))
            return "not yes or no";
        *(bool *)at = span_eq(v, SPAN("yes"));
        return NULL;
    case T_LIST:
    case T_LISTEN:
    case T_HOSTS:
        return read_list(v, r->type, at) ? NULL
               : r->type == T_LISTEN     ? "not a list of ADDRESS:PORT"
                                         : "not a list of domain names";
    }
    return "unknown type";
}

static void read_line(struct parse *p, struct span line)
{
    struct span rest = span_trim(line);
    if (rest.n == 0 || rest.p[0] == '#')
        return;
    if (memchr(rest.p, '\0', rest.n)) {
        fault(p, "NUL byte in line", SPAN_NONE);
        return;
    }
    size_t eq = span_find(rest, '=');
    if (eq == rest.n) {
        fault(p, "expected NAME = VALUE", rest);
        return;
    }
    struct span name = span_trim(span_first(rest, eq)), value = span_trim(span_drop(rest, eq + 1));
    if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
        value = span_of(value.p + 1, value.n - 2);
    for (size_t i = 0; i < ROWS; i++) {
        if (!span_eq(name, span_str(rows[i].o.name)))
            continue;
        const char *wrong = p->seen[i] ? "given twice" : set_value(p->c, &rows[i], value);
        p->seen[i] = true;
        if (wrong)
            fault(p, rows[i].o.name, span_str(wrong));
        return;
    }
    fault(p, "no such option", name);
}

static void set_folder(struct conf *c, const char *path)
{
    char real[PATH_MAX];
    const char *slash = strrchr(path, '/');
    char *folder = slash ? xstrspan(span_of(path, slash == path ? 1 : (size_t)(slash - path))) : xstrdup(".");
    c->dir = xstrdup(realpath(folder, real) ? real : folder);
    free(folder);
}

enum err_code conf_parse(const char *path, struct span text, struct conf **out_conf, struct buf *faults)
{
    struct conf *c = xcalloc(1, sizeof *c);
    struct parse p = {.c = c, .faults = faults};
    c->file = xstrdup(path);
    set_folder(c, path);
    for (size_t i = 0; i < ROWS; i++) {
        const char *wrong = set_value(c, &rows[i], span_str(rows[i].o.def));
        if (wrong)
            fault(&p, rows[i].o.name, span_str(wrong));
    }
    while (text.n) {
        p.line++;
        read_line(&p, span_cut(&text, '\n'));
    }
    if (p.bad) {
        conf_free(&c);
        return ERR_SYNTAX;
    }
    *out_conf = c;
    return ERR_OK;
}

enum err_code conf_load(const char *path, struct conf **out_conf, struct buf *faults)
{
    struct buf text;
    buf_init(&text, FILE_LIMIT);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        goto unreadable;
    for (;;) {
        char *at = buf_reserve(&text, 4096);
        ssize_t n = at ? read(fd, at, 4096) : -1;
        if (!at)
            errno = EFBIG;
        if (n < 0)
            goto unreadable;
        if (n == 0)
            break;
        buf_commit(&text, (size_t)n);
    }
    close(fd);
    enum err_code code = conf_parse(path, buf_span(&text), out_conf, faults);
    buf_free(&text);
    return code;

unreadable:
    if (!buf_addf(faults, "%s: %s\n", path, strerror(errno)))
        buf_reset(faults);
    if (fd >= 0)
        close(fd);
    buf_free(&text);
    return ERR_MISSING;
}

void conf_free(struct conf **cp)
{
    struct conf *c = *cp;
    if (!c)
        return;
    for (size_t i = 0; i < ROWS; i++) {
        void *at = (char *)c + rows[i].offset;
        switch (rows[i].type) {
        case T_STR:
        case T_PATH:
        case T_HOST:
            free(*(char **)at);
            break;
        case T_LIST:
        case T_LISTEN:
        case T_HOSTS:
            free_list(at);
            break;
        case T_NUM:
        case T_SIZE:
        case T_TIME:
        case T_BOOL:
            break;
        }
    }
    free((char *)(uintptr_t)c->file);
    free((char *)(uintptr_t)c->dir);
    free(c);
    *cp = NULL;
}

bool conf_path(const char *dir, const char *name, struct buf *out)
{
    buf_reset(out);
    bool ok = buf_addf(out, "%s/%s", dir, name) && buf_add_char(out, '\0');
    if (ok)
        out->n--; /* terminated for the system calls, not counted */
    return ok;
}

size_t conf_options(const struct conf_option **out)
{
    static struct conf_option table[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        table[i] = rows[i].o;
    *out = table;
    return ROWS;
}

int conf_start_failed(const char *program, enum err_code code, const char *path, struct span faults)
{
    fprintf(stderr, "%s: %s cannot be used:\n%.*s", program, path, SPAN_ARG(faults));
    return code == ERR_MISSING ? EX_NOINPUT : EX_CONFIG;
}
