/* The life of one session: greeting, commands one after the other, the end.
 *
 *   phases:    NONAUTH --login--> AUTH <--select/close--> SELECTED        any --logout, BYE--> LOGOUT
 *   a command: READ -> BEFORE (view up to date) -> RUN -> AFTER (the same) -> ANNOUNCE -> END -> READ
 *
 * The hard problem is waiting: a step ends whenever a store, a directory or the client must be waited for,
 * and the next one has to go on in the same place; so all progress is in s->cmd, and a late answer finds its
 * ticket void. Which command is which is dispatch.c's; bytes and sockets are conn's. */
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "imapd/dispatch.h"
#include "imapd/imap_int.h"
#include <stdio.h>
#include <stdlib.h>

enum { OUT_LIMIT = 64 << 20, RESPONSE_LIMIT = 16 << 20, GREET_PATIENCE_MS = 3000, GREET_RETRY_MS = 20 };

struct imap *imap_new(const struct imap_start *start)
{
    struct imap *s = xcalloc(1, sizeof *s);
    s->conf = start->conf;
    s->store = start->store;
    s->directory = start->directory;
    s->host = start->host;
    s->host_arg = start->host_arg;
    s->local = s->secure = start->local;
    s->starttls = start->starttls;
    s->refuse = start->refuse;
    s->phase = PH_NONAUTH;
    s->started_ms = clock_mono_ms();
    crypto_random_text(5, s->id, sizeof s->id);
    snprintf(s->peer, sizeof s->peer, "%s", start->peer);
    snprintf(s->host_of_peer, sizeof s->host_of_peer, "%s", start->peer);
    char *colon = strrchr(s->host_of_peer, ':');
    if (colon)
        *colon = 0;
    s->log = (struct log_ctx){.session = s->id, .peer = s->peer};
    s->arena = arena_new(IMAP_ARENA_LIMIT);
    reader_init(&s->reader, IMAP_LOGIN_LINE_LIMIT);
    buf_init(&s->held, OUT_LIMIT);
    buf_init(&s->cmd.response, RESPONSE_LIMIT);
    s->out = &s->held;
    s->host->deadline(s->host_arg, s->conf->imap_login_timeout, false);
    return s;
}

static void command_end(struct imap *s)
{
    if (s->cmd.cleanup)
        s->cmd.cleanup(s);
    ticket_void(&s->cmd.ticket);
    struct buf response = s->cmd.response;
    buf_reset(&response);
    s->cmd = (struct imap_command){.response = response};
    s->sync = (struct imap_sync){0};
    s->announce = (struct imap_announce){0};
    arena_reset(s->arena);
    reader_reset(&s->reader);
}

void imap_free(struct imap **sp)
{
    struct imap *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    command_end(s);
    imap_select_end(s);
    store_logout(&s->account);
    buf_free(&s->cmd.response);
    buf_free(&s->held);
    reader_free(&s->reader);
    arena_free(&s->arena);
    reparse_free(&s->reparse);
    free(s->user);
    free(s);
}

void imap_summary(const struct imap *s, const char *why, uint64_t bytes_in, uint64_t bytes_out)
{
    log_event(LOG_INFO, &s->log, "imap.session.ended", F_STR("why", why),
              F_STR("tls", s->has_tls ? s->tls.version : "none"), F_UINT("commands", s->commands),
              F_UINT("bad", s->bad), F_UINT("in", bytes_in), F_UINT("out", bytes_out),
              F_UINT("ms", clock_mono_ms() - s->started_ms));
}

void imap_tls_up(void *core, const struct tls_facts *facts)
{
    struct imap *s = core;
    s->tls = *facts;
    s->has_tls = s->secure = true;
    s->starttls = false;
}

void imap_timeout(void *core, struct buf *out)
{
    struct imap *s = core;
    s->out = out;
    put(s, s->phase == PH_NONAUTH ? "* BYE Too slow to log in.\r\n" : "* BYE Idle for too long.\r\n");
    s->out = &s->held;
}

void imap_stop(struct imap *s)
{
    s->stopping = true;
    s->host->kick(s->host_arg);
}

void imap_select_end(struct imap *s)
{
    if (s->view.open)
        store_watch(s->account, s->view.mailbox, false);
    view_close(&s->view);
    free(s->saved);
    s->saved = NULL;
    s->saved_count = 0;
    s->event_modseq = 0;
    if (s->phase == PH_SELECTED)
        s->phase = PH_AUTH;
}

/* -- answers from elsewhere -- */

