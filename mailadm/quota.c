/* mailadm quota list and quota show: limits and use of accounts and units. Figures are stored's, addresses
 * directoryd's; a unit's figure is the sum over its accounts and those of the units below it. */
#include "mailadm/ask.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sysexits.h>

struct unit {
    struct store_quota q;
    char *code, *name;
};
struct quotas {
    struct unit *units;
    size_t unit_count;
    struct store_account_info *v; /* ascending by id */
    size_t n;
    const struct unit *within; /* NULL: everybody */
    bool over;
    const struct uuid *only; /* one account, or NULL */
    bool found;
};

/* -- what stored knows -- */

static void on_units(void *session, enum err_code code, const struct store_quota *v, size_t count)
{
    struct ask *k = session;
    struct quotas *q = k->arg;
    if (code == ERR_OK) {
        q->units = xcalloc(count + 1, sizeof *q->units);
        q->unit_count = count;
    }
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        q->units[i] = (struct unit){v[i], xstrspan(v[i].code), xstrspan(v[i].name)};
    ask_end(k, code);
}

static void on_infos(void *session, enum err_code code, const struct store_account_info *v, size_t count,
                     bool more)
{
    struct ask *k = session;
    struct quotas *q = k->arg;
    if (code == ERR_OK && count) {
        q->v = xrealloc(q->v, (q->n + count) * sizeof *v);
        memcpy(q->v + q->n, v, count * sizeof *v);
        q->n += count;
    }
    if (code != ERR_OK || !more)
        ask_end(k, code);
}

static int by_id(const void *a, const void *b)
{
    const struct store_account_info *x = a, *y = b;
    return uuid_cmp(&x->id, &y->id);
}

static int quotas_get(struct ask *k, struct quotas *q)
{
    k->arg = q;
    store_admin_units(k->store, k->ticket, on_units);
    int status = ask_status(ask_wait(k, ASK_PATIENCE_MS), "units of the store");
    if (status != EX_OK)
        return status;
    store_admin_accounts(k->store, k->ticket, on_infos);
    status = ask_status(ask_wait(k, ASK_PATIENCE_MS), "accounts of the store");
    if (q->n)
        qsort(q->v, q->n, sizeof *q->v, by_id);
    return status;
}

static void quotas_free(struct quotas *q)
{
    for (size_t i = 0; i < q->unit_count; i++) {
        free(q->units[i].code);
        free(q->units[i].name);
    }
    free(q->units);
    free(q->v);
}

static const struct unit *unit_by_id(const struct quotas *q, const struct uuid *id)
{
    for (size_t i = 0; i < q->unit_count; i++)
        if (uuid_cmp(&q->units[i].q.id, id) == 0)
            return &q->units[i];
    return NULL;
}

/* By code, id or name. */
static const struct unit *unit_named(const struct quotas *q, const char *text)
{
    struct uuid id;
    if (uuid_parse(span_str(text), &id))
        return unit_by_id(q, &id);
    for (size_t i = 0; i < q->unit_count; i++)
        if (*text && strcasecmp(q->units[i].code, text) == 0)
            return &q->units[i];
    for (size_t i = 0; i < q->unit_count; i++)
        if (*text && strcmp(q->units[i].name, text) == 0)
            return &q->units[i];
    return NULL;
}

static bool is_within(const struct quotas *q, const struct uuid *unit, const struct unit *top)
{
    enum { DEPTH = 32 };
    const struct unit *u = unit_by_id(q, unit);
    for (int depth = 0; u && depth < DEPTH; depth++) {
        if (u == top)
            return true;
        u = unit_by_id(q, &u->q.parent);
    }
    return false;
}

/* -- rows -- */

struct row {
    const char *kind;
    struct uuid id;
    struct span name, unit; /* unit: its code */
    uint64_t bytes, limit_bytes, messages, limit_messages, accounts;
    bool warned;
};

/* Used part of the fuller of both, in per cent; 0 without limits. */
static unsigned percent(const struct row *r)
{
    double a = r->limit_bytes ? 100.0 * (double)r->bytes / (double)r->limit_bytes : 0;
    double b = r->limit_messages ? 100.0 * (double)r->messages / (double)r->limit_messages : 0;
    a = a > b ? a : b;
    return a > 999999 ? 999999 : (unsigned)a;
}

static bool is_full(const struct row *r)
{
    return (r->limit_bytes && r->bytes >= r->limit_bytes) ||
           (r->limit_messages && r->messages >= r->limit_messages);
}

static void print_json(struct ask *k, const struct row *r)
{
    char id[UUID_TEXT];
    uuid_format(&r->id, id);
    printf("%s{\"kind\": \"%s\", \"id\": \"%s\", \"name\": ", k->first ? "" : ", ", r->kind, id);
    adm_json_span(r->name);
    fputs(", \"unit\": ", stdout);
    adm_json_span(r->unit);
    printf(", \"bytes\": %" PRIu64 ", \"limit_bytes\": %" PRIu64 ", \"messages\": %" PRIu64
           ", \"limit_messages\": %" PRIu64 ", \"accounts\": %" PRIu64
           ", \"percent\": %u, \"full\": %s, \"warned\": %s}",
           r->bytes, r->limit_bytes, r->messages, r->limit_messages, r->accounts, percent(r),
           is_full(r) ? "true" : "false", r->warned ? "true" : "false");
}

static void put_limit(uint64_t limit, int width)
{
    if (limit)
        printf(" %*" PRIu64, width, limit);
    else
        printf(" %*s", width, "-");
}

