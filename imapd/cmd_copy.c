/* COPY and MOVE (RFC 3501 6.4.7, RFC 6851) with COPYUID (RFC 4315).
 * The one hard point is MOVE's order: COPYUID goes out in an untagged OK before the EXPUNGEs, so that a
 * client that loses the connection in between knows where its messages went. All or nothing is the store's.
 */
#include "imapd/imap_int.h"

struct copy {
    struct seqset set;
    struct span to;
    bool move, gone;
    uint32_t *uids;
    size_t count;
    struct buf code; /* "COPYUID 1 2:3 4:5", terminated */
};

static void copy_cleanup(struct imap *s)
{
    struct copy *x = s->cmd.args;
    buf_free(&x->code);
}

static bool parse(struct imap *s, struct cursor *c, bool move)
{
    struct copy *x = arena_alloc(s->arena, sizeof *x);
    if (!x)
        return false;
    buf_init(&x->code, 15 << 20);
    s->cmd.args = x;
    s->cmd.cleanup = copy_cleanup;
    x->move = move;
    return cur_sp(c) && seqset_parse(c, &x->set) && cur_sp(c) && cur_mailbox(c, &x->to) && cur_end(c);
}

bool parse_copy(struct imap *s, struct cursor *c)
{
    return parse(s, c, false);
}

bool parse_move(struct imap *s, struct cursor *c)
{
    return parse(s, c, true);
}

static void on_copied(void *session, enum err_code code, const struct store_copied *d)
{
    struct imap *s = session;
    struct copy *x = s->cmd.args;
    if (code == ERR_OK && d->count) {
        if (!buf_addf(&x->code, "COPYUID %u ", d->uidvalidity) || !uidset_put(d->from, d->count, &x->code) ||
            !buf_add_char(&x->code, ' ') || !uidset_put(d->to, d->count, &x->code) ||
            !buf_add_char(&x->code, 0))
            s->overflow = true;
        if (x->move)
            view_gone(&s->view, d->from, d->count);
    }
    imap_answered(s, code);
}

static enum run answer(struct imap *s, struct copy *x)
{
    switch (s->cmd.code) {
    case ERR_OK:
        break;
    case ERR_MISSING:
        return imap_done(s, COND_NO, "TRYCREATE", "No such mailbox.");
    case ERR_LIMIT:
        return imap_done(s, COND_NO, "OVERQUOTA", "The mailbox is full.");
    default:
        return imap_done_err(s, s->cmd.code);
    }
    if (x->move && x->code.n)
        putf(s, "* OK [%s] Moved\r\n", x->code.p);
    if (x->gone && !s->cmd.uid)
        return imap_done(s, COND_OK, x->move || !x->code.n ? "EXPUNGEISSUED" : x->code.p,
                         "Some of the messages no longer exist.");
    return imap_done_ok(s, x->move || !x->code.n ? NULL : x->code.p);
}

enum run run_copy(struct imap *s)
{
    struct copy *x = s->cmd.args;
    if (s->cmd.stage++)
        return answer(s, x);
    if (!imap_set_fix(s, &x->set, s->cmd.uid))
        return imap_done(s, COND_BAD, NULL, "Invalid messageset.");
    if (!imap_set_uids(s, &x->set, &x->uids, &x->count, &x->gone))
        return imap_done(s, COND_NO, "LIMIT", "Too many messages.");
    if (!x->count)
        return x->gone ? imap_done(s, COND_NO, "EXPUNGEISSUED", "The messages no longer exist.")
                       : imap_done_ok(s, NULL);
    store_copy(s->account, s->view.mailbox, x->uids, x->count, x->to, x->move, imap_ask(s), on_copied);
    return RUN_WAIT;
}
