/* Delivery: one transaction files a content into the INBOX of each account, queues what is for a group,
 * writes the trace, and remembers the submission until its 250 was written. Targets are worked through in
 * ascending order of their ids; one that is named twice is filed once. A target that an earlier try has
 * served (repeat.c) is answered for, not served again. */
#include "common/store/engine_int.h"
#include <stdlib.h>
#include <time.h>

struct target {
    struct wire_target w;
    struct span address;
    uint32_t index; /* place in the request */
    uint8_t outcome;
    bool found; /* an earlier try has served it, under this trace */
    char trace[TRACE_TEXT];
    bool filed, kept; /* kept: full, so it is queued */
};

struct delivery {
    struct wire_deliver w;
    struct span sender, peer, login;
    struct target *to; /* sorted */
    struct content_in content;
    struct buf places;    /* REC_PLACE bytes for each filing */
    uint32_t filed, full; /* full: of those, how many wait in the queue for room */
    uint64_t queue_id;    /* 0: nothing was queued */
    bool find_repeat;
    unsigned char repeat[REPEAT_KEY];
    struct buf earlier; /* groups of what earlier tries have served */
    uint32_t found;
};

static int16_t zone_of(int64_t us)
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    if (!localtime_r(&s, &tm))
        return 0;
    return (int16_t)(tm.tm_gmtoff / 60);
}

enum err_code file_inbox(struct tx *t, const struct filing *f, const struct uuid *account,
                         uint64_t quota_bytes, unsigned char place[REC_PLACE])
{
    const struct quota_wish wish = {f->forced ? QUOTA_ANYWAY : QUOTA_INCOMING, f->size, 1, quota_bytes,
                                    f->now_us};
    struct rec_account a;
    struct box b;
    enum err_code code = account_need(t, account, false, &a);
    if (code == ERR_OK)
        code = quota_take(t, account, &wish);
    if (code == ERR_OK)
        code = box_get(t, a.inbox, &b);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_BUG : code;
    struct store_row row = {.content = f->content,
                            .internal_s = f->now_us / 1000000,
                            .zone_min = zone_of(f->now_us),
                            .size = f->size};
    code = message_add(t, &b, &row, CHANGE_DELIVER);
    if (code == ERR_OK)
        code = box_put(t, &b);
    memcpy(place, account->b, KEY_UUID);
    put_be64(place + 16, b.id);
    put_be32(place + 24, row.uid);
    return code;
}

static int by_id(const void *a, const void *b)
{
    const struct target *x = a, *y = b;
    if (x->w.kind != y->w.kind)
        return x->w.kind < y->w.kind ? -1 : 1;
    return uuid_cmp(&x->w.id, &y->w.id);
}

static bool same_account(const struct target *a, const struct target *b)
{
    return a->w.kind == b->w.kind && uuid_cmp(&a->w.id, &b->w.id) == 0;
}

static bool parse_targets(struct wire_in *in, struct delivery *d)
{
    uint32_t count = d->w.target_count;
    if (count == 0 || count > in->s.n / sizeof(struct wire_target))
        return false;
    d->to = xcalloc(count, sizeof *d->to);
    for (uint32_t i = 0; i < count; i++) {
        struct target *x = &d->to[i];
        if (!wire_get(in, &x->w, sizeof x->w) || x->w.kind > STORE_TO_GROUP || uuid_is_none(&x->w.id))
            return false;
        x->address = wire_take(in, x->w.address_n);
        x->index = i;
    }
    qsort(d->to, count, sizeof *d->to, by_id);
    return !in->bad;
}

static bool parse(struct tx *t, const struct job *j, struct delivery *d)
{
    struct wire_in in = {buf_span(&j->body), false};
    wire_get(&in, &d->w, sizeof d->w);
    d->w.trace[TRACE_TEXT - 1] = '\0';
    d->sender = wire_text(&in);
    d->peer = wire_text(&in);
    d->login = wire_text(&in);
    d->find_repeat = d->w.flags & WIRE_DELIVER_FIND_REPEAT;
    return !in.bad && strlen(d->w.trace) == TRACE_TEXT - 1 && parse_targets(&in, d) &&
           content_take(&in, t->e->o.message_limit, &d->content);
}

/* -- submissions that come again -- */

