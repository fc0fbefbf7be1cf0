/* The store's side of an import: one account, reached like any session's with a grant (directoryd gives it to
 * the admin socket). Messages are packed and parsed as they come and never whole in memory; several are on
 * their way to the store at a time. The hard problem is exactly once: each message has a name for ever
 * (import_key), which is the trace it is filed under, and the store files a trace once; so whatever is
 * repeated after a death, of this program or of the store, is answered "known". Where messages come from, and
 * what of them is new, is the sources' business. */
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/mime/charset.h"
#include "common/mime/parse.h"
#include "mailadm/import.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <uthash.h>

enum {
    WINDOW = 64,             /* messages on their way */
    WINDOW_BYTES = 32 << 20, /* of them, packed */
    KEYWORDS = 64,           /* of a mailbox of the store */
    KEYWORD_LENGTH = 100,
    CHUNK = 64 << 10,
    EXPUNGE = 1000,
    PATIENCE_MS = 2 * STORE_PATIENCE_MS
};

struct box {
    uint64_t id;
    enum store_use use;
    bool no_select, subscribed;
    UT_hash_handle hh;
    size_t n;
    char name[];
};

struct target {
    struct ask *k;
    const struct import_options *o;
    struct import_notes *notes;
    struct import_report *report;
    struct uuid id;
    struct store *session;
    struct store_account *account;
    struct box *boxes;
    unsigned waiting;
    uint64_t waiting_bytes;
    bool failed, refused_store;
    /* the message that is coming */
    struct content *content;
    struct mime_parser *parser;
    struct crypto_hash *hash; /* dry run: there is no content that would have it */
    bool after_cr, finished;
    const char *why; /* it is refused */
    uint64_t size, in_size;
    struct buf line_ends;
};

static const char *const store_away = "the store does not answer: run the import again, it goes on here";

/* -- one question -- */

struct reply {
    struct target *t;
    bool done;
    enum err_code code;
    void *out;
};

static void answered(struct reply *r, enum err_code code)
{
    r->done = true;
    r->code = code;
    ask_end(r->t->k, ERR_OK);
}

static enum err_code wait_reply(struct reply *r, struct ticket *ticket)
{
    uint64_t end_ms = clock_mono_ms() + PATIENCE_MS;
    while (!r->done && clock_mono_ms() < end_ms)
        (void)ask_wait(r->t->k, end_ms - clock_mono_ms() + 1); /* done says it */
    ticket_void(&ticket);
    return r->done ? r->code : ERR_RETRY;
}

static void fail(struct target *t, const char *why)
{
    if (!t->failed)
        import_refused(t->report, SPAN_NONE, SPAN_NONE, why);
    t->failed = true;
}

bool target_failed(const struct target *t)
{
    return t->failed;
}

/* -- what is on its way: appended messages, changed flags -- */

struct op {
    struct target *t;
    struct ticket *ticket;
    struct import_note note;
    struct trace_id trace;
    struct content *content;
    uint64_t bytes, in_bytes;
    char *mailbox, *source;
    int64_t internal_s;
    int zone_min;
    uint32_t flags;
    struct span keywords[KEYWORDS]; /* into words */
    size_t keyword_count;
    char *words;
};

static void op_free(struct op *p)
{
    p->t->waiting--;
    p->t->waiting_bytes -= p->bytes;
    ticket_void(&p->ticket);
    content_free(&p->content);
    free(p->mailbox);
    free(p->source);
    free(p->words);
    free(p);
}

/* Wait until no more than this is on its way. */
static void drain(struct target *t, unsigned waiting, uint64_t bytes)
{
    uint64_t end_ms = clock_mono_ms() + PATIENCE_MS;
    while (!t->failed && t->waiting && (t->waiting > waiting || t->waiting_bytes > bytes)) {
        unsigned before = t->waiting;
        (void)ask_wait(t->k, PATIENCE_MS); /* waiting says it */
        if (t->waiting < before)
            end_ms = clock_mono_ms() + PATIENCE_MS;
        else if (clock_mono_ms() > end_ms)
            fail(t, store_away);
    }
}

/* Let the loop send and take what it can, without waiting. */
static void turn(struct target *t)
{
    (void)ask_wait(t->k, 0);
}

static void send_append(struct op *p);

