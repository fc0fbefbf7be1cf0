/* The selected mailbox as its client sees it (view.h has the picture).
 * The hard problem: rows may be loaded long after the client was told a number of messages, and the store may
 * have lost some meanwhile. Then the places of the lost ones are rebuilt: from the UIDs that were known
 * before the rows were dropped, or from the expunges since the modseq of the SELECT. When that cannot be done
 * the view is broken, and the session ends rather than speak of wrong messages. Asking the store is sync.c's,
 * telling the client announce.c's. */
#include "imapd/view.h"
#include "common/base/buf.h"
#include <assert.h>
#include <stdlib.h>

static void free_keywords(struct view *v)
{
    for (size_t i = 0; i < v->keyword_count; i++)
        free(v->keywords[i]);
    free(v->keywords);
    v->keywords = NULL;
    v->keyword_count = 0;
}

void view_keywords(struct view *v, const char *const *names)
{
    size_t n = 0;
    bool same = true;
    while (names && names[n] && n < 64) {
        same = same && n < v->keyword_count && strcmp(names[n], v->keywords[n]) == 0;
        n++;
    }
    if (same && n == v->keyword_count)
        return;
    free_keywords(v);
    v->keywords = xcalloc(n + 1, sizeof *v->keywords);
    for (size_t i = 0; i < n; i++)
        v->keywords[i] = xstrdup(names[i]);
    v->keyword_count = n;
    v->keywords_changed = true;
}

void view_open(struct view *v, const struct store_mailbox *box, struct span name, bool read_only)
{
    assert(!v->open);
    *v = (struct view){.open = true,
                       .read_only = read_only,
                       .mailbox = box->id,
                       .name = xstrspan(name),
                       .modseq = box->modseq,
                       .uidvalidity = box->uidvalidity,
                       .uidnext = box->uidnext,
                       .told = box->messages};
    view_keywords(v, box->keywords);
    v->keywords_changed = false;
}

void view_close(struct view *v)
{
    free(v->name);
    free(v->rows);
    free_keywords(v);
    uidset_free(&v->recent);
    uidset_free(&v->known);
    *v = (struct view){0};
}

/* -- rows -- */

static struct view_row row_of(const struct store_row *r)
{
    return (struct view_row){.modseq = r->modseq,
                             .keywords = r->keywords,
                             .content = r->content,
                             .internal_s = r->internal_s,
                             .uid = r->uid,
                             .size = r->size,
                             .saved_s_low = r->saved_s_low,
                             .zone_min = r->zone_min,
                             .flags = (uint8_t)r->flags};
}

static void grow(struct view *v, size_t count)
{
    if (count <= v->cap)
        return;
    v->cap = v->cap * 2 > count ? v->cap * 2 : count + 16;
    v->rows = xrealloc(v->rows, v->cap * sizeof *v->rows);
}

static void append(struct view *v, struct view_row r)
{
    grow(v, v->count + 1);
    v->rows[v->count++] = r;
}

size_t view_lower(const struct view *v, uint32_t uid)
{
    size_t lo = 0, hi = v->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (v->rows[mid].uid < uid)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

size_t view_find(const struct view *v, uint32_t uid)
{
    size_t at = v->loaded ? view_lower(v, uid) : v->count;
    return at < v->told && v->rows[at].uid == uid ? at : SIZE_MAX;
}

bool view_is_recent(const struct view *v, const struct view_row *r)
{
    return uidset_has(&v->recent, r->uid);
}

uint32_t view_max(const struct view *v, bool uid)
{
    if (!v->told)
        return 0;
    return uid ? v->rows[v->told - 1].uid : (uint32_t)v->told;
}

void view_load_begin(struct view *v)
{
    assert(!v->loaded);
    v->loading = true;
    v->count = 0;
}

void view_load_abort(struct view *v)
{
    v->loading = false;
    v->count = 0;
}

void view_load_add(struct view *v, const struct store_row *rows, size_t count)
{
    grow(v, v->count + count);
    for (size_t i = 0; i < count; i++)
        if (!v->count || rows[i].uid > v->rows[v->count - 1].uid)
            v->rows[v->count++] = row_of(&rows[i]);
}

void view_drop(struct view *v)
{
    if (!v->loaded || v->gone || v->dirty || v->told != v->count)
        return;
    for (size_t i = 0; i < v->count; i++)
        uidset_add(&v->known, v->rows[i].uid);
    v->has_known = true;
    v->loaded = false;
    free(v->rows);
    v->rows = NULL;
    v->cap = 0;
}

static void mark_gone(struct view *v, struct view_row *r)
{
    if (r->state & ROW_GONE)
        return;
    if (r->state & ROW_DIRTY)
        v->dirty--;
    r->state = ROW_GONE;
    v->gone++;
}

void view_gone(struct view *v, const uint32_t *uids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = view_lower(v, uids[i]);
        if (at < v->count && v->rows[at].uid == uids[i])
            mark_gone(v, &v->rows[at]);
    }
}

