/* mailadm restore --account: a mailbox, or all of an account, as it was at an instant, into a folder or in
 * place, while the system runs. stored tells how it was; what to do about it is decided here; each slice is
 * one transaction of stored.
 * The hard point is to be right when it is run twice, or was cut in the middle: a message is known by its
 * content (which no two messages share but copies), so what is already there is not added again.
 * In place, a message that is still there keeps its UID and gets its flags of then; what was gone comes back
 * under a new UID; what came since is expunged (it can be undeleted). */
#include "mailadm/past.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

struct options {
    const char *account, *mailbox, *at, *into;
    bool in_place, keep_new, over_quota, dry_run;
    int64_t at_us;
    struct uuid id;
};

struct tally {
    uint64_t added, kept, flagged, expunged, missing;
};

struct restore {
    struct ask k;
    struct options o;
    struct past_names names;
    struct tally all;
    char into[STORE_NAME_LIMIT + 1];
};

/* -- what is to be done in one mailbox -- */

struct plan {
    struct rows add, flag, expunge;
    uint64_t kept;
};

static void plan_free(struct plan *p)
{
    rows_free(&p->add);
    rows_free(&p->flag);
    rows_free(&p->expunge);
}

/* A present message, for finding it by its content. */
struct present {
    const struct store_row *row;
    bool used;
    size_t next; /* in the first of one content: how many behind it are known to be used */
};

static int by_content(const void *a, const void *b)
{
    const struct present *x = a, *y = b;
    if (x->row->content != y->row->content)
        return x->row->content < y->row->content ? -1 : 1;
    return x->row->uid < y->row->uid ? -1 : x->row->uid > y->row->uid;
}

/* The first that is not before this content and UID. */
static size_t find_place(const struct present *v, size_t n, uint64_t content, uint32_t uid)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct store_row *r = v[mid].row;
        if (r->content < content || (r->content == content && r->uid < uid))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The same message, still there under its UID. */
static struct present *claim_uid(struct present *v, size_t n, const struct store_row *row)
{
    size_t at = find_place(v, n, row->content, row->uid);
    if (at == n || v[at].row->content != row->content || v[at].row->uid != row->uid)
        return NULL;
    v[at].used = true;
    return &v[at];
}

/* A copy of the message that no other one has claimed. */
static struct present *claim_copy(struct present *v, size_t n, const struct store_row *row)
{
    size_t first = find_place(v, n, row->content, 0), at = first < n ? first + v[first].next : n;
    while (at < n && v[at].row->content == row->content && v[at].used)
        at++;
    if (at == n || v[at].row->content != row->content) {
        if (first < n && v[first].row->content == row->content)
            v[first].next = at - first;
        return NULL;
    }
    v[at].used = true;
    v[first].next = at + 1 - first;
    return &v[at];
}

static void plan_match(struct plan *plan, const struct options *o, const struct past_view *then,
                       const struct past_view *now, const struct store_row *row, const struct store_row *is)
{
    bool whole;
    uint64_t bits = past_keywords(then, now, row->keywords, &whole);
    if (!o->in_place || (row->flags == is->flags && whole && bits == is->keywords)) {
        plan->kept++;
        return;
    }
    struct store_row want = *row;
    want.uid = is->uid;
    rows_add(&plan->flag, &want);
}

