/* FETCH (RFC 3501 6.4.5): messages of a set in batches.
 *
 *   pick a batch -> [set \Seen] -> [meta records] -> [lost ones] -> [small pieces, all at once] -> say ->
 * pick ...
 *
 * The hard problem is to be quick for 100,000 small answers and small for one huge message. What rows hold is
 * said at once; meta records are asked for by the hundred and written as they come; pieces of bodies up to
 * PIECE_SMALL are asked for together, and longer ones are streamed, one read behind the other, so that no
 * message is whole in memory. Once a literal's size is said its bytes must follow: if the store fails in
 * between the session ends. */
#include "common/mime/date.h"
#include "imapd/fetch.h"
#include <stdlib.h>

enum {
    ROWS_SLICE = 1000,
    META_FIRST = 32,
    META_MOST = 2048,
    META_BYTES = 2 << 20, /* a batch of records aims at this */
    BODY_BATCH = 32,
    PIECE_SMALL = 32 << 10,
    PIECE_READ = 256 << 10,
    FIELDS_LIMIT = 4 << 20, /* of a header, where fields are chosen */
    META_ARENA = 32 << 20
};
enum { FE_START, FE_PICK, FE_SEEN, FE_META, FE_REPARSE, FE_READ, FE_SAY, FE_STREAM };

/* One section of one message. */
struct piece {
    struct imap *s;
    struct ticket *ticket; /* of its own read */
    bool nil, ready;
    uint64_t at, n; /* bytes of the message */
    struct buf bytes;
    enum err_code code;
};

struct entry {
    size_t index;    /* of the row */
    bool found;      /* has a meta record, or needs none */
    bool lost;       /* its record cannot be read */
    bool flags_new;  /* \Seen was set by this command */
    struct buf text; /* items before the sections */
    struct piece *pieces;
};

struct fetch {
    struct fetch_wants want;
    size_t section_count;
    struct view_walk walk;
    struct entry *batch;
    uint32_t *uids;
    size_t n, room /* of both */, batch_size, batch_bytes;
    size_t lost;      /* entries of the batch */
    size_t at, piece; /* what is said next */
    uint64_t pos;     /* of a streamed piece */
    bool header_said;
    bool reparsing;      /* the message at `at` */
    bool gone;           /* a message could not be answered */
    struct arena *arena; /* of one meta record */
};

static void entry_free(struct fetch *x, struct entry *e)
{
    buf_free(&e->text);
    for (size_t i = 0; e->pieces && i < x->section_count; i++) {
        ticket_void(&e->pieces[i].ticket);
        buf_free(&e->pieces[i].bytes);
    }
    free(e->pieces);
    *e = (struct entry){0};
}

static void batch_free(struct fetch *x)
{
    for (size_t i = 0; i < x->n; i++)
        entry_free(x, &x->batch[i]);
    x->n = x->at = x->piece = x->lost = 0;
}

static void fetch_cleanup(struct imap *s)
{
    struct fetch *x = s->cmd.args;
    batch_free(x);
    free(x->batch);
    free(x->uids);
    arena_free(&x->arena);
}

/* Nothing that a change in the mailbox could change: neither flags nor messages that the view has not. */
static bool is_of_old(const struct imap *s, const struct fetch_wants *w)
{
    bool old = !w->has_flags && !w->has_modseq && !w->sets_seen && !w->changed_since_given;
    for (size_t i = 0; i < w->set.n && s->cmd.uid; i++)
        old = old && w->set.v[i].first != SEQ_STAR && w->set.v[i].last != SEQ_STAR;
    return old && (!s->cmd.uid || w->set.highest < s->view.uidnext);
}

bool parse_fetch(struct imap *s, struct cursor *c)
{
    struct fetch *x = arena_alloc(s->arena, sizeof *x);
    if (!x)
        return false;
    s->cmd.args = x;
    s->cmd.cleanup = fetch_cleanup;
    bool ok = fetch_parse(s, c, &x->want);
    s->cmd.of_old = ok && is_of_old(s, &x->want);
    return ok;
}

