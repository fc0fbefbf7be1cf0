/* mailadm account list and account show: the directory's people beside the figures of their mailboxes. The
 * two daemons know an account by the same id; who is known to one of them only is listed too. */
#include "mailadm/ask.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

/* -- figures of the store, ascending by id -- */

struct figures {
    struct store_account_info *v;
    bool *shown;
    size_t n;
};

static void on_infos(void *session, enum err_code code, const struct store_account_info *v, size_t count,
                     bool more)
{
    struct ask *k = session;
    struct figures *f = k->arg;
    if (code == ERR_OK && count) {
        f->v = xrealloc(f->v, (f->n + count) * sizeof *v);
        memcpy(f->v + f->n, v, count * sizeof *v);
        f->n += count;
    }
    if (code != ERR_OK || !more)
        ask_end(k, code);
}

static int by_id(const void *a, const void *b)
{
    const struct store_account_info *x = a, *y = b;
    return uuid_cmp(&x->id, &y->id);
}

static int get_figures(struct ask *k, struct figures *f)
{
    *f = (struct figures){NULL, NULL, 0};
    k->arg = f;
    store_admin_accounts(k->store, k->ticket, on_infos);
    int status = ask_status(ask_wait(k, ASK_PATIENCE_MS), "accounts of the store");
    if (f->n)
        qsort(f->v, f->n, sizeof *f->v, by_id);
    f->shown = xcalloc(f->n + 1, sizeof *f->shown);
    return status;
}

static void free_figures(struct figures *f)
{
    free(f->v);
    free(f->shown);
}

/* Those of id, or zeros. */
static struct store_account_info figures_of(struct figures *f, const struct uuid *id)
{
    const struct store_account_info key = {.id = *id};
    struct store_account_info *at = f->n ? bsearch(&key, f->v, f->n, sizeof *f->v, by_id) : NULL;
    if (!at)
        return key;
    f->shown[at - f->v] = true;
    return *at;
}

/* -- a row -- */

struct row {
    struct span address, name, state;
    struct store_account_info i;
};

static void print_row(struct ask *k, const struct row *r)
{
    char id[UUID_TEXT], login[ADM_TIME], limit[24] = "-";
    if (r->i.quota_bytes)
        snprintf(limit, sizeof limit, "%" PRIu64, r->i.quota_bytes);
    uuid_format(&r->i.id, id);
    adm_time(r->i.last_login_us, login);
    if (k->adm->json) {
        printf("%s{\"id\": \"%s\", \"address\": ", k->first ? "" : ", ", id);
        adm_json_span(r->address);
        fputs(", \"name\": ", stdout);
        adm_json_span(r->name);
        fputs(", \"state\": ", stdout);
        adm_json_span(r->state);
        printf(", \"mailboxes\": %u, \"messages\": %" PRIu64 ", \"bytes\": %" PRIu64
               ", \"limit_bytes\": %" PRIu64 ", \"limit_messages\": %" PRIu64 ", \"last_login\": \"%s\"}",
               r->i.mailboxes, r->i.messages, r->i.bytes, r->i.quota_bytes, r->i.quota_messages, login);
    } else {
        int n = adm_text(r->address.n ? r->address : span_str(id));
        printf("%*s %8" PRIu64 " %12" PRIu64 " %12s %-8.*s %-19.19s ", n < 36 ? 36 - n : 0, "", r->i.messages,
               r->i.bytes, limit, SPAN_ARG(r->state), *login ? login : "-");
        adm_text(r->name);
        putchar('\n');
    }
    k->first = false;
}

static struct span state_of(const struct dir_entry *e)
{
    return e->disabled ? SPAN("disabled") : e->no_login ? SPAN("no-login") : SPAN("active");
}

static void on_entries(void *session, enum err_code code, const struct dir_entry *v, size_t count, bool more)
{
    struct ask *k = session;
    for (size_t i = 0; code == ERR_OK && i < count; i++) {
        struct row r = {v[i].address, v[i].name, state_of(&v[i]), figures_of(k->arg, &v[i].id)};
        print_row(k, &r);
    }
    if (code != ERR_OK || !more)
        ask_end(k, code);
}