static void plan_make(const struct options *o, const struct past_view *then, const struct past_view *now,
                      struct plan *plan)
{
    const bool same = then->mailbox == now->mailbox;
    struct present *v = xcalloc(now->n + 1, sizeof *v);
    bool *done = xcalloc(then->n + 1, sizeof *done);
    for (size_t i = 0; i < now->n; i++)
        v[i].row = &now->v[i].row;
    if (now->n)
        qsort(v, now->n, sizeof *v, by_content);
    for (size_t i = 0; i < then->n && same; i++) {
        const struct present *p = claim_uid(v, now->n, &then->v[i].row);
        done[i] = p != NULL;
        if (p)
            plan_match(plan, o, then, now, &then->v[i].row, p->row);
    }
    for (size_t i = 0; i < then->n; i++) {
        const struct present *p = done[i] ? NULL : claim_copy(v, now->n, &then->v[i].row);
        if (p)
            plan_match(plan, o, then, now, &then->v[i].row, p->row);
        else if (!done[i])
            rows_add(&plan->add, &then->v[i].row);
    }
    for (size_t i = 0; i < now->n && o->in_place; i++)
        if (!v[i].used && !(o->keep_new && (!same || v[i].row->uid >= then->uidnext)))
            rows_add(&plan->expunge, v[i].row);
    free(v);
    free(done);
}

static int by_uid(const void *a, const void *b)
{
    const struct store_row *x = a, *y = b;
    return x->uid < y->uid ? -1 : x->uid > y->uid;
}

static int run_plan(struct restore *r, struct plan *plan, uint64_t from, uint64_t to, const char *name,
                    struct tally *t)
{
    struct progress p;
    struct store_restore s = {.account = r->o.id, .from = from, .to = to};
    t->kept = plan->kept;
    if (r->o.dry_run) {
        t->added = plan->add.n;
        t->flagged = plan->flag.n;
        t->expunged = plan->expunge.n;
        return EX_OK;
    }
    if (plan->expunge.n)
        qsort(plan->expunge.v, plan->expunge.n, sizeof *plan->expunge.v, by_uid);
    if (plan->flag.n)
        qsort(plan->flag.v, plan->flag.n, sizeof *plan->flag.v, by_uid);
    progress_start(&p, plan->add.n + plan->flag.n + plan->expunge.n);
    /* What comes in place of as much needs no room of its own. */
    s.over_quota = r->o.over_quota || plan->add.bytes <= plan->expunge.bytes;
    s.kind = STORE_RESTORE_ADD;
    enum err_code code = past_send(&r->k, &s, &plan->add, &p, &t->added, &t->missing);
    s.kind = STORE_RESTORE_FLAGS;
    if (code == ERR_OK)
        code = past_send(&r->k, &s, &plan->flag, &p, &t->flagged, &t->missing);
    s.kind = STORE_RESTORE_EXPUNGE;
    if (code == ERR_OK)
        code = past_send(&r->k, &s, &plan->expunge, &p, &t->expunged, &t->missing);
    progress_end(&p);
    if (code != ERR_LIMIT)
        return ask_status(code, name);
    fprintf(stderr,
            "mailadm: %s: the account is over its quota; %" PRIu64 " of %zu messages were brought back. Run "
            "it again with --over-quota for the rest\n",
            name, t->added, plan->add.n);
    return EX_DATAERR;
}

/* -- one mailbox -- */

static void say(struct restore *r, const struct past_name *n, const char *into, const struct tally *t)
{
    struct ask *k = &r->k;
    if (k->adm->json) {
        fputs(k->first ? "" : ", ", stdout);
        fputs("{\"name\": ", stdout);
        adm_json_span(span_str(n->then));
        fputs(", \"into\": ", stdout);
        adm_json_span(span_str(into));
        printf(", \"added\": %" PRIu64 ", \"kept\": %" PRIu64 ", \"flagged\": %" PRIu64
               ", \"expunged\": %" PRIu64 ", \"missing\": %" PRIu64 "}",
               t->added, t->kept, t->flagged, t->expunged, t->missing);
    } else {
        adm_text(span_str(n->then));
        if (strcmp(n->then, into) != 0) {
            fputs(" -> ", stdout);
            adm_text(span_str(into));
        }
        printf(": %" PRIu64 " brought back, %" PRIu64 " were there, %" PRIu64 " flags set back, %" PRIu64
               " expunged%s",
               t->added, t->kept, t->flagged, t->expunged, r->o.dry_run ? " (not done)" : "");
        if (t->missing)
            printf(", %" PRIu64 " are no longer kept", t->missing);
        putchar('\n');
    }
    k->first = false;
    r->all.added += t->added;
    r->all.kept += t->kept;
    r->all.flagged += t->flagged;
    r->all.expunged += t->expunged;
    r->all.missing += t->missing;
}

