/* The store in memory (fake_store.h). The hard problem is to be as strict as the real one in what callers may
 * rely on: answers come later, in order, with borrowed views that are gone afterwards; changes are reported
 * by modseq; events name the mailbox only. What is asked of messages is fake_messages.c's, contents are
 * fake_content.c's. */
#include "tests/lib/fake_store_int.h"
#include "common/mime/charset.h"
#include "common/mime/parse.h"
#include <assert.h>
#include <stdlib.h>

struct store {
    int unused;
};

struct fake_store_hooks fake_store = {.chunk = 1000};
static struct person *people;
static struct store_account *logins;
static struct call *queue, **queue_end = &queue;
static uint64_t next_id = 1;
static uint32_t next_validity = 1000;

/* -- calls -- */

uint64_t fake_next_id(void)
{
    return next_id++;
}

struct call *fake_call(struct store_account *a, struct ticket *t, void (*run)(struct call *, void *))
{
    struct call *c = xcalloc(1, sizeof *c);
    c->a = a;
    c->run = run;
    c->ticket = ticket_hold(t);
    *queue_end = c;
    queue_end = &c->next;
    if (fake_store.wake)
        fake_store.wake(fake_store.arg);
    return c;
}

static void call_free(struct call *c)
{
    ticket_drop(&c->ticket);
    content_free(&c->append.content);
    for (size_t i = 0; i < c->change.keyword_count; i++)
        free((char *)(uintptr_t)c->keywords[i].p);
    free(c->keywords);
    free(c->name);
    free(c->to);
    free(c->uids);
    free(c);
}

bool fake_store_pump(void)
{
    bool did = false;
    while (queue) {
        struct call *c = queue;
        queue = c->next;
        if (!queue)
            queue_end = &queue;
        void *session = ticket_session(c->ticket);
        if (session)
            c->run(c, session);
        call_free(c);
        did = true;
    }
    return did;
}

bool fake_fails(void)
{
    return ++fake_store.calls == fake_store.fail_at;
}

/* -- people and mailboxes -- */

static struct box *box_new(struct person *p, struct span name, enum store_use use)
{
    assert(p->n < MAX_BOXES);
    struct box *b = xcalloc(1, sizeof *b);
    b->id = next_id++;
    b->name = xstrspan(name);
    b->use = use;
    b->exists = true;
    b->uidvalidity = next_validity++;
    b->uidnext = b->recent_from = 1;
    b->modseq = 1;
    p->boxes[p->n++] = b;
    return b;
}

static struct person *person(struct span address)
{
    for (struct person *p = people; p; p = p->next)
        if (span_eq(address, span_str(p->address)))
            return p;
    struct person *p = xcalloc(1, sizeof *p);
    p->address = xstrspan(address);
    p->next = people;
    people = p;
    box_new(p, SPAN("INBOX"), STORE_USE_NONE)->subscribed = true;
    box_new(p, SPAN("Drafts"), STORE_USE_DRAFTS)->subscribed = true;
    box_new(p, SPAN("Sent"), STORE_USE_SENT)->subscribed = true;
    box_new(p, SPAN("Trash"), STORE_USE_TRASH)->subscribed = true;
    return p;
}

struct box *fake_by_name(struct person *p, struct span name)
{
    for (size_t i = 0; i < p->n; i++)
        if (!p->boxes[i]->deleted &&
            (span_eq(name, span_str(p->boxes[i]->name)) || (span_caseeq(name, SPAN("INBOX")) && i == 0)))
            return p->boxes[i];
    return NULL;
}

struct box *fake_by_id(struct person *p, uint64_t id)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->boxes[i]->id == id && !p->boxes[i]->deleted && p->boxes[i]->exists)
            return p->boxes[i];
    return NULL;
}

static void box_empty(struct box *b)
{
    for (size_t i = 0; i < b->n; i++)
        content_free(&b->m[i].content);
    free(b->m);
    free(b->gone);
    for (size_t i = 0; i < MAX_KEYWORDS; i++)
        free(b->keywords[i]);
    memset(b->keywords, 0, sizeof b->keywords);
    b->m = NULL;
    b->gone = NULL;
    b->n = b->gone_n = 0;
}