/* -- items of row and record -- */

static void put_date(struct imap *s, const char *name, int64_t seconds, int zone_min)
{
    char text[40];
    date_imap_format(seconds, zone_min, text, sizeof text);
    putf(s, "%s \"%s\"", name, text);
}

static void put_item(struct imap *s, const struct fetch_item *it, const struct view_row *r,
                     const struct mime_meta *m)
{
    enum { EPOCH_2020 = 1577836800 };
    switch (it->kind) {
    case FI_FLAGS:
        put(s, "FLAGS (");
        put_flags(s, r);
        put(s, ")");
        break;
    case FI_UID:
        putf(s, "UID %u", r->uid);
        break;
    case FI_INTERNALDATE:
        put_date(s, "INTERNALDATE", r->internal_s, r->zone_min);
        break;
    case FI_SAVEDATE:
        if (r->saved_s_low)
            put_date(s, "SAVEDATE", (int64_t)EPOCH_2020 + r->saved_s_low, 0);
        else
            put(s, "SAVEDATE NIL");
        break;
    case FI_SIZE:
        putf(s, "RFC822.SIZE %u", r->size);
        break;
    case FI_MODSEQ:
        putf(s, "MODSEQ (%llu)", (unsigned long long)r->modseq);
        break;
    case FI_EMAILID:
        putf(s, "EMAILID (E%llu)", (unsigned long long)r->content);
        break;
    case FI_THREADID:
        put(s, "THREADID NIL");
        break;
    case FI_ENVELOPE:
        put(s, "ENVELOPE ");
        put_span(s, m->envelope);
        break;
    case FI_BODY:
        put(s, "BODY ");
        put_span(s, m->body);
        break;
    case FI_BODYSTRUCTURE:
        put(s, "BODYSTRUCTURE ");
        put_span(s, m->bodystructure);
        break;
    case FI_PREVIEW:
        put(s, "PREVIEW ");
        put_string(s, m->preview);
        break;
    case FI_SECTION:
        break;
    }
}

/* All but the sections; true when something was said. */
static bool put_items(struct imap *s, const struct fetch *x, const struct view_row *r,
                      const struct mime_meta *m, bool flags_new)
{
    const struct fetch_wants *w = &x->want;
    const struct fetch_item uid = {.kind = FI_UID}, flags = {.kind = FI_FLAGS}, modseq = {.kind = FI_MODSEQ};
    const struct fetch_item *extra[] = {
        s->cmd.uid && !w->has_uid ? &uid : NULL, flags_new && !w->has_flags ? &flags : NULL,
        flags_new && !w->has_modseq && s->enabled & EN_CONDSTORE ? &modseq : NULL};
    const char *gap = "";
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++)
        if (extra[i]) {
            put(s, gap);
            put_item(s, extra[i], r, m);
            gap = " ";
        }
    for (size_t i = 0; i < w->item_count; i++)
        if (w->items[i].kind != FI_SECTION) {
            put(s, gap);
            put_item(s, &w->items[i], r, m);
            gap = " ";
        }
    return *gap;
}

static void put_line(struct imap *s, const struct fetch *x, const struct entry *e, const struct mime_meta *m)
{
    const struct view_row *r = &s->view.rows[e->index];
    putf(s, "* %zu FETCH (", e->index + 1);
    put_items(s, x, r, m, e->flags_new);
    put(s, ")\r\n");
}

/* -- picking -- */

static bool wanted(const struct imap *s, const struct fetch *x, size_t index)
{
    return !x->want.changed_since_given || s->view.rows[index].modseq > x->want.changed_since;
}

