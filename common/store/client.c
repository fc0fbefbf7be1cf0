/* The asynchronous client of stored: questions are kept until they are answered, so that a restart of stored
 * is a pause to its callers. When the connection is back, grants are shown again, watches are set again, and
 * what was unanswered goes out again in the old order, writes under their old request ids with the mark
 * "again". The hard point is what a repeated question may do: a write finds its recorded outcome, a read that
 * had answered in part asks for the rest only, one that gathers starts over.
 * Patience counts from the last sign of life: a stored that hangs is told from one that works long by pings,
 * which its writer answers between two slices. A write that was given up must not be done later, since its
 * asker will ask again: it carries a time after which stored does not begin it, well before the patience
 * ends; each answer to a ping moves that time for all that this connection has asked. What stored has begun
 * is waited for longer, and if it is given up all the same the asker can know that it may be done
 * (store_done_perhaps). */
#include "common/store/client_int.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/base/log.h"
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

enum {
    PATIENCE_TICK_MS = 250,
    PINGS = 4 /* in a patience */,
    BEGIN = 2 /* a write is begun within this part of the patience, or not at all */,
    TAKEN = 3 /* patiences for what was begun */,
    ACKS_LIMIT = 64 << 10,
    ACKS_TOGETHER = 4096, /* bytes */
    CONFIRMS_LIMIT = 256 << 10,
    ARENA_LIMIT = 256 << 20
};

/* -- deferred work: acknowledgements, and failures that must not be told inside the asking call -- */

static void store_release(struct store *s);
static void on_deferred(void *arg);

static void defer(struct store *s)
{
    if (s->deferred)
        return;
    s->deferred = true;
    loop_defer(s->loop, on_deferred, s);
}

static void pending_unlink(struct pending *p)
{
    struct store *s = p->s;
    HASH_DEL(s->by_seq, p);
    DL_DELETE(s->list, p);
}

static void pending_release(struct pending *p)
{
    ticket_drop(&p->ticket);
    content_free(&p->content);
    if (p->fd >= 0)
        close(p->fd);
    buf_free(&p->body);
    buf_free(&p->rows);
    buf_free(&p->extra);
    free(p);
}

static void pending_free(struct pending *p)
{
    pending_unlink(p);
    pending_release(p);
}

/* They go with the next request, or after a while: nobody waits for them, and alone they would wake stored.
 */
static void acknowledge(struct store *s, const struct request_id *id)
{
    bool kept = buf_add(&s->acks, id->b, sizeof id->b); /* else stored drops the outcome after a day */
    if (kept && s->acks.n >= ACKS_TOGETHER)
        defer(s);
}

/* Tell the end of a question. The callback may ask again, and may free the store. */
static void end(struct pending *p, enum err_code code, struct span body)
{
    struct store *s = p->s;
    pending_unlink(p);
    s->telling = true;
    s->perhaps = code == ERR_RETRY && p->failed && (p->begun || p->taken || p->unsettled);
    if (!p->part(p, code, body, false)) {
        log_event(LOG_ALARM, NULL, "store.answer.broken", F_UINT("type", p->type));
        (void)p->part(p, ERR_BUG, SPAN_NONE, false); /* a failure has no body to be broken */
    }
    s->telling = s->perhaps = false;
    pending_release(p);
    if (s->closed)
        store_release(s);
    else
        arena_reset(s->arena);
}

static void send_confirms(struct store *s)
{
    if (s->confirms.n)
        client_tell(s, WIRE_CONFIRM, 0, 0, buf_span(&s->confirms));
    buf_reset(&s->confirms);
}

static void send_acks(struct store *s)
{
    if (s->acks.n)
        client_tell(s, WIRE_ACK, 0, 0, buf_span(&s->acks));
    buf_reset(&s->acks);
}

static void send_lists(struct store *s)
{
    if (!s->up)
        return;
    send_acks(s);
    send_confirms(s);
}

