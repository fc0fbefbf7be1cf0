/* The calls that change: flags, copies, expunges, appends, and the deliver and relay roles. Answers in slices
 * are gathered and told once. */
#include "common/store/client_int.h"
#include <stdlib.h>

static struct pending *ask_of(struct store_account *a, uint16_t type, uint64_t mailbox, struct ticket *t,
                              part_fn *part, void (*cb)(void))
{
    struct pending *p = pending_new(a->s, type, true, t, part, cb);
    p->ask.session = a->id;
    p->ask.mailbox = mailbox;
    return p;
}

static bool put_uids(struct buf *b, const uint32_t *uids, size_t count)
{
    return count <= CLIENT_BODY_LIMIT / 4 && buf_add(b, uids, count * sizeof *uids);
}

static bool on_done(struct pending *p, enum err_code code, struct span body, bool more)
{
    (void)body;
    if (!more)
        TELL(p, store_done_cb, code);
    return true;
}

/* -- flags -- */

static bool tell_flagged(struct pending *p, const struct wire_flagged_part *head, struct wire_in *keywords)
{
    struct store_flagged f = {
        .modseq = head->modseq, .run_count = p->rows.n / sizeof *f.runs, .modified_count = p->extra.n / 4};
    f.runs = (const struct store_flag_run *)(const void *)p->rows.p;
    f.modified = (const uint32_t *)(const void *)p->extra.p;
    f.keywords = take_keywords(keywords, p->s->arena, head->keyword_count);
    if (!f.keywords || !wire_whole(keywords))
        return false;
    TELL(p, store_flagged_cb, ERR_OK, &f);
    return true;
}

