/* The session role's calls that read, logins, names and events. An event that says nothing new costs its
 * watcher a comparison; one that is lost costs a user a message: so each new connection tells the present
 * state again. Calls that change messages are client_write.c's. */
#include "common/store/client_int.h"
#include <stdlib.h>
#include <utlist.h>

/* -- logins -- */

/* Its watches have ended. */
static void account_free(struct store_account *a)
{
    HASH_DEL(a->s->accounts, a);
    buf_wipe(&a->grant);
    free(a);
}

static bool on_login(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct store_account *a = p->account;
    (void)body;
    (void)more;
    if (code != ERR_OK || !ticket_session(p->ticket)) {
        if (code == ERR_OK || (code == ERR_RETRY && p->sent)) /* given up, it may still be done */
            client_tell(p->s, WIRE_LOGOUT, a->id, 0, SPAN_NONE);
        account_free(a);
        a = NULL;
    } else {
        a->ready = true;
    }
    TELL(p, store_login_cb, code, a);
    return true;
}

void store_login(struct store *s, struct span grant, struct ticket *t, store_login_cb *cb)
{
    struct store_account *a = xcalloc(1, sizeof *a);
    a->s = s;
    a->id = ++s->next_account;
    buf_init(&a->grant, CLIENT_BODY_LIMIT);
    HASH_ADD(hh, s->accounts, id, sizeof a->id, a);
    struct pending *p = pending_new(s, WIRE_LOGIN, true, t, on_login, CB(cb));
    p->account = a;
    p->ask.session = a->id;
    pending_ask(p, buf_add_span(&a->grant, grant) && buf_add_span(&p->body, grant));
}

/* A grant that was shown again: only a refusal matters. */
void client_login_again(struct store *s, uint64_t seq, enum err_code code)
{
    struct store_account *a, *next;
    HASH_ITER(hh, s->accounts, a, next)
    {
        if (a->login_seq == seq && code != ERR_OK && a->event)
            a->event(a->event_arg, code, 0, 0);
    }
}

/* -- events -- */

void store_events(struct store_account *a, store_event_cb *cb, void *arg)
{
    a->event = cb;
    a->event_arg = arg;
}

static void tell_watch(struct store_account *a, uint64_t mailbox, bool on)
{
    const struct wire_watch w = {.on = on};
    client_tell(a->s, WIRE_WATCH, a->id, mailbox, span_of(&w, sizeof w));
}

static struct account_watch *watch_new(struct store_account *a, uint64_t mailbox)
{
    struct mailbox_watch *m = NULL;
    struct account_watch *w = xcalloc(1, sizeof *w);
    w->mailbox = mailbox;
    w->account = a;
    HASH_ADD(hh, a->watches, mailbox, sizeof mailbox, w);
    HASH_FIND(hh, a->s->watched, &mailbox, sizeof mailbox, m);
    if (!m) {
        m = xcalloc(1, sizeof *m);
        m->mailbox = mailbox;
        HASH_ADD(hh, a->s->watched, mailbox, sizeof mailbox, m);
    }
    DL_APPEND(m->watches, w);
    return w;
}

/* stored hears of it when it was the last one of the mailbox. */
static void watch_end(struct account_watch *w)
{
    struct store_account *a = w->account;
    struct mailbox_watch *m = NULL;
    HASH_FIND(hh, a->s->watched, &w->mailbox, sizeof w->mailbox, m);
    DL_DELETE(m->watches, w);
    if (!m->watches) {
        tell_watch(a, w->mailbox, false);
        HASH_DEL(a->s->watched, m);
        free(m);
    }
    HASH_DEL(a->watches, w);
    free(w);
}

void store_watch(struct store_account *a, uint64_t mailbox, bool on)
{
    struct account_watch *w = NULL;
    HASH_FIND(hh, a->watches, &mailbox, sizeof mailbox, w);
    if (on) {
        if (!w)
            w = watch_new(a, mailbox);
        w->count++;
        tell_watch(a, mailbox, true); /* also when it is on: the present state comes back at once */
    } else if (w && --w->count == 0) {
        watch_end(w);
    }
}