static void on_deferred(void *arg)
{
    struct store *s = arg;
    struct pending *p;
    s->deferred = false;
    if (s->closed) {
        store_release(s);
        return;
    }
    send_lists(s);
    struct pending *failed = NULL;
    DL_FOREACH(s->list, p)
    {
        if (p->failed) {
            failed = p;
            break;
        }
    }
    if (!failed)
        return;
    defer(s); /* one at a time: its callback may change the list, or free the store */
    end(failed, failed->failure, SPAN_NONE);
}

/* -- asking -- */

struct pending *pending_new(struct store *s, uint16_t type, bool write, struct ticket *t, part_fn *part,
                            void (*cb)(void))
{
    struct pending *p = xcalloc(1, sizeof *p);
    *p = (struct pending){.s = s,
                          .seq = ++s->next_seq,
                          .type = type,
                          .write = write,
                          .part = part,
                          .cb = cb,
                          .fd = -1,
                          .asked_ms = clock_mono_ms()};
    p->ticket = ticket_hold(t);
    buf_init(&p->body, CLIENT_BODY_LIMIT);
    buf_init(&p->rows, (size_t)256 << 20);
    buf_init(&p->extra, (size_t)64 << 20);
    if (write) {
        uint64_t n = ++s->next_request;
        memcpy(p->ask.id.b, s->instance, sizeof s->instance);
        for (int i = 0; i < 8; i++)
            p->ask.id.b[8 + i] = (unsigned char)(n >> (56 - 8 * i));
    }
    HASH_ADD(hh, s->by_seq, seq, sizeof p->seq, p);
    DL_APPEND(s->list, p);
    return p;
}

bool pending_content(struct pending *p, struct content *c)
{
    struct content_view v;
    struct wire_content w = {.size = content_size(c), .packed = content_packed_size(c)};
    content_view(c, &v);
    content_hash(c, w.hash);
    w.frames = (uint32_t)v.frame_count;
    w.meta_n = (uint32_t)v.meta.n;
    w.inline_n = (uint32_t)(v.memory[0].n + v.memory[1].n);
    p->content = content_hold(c);
    return buf_add(&p->body, &w, sizeof w) && buf_add(&p->body, v.frames, v.frame_count * sizeof *v.frames) &&
           buf_add_span(&p->body, v.meta);
}

static void fail(struct pending *p, enum err_code code)
{
    p->failed = true;
    p->failure = code;
    defer(p->s);
}

static void send_pending(struct pending *p)
{
    struct content_view v = {.fd = -1};
    int fd = p->fd;
    p->fd = -1;
    if (p->type == WIRE_BACKUP && p->sent) { /* its pipe went with the first asking */
        fail(p, ERR_RETRY);
        return;
    }
    if (p->content)
        content_view(p->content, &v);
    if (v.fd >= 0) {
        fd = fcntl(v.fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) { /* no descriptors now: the patience decides */
            log_event(LOG_ERROR, NULL, "store.client.descriptors", F_UINT("size", v.fd_size));
            return;
        }
    }
    const struct span parts[] = {span_of(&p->ask, sizeof p->ask), buf_span(&p->body), v.memory[0],
                                 v.memory[1]};
    p->ask.flags = p->sent ? WIRE_AGAIN : 0;
    /* At the earliest it is given up a patience from now. A queue's worker never gives up. */
    p->ask.until_ms = p->write && p->s->role != STORE_RELAY ? clock_mono_ms() + p->s->patience_ms / BEGIN : 0;
    if (ipc_client_send(p->s->client, p->type, p->seq, parts, 4, fd))
        p->sent = true;
}

void pending_ask(struct pending *p, bool ok)
{
    if (!ok) {
        fail(p, ERR_LIMIT);
    } else if (p->s->up) {
        send_acks(p->s);
        if (p->type == WIRE_DELIVER) /* the same bytes again are a new message once their 250 is known */
            send_confirms(p->s);
        send_pending(p);
    }
}

uint64_t client_tell(struct store *s, uint16_t type, uint32_t session, uint64_t mailbox, struct span body)
{
    const struct wire_ask ask = {.session = session, .mailbox = mailbox};
    const struct span parts[] = {span_of(&ask, sizeof ask), body};
    if (s->up)
        (void)ipc_client_send(s->client, type, ++s->next_seq, parts, 2,
                              -1); /* failing, it is told again by `up` */
    return s->next_seq;
}

