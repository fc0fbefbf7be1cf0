/* EXPUNGE and UID EXPUNGE (RFC 3501 6.4.3, RFC 4315 2.1). The responses are the view's (announce.c). The one
 * hard point: a message that this client does not know of yet is not expunged by its EXPUNGE, for it never
 * saw its flags; so the UIDs that it knows are named to the store. */
#include "imapd/imap_int.h"

struct expunge {
    struct seqset set;
    uint32_t *uids;
    size_t count;
};

bool parse_expunge(struct imap *s, struct cursor *c)
{
    struct expunge *x = arena_alloc(s->arena, sizeof *x);
    s->cmd.args = x;
    if (!x || !s->cmd.uid)
        return x && cur_end(c);
    return cur_sp(c) && seqset_parse(c, &x->set) && cur_end(c);
}

static void on_expunged(void *session, enum err_code code, const uint32_t *gone, size_t count,
                        uint64_t modseq)
{
    struct imap *s = session;
    (void)modseq;
    if (code == ERR_OK)
        view_gone(&s->view, gone, count);
    imap_answered(s, code);
}

/* Those of the set, or all, that carry \Deleted here. */
static bool choose(struct imap *s, struct expunge *x)
{
    x->uids = arena_array(s->arena, s->view.told + 1, sizeof *x->uids);
    for (size_t i = 0; x->uids && i < s->view.told; i++) {
        const struct view_row *r = &s->view.rows[i];
        if (r->flags & STORE_DELETED && !(r->state & ROW_GONE) &&
            (!s->cmd.uid || seqset_has(&x->set, r->uid)))
            x->uids[x->count++] = r->uid;
    }
    return x->uids;
}

enum run run_expunge(struct imap *s)
{
    struct expunge *x = s->cmd.args;
    if (s->cmd.stage++)
        return s->cmd.code == ERR_OK ? imap_done_ok(s, NULL) : imap_done_err(s, s->cmd.code);
    if (s->cmd.uid && !imap_set_fix(s, &x->set, true))
        return imap_done(s, COND_BAD, NULL, "Illegal set.");
    if (!choose(s, x))
        return imap_done(s, COND_NO, "LIMIT", "Too many messages.");
    if (!x->count)
        return imap_done_ok(s, NULL);
    store_expunge(s->account, s->view.mailbox, x->uids, x->count, imap_ask(s), on_expunged);
    return RUN_WAIT;
}