static void on_boxes(void *session, enum err_code code, const struct store_mailbox *v, size_t count)
{
    struct ask *k = session;
    struct {
        const char *name;
        uint64_t id;
    } *want = k->arg;
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        if (span_eq(v[i].name, span_str(want->name)))
            want->id = v[i].id;
    ask_end(k, code);
}

/* The living mailbox of a name, 0: there is none. */
static int look_up(struct restore *r, const char *name, uint64_t *out)
{
    struct {
        const char *name;
        uint64_t id;
    } want = {name, 0};
    r->k.arg = &want;
    store_admin_mailboxes(r->k.store, &r->o.id, r->k.ticket, on_boxes);
    int status = ask_status(ask_wait(&r->k, ASK_LONG_MS), name);
    *out = want.id;
    return status;
}

/* The mailbox that takes the messages. *now_name: the name under which it is. */
static int settle_in_place(struct restore *r, const struct past_name *n, uint64_t *to, const char **now_name)
{
    struct store_folder f = {.account = r->o.id,
                             .mailbox = n->mailbox,
                             .name = span_str(n->then),
                             .use = n->use,
                             .subscribe = n->subscribed,
                             .over_quota = r->o.over_quota};
    bool deleted = !*n->now;
    *to = n->mailbox;
    *now_name = n->then;
    if (r->o.dry_run || strcmp(n->then, n->now) == 0)
        return EX_OK;
    f.action = deleted ? STORE_FOLDER_REVIVE : STORE_FOLDER_RENAME;
    enum err_code code = past_folder(&r->k, &f, to);
    if (code != ERR_STATE)
        return deleted ? past_revived(code, n->then) : ask_status(code, n->then);
    if (!deleted) { /* another folder has that name: it stays where it is */
        *to = n->mailbox;
        *now_name = n->now;
        return EX_OK;
    }
    f.action = STORE_FOLDER_NEED;
    return ask_status(past_folder(&r->k, &f, to), n->then);
}

static int settle_into(struct restore *r, const char *name, uint64_t *to)
{
    const struct store_folder f = {
        .account = r->o.id, .action = STORE_FOLDER_NEED, .name = span_str(name), .subscribe = true};
    return r->o.dry_run ? look_up(r, name, to) : ask_status(past_folder(&r->k, &f, to), name);
}

static int restore_one(struct restore *r, const struct past_name *n)
{
    char into[2 * STORE_NAME_LIMIT + 2];
    const char *name = into;
    struct past_view then, now = {.mailbox = 0};
    struct plan plan = {.kept = 0};
    struct tally t = {.added = 0};
    uint64_t to = 0;
    int status = past_view_get(&r->k, &r->o.id, n->mailbox, r->o.at_us, false, n->then, &then);
    if (r->o.mailbox)
        snprintf(into, sizeof into, "%s", r->into);
    else
        snprintf(into, sizeof into, "%s/%s", r->into, n->then);
    if (status == EX_OK)
        status = r->o.in_place ? settle_in_place(r, n, &to, &name) : settle_into(r, into, &to);
    if (status == EX_OK && to)
        status = past_view_get(&r->k, &r->o.id, to, STORE_NOW, false, name, &now);
    if (status == EX_OK) {
        plan_make(&r->o, &then, &now, &plan);
        status = run_plan(r, &plan, n->mailbox, to, n->then, &t);
        say(r, n, name, &t);
    }
    plan_free(&plan);
    past_view_free(&then);
    past_view_free(&now);
    return status;
}

/* -- the command -- */