void client_confirm(struct store *s, struct span receipt)
{
    if (receipt.n &&
        buf_add_span(&s->confirms, receipt)) /* when too many wait, the key ends by itself after an hour */
        defer(s);
}

/* -- accounts that are full, as stored tells -- */

static void full_forget(struct store *s)
{
    struct full_account *f, *next;
    HASH_ITER(hh, s->full, f, next)
    {
        HASH_DEL(s->full, f);
        free(f);
    }
}

static void full_set(struct store *s, const struct uuid *id, bool full)
{
    struct full_account *f = NULL;
    HASH_FIND(hh, s->full, id, sizeof *id, f);
    if (full && !f) {
        f = xcalloc(1, sizeof *f);
        f->id = *id;
        HASH_ADD(hh, s->full, id, sizeof f->id, f);
    } else if (!full && f) {
        HASH_DEL(s->full, f);
        free(f);
    }
}

static bool full_event(struct store *s, struct span body)
{
    struct wire_in in = {body, false};
    struct wire_full w;
    struct uuid id;
    wire_get(&in, &w, sizeof w);
    for (uint32_t i = 0; i < w.count && wire_get(&in, &id, sizeof id); i++)
        full_set(s, &id, w.full != 0);
    return wire_whole(&in);
}

bool store_is_full(const struct store *s, const struct uuid *account)
{
    struct full_account *f = NULL;
    HASH_FIND(hh, s->full, account, sizeof *account, f);
    return f != NULL;
}

/* -- the connection -- */

static void on_up(void *arg)
{
    struct store *s = arg;
    struct pending *p, *next;
    s->up = true;
    s->life_ms = s->writer_ms = clock_mono_ms();
    client_again(s);
    DL_FOREACH_SAFE(s->list, p, next)
    {
        if (p->failed)
            continue;
        if (!ticket_session(p->ticket) && p->sent) {
            pending_free(p); /* nobody waits for it any more */
            continue;
        }
        buf_reset(&p->rows);
        buf_reset(&p->extra);
        send_pending(p);
    }
    if (s->queue_event)
        client_tell(s, WIRE_QUEUE_WATCH, 0, 0, SPAN_NONE);
    if (s->role == STORE_DELIVER)
        client_tell(s, WIRE_FULL_WATCH, 0, 0, SPAN_NONE);
    send_lists(s);
}

static void on_down(void *arg)
{
    struct store *s = arg;
    struct pending *p;
    s->up = false;
    s->down_ms = clock_mono_ms();
    full_forget(s);
    DL_FOREACH(s->list, p)
    {
        p->unsettled = p->unsettled || (p->write && p->sent);
        p->begun = p->taken = false;
    }
}

/* When its question was last known to be in good hands. */
static uint64_t hopeful_since(const struct pending *p)
{
    const struct store *s = p->s;
    uint64_t life_ms = !s->up ? s->down_ms : !p->sent ? 0 : p->write ? s->writer_ms : s->life_ms;
    return p->asked_ms > life_ms ? p->asked_ms : life_ms;
}

/* Give up what has waited too long since the last sign of life, and ask for one in time. The queue's workers
 * wait on: nobody outside waits for them, and a lease that came too late would be nobody's. */
static void on_patience(void *arg)
{
    struct store *s = arg;
    struct pending *p;
    uint64_t now = clock_mono_ms();
    bool ping = false;
    if (now - s->tick_ms > s->patience_ms / 2) /* it was we who stood still: what was said meanwhile waits */
        s->life_ms = s->writer_ms = now;
    s->tick_ms = now;
    send_lists(s);
    DL_FOREACH(s->list, p)
    {
        if (now - p->asked_ms < s->patience_ms / PINGS)
            break; /* so are those behind it */
        if (p->failed || (s->up && s->role == STORE_RELAY))
            continue;
        uint64_t waited_ms = now - hopeful_since(p);
        if (waited_ms >= s->patience_ms * (p->begun || p->taken ? TAKEN : 1))
            fail(p, ERR_RETRY);
        ping = true; /* also while others are answered: the time of its beginning moves by pings alone */
    }
    if (ping && s->up && now - s->ping_ms >= s->patience_ms / PINGS) {
        const struct wire_ping w = {s->patience_ms / BEGIN};
        s->ping_ms = now;
        client_tell(s, WIRE_PING, 0, 0, span_of(&w, sizeof w));
    }
    loop_timer_start(s->patience, PATIENCE_TICK_MS);
}