/* Rows are all that is needed: said straight away. */
static enum run rows_slice(struct imap *s, struct fetch *x)
{
    size_t i;
    for (unsigned said = 0; said < ROWS_SLICE; said++) {
        if (!view_next(&s->view, &x->want.set, s->cmd.uid || x->want.set.saved, &x->walk, &i))
            return imap_done_ok(s, NULL);
        struct entry e = {.index = i};
        bool empty = s->view.rows[i].state & ROW_GONE && !s->view.rows[i].modseq; /* nothing is known of it */
        if (empty && !s->cmd.uid)
            x->gone = true;
        else if (!empty && wanted(s, x, i) && !(s->cmd.uid && s->view.rows[i].state & ROW_GONE))
            put_line(s, x, &e, NULL);
    }
    return RUN_AGAIN;
}

static enum run finish(struct imap *s, const struct fetch *x)
{
    if (x->gone && !s->cmd.uid)
        return imap_done(s, COND_NO, "EXPUNGEISSUED", "Some of the messages no longer exist.");
    return imap_done_ok(s, NULL);
}

static void pick_batch(struct imap *s, struct fetch *x)
{
    size_t i;
    if (x->room < x->batch_size) {
        x->room = x->batch_size;
        x->batch = xrealloc(x->batch, x->room * sizeof *x->batch);
        x->uids = xrealloc(x->uids, x->room * sizeof *x->uids);
    }
    while (x->n < x->batch_size &&
           view_next(&s->view, &x->want.set, s->cmd.uid || x->want.set.saved, &x->walk, &i)) {
        if (s->view.rows[i].state & ROW_GONE) {
            x->gone = true;
            continue;
        }
        if (!wanted(s, x, i))
            continue;
        x->uids[x->n] = s->view.rows[i].uid;
        x->batch[x->n++] = (struct entry){.index = i};
    }
}

/* -- \Seen -- */

static void on_flagged(void *session, enum err_code code, const struct store_flagged *f)
{
    struct imap *s = session;
    struct fetch *x = s->cmd.args;
    if (code == ERR_OK) {
        view_flagged(&s->view, f->runs, f->run_count);
        for (size_t i = 0, k = 0; i < x->n && k < f->run_count; i++) {
            while (k < f->run_count && f->runs[k].first + (f->runs[k].count - 1) < x->uids[i])
                k++;
            if (k < f->run_count && x->uids[i] >= f->runs[k].first)
                x->batch[i].flags_new = true;
        }
    }
    imap_answered(s, code);
}

/* False: nothing is to be set. */
static bool ask_seen(struct imap *s, struct fetch *x)
{
    static const struct store_flag_change seen = {.op = STORE_FLAGS_ADD, .flags = STORE_SEEN};
    uint32_t uids[META_MOST];
    size_t n = 0;
    for (size_t i = 0; i < x->n && x->want.sets_seen && !s->view.read_only; i++)
        if (!(s->view.rows[x->batch[i].index].flags & STORE_SEEN))
            uids[n++] = x->uids[i];
    if (n)
        store_flags(s->account, s->view.mailbox, uids, n, &seen, imap_ask(s), on_flagged);
    return n;
}

/* -- meta records -- */

/* Lay out the pieces of a message and write down what stands before them. */
static void prepare(struct imap *s, struct fetch *x, struct entry *e, const struct mime_meta *m)
{
    const struct view_row *r = &s->view.rows[e->index];
    e->found = true;
    e->pieces = xcalloc(x->section_count, sizeof *e->pieces);
    for (size_t i = 0, k = 0; i < x->want.item_count; i++) {
        const struct fetch_item *it = &x->want.items[i];
        if (it->kind != FI_SECTION)
            continue;
        struct piece *p = &e->pieces[k++];
        p->s = s;
        p->nil = !fetch_section(it, m, r->size, &p->at, &p->n);
        bool fields = it->what == SEC_FIELDS || it->what == SEC_FIELDS_NOT;
        if (it->partial && !fields && !p->nil) {
            uint64_t first = it->first < p->n ? it->first : p->n;
            p->at += first;
            p->n = it->want < p->n - first ? it->want : p->n - first;
        }
        if (fields && p->n > FIELDS_LIMIT)
            p->n = FIELDS_LIMIT;
        buf_init(&p->bytes, FIELDS_LIMIT + PIECE_READ);
    }
    struct buf *out = s->out;
    buf_init(&e->text, 32 << 20);
    s->out = &e->text;
    put_items(s, x, r, m, e->flags_new);
    s->out = out;
}