/* Store keyword names: what an atom cannot hold becomes "_". */
static void take_keywords(struct op *p, const struct target_message *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->keyword_count; i++)
        n += m->keywords[i].n;
    char *at = p->words = xmalloc(n + 1);
    for (size_t i = 0; i < m->keyword_count && p->keyword_count < KEYWORDS; i++) {
        struct span k = span_first(m->keywords[i], KEYWORD_LENGTH);
        if (!k.n)
            continue;
        for (size_t c = 0; c < k.n; c++)
            at[c] = k.p[c] <= ' ' || k.p[c] == 127 || strchr("(){%*\"\\]", k.p[c]) ? '_' : k.p[c];
        p->keywords[p->keyword_count++] = span_of(at, k.n);
        at += k.n;
    }
}

static struct op *op_new(struct target *t, const struct target_message *m)
{
    struct op *p = xcalloc(1, sizeof *p);
    *p = (struct op){.t = t, .flags = m->flags & 0x1f, .note = {.key = m->key, .seen = true}};
    p->ticket = ticket_new(p);
    p->mailbox = xstrspan(m->mailbox);
    p->source = xstrspan(m->source);
    p->note.state = import_state(m->flags, m->keywords, m->keyword_count);
    memcpy(p->trace.text, m->key.text, TRACE_TEXT);
    take_keywords(p, m);
    t->waiting++;
    return p;
}

static void filed(struct op *p, const struct store_appended *answer)
{
    struct import_counts *c = p->t->report->counts;
    if (answer) {
        p->note.mailbox = answer->mailbox;
        p->note.uid = answer->uid;
        atomic_fetch_add(&c->filed, 1);
        atomic_fetch_add(&c->filed_bytes, p->in_bytes);
    } else {
        atomic_fetch_add(&c->known, 1);
    }
    import_note_put(p->t->notes, &p->note);
}

static void on_appended(void *session, enum err_code code, const struct store_appended *answer)
{
    struct op *p = session;
    struct target *t = p->t;
    ask_end(t->k, ERR_OK);
    if (code == ERR_LIMIT && p->keyword_count) { /* room for the message, but not for its keywords? */
        p->keyword_count = 0;
        send_append(p);
        return;
    }
    if (code == ERR_OK || code == ERR_STATE)
        filed(p, code == ERR_OK ? answer : NULL);
    else if (code == ERR_RETRY || code == ERR_DENIED)
        fail(t, code == ERR_RETRY ? store_away : "the grant is refused or has expired: run the import again");
    else
        import_refused(t->report, span_str(p->mailbox), span_str(p->source),
                       code == ERR_LIMIT     ? "the account is over its quota"
                       : code == ERR_MISSING ? "the mailbox was deleted meanwhile"
                                             : "the store refuses the message");
    op_free(p);
}

static void send_append(struct op *p)
{
    const struct store_append m = {.mailbox = span_str(p->mailbox),
                                   .content = p->content,
                                   .flags = p->flags,
                                   .keywords = p->keywords,
                                   .keyword_count = p->keyword_count,
                                   .internal_s = p->internal_s,
                                   .zone_min = (int16_t)p->zone_min,
                                   .trace = p->trace,
                                   .once = true};
    store_append(p->t->account, &m, p->ticket, on_appended);
}

/* -- a message -- */

void target_begin(struct target *t)
{
    t->after_cr = t->finished = false;
    t->why = NULL;
    t->size = t->in_size = 0;
    if (t->o->dry_run) {
        crypto_hash_init(t->hash);
        return;
    }
    drain(t, WINDOW - 1, WINDOW_BYTES);
    content_free(&t->content);
    t->content = content_new();
    if (t->parser)
        mime_parser_reset(t->parser);
    else
        t->parser = mime_parser_new();
}

static void refuse(struct target *t, const char *why)
{
    if (!t->why)
        t->why = why;
    content_free(&t->content);
}

static void add(struct target *t, struct span bytes)
{
    if (t->why || !bytes.n)
        return;
    t->size += bytes.n;
    if (t->size > t->k->conf->imap_append_limit) {
        refuse(t, "larger than imap_append_limit");
    } else if (memchr(bytes.p, 0, bytes.n)) {
        refuse(t, "holds a NUL byte");
    } else if (t->o->dry_run) {
        crypto_hash_add(t->hash, bytes);
    } else {
        mime_parser_feed(t->parser, bytes);
        if (content_add(t->content, bytes) == ERR_OK)
            return;
        refuse(t, "there is no memory to keep it");
    }
}

/* Every line end as CRLF, seen from where the last piece ended. */
static void normalise(struct target *t, struct span in)
{
    bool ok = true;
    buf_reset(&t->line_ends);
    for (size_t i = 0; i < in.n && ok; i++) {
        char c = in.p[i];
        if (t->after_cr && c != '\n')
            ok = buf_add_char(&t->line_ends, '\n');
        else if (c == '\n' && !t->after_cr)
            ok = buf_add_char(&t->line_ends, '\r');
        ok = ok && buf_add_char(&t->line_ends, c);
        t->after_cr = c == '\r';
    }
    if (!ok)
        refuse(t, "its line ends cannot be kept");
    add(t, buf_span(&t->line_ends));
}