/* Which writes stored has begun with. */
static bool underway_event(struct store *s, struct span body)
{
    struct wire_in in = {body, false};
    struct wire_underway w;
    struct pending *p;
    wire_get(&in, &w, sizeof w);
    struct span seqs = wire_items(&in, w.count, sizeof(uint64_t));
    if (!wire_whole(&in))
        return false;
    if (w.which == WIRE_UNDERWAY_OTHERS)
        DL_FOREACH(s->list, p)
    p->taken = p->write && p->sent && p->seq < w.before;
    for (uint32_t i = 0; i < w.count; i++) {
        uint64_t seq;
        memcpy(&seq, seqs.p + i * sizeof seq, sizeof seq);
        HASH_FIND(hh, s->by_seq, &seq, sizeof seq, p);
        if (p && w.which == WIRE_UNDERWAY_OTHERS)
            p->taken = false;
        else if (p)
            p->begun = true;
    }
    return true;
}

/* An answer of this type was written by the writer, or stood behind what it wrote. */
static void note_life(struct store *s, bool writer)
{
    s->life_ms = clock_mono_ms();
    if (writer)
        s->writer_ms = s->life_ms;
}

/* Not the last part: the question stays, unless the callback freed the store. */
static bool tell_part(struct pending *p, struct span body)
{
    struct store *s = p->s;
    s->telling = true;
    bool ok = p->part(p, ERR_OK, body, true);
    s->telling = false;
    if (s->closed)
        store_release(s);
    else
        arena_reset(s->arena);
    return ok;
}

static bool on_answer(struct store *s, const struct ipc_head *h, struct span body)
{
    struct pending *p = NULL;
    bool more = h->type & WIRE_MORE;
    HASH_FIND(hh, s->by_seq, &h->seq, sizeof h->seq, p);
    note_life(s, h->type == (WIRE_PING | IPC_ANSWER) || (p && p->write && p->type != WIRE_LOGIN));
    if (!p && h->type == (WIRE_LOGIN | IPC_ANSWER))
        client_login_again(s, h->seq, (enum err_code)h->status);
    if (!p)
        return true; /* its question was given up */
    if ((h->type & ~(IPC_ANSWER | WIRE_MORE)) != p->type || h->status > ERR_BUG)
        return false;
    enum err_code code = (enum err_code)h->status;
    if (more && code == ERR_OK) {
        return tell_part(p, body);
    }
    if (p->write && code == ERR_OK) /* failures are not recorded */
        acknowledge(s, &p->ask.id);
    end(p, code, body);
    return true;
}

static bool on_frame(void *arg, const struct ipc_head *h, struct span body, int fd)
{
    struct store *s = arg;
    if (fd >= 0) {
        close(fd);
        return false;
    }
    if (h->type & IPC_ANSWER)
        return on_answer(s, h, body);
    note_life(s, false);
    if (h->type == WIRE_EVENT)
        return client_event(s, body);
    if (h->type == WIRE_FULL_EVENT)
        return full_event(s, body);
    if (h->type == WIRE_UNDERWAY)
        return underway_event(s, body);
    if (h->type == WIRE_QUEUE_EVENT && s->queue_event)
        s->queue_event(s->queue_arg);
    return true;
}

static void open_path(void *arg, struct ipc_client *c)
{
    struct store *s = arg;
    struct err why;
    int fd = -1;
    if (ipc_connect(s->path, &fd, &why) != ERR_OK)
        fd = -1; /* tried again with back-off */
    ipc_client_opened(c, fd);
}

static const struct ipc_client_ops ops = {open_path, on_up, on_down, on_frame};

