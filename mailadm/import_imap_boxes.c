/* Which mailboxes a login at an IMAP server has, and how they are called here: namespaces (RFC 2342) with
 * their prefixes and separators, modified UTF-7, special use (RFC 6154), subscriptions. Mailboxes that only
 * show messages of others
 * (\All, \Flagged) are passed over. The hard problem is a server that says less than it could: without
 * NAMESPACE all is personal, without SPECIAL-USE names are only names. */
#include "mailadm/import_imap.h"
#include "mailadm/maildir.h"
#include <stdio.h>
#include <stdlib.h>

enum { SPACES = 20, BOXES_LIMIT = 100000 };

struct space {
    char prefix[200];
    char separator; /* '\0': none */
    bool foreign;
};

struct boxes {
    struct imap_run *run;
    struct space spaces[SPACES];
    size_t space_count;
    struct imap_box *v;
    size_t n, room;
    bool subscribed; /* LSUB is being read */
};

/* -- NAMESPACE -- */

static void add_space(struct boxes *x, struct span prefix, char separator, bool foreign)
{
    if (x->space_count == SPACES || prefix.n >= sizeof x->spaces[0].prefix)
        return;
    struct space *s = &x->spaces[x->space_count++];
    *s = (struct space){.separator = separator, .foreign = foreign};
    if (prefix.n)
        memcpy(s->prefix, prefix.p, prefix.n);
}

/* NIL, or (("prefix" "/" extensions) ...). */
static void read_spaces(struct boxes *x, struct imap_client *c, bool foreign)
{
    imap_char(c, ' ');
    if (!imap_char(c, '(')) {
        imap_skip(c);
        return;
    }
    while (imap_char(c, '(')) {
        char prefix[200];
        struct span p = imap_string(c);
        snprintf(prefix, sizeof prefix, "%.*s", SPAN_ARG(p));
        struct span separator = imap_string(c);
        add_space(x, span_str(prefix), separator.n ? separator.p[0] : '\0', foreign);
        while (!imap_char(c, ')') && !imap_broken(c)) {
            imap_skip(c);
            imap_char(c, ' ');
        }
        imap_char(c, ' ');
    }
    imap_char(c, ')');
}

static void on_namespace(void *arg, struct imap_client *c, uint32_t number, const char *name)
{
    struct boxes *x = arg;
    (void)number;
    if (strcmp(name, "NAMESPACE") != 0)
        return;
    read_spaces(x, c, false);
    read_spaces(x, c, true);
    read_spaces(x, c, true);
}

/* The longest prefix that fits. */
static const struct space *space_of(const struct boxes *x, struct span name)
{
    const struct space *best = NULL;
    for (size_t i = 0; i < x->space_count; i++) {
        const struct space *s = &x->spaces[i];
        struct span p = span_str(s->prefix);
        if (span_starts(name, p) && (!best || p.n > strlen(best->prefix)))
            best = s;
    }
    return best;
}

/* -- LIST and LSUB -- */

struct listed {
    enum store_use use;
    bool no_select, a_view;
};

static void read_attributes(struct imap_client *c, struct listed *l)
{
    static const struct {
        struct span name;
        enum store_use use;
    } uses[] = {{{"\\Drafts", 7}, STORE_USE_DRAFTS},
                {{"\\Sent", 5}, STORE_USE_SENT},
                {{"\\Trash", 6}, STORE_USE_TRASH},
                {{"\\Junk", 5}, STORE_USE_JUNK},
                {{"\\Archive", 8}, STORE_USE_ARCHIVE}};
    if (!imap_char(c, '('))
        return;
    while (!imap_char(c, ')') && !imap_broken(c)) {
        struct span a = imap_atom(c);
        if (!a.n)
            return;
        for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
            if (span_caseeq(a, uses[i].name))
                l->use = uses[i].use;
        l->no_select =
            l->no_select || span_caseeq(a, SPAN("\\Noselect")) || span_caseeq(a, SPAN("\\NonExistent"));
        l->a_view = l->a_view || span_caseeq(a, SPAN("\\All")) || span_caseeq(a, SPAN("\\Flagged"));
    }
}

static struct imap_box *find_box(struct boxes *x, struct span raw)
{
    for (size_t i = 0; i < x->n; i++)
        if (span_eq(span_str(x->v[i].raw), raw))
            return &x->v[i];
    return NULL;
}

/* The name here: a personal prefix goes, a foreign one stays. INBOX is the login's own (RFC 9051 5.1), though
 * with Cyrus it is not below the personal prefix "INBOX." but fits the shared one, which is empty. */
static char *name_here(const struct boxes *x, struct span raw, char separator, bool *foreign)
{
    const struct space *s = space_of(x, raw);
    struct buf b;
    const bool inbox = span_caseeq(raw, SPAN("INBOX"));
    *foreign = s && s->foreign && !inbox;
    if (inbox)
        return xstrdup("INBOX");
    if (s && !s->foreign && raw.n > strlen(s->prefix))
        raw = span_drop(raw, strlen(s->prefix));
    buf_init(&b, 8192);
    bool ok = maildir_name(raw, separator, &b);
    char *name = xstrspan(ok ? buf_span(&b) : raw);
    buf_free(&b);
    return name;
}

static void add_box(struct boxes *x, struct span raw, char separator, const struct listed *l)
{
    if (x->n == BOXES_LIMIT || find_box(x, raw))
        return;
    if (x->n == x->room)
        x->v = xrealloc(x->v, (x->room = x->room ? x->room * 2 : 64) * sizeof *x->v);
    struct imap_box b = {.use = l->use};
    b.raw = xstrspan(raw);
    b.name = name_here(x, raw, separator, &b.foreign);
    if (b.foreign)
        b.use = STORE_USE_NONE;
    x->v[x->n++] = b;
}