int adm_account_list(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    struct figures f = {NULL, NULL, 0};
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "mailadm: account list takes no %s\nusage: mailadm account list [FILTER] [--json]\n",
                argv[argc - 1]);
        return EX_USAGE;
    }
    struct span filter = argc == 2 ? span_str(argv[1]) : SPAN("");
    int status = ask_open(&k, a, true, true);
    if (status == EX_OK)
        status = get_figures(&k, &f);
    if (status == EX_OK) {
        if (a->json)
            putchar('[');
        else
            printf("%-36s %8s %12s %12s %-8s %-19s %s\n", "address", "messages", "bytes", "limit", "state",
                   "last login", "name");
        directory_admin_accounts(k.directory, filter, k.ticket, on_entries);
        status = ask_status(ask_wait(&k, ASK_PATIENCE_MS), "account list");
        for (size_t i = 0; status == EX_OK && !filter.n && i < f.n; i++)
            if (!f.shown[i]) {
                struct row r = {SPAN(""), SPAN(""), SPAN("unknown"), f.v[i]};
                print_row(&k, &r);
            }
        fputs(a->json ? "]\n" : "", stdout);
    }
    free_figures(&f);
    ask_close(&k);
    return status;
}

/* -- one account -- */

static void on_found(void *session, enum err_code code, const struct dir_entry *e)
{
    struct ask *k = session;
    if (code == ERR_OK && e->kind != DIR_ACCOUNT)
        code = ERR_MISSING;
    if (code == ERR_OK)
        *(struct uuid *)k->arg = e->id;
    ask_end(k, code);
}

int adm_account_id(struct ask *k, const char *text, struct uuid *out)
{
    if (uuid_parse(span_str(text), out))
        return EX_OK;
    k->arg = out;
    directory_lookup(k->directory, span_str(text), NULL, k->ticket, on_found);
    return ask_status(ask_wait(k, ASK_PATIENCE_MS), text);
}

static void on_show(void *session, enum err_code code, struct span text)
{
    struct ask *k = session;
    if (code == ERR_OK)
        adm_pairs(k, text);
    ask_end(k, code);
}

static void show_figures(struct ask *k, const struct store_account_info *i)
{
    char created[ADM_TIME], login[ADM_TIME], delivery[ADM_TIME];
    struct buf b;
    buf_init(&b, 4096);
    adm_time(i->created_us, created);
    adm_time(i->last_login_us, login);
    adm_time(i->last_delivery_us, delivery);
    if (buf_addf(&b,
                 "mailboxes=%u\nmessages=%" PRIu64 "\nbytes=%" PRIu64 "\nlimit_bytes=%" PRIu64
                 "\nlimit_messages=%" PRIu64 "\nquota_warned=%s\nhold=%s"
                 "\ncreated=%s\nlast_login=%s\nlast_delivery=%s\n",
                 i->mailboxes, i->messages, i->bytes, i->quota_bytes, i->quota_messages,
                 i->warned ? "yes" : "no", i->hold ? "yes" : "no", created, login, delivery))
        adm_pairs(k, buf_span(&b));
    buf_free(&b);
}

int adm_account_show(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    struct figures f = {NULL, NULL, 0};
    struct uuid id;
    if (argc != 2) {
        fputs("usage: mailadm account show ADDRESS [--json]\n", stderr);
        return EX_USAGE;
    }
    int status = ask_open(&k, a, true, true);
    if (status == EX_OK)
        status = adm_account_id(&k, argv[1], &id);
    if (status == EX_OK)
        status = get_figures(&k, &f);
    if (status == EX_OK) {
        fputs(a->json ? "{" : "", stdout);
        directory_admin_show(k.directory, span_str(argv[1]), k.ticket, on_show);
        status = ask_status(ask_wait(&k, ASK_PATIENCE_MS), argv[1]);
        struct store_account_info i = figures_of(&f, &id);
        if (status == EX_OK)
            show_figures(&k, &i);
        fputs(a->json ? "}\n" : "", stdout);
    }
    free_figures(&f);
    ask_close(&k);
    return status;
}