static struct store *store_new(struct loop *l, enum store_role role)
{
    struct store *s = xcalloc(1, sizeof *s);
    s->loop = l;
    s->role = role;
    s->patience_ms = STORE_PATIENCE_MS;
    s->down_ms = s->tick_ms = clock_mono_ms();
    crypto_random(s->instance, sizeof s->instance);
    buf_init(&s->acks, ACKS_LIMIT);
    buf_init(&s->confirms, CONFIRMS_LIMIT);
    buf_init(&s->bytes, STORE_READ_LIMIT + 2 * FRAME_RAW);
    s->arena = arena_new(ARENA_LIMIT);
    s->patience = loop_timer_new(l, on_patience, s);
    loop_timer_start(s->patience, PATIENCE_TICK_MS);
    return s;
}

struct store *store_new_worker(struct worker *w, enum store_role role)
{
    struct store *s = store_new(worker_loop(w), role);
    s->patience_ms = worker_conf(w)->store_patience;
    s->client = worker_client(w, "store", &ops, s);
    return s;
}

struct store *store_new_path(struct loop *l, const char *path, enum store_role role)
{
    struct store *s = store_new(l, role);
    s->path = xstrdup(path);
    s->client = ipc_client_new(l, &ops, s);
    return s;
}

bool store_is_up(const struct store *s)
{
    return s->up;
}

bool store_done_perhaps(const struct store *s)
{
    return s->perhaps;
}

/* The last of a freed store; whoever still holds it (a deferred call, a callback) comes here in the end. */
static void store_release(struct store *s)
{
    if (s->deferred || s->telling)
        return;
    arena_free(&s->arena);
    free(s);
}

void store_free(struct store **sp)
{
    struct store *s = *sp;
    struct pending *p, *next;
    struct store_account *a, *a_next;
    *sp = NULL;
    if (!s)
        return;
    send_lists(s);
    s->up = false;
    HASH_ITER(hh, s->accounts, a, a_next)
    {
        struct store_account *dead = a;
        store_logout(&dead);
    }
    DL_FOREACH_SAFE(s->list, p, next)
    pending_free(p);
    full_forget(s);
    ipc_client_free(&s->client);
    loop_timer_free(&s->patience);
    buf_free(&s->acks);
    buf_free(&s->confirms);
    buf_free(&s->bytes);
    free(s->path);
    s->path = NULL;
    s->closed = true;
    store_release(s);
}

/* -- what several answers share -- */

void *take_items(struct wire_in *in, struct arena *a, uint64_t count, size_t size)
{
    struct span raw = wire_items(in, count, size);
    void *v = in->bad ? NULL : arena_array(a, (size_t)count + 1, size);
    if (!v) {
        in->bad = true;
        return NULL;
    }
    if (raw.n)
        memcpy(v, raw.p, raw.n);
    return v;
}

const char *const *take_keywords(struct wire_in *in, struct arena *a, uint32_t count)
{
    const char **v = count <= 64 ? arena_array(a, count + 1, sizeof *v) : NULL;
    if (!v)
        in->bad = true;
    for (uint32_t i = 0; i < count && !in->bad; i++) {
        v[i] = arena_dup(a, wire_text(in)).p;
        if (!v[i])
            in->bad = true;
    }
    return in->bad ? NULL : v;
}

bool take_box(struct wire_in *in, struct arena *a, struct store_mailbox *out)
{
    struct wire_box w;
    wire_get(in, &w, sizeof w);
    struct span name = wire_text(in);
    *out = (struct store_mailbox){.id = w.id,
                                  .name = name.n ? name : SPAN_NONE,
                                  .use = (enum store_use)w.use,
                                  .subscribed = w.subscribed,
                                  .no_select = w.no_select,
                                  .uidvalidity = w.uidvalidity,
                                  .uidnext = w.uidnext,
                                  .messages = w.messages,
                                  .unseen = w.unseen,
                                  .deleted = w.deleted,
                                  .recent_from = w.recent_from,
                                  .modseq = w.modseq,
                                  .bytes = w.bytes};
    out->keywords = take_keywords(in, a, w.keyword_count);
    return !in->bad;
}
