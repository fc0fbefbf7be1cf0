/* mailadm undelete: messages that were expunged, and folders that were deleted, within the undelete window.
 * The hard point is what "deleted" means: a client that moves by COPY and EXPUNGE leaves an expunge behind
 * though the message lives on elsewhere. So a message counts as deleted only when no living mailbox of the
 * account holds its content (--all: also then), and comes back once, preferably not into the trash. */
#include "mailadm/past.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

struct contents {
    uint64_t *v;
    size_t n, cap;
};

struct undelete {
    struct ask k;
    const char *account, *mailbox, *since, *into;
    bool all, list, over_quota;
    int64_t since_us;
    struct uuid id;
    struct past_names now, deleted;
    struct contents living, taken; /* taken: come back already in this run */
    uint64_t found, done, missing;
};

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void contents_add(struct contents *c, uint64_t content)
{
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 256;
        c->v = xrealloc(c->v, c->cap * sizeof *c->v);
    }
    c->v[c->n++] = content;
}

static bool contents_has(const struct contents *c, uint64_t content)
{
    return c->n && bsearch(&content, c->v, c->n, sizeof *c->v, by_number);
}

/* What the living mailboxes hold. */
static int gather_living(struct undelete *u)
{
    int status = EX_OK;
    for (size_t i = 0; i < u->now.n && status == EX_OK; i++) {
        struct past_view v;
        if (!u->now.v[i].mailbox)
            continue;
        status = past_view_get(&u->k, &u->id, u->now.v[i].mailbox, STORE_NOW, false, u->now.v[i].then, &v);
        for (size_t n = 0; n < v.n; n++)
            contents_add(&u->living, v.v[n].row.content);
        past_view_free(&v);
    }
    if (u->living.n)
        qsort(u->living.v, u->living.n, sizeof *u->living.v, by_number);
    return status;
}

static void say_message(struct undelete *u, const struct past_name *n, const struct store_past *p)
{
    char gone[ADM_TIME], came[ADM_TIME];
    adm_time(p->gone_us, gone);
    adm_time(p->row.internal_s * 1000000, came);
    if (u->k.adm->json) {
        printf("%s{\"kind\": \"message\", \"mailbox\": ", u->k.first ? "" : ", ");
        adm_json_span(span_str(n->then));
        printf(", \"uid\": %u, \"size\": %u, \"date\": \"%s\", \"deleted\": \"%s\"}", p->row.uid, p->row.size,
               came, gone);
    } else {
        printf("%.19s message %10u uid %-8u of %.19s in ", gone, p->row.size, p->row.uid, came);
        adm_text(span_str(n->then));
        putchar('\n');
    }
    u->k.first = false;
}

/* Messages of a mailbox that are to come back, without their mark of deletion. */
static void choose_rows(struct undelete *u, const struct past_name *n, const struct past_view *gone,
                        struct rows *out)
{
    for (size_t i = 0; i < gone->n; i++) {
        struct store_row row = gone->v[i].row;
        if (!u->all && contents_has(&u->living, row.content))
            continue;
        if (contents_has(&u->taken, row.content))
            continue;
        row.flags &= (uint32_t)~STORE_DELETED;
        rows_add(out, &row);
        u->found++;
        if (u->list)
            say_message(u, n, &gone->v[i]);
    }
    for (size_t i = 0; i < out->n; i++)
        contents_add(&u->taken, out->v[i].content);
    if (u->taken.n)
        qsort(u->taken.v, u->taken.n, sizeof *u->taken.v, by_number);
}

static int by_content(const void *a, const void *b)
{
    const struct store_row *x = a, *y = b;
    if (x->content != y->content)
        return x->content < y->content ? -1 : 1;
    return x->uid < y->uid ? -1 : x->uid > y->uid;
}

static int by_uid(const void *a, const void *b)
{
    const struct store_row *x = a, *y = b;
    return x->uid < y->uid ? -1 : x->uid > y->uid;
}

