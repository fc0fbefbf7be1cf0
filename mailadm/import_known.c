/* Messages that an earlier run brought: their flags are brought up to date, and those that are gone at the
 * source are taken away when that is wished (--sync). The hard problem is to harm nothing that was done here
 * meanwhile: only what changed there since is changed here, by the place where it was filed; who moved it has
 * it for himself. */
#include "mailadm/import_target_int.h"
#include <stdlib.h>

enum { EXPUNGE = 1000, FEW = 20 };

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
        reply_set(r, code);
}

/* Where it was filed, for notes that were lost with a death. */
static bool find_place(struct target *t, struct import_note *note)
{
    struct reply r = {.k = t->k, .out = note};
    if (note->mailbox)
        return true;
    struct ticket *ticket = ticket_new(&r);
    store_admin_trace(t->k->store, span_str(note->key.text), ticket, on_trace);
    return reply_wait(&r, ticket) == ERR_OK && note->mailbox;
}

static void on_flagged(void *session, enum err_code code, const struct store_flagged *answer)
{
    struct target_op *p = session;
    struct target *t = p->t;
    (void)answer;
    ask_end(t->k, ERR_OK);
    if (code == ERR_OK) {
        atomic_fetch_add(&t->report->counts->flagged, 1);
        import_note_put(t->notes, &p->note);
    } else if (code == ERR_RETRY || code == ERR_DENIED) {
        target_lost(t, code);
    } else if (code != ERR_MISSING) { /* that mailbox was deleted here */
        import_refused(t->report, span_str(p->mailbox), span_str(p->source), "its flags cannot be changed");
    }
    target_op_free(p);
}

/* Its flags have changed at the source since it was filed or last looked at: they are set as they are there.
 */
static void change_flags(struct target *t, struct import_note *note, const struct target_message *m)
{
    if (!find_place(t, note) || t->failed)
        return;
    target_drain(t, TARGET_WINDOW - 1, UINT64_MAX);
    struct target_op *p = target_op_new(t, m);
    p->note.mailbox = note->mailbox;
    p->note.uid = note->uid;
    const struct store_flag_change change = {
        .op = STORE_FLAGS_SET, .flags = p->flags, .keywords = p->keywords, .keyword_count = p->keyword_count};
    store_flags(t->session.account, note->mailbox, &note->uid, 1, &change, p->ticket, on_flagged);
    target_turn(t);
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
        atomic_fetch_add(&((struct target *)r->out)->report->counts->removed, count);
    reply_set(r, code);
}

static void on_marked(void *session, enum err_code code, const struct store_flagged *answer)
{
    (void)answer;
    reply_set(session, code);
}

static bool expunge(struct target *t, uint64_t mailbox, const uint32_t *uids, size_t count)
{
    const struct store_flag_change mark = {.op = STORE_FLAGS_ADD, .flags = STORE_DELETED};
    struct reply r = {.k = t->k, .out = t};
    struct ticket *ticket = ticket_new(&r);
    store_flags(t->session.account, mailbox, uids, count, &mark, ticket, on_marked);
    enum err_code code = reply_wait(&r, ticket);
    if (code == ERR_OK) {
        r = (struct reply){.k = t->k, .out = t};
        ticket = ticket_new(&r);
        store_expunge(t->session.account, mailbox, uids, count, ticket, on_expunged);
        code = reply_wait(&r, ticket);
    }
    if (code != ERR_OK && code != ERR_MISSING)
        target_fail(t, "what is gone at the source cannot be taken away here");
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

/* Sources that are not mounted, or emptied by mistake, look like this. */
static bool too_much(struct target *t, size_t gone, size_t all)
{
    if (t->o->force || gone <= FEW || gone <= all / 2)
        return false;
    target_fail(t, "more than half of what came from there is gone there: nothing was taken away here, say "
                   "--force if it shall be");
    return true;
}

void target_sync(struct target *t)
{
    struct import_note **v = NULL;
    size_t n = 0, room = 0, all = 0;
    target_drain(t, 0, 0);
    for (struct import_note *note = NULL; !t->failed && (note = import_note_next(t->notes, note)) != NULL;) {
        all++;
        if (note->seen || !find_place(t, note))
            continue;
        if (n == room)
            v = xrealloc(v, (room = room ? room * 2 : 64) * sizeof(struct import_note *));
        v[n++] = note;
    }
    if (n)
        qsort(v, n, sizeof(struct import_note *), by_place);
    bool stop = too_much(t, n, all);
    for (size_t i = 0, k; !stop && i < n && !t->failed; i = k) {
        for (k = i + 1; k < n && k - i < EXPUNGE && v[k]->mailbox == v[i]->mailbox;)
            k++;
        remove_some(t, v + i, k - i);
    }
    free(v);
}
