/* The account's mailboxes, for an import: found, made when missing, subscribed. The hard point is names that
 * the store would refuse: a mailbox whose name can be mended comes in under the mended one. */
#include "common/mime/charset.h"
#include "mailadm/import_target_int.h"
#include <stdlib.h>
#include <uthash.h>

struct target_box {
    uint64_t id;
    enum store_use use;
    bool no_select, subscribed;
    UT_hash_handle hh;
    size_t n;
    char name[];
};

/* -- mailboxes -- */

static struct target_box *box_add(struct target *t, struct span name, const struct store_mailbox *b)
{
    struct target_box *x = xcalloc(1, sizeof *x + name.n + 1);
    memcpy(x->name, name.p, name.n);
    x->n = name.n;
    if (b) {
        x->id = b->id;
        x->use = b->use;
        x->no_select = b->no_select;
        x->subscribed = b->subscribed;
    }
    HASH_ADD_KEYPTR(hh, t->boxes, x->name, x->n, x);
    return x;
}

static struct target_box *box_find(struct target *t, struct span name)
{
    struct target_box *x = NULL;
    HASH_FIND(hh, t->boxes, name.p, name.n, x);
    return x;
}

static void on_list(void *session, enum err_code code, const struct store_mailbox *boxes, size_t count)
{
    struct reply *r = session;
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        box_add(r->out, boxes[i].name, &boxes[i]);
    reply_set(r, code);
}

static void on_created(void *session, enum err_code code, const struct store_mailbox *box)
{
    (void)box;
    reply_set(session, code);
}

static enum err_code create(struct target *t, struct span name, enum store_use use)
{
    struct reply r = {.k = t->k, .out = t};
    struct ticket *ticket = ticket_new(&r);
    store_create(t->session.account, name, use, ticket, on_created);
    return reply_wait(&r, ticket);
}

/* A name that the store takes, as near as can be: empty levels go, control bytes and broken UTF-8 become "_".
 */
static bool tidy(struct span name, struct buf *out)
{
    bool ok = true;
    while (name.n && ok) {
        size_t n = 0;
        uint32_t cp = utf8_next(name, &n);
        n = n ? n : 1;
        bool good = utf8_valid(span_first(name, n)) && cp >= 32 && !(cp >= 127 && cp < 160);
        if (name.p[0] == '/')
            ok = out->n == 0 || out->p[out->n - 1] == '/' || buf_add_char(out, '/');
        else
            ok = good ? buf_add_span(out, span_first(name, n)) : buf_add_char(out, '_');
        name = span_drop(name, n);
    }
    while (out->n && out->p[out->n - 1] == '/')
        out->n--;
    if (ok && span_caseeq(span_first(buf_span(out), span_find(buf_span(out), '/')), SPAN("INBOX")))
        memcpy(out->p, "INBOX", 5);
    return ok && out->n;
}

static struct span box_ready(struct target *t, struct span name, struct target_box *x, enum store_use use)
{
    if (!x)
        x = box_add(t, name, &(struct store_mailbox){.no_select = true, .use = use});
    if (x->no_select && !t->o->dry_run) {
        enum err_code code = create(t, name, use);
        if (code == ERR_RETRY || code == ERR_DENIED)
            target_lost(t, code);
        if (code != ERR_OK && code != ERR_STATE) {
            import_refused(t->report, name, SPAN_NONE, "the store refuses this name of a mailbox");
            return SPAN_NONE;
        }
        x->no_select = false;
    }
    return span_of(x->name, x->n);
}

struct span target_box(struct target *t, struct span name, enum store_use use)
{
    struct buf b;
    struct span got = SPAN_NONE;
    buf_init(&b, STORE_NAME_LIMIT);
    for (struct target_box *x = t->boxes; use != STORE_USE_NONE && x; x = x->hh.next)
        if (x->use == use && !x->no_select) {
            buf_free(&b);
            return span_of(x->name, x->n);
        }
    if (tidy(name, &b))
        got = box_ready(t, buf_span(&b), box_find(t, buf_span(&b)), use);
    else
        import_refused(t->report, name, SPAN_NONE, "this is no name of a mailbox");
    buf_free(&b);
    return got;
}

static void on_done(void *session, enum err_code code)
{
    reply_set(session, code);
}

void target_subscribe(struct target *t, struct span name)
{
    struct target_box *x = box_find(t, name);
    struct reply r = {.k = t->k, .out = t};
    if (t->o->dry_run || !x || x->subscribed || t->failed)
        return;
    x->subscribed = true;
    struct ticket *ticket = ticket_new(&r);
    store_subscribe(t->session.account, name, true, ticket, on_done);
    if (reply_wait(&r, ticket) != ERR_OK)
        import_refused(t->report, name, SPAN_NONE, "it cannot be subscribed");
}

enum err_code target_boxes_read(struct target *t)
{
    struct reply r = {.k = t->k, .out = t};
    struct ticket *ticket = ticket_new(&r);
    store_list(t->session.account, ticket, on_list);
    return reply_wait(&r, ticket);
}

void target_boxes_free(struct target *t)
{
    struct target_box *x, *next;
    HASH_ITER(hh, t->boxes, x, next)
    {
        HASH_DEL(t->boxes, x);
        free(x);
    }
}