struct ticket *imap_ask(struct imap *s)
{
    if (!s->cmd.ticket)
        s->cmd.ticket = ticket_new(s);
    s->cmd.pending++;
    return s->cmd.ticket;
}

void imap_answered(struct imap *s, enum err_code code)
{
    s->cmd.pending--;
    if (s->cmd.code == ERR_OK)
        s->cmd.code = code;
    if (code == ERR_RETRY && store_done_perhaps(s->store))
        s->cmd.perhaps = true;
    s->host->kick(s->host_arg);
}

void imap_clear(struct imap *s)
{
    s->cmd.code = ERR_OK;
}

/* -- the tagged response -- */

enum run imap_done(struct imap *s, enum cond cond, const char *code, const char *text)
{
    static const char *const names[] = {"OK", "NO", "BAD"};
    struct buf *b = &s->cmd.response;
    buf_reset(b);
    bool ok = buf_addf(b, "%s ", names[cond]);
    if (code)
        ok = ok && buf_add_char(b, '[') && buf_add_str(b, code) && buf_add_str(b, "] ");
    if (cond != COND_OK && s->cmd.row && s->cmd.row->phases)
        ok = ok && buf_addf(b, "%s failed. ", s->cmd.row->name);
    if (!ok || !buf_add_str(b, text))
        s->overflow = true;
    if (cond == COND_BAD)
        s->bad++;
    return RUN_DONE;
}

enum run imap_done_ok(struct imap *s, const char *code)
{
    char text[64];
    snprintf(text, sizeof text, "%s completed.", s->cmd.row->name);
    return imap_done(s, COND_OK, code, text);
}

enum run imap_done_err(struct imap *s, enum err_code code)
{
    static const struct {
        const char *code, *text;
    } words[] = {[ERR_SYNTAX] = {"CANNOT", "That is not possible here."},
                 [ERR_STATE] = {"INUSE", "Something changed meanwhile, please try again."},
                 [ERR_LIMIT] = {"LIMIT", "A limit was reached."},
                 [ERR_DENIED] = {"NOPERM", "Permission denied."},
                 [ERR_MISSING] = {"NONEXISTENT", "No such mailbox."},
                 [ERR_RETRY] = {"UNAVAILABLE", "The mailbox store cannot answer now, please try again."},
                 [ERR_BUG] = {"SERVERBUG", "Internal error."}};
    if (code == ERR_OK || code > ERR_BUG)
        code = ERR_BUG;
    if (code == ERR_DENIED) /* the grant has ended or was revoked: a new login is needed */
        s->stopping = true;
    if (code == ERR_BUG)
        log_event(LOG_ERROR, &s->log, "imap.command.failed", F_STR("command", s->cmd.row->name));
    if (code == ERR_RETRY && s->cmd.perhaps)
        return imap_done(
            s, COND_NO, "UNAVAILABLE",
            "The mailbox store did not answer in time. It may be done nevertheless: please look before "
            "you try again.");
    return imap_done(s, COND_NO, words[code].code, words[code].text);
}

/* -- steps -- */

static enum step bye(struct imap *s, const char *text)
{
    putf(s, "* BYE %s\r\n", text);
    s->phase = PH_LOGOUT;
    return STEP_CLOSE;
}

static enum step greet(struct imap *s)
{
    if (s->refuse)
        return bye(s, s->refuse);
    if (!store_is_up(s->store) || !directory_is_up(s->directory)) {
        /* A helper that was killed is back within a second or two: the client need not know. */
        if (clock_mono_ms() - s->started_ms >= GREET_PATIENCE_MS)
            return bye(s, "[UNAVAILABLE] The service is starting, please try again.");
        s->host->later(s->host_arg, GREET_RETRY_MS);
        return STEP_PAUSED;
    }
    s->greeted = true;
    put(s, "* OK [CAPABILITY ");
    put_capabilities(s);
    putf(s, "] %s IMAP server ready.\r\n", s->conf->hostname);
    return STEP_AGAIN;
}

/* The view must be asked: always for those who want it, for the others when an event told of news. Who reads
 * a message (BODY.PEEK[] by far most often) would wait twice as long for it. */
static bool wants_sync(const struct imap *s, unsigned when)
{
    const bool news = s->event_modseq > s->view.modseq || s->view.told != s->view.count;
    if (!s->view.open || s->cmd.row->flags & CMD_QUIET)
        return false;
    if (when == CMD_BEFORE && s->cmd.of_old && s->view.loaded && !news)
        return false;
    return s->cmd.row->flags & when || (when == CMD_AFTER && s->event_modseq > s->view.modseq);
}