static void on_list(void *arg, struct imap_client *c, uint32_t number, const char *name)
{
    struct boxes *x = arg;
    struct listed l = {.use = STORE_USE_NONE};
    (void)number;
    if (strcmp(name, x->subscribed ? "LSUB" : "LIST") != 0)
        return;
    read_attributes(c, &l);
    struct span separator = imap_string(c);
    char sep = separator.n ? separator.p[0] : '\0';
    struct span raw = imap_string(c);
    if (!raw.n)
        return;
    struct imap_box *b = find_box(x, raw);
    if (x->subscribed && b)
        b->subscribed = true;
    else if (!x->subscribed && !l.no_select && !l.a_view)
        add_box(x, raw, sep, &l);
}

static enum err_code list_space(struct boxes *x, const char *verb, const char *prefix, const char *options)
{
    struct buf line, pattern;
    buf_init(&line, 4096);
    buf_init(&pattern, 1024);
    bool ok = buf_addf(&pattern, "%s*", prefix) && buf_addf(&line, "%s \"\" ", verb) &&
              imap_put(&line, buf_span(&pattern)) && buf_add_str(&line, options);
    enum err_code code = ok ? imap_ask(x->run->client, buf_span(&line), on_list, x) : ERR_LIMIT;
    buf_free(&line);
    buf_free(&pattern);
    return code;
}

static enum err_code list_all(struct boxes *x)
{
    struct imap_client *c = x->run->client;
    bool special = imap_can(c, "SPECIAL-USE") && imap_can(c, "LIST-EXTENDED");
    enum err_code code = ERR_OK;
    if (imap_can(c, "NAMESPACE"))
        code = imap_ask(c, SPAN("NAMESPACE"), on_namespace, x);
    if (code == ERR_OK)
        code = list_space(x, "LIST", "", special ? " RETURN (SPECIAL-USE)" : "");
    for (size_t i = 0; code == ERR_OK && i < x->space_count; i++)
        if (x->spaces[i].prefix[0])
            code = list_space(x, "LIST", x->spaces[i].prefix, special ? " RETURN (SPECIAL-USE)" : "");
    x->subscribed = true;
    if (code == ERR_OK)
        code = list_space(x, "LSUB", "", "");
    return code;
}

/* -- how much there is, for the progress -- */

static void on_status(void *arg, struct imap_client *c, uint32_t number, const char *name)
{
    struct boxes *x = arg;
    uint32_t messages;
    (void)number;
    if (strcmp(name, "STATUS") != 0)
        return;
    (void)imap_string(c); /* the mailbox */
    imap_char(c, ' ');
    if (imap_char(c, '(') && span_caseeq(imap_atom(c), SPAN("MESSAGES")) && span_u32(imap_atom(c), &messages))
        atomic_fetch_add(&x->run->report->counts->planned, messages);
}

static bool is_wanted(const struct boxes *x, const struct imap_box *b)
{
    return (!b->foreign || x->run->shared) && (!x->run->only || strcmp(x->run->only, b->name) == 0);
}

static enum err_code count_all(struct boxes *x)
{
    enum err_code code = ERR_OK;
    for (size_t i = 0; code != ERR_RETRY && i < x->n; i++) {
        struct buf line;
        if (!is_wanted(x, &x->v[i]))
            continue;
        buf_init(&line, 16 << 10);
        if (buf_add_str(&line, "STATUS ") && imap_put(&line, span_str(x->v[i].raw)) &&
            buf_add_str(&line, " (MESSAGES)"))
            code = imap_ask(x->run->client, buf_span(&line), on_status, x); /* NO: EXAMINE will say it */
        buf_free(&line);
    }
    return code == ERR_RETRY ? code : ERR_OK;
}

/* -- all of them -- */

static void free_box(struct imap_box *b)
{
    free(b->raw);
    free(b->name);
    free(b->ours);
    free(b->v);
    for (size_t i = 0; i < b->keyword_count; i++)
        free(b->keywords[i]);
}

/* Who may not administer a mailbox of his own namespace has it from somebody else: Zimbra shows mounted
 * folders so. */
static enum err_code look_whose(struct boxes *x, struct imap_box *b)
{
    if (b->foreign || strcmp(b->name, "INBOX") == 0 || !imap_can(x->run->client, "ACL"))
        return ERR_OK;
    return imap_whose(x->run, b, &b->foreign);
}

static enum err_code take_one(struct boxes *x, struct imap_box *b)
{
    if (x->run->only && strcmp(x->run->only, b->name) != 0)
        return ERR_OK;
    enum err_code code = look_whose(x, b);
    if (code == ERR_OK)
        imap_note_rights(x->run, b);
    if (b->foreign && !x->run->shared)
        atomic_fetch_add(&x->run->report->counts->left, 1);
    if (code != ERR_OK || !is_wanted(x, b))
        return code;
    code = imap_take_box(x->run, b);
    free(b->v); /* a large one's list */
    b->v = NULL;
    b->n = b->room = 0;
    return code;
}

enum err_code imap_take_boxes(struct imap_run *run)
{
    struct boxes x = {.run = run};
    enum err_code code = list_all(&x);
    if (code == ERR_OK)
        code = count_all(&x);
    for (size_t i = 0; code == ERR_OK && i < x.n && !target_failed(run->target); i++)
        code = take_one(&x, &x.v[i]);
    if (code != ERR_OK) {
        char why[400];
        snprintf(why, sizeof why, "%.350s", imap_text(run->client).p);
        import_refused(run->report, SPAN_NONE, SPAN_NONE, why);
    }
    for (size_t i = 0; i < x.n; i++)
        free_box(&x.v[i]);
    free(x.v);
    return code;
}
