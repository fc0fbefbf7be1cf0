/* LIST and LSUB: RFC 3501 6.3.8, 6.3.9, with LIST-EXTENDED (RFC 5258), SPECIAL-USE (6154), LIST-STATUS
 * (5819). The store gives all names of the account at once; everything is chosen from them here. The hard
 * problem is who has children and who must be named for a child's sake: names are sorted, so that a mailbox's
 * descendants are one run. Patterns are matched by a table of states, with a budget of steps, for a pattern
 * of many "*" against thousands of long names is an attack. */
#include "imapd/mutf7.h"
#include "imapd/status.h"
#include <stdlib.h>

enum { PATTERNS = 64, BUDGET = 100000000, SLICE = 100 };
enum { SEL_SUBSCRIBED = 1, SEL_REMOTE = 2, SEL_RECURSIVE = 4, SEL_USE = 8 };
enum { RET_SUBSCRIBED = 1, RET_CHILDREN = 2, RET_USE = 4, RET_STATUS = 8 };

struct box {
    struct store_mailbox m; /* name from the arena; keywords not kept */
    bool children;          /* an existing mailbox is below it */
    bool matches;           /* a pattern */
    bool has_status;        /* a STATUS line follows */
};

struct list {
    bool lsub, extended;
    struct span reference;
    struct span patterns[PATTERNS]; /* reference in front */
    size_t pattern_count;
    bool only_separator; /* LIST "" "" */
    unsigned select, ret, items;
    struct box *boxes; /* sorted by name */
    size_t count;
    uint64_t budget;
    /* progress of STATUS lines */
    size_t at;
    bool counted;
    struct status_sums sums;
};

/* -- arguments -- */

struct option {
    const char *name;
    unsigned bit;
};

static bool option_word(struct cursor *c, const struct option *table, size_t n, unsigned *bits, unsigned *bit)
{
    struct span word;
    if (!cur_atom(c, &word))
        return false;
    for (size_t i = 0; i < n; i++)
        if (span_caseeq(word, span_str(table[i].name))) {
            *bits |= table[i].bit;
            *bit = table[i].bit;
            return true;
        }
    return false;
}

static bool parse_selection(struct cursor *c, struct list *x)
{
    static const struct option table[] = {{"SUBSCRIBED", SEL_SUBSCRIBED},
                                          {"REMOTE", SEL_REMOTE},
                                          {"RECURSIVEMATCH", SEL_RECURSIVE},
                                          {"SPECIAL-USE", SEL_USE}};
    unsigned bit;
    if (!cur_char(c, '('))
        return true;
    x->extended = true;
    while (!cur_char(c, ')'))
        if (!option_word(c, table, 4, &x->select, &bit) || (!cur_peek(c, ')') && !cur_sp(c)))
            return false;
    /* RFC 5258 3.1: RECURSIVEMATCH needs something besides REMOTE to match. */
    return cur_sp(c) && (!(x->select & SEL_RECURSIVE) || x->select & (SEL_SUBSCRIBED | SEL_USE));
}

static bool parse_return(struct cursor *c, struct list *x)
{
    static const struct option table[] = {{"SUBSCRIBED", RET_SUBSCRIBED},
                                          {"CHILDREN", RET_CHILDREN},
                                          {"SPECIAL-USE", RET_USE},
                                          {"STATUS", RET_STATUS}};
    unsigned bit;
    if (cur_end(c))
        return true;
    if (!cur_word(c, "RETURN") || !cur_sp(c) || !cur_char(c, '('))
        return false;
    x->extended = true;
    while (!cur_char(c, ')')) {
        if (!option_word(c, table, 4, &x->ret, &bit))
            return false;
        if (bit == RET_STATUS && (!cur_sp(c) || !status_items(c, &x->items)))
            return false;
        if (!cur_peek(c, ')') && !cur_sp(c))
            return false;
    }
    return cur_end(c);
}