static void take_meta(struct imap *s, struct fetch *x, struct entry *e, const struct mime_meta *m)
{
    e->found = true;
    if (x->want.has_sections)
        prepare(s, x, e, m);
    else
        put_line(s, x, e, m);
}

static void on_record(struct imap *s, struct fetch *x, struct entry *e, struct span record)
{
    struct mime_meta m;
    arena_reset(x->arena);
    enum err_code code = (x->want.has_sections ? mime_meta_read : mime_meta_head)(record, x->arena, &m);
    x->batch_bytes += record.n;
    e->lost = code != ERR_OK;
    x->lost += e->lost;
    if (!e->lost)
        take_meta(s, x, e, &m);
}

static void on_meta(void *session, enum err_code code, const struct store_meta *metas, size_t count,
                    bool more)
{
    struct imap *s = session;
    struct fetch *x = s->cmd.args;
    for (size_t i = 0; code == ERR_OK && i < count; i++) {
        while (x->at < x->n && x->uids[x->at] < metas[i].uid)
            x->at++;
        if (x->at < x->n && x->uids[x->at] == metas[i].uid)
            on_record(s, x, &x->batch[x->at], metas[i].record);
    }
    if (!more || code != ERR_OK)
        imap_answered(s, code);
}

static enum run ask_meta(struct imap *s, struct fetch *x)
{
    s->cmd.stage = FE_META;
    imap_clear(s);
    x->at = 0;
    if (x->want.needs_meta) {
        x->batch_bytes = 0;
        store_meta(s->account, s->view.mailbox, x->uids, x->n, imap_ask(s), on_meta);
        return RUN_WAIT;
    }
    for (size_t i = 0; i < x->n; i++)
        prepare(s, x, &x->batch[i], NULL);
    return RUN_AGAIN;
}

/* One message after the other: what is lost is rare. */
static enum run reparse(struct imap *s, struct fetch *x)
{
    struct mime_meta m;
    while (!x->batch[x->at].lost)
        x->at++;
    struct entry *e = &x->batch[x->at];
    if (!x->reparsing)
        reparse_begin(s, e->index);
    x->reparsing = true;
    if (reparse_step(s) == RUN_WAIT)
        return RUN_WAIT;
    if (reparse_meta(s, x->arena, &m) != REPARSED_GONE)
        take_meta(s, x, e, &m);
    e->lost = x->reparsing = false;
    x->lost--;
    return RUN_AGAIN;
}

/* As many records at a time as make a reasonable answer. */
static void adapt(struct fetch *x)
{
    size_t most = x->want.has_sections ? BODY_BATCH : META_MOST;
    if (x->batch_bytes > META_BYTES * 2 && x->batch_size > 1)
        x->batch_size /= 2;
    else if (x->batch_bytes < META_BYTES && x->batch_size < most)
        x->batch_size *= 2;
    if (x->batch_size > most)
        x->batch_size = most;
}

/* -- bytes -- */

static void on_piece(void *session, enum err_code code, struct span bytes)
{
    struct piece *p = session;
    struct imap *s = p->s;
    p->code = code;
    p->ready = code == ERR_OK && bytes.n == p->n && buf_add_span(&p->bytes, bytes);
    if (code == ERR_OK && !p->ready)
        p->code = ERR_BUG; /* the record and the content disagree */
    ticket_void(&p->ticket);
    imap_answered(s, code == ERR_MISSING ? ERR_OK : p->code);
}