void store_logout(struct store_account **ap)
{
    struct store_account *a = *ap;
    struct account_watch *w, *next;
    *ap = NULL;
    if (!a)
        return;
    HASH_ITER(hh, a->watches, w, next)
    {
        watch_end(w);
    }
    client_tell(a->s, WIRE_LOGOUT, a->id, 0, SPAN_NONE);
    account_free(a);
}

static void tell_account(struct store *s, const struct wire_event *e)
{
    struct store_account *a = NULL;
    HASH_FIND(hh, s->accounts, &e->session, sizeof e->session, a);
    if (a && a->event)
        a->event(a->event_arg, (enum err_code)e->code, e->mailbox, e->modseq);
}

bool client_event(struct store *s, struct span body)
{
    struct wire_event e;
    struct mailbox_watch *m = NULL;
    struct account_watch *w, *next;
    if (body.n != sizeof e)
        return false;
    memcpy(&e, body.p, sizeof e);
    if (e.mailbox == 0) {
        tell_account(s, &e);
        return true;
    }
    HASH_FIND(hh, s->watched, &e.mailbox, sizeof e.mailbox, m);
    if (!m)
        return true;
    DL_FOREACH_SAFE(m->watches, w, next)
    {
        if (w->account->event)
            w->account->event(w->account->event_arg, (enum err_code)e.code, e.mailbox, e.modseq);
    }
    return true;
}

void client_again(struct store *s)
{
    struct store_account *a, *next;
    struct account_watch *w, *w_next;
    HASH_ITER(hh, s->accounts, a, next)
    {
        if (!a->ready)
            continue; /* its login is among the questions that are asked again */
        a->login_seq = client_tell(s, WIRE_LOGIN, a->id, 0, buf_span(&a->grant));
        HASH_ITER(hh, a->watches, w, w_next)
        {
            tell_watch(a, w->mailbox, true);
        }
        if (a->event)
            a->event(a->event_arg, ERR_OK, 0, 0); /* the list may have changed meanwhile */
    }
}

/* -- mailboxes -- */

/* An answer without a body. */
static bool on_done(struct pending *p, enum err_code code, struct span body, bool more)
{
    (void)body;
    if (!more)
        TELL(p, store_done_cb, code);
    return true;
}

static struct pending *ask_of(struct store_account *a, uint16_t type, bool write, uint64_t mailbox,
                              struct ticket *t, part_fn *part, void (*cb)(void))
{
    struct pending *p = pending_new(a->s, type, write, t, part, cb);
    p->ask.session = a->id;
    p->ask.mailbox = mailbox;
    return p;
}

bool client_tell_list(struct pending *p, struct span all)
{
    struct arena *arena = p->s->arena;
    struct wire_in in = {all, false};
    size_t n = 0, cap = all.n / sizeof(struct wire_box) + 1;
    struct store_mailbox *v = arena_array(arena, cap, sizeof *v);
    while (v && in.s.n && n < cap && take_box(&in, arena, &v[n]))
        n++;
    if (!v || in.bad || in.s.n)
        return false;
    TELL(p, store_list_cb, ERR_OK, v, n);
    return true;
}

static bool on_list(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_boxes head;
    if (code != ERR_OK) {
        TELL(p, store_list_cb, code, NULL, 0);
        return true;
    }
    if (!wire_get(&in, &head, sizeof head) || !buf_add_span(&p->rows, in.s))
        return false;
    return more || client_tell_list(p, buf_span(&p->rows));
}

void store_list(struct store_account *a, struct ticket *t, store_list_cb *cb)
{
    pending_ask(ask_of(a, WIRE_LIST, false, 0, t, on_list, CB(cb)), true);
}

static bool on_mailbox(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct store_mailbox box;
    if (code != ERR_OK) {
        TELL(p, store_mailbox_cb, code, NULL);
        return true;
    }
    if (more || !take_box(&in, p->s->arena, &box) || !wire_whole(&in))
        return false;
    TELL(p, store_mailbox_cb, ERR_OK, &box);
    return true;
}

void store_status(struct store_account *a, struct span name, bool claim_recent, struct ticket *t,
                  store_mailbox_cb *cb)
{
    const struct wire_status w = {.claim_recent = claim_recent};
    struct pending *p = ask_of(a, WIRE_STATUS, false, 0, t, on_mailbox, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w) && wire_put_text(&p->body, name));
}

