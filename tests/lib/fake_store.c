/* The store in memory (fake_store.h). The hard problem is to be as strict as the real one in what callers may
 * rely on: answers come later, in order, with borrowed views that are gone afterwards; changes are reported
 * by modseq; events name the mailbox only. Contents are fake_content.c's. */
#include "tests/lib/fake_store.h"
#include "common/mime/charset.h"
#include "common/mime/parse.h"
#include "tests/lib/fake_content.h"
#include <assert.h>
#include <stdlib.h>

enum { MAX_BOXES = 500, MAX_KEYWORDS = 64 };

struct message {
    struct store_row row;
    struct content *content;
};

struct gone {
    uint32_t uid;
    uint64_t modseq;
};

struct box {
    uint64_t id;
    char *name;
    enum store_use use;
    bool exists, subscribed; /* exists false: only a name */
    bool deleted;            /* gone for good */
    uint32_t uidvalidity, uidnext, recent_from;
    uint64_t modseq;
    char *keywords[MAX_KEYWORDS + 1];
    struct message *m;
    size_t n;
    struct gone *gone;
    size_t gone_n;
};

struct person {
    char *address;
    struct box *boxes[MAX_BOXES];
    size_t n;
    struct person *next;
};

struct store {
    int unused;
};

struct store_account {
    struct person *p;
    store_event_cb *cb;
    void *arg;
    uint64_t watched[16];
    size_t watched_n;
    struct store_account *next;
};

struct call {
    struct call *next;
    void (*run)(struct call *c, void *session);
    struct ticket *ticket;
    struct store_account *a;
    uint64_t box, since, first, want;
    char *name, *to;
    size_t to_n;
    bool flag;
    int use;
    uint32_t *uids, lo, hi;
    size_t count;
    struct store_flag_change change;
    struct span *keywords;
    struct store_append append;
    void (*cb)(void); /* cast to its own type by run */
};

struct fake_store_hooks fake_store = {.chunk = 1000};
static struct person *people;
static struct store_account *logins;
static struct call *queue, **queue_end = &queue;
static uint64_t next_id = 1;
static uint32_t next_validity = 1000;

/* -- calls -- */

static struct call *call(struct store_account *a, struct ticket *t, void (*run)(struct call *, void *))
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

static bool fails(void)
{
    return ++fake_store.calls == fake_store.fail_at;
}

static uint32_t *copy_uids(const uint32_t *v, size_t n)
{
    uint32_t *p = xcalloc(n + 1, sizeof *p);
    if (n)
        memcpy(p, v, n * sizeof *p);
    return p;
}

