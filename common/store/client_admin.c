/* The admin role's calls, for mailadm and (revocation) for directoryd. */
#include "common/store/client_int.h"
#include <stdlib.h>

static bool on_accounts(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_accounts_part head;
    if (code != ERR_OK) {
        TELL(p, store_accounts_cb, code, NULL, 0, false);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    const struct store_account_info *v = take_items(&in, p->s->arena, head.count, sizeof *v);
    if (!wire_whole(&in))
        return false;
    if (head.count) /* asked again, it goes on behind these */
        memcpy(p->body.p, &v[head.count - 1].id, sizeof v->id);
    TELL(p, store_accounts_cb, ERR_OK, v, head.count, more);
    return true;
}

void store_admin_accounts(struct store *s, struct ticket *t, store_accounts_cb *cb)
{
    const struct wire_accounts w = {{{0}}};
    struct pending *p = pending_new(s, WIRE_ACCOUNTS, false, t, on_accounts, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
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

void store_admin_mailboxes(struct store *s, const struct uuid *account, struct ticket *t, store_list_cb *cb)
{
    const struct wire_account w = {*account};
    struct pending *p = pending_new(s, WIRE_MAILBOXES, false, t, on_list, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}

static bool on_quota(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_roots head;
    struct wire_root w;
    if (code != ERR_OK) {
        TELL(p, store_quota_cb, code, NULL, 0);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    if (more || in.bad || head.count > in.s.n / sizeof w)
        return false;
    struct store_quota *v = arena_array(p->s->arena, (size_t)head.count + 1, sizeof *v);
    for (uint32_t i = 0; v && i < head.count; i++) {
        wire_get(&in, &w, sizeof w);
        v[i] = (struct store_quota){.id = w.id,
                                    .parent = w.parent,
                                    .bytes = w.bytes,
                                    .messages = w.messages,
                                    .accounts = w.accounts,
                                    .limit_bytes = w.limit_bytes,
                                    .limit_messages = w.limit_messages};
        v[i].code = wire_text(&in);
        v[i].name = wire_text(&in);
    }
    if (!v || !wire_whole(&in))
        return false;
    TELL(p, store_quota_cb, ERR_OK, v, head.count);
    return true;
}

void store_admin_units(struct store *s, struct ticket *t, store_quota_cb *cb)
{
    pending_ask(pending_new(s, WIRE_UNIT_LIST, false, t, on_quota, CB(cb)), true);
}

void store_quota(struct store_account *a, struct ticket *t, store_quota_cb *cb)
{
    struct pending *p = pending_new(a->s, WIRE_QUOTA, false, t, on_quota, CB(cb));
    p->ask.session = a->id;
    pending_ask(p, true);
}

static bool on_trace(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_trace_part head;
    if (code != ERR_OK) {
        TELL(p, store_trace_cb, code, NULL, 0, false);
        return true;
    }
    wire_get(&in, &head, sizeof head);
    if (in.bad || head.count > in.s.n / 16)
        return false;
    struct store_trace_line *v = arena_array(p->s->arena, (size_t)head.count + 1, sizeof *v);
    for (uint32_t i = 0; v && i < head.count; i++) {
        wire_get(&in, &v[i].at_us, sizeof v[i].at_us);
        v[i].event = wire_text(&in);
        v[i].detail = wire_text(&in);
    }
    if (!v || !wire_whole(&in))
        return false;
    TELL(p, store_trace_cb, ERR_OK, v, head.count, more);
    return true;
}

void store_admin_trace(struct store *s, struct span trace, struct ticket *t, store_trace_cb *cb)
{
    struct pending *p = pending_new(s, WIRE_TRACE, false, t, on_trace, CB(cb));
    pending_ask(p, wire_put_text(&p->body, trace));
}

static bool on_text(struct pending *p, enum err_code code, struct span body, bool more)
{
    if (!more)
        TELL(p, store_text_cb, code, code == ERR_OK ? body : SPAN_NONE);
    return !more;
}

void store_admin_stats(struct store *s, struct ticket *t, store_text_cb *cb)
{
    pending_ask(pending_new(s, WIRE_STATS, false, t, on_text, CB(cb)), true);
}

static bool on_done(struct pending *p, enum err_code code, struct span body, bool more)
{
    (void)body;
    if (!more)
        TELL(p, store_done_cb, code);
    return true;
}

void store_admin_revoke(struct store *s, const struct uuid *account, int64_t before_us, struct ticket *t,
                        store_done_cb *cb)
{
    const struct wire_revoke w = {*account, before_us};
    struct pending *p = pending_new(s, WIRE_REVOKE, true, t, on_done, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}

static bool on_care(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_care_said w;
    if (code == ERR_OK && (!wire_get(&in, &w, sizeof w) || !wire_whole(&in) || more))
        return false;
    const struct store_care c = code == ERR_OK ? (struct store_care){w.asked,
                                                                     w.finished,
                                                                     w.purged_changes,
                                                                     w.purged_rows,
                                                                     w.purged_mailboxes,
                                                                     w.swept,
                                                                     w.segments_dropped,
                                                                     w.compacted_bytes}
                                               : (struct store_care){.asked = 0};
    TELL(p, store_care_cb, code, &c);
    return true;
}

void store_admin_care(struct store *s, bool purge, bool compact, struct ticket *t, store_care_cb *cb)
{
    const struct wire_care w = {purge, compact};
    struct pending *p = pending_new(s, WIRE_CARE, false, t, on_care, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}

void store_admin_hold(struct store *s, const struct uuid *account, bool on, struct ticket *t,
                      store_done_cb *cb)
{
    const struct wire_hold w = {*account, on, 0};
    struct pending *p = pending_new(s, WIRE_HOLD, true, t, on_done, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}

void store_admin_describe(struct store *s, uint64_t content, struct span record, struct ticket *t,
                          store_done_cb *cb)
{
    const struct wire_describe w = {content};
    struct pending *p = pending_new(s, WIRE_DESCRIBE, true, t, on_done, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w) && buf_add_span(&p->body, record));
}

static bool on_verify(struct pending *p, enum err_code code, struct span body, bool more)
{
    struct wire_in in = {body, false};
    struct wire_verify_said w = {.count = 0};
    struct store_verify out = {.count = 0};
    if (code == ERR_OK && (!wire_get(&in, &w, sizeof w) || more || w.count > in.s.n / 8 ||
                           w.bare > in.s.n / sizeof(struct store_bare)))
        return false;
    struct store_finding *v = arena_array(p->s->arena, (size_t)w.count + 1, sizeof *v);
    struct store_bare *bare = arena_array(p->s->arena, (size_t)w.bare + 1, sizeof *bare);
    for (uint32_t i = 0; v && i < w.count; i++) {
        v[i].repaired = wire_u32(&in) != 0;
        v[i].text = wire_text(&in);
    }
    if (bare && w.bare)
        wire_get(&in, bare, w.bare * sizeof *bare);
    if (!v || !bare || (code == ERR_OK && !wire_whole(&in)))
        return false;
    w.name[sizeof w.name - 1] = '\0';
    out = (struct store_verify){v,       w.count,  w.done, w.found, w.fixed, w.bytes,
                                w.phase, w.phases, w.name, bare,    w.bare};
    TELL(p, store_verify_cb, code, &out);
    return true;
}

void store_admin_verify(struct store *s, bool start, bool deep, bool repair, struct ticket *t,
                        store_verify_cb *cb)
{
    const struct wire_verify w = {start, deep, repair, 0};
    struct pending *p = pending_new(s, WIRE_VERIFY, false, t, on_verify, CB(cb));
    pending_ask(p, buf_add(&p->body, &w, sizeof w));
}