static enum step step_before(struct imap *s)
{
    if (!wants_sync(s, CMD_BEFORE)) {
        s->cmd.life = LIFE_RUN;
        return STEP_AGAIN;
    }
    s->sync.need_rows = true;
    if (imap_sync(s) == RUN_WAIT)
        return STEP_PAUSED;
    s->cmd.life = LIFE_RUN;
    if (s->cmd.code != ERR_OK) {
        imap_done_err(s, s->cmd.code);
        s->cmd.after = RUN_DONE;
        s->cmd.life = LIFE_ANNOUNCE;
    } else if (s->cmd.uid && s->cmd.row->flags & CMD_NEW) {
        /* The client may know the UIDs of new messages from another connection of its own. */
        imap_announce_new(s);
    }
    imap_clear(s);
    return STEP_AGAIN;
}

static enum step step_run(struct imap *s)
{
    enum run r = s->cmd.row->run(s);
    switch (r) {
    case RUN_AGAIN:
        return STEP_AGAIN;
    case RUN_WAIT:
        return STEP_PAUSED;
    case RUN_INPUT:
        return STEP_NEED_INPUT;
    case RUN_LISTEN:
        s->host->listen(s->host_arg, true);
        return STEP_PAUSED;
    case RUN_CLOSE:
        return STEP_CLOSE;
    case RUN_DONE:
    case RUN_STARTTLS:
        break;
    }
    s->cmd.after = r;
    s->cmd.life = LIFE_AFTER;
    imap_clear(s);
    return STEP_AGAIN;
}

static enum step step_after(struct imap *s)
{
    if (wants_sync(s, CMD_AFTER) || (s->sync.stage && s->view.open)) {
        s->sync.need_rows = false;
        if (imap_sync(s) == RUN_WAIT)
            return STEP_PAUSED;
        imap_clear(s); /* the command itself went well; the news come another time */
    }
    s->cmd.life = LIFE_ANNOUNCE;
    return STEP_AGAIN;
}

static enum step step_announce(struct imap *s)
{
    unsigned flags = s->cmd.row->flags;
    bool expunges = !(flags & CMD_KEEP) || s->cmd.uid;
    if (s->view.open && !(flags & CMD_QUIET) && imap_announce(s, expunges) != RUN_DONE)
        return STEP_AGAIN;
    s->cmd.life = LIFE_END;
    return STEP_AGAIN;
}

static enum step step_end(struct imap *s)
{
    enum run after = s->cmd.after;
    put_span(s, s->cmd.tag);
    put(s, " ");
    put_span(s, buf_span(&s->cmd.response));
    put(s, "\r\n");
    command_end(s);
    s->commands++;
    if (s->phase == PH_LOGOUT)
        return STEP_CLOSE;
    if (after == RUN_STARTTLS)
        return STEP_STARTTLS;
    if (s->bad >= s->conf->imap_error_limit)
        return bye(s, "[CLIENTBUG] Too many bad commands.");
    return STEP_AGAIN;
}

static enum step one_step(struct imap *s)
{
    static enum step (*const lives[])(struct imap *) = {
        [LIFE_READ] = imap_read_command, [LIFE_BEFORE] = step_before,     [LIFE_RUN] = step_run,
        [LIFE_AFTER] = step_after,       [LIFE_ANNOUNCE] = step_announce, [LIFE_END] = step_end};
    if (!s->greeted)
        return greet(s);
    if (s->broken)
        return bye(s, "[INUSE] The mailbox has changed too much, please select it again.");
    if (s->view_deleted)
        return bye(s, "The selected mailbox was deleted.");
    if (s->cmd.pending)
        return STEP_PAUSED;
    if (s->stopping && s->cmd.life == LIFE_READ)
        return bye(s, "The service is restarting or the account has changed, please connect again.");
    return lives[s->cmd.life](s);
}

enum step imap_step(void *core, struct buf *in, struct buf *out)
{
    struct imap *s = core;
    s->in = in;
    s->out = out;
    if (s->held.n) {
        put_span(s, buf_span(&s->held));
        buf_free(&s->held);
    }
    enum step r = one_step(s);
    s->in = NULL;
    s->out = &s->held;
    if (!s->overflow)
        return r;
    log_event(LOG_ERROR, &s->log, "imap.output.overflow", F_UINT("out", out->n));
    return STEP_CLOSE;
}
