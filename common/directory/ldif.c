/* Reads LDIF (RFC 2849). The text is in memory; one record at a time is unfolded and decoded into an arena,
 * so that a file of any length needs the memory of its largest record. The hard part is to be strict about
 * what would change meaning (a broken base64 value, a line without a colon, a change record) and to say where
 * it stands, while taking what exporters really write: CR LF or LF ends, comments that are folded, no version
 * line, blanks after the colon. What attributes mean is left to others. */
#include "common/directory/ldif.h"
#include "common/base/buf.h"
#include "common/mime/codec.h"

struct ldif {
    struct span rest;
    unsigned line;  /* number of the next physical line */
    unsigned begin; /* number of the first physical line of the logical line */
    struct arena *a;
    struct buf unfolded;
    struct err *why;
};

static enum err_code fault(const struct ldif *l, enum err_code code, const char *what)
{
    return err_set(l->why, code, NULL, "line %u: %s", l->begin, what);
}

/* The next physical line without its end. */
static struct span physical(struct ldif *l)
{
    struct span s = span_cut(&l->rest, '\n');
    l->line++;
    if (s.n && s.p[s.n - 1] == '\r')
        s.n--;
    return s;
}

/* The next logical line into l->unfolded: continuation lines begin with one blank (RFC 2849, note 2). */
static enum err_code logical(struct ldif *l)
{
    buf_reset(&l->unfolded);
    l->begin = l->line;
    if (!buf_add_span(&l->unfolded, physical(l)))
        return fault(l, ERR_LIMIT, "the line is too long");
    while (l->unfolded.n && l->rest.n && l->rest.p[0] == ' ')
        if (!buf_add_span(&l->unfolded, span_drop(physical(l), 1)))
            return fault(l, ERR_LIMIT, "the line is too long");
    return ERR_OK;
}

static bool name_char(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ';' ||
           c == '_';
}

static enum err_code decode(struct ldif *l, struct span s, struct span *out)
{
    struct buf b;
    buf_init(&b, LDIF_LINE_LIMIT);
    bool ok = base64_decode_strict(span_trim(s), &b);
    if (!ok) {
        buf_free(&b);
        return fault(l, ERR_SYNTAX, "the value is not base64");
    }
    *out = arena_dup(l->a, buf_span(&b));
    buf_wipe(&b);
    return out->p ? ERR_OK : fault(l, ERR_LIMIT, "the record is too large");
}

/* "name: value", "name:: base64". A URL is never followed: a directory file must not make us open files. */
static enum err_code split(struct ldif *l, struct ldif_value *out)
{
    struct span s = buf_span(&l->unfolded), name = {s.p, 0};
    while (name.n < s.n && name_char(s.p[name.n]))
        name.n++;
    if (name.n == 0 || name.n == s.n || s.p[name.n] != ':')
        return fault(l, ERR_SYNTAX, "no \"name: value\"");
    s = span_drop(s, name.n + 1);
    name.n = span_find(name, ';');
    out->name = arena_dup(l->a, name);
    if (!out->name.p)
        return fault(l, ERR_LIMIT, "the record is too large");
    if (s.n && s.p[0] == '<')
        return fault(l, ERR_SYNTAX, "values by URL are not read");
    if (s.n && s.p[0] == ':')
        return decode(l, span_drop(s, 1), &out->value);
    while (s.n && s.p[0] == ' ')
        s = span_drop(s, 1);
    if (s.n && memchr(s.p, 0, s.n))
        return fault(l, ERR_SYNTAX, "NUL in a value");
    out->value = arena_dup(l->a, s);
    return out->value.p ? ERR_OK : fault(l, ERR_LIMIT, "the record is too large");
}

/* One more value; the array doubles inside the arena. */
static bool append(struct arena *a, struct ldif_value **v, size_t count, const struct ldif_value *add)
{
    if (count >= LDIF_VALUE_LIMIT)
        return false;
    if (count == 0 || (count >= 16 && (count & (count - 1)) == 0)) {
        struct ldif_value *grown = arena_array(a, count ? 2 * count : 16, sizeof *grown);
        if (!grown)
            return false;
        if (count)
            memcpy(grown, *v, count * sizeof *grown);
        *v = grown;
    }
    (*v)[count] = *add;
    return true;
}

/* The record that begins with dn: its lines up to an empty one or the end. */
static enum err_code record(struct ldif *l, struct ldif_record *r)
{
    struct ldif_value *v = NULL, one;
    while (l->rest.n) {
        enum err_code code = logical(l);
        if (code)
            return code;
        if (l->unfolded.n == 0)
            break;
        if (l->unfolded.p[0] == '#')
            continue;
        code = split(l, &one);
        if (code)
            return code;
        if (r->count == 0 &&
            (span_caseeq(one.name, SPAN("changetype")) || span_caseeq(one.name, SPAN("control"))))
            return fault(l, ERR_SYNTAX, "change records are not read");
        if (span_caseeq(one.name, SPAN("dn")))
            return fault(l, ERR_SYNTAX, "dn inside a record: an empty line is missing");
        if (!append(l->a, &v, r->count, &one))
            return fault(l, ERR_LIMIT, "the record is too large");
        r->count++;
    }
    r->v = v;
    if (r->count)
        return ERR_OK;
    l->begin = r->line;
    return fault(l, ERR_SYNTAX, "a record without attributes");
}

static enum err_code file(struct ldif *l, ldif_record_cb *cb, void *arg)
{
    struct ldif_value head;
    bool first = true;
    while (l->rest.n) {
        enum err_code code = logical(l);
        if (code)
            return code;
        if (l->unfolded.n == 0 || l->unfolded.p[0] == '#')
            continue;
        code = split(l, &head);
        if (code)
            return code;
        if (first && span_caseeq(head.name, SPAN("version"))) {
            first = false;
            if (!span_eq(head.value, SPAN("1")))
                return fault(l, ERR_SYNTAX, "only version 1 is known");
            continue;
        }
        first = false;
        if (!span_caseeq(head.name, SPAN("dn")))
            return fault(l, ERR_SYNTAX, "a record must begin with dn");
        struct ldif_record r = {.dn = head.value, .line = l->begin};
        code = record(l, &r);
        if (code)
            return code;
        if (!cb(arg, &r))
            return err_set(l->why, ERR_STATE, NULL, "line %u: ended by its reader", r.line);
        arena_reset(l->a);
    }
    return ERR_OK;
}

enum err_code ldif_read(struct span text, struct arena *a, ldif_record_cb *cb, void *arg, struct err *why)
{
    struct ldif l = {.rest = text, .line = 1, .a = a, .why = why};
    buf_init(&l.unfolded, LDIF_LINE_LIMIT);
    if (span_starts(text, SPAN("\xEF\xBB\xBF"))) /* editors put a mark before UTF-8 */
        l.rest = span_drop(text, 3);
    arena_reset(a);
    enum err_code code = file(&l, cb, arg);
    buf_wipe(&l.unfolded);
    arena_reset(a);
    return code;
}

struct span ldif_get(const struct ldif_record *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (span_caseeq(r->v[i].name, span_str(name)))
            return r->v[i].value;
    return SPAN_NONE;
}