static bool put_traces(const struct delivery *d, struct buf *out)
{
    char *all = xcalloc(d->w.target_count, TRACE_TEXT);
    for (uint32_t i = 0; i < d->w.target_count; i++)
        memcpy(all + (size_t)d->to[i].index * TRACE_TEXT, d->to[i].found ? d->to[i].trace : d->w.trace,
               TRACE_TEXT);
    bool ok = buf_add(out, all, (size_t)d->w.target_count * TRACE_TEXT);
    free(all);
    return ok;
}

static enum err_code answer(struct job *j, const struct delivery *d)
{
    struct wire_delivered w = {.repeated = d->found == d->w.target_count, .count = d->w.target_count};
    memcpy(w.trace, w.repeated ? d->to[0].trace : d->w.trace, TRACE_TEXT);
    unsigned char *codes = xcalloc(d->w.target_count, 1);
    for (uint32_t i = 0; i < d->w.target_count; i++)
        codes[d->to[i].index] = d->to[i].outcome;
    struct buf *a = parts_add(&j->answer);
    bool ok = buf_add(a, &w, sizeof w) && buf_add(a, codes, d->w.target_count) &&
              (!d->find_repeat || buf_add(a, d->repeat, sizeof d->repeat)) && (!d->found || put_traces(d, a));
    free(codes);
    return ok ? ERR_OK : ERR_LIMIT;
}

static enum err_code find_repeats(struct tx *t, struct delivery *d)
{
    unsigned char what[REC_REPEAT_TARGET];
    repeat_key(d->repeat, d->peer, d->sender, d->content.head.hash);
    enum err_code code = repeat_load(t, d->repeat, &d->earlier);
    for (uint32_t i = 0; i < d->w.target_count && code == ERR_OK && d->earlier.n; i++) {
        repeat_target(what, d->to[i].w.kind, &d->to[i].w.id);
        d->to[i].found = repeat_find(buf_span(&d->earlier), what, d->to[i].trace);
        d->found += d->to[i].found;
    }
    return code;
}

static enum err_code keep_repeats(struct tx *t, struct delivery *d)
{
    struct buf served;
    bool ok = true;
    buf_init(&served, (size_t)d->w.target_count * REC_REPEAT_TARGET);
    for (uint32_t i = 0; i < d->w.target_count && ok; i++) {
        const struct target *x = &d->to[i];
        unsigned char what[REC_REPEAT_TARGET];
        if (x->found || x->outcome != ERR_OK || (i && same_account(x, x - 1)))
            continue;
        repeat_target(what, x->w.kind, &x->w.id);
        ok = buf_add(&served, what, sizeof what);
    }
    enum err_code code =
        ok ? repeat_keep(t, d->repeat, &d->earlier, d->w.trace, buf_span(&served)) : ERR_LIMIT;
    buf_free(&served);
    return code;
}

/* -- filing and queueing -- */

static bool is_queued(const struct delivery *d, const struct target *x)
{
    return !x->found && (d->w.flags & WIRE_DELIVER_QUEUE || x->w.kind == STORE_TO_GROUP || x->kept);
}

static enum err_code file_all(struct tx *t, const struct job *j, struct delivery *d)
{
    const struct filing f = {j->content, (uint32_t)d->content.head.size, d->w.received_us, false};
    for (uint32_t i = 0; i < d->w.target_count; i++) {
        struct target *x = &d->to[i];
        unsigned char place[REC_PLACE];
        if (x->found || is_queued(d, x))
            continue;
        if (i && same_account(x, x - 1)) {
            x->outcome = x[-1].outcome;
            continue;
        }
        enum err_code code = file_inbox(t, &f, &x->w.id, x->w.quota_bytes, place);
        if (code != ERR_OK && code != ERR_LIMIT)
            return code;
        x->outcome = (uint8_t)code;
        if (code != ERR_OK)
            continue;
        x->filed = true;
        d->filed++;
        if (!buf_add(&d->places, place, sizeof place))
            return ERR_LIMIT;
    }
    return ERR_OK;
}

/* Who was full is tried again from the queue, unless everybody was: then the client can be told. */
static void keep_full(struct delivery *d)
{
    bool any = d->filed + d->found > 0;
    for (uint32_t i = 0; i < d->w.target_count; i++)
        any = any || is_queued(d, &d->to[i]);
    for (uint32_t i = 0; any && i < d->w.target_count; i++)
        if (d->w.flags & WIRE_DELIVER_QUEUE_FULL && d->to[i].outcome == ERR_LIMIT) {
            d->to[i].kept = true;
            d->to[i].outcome = ERR_OK;
            d->full++;
        }
}