static bool add_pattern(struct cursor *c, struct list *x)
{
    struct span raw, name;
    struct buf b;
    if (x->pattern_count == PATTERNS || !cur_pattern(c, &raw))
        return false;
    x->only_separator = !raw.n && !x->extended;
    buf_init(&b, STORE_NAME_LIMIT * 2);
    bool ok = buf_add_span(&b, x->reference) && buf_add_span(&b, raw) &&
              mailbox_name(c->a, buf_span(&b), &name) && name.n <= STORE_NAME_LIMIT * 2;
    buf_free(&b);
    if (ok)
        x->patterns[x->pattern_count++] = name;
    return true; /* what is no name matches none */
}

static bool parse_patterns(struct cursor *c, struct list *x)
{
    if (!cur_char(c, '('))
        return add_pattern(c, x);
    x->extended = true;
    do {
        if (!add_pattern(c, x))
            return false;
    } while (cur_sp(c));
    return cur_char(c, ')');
}

bool parse_list(struct imap *s, struct cursor *c)
{
    struct list *x = arena_alloc(s->arena, sizeof *x);
    s->cmd.args = x;
    return x && cur_sp(c) && parse_selection(c, x) && cur_astring(c, &x->reference) && cur_sp(c) &&
           parse_patterns(c, x) && parse_return(c, x);
}

bool parse_lsub(struct imap *s, struct cursor *c)
{
    struct list *x = arena_alloc(s->arena, sizeof *x);
    if (!x)
        return false;
    s->cmd.args = x;
    x->lsub = true;
    return cur_sp(c) && cur_astring(c, &x->reference) && cur_sp(c) && add_pattern(c, x) && cur_end(c);
}

/* -- matching -- */

/* States of the pattern that can go on without a character: wildcards may be empty. */
static void skip_wild(struct span p, unsigned char *on)
{
    for (size_t i = 0; i < p.n; i++)
        if (on[i] && (p.p[i] == '*' || p.p[i] == '%'))
            on[i + 1] = 1;
}

static bool match(struct list *x, struct span p, struct span name)
{
    unsigned char now[STORE_NAME_LIMIT * 2 + 2] = {1}, next[STORE_NAME_LIMIT * 2 + 2];
    bool inbox = span_starts(name, SPAN("INBOX"));
    uint64_t cost = (uint64_t)(p.n + 1) * (name.n + 1);
    x->budget -= cost < x->budget ? cost : x->budget;
    if (!x->budget)
        return false;
    skip_wild(p, now);
    for (size_t at = 0; at < name.n; at++) {
        char c = name.p[at];
        memset(next, 0, p.n + 1);
        for (size_t i = 0; i < p.n; i++) {
            if (!now[i])
                continue;
            if (p.p[i] == '*' || (p.p[i] == '%' && c != '/'))
                next[i] = 1;
            else if (p.p[i] == c || (inbox && at < 5 && ascii_lower(p.p[i]) == ascii_lower(c)))
                next[i + 1] = 1;
        }
        skip_wild(p, next);
        memcpy(now, next, p.n + 1);
    }
    return now[p.n];
}

static bool match_any(struct list *x, struct span name)
{
    for (size_t i = 0; i < x->pattern_count; i++)
        if (match(x, x->patterns[i], name))
            return true;
    return false;
}

static bool below(struct span name, struct span parent)
{
    return name.n > parent.n && name.p[parent.n] == '/' && span_starts(name, parent);
}

/* -- the names of the account -- */

static int by_name(const void *a, const void *b)
{
    const struct span x = ((const struct box *)a)->m.name, y = ((const struct box *)b)->m.name;
    int d = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return d ? d : (x.n > y.n) - (x.n < y.n);
}