static int usage(void)
{
    fputs("usage: mailadm restore --account ACCOUNT [--mailbox NAME] --at TIME [--into FOLDER | --in-place]\n"
          "               [--keep-new] [--over-quota] [--dry-run] [--json]\n",
          stderr);
    return EX_USAGE;
}

static int read_options(struct options *o, int argc, char **argv)
{
    const struct {
        const char *name;
        const char **text;
        bool *flag;
    } table[] = {{"--account", &o->account, NULL},
                 {"--mailbox", &o->mailbox, NULL},
                 {"--at", &o->at, NULL},
                 {"--into", &o->into, NULL},
                 {"--in-place", NULL, &o->in_place},
                 {"--keep-new", NULL, &o->keep_new},
                 {"--over-quota", NULL, &o->over_quota},
                 {"--dry-run", NULL, &o->dry_run}};
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof table / sizeof *table && strcmp(argv[i], table[k].name) != 0)
            k++;
        if (k == sizeof table / sizeof *table || (table[k].text && ++i == argc))
            return usage();
        if (table[k].text)
            *table[k].text = argv[i];
        else
            *table[k].flag = true;
    }
    if (!o->account || !o->at || (o->into && o->in_place) || (o->keep_new && !o->in_place))
        return usage();
    return past_time(o->at, &o->at_us);
}

static int choose_into(struct restore *r)
{
    time_t at = (time_t)(r->o.at_us / 1000000);
    struct tm tm;
    if (r->o.in_place)
        return EX_OK;
    if (r->o.into && strlen(r->o.into) <= STORE_NAME_LIMIT) {
        snprintf(r->into, sizeof r->into, "%s", r->o.into);
        return EX_OK;
    }
    if (r->o.into || !localtime_r(&at, &tm) ||
        strftime(r->into, sizeof r->into, "Recovered/%Y-%m-%d %H.%M.%S", &tm) == 0)
        return ask_status(ERR_SYNTAX, "--into");
    return EX_OK;
}

static int restore_all(struct restore *r)
{
    int status = past_names_get(&r->k, &r->o.id, r->o.at_us, false, r->o.account, &r->names);
    const struct past_name *one = NULL;
    if (status == EX_OK && r->o.mailbox) {
        one = past_names_find(&r->names, r->o.mailbox);
        if (!one) {
            fprintf(stderr, "mailadm: %s: there was no such mailbox then\n", r->o.mailbox);
            return EX_NOUSER;
        }
    }
    for (size_t i = 0; i < r->names.n && status == EX_OK; i++) {
        const struct past_name *n = &r->names.v[i];
        if (n->mailbox && (!one || one == n))
            status = restore_one(r, n);
    }
    return status;
}

int adm_restore(const struct adm *a, int argc, char **argv)
{
    struct restore r = {.all = {.added = 0}};
    bool account = false;
    for (int i = 1; i < argc; i++)
        account = account || strcmp(argv[i], "--account") == 0 || strcmp(argv[i], "--at") == 0;
    if (!account)
        return adm_restore_set(a, argc, argv);
    int status = read_options(&r.o, argc, argv);
    if (status == EX_OK)
        status = choose_into(&r);
    if (status != EX_OK)
        return status;
    status = ask_open(&r.k, a, true, true);
    if (status == EX_OK)
        status = adm_account_id(&r.k, r.o.account, &r.o.id);
    if (status == EX_OK) {
        fputs(a->json ? "[" : "", stdout);
        status = restore_all(&r);
        if (a->json)
            puts("]");
        else if (!r.o.mailbox)
            printf("all: %" PRIu64 " brought back, %" PRIu64 " were there, %" PRIu64
                   " flags set back, %" PRIu64 " expunged\n",
                   r.all.added, r.all.kept, r.all.flagged, r.all.expunged);
    }
    past_names_free(&r.names);
    ask_close(&r.k);
    return status;
}
