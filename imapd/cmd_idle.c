/* IDLE (RFC 2177): the view is brought up to date and told whenever the store says that the mailbox moved,
 * until the client sends DONE.
 *
 *   start -> sync -> announce -> listen --event--> sync ...
 *                                  '--DONE--> done
 *
 * The one hard point is that an event may come while an earlier one is being worked on: the newest modseq is
 * kept and compared with the view's each time round. Long idle sessions drop their rows. */
#include "imapd/imap_int.h"

enum { ID_START, ID_SYNC, ID_TELL, ID_LISTEN };
enum { DONE_LIMIT = 1000, KEPT_ROWS = 500 /* a view of fewer keeps its rows while it idles */ };

static enum run stop_listening(struct imap *s)
{
    s->host->listen(s->host_arg, false);
    return RUN_AGAIN;
}

static enum run on_line(struct imap *s)
{
    size_t lf = span_find(buf_span(s->in), '\n');
    if (lf == s->in->n && s->in->n < DONE_LIMIT)
        return RUN_LISTEN;
    bool done = lf < s->in->n && span_caseeq(span_trim(span_of(s->in->p, lf)), SPAN("DONE"));
    buf_consume(s->in, lf < s->in->n ? lf + 1 : s->in->n);
    stop_listening(s);
    return done ? imap_done_ok(s, NULL) : imap_done(s, COND_BAD, NULL, "DONE is awaited.");
}

static enum run wait_for_news(struct imap *s)
{
    if (s->stopping) {
        put(s, "* BYE The service is restarting or the account has changed, please connect again.\r\n");
        return RUN_CLOSE;
    }
    if (s->view.open && s->event_modseq > s->view.modseq) {
        s->cmd.stage = ID_SYNC;
        return stop_listening(s);
    }
    return on_line(s);
}

static enum run sync_view(struct imap *s)
{
    if (!s->view.open) {
        s->cmd.stage = ID_LISTEN;
        return RUN_AGAIN;
    }
    if (imap_sync(s) == RUN_WAIT)
        return RUN_WAIT;
    if (s->cmd.code != ERR_OK) {
        enum err_code code = s->cmd.code;
        imap_clear(s);
        return imap_done_err(s, code);
    }
    s->cmd.stage = ID_TELL;
    return RUN_AGAIN;
}

enum run run_idle(struct imap *s)
{
    switch (s->cmd.stage) {
    case ID_START:
        put(s, "+ idling\r\n");
        s->cmd.stage = ID_SYNC;
        return RUN_AGAIN;
    case ID_SYNC:
        return sync_view(s);
    case ID_TELL:
        if (imap_announce(s, true) != RUN_DONE)
            return RUN_AGAIN;
        if (s->view.told > KEPT_ROWS)
            view_drop(&s->view);
        s->cmd.stage = ID_LISTEN;
        return RUN_AGAIN;
    default:
        return wait_for_news(s);
    }
}