/* The first name that is not below "parent/" in order. */
static size_t descendants(const struct list *x, struct span parent)
{
    size_t lo = 0, hi = x->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        struct span n = x->boxes[mid].m.name;
        size_t k = n.n < parent.n ? n.n : parent.n;
        int d = memcmp(n.p, parent.p, k);
        if (d == 0)
            d = n.n <= parent.n ? -1 : (n.p[parent.n] >= '/' ? 1 : -1);
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Only a name in the list of subscriptions. */
static bool nonexistent(const struct box *b)
{
    return b->m.no_select && !b->children;
}

static void find_children(struct list *x)
{
    /* From the end: a child's own state is known before its parent asks. */
    for (size_t i = x->count; i-- > 0;)
        for (size_t k = descendants(x, x->boxes[i].m.name);
             k < x->count && below(x->boxes[k].m.name, x->boxes[i].m.name); k++)
            if (!nonexistent(&x->boxes[k])) {
                x->boxes[i].children = true;
                break;
            }
}

static void on_list(void *session, enum err_code code, const struct store_mailbox *boxes, size_t count)
{
    struct imap *s = session;
    struct list *x = s->cmd.args;
    if (code == ERR_OK) {
        x->boxes = arena_array(s->arena, count + 1, sizeof *x->boxes);
        for (size_t i = 0; x->boxes && i < count; i++) {
            x->boxes[i].m = boxes[i];
            x->boxes[i].m.keywords = NULL;
            x->boxes[i].m.name = arena_dup(s->arena, boxes[i].name);
            if (!x->boxes[i].m.name.p)
                x->boxes = NULL;
        }
        if (!x->boxes)
            code = ERR_LIMIT;
        else if (count)
            qsort(x->boxes, count, sizeof *x->boxes, by_name);
        x->count = x->boxes ? count : 0;
    }
    imap_answered(s, code);
}

/* -- lines -- */

static bool selected(const struct list *x, const struct box *b)
{
    return (!(x->select & SEL_SUBSCRIBED) || b->m.subscribed) &&
           (!(x->select & SEL_USE) || b->m.use != STORE_USE_NONE);
}

static void put_attribute(struct imap *s, const char **gap, const char *name)
{
    put(s, *gap);
    put(s, name);
    *gap = " ";
}

static void put_attributes(struct imap *s, const struct list *x, const struct box *b)
{
    static const char *const uses[] = {
        NULL, "\\Drafts", "\\Sent", "\\Trash", "\\Junk", "\\Archive",
    };
    const char *gap = "";
    if (nonexistent(b) && !x->lsub)
        put_attribute(s, &gap, "\\NonExistent");
    else if (b->m.no_select && !x->lsub)
        put_attribute(s, &gap, "\\Noselect");
    put_attribute(s, &gap, b->children ? "\\HasChildren" : "\\HasNoChildren");
    if (b->m.use != STORE_USE_NONE && b->m.use < sizeof uses / sizeof *uses)
        put_attribute(s, &gap, uses[b->m.use]);
    if (b->m.subscribed && (x->ret & RET_SUBSCRIBED || x->select & SEL_SUBSCRIBED))
        put_attribute(s, &gap, "\\Subscribed");
}

static void put_line(struct imap *s, const struct list *x, const struct box *b, bool childinfo)
{
    putf(s, "* %s (", x->lsub ? "LSUB" : "LIST");
    put_attributes(s, x, b);
    put(s, ") \"/\" ");
    put_mailbox(s, b->m.name);
    if (childinfo)
        put(s, x->select & SEL_SUBSCRIBED ? " (\"CHILDINFO\" (\"SUBSCRIBED\"))"
                                          : " (\"CHILDINFO\" (\"SPECIAL-USE\"))");
    put(s, "\r\n");
}

/* A descendant is chosen and not matched itself: its superior is named for it (RFC 5258 3.5). */
static bool child_chosen(const struct list *x, const struct box *b)
{
    for (size_t k = descendants(x, b->m.name); k < x->count && below(x->boxes[k].m.name, b->m.name); k++)
        if (selected(x, &x->boxes[k]) && !x->boxes[k].matches)
            return true;
    return false;
}

static void list_lines(struct imap *s, struct list *x)
{
    for (size_t i = 0; i < x->count; i++)
        x->boxes[i].matches = match_any(x, x->boxes[i].m.name);
    for (size_t i = 0; i < x->count; i++) {
        struct box *b = &x->boxes[i];
        if (!b->matches)
            continue;
        bool chosen = selected(x, b) && (!nonexistent(b) || x->select & SEL_SUBSCRIBED);
        bool for_child = x->select & SEL_RECURSIVE && child_chosen(x, b);
        if (chosen || for_child)
            put_line(s, x, b, for_child);
        b->has_status = (chosen || for_child) && !b->m.no_select;
    }
}

/* LSUB with "%": superiors of subscribed names that are cut off by it (RFC 3501 6.3.9). */
static void lsub_superiors(struct imap *s, struct list *x, const struct box *b, struct span *last)
{
    struct span name = b->m.name;
    for (size_t n = 1; n < name.n; n++) {
        if (name.p[n] != '/')
            continue;
        struct span parent = span_first(name, n);
        if (span_eq(parent, *last) || !match_any(x, parent))
            continue;
        bool itself = false;
        for (size_t i = 0; i < x->count && !itself; i++)
            itself = x->boxes[i].m.subscribed && span_eq(x->boxes[i].m.name, parent);
        *last = parent;
        if (itself)
            continue;
        put(s, "* LSUB (\\Noselect) \"/\" ");
        put_mailbox(s, parent);
        put(s, "\r\n");
    }
}

static void lsub_lines(struct imap *s, struct list *x)
{
    struct span last = SPAN("");
    bool cut = x->pattern_count && span_search(x->patterns[0], SPAN("%")) < x->patterns[0].n;
    for (size_t i = 0; i < x->count; i++) {
        struct box *b = &x->boxes[i];
        if (!b->m.subscribed)
            continue;
        if (match_any(x, b->m.name))
            put_line(s, x, b, false);
        else if (cut)
            lsub_superiors(s, x, b, &last);
    }
}

/* -- STATUS lines behind them -- */

static void on_rows(void *session, enum err_code code, const struct store_row *rows, size_t count, bool more)
{
    struct imap *s = session;
    struct list *x = s->cmd.args;
    if (code == ERR_OK)
        status_count(&x->boxes[x->at].m, rows, count, &x->sums);
    if (!more || code != ERR_OK)
        imap_answered(s, code);
}

static enum run status_lines(struct imap *s, struct list *x)
{
    for (unsigned said = 0; x->at < x->count; x->at++) {
        const struct box *b = &x->boxes[x->at];
        if (!b->has_status)
            continue;
        if (said++ == SLICE)
            return RUN_AGAIN;
        uint32_t from = x->counted ? 0 : status_counts(&b->m, x->items);
        if (from) {
            x->counted = true;
            imap_clear(s);
            store_rows(s->account, b->m.id, from, 0, imap_ask(s), on_rows);
            return RUN_WAIT;
        }
        status_put(s, &b->m, b->m.name, x->items, &x->sums);
        x->counted = false;
        x->sums = (struct status_sums){0, 0};
    }
    return imap_done_ok(s, NULL);
}

enum run run_list(struct imap *s)
{
    struct list *x = s->cmd.args;
    if (x->only_separator) {
        putf(s, "* %s (\\Noselect) \"/\" \"\"\r\n", x->lsub ? "LSUB" : "LIST");
        return imap_done_ok(s, NULL);
    }
    if (s->cmd.stage == 0) {
        s->cmd.stage = 1;
        store_list(s->account, imap_ask(s), on_list);
        return RUN_WAIT;
    }
    if (s->cmd.stage == 1) {
        if (s->cmd.code != ERR_OK)
            return imap_done_err(s, s->cmd.code);
        s->cmd.stage = 2;
        x->budget = BUDGET;
        find_children(x);
        if (x->lsub)
            lsub_lines(s, x);
        else
            list_lines(s, x);
        if (!x->budget)
            return imap_done(s, COND_NO, "LIMIT", "The pattern is too complicated.");
    }
    if (x->ret & RET_STATUS)
        return status_lines(s, x);
    return imap_done_ok(s, NULL);
}
