/* Notices: what the store has to tell a person by mail. The store composes nothing: it queues an entry in the
 * transaction that gave the reason (a threshold passed, a recipient given up), and a delivery worker brings
 * the message. It is filed in the transaction that takes the entry off the queue, so it comes exactly once;
 * no quota keeps it out. */
#include "common/store/engine_int.h"

static enum err_code warn(struct tx *t, enum queue_kind kind, const struct uuid *about, struct span name,
                          const struct quota_figures *f)
{
    const struct wire_target w = {.id = *about, .kind = STORE_TO_ACCOUNT};
    struct rec_queue q = {.queued_us = clock_wall_us(),
                          .kind = (uint8_t)kind,
                          .target_count = 1,
                          .note = {f->bytes, f->limit_bytes, f->messages, f->limit_messages}};
    struct buf target;
    uint64_t id;
    buf_init(&target, 0xffff + 64);
    q.due_us = q.queued_us;
    enum err_code code = queue_target_put(&target, &w, name) ? ERR_OK : ERR_LIMIT;
    q.targets = buf_span(&target);
    if (code == ERR_OK)
        code = queue_new(t, &q, &id);
    buf_free(&target);
    return code;
}

enum err_code notice_unit(struct tx *t, const struct uuid *id, const struct rec_unit *u,
                          const struct quota_figures *f)
{
    struct buf name;
    buf_init(&name, 0xffff);
    bool ok = buf_add_span(&name, u->name);
    if (u->code.n)
        ok =
            ok && buf_addf(&name, "%s%.*s%s", u->name.n ? " (" : "", SPAN_ARG(u->code), u->name.n ? ")" : "");
    enum err_code code = warn(t, QUEUE_UNIT, id, ok ? buf_span(&name) : u->code, f);
    buf_free(&name);
    return code;
}

enum err_code quota_notify(struct tx *t)
{
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < t->quota.notice_count && code == ERR_OK; i++) {
        const struct quota_notice *n = &t->quota.notices[i];
        code = warn(t, QUEUE_WARNING, &n->account, SPAN(""), &n->figures);
    }
    return code == ERR_OK ? units_watch(t) : code;
}

enum err_code notice_drop(struct tx *t, uint64_t id, const struct rec_queue *q)
{
    enum err_code code = q->kind == QUEUE_REPORT ? content_ref(t, q->content, -1) : ERR_OK;
    return code == ERR_OK ? queue_drop(t, id, q) : code;
}

/* A warning goes to the account that it is about, whatever the worker says; who hears of a unit is in the
 * configuration. */
static bool is_for(const struct rec_queue *q, const struct wire_notice *w)
{
    if (w->kind == STORE_TO_GROUP)
        return q->kind == QUEUE_UNIT && !uuid_is_none(&w->to);
    if (q->kind == QUEUE_REPORT || q->kind == QUEUE_UNIT)
        return w->kind == STORE_TO_ACCOUNT && !uuid_is_none(&w->to);
    return w->kind == STORE_TO_ACCOUNT && q->kind == QUEUE_WARNING && q->targets.n >= KEY_UUID &&
           memcmp(q->targets.p, w->to.b, KEY_UUID) == 0;
}

/* For a group: an entry like that of any message to it; nobody is told of members who stay full. */
static enum err_code queue_notice(struct tx *t, const struct job *j, const struct wire_notice *w,
                                  const struct content_in *c, uint64_t *id)
{
    const struct wire_target to = {.id = w->to, .kind = STORE_TO_GROUP};
    struct rec_queue q = {.queued_us = clock_wall_us(),
                          .content = j->content,
                          .size = c->head.size,
                          .target_count = 1,
                          .kind = QUEUE_MESSAGE};
    struct buf target;
    buf_init(&target, 256);
    q.due_us = q.queued_us;
    memcpy(q.trace, w->trace, TRACE_TEXT);
    enum err_code code = queue_target_put(&target, &to, SPAN("")) ? ERR_OK : ERR_LIMIT;
    q.targets = buf_span(&target);
    if (code == ERR_OK)
        code = queue_new(t, &q, id);
    buf_free(&target);
    return code;
}

static enum err_code file_notice(struct tx *t, struct job *j, const struct wire_notice *w,
                                 const struct content_in *c, const struct rec_queue *q)
{
    const struct filing f = {j->content, (uint32_t)c->head.size, clock_wall_us(), true};
    unsigned char place[REC_PLACE];
    struct rec_trace r = {.at_us = f.now_us,
                          .kind = TRACE_RECEIVED,
                          .content = j->content,
                          .size = c->head.size,
                          .peer = SPAN("notice")};
    const bool queued = w->kind == STORE_TO_GROUP;
    enum err_code code = queued ? queue_notice(t, j, w, c, &r.queue_id) : file_inbox(t, &f, &w->to, 0, place);
    if (code == ERR_OK)
        code = notice_drop(t, w->queue_id, q);
    if (code == ERR_OK)
        code = content_store(t, j, c, w->trace, 1);
    r.place_count = !queued;
    r.places = queued ? SPAN_NONE : span_of(place, sizeof place);
    return code == ERR_OK ? trace_put(t, w->trace, 0, &r) : code;
}

enum err_code op_notice(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_notice w;
    struct content_in c;
    struct rec_queue q;
    struct buf v;
    wire_get(&in, &w, sizeof w);
    w.trace[TRACE_TEXT - 1] = '\0';
    if (in.bad || strlen(w.trace) != TRACE_TEXT - 1 || !content_take(&in, t->e->o.message_limit, &c) ||
        !j->has_place)
        return ERR_SYNTAX;
    buf_init(&v, (size_t)64 << 20);
    enum err_code code = queue_get(t, w.queue_id, &v, &q);
    if (code == ERR_MISSING || (code == ERR_OK && !lease_renew(t->e, w.queue_id, j->asker)))
        code = ERR_STATE;
    if (code == ERR_OK)
        code = is_for(&q, &w) ? file_notice(t, j, &w, &c, &q) : ERR_SYNTAX;
    buf_free(&v);
    if (code == ERR_OK)
        lease_over(t->e, w.queue_id);
    return code;
}