void store_status_id(struct store_account *a, uint64_t mailbox, struct ticket *t, store_mailbox_cb *cb)
{
    pending_ask(ask_of(a, WIRE_STATUS_ID, false, mailbox, t, on_mailbox, CB(cb)), true);
}

void store_create(struct store_account *a, struct span name, enum store_use use, struct ticket *t,
                  store_mailbox_cb *cb)
{
    const struct wire_create w = {.use = (uint32_t)use};
    struct pending *p = ask_of(a, WIRE_CREATE, true, 0, t, on_mailbox, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w) && wire_put_text(&p->body, name));
}

void store_delete(struct store_account *a, struct span name, struct ticket *t, store_done_cb *cb)
{
    struct pending *p = ask_of(a, WIRE_DELETE, true, 0, t, on_done, CB(cb));
    pending_ask(p, wire_put_text(&p->body, name));
}

void store_rename(struct store_account *a, struct span from, struct span to, struct ticket *t,
                  store_done_cb *cb)
{
    struct pending *p = ask_of(a, WIRE_RENAME, true, 0, t, on_done, CB(cb));
    pending_ask(p, wire_put_text(&p->body, from) && wire_put_text(&p->body, to));
}

void store_subscribe(struct store_account *a, struct span name, bool on, struct ticket *t, store_done_cb *cb)
{
    const struct wire_subscribe w = {.on = on};
    struct pending *p = ask_of(a, WIRE_SUBSCRIBE, true, 0, t, on_done, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w) && wire_put_text(&p->body, name));
}

/* -- rows and changes -- */

