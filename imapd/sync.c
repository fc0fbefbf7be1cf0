/* Bringing the view up to date with the store: rows when they are needed, then what has changed since, then
 * the claim on \Recent for what is new.
 *
 *   start -> [rows] -> changes -> [claim] -> done
 *              ^----------'  (changes that need rows)
 *
 * The hard problem is \Recent of mail that arrives while several sessions look: each asks the store to move
 * the mailbox's mark, and only the one whose answer still holds the old mark shows the messages as recent
 * (RFC 3501 2.3.2). What the client is told of all this is announce.c's. */
#include "common/base/log.h"
#include "imapd/imap_int.h"

enum { SYNC_START, SYNC_ROWS, SYNC_CHANGES, SYNC_CLAIM };

static void on_rows(void *session, enum err_code code, const struct store_row *rows, size_t count, bool more)
{
    struct imap *s = session;
    if (code == ERR_OK)
        view_load_add(&s->view, rows, count);
    if (!more || code != ERR_OK)
        imap_answered(s, code);
}

static void on_changes(void *session, enum err_code code, const struct store_changes *c)
{
    struct imap *s = session;
    if (code == ERR_OK) {
        uint32_t old_next = s->view.uidnext;
        s->sync.news = view_apply(&s->view, c);
        size_t first = s->view.loaded ? view_lower(&s->view, old_next) : s->view.count;
        if (s->sync.news == VIEW_OK && first < s->view.count)
            s->sync.new_from = s->view.rows[first].uid;
        if (s->sync.new_from && s->view.read_only) /* EXAMINE looks at the mark and leaves it */
            for (size_t i = first; i < s->view.count; i++)
                if (s->view.rows[i].uid >= c->box.recent_from)
                    view_recent(&s->view, s->view.rows[i].uid);
    }
    imap_answered(s, code);
}

static void on_claim(void *session, enum err_code code, const struct store_mailbox *box)
{
    struct imap *s = session;
    struct view *v = &s->view;
    if (code == ERR_OK && box->id == v->mailbox) {
        uint32_t from = box->recent_from > s->sync.new_from ? box->recent_from : s->sync.new_from;
        for (size_t i = view_lower(v, from); i < v->count; i++)
            view_recent(v, v->rows[i].uid);
    }
    /* A mailbox that was renamed meanwhile: nothing is recent, and that is no error. */
    imap_answered(s, code == ERR_MISSING ? ERR_OK : code);
}

static void ask_rows(struct imap *s)
{
    view_load_begin(&s->view);
    s->sync.stage = SYNC_ROWS;
    store_rows(s->account, s->view.mailbox, 1, 0, imap_ask(s), on_rows);
}

static void ask_changes(struct imap *s)
{
    s->sync.stage = SYNC_CHANGES;
    store_changes(s->account, s->view.mailbox, s->view.modseq, imap_ask(s), on_changes);
}

static enum run finish(struct imap *s)
{
    if (s->view.loading)
        view_load_abort(&s->view);
    if (s->cmd.code == ERR_MISSING)
        s->view_deleted = true;
    if (s->cmd.code == ERR_OK && s->sync.news == VIEW_BROKEN) {
        log_event(LOG_WARN, &s->log, "imap.view.broken", F_UINT("mailbox", s->view.mailbox));
        s->broken = true;
    }
    bool need_rows = s->sync.need_rows;
    s->sync = (struct imap_sync){.need_rows = need_rows};
    return RUN_DONE;
}

static enum run after_changes(struct imap *s)
{
    if (s->sync.news == VIEW_NEEDS_ROWS) {
        ask_rows(s);
        return RUN_WAIT;
    }
    if (s->sync.news != VIEW_OK || !s->sync.new_from || s->view.read_only)
        return finish(s);
    s->sync.stage = SYNC_CLAIM;
    store_status(s->account, span_str(s->view.name), true, imap_ask(s), on_claim);
    return RUN_WAIT;
}

enum run imap_sync(struct imap *s)
{
    if (s->sync.stage != SYNC_START && s->cmd.code != ERR_OK)
        return finish(s);
    switch (s->sync.stage) {
    case SYNC_START:
        imap_clear(s);
        s->event_modseq = 0; /* what is announced from here on may be newer than what we read */
        if (s->sync.need_rows && !s->view.loaded && s->view.told)
            ask_rows(s);
        else
            ask_changes(s);
        return RUN_WAIT;
    case SYNC_ROWS:
        ask_changes(s);
        return RUN_WAIT;
    case SYNC_CHANGES:
        return after_changes(s);
    default:
        return finish(s);
    }
}

void imap_event(void *arg, enum err_code code, uint64_t mailbox, uint64_t modseq)
{
    struct imap *s = arg;
    if (code == ERR_DENIED) {
        s->stopping = true;
        s->host->kick(s->host_arg);
        return;
    }
    if (!s->view.open || mailbox != s->view.mailbox)
        return;
    if (modseq > s->event_modseq)
        s->event_modseq = modseq;
    if (modseq > s->view.modseq)
        s->host->kick(s->host_arg);
}