static enum run ask_pieces(struct imap *s, struct fetch *x)
{
    s->cmd.stage = FE_READ;
    imap_clear(s);
    for (size_t i = 0; i < x->n; i++)
        for (size_t k = 0; x->batch[i].found && k < x->section_count; k++) {
            struct piece *p = &x->batch[i].pieces[k];
            if (p->nil || p->n > PIECE_SMALL)
                continue;
            if (!p->n) {
                p->ready = true;
                continue;
            }
            p->ticket = ticket_new(p);
            imap_ask(s);
            store_read_seen(s->account, s->view.mailbox, x->uids[i], s->view.modseq, p->at, p->n, p->ticket,
                            on_piece);
        }
    return s->cmd.pending ? RUN_WAIT : RUN_AGAIN;
}

static const struct fetch_item *section_item(const struct fetch *x, size_t k)
{
    for (size_t i = 0;; i++)
        if (x->want.items[i].kind == FI_SECTION && k-- == 0)
            return &x->want.items[i];
}

static bool is_fields(const struct fetch_item *it)
{
    return it->what == SEC_FIELDS || it->what == SEC_FIELDS_NOT;
}

static void put_literal(struct imap *s, struct span bytes)
{
    putf(s, " {%zu}\r\n", bytes.n);
    put_span(s, bytes);
}

static void put_fields(struct imap *s, const struct fetch_item *it, struct span header)
{
    struct buf chosen;
    buf_init(&chosen, FIELDS_LIMIT + 16);
    if (!fetch_fields(it, header, &chosen))
        s->overflow = true;
    struct span out = buf_span(&chosen);
    if (it->partial)
        out = span_first(span_drop(out, it->first < out.n ? (size_t)it->first : out.n),
                         it->want < out.n ? (size_t)it->want : out.n);
    put_literal(s, out);
    buf_free(&chosen);
}

static void on_stream(void *session, enum err_code code, struct span bytes)
{
    struct imap *s = session;
    struct fetch *x = s->cmd.args;
    struct piece *p = &x->batch[x->at].pieces[x->piece];
    if (code == ERR_OK && (!bytes.n || bytes.n > p->n - x->pos))
        code = ERR_BUG;
    if (code == ERR_OK && is_fields(section_item(x, x->piece))) {
        if (!buf_add_span(&p->bytes, bytes))
            code = ERR_LIMIT;
    } else if (code == ERR_OK) {
        if (!x->header_said)
            putf(s, " {%llu}\r\n", (unsigned long long)p->n);
        x->header_said = true;
        put_span(s, bytes);
    }
    x->pos += code == ERR_OK ? bytes.n : 0;
    imap_answered(s, code);
}

static enum run stream(struct imap *s, struct fetch *x)
{
    const struct entry *e = &x->batch[x->at];
    struct piece *p = &e->pieces[x->piece];
    if (s->cmd.code == ERR_MISSING && !x->header_said) { /* expunged, and its history purged */
        p->nil = x->gone = true;
        imap_clear(s);
        s->cmd.stage = FE_SAY;
        put(s, " NIL");
        x->piece++;
        return RUN_AGAIN;
    }
    if (s->cmd.code != ERR_OK) { /* the response has begun and cannot be ended */
        log_event(LOG_ERROR, &s->log, "imap.fetch.cut", F_STR("code", err_name(s->cmd.code)),
                  F_UINT("uid", s->view.rows[e->index].uid));
        return RUN_CLOSE;
    }
    if (x->pos < p->n) {
        uint64_t left = p->n - x->pos;
        store_read_seen(s->account, s->view.mailbox, s->view.rows[e->index].uid, s->view.modseq,
                        p->at + x->pos, left < PIECE_READ ? left : PIECE_READ, imap_ask(s), on_stream);
        return RUN_WAIT;
    }
    p->ready = true;
    if (is_fields(section_item(x, x->piece)))
        put_fields(s, section_item(x, x->piece), buf_span(&p->bytes));
    x->piece++;
    x->pos = 0;
    s->cmd.stage = FE_SAY;
    return RUN_AGAIN;
}

/* -- saying -- */