void fake_store_reset(void)
{
    assert(!logins && !queue);
    while (people) {
        struct person *p = people;
        people = p->next;
        for (size_t i = 0; i < p->n; i++) {
            box_empty(p->boxes[i]);
            free(p->boxes[i]->name);
            free(p->boxes[i]);
        }
        free(p->address);
        free(p);
    }
    fake_store.fail_at = fake_store.calls = 0;
    next_id = 1;
    next_validity = 1000;
}

void fake_changed(struct person *p, struct box *b)
{
    struct store_account *next;
    for (struct store_account *a = logins; a; a = next) {
        next = a->next;
        for (size_t i = 0; a->p == p && a->cb && i < a->watched_n; i++)
            if (a->watched[i] == b->id) {
                a->cb(a->arg, ERR_OK, b->id, b->modseq);
                break;
            }
    }
}

struct store_mailbox fake_view(const struct box *b)
{
    struct store_mailbox v = {.id = b->id,
                              .name = span_str(b->name),
                              .use = b->use,
                              .subscribed = b->subscribed,
                              .no_select = !b->exists,
                              .uidvalidity = b->uidvalidity,
                              .uidnext = b->uidnext,
                              .messages = (uint32_t)b->n,
                              .recent_from = b->recent_from,
                              .modseq = b->modseq,
                              .keywords = (const char *const *)b->keywords};
    for (size_t i = 0; i < b->n; i++) {
        v.unseen += !(b->m[i].row.flags & STORE_SEEN);
        v.deleted += (b->m[i].row.flags & STORE_DELETED) != 0;
        v.bytes += b->m[i].row.size;
    }
    return v;
}

uint32_t fake_file(struct person *p, struct box *b, struct content *content, struct store_row row)
{
    b->m = xrealloc(b->m, (b->n + 1) * sizeof *b->m);
    row.uid = b->uidnext++;
    row.modseq = ++b->modseq;
    b->m[b->n++] = (struct message){row, content_hold(content)};
    fake_changed(p, b);
    return row.uid;
}

uint32_t fake_store_file(const char *account, const char *mailbox, struct span message, uint32_t flags)
{
    struct person *p = person(span_str(account));
    struct box *b = fake_by_name(p, span_str(mailbox));
    struct content *c = content_new();
    struct buf meta;
    if (!b)
        b = box_new(p, span_str(mailbox), STORE_USE_NONE);
    buf_init(&meta, MIME_META_LIMIT);
    enum err_code code = mime_parse(message, &meta);
    if (code == ERR_OK)
        code = content_add(c, message);
    if (code == ERR_OK)
        code = content_finish(c, buf_span(&meta));
    assert(code == ERR_OK);
    buf_free(&meta);
    struct store_row row = {
        .flags = flags, .size = (uint32_t)message.n, .content = next_id++, .internal_s = 1700000000};
    uint32_t uid = fake_file(p, b, c, row);
    content_free(&c);
    return uid;
}

/* -- sessions -- */

struct store *store_new_worker(struct worker *w, enum store_role role)
{
    (void)w;
    (void)role;
    return xcalloc(1, sizeof(struct store));
}

bool store_done_perhaps(const struct store *s)
{
    (void)s;
    return fake_store.perhaps;
}

bool store_is_up(const struct store *s)
{
    (void)s;
    return !fake_store.down;
}

void store_free(struct store **s)
{
    free(*s);
    *s = NULL;
}

static void run_login(struct call *c, void *session)
{
    if (fake_fails()) {
        ((store_login_cb *)c->cb)(session, ERR_RETRY, NULL);
        return;
    }
    struct store_account *a = xcalloc(1, sizeof *a);
    a->p = person(span_str(c->name));
    a->next = logins;
    logins = a;
    ((store_login_cb *)c->cb)(session, ERR_OK, a);
}

void store_login(struct store *s, struct span grant, struct ticket *t, store_login_cb *cb)
{
    (void)s;
    struct call *c = fake_call(NULL, t, run_login);
    c->name = xstrspan(grant);
    c->cb = (void (*)(void))cb;
}

void store_logout(struct store_account **ap)
{
    if (!*ap)
        return;
    for (struct store_account **at = &logins; *at; at = &(*at)->next)
        if (*at == *ap) {
            *at = (*ap)->next;
            break;
        }
    for (struct call *c = queue; c; c = c->next)
        assert(c->a != *ap || !ticket_session(c->ticket));
    free(*ap);
    *ap = NULL;
}

void store_events(struct store_account *a, store_event_cb *cb, void *arg)
{
    a->cb = cb;
    a->arg = arg;
}