static bool on_rows(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_rows_part head;
    if (code != ERR_OK) {
        TELL(p, store_rows_cb, code, NULL, 0, false);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    const struct store_row *v = take_items(&in, p->s->arena, head.count, sizeof *v);
    if (!wire_whole(&in))
        return false;
    if (head.count) { /* asked again, it goes on behind these */
        const uint32_t next = v[head.count - 1].uid + 1;
        memcpy(p->body.p + offsetof(struct wire_rows, first), &next, sizeof next);
    }
    TELL(p, store_rows_cb, ERR_OK, v, head.count, more);
    return true;
}

void store_rows(struct store_account *a, uint64_t mailbox, uint32_t first, uint32_t last, struct ticket *t,
                store_rows_cb *cb)
{
    const struct wire_rows w = {first, last};
    struct pending *p = ask_of(a, WIRE_ROWS, false, mailbox, t, on_rows, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}

/* The box lies in front of the rows that were gathered, each behind its own length. */
static bool tell_changes(struct pending *p, bool whole)
{
    struct store_changes c = {.whole = whole, .row_count = p->rows.n / sizeof *c.rows, .gone_count = 0};
    struct wire_in in = {buf_span(&p->extra), false};
    struct span box = wire_text(&in);
    struct wire_in box_in = {box, false};
    if (in.bad || !take_box(&box_in, p->s->arena, &c.box) || !wire_whole(&box_in))
        return false;
    c.gone_count = in.s.n / 4;
    c.rows = (const struct store_row *)(const void *)p->rows.p;
    c.gone = take_items(&in, p->s->arena, c.gone_count, 4);
    if (!wire_whole(&in))
        return false;
    TELL(p, store_changes_cb, ERR_OK, &c);
    return true;
}

static bool gather_box(struct pending *p, struct wire_in *in)
{
    struct store_mailbox box;
    struct span from = in->s;
    if (!take_box(in, p->s->arena, &box))
        return false;
    return wire_put_text(&p->extra, span_first(from, from.n - in->s.n));
}

static bool on_changes(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_changes_part head;
    if (code != ERR_OK) {
        TELL(p, store_changes_cb, code, NULL);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    if (in.bad || (head.has_box && !gather_box(p, &in)))
        return false;
    struct span rows = wire_items(&in, head.row_count, sizeof(struct store_row));
    struct span gone = wire_items(&in, head.gone_count, 4);
    if (!wire_whole(&in) || !buf_add_span(&p->rows, rows) || !buf_add_span(&p->extra, gone))
        return false;
    return more || tell_changes(p, head.whole != 0);
}

void store_changes(struct store_account *a, uint64_t mailbox, uint64_t since, struct ticket *t,
                   store_changes_cb *cb)
{
    const struct wire_changes w = {since};
    struct pending *p = ask_of(a, WIRE_CHANGES, false, mailbox, t, on_changes, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}

/* -- meta and bytes -- */

/* What comes again after a restart are the UIDs behind the last one told. */
static void forget_told(struct pending *p, uint32_t uid)
{
    uint32_t first;
    while (p->body.n >= sizeof first) {
        memcpy(&first, p->body.p, sizeof first);
        if (first > uid)
            return;
        buf_consume(&p->body, sizeof first);
    }
}

static bool on_meta(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_meta_part head;
    if (code != ERR_OK) {
        TELL(p, store_meta_cb, code, NULL, 0, false);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    if (in.bad || head.count > in.s.n / 8)
        return false;
    struct store_meta *v = arena_array(p->s->arena, (size_t)head.count + 1, sizeof *v);
    for (uint32_t i = 0; v && i < head.count; i++) {
        v[i].uid = wire_u32(&in);
        v[i].record = wire_text(&in);
    }
    if (!v || !wire_whole(&in))
        return false;
    if (head.count)
        forget_told(p, v[head.count - 1].uid);
    TELL(p, store_meta_cb, ERR_OK, v, head.count, more);
    return true;
}

void store_meta(struct store_account *a, uint64_t mailbox, const uint32_t *uids, size_t count,
                struct ticket *t, store_meta_cb *cb)
{
    struct pending *p = ask_of(a, WIRE_META, false, mailbox, t, on_meta, CB(cb));
    pending_ask(p, count <= CLIENT_BODY_LIMIT / 4 && buf_add(&p->body, uids, count * sizeof *uids));
}

/* Unpack the frames of a part into s->bytes. */
static bool unpack(struct store *s, struct wire_in *in, uint32_t frames)
{
    struct span table = wire_items(in, frames, sizeof(struct frame_size));
    buf_reset(&s->bytes);
    for (uint32_t i = 0; i < frames && !in->bad; i++) {
        struct frame_size f;
        memcpy(&f, table.p + i * sizeof f, sizeof f);
        struct span packed = wire_take(in, f.packed);
        char *to = f.raw <= FRAME_RAW ? buf_reserve(&s->bytes, f.raw) : NULL;
        if (in->bad || !to || !frame_unpack(packed, to, f.raw))
            return false;
        buf_commit(&s->bytes, f.raw);
    }
    return wire_whole(in);
}

static bool on_read(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_read_part head;
    struct wire_read asked;
    if (code != ERR_OK) {
        TELL(p, store_read_cb, code, SPAN_NONE);
        return true;
    }
    memcpy(&asked, p->body.p, sizeof asked);
    wire_get(&in, &head, sizeof head);
    if (more || in.bad || !unpack(p->s, &in, head.frames))
        return false;
    /* Without frames the message ended before the first byte that was asked for. */
    struct span bytes = buf_span(&p->s->bytes);
    bytes =
        head.frames && asked.first >= head.at ? span_drop(bytes, (size_t)(asked.first - head.at)) : SPAN_NONE;
    TELL(p, store_read_cb, ERR_OK, span_first(bytes, (size_t)asked.want));
    return true;
}

void store_read(struct store_account *a, uint64_t mailbox, uint32_t uid, uint64_t first, uint64_t want,
                struct ticket *t, store_read_cb *cb)
{
    store_read_seen(a, mailbox, uid, 0, first, want, t, cb);
}

void store_read_seen(struct store_account *a, uint64_t mailbox, uint32_t uid, uint64_t seen, uint64_t first,
                     uint64_t want, struct ticket *t, store_read_cb *cb)
{
    const struct wire_read w = {first, want < STORE_READ_LIMIT ? want : STORE_READ_LIMIT, seen, uid, 0};
    struct pending *p = ask_of(a, WIRE_READ, false, mailbox, t, on_read, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}