void target_add(struct target *t, struct span bytes)
{
    t->in_size += bytes.n;
    for (; bytes.n; bytes = span_drop(bytes, CHUNK))
        normalise(t, span_first(bytes, CHUNK));
}

/* The last byte has come. */
static void finish(struct target *t)
{
    if (t->finished)
        return;
    if (t->after_cr)
        add(t, SPAN("\n"));
    t->after_cr = false;
    t->finished = true;
    if (!t->size)
        refuse(t, "it is empty");
    else if (!t->why && !t->o->dry_run && content_finish(t->content, mime_parser_finish(t->parser)) != ERR_OK)
        refuse(t, "its parts cannot be described in the room there is");
}

void target_hash(struct target *t, unsigned char hash[32])
{
    finish(t);
    memset(hash, 0, 32);
    if (t->why)
        return;
    if (t->o->dry_run) {
        struct crypto_hash copy = *t->hash;
        crypto_hash_final(&copy, hash);
    } else {
        content_hash(t->content, hash);
    }
}

static void dry_end(struct target *t, const struct target_message *m)
{
    struct import_counts *c = t->report->counts;
    if (import_note_find(t->notes, &m->key)) {
        atomic_fetch_add(&c->known, 1);
    } else {
        atomic_fetch_add(&c->filed, 1);
        atomic_fetch_add(&c->filed_bytes, t->in_size);
    }
}

void target_end(struct target *t, const struct target_message *m)
{
    struct import_counts *c = t->report->counts;
    finish(t);
    atomic_fetch_add(&c->seen, 1);
    atomic_fetch_add(&c->seen_bytes, t->in_size);
    if (t->why || t->failed) {
        if (t->why)
            import_refused(t->report, m->mailbox, m->source, t->why);
    } else if (t->o->dry_run) {
        dry_end(t, m);
    } else {
        struct op *p = op_new(t, m);
        p->content = content_hold(t->content);
        p->bytes = content_packed_size(p->content);
        p->in_bytes = t->in_size;
        p->internal_s = m->has_date ? m->internal_s : clock_wall_s();
        p->zone_min = m->has_date ? m->zone_min : 0;
        t->waiting_bytes += p->bytes;
        send_append(p);
        turn(t);
    }
    content_free(&t->content);
}

void target_passed(struct target *t, uint64_t messages, uint64_t bytes)
{
    atomic_fetch_add(&t->report->counts->seen, messages);
    atomic_fetch_add(&t->report->counts->seen_bytes, bytes);
}

void target_skip(struct target *t)
{
    target_passed(t, 1, t->in_size);
    content_free(&t->content);
}

/* -- what is here already -- */

static void on_trace(void *session, enum err_code code, const struct store_trace_line *v, size_t count,
                     bool more)
{
    struct reply *r = session;
    struct import_note *note = r->out;
    for (size_t i = 0; code == ERR_OK && i < count; i++) {
        struct span detail = v[i].detail;
        while (span_eq(v[i].event, SPAN("filed")) && detail.n) {
            struct span value = span_cut(&detail, ' '), key = span_cut(&value, '=');
            if (span_eq(key, SPAN("mailbox")))
                (void)span_u64(value, &note->mailbox);
            else if (span_eq(key, SPAN("uid")))
                (void)span_u32(value, &note->uid);
        }
    }
    if (code != ERR_OK || !more)
        answered(r, code);
}

/* Where it was filed, for notes that were lost with a death. */
static bool find_place(struct target *t, struct import_note *note)
{
    struct reply r = {.t = t, .out = note};
    struct ticket *ticket = ticket_new(&r);
    if (note->mailbox)
        return true;
    store_admin_trace(t->k->store, span_str(note->key.text), ticket, on_trace);
    return wait_reply(&r, ticket) == ERR_OK && note->mailbox;
}

static void on_flagged(void *session, enum err_code code, const struct store_flagged *answer)
{
    struct op *p = session;
    struct target *t = p->t;
    (void)answer;
    ask_end(t->k, ERR_OK);
    if (code == ERR_OK) {
        atomic_fetch_add(&t->report->counts->flagged, 1);
        import_note_put(t->notes, &p->note);
    } else if (code == ERR_RETRY || code == ERR_DENIED) {
        fail(t, store_away);
    } else if (code != ERR_MISSING) { /* that mailbox was deleted here */
        import_refused(t->report, span_str(p->mailbox), span_str(p->source), "its flags cannot be changed");
    }
    op_free(p);
}