/* Who of a queued group must be passed over: the accounts that were filed here or served before, in ascending
 * order. */
static bool put_skip(const struct delivery *d, struct buf *out)
{
    bool ok = true;
    for (uint32_t i = 0; i < d->w.target_count && ok; i++) {
        const struct target *x = &d->to[i];
        if (x->w.kind == STORE_TO_ACCOUNT && (x->filed || x->found) && !(i && same_account(x, x - 1)))
            ok = buf_add(out, x->w.id.b, KEY_UUID);
    }
    return ok;
}

static enum err_code queue_rest(struct tx *t, const struct job *j, struct delivery *d)
{
    struct buf targets, skip;
    struct rec_queue q = {.queued_us = clock_wall_us(),
                          .content = j->content,
                          .size = d->content.head.size,
                          .sender = d->sender,
                          .trace_lines = 1};
    bool ok = true;
    buf_init(&targets, IPC_FRAME_LIMIT);
    buf_init(&skip, IPC_FRAME_LIMIT);
    for (uint32_t i = 0; i < d->w.target_count && ok; i++)
        if (is_queued(d, &d->to[i]) && !(i && same_account(&d->to[i], &d->to[i - 1]))) {
            q.target_count++;
            ok = queue_target_put(&targets, &d->to[i].w, d->to[i].address);
        }
    ok = ok && put_skip(d, &skip);
    enum err_code code = ok ? ERR_OK : ERR_LIMIT;
    if (q.target_count && code == ERR_OK) {
        memcpy(q.trace, d->w.trace, TRACE_TEXT);
        q.due_us = q.queued_us;
        if (q.target_count <= d->full) /* nothing else is in it: later is early enough */
            q.due_us += queue_retry_us(t->e, q.attempts++);
        q.targets = buf_span(&targets);
        q.skip = buf_span(&skip);
        q.skip_count = (uint32_t)(skip.n / KEY_UUID);
        code = queue_new(t, &q, &d->queue_id);
    }
    buf_free(&targets);
    buf_free(&skip);
    return code;
}

static enum err_code write_trace(struct tx *t, const struct job *j, const struct delivery *d)
{
    struct rec_trace r = {.at_us = d->w.received_us,
                          .kind = TRACE_RECEIVED,
                          .content = j->content,
                          .queue_id = d->queue_id,
                          .size = d->content.head.size,
                          .sender = d->sender,
                          .peer = d->peer,
                          .login = d->login,
                          .place_count = d->filed,
                          .places = buf_span(&d->places)};
    if (d->find_repeat)
        memcpy(r.repeat, d->repeat, sizeof r.repeat);
    return trace_put(t, d->w.trace, 0, &r);
}

static enum err_code deliver(struct tx *t, struct job *j, struct delivery *d)
{
    enum err_code code = d->find_repeat ? find_repeats(t, d) : ERR_OK;
    if (code == ERR_OK)
        code = file_all(t, j, d);
    keep_full(d);
    if (code == ERR_OK)
        code = queue_rest(t, j, d);
    if (code != ERR_OK ||
        (d->filed == 0 && d->queue_id == 0)) /* nobody new, or without room: nothing is kept */
        return code == ERR_OK ? answer(j, d) : code;
    code = content_store(t, j, &d->content, d->w.trace, d->filed + (d->queue_id ? 1 : 0));
    if (code == ERR_OK)
        code = write_trace(t, j, d);
    if (code == ERR_OK && d->find_repeat)
        code = keep_repeats(t, d);
    return code == ERR_OK ? answer(j, d) : code;
}

enum err_code op_deliver(struct tx *t, struct job *j)
{
    struct delivery d = {.to = NULL};
    buf_init(&d.places, IPC_FRAME_LIMIT);
    buf_init(&d.earlier, IPC_FRAME_LIMIT);
    enum err_code code = parse(t, j, &d) && j->has_place ? deliver(t, j, &d) : ERR_SYNTAX;
    buf_free(&d.places);
    buf_free(&d.earlier);
    free(d.to);
    return code;
}
