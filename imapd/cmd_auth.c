/* AUTHENTICATE (RFC 3501 6.2.2, SASL-IR RFC 4959) and LOGIN. The exchange is directoryd's; this file carries
 * blobs between base64 lines and its calls, then shows the grant to the store.
 *
 *   exchange <-> client line     exchange -> store login -> done
 *
 * The hard problem is secrets: blobs and passwords live in buffers that are wiped, and nothing of them is
 * logged. Delays against guessing and the count of tries are directoryd's. */
#include "common/base/crypto.h"
#include "common/mime/codec.h"
#include "imapd/imap_int.h"
#include <stdlib.h>

enum { BLOB_LIMIT = 12 << 10, LINE_LIMIT = 17 << 10 };
enum { AU_START, AU_ASKED, AU_LINE, AU_STORE };

struct auth {
    struct span mech;
    bool has_initial, broken;
    struct buf blob;      /* response of the client, decoded */
    struct buf challenge; /* of the directory */
    struct dir_auth *exchange;
    bool granted;
    struct buf grant;
    char *user;
    struct store_account *account;
};

static void auth_cleanup(struct imap *s)
{
    struct auth *a = s->cmd.args;
    directory_auth_cancel(&a->exchange);
    buf_wipe(&a->blob);
    buf_wipe(&a->challenge);
    buf_wipe(&a->grant);
    free(a->user);
    store_logout(&a->account);
}

static struct auth *auth_new(struct imap *s)
{
    struct auth *a = arena_alloc(s->arena, sizeof *a);
    if (!a)
        return NULL;
    buf_init(&a->blob, LINE_LIMIT);
    buf_init(&a->challenge, LINE_LIMIT);
    buf_init(&a->grant, 16 << 10);
    s->cmd.args = a;
    s->cmd.cleanup = auth_cleanup;
    return a;
}

bool parse_authenticate(struct imap *s, struct cursor *c)
{
    struct auth *a = auth_new(s);
    if (!a || !cur_sp(c) || !cur_astring(c, &a->mech))
        return false;
    if (c->s.n == 0)
        return true;
    struct span b64;
    if (!cur_sp(c) || !cur_astring(c, &b64) || !cur_end(c))
        return false;
    a->has_initial = true;
    a->broken = !span_eq(b64, SPAN("=")) && !base64_decode_strict(b64, &a->blob);
    return true;
}

bool parse_login(struct imap *s, struct cursor *c)
{
    struct span user, password;
    struct auth *a = auth_new(s);
    if (!a || !cur_sp(c) || !cur_astring(c, &user) || !cur_sp(c) || !cur_astring(c, &password) || !cur_end(c))
        return false;
    a->mech = SPAN("PLAIN");
    a->has_initial = true;
    return buf_add_char(&a->blob, 0) && buf_add_span(&a->blob, user) && buf_add_char(&a->blob, 0) &&
           buf_add_span(&a->blob, password);
}

/* -- the exchange -- */

static void on_auth(void *session, enum err_code code, struct span challenge, const struct dir_login *login)
{
    struct imap *s = session;
    struct auth *a = s->cmd.args;
    buf_wipe(&a->challenge);
    if (code != ERR_STATE)
        a->exchange = NULL; /* over, and freed by the directory */
    if (challenge.p && !buf_add_span(&a->challenge, challenge))
        code = ERR_LIMIT;
    if (code == ERR_OK) {
        a->granted = true;
        a->user = xstrspan(login->address);
        if (!buf_add_span(&a->grant, login->grant))
            code = ERR_BUG;
    }
    imap_answered(s, code);
}

static void on_store_login(void *session, enum err_code code, struct store_account *account)
{
    struct imap *s = session;
    struct auth *a = s->cmd.args;
    if (code == ERR_OK)
        a->account = account;
    imap_answered(s, code);
}

static bool offered(struct imap *s, struct span mech)
{
    struct span all = span_str(directory_mechs(s->directory, s->secure, s->has_tls && s->tls.has_exporter));
    while (all.n)
        if (span_caseeq(span_cut(&all, ' '), mech))
            return true;
    return false;
}

static enum run refuse_mech(struct imap *s, struct span mech)
{
    bool plain = span_caseeq(mech, SPAN("PLAIN")) || span_caseeq(mech, SPAN("LOGIN"));
    if (!directory_is_up(s->directory))
        return imap_done(s, COND_NO, "UNAVAILABLE", "Logins cannot be checked now, please try again.");
    if (plain && !s->secure)
        return imap_done(s, COND_NO, "PRIVACYREQUIRED", "Please use TLS before you log in.");
    return imap_done(s, COND_NO, "CANNOT", "Authentication mechanism is unsupported.");
}

