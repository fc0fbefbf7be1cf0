/* SEARCH (RFC 3501 6.4.4, ESEARCH RFC 4731).
 *
 *   rows, in slices --unknown--> meta records, in batches --unknown--> bytes, one message after the other
 *
 * The hard problem is cost: what rows decide is never asked for, records are judged as they come, and of the
 * few messages whose bytes are needed the first PREFETCH bytes of a whole batch are asked for together. */
#include "common/base/clock.h"
#include "imapd/search.h"
#include <stdlib.h>

enum {
    ROWS_SLICE = 5000,
    META_BATCH = 256,
    DOCS = 16,
    PREFETCH = 64 << 10,
    READ = 256 << 10,
    HEADER_LIMIT = 1 << 20,
    ARENA = 32 << 20
};
enum { SE_START, SE_ROWS, SE_META, SE_FETCH, SE_JUDGE, SE_REPARSE, SE_STREAM };

/* A message whose bytes are needed. */
struct doc {
    struct imap *s;
    struct ticket *ticket;
    size_t index;
    struct buf record; /* empty: it cannot be read */
    struct buf bytes;  /* its beginning */
    bool gone;
};

struct search {
    struct search_program program;
    struct arena *arena, *meta_arena;
    int64_t now_s;
    size_t next;     /* row */
    size_t *unknown; /* rows that wait for their records */
    uint32_t *uids;
    size_t unknown_count, meta_at;
    struct doc docs[META_BATCH];
    size_t doc_count, doc_at, fetched;
    /* the message that is being read */
    struct mime_meta meta;
    struct text_scan *scan;
    size_t part;
    uint64_t pos, end; /* of the part's bytes */
    bool in_header;    /* the bytes are a header inside, or the message's own */
    bool mime_header;  /* they are the MIME header of parts[part] */
    struct buf header; /* the message's own */
    struct buf inner;  /* of a message inside */
    /* results: rows, ascending */
    size_t *hits;
    size_t hit_count, hit_cap;
};

static void doc_free(struct doc *d)
{
    ticket_void(&d->ticket);
    buf_free(&d->record);
    buf_free(&d->bytes);
}

static void docs_free(struct search *x)
{
    for (size_t i = 0; i < x->doc_count; i++)
        doc_free(&x->docs[i]);
    x->doc_count = x->doc_at = x->fetched = 0;
}

static void search_cleanup(struct imap *s)
{
    struct search *x = s->cmd.args;
    docs_free(x);
    arena_free(&x->arena);
    arena_free(&x->meta_arena);
    text_scan_free(&x->scan);
    buf_free(&x->header);
    buf_free(&x->inner);
    free(x->unknown);
    free(x->uids);
    free(x->hits);
}

bool parse_search(struct imap *s, struct cursor *c)
{
    struct search *x = arena_alloc(s->arena, sizeof *x);
    if (!x)
        return false;
    s->cmd.args = x;
    s->cmd.cleanup = search_cleanup;
    x->arena = arena_new(ARENA);
    x->meta_arena = arena_new(ARENA);
    buf_init(&x->header, HEADER_LIMIT + READ);
    buf_init(&x->inner, HEADER_LIMIT + READ);
    return search_parse(s, c, &x->program);
}

static void hit(struct search *x, size_t index)
{
    if (x->hit_count == x->hit_cap) {
        x->hit_cap = x->hit_cap ? x->hit_cap * 2 : 256;
        x->hits = xrealloc(x->hits, x->hit_cap * sizeof *x->hits);
    }
    x->hits[x->hit_count++] = index;
}

static struct search_doc doc_of(struct imap *s, struct search *x, size_t index)
{
    return (struct search_doc){.s = s, .index = index, .now_s = x->now_s, .arena = x->arena};
}

/* -- answers -- */

