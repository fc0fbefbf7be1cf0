/* What the store in memory answers about messages: rows, changes, records, bytes, flags, copies, expunges,
 * appends. The hard problem is fake_store.c's: to be as strict as the real store, here with modseqs that grow
 * once for each request and UIDs that are told in order. Mailboxes and calls are fake_store.c's. */
#include "tests/lib/fake_content.h"
#include "tests/lib/fake_store_int.h"
#include <assert.h>
#include <stdlib.h>

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

static void run_rows(struct call *c, void *session)
{
    struct box *b = fake_by_id(c->a->p, c->box);
    store_rows_cb *cb = (store_rows_cb *)c->cb;
    struct store_row *v = xcalloc((b ? b->n : 0) + 1, sizeof *v);
    size_t n = 0;
    if (fake_fails() || !b) {
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
    if (fake_fails())
        cb(session, ERR_RETRY, NULL, 0);
    else
        cb(session, ERR_OK, v, 3);
}

void store_quota(struct store_account *a, struct ticket *t, store_quota_cb *cb)
{
    struct call *c = fake_call(a, t, run_quota);
    c->cb = (void (*)(void))cb;
}

void store_rows(struct store_account *a, uint64_t mailbox, uint32_t first, uint32_t last, struct ticket *t,
                store_rows_cb *cb)
{
    struct call *c = fake_call(a, t, run_rows);
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
    struct box *b = fake_by_id(c->a->p, c->box);
    store_changes_cb *cb = (store_changes_cb *)c->cb;
    if (fake_fails() || !b) {
        cb(session, b ? ERR_RETRY : ERR_MISSING, NULL);
        return;
    }
    struct store_row *rows = xcalloc(b->n + 1, sizeof *rows);
    uint32_t *gone = xcalloc(b->gone_n + 1, sizeof *gone);
    struct store_changes v = {.box = fake_view(b), .rows = rows, .gone = gone};
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
    struct call *c = fake_call(a, t, run_changes);
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
    struct box *b = fake_by_id(c->a->p, c->box);
    store_meta_cb *cb = (store_meta_cb *)c->cb;
    struct store_meta *v = xcalloc(c->count + 1, sizeof *v);
    size_t n = 0, at = 0;
    if (fake_fails() || !b) {
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
    struct call *c = fake_call(a, t, run_meta);
    c->box = mailbox;
    c->uids = copy_uids(uids, count);
    c->count = count;
    c->cb = (void (*)(void))cb;
}

static void run_read(struct call *c, void *session)
{
    struct box *b = fake_by_id(c->a->p, c->box);
    struct message *m = b ? find(b, c->lo) : NULL;
    store_read_cb *cb = (store_read_cb *)c->cb;
    if (fake_fails() || !m) {
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
    struct call *c = fake_call(a, t, run_read);
    c->box = mailbox;
    c->lo = uid;
    c->first = first;
    c->want = want;
    c->cb = (void (*)(void))cb;
}

void store_read_seen(struct store_account *a, uint64_t mailbox, uint32_t uid, uint64_t seen, uint64_t first,
                     uint64_t want, struct ticket *t, store_read_cb *cb)
{
    (void)seen; /* nothing is expunged here while a FETCH goes on */
    store_read(a, mailbox, uid, first, want, t, cb);
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
    struct box *b = fake_by_id(c->a->p, c->box);
    store_flagged_cb *cb = (store_flagged_cb *)c->cb;
    uint64_t bits = 0, bit;
    if (fake_fails() || !b) {
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
    struct store_flag_run *runs = xcalloc(c->count + 1, sizeof *runs);
    uint32_t *modified = xcalloc(c->count + 1, sizeof *modified);
    struct store_flagged v = {
        .runs = runs, .modified = modified, .keywords = (const char *const *)b->keywords};
    b->modseq++;
    for (size_t i = 0; i < c->count; i++) {
        struct message *m = find(b, c->uids[i]);
        if (m && c->change.unchanged_since_given && m->row.modseq > c->change.unchanged_since)
            modified[v.modified_count++] = m->row.uid;
        else if (m && change_row(b, m, c, bits))
            runs[v.run_count++] =
                (struct store_flag_run){b->modseq, m->row.keywords, m->row.uid, 1, m->row.flags, 0};
    }
    v.modseq = b->modseq;
    if (v.run_count)
        fake_changed(c->a->p, b);
    cb(session, ERR_OK, &v);
    free(runs);
    free(modified);
}

void store_flags(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                 const struct store_flag_change *change, struct ticket *t, store_flagged_cb *cb)
{
    struct call *c = fake_call(a, t, run_flags);
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
    struct box *b = fake_by_id(p, c->box), *to = fake_by_name(p, span_of(c->to, c->to_n));
    store_copied_cb *cb = (store_copied_cb *)c->cb;
    if (fake_fails() || !b || !to || !to->exists) {
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
        into[v.count++] = fake_file(p, to, m->content, row);
    }
    if (c->flag) {
        b->modseq++;
        for (size_t i = 0; i < v.count; i++)
            remove_message(b, from[i]);
        fake_changed(p, b);
    }
    v.source_modseq = b->modseq;
    cb(session, ERR_OK, &v);
    free(from);
    free(into);
}

void store_copy(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count, struct span to,
                bool move, struct ticket *t, store_copied_cb *cb)
{
    struct call *c = fake_call(a, t, run_copy);
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
    struct box *b = fake_by_id(c->a->p, c->box);
    store_expunged_cb *cb = (store_expunged_cb *)c->cb;
    if (fake_fails() || !b) {
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
        fake_changed(c->a->p, b);
    cb(session, ERR_OK, gone, n, b->modseq);
    free(gone);
}

void store_expunge(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                   struct ticket *t, store_expunged_cb *cb)
{
    struct call *c = fake_call(a, t, run_expunge);
    c->box = mailbox;
    c->flag = !uids;
    c->uids = copy_uids(uids, count);
    c->count = count;
    c->cb = (void (*)(void))cb;
}

static void run_append(struct call *c, void *session)
{
    struct box *b = fake_by_name(c->a->p, span_str(c->name));
    store_appended_cb *cb = (store_appended_cb *)c->cb;
    if (fake_fails() || !b || !b->exists) {
        cb(session, b && b->exists ? ERR_RETRY : ERR_MISSING, NULL);
        return;
    }
    struct store_row row = {.flags = c->append.flags,
                            .internal_s = c->append.internal_s,
                            .zone_min = c->append.zone_min,
                            .content = fake_next_id(),
                            .size = (uint32_t)content_size(c->append.content)};
    for (size_t i = 0; i < c->change.keyword_count; i++) {
        uint64_t bit;
        if (keyword_bit(b, c->keywords[i], &bit))
            row.keywords |= bit;
    }
    struct store_appended v = {b->id, b->uidvalidity, fake_file(c->a->p, b, c->append.content, row)};
    cb(session, ERR_OK, &v);
}

void store_append(struct store_account *a, const struct store_append *m, struct ticket *t,
                  store_appended_cb *cb)
{
    struct call *c = fake_call(a, t, run_append);
    c->name = xstrspan(m->mailbox);
    c->append = *m;
    c->append.content = content_hold(m->content);
    c->keywords = copy_spans(m->keywords, m->keyword_count);
    c->change.keyword_count = m->keyword_count;
    c->cb = (void (*)(void))cb;
}