static bool on_flagged(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_flagged_part head;
    if (code != ERR_OK) {
        TELL(p, store_flagged_cb, code, NULL);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    struct span runs = wire_items(&in, head.run_count, sizeof(struct store_flag_run));
    struct span modified = wire_items(&in, head.modified_count, 4);
    if (in.bad || !buf_add_span(&p->rows, runs) || !buf_add_span(&p->extra, modified))
        return false;
    return more || tell_flagged(p, &head, &in);
}

void store_flags(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                 const struct store_flag_change *change, struct ticket *t, store_flagged_cb *cb)
{
    const struct wire_flags w = {.unchanged_since = change->unchanged_since,
                                 .op = (uint32_t)change->op,
                                 .flags = change->flags,
                                 .keyword_count = (uint32_t)change->keyword_count,
                                 .unchanged_since_given = change->unchanged_since_given,
                                 .uid_count = (uint32_t)count};
    struct pending *p = ask_of(a, WIRE_FLAGS, mailbox, t, on_flagged, CB(cb));
    bool ok = buf_add(&p->body, &w, sizeof w);
    for (size_t i = 0; i < change->keyword_count && ok; i++)
        ok = wire_put_text(&p->body, change->keywords[i]);
    pending_ask(p, ok && put_uids(&p->body, uids, count));
}

/* -- copy and move -- */

static bool tell_copied(struct pending *p, const struct wire_copied_part *head)
{
    size_t n = p->extra.n / 8;
    uint32_t *from = arena_array(p->s->arena, n + 1, sizeof *from);
    uint32_t *to = arena_array(p->s->arena, n + 1, sizeof *to);
    if (!from || !to)
        return false;
    for (size_t i = 0; i < n; i++) {
        memcpy(&from[i], p->extra.p + 8 * i, 4);
        memcpy(&to[i], p->extra.p + 8 * i + 4, 4);
    }
    const struct store_copied c = {head->uidvalidity, from, to, n, head->source_modseq};
    TELL(p, store_copied_cb, ERR_OK, &c);
    return true;
}

static bool on_copied(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_copied_part head;
    if (code != ERR_OK) {
        TELL(p, store_copied_cb, code, NULL);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    struct span pairs = wire_items(&in, head.count, 8);
    if (!wire_whole(&in) || !buf_add_span(&p->extra, pairs))
        return false;
    return more || tell_copied(p, &head);
}

void store_copy(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count, struct span to,
                bool move, struct ticket *t, store_copied_cb *cb)
{
    const struct wire_copy w = {move, (uint32_t)count};
    struct pending *p = ask_of(a, WIRE_COPY, mailbox, t, on_copied, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w) && wire_put_text(&p->body, to) &&
                       put_uids(&p->body, uids, count));
}

/* -- expunge -- */

static bool on_expunged(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_expunged_part head;
    if (code != ERR_OK) {
        TELL(p, store_expunged_cb, code, NULL, 0, 0);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    struct span uids = wire_items(&in, head.count, 4);
    if (!wire_whole(&in) || !buf_add_span(&p->extra, uids))
        return false;
    if (!more)
        TELL(p, store_expunged_cb, ERR_OK, (const uint32_t *)(const void *)p->extra.p, p->extra.n / 4,
             head.modseq);
    return true;
}

void store_expunge(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                   struct ticket *t, store_expunged_cb *cb)
{
    const struct wire_expunge w = {uids == NULL, uids ? (uint32_t)count : 0};
    struct pending *p = ask_of(a, WIRE_EXPUNGE, mailbox, t, on_expunged, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w) && put_uids(&p->body, uids, uids ? count : 0));
}

/* -- append -- */

static bool on_appended(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_appended w;
    if (code != ERR_OK) {
        TELL(p, store_appended_cb, code, NULL);
        return true;
    }
    if (more || !wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return false;
    const struct store_appended answer = {w.mailbox, w.uidvalidity, w.uid};
    TELL(p, store_appended_cb, ERR_OK, &answer);
    return true;
}

void store_append(struct store_account *a, const struct store_append *m, struct ticket *t,
                  store_appended_cb *cb)
{
    struct wire_append w = {.internal_s = m->internal_s,
                            .zone_min = m->zone_min,
                            .flags = m->flags,
                            .keyword_count = (uint32_t)m->keyword_count,
                            .once = m->once};
    struct pending *p = ask_of(a, WIRE_APPEND, 0, t, on_appended, CB(cb));
    memcpy(w.trace, m->trace.text, TRACE_TEXT);
    bool ok = buf_add(&p->body, &w, sizeof w) && wire_put_text(&p->body, m->mailbox);
    for (size_t i = 0; i < m->keyword_count && ok; i++)
        ok = wire_put_text(&p->body, m->keywords[i]);
    ok = ok && pending_content(p, m->content);
    pending_ask(p, ok);
}

/* -- deliver -- */

/* What the question asked for, as its receipt names it: the targets that were served. */
static bool put_served(const struct pending *p, const struct store_delivered *d, struct buf *out)
{
    struct wire_in in = {buf_span(&p->body), false};
    struct wire_deliver w;
    bool ok = true;
    wire_get(&in, &w, sizeof w);
    for (int text = 0; text < 3; text++)
        (void)wire_text(&in);
    for (size_t i = 0; i < d->count && ok && !in.bad; i++) {
        struct wire_target x;
        wire_get(&in, &x, sizeof x);
        (void)wire_take(&in, x.address_n);
        if (d->outcome[i] == ERR_OK)
            ok = buf_add_u8(out, (uint8_t)x.kind) && buf_add(out, x.id.b, sizeof x.id.b);
    }
    return ok && !in.bad && d->count == w.target_count;
}

static bool take_receipt(struct pending *p, struct wire_in *in, struct store_delivered *d)
{
    struct wire_confirm w = {.count = 0};
    if (in->s.n == 0)
        return true; /* repeats were not looked for */
    wire_get(in, w.repeat, sizeof w.repeat);
    for (size_t i = 0; i < d->count; i++)
        w.count += d->outcome[i] == ERR_OK;
    buf_reset(&p->extra);
    if (!buf_add(&p->extra, &w, sizeof w) || !put_served(p, d, &p->extra))
        return false;
    d->receipt = w.count ? buf_span(&p->extra) : SPAN_NONE;
    return !in->bad;
}

static bool take_traces(struct pending *p, struct wire_in *in, struct store_delivered *d)
{
    struct trace_id *v = arena_array(p->s->arena, d->count + 1, sizeof *v);
    for (size_t i = 0; v && i < d->count; i++) {
        v[i] = d->trace;
        if (in->s.n == 0)
            continue;
        wire_get(in, v[i].text, TRACE_TEXT);
        v[i].text[TRACE_TEXT - 1] = '\0';
    }
    d->traces = v;
    return v && wire_whole(in);
}

static bool on_delivered(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_delivered w;
    struct store_delivered d = {.repeated = false};
    if (code != ERR_OK) {
        TELL(p, store_delivered_cb, code, NULL);
        return true;
    }
    wire_get(&in, &w, sizeof w);
    struct span codes = wire_items(&in, w.count, 1);
    enum err_code *outcome = in.bad ? NULL : arena_array(p->s->arena, (size_t)w.count + 1, sizeof *outcome);
    if (more || !outcome)
        return false;
    for (uint32_t i = 0; i < w.count; i++)
        outcome[i] = (enum err_code)(unsigned char)codes.p[i];
    memcpy(d.trace.text, w.trace, TRACE_TEXT);
    d.trace.text[TRACE_TEXT - 1] = '\0';
    d.repeated = w.repeated;
    d.outcome = outcome;
    d.count = w.count;
    if (!take_receipt(p, &in, &d) || !take_traces(p, &in, &d))
        return false;
    TELL(p, store_delivered_cb, ERR_OK, &d);
    return true;
}

static bool put_target(struct buf *b, const struct store_target *to)
{
    const struct wire_target w = {.id = to->id,
                                  .quota_bytes = to->quota_bytes,
                                  .kind = (uint32_t)to->kind,
                                  .address_n = (uint32_t)to->address.n};
    return buf_add(b, &w, sizeof w) && buf_add_span(b, to->address);
}

void store_deliver(struct store *s, const struct store_delivery *d, struct ticket *t, store_delivered_cb *cb)
{
    struct wire_deliver w = {.received_us = d->received_us,
                             .flags = (d->queue ? (uint32_t)WIRE_DELIVER_QUEUE : 0) |
                                      (d->find_repeat ? (uint32_t)WIRE_DELIVER_FIND_REPEAT : 0) |
                                      (d->queue_full ? (uint32_t)WIRE_DELIVER_QUEUE_FULL : 0),
                             .target_count = (uint32_t)d->to_count};
    struct pending *p = pending_new(s, WIRE_DELIVER, true, t, on_delivered, CB(cb));
    memcpy(w.trace, d->trace.text, TRACE_TEXT);
    bool ok = buf_add(&p->body, &w, sizeof w) && wire_put_text(&p->body, d->sender) &&
              wire_put_text(&p->body, d->peer) && wire_put_text(&p->body, d->login);
    for (size_t i = 0; i < d->to_count && ok; i++)
        ok = put_target(&p->body, &d->to[i]);
    ok = ok && pending_content(p, d->content);
    pending_ask(p, ok);
}

void store_delivered_confirm(struct store *s, struct span receipt)
{
    client_confirm(s, receipt);
}

/* -- relay -- */

static bool tell_queued(struct pending *p, const struct wire_queued *w, struct wire_in *in)
{
    struct store_queued q = {.kind = (enum store_queued_kind)w->kind,
                             .note = {w->note[0], w->note[1], w->note[2], w->note[3]},
                             .queue_id = w->queue_id,
                             .to_count = w->target_count,
                             .cursor = w->cursor,
                             .attempts = w->attempts,
                             .queued_us = w->queued_us,
                             .content = w->content,
                             .size = w->size};
    memcpy(q.trace.text, w->trace, TRACE_TEXT);
    q.trace.text[TRACE_TEXT - 1] = '\0';
    q.sender = wire_text(in);
    if (in->bad || w->target_count > in->s.n / sizeof(struct wire_target))
        return false;
    struct store_target *to = arena_array(p->s->arena, (size_t)w->target_count + 1, sizeof *to);
    for (uint32_t i = 0; to && i < w->target_count && !in->bad; i++) {
        struct wire_target x;
        wire_get(in, &x, sizeof x);
        to[i].kind = x.kind == STORE_TO_GROUP ? STORE_TO_GROUP : STORE_TO_ACCOUNT;
        to[i].id = x.id;
        to[i].quota_bytes = x.quota_bytes;
        to[i].address = wire_take(in, x.address_n);
    }
    q.to = to;
    q.meta = wire_text(in);
    if (!to || w->kind > STORE_QUEUED_UNIT || !wire_whole(in))
        return false;
    TELL(p, store_queued_cb, ERR_OK, &q);
    return true;
}

static bool on_queued(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_queued w;
    if (code != ERR_OK) {
        TELL(p, store_queued_cb, code, NULL);
        return true;
    }
    return !more && wire_get(&in, &w, sizeof w) && tell_queued(p, &w, &in);
}

void store_lease(struct store *s, uint64_t lease_ms, struct ticket *t, store_queued_cb *cb)
{
    const struct wire_lease w = {lease_ms};
    /* No write: a lease that was given and not heard of ends by itself. */
    struct pending *p = pending_new(s, WIRE_LEASE, false, t, on_queued, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}

void store_queue_event(struct store *s, void (*event)(void *arg), void *arg)
{
    s->queue_event = event;
    s->queue_arg = arg;
    client_tell(s, WIRE_QUEUE_WATCH, 0, 0, SPAN_NONE);
}

void store_slice(struct store *s, const struct store_slice *slice, struct ticket *t, store_done_cb *cb)
{
    const struct wire_slice w = {slice->queue_id, slice->cursor, slice->finished, (uint32_t)slice->to_count};
    struct pending *p = pending_new(s, WIRE_SLICE, true, t, on_done, CB(cb));
    bool ok = buf_add(&p->body, &w, sizeof w);
    for (size_t i = 0; i < slice->to_count && ok; i++)
        ok = put_target(&p->body, &slice->to[i]);
    pending_ask(p, ok);
}

void store_defer(struct store *s, uint64_t queue_id, int64_t due_us, struct span reason, struct ticket *t,
                 store_done_cb *cb)
{
    const struct wire_defer w = {queue_id, due_us};
    struct pending *p = pending_new(s, WIRE_DEFER, true, t, on_done, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w) && wire_put_text(&p->body, reason));
}

void store_notice(struct store *s, uint64_t queue_id, const struct store_target *to,
                  const struct trace_id *trace, struct content *content, struct ticket *t, store_done_cb *cb)
{
    struct wire_notice w = {.queue_id = queue_id, .to = to->id, .kind = to->kind};
    struct pending *p = pending_new(s, WIRE_NOTICE, true, t, on_done, CB(cb));
    memcpy(w.trace, trace->text, TRACE_TEXT);
    pending_ask(p, buf_add(&p->body, &w, sizeof w) && pending_content(p, content));
}
