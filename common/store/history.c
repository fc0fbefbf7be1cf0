/* How things were: the folders of an account and the messages of a mailbox at an instant, from what is there
 * now and the records of what has changed since. Nothing is rolled back for it; a session sees none of it.
 * The hard points: of each UID only its first change after the instant tells how it was (so the records are
 * read forward once, from the newest one that is not younger than the instant), and history that was purged
 * must be noticed, not taken for "nothing happened". */
#include "common/store/engine_int.h"
#include <stdlib.h>

/* -- folders: written -- */

bool history_same(const struct rec_name *a, const struct rec_name *b)
{
    return a && b && a->mailbox == b->mailbox && a->use == b->use && a->flags == b->flags;
}

static enum err_code next_serial(struct tx *t, const struct uuid *account, uint64_t *out)
{
    struct back b;
    struct span key, value;
    char none[1];
    *out = 1;
    back_open(&b, t, T_NAME_CHANGE, key_uuid(account), none, 0);
    if (back_next(&b, &key, &value) && key.n == KEY_NAME_CHANGE)
        *out = get_be64(key.p + KEY_UUID) + 1;
    return back_close(&b);
}

static enum err_code put_serial(struct tx *t, const struct uuid *account, uint64_t serial,
                                const struct rec_name_change *r)
{
    unsigned char key[KEY_NAME_CHANGE];
    memcpy(key, account->b, KEY_UUID);
    put_be64(key + KEY_UUID, serial);
    buf_reset(&t->scratch);
    if (!rec_name_change_put(r, &t->scratch))
        return ERR_LIMIT;
    return tx_put(t, T_NAME_CHANGE, span_of(key, sizeof key), buf_span(&t->scratch));
}

enum err_code history_name(struct tx *t, const struct uuid *account, struct span name,
                           const struct rec_name *old, const struct rec_name *now)
{
    struct rec_name_change r = {
        .at_us = clock_wall_us(), .had = old != NULL, .has = now != NULL, .name = name};
    uint64_t serial;
    if (history_same(old, now))
        return ERR_OK;
    if (old)
        r.old = *old;
    if (now)
        r.now = *now;
    enum err_code code = next_serial(t, account, &serial);
    return code == ERR_OK ? put_serial(t, account, serial, &r) : code;
}

enum err_code history_first_name(struct tx *t, const struct uuid *account, struct span name,
                                 const struct rec_name *now)
{
    const struct rec_name_change r = {.at_us = clock_wall_us(), .has = true, .now = *now, .name = name};
    return put_serial(t, account, 1, &r);
}

enum err_code history_purge(struct tx *t, const struct uuid *account, int64_t before_us, bool *more)
{
    struct scan s;
    struct span key, value;
    struct rec_name_change r;
    unsigned char old[SLICE][KEY_NAME_CHANGE];
    size_t count = 0;
    bool newer = false;
    scan_open(&s, t, T_NAME_CHANGE, key_uuid(account), KEY_UUID, 64 << 10);
    /* The one that was met last is only dropped when another one follows it. */
    while (count < SLICE && !newer && scan_next(&s, &key, &value)) {
        if (key.n != KEY_NAME_CHANGE || !rec_name_change_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        newer = r.at_us >= before_us;
        if (!newer)
            memcpy(old[count++], key.p, KEY_NAME_CHANGE);
    }
    *more = count == SLICE;
    enum err_code code = scan_close(&s);
    if (count && !newer)
        count--;
    for (size_t i = 0; i < count && code == ERR_OK; i++)
        code = tx_del(t, T_NAME_CHANGE, span_of(old[i], KEY_NAME_CHANGE));
    return code;
}

/* -- folders: read -- */

struct past_name {
    struct name name;
    struct rec_name rec;
    bool is;      /* there is one of this name */
    size_t order; /* among the changes */
};
struct past_names {
    struct past_name *v;
    size_t n, cap;
};

static struct past_name *names_add(struct past_names *l, struct span name)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->v = xrealloc(l->v, l->cap * sizeof *l->v);
    }
    struct past_name *p = &l->v[l->n];
    p->order = l->n++;
    p->name.n = name.n < sizeof p->name.p ? name.n : sizeof p->name.p;
    if (p->name.n)
        memcpy(p->name.p, name.p, p->name.n);
    return p;
}