/* Twice expunged from one mailbox (a copy within it): once is enough, the last one. */
static void drop_doubles(struct rows *r)
{
    size_t kept = 0;
    qsort(r->v, r->n, sizeof *r->v, by_content);
    for (size_t i = 0; i < r->n; i++)
        if (i + 1 == r->n || r->v[i].content != r->v[i + 1].content)
            r->v[kept++] = r->v[i];
    r->n = kept;
    qsort(r->v, r->n, sizeof *r->v, by_uid);
}

static int bring_back(struct undelete *u, const struct past_name *n, const struct rows *rows)
{
    struct progress p;
    uint64_t to = n->mailbox, done = 0;
    enum err_code code = ERR_OK;
    if (u->into) {
        const struct store_folder f = {
            .account = u->id, .action = STORE_FOLDER_NEED, .name = span_str(u->into), .subscribe = true};
        code = past_folder(&u->k, &f, &to);
    }
    const struct store_restore s = {.account = u->id,
                                    .from = n->mailbox,
                                    .to = to,
                                    .kind = STORE_RESTORE_ADD,
                                    .over_quota = u->over_quota};
    progress_start(&p, rows->n);
    if (code == ERR_OK)
        code = past_send(&u->k, &s, rows, &p, &done, &u->missing);
    progress_end(&p);
    u->done += done;
    if (!u->k.adm->json && done) {
        adm_text(span_str(u->into ? u->into : n->then));
        printf(": %" PRIu64 " messages brought back\n", done);
    }
    if (code != ERR_LIMIT)
        return ask_status(code, n->then);
    fprintf(stderr, "mailadm: %s: the account is over its quota (--over-quota brings back the rest)\n",
            n->then);
    return EX_DATAERR;
}

static int undelete_messages(struct undelete *u, bool trash)
{
    int status = EX_OK;
    for (size_t i = 0; i < u->now.n && status == EX_OK; i++) {
        const struct past_name *n = &u->now.v[i];
        struct past_view gone;
        struct rows rows = {NULL, 0, 0, 0};
        if (!n->mailbox || (n->use == STORE_USE_TRASH || n->use == STORE_USE_JUNK) != trash ||
            (u->mailbox && past_names_find(&u->now, u->mailbox) != n))
            continue;
        status = past_view_get(&u->k, &u->id, n->mailbox, u->since_us, true, n->then, &gone);
        if (status == EX_OK)
            choose_rows(u, n, &gone, &rows);
        if (rows.n)
            drop_doubles(&rows);
        if (status == EX_OK && !u->list && rows.n)
            status = bring_back(u, n, &rows);
        rows_free(&rows);
        past_view_free(&gone);
    }
    return status;
}

static void say_folder(struct undelete *u, const struct past_name *n, const char *as)
{
    char gone[ADM_TIME];
    adm_time(n->deleted_us, gone);
    if (u->k.adm->json) {
        if (u->list) {
            printf("%s{\"kind\": \"mailbox\", \"mailbox\": ", u->k.first ? "" : ", ");
            adm_json_span(span_str(n->then));
            printf(", \"messages\": %u, \"size\": %" PRIu64 ", \"deleted\": \"%s\"}", n->messages, n->bytes,
                   gone);
        }
    } else if (u->list) {
        printf("%.19s folder  %10" PRIu64 " %u messages: ", gone, n->bytes, n->messages);
        adm_text(span_str(n->then));
        putchar('\n');
    } else {
        adm_text(span_str(as));
        printf(": folder brought back with %u messages\n", n->messages);
    }
    u->k.first = false;
}