/* Merge placeholders for UIDs (ascending) that the client counts and the store has no more. */
static void add_lost(struct view *v, const uint32_t *lost, size_t n)
{
    if (!n)
        return;
    size_t from = v->count, to = v->count + n;
    grow(v, to);
    v->count = to;
    while (n) { /* from the end, so that each row moves once */
        if (from && v->rows[from - 1].uid > lost[n - 1]) {
            v->rows[--to] = v->rows[--from];
        } else {
            v->rows[--to] = (struct view_row){.uid = lost[--n], .state = ROW_GONE};
            v->gone++;
        }
    }
}

/* UIDs of ranges that have no row. */
static uint32_t *lost_of_known(const struct view *v, size_t *out_n)
{
    size_t at = 0, n = 0, cap = 0;
    uint32_t *lost = NULL;
    for (size_t i = 0; i < v->known.n; i++) {
        for (uint32_t uid = v->known.v[i].first;; uid++) {
            while (at < v->count && v->rows[at].uid < uid)
                at++;
            if (at == v->count || v->rows[at].uid != uid) {
                if (n == cap) {
                    cap = cap ? cap * 2 : 64;
                    lost = xrealloc(lost, cap * sizeof *lost);
                }
                lost[n++] = uid;
            }
            if (uid == v->known.v[i].last)
                break;
        }
    }
    *out_n = n;
    return lost;
}

static size_t below(const uint32_t *v, size_t n, uint32_t end)
{
    while (n && v[n - 1] >= end)
        n--;
    return n;
}

/* The rows have come, and the changes since the modseq of which the client was told. */
static bool end_load(struct view *v, const struct store_changes *c, size_t counted)
{
    uint32_t *lost = NULL;
    size_t n = 0;
    /* What both lists hold was expunged after the rows were read: apply_gone marks it. */
    if (v->has_known) {
        lost = lost_of_known(v, &n);
    } else {
        size_t all = below(c->gone, c->gone_count, v->uidnext);
        lost = all ? xcalloc(all, sizeof *lost) : NULL;
        for (size_t i = 0; i < all; i++) {
            size_t at = view_lower(v, c->gone[i]);
            if (at == v->count || v->rows[at].uid != c->gone[i])
                lost[n++] = c->gone[i];
        }
    }
    add_lost(v, lost, n);
    free(lost);
    v->told = view_lower(v, v->uidnext);
    v->loaded = true;
    v->loading = false;
    v->has_known = false;
    uidset_free(&v->known);
    return v->told == counted;
}

static void apply_row(struct view *v, const struct store_row *r, bool always)
{
    size_t at = view_lower(v, r->uid);
    if (at == v->count) {
        append(v, row_of(r));
        return;
    }
    struct view_row *old = &v->rows[at];
    if (old->uid != r->uid || old->state & ROW_GONE)
        return; /* expunged before the client could see it */
    bool differs = old->flags != (uint8_t)r->flags || old->keywords != r->keywords;
    old->modseq = r->modseq;
    old->flags = (uint8_t)r->flags;
    old->keywords = r->keywords;
    if (!differs && !always)
        return;
    if (at < v->told && !(old->state & ROW_DIRTY)) {
        old->state |= ROW_DIRTY;
        v->dirty++;
    }
}

/* The newest modseq when those of the runs follow v->modseq without a gap: each belongs to one change, so
 * there is none of others between. Else v->modseq: the changes since then have to be asked for. */