/* Its flags have changed at the source since it was filed or last looked at: they are set as they are there.
 */
static void change_flags(struct target *t, struct import_note *note, const struct target_message *m)
{
    if (!find_place(t, note) || t->failed)
        return;
    drain(t, WINDOW - 1, WINDOW_BYTES);
    struct op *p = op_new(t, m);
    p->note.mailbox = note->mailbox;
    p->note.uid = note->uid;
    const struct store_flag_change change = {
        .op = STORE_FLAGS_SET, .flags = p->flags, .keywords = p->keywords, .keyword_count = p->keyword_count};
    store_flags(t->account, note->mailbox, &note->uid, 1, &change, p->ticket, on_flagged);
    turn(t);
}

bool target_has(struct target *t, const struct target_message *m)
{
    struct import_note *note = import_note_find(t->notes, &m->key);
    if (!note)
        return false;
    uint32_t state = import_state(m->flags, m->keywords, m->keyword_count);
    note->seen = true;
    atomic_fetch_add(&t->report->counts->known, 1);
    if (state != note->state && !t->o->dry_run)
        change_flags(t, note, m);
    return true;
}

/* -- what is gone at the source -- */

static void on_expunged(void *session, enum err_code code, const uint32_t *gone, size_t count,
                        uint64_t modseq)
{
    struct reply *r = session;
    (void)gone;
    (void)modseq;
    if (code == ERR_OK)
        atomic_fetch_add(&r->t->report->counts->removed, count);
    answered(r, code);
}

static void on_marked(void *session, enum err_code code, const struct store_flagged *answer)
{
    (void)answer;
    answered(session, code);
}

static bool expunge(struct target *t, uint64_t mailbox, const uint32_t *uids, size_t count)
{
    const struct store_flag_change mark = {.op = STORE_FLAGS_ADD, .flags = STORE_DELETED};
    struct reply r = {.t = t};
    struct ticket *ticket = ticket_new(&r);
    store_flags(t->account, mailbox, uids, count, &mark, ticket, on_marked);
    enum err_code code = wait_reply(&r, ticket);
    if (code == ERR_OK) {
        r = (struct reply){.t = t};
        ticket = ticket_new(&r);
        store_expunge(t->account, mailbox, uids, count, ticket, on_expunged);
        code = wait_reply(&r, ticket);
    }
    if (code != ERR_OK && code != ERR_MISSING)
        fail(t, "what is gone at the source cannot be taken away here");
    return !t->failed;
}

static int by_place(const void *a, const void *b)
{
    const struct import_note *x = *(struct import_note *const *)a, *y = *(struct import_note *const *)b;
    if (x->mailbox != y->mailbox)
        return x->mailbox < y->mailbox ? -1 : 1;
    return (x->uid > y->uid) - (x->uid < y->uid);
}

/* v: notes of one mailbox, ascending by UID. */
static void remove_some(struct target *t, struct import_note **v, size_t count)
{
    uint32_t uids[EXPUNGE];
    for (size_t i = 0; i < count; i++)
        uids[i] = v[i]->uid;
    if (!expunge(t, v[0]->mailbox, uids, count))
        return;
    for (size_t i = 0; i < count; i++)
        import_note_remove(t->notes, v[i]);
}

void target_sync(struct target *t)
{
    struct import_note **v = NULL;
    size_t n = 0, room = 0;
    drain(t, 0, 0);
    for (struct import_note *note = NULL; !t->failed && (note = import_note_next(t->notes, note)) != NULL;) {
        if (note->seen || !find_place(t, note))
            continue;
        if (n == room)
            v = xrealloc(v, (room = room ? room * 2 : 64) * sizeof(struct import_note *));
        v[n++] = note;
    }
    if (n)
        qsort(v, n, sizeof(struct import_note *), by_place);
    for (size_t i = 0, k; i < n && !t->failed; i = k) {
        for (k = i + 1; k < n && k - i < EXPUNGE && v[k]->mailbox == v[i]->mailbox;)
            k++;
        remove_some(t, v + i, k - i);
    }
    free(v);
}

/* -- mailboxes -- */