static int by_index(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t number_of(const struct imap *s, size_t index)
{
    return s->cmd.uid ? s->view.rows[index].uid : (uint32_t)index + 1;
}

static uint64_t highest_modseq(const struct imap *s, const struct search *x)
{
    uint64_t most = 0;
    bool ends_only = x->program.extended && !(x->program.returns & (RETURN_ALL | RETURN_COUNT));
    for (size_t i = 0; i < x->hit_count; i++) {
        bool min = i == 0 && x->program.returns & RETURN_MIN;
        bool max = i + 1 == x->hit_count && x->program.returns & RETURN_MAX;
        uint64_t m = s->view.rows[x->hits[i]].modseq;
        if ((!ends_only || min || max) && m > most)
            most = m;
    }
    return most;
}

static void put_plain(struct imap *s, const struct search *x)
{
    put(s, "* SEARCH");
    for (size_t i = 0; i < x->hit_count; i++)
        putf(s, " %u", number_of(s, x->hits[i]));
    if (x->program.uses_modseq && x->hit_count)
        putf(s, " (MODSEQ %llu)", (unsigned long long)highest_modseq(s, x));
    put(s, "\r\n");
}

static void put_all(struct imap *s, const struct search *x)
{
    uint32_t *numbers = xcalloc(x->hit_count, sizeof *numbers);
    for (size_t i = 0; i < x->hit_count; i++)
        numbers[i] = number_of(s, x->hits[i]);
    put(s, " ALL ");
    if (!uidset_put(numbers, x->hit_count, s->out))
        s->overflow = true;
    free(numbers);
}

static void put_extended(struct imap *s, const struct search *x)
{
    unsigned r = x->program.returns;
    put(s, "* ESEARCH (TAG ");
    put_string(s, s->cmd.tag);
    put(s, s->cmd.uid ? ") UID" : ")");
    if (x->hit_count && r & RETURN_MIN)
        putf(s, " MIN %u", number_of(s, x->hits[0]));
    if (x->hit_count && r & RETURN_MAX)
        putf(s, " MAX %u", number_of(s, x->hits[x->hit_count - 1]));
    if (x->hit_count && r & RETURN_ALL)
        put_all(s, x);
    if (r & RETURN_COUNT)
        putf(s, " COUNT %zu", x->hit_count);
    if (x->program.uses_modseq && x->hit_count)
        putf(s, " MODSEQ %llu", (unsigned long long)highest_modseq(s, x));
    put(s, "\r\n");
}

/* RFC 5182 2.1: with MIN or MAX and without ALL and COUNT only those are kept. */
static void save(struct imap *s, const struct search *x)
{
    unsigned r = x->program.returns;
    bool ends_only = r & (RETURN_MIN | RETURN_MAX) && !(r & (RETURN_ALL | RETURN_COUNT));
    uint32_t *uids = xcalloc(x->hit_count + 1, sizeof *uids);
    size_t n = 0;
    for (size_t i = 0; i < x->hit_count; i++)
        if (!ends_only || (i == 0 && r & RETURN_MIN) || (i + 1 == x->hit_count && r & RETURN_MAX))
            uids[n++] = s->view.rows[x->hits[i]].uid;
    imap_save_result(s, uids, n);
    free(uids);
}

static enum run answer(struct imap *s, struct search *x)
{
    if (x->hit_count)
        qsort(x->hits, x->hit_count, sizeof *x->hits, by_index);
    if (x->program.returns & RETURN_SAVE)
        save(s, x);
    if (!x->program.extended)
        put_plain(s, x);
    else if (x->program.returns != RETURN_SAVE)
        put_extended(s, x);
    return imap_done_ok(s, NULL);
}

static enum run failed(struct imap *s, struct search *x, enum err_code code)
{
    if (x->program.returns & RETURN_SAVE)
        imap_save_result(s, NULL, 0);
    return imap_done_err(s, code);
}

/* -- rows -- */

static enum run rows_slice(struct imap *s, struct search *x)
{
    size_t end = x->next + ROWS_SLICE < s->view.told ? x->next + ROWS_SLICE : s->view.told;
    for (; x->next < end && x->unknown_count < META_BATCH; x->next++) {
        if (s->view.rows[x->next].state & ROW_GONE)
            continue;
        struct search_doc d = doc_of(s, x, x->next);
        enum tri t = search_eval(x->program.root, &d);
        if (t == TRI_YES)
            hit(x, x->next);
        if (t != TRI_UNKNOWN)
            continue;
        x->uids[x->unknown_count] = s->view.rows[x->next].uid;
        x->unknown[x->unknown_count++] = x->next;
    }
    bool over = x->next == s->view.told;
    if (x->unknown_count == META_BATCH || (over && x->unknown_count)) {
        s->cmd.stage = SE_META;
        return RUN_AGAIN;
    }
    return over ? answer(s, x) : RUN_AGAIN;
}

/* -- records -- */

static void on_record(struct imap *s, struct search *x, size_t index, struct span record)
{
    struct mime_meta m;
    struct search_doc d = doc_of(s, x, index);
    arena_reset(x->meta_arena);
    if (mime_meta_head(record, x->meta_arena, &m) == ERR_OK)
        d.meta = &m;
    else
        record.n = 0;
    arena_reset(x->arena);
    enum tri t = search_eval(x->program.root, &d);
    if (t == TRI_YES)
        hit(x, index);
    if (t != TRI_UNKNOWN || x->doc_count == META_BATCH)
        return;
    struct doc *doc = &x->docs[x->doc_count++];
    *doc = (struct doc){.s = s, .index = index};
    buf_init(&doc->record, record.n);
    buf_init(&doc->bytes, PREFETCH);
    if (!buf_add_span(&doc->record, record))
        s->cmd.code = ERR_BUG;
}

static void on_meta(void *session, enum err_code code, const struct store_meta *metas, size_t count,
                    bool more)
{
    struct imap *s = session;
    struct search *x = s->cmd.args;
    for (size_t i = 0; code == ERR_OK && i < count; i++) {
        while (x->meta_at < x->unknown_count && x->uids[x->meta_at] < metas[i].uid)
            x->meta_at++;
        if (x->meta_at < x->unknown_count && x->uids[x->meta_at] == metas[i].uid)
            on_record(s, x, x->unknown[x->meta_at], metas[i].record);
    }
    if (!more || code != ERR_OK)
        imap_answered(s, code);
}

static enum run ask_meta(struct imap *s, struct search *x)
{
    s->cmd.stage = SE_FETCH;
    x->meta_at = 0;
    imap_clear(s);
    store_meta(s->account, s->view.mailbox, x->uids, x->unknown_count, imap_ask(s), on_meta);
    return RUN_WAIT;
}

/* -- bytes -- */

static void on_bytes(void *session, enum err_code code, struct span bytes)
{
    struct doc *d = session;
    struct imap *s = d->s;
    if (code == ERR_BUG && !d->record.n)
        code = ERR_OK; /* reparse_step will see it */
    else if (code == ERR_MISSING)
        d->gone = true;
    else if (code == ERR_OK && !buf_add_span(&d->bytes, bytes))
        code = ERR_BUG;
    ticket_void(&d->ticket);
    imap_answered(s, code == ERR_MISSING ? ERR_OK : code);
}

/* The beginnings of the next messages. */
static enum run ask_docs(struct imap *s, struct search *x)
{
    imap_clear(s);
    for (unsigned i = 0; i < DOCS && x->fetched < x->doc_count; i++, x->fetched++) {
        struct doc *d = &x->docs[x->fetched];
        uint32_t size = s->view.rows[d->index].size;
        if (!size)
            continue;
        d->ticket = ticket_new(d);
        imap_ask(s);
        store_read(s->account, s->view.mailbox, s->view.rows[d->index].uid, 0,
                   size < PREFETCH ? size : PREFETCH, d->ticket, on_bytes);
    }
    s->cmd.stage = SE_JUDGE;
    return s->cmd.pending ? RUN_WAIT : RUN_AGAIN;
}

static enum run next_doc(struct imap *s, struct search *x)
{
    doc_free(&x->docs[x->doc_at]);
    x->docs[x->doc_at] = (struct doc){0};
    x->doc_at++;
    text_forget(x->program.root); /* what was found was found in this message */
    s->cmd.stage = x->doc_at < x->fetched ? SE_JUDGE : SE_FETCH;
    if (x->doc_at == x->doc_count) {
        x->doc_count = x->doc_at = x->fetched = x->unknown_count = 0;
        s->cmd.stage = SE_ROWS;
    }
    return RUN_AGAIN;
}

static enum run decide(struct imap *s, struct search *x, bool has_body, bool *undecided)
{
    struct doc *d = &x->docs[x->doc_at];
    struct search_doc sd = doc_of(s, x, d->index);
    arena_reset(x->arena);
    sd.meta = &x->meta;
    sd.has_header = true;
    sd.header = buf_span(&x->header);
    sd.has_body = has_body;
    enum tri t = search_eval(x->program.root, &sd);
    *undecided = t == TRI_UNKNOWN;
    if (t == TRI_YES)
        hit(x, d->index);
    return t == TRI_UNKNOWN ? RUN_AGAIN : next_doc(s, x);
}

static void begin_inner(struct search *x, uint64_t at, uint64_t n)
{
    x->in_header = true;
    buf_reset(&x->inner);
    x->pos = at;
    x->end = at + (n < HEADER_LIMIT ? n : HEADER_LIMIT);
}

/* Set pos and end to the next bytes to look at: MIME headers of parts (for TEXT alone, RFC 9051 6.4.4),
 * headers of messages inside, texts. False: there are none. */
static bool next_part(struct search *x)
{
    while (x->part < x->meta.part_count) {
        const struct mime_part *p = &x->meta.parts[x->part];
        x->mime_header = !x->mime_header && x->part && p->header_n && text_wants_headers(x->program.root);
        if (x->mime_header) {
            begin_inner(x, p->header_at, p->header_n);
            return true;
        }
        x->part++;
        if (p->kind == MIME_MESSAGE && p->inner_header_n) {
            begin_inner(x, p->inner_header_at, p->inner_header_n);
            return true;
        }
        if (p->kind == MIME_LEAF && span_eq(p->type, SPAN("text")) && p->body_n) {
            x->in_header = false;
            text_scan_begin(x->scan, p);
            x->pos = p->body_at;
            x->end = p->body_at + p->body_n;
            return true;
        }
    }
    return false;
}

/* Its header first. */
static enum run begin_doc(struct imap *s, struct search *x)
{
    if (!x->scan)
        x->scan = text_scan_new(&x->program);
    buf_reset(&x->header);
    x->part = 0;
    x->in_header = true;
    x->mime_header = false;
    x->pos = 0;
    x->end = x->meta.header_n < HEADER_LIMIT ? x->meta.header_n : HEADER_LIMIT;
    s->cmd.stage = SE_STREAM;
    return RUN_AGAIN;
}

static enum run open_doc(struct imap *s, struct search *x)
{
    struct doc *d = &x->docs[x->doc_at];
    arena_reset(x->meta_arena);
    if (d->gone)
        return next_doc(s, x);
    if (mime_meta_read(buf_span(&d->record), x->meta_arena, &x->meta) == ERR_OK)
        return begin_doc(s, x);
    reparse_begin(s, d->index);
    s->cmd.stage = SE_REPARSE;
    return RUN_AGAIN;
}

/* The record of the message is lost: its bytes are read for another one. */
static enum run reparse(struct imap *s, struct search *x)
{
    if (reparse_step(s) == RUN_WAIT)
        return RUN_WAIT;
    switch (reparse_meta(s, x->meta_arena, &x->meta)) {
    case REPARSED_GONE:
        return next_doc(s, x);
    case REPARSED_NOTHING:
        x->meta.part_count = 0; /* there are no bytes to look at */
        break;
    case REPARSED:
        break;
    }
    return begin_doc(s, x);
}

static void take(struct search *x, struct span bytes)
{
    bool last = x->pos + bytes.n >= x->end;
    x->pos += bytes.n;
    if (!x->in_header)
        text_scan_feed(x->scan, bytes, last);
    else if (!buf_add_span(x->part ? &x->inner : &x->header, bytes))
        x->pos = x->end;
}

static void on_stream(void *session, enum err_code code, struct span bytes)
{
    struct imap *s = session;
    struct search *x = s->cmd.args;
    if (code == ERR_OK && (!bytes.n || bytes.n > x->end - x->pos))
        code = ERR_BUG;
    if (code == ERR_OK)
        take(x, bytes);
    if (code == ERR_MISSING)
        x->docs[x->doc_at].gone = true;
    imap_answered(s, code == ERR_MISSING ? ERR_OK : code);
}

/* What was asked for is read: judge, or go on to the next bytes. */
static enum run after_piece(struct imap *s, struct search *x)
{
    bool own = x->in_header && x->part == 0, undecided = true;
    if (x->in_header)
        text_in_header(x->program.root, x->arena, buf_span(own ? &x->header : &x->inner),
                       !own && !x->mime_header);
    if (x->mime_header) /* as its reader sees it, however it was encoded */
        text_in_name(x->program.root, x->meta.parts[x->part].filename);
    if (own) {
        enum run r = decide(s, x, false, &undecided);
        if (!undecided)
            return r;
    }
    x->in_header = false;
    if (text_scan_done(x->program.root) || !next_part(x))
        return decide(s, x, true, &undecided);
    return RUN_AGAIN;
}

static enum run stream(struct imap *s, struct search *x)
{
    struct doc *d = &x->docs[x->doc_at];
    if (d->gone)
        return next_doc(s, x);
    if (x->pos >= x->end)
        return after_piece(s, x);
    if (x->pos < d->bytes.n) {
        struct span at_hand = span_drop(buf_span(&d->bytes), (size_t)x->pos);
        uint64_t left = x->end - x->pos;
        take(x, left < at_hand.n ? span_first(at_hand, (size_t)left) : at_hand);
        return RUN_AGAIN;
    }
    uint64_t left = x->end - x->pos;
    store_read(s->account, s->view.mailbox, s->view.rows[d->index].uid, x->pos, left < READ ? left : READ,
               imap_ask(s), on_stream);
    return RUN_WAIT;
}

/* -- the command -- */

static enum run start(struct imap *s, struct search *x)
{
    if (x->program.bad_charset) {
        if (x->program.returns & RETURN_SAVE) /* RFC 5182 2.1: NO empties it */
            imap_save_result(s, NULL, 0);
        return imap_done(s, COND_NO, "BADCHARSET (US-ASCII UTF-8 ISO-8859-1 WINDOWS-1258 TCVN VISCII)",
                         "The charset is not known.");
    }
    if (!search_fix(s, x->program.root))
        return failed(s, x, ERR_LIMIT);
    x->now_s = clock_wall_s();
    x->unknown = xcalloc(META_BATCH, sizeof *x->unknown);
    x->uids = xcalloc(META_BATCH, sizeof *x->uids);
    s->cmd.stage = SE_ROWS;
    return RUN_AGAIN;
}

static enum run fetch(struct imap *s, struct search *x)
{
    if (x->doc_at < x->doc_count)
        return ask_docs(s, x);
    x->unknown_count = 0;
    s->cmd.stage = SE_ROWS;
    return RUN_AGAIN;
}

enum run run_search(struct imap *s)
{
    struct search *x = s->cmd.args;
    if (s->cmd.code != ERR_OK)
        return failed(s, x, s->cmd.code);
    switch (s->cmd.stage) {
    case SE_START:
        return start(s, x);
    case SE_ROWS:
        return rows_slice(s, x);
    case SE_META:
        return ask_meta(s, x);
    case SE_FETCH:
        return fetch(s, x);
    case SE_JUDGE:
        return open_doc(s, x);
    case SE_REPARSE:
        return reparse(s, x);
    default:
        return stream(s, x);
    }
}