void store_watch(struct store_account *a, uint64_t mailbox, bool on)
{
    if (on) {
        assert(a->watched_n < 16);
        a->watched[a->watched_n++] = mailbox;
        return;
    }
    for (size_t i = 0; i < a->watched_n; i++)
        if (a->watched[i] == mailbox) {
            a->watched[i] = a->watched[--a->watched_n];
            return;
        }
    abort(); /* it was not watched */
}

/* -- mailboxes -- */

static int by_box_name(const void *x, const void *y)
{
    const struct store_mailbox *a = x, *b = y;
    bool ai = span_eq(a->name, SPAN("INBOX")), bi = span_eq(b->name, SPAN("INBOX"));
    if (ai || bi)
        return bi - ai;
    size_t n = a->name.n < b->name.n ? a->name.n : b->name.n;
    int d = memcmp(a->name.p, b->name.p, n);
    return d ? d : (a->name.n > b->name.n) - (a->name.n < b->name.n);
}

static void run_list(struct call *c, void *session)
{
    struct person *p = c->a->p;
    struct store_mailbox *v = xcalloc(p->n + 1, sizeof *v);
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (!p->boxes[i]->deleted)
            v[n++] = fake_view(p->boxes[i]);
    qsort(v, n, sizeof *v, by_box_name);
    bool bad = fake_fails();
    ((store_list_cb *)c->cb)(session, bad ? ERR_RETRY : ERR_OK, bad ? NULL : v, bad ? 0 : n);
    free(v);
}

void store_list(struct store_account *a, struct ticket *t, store_list_cb *cb)
{
    fake_call(a, t, run_list)->cb = (void (*)(void))cb;
}

static void run_status(struct call *c, void *session)
{
    struct box *b = fake_by_name(c->a->p, span_str(c->name));
    store_mailbox_cb *cb = (store_mailbox_cb *)c->cb;
    if (fake_fails() || !b) {
        cb(session, b ? ERR_RETRY : ERR_MISSING, NULL);
        return;
    }
    struct store_mailbox v = fake_view(b);
    if (c->flag)
        b->recent_from = b->uidnext;
    cb(session, ERR_OK, &v);
}

void store_status(struct store_account *a, struct span name, bool claim_recent, struct ticket *t,
                  store_mailbox_cb *cb)
{
    struct call *c = fake_call(a, t, run_status);
    c->name = xstrspan(name);
    c->flag = claim_recent;
    c->cb = (void (*)(void))cb;
}

static bool good_name(struct span name)
{
    return name.n && name.n <= STORE_NAME_LIMIT && utf8_valid(name) && name.p[0] != '/' &&
           !span_ends(name, SPAN("/")) && span_search(name, SPAN("//")) == name.n;
}

/* Make the name and its superiors. */
static struct box *make(struct person *p, struct span name, enum store_use use)
{
    for (size_t i = 1; i < name.n; i++)
        if (name.p[i] == '/' && !fake_by_name(p, span_first(name, i)))
            box_new(p, span_first(name, i), STORE_USE_NONE);
    struct box *b = fake_by_name(p, name);
    if (!b)
        return box_new(p, name, use);
    b->exists = true;
    b->use = use;
    b->id = next_id++;
    b->uidvalidity = next_validity++;
    return b;
}

static void run_create(struct call *c, void *session)
{
    store_mailbox_cb *cb = (store_mailbox_cb *)c->cb;
    struct span name = span_str(c->name);
    struct box *b = fake_by_name(c->a->p, name);
    if (fake_fails() || !good_name(name) || (b && b->exists)) {
        cb(session, !good_name(name) ? ERR_SYNTAX : b && b->exists ? ERR_STATE : ERR_RETRY, NULL);
        return;
    }
    struct store_mailbox v = fake_view(make(c->a->p, name, (enum store_use)c->use));
    cb(session, ERR_OK, &v);
}

void store_create(struct store_account *a, struct span name, enum store_use use, struct ticket *t,
                  store_mailbox_cb *cb)
{
    struct call *c = fake_call(a, t, run_create);
    c->name = xstrspan(name);
    c->use = (int)use;
    c->cb = (void (*)(void))cb;
}

static bool span_below(struct span name, const char *parent)
{
    size_t n = strlen(parent);
    return name.n > n && memcmp(name.p, parent, n) == 0 && name.p[n] == '/';
}

static bool is_below(const char *name, const char *parent)
{
    return span_below(span_str(name), parent);
}