static enum run begin(struct imap *s, struct auth *a)
{
    if (!offered(s, a->mech))
        return refuse_mech(s, a->mech);
    if (a->broken)
        return imap_done(s, COND_BAD, NULL, "Not base64.");
    struct dir_facts facts = {.service = "imap",
                              .peer = s->host_of_peer,
                              .secure = s->secure,
                              .tls_version = s->has_tls ? s->tls.version : NULL};
    if (s->has_tls && s->tls.has_exporter)
        facts.channel_binding = span_of(s->tls.exporter, sizeof s->tls.exporter);
    s->cmd.stage = AU_ASKED;
    imap_clear(s);
    a->exchange = directory_auth(s->directory, a->mech, &facts,
                                 a->has_initial ? span_of(a->blob.p ? a->blob.p : "", a->blob.n) : SPAN_NONE,
                                 imap_ask(s), on_auth);
    return RUN_WAIT;
}

static enum run failed(struct imap *s, enum err_code code)
{
    const char *name = s->cmd.row->name;
    log_event(LOG_INFO, &s->log, "imap.login.failed", F_STR("command", name), F_STR("code", err_name(code)));
    switch (code) {
    case ERR_RETRY:
        return imap_done(s, COND_NO, "UNAVAILABLE", "Logins cannot be checked now, please try again.");
    case ERR_SYNTAX:
        s->bad++;
        return imap_done(s, COND_NO, "CLIENTBUG", "The authentication exchange is broken.");
    case ERR_LIMIT:
        put(s, "* BYE [UNAVAILABLE] Too many failed logins, please try again later.\r\n");
        return RUN_CLOSE;
    case ERR_BUG:
        return imap_done(s, COND_NO, "SERVERBUG", "Internal error.");
    default:
        s->bad++;
        return imap_done(s, COND_NO, "AUTHENTICATIONFAILED", "Invalid credentials.");
    }
}

static enum run challenge(struct imap *s, struct auth *a)
{
    put(s, "+ ");
    if (!base64_encode(buf_span(&a->challenge), 0, s->out))
        s->overflow = true;
    put(s, "\r\n");
    s->cmd.stage = AU_LINE;
    return RUN_AGAIN;
}

static enum run to_store(struct imap *s, struct auth *a)
{
    s->cmd.stage = AU_STORE;
    imap_clear(s);
    store_login(s->store, buf_span(&a->grant), imap_ask(s), on_store_login);
    return RUN_WAIT;
}

/* The directory has answered. */
static enum run asked(struct imap *s, struct auth *a)
{
    enum err_code code = s->cmd.code;
    if (code == ERR_STATE)
        return challenge(s, a);
    if (code != ERR_OK)
        return failed(s, code);
    if (a->challenge.n)
        return challenge(s, a); /* final data of a mechanism; an empty response follows (RFC 4422 5 e) */
    return to_store(s, a);
}

/* A line of the client: base64, or "*". */
static enum run client_line(struct imap *s, struct auth *a)
{
    size_t lf = span_find(buf_span(s->in), '\n');
    if (lf == s->in->n) {
        if (s->in->n <= LINE_LIMIT)
            return RUN_INPUT;
        put(s, "* BYE [TOOBIG] The response is too long.\r\n");
        return RUN_CLOSE;
    }
    struct span line = span_trim(span_of(s->in->p, lf));
    bool cancelled = span_eq(line, SPAN("*"));
    buf_wipe(&a->blob);
    bool ok = !cancelled && base64_decode_strict(line, &a->blob) && a->blob.n <= BLOB_LIMIT;
    crypto_wipe(s->in->p, lf);
    buf_consume(s->in, lf + 1);
    if (!ok)
        return imap_done(s, COND_BAD, NULL, cancelled ? "The client gave up." : "Not base64.");
    if (a->granted)
        return to_store(s, a);
    s->cmd.stage = AU_ASKED;
    imap_clear(s);
    imap_ask(s);
    directory_auth_step(a->exchange, buf_span(&a->blob));
    return RUN_WAIT;
}

static enum run logged_in(struct imap *s, struct auth *a)
{
    if (s->cmd.code != ERR_OK)
        return failed(s, s->cmd.code == ERR_DENIED ? ERR_RETRY : s->cmd.code);
    s->account = a->account;
    a->account = NULL;
    s->user = a->user;
    a->user = NULL;
    s->log.user = s->user;
    s->phase = PH_AUTH;
    s->reader.limit = IMAP_LINE_LIMIT;
    store_events(s->account, imap_event, s);
    s->host->deadline(s->host_arg, s->conf->imap_idle_timeout, true);
    log_event(LOG_INFO, &s->log, "imap.login.accepted", F_SPAN("mech", a->mech),
              F_STR("tls", s->has_tls ? s->tls.version : "none"));
    /* RFC 3501 7.2.1: saves the client a CAPABILITY command; Thunderbird and others take it from here. */
    put(s, "* CAPABILITY ");
    put_capabilities(s);
    put(s, "\r\n");
    return imap_done_ok(s, NULL);
}

enum run run_authenticate(struct imap *s)
{
    struct auth *a = s->cmd.args;
    switch (s->cmd.stage) {
    case AU_START:
        return begin(s, a);
    case AU_ASKED:
        return asked(s, a);
    case AU_LINE:
        return client_line(s, a);
    default:
        return logged_in(s, a);
    }
}

enum run run_login(struct imap *s)
{
    return run_authenticate(s);
}
