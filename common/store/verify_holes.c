/* verify, where pages of the databases are damaged: its walks go on past them (scan_past.c), and what could
 * not be looked at is told. The hard point is what follows from a walk with a hole: sums over the rest would
 * be wrong, so whoever compares or repairs by them asks first whether the tables that they come from were
 * read whole. */
#include "common/store/verify.h"
#include "common/store/pages.h"

/* A key as people may know it. */
static void name_key(enum table table, struct span key, char *out, size_t size)
{
    char text[UUID_TEXT];
    struct uuid id;
    unsigned char k[KEY_UUID + KEY_ID] = {0};
    memcpy(k, key.p, key.n < sizeof k ? key.n : sizeof k);
    switch (table) {
    case T_MESSAGE:
        snprintf(out, size, "mailbox %llu uid %u", (unsigned long long)get_be64(k), get_be32(k + KEY_ID));
        return;
    case T_CHANGE:
        snprintf(out, size, "mailbox %llu modseq %llu", (unsigned long long)get_be64(k),
                 (unsigned long long)get_be64(k + KEY_ID));
        return;
    case T_MAILBOX:
    case T_CONTENT:
    case T_REF:
    case T_QUEUE:
        snprintf(out, size, "%s %llu",
                 table == T_MAILBOX ? "mailbox"
                 : table == T_QUEUE ? "entry"
                                    : "content",
                 (unsigned long long)get_be64(k));
        return;
    case T_ACCOUNT:
    case T_NAME:
    case T_NAME_CHANGE:
        memcpy(id.b, k, sizeof id.b);
        uuid_format(&id, text);
        snprintf(out, size, "account %s", text);
        return;
    case T_TRACE: /* they are text */
        snprintf(out, size, "trace %.*s", KEY_UUID, (const char *)k);
        return;
    default:
        for (size_t i = 0; i < KEY_UUID && 2 * i + 3 < size; i++)
            snprintf(out + 2 * i, 3, "%02x", k[i]);
    }
}

static void key_cut(struct span key, unsigned char out[sizeof((struct verify_hole *)NULL)->to])
{
    enum { WIDTH = sizeof((struct verify_hole *)NULL)->to };
    memset(out, 0, WIDTH);
    if (key.n)
        memcpy(out, key.p, key.n < WIDTH ? key.n : WIDTH);
}

/* Each place is met by several walks: it is told once, by where one can go on. */
static bool is_news(struct verify *v, enum table table, struct span from, struct span to)
{
    struct verify_hole h = {.table = table, .open = to.n == 0};
    key_cut(from, h.from);
    key_cut(to, h.to);
    for (size_t i = 0; i < v->hole_n; i++) {
        struct verify_hole *old = &v->holes[i];
        if (old->table != table || old->open != h.open || memcmp(old->to, h.to, sizeof h.to) != 0)
            continue;
        if (memcmp(h.from, old->from, sizeof h.from) < 0)
            memcpy(old->from, h.from, sizeof h.from);
        return false;
    }
    if (v->hole_n == HOLES)
        return false; /* the damaged file is known by now */
    v->holes[v->hole_n++] = h;
    return true;
}

/* So that many short walks do not each look for its end. */
static bool known(void *arg, enum table table, struct span key, struct span *to)
{
    struct verify *v = arg;
    unsigned char at[sizeof v->holes[0].to];
    key_cut(key, at);
    for (size_t i = 0; i < v->hole_n; i++) {
        const struct verify_hole *h = &v->holes[i];
        if (h->table != table || memcmp(h->from, at, sizeof at) > 0 ||
            (!h->open && memcmp(at, h->to, sizeof at) >= 0))
            continue;
        *to = h->open ? SPAN_NONE : span_of(h->to, sizeof h->to);
        return true;
    }
    return false;
}

static void met(void *arg, enum table table, struct span from, struct span to)
{
    struct verify *v = arg;
    char first[80] = "the beginning", last[80] = "the end";
    v->torn |= 1U << table;
    v->leaps++;
    if (!is_news(v, table, from, to))
        return;
    if (from.n)
        name_key(table, from, first, sizeof first);
    if (to.n)
        name_key(table, to, last, sizeof last);
    verify_tell(v, false,
                "db/%s.db has a damaged page: from %s to %s nothing was looked at; bring the store back from "
                "a backup",
                env_table_name(table), first, last);
}

void verify_scan(struct verify *v, struct scan *s, struct tx *t, enum table table, struct span from,
                 size_t prefix_n, size_t block_size)
{
    scan_open(s, t, table, from, prefix_n, block_size);
    v->past = (struct scan_past){.met = met, .known = known, .arg = v};
    scan_past_open(s, &v->past, table, from);
}

bool verify_torn(const struct verify *v, uint32_t tables)
{
    return (v->torn & tables) != 0;
}

uint64_t verify_mark(void)
{
    return pages_refused();
}

bool verify_hit(struct verify *v, enum err_code code, uint64_t mark, uint32_t tables, const char *what)
{
    char file[64];
    if (code != ERR_BUG || pages_refused() == mark)
        return false;
    pages_damaged(file, sizeof file);
    v->torn |= tables;
    if (what)
        verify_tell(v, false, "db/%s has a damaged page: %s could not be looked at", file, what);
    return true;
}
