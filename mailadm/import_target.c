/* The store's side of an import: one account, reached like any session's with a grant (directoryd gives it to
 * the admin socket). Messages are packed and parsed as they come and never whole in memory; several are on
 * their way to the store at a time. The hard problem is exactly once: each message has a name for ever
 * (import_key), which is the trace it is filed under, and the store files a trace once; so whatever is
 * repeated after a death, of this program or of the store, is answered "known". Where messages come from, and
 * what of them is new, is the sources' business. */
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/mime/parse.h"
#include "mailadm/import_target_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

enum {
    WINDOW_BYTES = 32 << 20, /* of them, packed */
    KEYWORD_LENGTH = 100,
    CHUNK = 64 << 10
};

static const char *const store_away = "the store does not answer: run the import again, it goes on here";

/* -- failure -- */

void target_fail(struct target *t, const char *why)
{
    if (!t->failed)
        import_refused(t->report, SPAN_NONE, SPAN_NONE, why);
    t->failed = true;
}

void target_lost(struct target *t, enum err_code code)
{
    target_fail(t, code == ERR_DENIED ? "the grant is refused or has expired: run the import again"
                                      : store_away);
}

bool target_failed(const struct target *t)
{
    return t->failed;
}

/* -- what is on its way: appended messages, changed flags -- */

void target_op_free(struct target_op *p)
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
void target_drain(struct target *t, unsigned waiting, uint64_t bytes)
{
    uint64_t end_ms = clock_mono_ms() + SESSION_PATIENCE_MS;
    while (!t->failed && t->waiting && (t->waiting > waiting || t->waiting_bytes > bytes)) {
        unsigned before = t->waiting;
        (void)ask_wait(t->k, SESSION_PATIENCE_MS); /* waiting says it */
        if (t->waiting < before)
            end_ms = clock_mono_ms() + SESSION_PATIENCE_MS;
        else if (clock_mono_ms() > end_ms)
            target_fail(t, store_away);
    }
}

/* Let the loop send and take what it can, without waiting. */
void target_turn(struct target *t)
{
    (void)ask_wait(t->k, 0);
}

static void send_append(struct target_op *p);

/* Store keyword names: what an atom cannot hold becomes "_". */
static void take_keywords(struct target_op *p, const struct target_message *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->keyword_count; i++)
        n += m->keywords[i].n;
    char *at = p->words = xmalloc(n + 1);
    for (size_t i = 0; i < m->keyword_count && p->keyword_count < TARGET_KEYWORDS; i++) {
        struct span k = span_first(m->keywords[i], KEYWORD_LENGTH);
        if (!k.n)
            continue;
        for (size_t c = 0; c < k.n; c++)
            at[c] = k.p[c] <= ' ' || k.p[c] == 127 || strchr("(){%*\"\\]", k.p[c]) ? '_' : k.p[c];
        p->keywords[p->keyword_count++] = span_of(at, k.n);
        at += k.n;
    }
}

struct target_op *target_op_new(struct target *t, const struct target_message *m)
{
    struct target_op *p = xcalloc(1, sizeof *p);
    *p = (struct target_op){.t = t, .flags = m->flags & 0x1f, .note = {.key = m->key, .seen = true}};
    p->ticket = ticket_new(p);
    p->mailbox = xstrspan(m->mailbox);
    p->source = xstrspan(m->source);
    p->note.state = import_state(m->flags, m->keywords, m->keyword_count);
    memcpy(p->trace.text, m->key.text, TRACE_TEXT);
    take_keywords(p, m);
    t->waiting++;
    return p;
}

static void filed(struct target_op *p, const struct store_appended *answer)
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
    struct target_op *p = session;
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
        target_lost(t, code);
    else
        import_refused(t->report, span_str(p->mailbox), span_str(p->source),
                       code == ERR_LIMIT     ? "the account is over its quota"
                       : code == ERR_MISSING ? "the mailbox was deleted meanwhile"
                                             : "the store refuses the message");
    target_op_free(p);
}

static void send_append(struct target_op *p)
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
    store_append(p->t->session.account, &m, p->ticket, on_appended);
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
    target_drain(t, TARGET_WINDOW - 1, WINDOW_BYTES);
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
        struct target_op *p = target_op_new(t, m);
        p->content = content_hold(t->content);
        p->bytes = content_packed_size(p->content);
        p->in_bytes = t->in_size;
        p->internal_s = m->has_date ? m->internal_s : clock_wall_s();
        p->zone_min = m->has_date ? m->zone_min : 0;
        t->waiting_bytes += p->bytes;
        send_append(p);
        target_turn(t);
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

/* -- opening and closing -- */

int target_open(struct ask *k, const struct import_options *o, const struct import_account *a,
                struct import_notes *n, struct import_report *r, struct target **out)
{
    struct target *t = xcalloc(1, sizeof *t);
    *t = (struct target){.k = k, .o = o, .notes = n, .report = r};
    buf_init(&t->line_ends, 2 * CHUNK + 2);
    *out = t;
    if (o->dry_run) {
        t->hash = xcalloc(1, sizeof *t->hash);
        return EX_OK;
    }
    enum err_code code = session_open(k, &a->id, "import", o->over_quota, &t->session);
    if (code == ERR_OK)
        code = target_boxes_read(t);
    if (code == ERR_OK)
        return EX_OK;
    target_fail(t, code == ERR_RETRY     ? "stored or directoryd does not answer"
                   : code == ERR_MISSING ? "the directory does not know the account"
                                         : "the grant for the account is refused");
    return code == ERR_RETRY ? EX_TEMPFAIL : EX_NOPERM;
}

bool target_close(struct target **tp)
{
    struct target *t = *tp;
    if (!t)
        return false;
    target_drain(t, 0, 0);
    bool whole = !t->failed && t->waiting == 0;
    target_boxes_free(t);
    session_close(&t->session);
    content_free(&t->content);
    mime_parser_free(&t->parser);
    free(t->hash);
    buf_free(&t->line_ends);
    free(t);
    *tp = NULL;
    return whole;
}