static bool has_children(struct person *p, struct box *b)
{
    for (size_t i = 0; i < p->n; i++)
        if (!p->boxes[i]->deleted && p->boxes[i]->exists && is_below(p->boxes[i]->name, b->name))
            return true;
    return false;
}

static enum err_code delete_box(struct person *p, struct box *b)
{
    if (!b)
        return ERR_MISSING;
    if (b == p->boxes[0])
        return ERR_DENIED;
    bool children = has_children(p, b);
    if (!b->exists)
        return children ? ERR_STATE : ERR_MISSING;
    box_empty(b);
    b->exists = false;
    if (!children && !b->subscribed)
        b->deleted = true;
    b->modseq++;
    fake_changed(p, b);
    return ERR_OK;
}

static void run_delete(struct call *c, void *session)
{
    enum err_code code =
        fake_fails() ? ERR_RETRY : delete_box(c->a->p, fake_by_name(c->a->p, span_str(c->name)));
    ((store_done_cb *)c->cb)(session, code);
}

void store_delete(struct store_account *a, struct span name, struct ticket *t, store_done_cb *cb)
{
    struct call *c = fake_call(a, t, run_delete);
    c->name = xstrspan(name);
    c->cb = (void (*)(void))cb;
}

static enum err_code rename_box(struct person *p, struct span from, struct span to)
{
    struct box *b = fake_by_name(p, from), *target = fake_by_name(p, to);
    if (!b || !b->exists)
        return ERR_MISSING;
    if (!good_name(to) || span_below(to, b->name))
        return ERR_SYNTAX;
    if (target && target->exists)
        return ERR_STATE;
    if (b == p->boxes[0]) {
        struct box *n = make(p, to, STORE_USE_NONE);
        for (size_t i = 0; i < b->n; i++) {
            fake_file(p, n, b->m[i].content, b->m[i].row);
            content_free(&b->m[i].content);
            b->gone = xrealloc(b->gone, (b->gone_n + 1) * sizeof *b->gone);
            b->gone[b->gone_n++] = (struct gone){b->m[i].row.uid, ++b->modseq};
        }
        b->n = 0;
        fake_changed(p, b);
        return ERR_OK;
    }
    for (size_t i = 0; i < p->n; i++) {
        struct box *c = p->boxes[i];
        if (c->deleted || (c != b && !is_below(c->name, b->name)))
            continue;
        struct buf name;
        buf_init(&name, 4096);
        if (!buf_add_span(&name, to) || !buf_add_str(&name, c->name + from.n) || !buf_add_char(&name, 0))
            abort();
        if (c != b) {
            free(c->name);
            c->name = xstrdup(name.p);
        }
        buf_free(&name);
    }
    free(b->name);
    b->name = xstrspan(to);
    return ERR_OK;
}

static void run_rename(struct call *c, void *session)
{
    enum err_code code =
        fake_fails() ? ERR_RETRY : rename_box(c->a->p, span_str(c->name), span_of(c->to, c->to_n));
    ((store_done_cb *)c->cb)(session, code);
}

void store_rename(struct store_account *a, struct span from, struct span to, struct ticket *t,
                  store_done_cb *cb)
{
    struct call *c = fake_call(a, t, run_rename);
    c->name = xstrspan(from);
    c->to = xstrspan(to);
    c->to_n = to.n;
    c->cb = (void (*)(void))cb;
}

static void run_subscribe(struct call *c, void *session)
{
    struct box *b = fake_by_name(c->a->p, span_str(c->name));
    enum err_code code = fake_fails() ? ERR_RETRY : ERR_OK;
    if (code == ERR_OK && !b && c->flag) {
        if (good_name(span_str(c->name))) {
            b = box_new(c->a->p, span_str(c->name), STORE_USE_NONE);
            b->exists = false;
        } else {
            code = ERR_SYNTAX;
        }
    }
    if (code == ERR_OK && b) {
        b->subscribed = c->flag;
        if (!b->exists && !c->flag && !has_children(c->a->p, b))
            b->deleted = true;
    }
    ((store_done_cb *)c->cb)(session, code);
}

void store_subscribe(struct store_account *a, struct span name, bool on, struct ticket *t, store_done_cb *cb)
{
    struct call *c = fake_call(a, t, run_subscribe);
    c->name = xstrspan(name);
    c->flag = on;
    c->cb = (void (*)(void))cb;
}