static bool complete(const struct fetch *x, const struct entry *e)
{
    if (!e->found)
        return false;
    for (size_t k = 0; k < x->section_count; k++)
        if (e->pieces[k].code == ERR_MISSING)
            return false;
    return true;
}

static void begin_line(struct imap *s, const struct entry *e)
{
    putf(s, "* %zu FETCH (", e->index + 1);
    put_span(s, buf_span(&e->text));
}

static enum run say(struct imap *s, struct fetch *x)
{
    struct entry *e = &x->batch[x->at];
    if (x->at == x->n) {
        batch_free(x);
        s->cmd.stage = FE_PICK;
        return RUN_AGAIN;
    }
    if (x->piece == 0) {
        if (!complete(x, e)) {
            x->gone = true;
            entry_free(x, e);
            x->at++;
            return RUN_AGAIN;
        }
        begin_line(s, e);
    }
    while (x->piece < x->section_count) {
        struct piece *p = &e->pieces[x->piece];
        const struct fetch_item *it = section_item(x, x->piece);
        put(s, x->piece || e->text.n ? " " : "");
        put_span(s, it->label);
        if (!p->nil && !p->ready) {
            s->cmd.stage = FE_STREAM;
            x->header_said = false;
            x->pos = 0;
            imap_clear(s);
            return RUN_AGAIN;
        }
        if (p->nil)
            put(s, " NIL");
        else if (is_fields(it))
            put_fields(s, it, buf_span(&p->bytes));
        else
            put_literal(s, buf_span(&p->bytes));
        x->piece++;
    }
    put(s, ")\r\n");
    entry_free(x, e);
    x->piece = 0;
    x->at++;
    return RUN_AGAIN;
}

/* -- the command -- */

static enum run start(struct imap *s, struct fetch *x)
{
    if (!imap_set_fix(s, &x->want.set, s->cmd.uid))
        return imap_done(s, COND_BAD, NULL, "Invalid messageset.");
    for (size_t i = 0; i < x->want.item_count; i++)
        x->section_count += x->want.items[i].kind == FI_SECTION;
    s->cmd.stage = FE_PICK;
    x->batch_size = META_FIRST;
    if (x->want.needs_meta || x->want.has_sections)
        x->arena = arena_new(META_ARENA);
    return RUN_AGAIN;
}

static enum run pick(struct imap *s, struct fetch *x)
{
    if (!x->arena) {
        enum run r = rows_slice(s, x);
        return r == RUN_DONE ? finish(s, x) : r;
    }
    pick_batch(s, x);
    if (!x->n)
        return finish(s, x);
    imap_clear(s);
    s->cmd.stage = FE_SEEN;
    return ask_seen(s, x) ? RUN_WAIT : RUN_AGAIN;
}

static enum run after_meta(struct imap *s, struct fetch *x)
{
    adapt(x);
    if (x->want.has_sections)
        return ask_pieces(s, x);
    for (size_t i = 0; i < x->n; i++)
        x->gone = x->gone || !x->batch[i].found;
    batch_free(x);
    s->cmd.stage = FE_PICK;
    return RUN_AGAIN;
}

enum run run_fetch(struct imap *s)
{
    struct fetch *x = s->cmd.args;
    if (s->cmd.code != ERR_OK && s->cmd.stage != FE_STREAM)
        return imap_done_err(s, s->cmd.code);
    switch (s->cmd.stage) {
    case FE_START:
        return start(s, x);
    case FE_PICK:
        return pick(s, x);
    case FE_SEEN:
        return ask_meta(s, x);
    case FE_META:
        x->at = 0;
        s->cmd.stage = FE_REPARSE;
        return RUN_AGAIN;
    case FE_REPARSE:
        return x->lost ? reparse(s, x) : after_meta(s, x);
    case FE_READ:
        x->at = x->piece = 0;
        s->cmd.stage = FE_SAY;
        return RUN_AGAIN;
    case FE_SAY:
        return say(s, x);
    default:
        return stream(s, x);
    }
}