static void print_row(struct ask *k, const struct row *r)
{
    enum { NAME = 36 };
    if (k->adm->json) {
        print_json(k, r);
    } else {
        char id[UUID_TEXT];
        uuid_format(&r->id, id);
        printf("%-7s ", r->kind);
        int n = adm_text(r->name.n ? r->name : span_str(id));
        printf("%*s %14" PRIu64, n < NAME ? NAME - n : 0, "", r->bytes);
        put_limit(r->limit_bytes, 14);
        printf(" %9" PRIu64, r->messages);
        put_limit(r->limit_messages, 9);
        printf(" %4u%% %-4s ", percent(r), is_full(r) ? "full" : "");
        adm_text(r->unit);
        putchar('\n');
    }
    k->first = false;
}

static void print_head(const struct ask *k)
{
    if (k->adm->json)
        putchar('[');
    else
        printf("%-7s %-36s %14s %14s %9s %9s %5s %-4s %s\n", "kind", "name", "bytes", "limit", "messages",
               "limit", "used", "", "unit");
}

static void print_unit(struct ask *k, const struct quotas *q, const struct unit *u)
{
    const struct unit *up = unit_by_id(q, &u->q.parent);
    const struct row r = {.kind = "unit",
                          .id = u->q.id,
                          .name = span_str(*u->code ? u->code : u->name),
                          .unit = span_str(up ? up->code : ""),
                          .bytes = u->q.bytes,
                          .limit_bytes = u->q.limit_bytes,
                          .messages = u->q.messages,
                          .limit_messages = u->q.limit_messages,
                          .accounts = u->q.accounts};
    if (!q->over || is_full(&r))
        print_row(k, &r);
}

static void print_account(struct ask *k, struct quotas *q, const struct dir_entry *e)
{
    const struct store_account_info key = {.id = e->id};
    const struct store_account_info *i = q->n ? bsearch(&key, q->v, q->n, sizeof *q->v, by_id) : NULL;
    const struct unit *u = unit_by_id(q, i ? &i->unit : &e->unit);
    struct row r = {.kind = "account",
                    .id = e->id,
                    .name = e->address,
                    .unit = span_str(u ? u->code : ""),
                    .limit_bytes = e->quota_bytes};
    if (i) {
        r.bytes = i->bytes;
        r.limit_bytes = i->quota_bytes;
        r.messages = i->messages;
        r.limit_messages = i->quota_messages;
        r.warned = i->warned;
    }
    if ((q->within && !(u && is_within(q, &u->q.id, q->within))) || (q->over && !is_full(&r)) ||
        (q->only && uuid_cmp(q->only, &e->id) != 0))
        return;
    q->found = true;
    print_row(k, &r);
}

static void on_entries(void *session, enum err_code code, const struct dir_entry *v, size_t count, bool more)
{
    struct ask *k = session;
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        if (v[i].kind == DIR_ACCOUNT)
            print_account(k, k->arg, &v[i]);
    if (code != ERR_OK || !more)
        ask_end(k, code);
}

static int print_accounts(struct ask *k, struct quotas *q)
{
    k->arg = q;
    directory_admin_accounts(k->directory, SPAN(""), k->ticket, on_entries);
    return ask_status(ask_wait(k, ASK_PATIENCE_MS), "accounts of the directory");
}

/* -- the subcommands -- */

int adm_quota_list(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    struct quotas q = {.n = 0};
    const char *unit = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--over") == 0 && !q.over) {
            q.over = true;
        } else if (argv[i][0] != '-' && !unit) {
            unit = argv[i];
        } else {
            fputs("usage: mailadm quota list [--over] [UNIT] [--json]\n", stderr);
            return EX_USAGE;
        }
    }
    int status = ask_open(&k, a, true, true);
    if (status == EX_OK)
        status = quotas_get(&k, &q);
    if (status == EX_OK && unit && !(q.within = unit_named(&q, unit)))
        status = ask_status(ERR_MISSING, unit);
    if (status == EX_OK) {
        print_head(&k);
        for (size_t i = 0; i < q.unit_count; i++)
            if (!q.within || is_within(&q, &q.units[i].q.id, q.within))
                print_unit(&k, &q, &q.units[i]);
        status = print_accounts(&k, &q);
        fputs(a->json ? "]\n" : "", stdout);
    }
    quotas_free(&q);
    ask_close(&k);
    return status;
}

/* The units that hold for it stand behind it, from the nearest up. */
static int show_account(struct ask *k, struct quotas *q, const char *name)
{
    enum { DEPTH = 32 };
    struct uuid id;
    int status = adm_account_id(k, name, &id);
    if (status != EX_OK)
        return status;
    print_head(k);
    q->only = &id;
    status = print_accounts(k, q);
    const struct store_account_info key = {.id = id};
    const struct store_account_info *i = q->n ? bsearch(&key, q->v, q->n, sizeof *q->v, by_id) : NULL;
    const struct unit *u = i ? unit_by_id(q, &i->unit) : NULL;
    for (int depth = 0; u && depth < DEPTH; depth++, u = unit_by_id(q, &u->q.parent))
        print_unit(k, q, u);
    fputs(k->adm->json ? "]\n" : "", stdout);
    return status == EX_OK && !q->found ? ask_status(ERR_MISSING, name) : status;
}

int adm_quota_show(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    struct quotas q = {.n = 0};
    if (argc != 2) {
        fputs("usage: mailadm quota show ACCOUNT|UNIT [--json]\n", stderr);
        return EX_USAGE;
    }
    int status = ask_open(&k, a, true, true);
    if (status == EX_OK)
        status = quotas_get(&k, &q);
    const struct unit *u = status == EX_OK ? unit_named(&q, argv[1]) : NULL;
    if (u) {
        print_head(&k);
        print_unit(&k, &q, u);
        fputs(a->json ? "]\n" : "", stdout);
    } else if (status == EX_OK) {
        status = show_account(&k, &q, argv[1]);
    }
    quotas_free(&q);
    ask_close(&k);
    return status;
}