static struct box *box_add(struct target *t, struct span name, const struct store_mailbox *b)
{
    struct box *x = xcalloc(1, sizeof *x + name.n + 1);
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

static struct box *box_find(struct target *t, struct span name)
{
    struct box *x = NULL;
    HASH_FIND(hh, t->boxes, name.p, name.n, x);
    return x;
}

static void on_list(void *session, enum err_code code, const struct store_mailbox *boxes, size_t count)
{
    struct reply *r = session;
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        box_add(r->t, boxes[i].name, &boxes[i]);
    answered(r, code);
}

static void on_created(void *session, enum err_code code, const struct store_mailbox *box)
{
    (void)box;
    answered(session, code);
}

static enum err_code create(struct target *t, struct span name, enum store_use use)
{
    struct reply r = {.t = t};
    struct ticket *ticket = ticket_new(&r);
    store_create(t->account, name, use, ticket, on_created);
    return wait_reply(&r, ticket);
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

static struct span box_ready(struct target *t, struct span name, struct box *x, enum store_use use)
{
    if (!x)
        x = box_add(t, name, &(struct store_mailbox){.no_select = true, .use = use});
    if (x->no_select && !t->o->dry_run) {
        enum err_code code = create(t, name, use);
        if (code == ERR_RETRY || code == ERR_DENIED)
            fail(t, store_away);
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
    for (struct box *x = t->boxes; use != STORE_USE_NONE && x; x = x->hh.next)
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
    answered(session, code);
}

void target_subscribe(struct target *t, struct span name)
{
    struct box *x = box_find(t, name);
    struct reply r = {.t = t};
    if (t->o->dry_run || !x || x->subscribed || t->failed)
        return;
    x->subscribed = true;
    struct ticket *ticket = ticket_new(&r);
    store_subscribe(t->account, name, true, ticket, on_done);
    if (wait_reply(&r, ticket) != ERR_OK)
        import_refused(t->report, name, SPAN_NONE, "it cannot be subscribed");
}

/* -- opening and closing -- */

static void on_grant(void *session, enum err_code code, struct span text)
{
    struct reply *r = session;
    if (code == ERR_OK && !buf_add_span(r->out, text))
        code = ERR_LIMIT;
    answered(r, code);
}

static void on_login(void *session, enum err_code code, struct store_account *account)
{
    struct reply *r = session;
    r->t->account = code == ERR_OK ? account : NULL;
    answered(r, code);
}

static enum err_code log_in(struct target *t)
{
    struct buf grant;
    char path[4200];
    struct reply r = {.t = t, .out = &grant};
    struct ticket *ticket = ticket_new(&r);
    buf_init(&grant, 64 << 10);
    directory_admin_grant(t->k->directory, &t->id, "import", t->o->over_quota, ticket, on_grant);
    enum err_code code = wait_reply(&r, ticket);
    if (code == ERR_OK) {
        snprintf(path, sizeof path, "%.4000s/store/session/sock", t->k->conf->run_dir);
        t->session = store_new_path(t->k->loop, path, STORE_SESSION);
        r = (struct reply){.t = t};
        ticket = ticket_new(&r);
        store_login(t->session, buf_span(&grant), ticket, on_login);
        code = wait_reply(&r, ticket);
    }
    if (code == ERR_OK) {
        r = (struct reply){.t = t};
        ticket = ticket_new(&r);
        store_list(t->account, ticket, on_list);
        code = wait_reply(&r, ticket);
    }
    buf_wipe(&grant);
    return code;
}

int target_open(struct ask *k, const struct import_options *o, const struct import_account *a,
                struct import_notes *n, struct import_report *r, struct target **out)
{
    struct target *t = xcalloc(1, sizeof *t);
    *t = (struct target){.k = k, .o = o, .notes = n, .report = r, .id = a->id};
    buf_init(&t->line_ends, 2 * CHUNK + 2);
    *out = t;
    if (o->dry_run) {
        t->hash = xcalloc(1, sizeof *t->hash);
        return EX_OK;
    }
    enum err_code code = log_in(t);
    if (code != ERR_OK)
        fail(t, code == ERR_RETRY     ? "stored or directoryd does not answer"
                : code == ERR_MISSING ? "the directory does not know the account"
                                      : "the grant for the account is refused");
    return code == ERR_OK ? EX_OK : code == ERR_RETRY ? EX_TEMPFAIL : EX_NOPERM;
}

bool target_close(struct target **tp)
{
    struct target *t = *tp;
    struct box *x, *next;
    if (!t)
        return false;
    drain(t, 0, 0);
    bool whole = !t->failed && t->waiting == 0;
    HASH_ITER(hh, t->boxes, x, next)
    {
        HASH_DEL(t->boxes, x);
        free(x);
    }
    if (t->account)
        store_logout(&t->account);
    if (t->session)
        store_free(&t->session);
    content_free(&t->content);
    mime_parser_free(&t->parser);
    free(t->hash);
    buf_free(&t->line_ends);
    free(t);
    *tp = NULL;
    return whole;
}