static int undelete_folders(struct undelete *u)
{
    int status = EX_OK;
    for (size_t i = 0; i < u->deleted.n && status == EX_OK; i++) {
        const struct past_name *n = &u->deleted.v[i];
        char other[STORE_NAME_LIMIT + 40];
        const char *as = n->then;
        uint64_t id;
        if (n->deleted_us < u->since_us || (u->mailbox && strcmp(u->mailbox, n->then) != 0))
            continue;
        u->found++;
        if (u->list) {
            say_folder(u, n, as);
            continue;
        }
        struct store_folder f = {.account = u->id,
                                 .action = STORE_FOLDER_REVIVE,
                                 .mailbox = n->mailbox,
                                 .name = span_str(as),
                                 .use = n->use,
                                 .subscribe = true,
                                 .over_quota = u->over_quota};
        enum err_code code = u->into ? ERR_STATE : past_folder(&u->k, &f, &id);
        for (int k = 1; code == ERR_STATE && k < 100; k++) { /* the name is taken: beside it */
            const char *in = u->into ? u->into : "Recovered";
            if (k == 1)
                snprintf(other, sizeof other, "%s/%s", in, n->then);
            else
                snprintf(other, sizeof other, "%s/%s (%d)", in, n->then, k);
            f.name = span_str(as = other);
            code = past_folder(&u->k, &f, &id);
        }
        if (code == ERR_OK) {
            u->done++;
            say_folder(u, n, as);
        }
        status = past_revived(code, n->then);
    }
    return status;
}

static int usage(void)
{
    fputs("usage: mailadm undelete ACCOUNT [--mailbox NAME] [--since TIME] [--into FOLDER] [--all] [--list]\n"
          "               [--over-quota] [--json]\n",
          stderr);
    return EX_USAGE;
}

static int read_options(struct undelete *u, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char **text = strcmp(argv[i], "--mailbox") == 0 ? &u->mailbox
                            : strcmp(argv[i], "--since") == 0 ? &u->since
                            : strcmp(argv[i], "--into") == 0  ? &u->into
                                                              : NULL;
        bool *flag = strcmp(argv[i], "--all") == 0          ? &u->all
                     : strcmp(argv[i], "--list") == 0       ? &u->list
                     : strcmp(argv[i], "--over-quota") == 0 ? &u->over_quota
                                                            : NULL;
        if (text) {
            if (++i == argc)
                return usage();
            *text = argv[i];
        } else if (flag) {
            *flag = true;
        } else if (!u->account && argv[i][0] != '-') {
            u->account = argv[i];
        } else {
            return usage();
        }
    }
    if (!u->account)
        return usage();
    return u->since ? past_time(u->since, &u->since_us) : EX_OK;
}

static int undelete_run(struct undelete *u)
{
    int status = past_names_get(&u->k, &u->id, u->since_us, true, u->account, &u->deleted);
    if (status == EX_OK)
        status = undelete_folders(u);
    if (status == EX_OK) /* what a folder brought back is living now */
        status = past_names_get(&u->k, &u->id, STORE_NOW, false, u->account, &u->now);
    if (status == EX_OK && u->mailbox && !u->found && !past_names_find(&u->now, u->mailbox)) {
        fprintf(
            stderr,
            "mailadm: %s: no such mailbox; a deleted one is kept for undelete_window, and there is none of "
            "this name%s\n",
            u->mailbox, u->since ? " since then" : "");
        status = EX_NOUSER;
    }
    if (status == EX_OK && !u->all)
        status = gather_living(u);
    if (status == EX_OK)
        status = undelete_messages(u, false);
    if (status == EX_OK)
        status = undelete_messages(u, true);
    return status;
}

int adm_undelete(const struct adm *a, int argc, char **argv)
{
    struct undelete u = {.since_us = 0};
    int status = read_options(&u, argc, argv);
    if (status != EX_OK)
        return status;
    status = ask_open(&u.k, a, true, true);
    if (status == EX_OK)
        status = adm_account_id(&u.k, u.account, &u.id);
    if (status == EX_OK) {
        fputs(a->json && u.list ? "[" : "", stdout);
        status = undelete_run(&u);
        if (a->json && u.list)
            puts("]");
        else if (a->json)
            printf("{\"found\": %" PRIu64 ", \"restored\": %" PRIu64 ", \"missing\": %" PRIu64 "}\n", u.found,
                   u.done, u.missing);
        else if (!u.found)
            puts("nothing to bring back");
    }
    past_names_free(&u.now);
    past_names_free(&u.deleted);
    free(u.living.v);
    free(u.taken.v);
    ask_close(&u.k);
    return status;
}