static int by_bytes(const void *a, const void *b)
{
    const struct past_name *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int c = memcmp(x->name.p, y->name.p, n);
    return c ? c : x->name.n < y->name.n ? -1 : x->name.n > y->name.n;
}

static int by_mailbox(const void *a, const void *b)
{
    const struct past_name *const *x = a, *const *y = b;
    return (*x)->rec.mailbox < (*y)->rec.mailbox ? -1 : (*x)->rec.mailbox > (*y)->rec.mailbox;
}

static enum err_code names_now(struct tx *t, const struct uuid *account, struct past_names *out)
{
    struct scan s;
    struct span key, value;
    scan_open(&s, t, T_NAME, key_uuid(account), KEY_UUID, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct past_name *p = names_add(out, span_drop(key, KEY_UUID));
        p->is = true;
        if (!rec_name_get(value, &p->rec)) {
            s.code = ERR_BUG;
            break;
        }
    }
    return scan_close(&s);
}

/* What names were before each of their changes after at_us. */
struct since {
    int64_t at_us;
    bool purged;           /* the history does not begin with the account */
    int64_t first_kept_us; /* 0: there is none */
    struct past_names names;
};

static enum err_code names_since(struct tx *t, const struct uuid *account, struct since *out)
{
    struct scan s;
    struct span key, value;
    struct rec_name_change r;
    scan_open(&s, t, T_NAME_CHANGE, key_uuid(account), KEY_UUID, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        if (key.n != KEY_NAME_CHANGE || !rec_name_change_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        if (!out->first_kept_us) {
            out->first_kept_us = r.at_us;
            out->purged = get_be64(key.p + KEY_UUID) != 1;
        }
        if (r.at_us <= out->at_us) { /* what came before in serial was before it, whatever the clock said */
            out->names.n = 0;
            continue;
        }
        struct past_name *p = names_add(&out->names, r.name);
        p->is = r.had;
        p->rec = r.old;
    }
    return scan_close(&s);
}

/* The oldest instant that can be told: all that is younger than the window is kept, perhaps more. */
static int64_t reaches_back(const struct engine *e, bool purged, int64_t first_kept_us)
{
    int64_t window_us = clock_wall_us() - e->o.undelete_us;
    if (!purged)
        return 0;
    return first_kept_us && first_kept_us < window_us ? first_kept_us : window_us;
}

static bool put_past(struct tx *t, const struct past_name *p, const struct past_names *now,
                     struct past_name **by_box, const struct uuid *account, struct buf *out,
                     enum err_code *code)
{
    struct wire_past_name w = {
        .mailbox = p->rec.mailbox, .use = p->rec.use, .subscribed = p->rec.flags & NAME_SUBSCRIBED};
    struct span present = SPAN("");
    struct box b;
    *code = p->rec.mailbox ? box_get(t, p->rec.mailbox, &b) : ERR_OK;
    if (*code == ERR_MISSING) { /* purged since */
        *code = ERR_OK;
        w.mailbox = 0;
    }
    if (*code != ERR_OK)
        return false;
    if (w.mailbox) {
        if (uuid_cmp(&b.r.account, account) != 0) {
            *code = ERR_BUG;
            return false;
        }
        w.deleted_us = b.r.deleted_us;
        w.bytes = b.r.bytes;
        w.messages = b.r.messages;
        struct past_name **at = now->n ? bsearch(&p, by_box, now->n, sizeof *by_box, by_mailbox) : NULL;
        if (at)
            present = span_of((*at)->name.p, (*at)->name.n);
    }
    return buf_add(out, &w, sizeof w) && wire_put_text(out, span_of(p->name.p, p->name.n)) &&
           wire_put_text(out, present);
}

/* Of names that are in both lists (ascending) the older state counts. */
static void merge_names(const struct past_names *now, struct past_names *since, struct past_names *out)
{
    size_t i = 0;
    /* The first change of a name stands first. */
    for (size_t k = 0; k < since->n; k++) {
        const struct past_name *p = &since->v[k];
        bool seen = k && by_bytes(p, &since->v[k - 1]) == 0;
        for (; i < now->n && by_bytes(&now->v[i], p) < 0; i++)
            *names_add(out, SPAN_NONE) = now->v[i];
        if (i < now->n && by_bytes(&now->v[i], p) == 0)
            i++;
        if (!seen && p->is)
            *names_add(out, SPAN_NONE) = *p;
    }
    for (; i < now->n; i++)
        *names_add(out, SPAN_NONE) = now->v[i];
}

/* Of what was, the mailboxes that are deleted, each once (under its last name). */
static enum err_code only_deleted(struct tx *t, struct past_names *since, struct past_names *out)
{
    for (size_t i = since->n; i-- > 0;) {
        const struct past_name *p = &since->v[i];
        struct box b;
        bool seen = false;
        if (!p->is || !p->rec.mailbox)
            continue;
        for (size_t k = 0; k < out->n && !seen; k++)
            seen = out->v[k].rec.mailbox == p->rec.mailbox;
        enum err_code code = seen ? ERR_MISSING : box_get(t, p->rec.mailbox, &b);
        if (code == ERR_OK && b.r.deleted_us)
            *names_add(out, SPAN_NONE) = *p;
        else if (code != ERR_OK && code != ERR_MISSING)
            return code;
    }
    return ERR_OK;
}

static int by_bytes_order(const void *a, const void *b)
{
    const struct past_name *x = a, *y = b;
    int c = by_bytes(a, b);
    return c ? c : x->order < y->order ? -1 : x->order > y->order;
}

static enum err_code put_names(struct tx *t, struct query *q, const struct uuid *account,
                               const struct past_names *now, const struct past_names *out,
                               struct wire_past_names_part head)
{
    enum { PART = 512 << 10 };
    enum err_code code = ERR_OK;
    struct past_name **by_box = xcalloc(now->n + 1, sizeof *by_box);
    for (size_t i = 0; i < now->n; i++)
        by_box[i] = &now->v[i];
    if (now->n)
        qsort(by_box, now->n, sizeof *by_box, by_mailbox);
    struct buf *part = parts_add(&q->answer);
    bool ok = buf_add(part, &head, sizeof head);
    for (size_t i = 0; i < out->n && ok; i++) {
        if (part->n > PART) {
            memcpy(part->p, &head, sizeof head);
            head.count = 0;
            part = parts_add(&q->answer);
            ok = buf_add(part, &head, sizeof head);
        }
        ok = ok && put_past(t, &out->v[i], now, by_box, account, part, &code);
        head.count++;
    }
    if (part->n)
        memcpy(part->p, &head, sizeof head);
    free(by_box);
    return code == ERR_OK && !ok ? ERR_LIMIT : code;
}

enum err_code read_past_names(struct tx *t, struct query *q)
{
    struct wire_in in = {q->body, false};
    struct wire_past_names w;
    struct rec_account a;
    struct since since = {.at_us = 0};
    struct past_names now = {NULL, 0, 0}, out = {NULL, 0, 0};
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = account_get(t, &w.account, &a);
    if (code == ERR_OK)
        code = names_now(t, &w.account, &now);
    since.at_us = w.at_us;
    if (code == ERR_OK)
        code = names_since(t, &w.account, &since);
    struct wire_past_names_part head = {.oldest_us = reaches_back(t->e, since.purged, since.first_kept_us)};
    if (code == ERR_OK && w.deleted) {
        code = only_deleted(t, &since.names, &out);
    } else if (code == ERR_OK && w.at_us < head.oldest_us) {
        head.flags = WIRE_PAST_TOO_OLD;
    } else if (code == ERR_OK) {
        if (since.names.n)
            qsort(since.names.v, since.names.n, sizeof *since.names.v, by_bytes_order);
        merge_names(&now, &since.names, &out);
    }
    if (code == ERR_OK)
        code = put_names(t, q, &w.account, &now, &out, head);
    free(since.names.v);
    free(now.v);
    free(out.v);
    return code;
}

/* -- messages -- */

/* What a change after the instant says of how a message was before it. */
struct undo {
    uint32_t uid, order;
    bool gone; /* row is whole; else only flags and keywords of it */
    int64_t at_us;
    struct store_row row;
};
struct undos {
    struct undo *v;
    size_t n, cap;
};

static struct undo *undo_add(struct undos *u, uint32_t uid)
{
    if (u->n == u->cap) {
        u->cap = u->cap ? u->cap * 2 : 64;
        u->v = xrealloc(u->v, u->cap * sizeof *u->v);
    }
    u->v[u->n] = (struct undo){.uid = uid, .order = (uint32_t)u->n};
    return &u->v[u->n++];
}

static int by_uid_order(const void *a, const void *b)
{
    const struct undo *x = a, *y = b;
    if (x->uid != y->uid)
        return x->uid < y->uid ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* The last change that was made at at_us or before, 0: there is none among those kept. */
static enum err_code last_before(struct tx *t, const struct box *b, int64_t at_us, uint64_t *modseq,
                                 int64_t *first_kept_us)
{
    unsigned char key[KEY_ID];
    char head[REC_CHANGE_HEAD];
    struct back back;
    struct span k, v;
    *modseq = 0;
    *first_kept_us = 0;
    put_be64(key, b->id);
    back_open(&back, t, T_CHANGE, span_of(key, sizeof key), head, sizeof head);
    while (*modseq == 0 && back_next(&back, &k, &v)) {
        if (!rec_change_time(v, first_kept_us)) {
            back.code = ERR_BUG;
            break;
        }
        if (*first_kept_us <= at_us)
            *modseq = get_be64(k.p + KEY_ID);
    }
    return back_close(&back);
}

static void undo_flags(const struct rec_flags *f, uint32_t uidnext, struct undos *u)
{
    for (uint32_t n = f->count, uid = f->uid; n && uid < uidnext; n--, uid++) {
        struct undo *undo = undo_add(u, uid);
        undo->row.flags = f->old_flags;
        undo->row.keywords = f->old_keywords;
    }
}

static enum err_code add_undos(const struct rec_change *r, bool gone_only, uint32_t *uidnext, struct undos *u)
{
    for (uint32_t i = 0; i < r->count; i++) {
        const char *p;
        struct undo *n;
        struct rec_flags f;
        uint32_t added;
        switch (r->op) {
        case CHANGE_FLAGS:
            f = rec_flags_at(r, i);
            if (!gone_only)
                undo_flags(&f, *uidnext, u);
            break;
        case CHANGE_EXPUNGE:
        case CHANGE_MOVE_OUT:
            p = r->items.p + (size_t)i * (r->op == CHANGE_EXPUNGE ? ITEM_EXPUNGE : ITEM_MOVE);
            if (gone_only ? r->op == CHANGE_MOVE_OUT : get_be32(p) >= *uidnext)
                break;
            n = undo_add(u, get_be32(p));
            n->gone = true;
            n->at_us = r->at_us;
            if (!rec_row_get(span_of(p + 4, REC_ROW), &n->row))
                return ERR_BUG;
            n->row.uid = n->uid;
            break;
        default: /* UIDs rise: what was added first after the instant is where they stood */
            added = rec_added_at(r, i).uid;
            if (added < *uidnext)
                *uidnext = added;
        }
    }
    return ERR_OK;
}

static enum err_code gather_undos(struct tx *t, const struct box *b, uint64_t since, bool gone_only,
                                  uint32_t *uidnext, struct undos *u)
{
    unsigned char from[KEY_CHANGE];
    struct scan s;
    struct span key, value;
    struct rec_change r;
    *uidnext = b->r.uidnext;
    key_pair(from, b->id, since + 1);
    scan_open(&s, t, T_CHANGE, span_of(from, sizeof from), KEY_ID, 256 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value))
        s.code = rec_change_get(value, &r) ? add_undos(&r, gone_only, uidnext, u) : ERR_BUG;
    enum err_code code = scan_close(&s);
    if (code == ERR_OK && u->n)
        qsort(u->v, u->n, sizeof *u->v, by_uid_order);
    return code;
}

/* The item of a message in a record of what went; NULL: it is in none. */
static const char *gone_item(const struct rec_change *r, uint32_t uid)
{
    size_t size = r->op == CHANGE_EXPUNGE ? ITEM_EXPUNGE : ITEM_MOVE;
    if (r->op != CHANGE_EXPUNGE && r->op != CHANGE_MOVE_OUT)
        return NULL;
    for (uint32_t i = 0; i < r->count; i++)
        if (get_be32(r->items.p + i * size) == uid)
            return r->items.p + i * size;
    return NULL;
}

enum err_code history_row(struct tx *t, const struct box *b, uint32_t uid, struct query *q,
                          struct store_row *out)
{
    unsigned char from[KEY_CHANGE];
    struct scan s;
    struct span key, value;
    struct rec_change r;
    const char *item = NULL;
    uint32_t seen = 0;
    key_pair(from, b->id, q->next);
    scan_open(&s, t, T_CHANGE, span_of(from, sizeof from), KEY_ID, 64 << 10);
    while (!item && s.code == ERR_OK && scan_next(&s, &key, &value)) {
        q->more = seen++ == q->budget;
        q->next = get_be64(key.p + KEY_ID);
        if (q->more)
            break;
        if (!rec_change_get(value, &r))
            s.code = ERR_BUG;
        else
            item = gone_item(&r, uid);
        if (item && !rec_row_get(span_of(item + 4, REC_ROW), out))
            s.code = ERR_BUG;
    }
    enum err_code code = scan_close(&s);
    if (code != ERR_OK || q->more)
        return code;
    out->uid = uid;
    return item ? ERR_OK : ERR_MISSING;
}

struct view {
    struct parts *parts;
    struct buf *part;
    struct wire_view_part head;
    struct undos undos;
    size_t at; /* in undos */
};

static bool view_part(struct view *v)
{
    v->part = parts_add(v->parts);
    v->head.count = 0;
    return buf_add(v->part, &v->head, sizeof v->head);
}

static bool view_put(struct view *v, const struct store_row *row, int64_t gone_us)
{
    struct store_past p = {.row = *row, .gone_us = gone_us};
    memset(p.row.pad, 0, sizeof p.row.pad);
    if (v->head.count == ROWS_PART) {
        v->head.has_box = 0;
        if (!view_part(v))
            return false;
    }
    v->head.count++;
    memcpy(v->part->p, &v->head, sizeof v->head);
    return buf_add(v->part, &p, sizeof p);
}

/* The undos of one UID settle how it was. row: as it is now, or NULL. */
static bool view_one(struct view *v, const struct store_row *row)
{
    const struct undo *first = &v->undos.v[v->at], *gone = NULL;
    for (; v->at < v->undos.n && v->undos.v[v->at].uid == first->uid; v->at++)
        if (v->undos.v[v->at].gone && !gone)
            gone = &v->undos.v[v->at];
    if (!gone && !row)
        return true; /* cannot be: it changed, was not expunged, and is not there; never made up */
    struct store_row r = gone ? gone->row : *row;
    if (!first->gone) {
        r.flags = first->row.flags;
        r.keywords = first->row.keywords;
    }
    r.modseq = first->gone ? r.modseq : 0;
    return view_put(v, &r, gone ? gone->at_us : 0);
}

/* Rows as they are now, with what has changed put back between them. */
static enum err_code view_rows(struct tx *t, const struct box *b, struct view *v)
{
    unsigned char from[KEY_MESSAGE];
    struct scan s;
    struct span key, value;
    struct store_row r;
    bool ok = true;
    key_message(from, b->id, 0);
    scan_open(&s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, 256 << 10);
    while (ok && s.code == ERR_OK && scan_next(&s, &key, &value)) {
        r.uid = get_be32(key.p + KEY_ID);
        if (r.uid >= v->head.uidnext)
            break;
        if (!rec_row_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        while (ok && v->at < v->undos.n && v->undos.v[v->at].uid < r.uid)
            ok = view_one(v, NULL);
        bool changed = v->at < v->undos.n && v->undos.v[v->at].uid == r.uid;
        ok = ok && (changed ? view_one(v, &r) : view_put(v, &r, 0));
    }
    enum err_code code = scan_close(&s);
    while (code == ERR_OK && ok && v->at < v->undos.n)
        ok = v->undos.v[v->at].uid < v->head.uidnext ? view_one(v, NULL) : (v->at++, true);
    return code == ERR_OK && !ok ? ERR_LIMIT : code;
}

static bool view_gone(struct view *v)
{
    bool ok = true;
    for (size_t i = 0; i < v->undos.n && ok; i++)
        ok = view_put(v, &v->undos.v[i].row, v->undos.v[i].at_us);
    return ok;
}

static enum err_code view_head(struct tx *t, const struct box *b, struct view *v)
{
    struct keywords k;
    keywords_init(&k);
    v->head.has_box = 1;
    enum err_code code = view_part(v) ? keywords_get(t, b, &k) : ERR_LIMIT;
    if (code == ERR_OK && !box_wire(b, NULL, SPAN_NONE, &k, v->part))
        code = ERR_LIMIT;
    keywords_free(&k);
    return code;
}

/* Where in the history the asked instant lies; flags say when that cannot be told. */
static enum err_code view_since(struct tx *t, const struct box *b, const struct wire_view *w,
                                struct wire_view_part *head, uint64_t *since)
{
    int64_t first_kept_us = 0;
    *since = w->modseq;
    if (!w->modseq && w->at_us == STORE_NOW) {
        *since = b->r.modseq;
        return ERR_OK;
    }
    enum err_code code = w->modseq ? ERR_OK : last_before(t, b, w->at_us, since, &first_kept_us);
    if (code != ERR_OK || b->r.change_floor == 0)
        return code;
    bool known = *since >= b->r.change_floor && *since > 0;
    if (*since < b->r.change_floor)
        *since = b->r.change_floor;
    head->oldest_us = reaches_back(t->e, true, first_kept_us);
    if (!known && (w->modseq || w->at_us < head->oldest_us) && !w->gone)
        head->flags = WIRE_PAST_TOO_OLD;
    return ERR_OK;
}

enum err_code read_view(struct tx *t, struct query *q)
{
    struct wire_in in = {q->body, false};
    struct wire_view w;
    struct box b;
    struct view v = {.parts = &q->answer};
    uint64_t since;
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = box_get(t, q->mailbox, &b);
    if (code == ERR_OK && uuid_cmp(&w.account, &b.r.account) != 0)
        code = ERR_DENIED;
    if (code == ERR_OK)
        code = view_since(t, &b, &w, &v.head, &since);
    if (code == ERR_OK)
        code = gather_undos(t, &b, since, w.gone, &v.head.uidnext, &v.undos);
    if (code == ERR_OK)
        code = view_head(t, &b, &v);
    if (code == ERR_OK && !v.head.flags && w.gone && !view_gone(&v))
        code = ERR_LIMIT;
    if (code == ERR_OK && !v.head.flags && !w.gone)
        code = view_rows(t, &b, &v);
    if (code == ERR_OK)
        memcpy(q->answer.v[q->answer.n - 1].p, &v.head, sizeof v.head);
    free(v.undos.v);
    return code;
}