static uint64_t follows(const struct view *v, const struct store_flag_run *runs, size_t count)
{
    uint64_t last = v->modseq;
    for (size_t i = 0; i < count; i++) {
        if (runs[i].modseq != last && runs[i].modseq != last + 1)
            return v->modseq;
        last = runs[i].modseq;
    }
    return last;
}

void view_flagged(struct view *v, const struct store_flag_run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct store_flag_run *run = &runs[i];
        for (size_t at = v->loaded ? view_lower(v, run->first) : v->count; at < v->count; at++) {
            struct view_row *r = &v->rows[at];
            if (r->uid - run->first >= run->count)
                break;
            if (r->state & ROW_GONE)
                continue;
            r->modseq = run->modseq;
            r->flags = (uint8_t)run->flags;
            r->keywords = run->keywords;
        }
    }
    v->modseq = follows(v, runs, count);
}

/* Rows that are told and not in the whole list are gone. */
static void apply_whole(struct view *v, const struct store_changes *c)
{
    size_t at = 0;
    for (size_t i = 0; i < v->count; i++) {
        while (at < c->row_count && c->rows[at].uid < v->rows[i].uid)
            at++;
        if (at == c->row_count || c->rows[at].uid != v->rows[i].uid)
            mark_gone(v, &v->rows[i]);
    }
}

/* New rows that went before they were told are no one's business. */
static void drop_untold(struct view *v)
{
    size_t to = v->told;
    for (size_t i = v->told; i < v->count; i++) {
        if (v->rows[i].state & ROW_GONE)
            v->gone--;
        else
            v->rows[to++] = v->rows[i];
    }
    v->count = to;
}

static void advance(struct view *v, const struct store_changes *c)
{
    v->modseq = c->box.modseq;
    if (c->box.uidnext > v->uidnext)
        v->uidnext = c->box.uidnext;
    view_keywords(v, c->box.keywords);
}

enum view_news view_apply(struct view *v, const struct store_changes *c)
{
    bool loading = v->loading;
    if (!v->loaded && !loading) {
        if (v->told && (c->whole || c->gone_count || c->row_count))
            return VIEW_NEEDS_ROWS;
        if (v->told) {
            advance(v, c);
            return VIEW_OK;
        }
        v->loaded = true; /* it was empty: what has changed since is all there is */
        v->has_known = false;
    }
    if (loading && !end_load(v, c, v->told))
        return VIEW_BROKEN;
    /* Rows that were just read are as they are now; those that changed since the client was last told are
     * news to it all the same. */
    for (size_t i = 0; i < c->row_count; i++)
        apply_row(v, &c->rows[i], loading && !c->whole);
    if (c->whole)
        apply_whole(v, c);
    view_gone(v, c->gone, c->gone_count);
    drop_untold(v);
    advance(v, c);
    return VIEW_OK;
}

void view_recent(struct view *v, uint32_t uid)
{
    if (uidset_has(&v->recent, uid))
        return;
    uidset_add(&v->recent, uid);
    v->recent_count++;
}

bool view_recent_from(struct view *v, uint32_t uid)
{
    if (v->recent.n || v->told != (size_t)v->uidnext - 1 || uid == 0 || uid >= v->uidnext)
        return false;
    uidset_add_range(&v->recent, uid, v->uidnext - 1);
    v->recent_count = v->uidnext - uid;
    return true;
}

void view_settle(struct view *v)
{
    size_t to = 0;
    for (size_t i = 0; i < v->count; i++) {
        v->rows[i].state &= (uint8_t)~ROW_DIRTY;
        if (!(v->rows[i].state & ROW_GONE))
            v->rows[to++] = v->rows[i];
        else if (view_is_recent(v, &v->rows[i]))
            v->recent_count--;
    }
    v->count = v->told = to;
    v->gone = v->dirty = 0;
    v->keywords_changed = false;
}

bool view_next(const struct view *v, const struct seqset *set, bool uid, struct view_walk *w, size_t *out)
{
    while (w->range < set->n) {
        const struct range *r = &set->v[w->range];
        if (!w->inside) {
            w->next = uid ? view_lower(v, r->first) : (size_t)r->first - 1;
            w->inside = true;
        }
        if (w->next < v->told && (uid ? v->rows[w->next].uid : w->next + 1) <= r->last) {
            *out = w->next++;
            return true;
        }
        w->inside = false;
        w->range++;
    }
    return false;
}
