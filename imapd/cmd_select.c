/* SELECT, EXAMINE, CLOSE, UNSELECT (RFC 3501 6.3.1, 6.4.2, RFC 3691).
 * The hard problem is to be quick and still right: the answer comes from the mailbox's record, rows are read
 * only where the answer needs them (which messages are \Recent; the first unseen one of a mailbox that is not
 * large), and what changed between the two readings is settled before the client hears a number. */
#include "imapd/imap_int.h"

enum { UNSEEN_ROWS = 5000 /* above this, UNSEEN is left out rather than all rows read */ };
enum { SE_START, SE_STATUS, SE_RECENT, SE_ROWS };

struct select {
    struct span name;
    bool read_only;
    bool found;
    uint32_t recent_from, claimed_from, unseen;
    /* The same mailbox, selected again: what was recent to this client still is. */
    uint64_t former;
    struct uidset kept;
};

static void select_cleanup(struct imap *s)
{
    struct select *x = s->cmd.args;
    uidset_free(&x->kept);
}

static bool parse(struct imap *s, struct cursor *c, bool read_only)
{
    struct select *x = arena_alloc(s->arena, sizeof *x);
    if (!x || !cur_sp(c) || !cur_mailbox(c, &x->name))
        return false;
    x->read_only = read_only;
    s->cmd.args = x;
    s->cmd.cleanup = select_cleanup;
    if (cur_sp(c) && cur_char(c, '(')) { /* RFC 4466 select-params */
        if (!cur_word(c, "CONDSTORE") || !cur_char(c, ')'))
            return false;
        s->cmd.condstore = true;
    }
    return cur_end(c);
}

bool parse_select(struct imap *s, struct cursor *c)
{
    return parse(s, c, false);
}

bool parse_examine(struct imap *s, struct cursor *c)
{
    return parse(s, c, true);
}

static void on_status(void *session, enum err_code code, const struct store_mailbox *box)
{
    struct imap *s = session;
    struct select *x = s->cmd.args;
    if (code == ERR_OK && box->no_select)
        code = ERR_MISSING;
    if (code == ERR_OK) {
        view_open(&s->view, box, x->name, x->read_only);
        s->phase = PH_SELECTED;
        store_watch(s->account, s->view.mailbox, true);
        x->found = true;
        x->recent_from = box->recent_from ? box->recent_from : 1;
        if (box->id != x->former)
            uidset_free(&x->kept);
        if (x->kept.n && x->kept.v[0].first < x->recent_from)
            x->recent_from = x->kept.v[0].first;
        x->claimed_from = box->recent_from;
        x->unseen = box->unseen;
    }
    imap_answered(s, code);
}

static void on_recent(void *session, enum err_code code, const struct store_row *rows, size_t count,
                      bool more)
{
    struct imap *s = session;
    const struct select *x = s->cmd.args;
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        if (rows[i].uid < s->view.uidnext &&
            (rows[i].uid >= x->claimed_from || uidset_has(&x->kept, rows[i].uid)))
            view_recent(&s->view, rows[i].uid);
    if (!more || code != ERR_OK)
        imap_answered(s, code);
}

static enum run ask_status(struct imap *s, struct select *x)
{
    bool was_open = s->view.open;
    if (was_open && span_eq(x->name, span_str(s->view.name))) {
        x->former = s->view.mailbox;
        x->kept = s->view.recent;
        s->view.recent = (struct uidset){0};
    }
    imap_select_end(s);
    if (was_open && s->enabled & EN_CONDSTORE) /* RFC 7162 3.2.11 */
        put(s, "* OK [CLOSED] The former mailbox is closed.\r\n");
    s->cmd.stage = SE_STATUS;
    store_status(s->account, x->name, !x->read_only, imap_ask(s), on_status);
    return RUN_WAIT;
}

static void put_unseen(struct imap *s)
{
    for (size_t i = 0; s->view.loaded && i < s->view.told; i++)
        if (!(s->view.rows[i].flags & STORE_SEEN)) {
            putf(s, "* OK [UNSEEN %zu] First unseen\r\n", i + 1);
            return;
        }
}

static enum run answer(struct imap *s, struct select *x)
{
    struct view *v = &s->view;
    v->keywords_changed = false;
    v->recent_told = v->recent_count;
    putf(s, "* OK [MAILBOXID (M%llu)] Ok\r\n", (unsigned long long)v->mailbox);
    put_select_flags(s);
    putf(s, "* %zu EXISTS\r\n* %zu RECENT\r\n* OK [UIDVALIDITY %u] UIDs valid\r\n", v->told, v->recent_count,
         v->uidvalidity);
    put_unseen(s);
    put_permanent_flags(s);
    putf(s, "* OK [HIGHESTMODSEQ %llu] Highest\r\n* OK [UIDNEXT %u] Predicted next UID\r\n",
         (unsigned long long)v->modseq, v->uidnext);
    return imap_done_ok(s, x->read_only ? "READ-ONLY" : "READ-WRITE");
}

static enum run failed(struct imap *s, struct select *x)
{
    enum err_code code = s->cmd.code;
    if (x->found)
        imap_select_end(s);
    return imap_done_err(s, code);
}

static enum run load(struct imap *s, struct select *x)
{
    s->cmd.stage = SE_ROWS;
    s->sync.need_rows = true;
    if (imap_sync(s) == RUN_WAIT)
        return RUN_WAIT;
    if (s->cmd.code != ERR_OK || s->view_deleted || s->broken) {
        s->view_deleted = s->broken = false; /* the client has been told nothing yet */
        return failed(s, x);
    }
    view_settle(&s->view);
    return answer(s, x);
}

static enum run after_status(struct imap *s, struct select *x)
{
    if (x->recent_from < s->view.uidnext && s->view.told &&
        (x->kept.n || !view_recent_from(&s->view, x->recent_from))) {
        s->cmd.stage = SE_RECENT;
        store_rows(s->account, s->view.mailbox, x->recent_from, 0, imap_ask(s), on_recent);
        return RUN_WAIT;
    }
    if (x->unseen && s->view.told <= UNSEEN_ROWS)
        return load(s, x);
    return answer(s, x);
}

enum run run_select(struct imap *s)
{
    struct select *x = s->cmd.args;
    if (s->cmd.stage == SE_START)
        return ask_status(s, x);
    if (s->cmd.stage == SE_ROWS)
        return load(s, x);
    if (s->cmd.code != ERR_OK)
        return failed(s, x);
    if (s->cmd.stage == SE_STATUS)
        return after_status(s, x);
    return x->unseen && s->view.told <= UNSEEN_ROWS ? load(s, x) : answer(s, x);
}

/* -- leaving -- */

enum run run_unselect(struct imap *s)
{
    imap_select_end(s);
    return imap_done_ok(s, NULL);
}

static void on_expunged(void *session, enum err_code code, const uint32_t *gone, size_t count,
                        uint64_t modseq)
{
    (void)gone;
    (void)count;
    (void)modseq;
    imap_answered(session, code);
}

enum run run_close(struct imap *s)
{
    if (s->cmd.stage == 0 && !s->view.read_only) {
        s->cmd.stage = 1;
        store_expunge(s->account, s->view.mailbox, NULL, 0, imap_ask(s), on_expunged);
        return RUN_WAIT;
    }
    if (s->cmd.code != ERR_OK && s->cmd.code != ERR_MISSING)
        return imap_done_err(s, s->cmd.code);
    return run_unselect(s);
}
