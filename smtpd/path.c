/* The arguments of MAIL and RCPT (RFC 5321 4.1.2): a word, a path in brackets, parameters. The hard problem
 * is the end of the path: a quoted local part may hold brackets and blanks. Addresses themselves are
 * address_path's. */
#include "smtpd/core_int.h"
#include "common/mime/address.h"

/* Where the path that starts behind "<" ends: the offset of ">" outside quotes, or s.n. */
static size_t path_end(struct span s)
{
    bool quote = false;
    for (size_t i = 0; i < s.n; i++) {
        if (quote && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            quote = !quote;
        else if (s.p[i] == '>' && !quote)
            return i;
    }
    return s.n;
}

static bool keyword(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && i)))
            return false;
    }
    return s.n > 0;
}

/* esmtp-value: printable without "=" and blank; RFC 6531 3.3 lets UTF-8 in. */
static bool value(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 32 || s.p[i] == '=' || s.p[i] == 127)
            return false;
    return s.n > 0;
}

static bool params(struct span s, struct path_arg *out)
{
    while (s.n) {
        if (s.p[0] != ' ')
            return false;
        while (s.n && s.p[0] == ' ')
            s = span_drop(s, 1);
        if (s.n == 0)
            return true;
        struct span word = span_first(s, span_find(s, ' ')), name, v = word;
        s = span_drop(s, word.n);
        name = span_cut(&v, '=');
        if (!keyword(name) || (v.p && !value(v)) || out->param_count == PARAMS_LIMIT)
            return false;
        for (size_t i = 0; i < out->param_count; i++)
            if (span_caseeq(out->params[i].name, name))
                return false;
        out->params[out->param_count++] = (struct param){name, v};
    }
    return true;
}

static bool has_param(const struct path_arg *a, struct span name)
{
    for (size_t i = 0; i < a->param_count; i++)
        if (span_caseeq(a->params[i].name, name))
            return true;
    return false;
}

static bool ascii(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

typedef enum err_code path_reader(struct span s, bool allow_utf8, struct span *out_local,
                                  struct span *out_domain);

static enum err_code read_path(struct span path, bool utf8, bool to, struct path_arg *out)
{
    path_reader *read = to ? address_path : address_path_wild;
    out->path = path;
    if (path.n == 0)
        return ERR_OK;
    if (to && span_caseeq(path, SPAN("postmaster"))) {
        out->local = path;
        return ERR_OK;
    }
    if (!utf8 && !ascii(path)) {
        enum err_code code = read(path, true, &out->local, &out->domain);
        return code == ERR_OK ? ERR_DENIED : code;
    }
    enum err_code code = read(path, utf8, &out->local, &out->domain);
    if (code == ERR_OK) /* both point into path, the local part first: a source route is left out */
        out->path = span_of(out->local.p, (size_t)(out->domain.p + out->domain.n - out->local.p));
    return code;
}

enum err_code path_arg_parse(struct span arg, struct span word, bool allow_utf8, bool to,
                             struct path_arg *out)
{
    *out = (struct path_arg){.param_count = 0};
    if (!span_casestarts(arg, word))
        return ERR_SYNTAX;
    arg = span_drop(arg, word.n);
    while (arg.n && arg.p[0] == ' ') /* against RFC 5321 3.3, and common */
        arg = span_drop(arg, 1);
    if (arg.n == 0 || arg.p[0] != '<')
        return ERR_SYNTAX;
    arg = span_drop(arg, 1);
    size_t end = path_end(arg);
    if (end == arg.n || !params(span_drop(arg, end + 1), out))
        return ERR_SYNTAX;
    return read_path(span_first(arg, end), allow_utf8 || has_param(out, SPAN("SMTPUTF8")), to, out);
}