static struct span *copy_spans(const struct span *v, size_t n)
{
    struct span *p = xcalloc(n + 1, sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = span_of(xstrspan(v[i]), v[i].n);
    return p;
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

static struct box *by_name(struct person *p, struct span name)
{
    for (size_t i = 0; i < p->n; i++)
        if (!p->boxes[i]->deleted &&
            (span_eq(name, span_str(p->boxes[i]->name)) || (span_caseeq(name, SPAN("INBOX")) && i == 0)))
            return p->boxes[i];
    return NULL;
}

static struct box *by_id(struct person *p, uint64_t id)
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

static void changed(struct person *p, struct box *b)
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

static struct store_mailbox view_of(const struct box *b)
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

static struct message *find(struct box *b, uint32_t uid)
{
    for (size_t lo = 0, hi = b->n; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        if (b->m[mid].row.uid == uid)
            return &b->m[mid];
        if (b->m[mid].row.uid < uid)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static bool keyword_bit(struct box *b, struct span name, uint64_t *bit)
{
    for (size_t i = 0; i < MAX_KEYWORDS; i++) {
        if (!b->keywords[i])
            b->keywords[i] = xstrspan(name);
        if (span_caseeq(name, span_str(b->keywords[i]))) {
            *bit = (uint64_t)1 << i;
            return true;
        }
    }
    return false;
}

static uint32_t file(struct person *p, struct box *b, struct content *content, struct store_row row)
{
    b->m = xrealloc(b->m, (b->n + 1) * sizeof *b->m);
    row.uid = b->uidnext++;
    row.modseq = ++b->modseq;
    b->m[b->n++] = (struct message){row, content_hold(content)};
    changed(p, b);
    return row.uid;
}

uint32_t fake_store_file(const char *account, const char *mailbox, struct span message, uint32_t flags)
{
    struct person *p = person(span_str(account));
    struct box *b = by_name(p, span_str(mailbox));
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
    uint32_t uid = file(p, b, c, row);
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
    if (fails()) {
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
    struct call *c = call(NULL, t, run_login);
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
            v[n++] = view_of(p->boxes[i]);
    qsort(v, n, sizeof *v, by_box_name);
    bool bad = fails();
    ((store_list_cb *)c->cb)(session, bad ? ERR_RETRY : ERR_OK, bad ? NULL : v, bad ? 0 : n);
    free(v);
}

void store_list(struct store_account *a, struct ticket *t, store_list_cb *cb)
{
    call(a, t, run_list)->cb = (void (*)(void))cb;
}

static void run_status(struct call *c, void *session)
{
    struct box *b = by_name(c->a->p, span_str(c->name));
    store_mailbox_cb *cb = (store_mailbox_cb *)c->cb;
    if (fails() || !b) {
        cb(session, b ? ERR_RETRY : ERR_MISSING, NULL);
        return;
    }
    struct store_mailbox v = view_of(b);
    if (c->flag)
        b->recent_from = b->uidnext;
    cb(session, ERR_OK, &v);
}

void store_status(struct store_account *a, struct span name, bool claim_recent, struct ticket *t,
                  store_mailbox_cb *cb)
{
    struct call *c = call(a, t, run_status);
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
        if (name.p[i] == '/' && !by_name(p, span_first(name, i)))
            box_new(p, span_first(name, i), STORE_USE_NONE);
    struct box *b = by_name(p, name);
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
    struct box *b = by_name(c->a->p, name);
    if (fails() || !good_name(name) || (b && b->exists)) {
        cb(session, !good_name(name) ? ERR_SYNTAX : b && b->exists ? ERR_STATE : ERR_RETRY, NULL);
        return;
    }
    struct store_mailbox v = view_of(make(c->a->p, name, (enum store_use)c->use));
    cb(session, ERR_OK, &v);
}

void store_create(struct store_account *a, struct span name, enum store_use use, struct ticket *t,
                  store_mailbox_cb *cb)
{
    struct call *c = call(a, t, run_create);
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
    changed(p, b);
    return ERR_OK;
}

static void run_delete(struct call *c, void *session)
{
    enum err_code code = fails() ? ERR_RETRY : delete_box(c->a->p, by_name(c->a->p, span_str(c->name)));
    ((store_done_cb *)c->cb)(session, code);
}

void store_delete(struct store_account *a, struct span name, struct ticket *t, store_done_cb *cb)
{
    struct call *c = call(a, t, run_delete);
    c->name = xstrspan(name);
    c->cb = (void (*)(void))cb;
}

static enum err_code rename_box(struct person *p, struct span from, struct span to)
{
    struct box *b = by_name(p, from), *target = by_name(p, to);
    if (!b || !b->exists)
        return ERR_MISSING;
    if (!good_name(to) || span_below(to, b->name))
        return ERR_SYNTAX;
    if (target && target->exists)
        return ERR_STATE;
    if (b == p->boxes[0]) {
        struct box *n = make(p, to, STORE_USE_NONE);
        for (size_t i = 0; i < b->n; i++) {
            file(p, n, b->m[i].content, b->m[i].row);
            content_free(&b->m[i].content);
            b->gone = xrealloc(b->gone, (b->gone_n + 1) * sizeof *b->gone);
            b->gone[b->gone_n++] = (struct gone){b->m[i].row.uid, ++b->modseq};
        }
        b->n = 0;
        changed(p, b);
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
        fails() ? ERR_RETRY : rename_box(c->a->p, span_str(c->name), span_of(c->to, c->to_n));
    ((store_done_cb *)c->cb)(session, code);
}

void store_rename(struct store_account *a, struct span from, struct span to, struct ticket *t,
                  store_done_cb *cb)
{
    struct call *c = call(a, t, run_rename);
    c->name = xstrspan(from);
    c->to = xstrspan(to);
    c->to_n = to.n;
    c->cb = (void (*)(void))cb;
}

static void run_subscribe(struct call *c, void *session)
{
    struct box *b = by_name(c->a->p, span_str(c->name));
    enum err_code code = fails() ? ERR_RETRY : ERR_OK;
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
    struct call *c = call(a, t, run_subscribe);
    c->name = xstrspan(name);
    c->flag = on;
    c->cb = (void (*)(void))cb;
}

/* -- messages -- */

static void run_rows(struct call *c, void *session)
{
    struct box *b = by_id(c->a->p, c->box);
    store_rows_cb *cb = (store_rows_cb *)c->cb;
    struct store_row *v = xcalloc((b ? b->n : 0) + 1, sizeof *v);
    size_t n = 0;
    if (fails() || !b) {
        free(v);
        cb(session, b ? ERR_RETRY : ERR_MISSING, NULL, 0, false);
        return;
    }
    for (size_t i = 0; i < b->n; i++)
        if (b->m[i].row.uid >= c->lo && (!c->hi || b->m[i].row.uid <= c->hi))
            v[n++] = b->m[i].row;
    size_t at = 0;
    do {
        size_t k = n - at < fake_store.chunk ? n - at : fake_store.chunk;
        cb(session, ERR_OK, v + at, k, at + k < n);
        at += k;
    } while (at < n && ticket_session(c->ticket));
    free(v);
}

/* Everybody has 1 MiB and is in a unit of 100 messages, below one without a limit. */
static void run_quota(struct call *c, void *session)
{
    static const struct store_quota v[] = {{.bytes = 1025, .messages = 3, .limit_bytes = 1 << 20},
                                           {.code = {"snv", 3}, .messages = 4, .limit_messages = 100},
                                           {.code = {"top", 3}}};
    store_quota_cb *cb = (store_quota_cb *)c->cb;
    if (fails())
        cb(session, ERR_RETRY, NULL, 0);
    else
        cb(session, ERR_OK, v, 3);
}

void store_quota(struct store_account *a, struct ticket *t, store_quota_cb *cb)
{
    struct call *c = call(a, t, run_quota);
    c->cb = (void (*)(void))cb;
}

void store_rows(struct store_account *a, uint64_t mailbox, uint32_t first, uint32_t last, struct ticket *t,
                store_rows_cb *cb)
{
    struct call *c = call(a, t, run_rows);
    c->box = mailbox;
    c->lo = first;
    c->hi = last;
    c->cb = (void (*)(void))cb;
}

static int by_uid(const void *x, const void *y)
{
    const uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

static void run_changes(struct call *c, void *session)
{
    struct box *b = by_id(c->a->p, c->box);
    store_changes_cb *cb = (store_changes_cb *)c->cb;
    if (fails() || !b) {
        cb(session, b ? ERR_RETRY : ERR_MISSING, NULL);
        return;
    }
    struct store_row *rows = xcalloc(b->n + 1, sizeof *rows);
    uint32_t *gone = xcalloc(b->gone_n + 1, sizeof *gone);
    struct store_changes v = {.box = view_of(b), .rows = rows, .gone = gone};
    for (size_t i = 0; i < b->n; i++)
        if (b->m[i].row.modseq > c->since)
            rows[v.row_count++] = b->m[i].row;
    for (size_t i = 0; i < b->gone_n; i++)
        if (b->gone[i].modseq > c->since)
            gone[v.gone_count++] = b->gone[i].uid;
    qsort(gone, v.gone_count, sizeof *gone, by_uid);
    v.box.name = SPAN_NONE;
    cb(session, ERR_OK, &v);
    free(rows);
    free(gone);
}

void store_changes(struct store_account *a, uint64_t mailbox, uint64_t since, struct ticket *t,
                   store_changes_cb *cb)
{
    struct call *c = call(a, t, run_changes);
    c->box = mailbox;
    c->since = since;
    c->cb = (void (*)(void))cb;
}

static bool says(const struct message *m, const char *text)
{
    struct buf bytes;
    buf_init(&bytes, 1 << 30);
    if (content_unpack(m->content, &bytes) != ERR_OK)
        abort();
    bool is = bytes.n && memmem(bytes.p, bytes.n, text, strlen(text));
    buf_free(&bytes);
    return is;
}

static struct span record_of(const struct message *m)
{
    struct span record = fake_content_meta(m->content);
    return says(m, "X-Record: lost")     ? SPAN_NONE
           : says(m, "X-Record: broken") ? span_first(record, record.n - 1)
                                         : record;
}

static void run_meta(struct call *c, void *session)
{
    struct box *b = by_id(c->a->p, c->box);
    store_meta_cb *cb = (store_meta_cb *)c->cb;
    struct store_meta *v = xcalloc(c->count + 1, sizeof *v);
    size_t n = 0, at = 0;
    if (fails() || !b) {
        free(v);
        cb(session, b ? ERR_RETRY : ERR_MISSING, NULL, 0, false);
        return;
    }
    for (size_t i = 0; i < c->count; i++) {
        struct message *m = find(b, c->uids[i]);
        assert(i == 0 || c->uids[i] > c->uids[i - 1]);
        if (m)
            v[n++] = (struct store_meta){c->uids[i], record_of(m)};
    }
    do {
        size_t k = n - at < fake_store.chunk ? n - at : fake_store.chunk;
        cb(session, ERR_OK, v + at, k, at + k < n);
        at += k;
    } while (at < n && ticket_session(c->ticket));
    free(v);
}

void store_meta(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                struct ticket *t, store_meta_cb *cb)
{
    struct call *c = call(a, t, run_meta);
    c->box = mailbox;
    c->uids = copy_uids(uids, count);
    c->count = count;
    c->cb = (void (*)(void))cb;
}

static void run_read(struct call *c, void *session)
{
    struct box *b = by_id(c->a->p, c->box);
    struct message *m = b ? find(b, c->lo) : NULL;
    store_read_cb *cb = (store_read_cb *)c->cb;
    if (fails() || !m) {
        cb(session, m ? ERR_RETRY : ERR_MISSING, SPAN_NONE);
        return;
    }
    if (says(m, "X-Bytes: damaged")) {
        cb(session, ERR_BUG, SPAN_NONE);
        return;
    }
    struct buf bytes;
    buf_init(&bytes, 1 << 30);
    assert(c->want && c->want <= STORE_READ_LIMIT);
    if (content_unpack(m->content, &bytes) != ERR_OK)
        abort();
    struct span all = span_drop(buf_span(&bytes), c->first < bytes.n ? (size_t)c->first : bytes.n);
    cb(session, ERR_OK, span_first(all, (size_t)c->want));
    buf_free(&bytes);
}

void store_read(struct store_account *a, uint64_t mailbox, uint32_t uid, uint64_t first, uint64_t want,
                struct ticket *t, store_read_cb *cb)
{
    struct call *c = call(a, t, run_read);
    c->box = mailbox;
    c->lo = uid;
    c->first = first;
    c->want = want;
    c->cb = (void (*)(void))cb;
}

static bool change_row(struct box *b, struct message *m, const struct call *c, uint64_t bits)
{
    struct store_row old = m->row;
    switch (c->change.op) {
    case STORE_FLAGS_SET:
        m->row.flags = c->change.flags;
        m->row.keywords = bits;
        break;
    case STORE_FLAGS_ADD:
        m->row.flags |= c->change.flags;
        m->row.keywords |= bits;
        break;
    case STORE_FLAGS_REMOVE:
        m->row.flags &= ~c->change.flags;
        m->row.keywords &= ~bits;
        break;
    }
    if (old.flags == m->row.flags && old.keywords == m->row.keywords)
        return false;
    m->row.modseq = b->modseq;
    return true;
}

static void run_flags(struct call *c, void *session)
{
    struct box *b = by_id(c->a->p, c->box);
    store_flagged_cb *cb = (store_flagged_cb *)c->cb;
    uint64_t bits = 0, bit;
    if (fails() || !b) {
        cb(session, b ? ERR_RETRY : ERR_MISSING, NULL);
        return;
    }
    for (size_t i = 0; i < c->change.keyword_count; i++) {
        if (!keyword_bit(b, c->keywords[i], &bit)) {
            cb(session, ERR_LIMIT, NULL);
            return;
        }
        bits |= bit;
    }
    struct store_row *rows = xcalloc(c->count + 1, sizeof *rows);
    uint32_t *modified = xcalloc(c->count + 1, sizeof *modified);
    struct store_flagged v = {
        .rows = rows, .modified = modified, .keywords = (const char *const *)b->keywords};
    b->modseq++;
    for (size_t i = 0; i < c->count; i++) {
        struct message *m = find(b, c->uids[i]);
        if (m && c->change.unchanged_since_given && m->row.modseq > c->change.unchanged_since)
            modified[v.modified_count++] = m->row.uid;
        else if (m && change_row(b, m, c, bits))
            rows[v.row_count++] = m->row;
    }
    v.modseq = b->modseq;
    if (v.row_count)
        changed(c->a->p, b);
    cb(session, ERR_OK, &v);
    free(rows);
    free(modified);
}

void store_flags(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                 const struct store_flag_change *change, struct ticket *t, store_flagged_cb *cb)
{
    struct call *c = call(a, t, run_flags);
    c->box = mailbox;
    c->uids = copy_uids(uids, count);
    c->count = count;
    c->change = *change;
    c->keywords = copy_spans(change->keywords, change->keyword_count);
    c->cb = (void (*)(void))cb;
}

static void remove_message(struct box *b, uint32_t uid)
{
    struct message *m = find(b, uid);
    content_free(&m->content);
    memmove(m, m + 1, (size_t)(&b->m[b->n] - (m + 1)) * sizeof *m);
    b->n--;
    b->gone = xrealloc(b->gone, (b->gone_n + 1) * sizeof *b->gone);
    b->gone[b->gone_n++] = (struct gone){uid, b->modseq};
}

static void run_copy(struct call *c, void *session)
{
    struct person *p = c->a->p;
    struct box *b = by_id(p, c->box), *to = by_name(p, span_of(c->to, c->to_n));
    store_copied_cb *cb = (store_copied_cb *)c->cb;
    if (fails() || !b || !to || !to->exists) {
        cb(session, b && to && to->exists ? ERR_RETRY : ERR_MISSING, NULL);
        return;
    }
    uint32_t *from = xcalloc(c->count + 1, sizeof *from), *into = xcalloc(c->count + 1, sizeof *into);
    struct store_copied v = {.uidvalidity = to->uidvalidity, .from = from, .to = into};
    for (size_t i = 0; i < c->count; i++) {
        struct message *m = find(b, c->uids[i]);
        if (!m)
            continue;
        struct store_row row = m->row;
        row.keywords = 0;
        for (size_t k = 0; k < MAX_KEYWORDS; k++) {
            uint64_t bit;
            if (m->row.keywords >> k & 1 && keyword_bit(to, span_str(b->keywords[k]), &bit))
                row.keywords |= bit;
        }
        from[v.count] = row.uid;
        into[v.count++] = file(p, to, m->content, row);
    }
    if (c->flag) {
        b->modseq++;
        for (size_t i = 0; i < v.count; i++)
            remove_message(b, from[i]);
        changed(p, b);
    }
    v.source_modseq = b->modseq;
    cb(session, ERR_OK, &v);
    free(from);
    free(into);
}

void store_copy(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count, struct span to,
                bool move, struct ticket *t, store_copied_cb *cb)
{
    struct call *c = call(a, t, run_copy);
    c->box = mailbox;
    c->uids = copy_uids(uids, count);
    c->count = count;
    c->to = xstrspan(to);
    c->to_n = to.n;
    c->flag = move;
    c->cb = (void (*)(void))cb;
}

static void run_expunge(struct call *c, void *session)
{
    struct box *b = by_id(c->a->p, c->box);
    store_expunged_cb *cb = (store_expunged_cb *)c->cb;
    if (fails() || !b) {
        cb(session, b ? ERR_RETRY : ERR_MISSING, NULL, 0, 0);
        return;
    }
    uint32_t *gone = xcalloc(b->n + 1, sizeof *gone);
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        bool chosen = c->flag;
        for (size_t k = 0; k < c->count && !chosen; k++)
            chosen = c->uids[k] == b->m[i].row.uid;
        if (chosen && b->m[i].row.flags & STORE_DELETED)
            gone[n++] = b->m[i].row.uid;
    }
    b->modseq += n > 0;
    for (size_t i = 0; i < n; i++)
        remove_message(b, gone[i]);
    if (n)
        changed(c->a->p, b);
    cb(session, ERR_OK, gone, n, b->modseq);
    free(gone);
}

void store_expunge(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                   struct ticket *t, store_expunged_cb *cb)
{
    struct call *c = call(a, t, run_expunge);
    c->box = mailbox;
    c->flag = !uids;
    c->uids = copy_uids(uids, count);
    c->count = count;
    c->cb = (void (*)(void))cb;
}

static void run_append(struct call *c, void *session)
{
    struct box *b = by_name(c->a->p, span_str(c->name));
    store_appended_cb *cb = (store_appended_cb *)c->cb;
    if (fails() || !b || !b->exists) {
        cb(session, b && b->exists ? ERR_RETRY : ERR_MISSING, NULL);
        return;
    }
    struct store_row row = {.flags = c->append.flags,
                            .internal_s = c->append.internal_s,
                            .zone_min = c->append.zone_min,
                            .content = next_id++,
                            .size = (uint32_t)content_size(c->append.content)};
    for (size_t i = 0; i < c->change.keyword_count; i++) {
        uint64_t bit;
        if (keyword_bit(b, c->keywords[i], &bit))
            row.keywords |= bit;
    }
    struct store_appended v = {b->id, b->uidvalidity, file(c->a->p, b, c->append.content, row)};
    cb(session, ERR_OK, &v);
}

void store_append(struct store_account *a, const struct store_append *m, struct ticket *t,
                  store_appended_cb *cb)
{
    struct call *c = call(a, t, run_append);
    c->name = xstrspan(m->mailbox);
    c->append = *m;
    c->append.content = content_hold(m->content);
    c->keywords = copy_spans(m->keywords, m->keyword_count);
    c->change.keyword_count = m->keyword_count;
    c->cb = (void (*)(void))cb;
}
