/* The admin role's calls about the past: how an account and a mailbox were, and bringing it back. Answers of
 * any length come in parts, and each part is told as it arrives; names are gathered, because two names of one
 * folder belong together. */
#include "common/store/client_int.h"
#include <stdlib.h>

static bool take_names(struct pending *p, struct span all, int64_t oldest_us, size_t count)
{
    struct wire_in in = {all, false};
    struct store_past_name *v = arena_array(p->s->arena, count + 1, sizeof *v);
    if (!v)
        return false;
    for (size_t i = 0; i < count && !in.bad; i++) {
        struct wire_past_name w;
        wire_get(&in, &w, sizeof w);
        struct span then = wire_text(&in), now = wire_text(&in);
        v[i] = (struct store_past_name){.then = then,
                                        .now = now,
                                        .mailbox = w.mailbox,
                                        .deleted_us = w.deleted_us,
                                        .bytes = w.bytes,
                                        .messages = w.messages,
                                        .use = (enum store_use)w.use,
                                        .subscribed = w.subscribed != 0};
    }
    if (!wire_whole(&in))
        return false;
    TELL(p, store_past_names_cb, ERR_OK, oldest_us, v, count);
    return true;
}

static bool on_names(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_past_names_part head;
    uint32_t count = 0;
    if (code != ERR_OK) {
        TELL(p, store_past_names_cb, code, 0, NULL, 0);
        return true;
    }
    if (!wire_get(&in, &head, sizeof head))
        return false;
    if (head.flags & WIRE_PAST_TOO_OLD) {
        TELL(p, store_past_names_cb, ERR_LIMIT, head.oldest_us, NULL, 0);
        return true;
    }
    if (p->extra.n == sizeof count)
        memcpy(&count, p->extra.p, sizeof count);
    if (head.count > in.s.n / sizeof(struct wire_past_name) || head.count > UINT32_MAX - count)
        return false;
    count += head.count;
    buf_reset(&p->extra);
    if (!buf_add(&p->extra, &count, sizeof count) || !buf_add_span(&p->rows, in.s))
        return false;
    return more || take_names(p, buf_span(&p->rows), head.oldest_us, count);
}

void store_admin_past_names(struct store *s, const struct uuid *account, int64_t at_us, bool deleted,
                            struct ticket *t, store_past_names_cb *cb)
{
    const struct wire_past_names w = {.account = *account, .at_us = at_us, .deleted = deleted};
    struct pending *p = pending_new(s, WIRE_PAST_NAMES, false, t, on_names, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}

static bool on_view(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_view_part head;
    struct store_mailbox box;
    struct store_view view = {.more = more};
    if (code != ERR_OK) {
        TELL(p, store_view_cb, code, &view);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    if (in.bad || (head.has_box && !take_box(&in, p->s->arena, &box)))
        return false;
    view.box = head.has_box ? &box : NULL;
    view.uidnext = head.uidnext;
    view.oldest_us = head.oldest_us;
    view.count = head.count;
    view.v = take_items(&in, p->s->arena, head.count, sizeof *view.v);
    if (!wire_whole(&in))
        return false;
    TELL(p, store_view_cb, head.flags & WIRE_PAST_TOO_OLD ? ERR_LIMIT : ERR_OK, &view);
    return true;
}

void store_admin_view(struct store *s, const struct uuid *account, uint64_t mailbox, int64_t at_us, bool gone,
                      struct ticket *t, store_view_cb *cb)
{
    const struct wire_view w = {.account = *account, .at_us = at_us, .gone = gone};
    struct pending *p = pending_new(s, WIRE_VIEW, false, t, on_view, CB(cb));
    p->ask.mailbox = mailbox;
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}

static bool on_restored(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_restored w = {.done = 0};
    if (more || (code == ERR_OK && (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))))
        return false;
    TELL(p, store_restored_cb, code, w.done, w.missing);
    return true;
}

void store_admin_restore(struct store *s, const struct store_restore *r, struct ticket *t,
                         store_restored_cb *cb)
{
    const struct wire_restore w = {.account = r->account,
                                   .from = r->from,
                                   .kind = r->kind,
                                   .over_quota = r->over_quota,
                                   .count = (uint32_t)r->count};
    struct pending *p = pending_new(s, WIRE_RESTORE, true, t, on_restored, CB(cb));
    p->ask.mailbox = r->to;
    pending_ask(p, r->count <= STORE_RESTORE_SLICE && buf_add(&p->body, &w, sizeof w) &&
                       buf_add(&p->body, r->rows, r->count * sizeof *r->rows));
}

static bool on_folder(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct store_mailbox box;
    if (more || (code == ERR_OK && (!take_box(&in, p->s->arena, &box) || !wire_whole(&in))))
        return false;
    TELL(p, store_folder_cb, code, code == ERR_OK ? &box : NULL);
    return true;
}

void store_admin_folder(struct store *s, const struct store_folder *f, struct ticket *t, store_folder_cb *cb)
{
    const struct wire_folder w = {.account = f->account,
                                  .action = f->action,
                                  .use = f->use,
                                  .subscribe = f->subscribe,
                                  .over_quota = f->over_quota};
    struct pending *p = pending_new(s, WIRE_FOLDER, true, t, on_folder, CB(cb));
    p->ask.mailbox = f->mailbox;
    pending_ask(p, buf_add(&p->body, &w, sizeof w) && wire_put_text(&p->body, f->name));
}

/* -- backup and the held queue -- */

static bool on_code(struct pending *p, enum err_code code, struct span body, bool more)
{
    (void)body;
    if (!more)
        TELL(p, store_done_cb, code);
    return !more;
}

void store_admin_backup(struct store *s, const unsigned char life[16], const uint32_t *have, size_t count,
                        int fd, struct ticket *t, store_done_cb *cb)
{
    struct wire_backup w = {.count = (uint32_t)count};
    struct pending *p = pending_new(s, WIRE_BACKUP, false, t, on_code, CB(cb));
    memcpy(w.life, life, sizeof w.life);
    p->fd = fd;
    pending_ask(p,
                buf_add(&p->body, &w, sizeof w) && (!count || buf_add(&p->body, have, count * sizeof *have)));
}

static bool on_text(struct pending *p, enum err_code code, struct span body, bool more)
{
    if (!more)
        TELL(p, store_text_cb, code, code == ERR_OK ? body : SPAN_NONE);
    return !more;
}

void store_admin_queue_held(struct store *s, struct ticket *t, store_text_cb *cb)
{
    pending_ask(pending_new(s, WIRE_QUEUE_HELD, false, t, on_text, CB(cb)), true);
}

void store_admin_queue_release(struct store *s, struct ticket *t, store_done_cb *cb)
{
    pending_ask(pending_new(s, WIRE_QUEUE_RELEASE, true, t, on_code, CB(cb)), true);
}
