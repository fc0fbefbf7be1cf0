/* Logins of workers and of the webmail's login page: exchanges run in logins.h, this joins them to
 * connections. A worker names its exchanges; one that it lost with its connection is cancelled. On success
 * the imap role gets the grant for the store, the smtp role does not: it has no session there. */
#include "common/directory/server.h"
#include "common/base/clock.h"
#include "common/base/grant.h"
#include "common/directory/user.h"
#include <stdio.h>
#include <stdlib.h>

enum { EXCHANGES = 20000 };

struct exchange {
    struct conn *conn;
    uint32_t id;
    uint16_t type; /* of the question that is under way */
    uint64_t seq;
    bool asked; /* a question is under way */
    bool starting, over;
    struct login *login;
    struct login_facts facts;
    char agent[128]; /* of a webmail login */
    struct exchange *prev, *next;
};

/* -- what logins ask -- */

static void person_of(const struct people_entry *e, struct login_person *out)
{
    *out = (struct login_person){.id = e->id,
                                 .dn = e->dn,
                                 .address = e->address,
                                 .name = e->name,
                                 .passwords = e->passwords,
                                 .password_count = e->password_count,
                                 .scram = e->scram,
                                 .scram_count = e->scram_count,
                                 .dated = e->dated,
                                 .no_login = e->no_login};
}

static bool on_find(void *arg, struct span name, struct login_person *out)
{
    struct server *s = arg;
    const struct people_entry *e = s->view ? people_login(s->view->people, name) : NULL;
    if (e)
        person_of(e, out);
    return e;
}

static bool on_find_id(void *arg, const struct uuid *id, struct login_person *out)
{
    struct server *s = arg;
    const struct people_entry *e = s->view ? people_by_id(s->view->people, id) : NULL;
    if (e && e->kind != PEOPLE_GROUP)
        person_of(e, out);
    return e && e->kind != PEOPLE_GROUP;
}

static enum err_code on_bind(void *arg, struct span dn, struct span password, struct err *why)
{
    struct server *s = arg;
    return source_bind(s->source, dn, password, why);
}

enum err_code token_find(struct server *s, struct span token, unsigned char hash[CRYPTO_HASH],
                         struct copy_token *out)
{
    if (token.n == 0 || token.n >= USER_TOKEN_TEXT)
        return ERR_DENIED;
    crypto_sha256(token, hash);
    if (!copy_token_get(s->copy, hash, out) || out->expires_s <= clock_wall_s())
        return ERR_DENIED;
    return ERR_OK;
}

static enum err_code on_token(void *arg, struct span token, struct uuid *out_account)
{
    unsigned char hash[CRYPTO_HASH];
    struct copy_token t;
    enum err_code code = token_find(arg, token, hash, &t);
    if (code == ERR_OK)
        *out_account = t.account;
    return code;
}

static bool on_verifier_get(void *arg, const struct uuid *id, struct buf *out, int64_t *at_us)
{
    struct server *s = arg;
    return copy_verifier_get(s->copy, id, out, at_us);
}

static void on_verifier_put(void *arg, const struct uuid *id, struct span verifier, int64_t at_us)
{
    struct server *s = arg;
    copy_verifier_put(s->copy, id, verifier, at_us);
}

static void on_verifier_drop(void *arg, const struct uuid *id)
{
    struct server *s = arg;
    copy_verifier_drop(s->copy, id);
}

enum err_code server_logins(struct server *s, struct err *why)
{
    struct login_env env = {.find = on_find,
                            .find_id = on_find_id,
                            .bind = source_binds(s->source) ? on_bind : NULL,
                            .token = on_token,
                            .verifier_get = on_verifier_get,
                            .verifier_put = on_verifier_put,
                            .verifier_drop = on_verifier_drop,
                            .arg = s};
    memcpy(env.key, s->key, sizeof env.key);
    return logins_new(s->loop, daemon_conf(s->d), &env, &s->logins, why);
}

/* -- exchanges -- */

static struct exchange *exchange_new(struct conn *c, uint32_t id)
{
    struct exchange *x = xcalloc(1, sizeof *x);
    x->conn = c;
    x->id = id;
    x->next = c->exchanges;
    if (x->next)
        x->next->prev = x;
    c->exchanges = x;
    c->exchange_count++;
    return x;
}

static void exchange_free(struct exchange *x)
{
    struct conn *c = x->conn;
    if (x->login)
        login_cancel(&x->login);
    if (x->prev)
        x->prev->next = x->next;
    else
        c->exchanges = x->next;
    if (x->next)
        x->next->prev = x->prev;
    c->exchange_count--;
    crypto_wipe(x, sizeof *x);
    free(x);
}

void exchanges_free(struct conn *c)
{
    while (c->exchanges)
        exchange_free(c->exchanges);
}

static struct exchange *exchange_find(struct conn *c, uint32_t id)
{
    struct exchange *x = c->exchanges;
    while (x && x->id != id)
        x = x->next;
    return x;
}

/* -- grants -- */

bool server_grant(struct server *s, const struct people_entry *e, const char *protocol, const char *peer,
                  bool over_quota, struct buf *out)
{
    const struct conf *c = daemon_conf(s->d);
    const struct people_entry *group[GRANT_GROUPS];
    struct grant *g = xcalloc(1, sizeof *g);
    int64_t now = clock_wall_us();
    s->serial = (uint64_t)now > s->serial ? (uint64_t)now : s->serial + 1;
    g->account = e->id;
    g->serial = s->serial;
    g->issued_us = now;
    g->expires_us = now + (int64_t)c->grant_lifetime * 1000;
    snprintf(g->protocol, sizeof g->protocol, "%s", protocol);
    snprintf(g->peer, sizeof g->peer, "%s", peer);
    snprintf(g->address, sizeof g->address, "%.*s", SPAN_ARG(span_first(e->address, sizeof g->address - 1)));
    g->quota_bytes = over_quota ? GRANT_UNBOUND : e->quota_bytes ? e->quota_bytes : c->quota_default;
    g->group_count = (uint16_t)people_groups(s->view->people, e, group, GRANT_GROUPS);
    for (size_t i = 0; i < g->group_count; i++)
        g->groups[i] = group[i]->id;
    bool ok = grant_seal(g, s->key, out);
    free(g);
    return ok;
}

static bool put_grant(struct server *s, const struct exchange *x, const struct people_entry *e,
                      struct buf *out)
{
    struct buf sealed;
    buf_init(&sealed, GRANT_LIMIT);
    const char *protocol = strcmp(x->facts.peer, "unix") == 0 ? "web" : "imap";
    bool ok =
        server_grant(s, e, protocol, x->facts.peer, false, &sealed) && dirw_put_text(out, buf_span(&sealed));
    buf_free(&sealed);
    return ok;
}

static bool put_login(struct exchange *x, const struct login_person *who, struct buf *b)
{
    struct server *s = x->conn->s;
    const struct people_entry *e = s->view ? people_by_id(s->view->people, &who->id) : NULL;
    if (!e)
        return false;
    return dirw_put_id(b, &who->id) && dirw_put_text(b, who->address) && dirw_put_text(b, who->name) &&
           (x->conn->role == ROLE_IMAP ? put_grant(s, x, e, b) : dirw_put_text(b, SPAN("")));
}

/* -- the webmail's session -- */

static bool put_session(struct server *s, struct span token, const struct copy_token *t, struct buf *b)
{
    const struct people_entry *e = s->view ? people_by_id(s->view->people, &t->account) : NULL;
    return e && dirw_put_id(b, &t->account) && buf_add_u64(b, (uint64_t)t->expires_s) &&
           dirw_put_text(b, token) && dirw_put_text(b, e->address) && dirw_put_text(b, e->name);
}

static int64_t session_end_s(struct server *s, int64_t now_s)
{
    return now_s + (int64_t)(daemon_conf(s->d)->web_session_lifetime / 1000);
}

static bool begin_session(struct exchange *x, const struct login_person *who, struct buf *b)
{
    struct server *s = x->conn->s;
    char token[USER_TOKEN_TEXT];
    unsigned char hash[CRYPTO_HASH];
    int64_t now_s = clock_wall_s();
    struct copy_token t = {
        .account = who->id, .created_s = now_s, .used_s = now_s, .expires_s = session_end_s(s, now_s)};
    snprintf(t.peer, sizeof t.peer, "%s", x->facts.peer);
    snprintf(t.agent, sizeof t.agent, "%s", x->agent);
    crypto_random_text(32, token, sizeof token);
    crypto_sha256(span_str(token), hash);
    bool ok = put_session(s, span_str(token), &t, b);
    if (ok)
        copy_token_put(s->copy, hash, &t, true);
    crypto_wipe(token, sizeof token);
    return ok;
}

/* -- outcomes -- */

static void note(struct exchange *x, enum err_code code, const struct login_person *who)
{
    struct server *s = x->conn->s;
    if (code == ERR_STATE)
        return;
    code == ERR_OK ? s->logins_good++ : s->logins_bad++;
    log_event(code == ERR_OK ? LOG_INFO : LOG_WARN, NULL,
              code == ERR_OK ? "directory.login.accepted" : "directory.login.failed",
              F_STR("service", x->facts.service), F_STR("peer", x->facts.peer), F_STR("code", err_name(code)),
              F_SPAN("user", code == ERR_OK ? who->address : SPAN("")));
}

static void on_login(void *arg, enum err_code code, struct span challenge, const struct login_person *who)
{
    struct exchange *x = arg;
    struct server *s = x->conn->s;
    struct buf b;
    bool user = x->type == DIRW_USER_LOGIN;
    if (code == ERR_DENIED && !s->contact_us)
        code = ERR_RETRY; /* a copy that was never complete knows nobody */
    buf_init(&b, DIRW_ANSWER_LIMIT);
    bool ok = true;
    if (!user && (code == ERR_OK || code == ERR_STATE))
        ok = buf_add_u8(&b, challenge.p != NULL) && dirw_put_text(&b, challenge);
    if (ok && code == ERR_OK)
        ok = user ? begin_session(x, who, &b) : put_login(x, who, &b);
    if (!ok) {
        buf_reset(&b);
        code = ERR_RETRY; /* gone from the directory meanwhile */
    }
    note(x, code, who);
    x->asked = false;
    reply(x->conn, x->type, x->seq, code, buf_span(&b));
    buf_wipe(&b);
    if (code == ERR_STATE)
        return;
    x->login = NULL;
    x->over = true;
    if (!x->starting)
        exchange_free(x);
}

/* The first call into logins may answer inside itself. */
static void started(struct exchange *x, struct login *g)
{
    x->starting = false;
    if (x->over)
        exchange_free(x);
    else
        x->login = g;
}

/* -- frames -- */

static void take_text(struct reader *in, char *out, size_t size)
{
    struct span s = dirw_text(in);
    if (s.n >= size)
        in->bad = true;
    else if (s.n)
        memcpy(out, s.p, s.n);
}

bool serve_auth(struct request *r)
{
    struct conn *c = r->conn;
    uint32_t id = read_u32(&r->in);
    if (exchange_find(c, id))
        return false;
    if (c->exchange_count >= EXCHANGES) {
        reply(c, r->type, r->seq, ERR_LIMIT, SPAN_NONE);
        return true;
    }
    struct exchange *x = exchange_new(c, id);
    x->type = r->type;
    x->seq = r->seq;
    x->facts.secure = read_u8(&r->in);
    bool has_initial = read_u8(&r->in);
    struct span mech = dirw_text(&r->in);
    take_text(&r->in, x->facts.service, sizeof x->facts.service);
    take_text(&r->in, x->facts.peer, sizeof x->facts.peer);
    take_text(&r->in, x->facts.tls_version, sizeof x->facts.tls_version);
    struct span binding = dirw_text(&r->in), initial = dirw_text(&r->in);
    if (!dirw_whole(&r->in) || binding.n > sizeof x->facts.binding || initial.n > DIRW_BLOB) {
        exchange_free(x);
        return false;
    }
    if (binding.n)
        memcpy(x->facts.binding, binding.p, binding.n);
    x->facts.binding_n = binding.n;
    x->starting = x->asked = true;
    started(x, login_begin(c->s->logins, mech, &x->facts, has_initial, initial, on_login, x));
    return true;
}

bool serve_auth_step(struct request *r)
{
    uint32_t id = read_u32(&r->in);
    struct span response = dirw_text(&r->in);
    struct exchange *x = exchange_find(r->conn, id);
    if (!dirw_whole(&r->in) || response.n > DIRW_BLOB || (x && x->asked))
        return false;
    if (!x) {
        reply(r->conn, r->type, r->seq, ERR_RETRY, SPAN_NONE);
        return true;
    }
    x->type = r->type;
    x->seq = r->seq;
    x->asked = true;
    login_step(x->login, response);
    return true;
}

bool serve_auth_cancel(struct request *r)
{
    struct exchange *x = exchange_find(r->conn, read_u32(&r->in));
    if (!dirw_whole(&r->in))
        return false;
    if (x) /* else its last answer is under way */
        exchange_free(x);
    return true;
}

bool serve_user_login(struct request *r)
{
    struct conn *c = r->conn;
    struct span name = dirw_text(&r->in), password = dirw_text(&r->in);
    struct span peer = dirw_text(&r->in), agent = dirw_text(&r->in);
    if (!dirw_whole(&r->in) || c->exchange_count)
        return false;
    struct exchange *x = exchange_new(c, 0);
    x->type = r->type;
    x->seq = r->seq;
    x->facts.secure = true;
    snprintf(x->facts.service, sizeof x->facts.service, "web");
    snprintf(x->facts.peer, sizeof x->facts.peer, "%.*s",
             SPAN_ARG(span_first(peer, sizeof x->facts.peer - 1)));
    snprintf(x->agent, sizeof x->agent, "%.*s", SPAN_ARG(span_first(agent, sizeof x->agent - 1)));
    x->starting = x->asked = true;
    started(x, login_password(c->s->logins, name, password, &x->facts, on_login, x));
    return true;
}

bool serve_user_resume(struct request *r)
{
    enum { NOTE_S = 60 }; /* a longer life is written at most so often */
    struct server *s = r->conn->s;
    struct span token = dirw_text(&r->in);
    unsigned char hash[CRYPTO_HASH];
    struct copy_token t;
    struct buf b;
    if (!dirw_whole(&r->in))
        return false;
    enum err_code code = token_find(s, token, hash, &t);
    int64_t now_s = clock_wall_s();
    const struct people_entry *e =
        code == ERR_OK && s->view ? people_by_id(s->view->people, &t.account) : NULL;
    if (code == ERR_OK && (!e || e->no_login))
        code = e || server_knows(s) ? ERR_DENIED : ERR_RETRY;
    buf_init(&b, DIRW_ANSWER_LIMIT);
    if (code == ERR_OK && now_s - t.used_s >= NOTE_S) {
        t.used_s = now_s;
        t.expires_s = session_end_s(s, now_s);
        copy_token_put(s->copy, hash, &t, false);
    }
    if (code == ERR_OK && !put_session(s, token, &t, &b))
        code = ERR_LIMIT;
    reply(r->conn, r->type, r->seq, code, buf_span(&b));
    buf_wipe(&b);
    return true;
}

bool serve_user_logout(struct request *r)
{
    struct span token = dirw_text(&r->in);
    unsigned char hash[CRYPTO_HASH];
    if (!dirw_whole(&r->in))
        return false;
    crypto_sha256(token, hash);
    copy_token_drop(r->conn->s->copy, hash);
    reply(r->conn, r->type, r->seq, ERR_OK, SPAN_NONE);
    return true;
}

bool serve_user_search(struct request *r)
{
    enum { MOST = 1000 };
    struct server *s = r->conn->s;
    struct span token = dirw_text(&r->in), query = dirw_text(&r->in);
    uint32_t max = read_u32(&r->in);
    unsigned char hash[CRYPTO_HASH];
    struct copy_token t;
    struct buf b, path;
    if (!dirw_whole(&r->in))
        return false;
    enum err_code code = token_find(s, token, hash, &t);
    if (code == ERR_OK && !s->view)
        code = ERR_RETRY;
    const struct people_entry **v = xcalloc(MOST, sizeof(struct people_entry *));
    size_t n = code == ERR_OK ? book_search(s->view->book, query, v, max < MOST ? max : MOST) : 0;
    buf_init(&b, DIRW_ANSWER_LIMIT);
    buf_init(&path, 4096);
    bool ok = buf_add_u32(&b, (uint32_t)n);
    for (size_t i = 0; i < n && ok; i++) {
        buf_reset(&path);
        ok = units_path(v[i]->unit, &path) && buf_add_u8(&b, v[i]->kind == PEOPLE_GROUP) &&
             dirw_put_text(&b, v[i]->name) && dirw_put_text(&b, v[i]->address) &&
             dirw_put_text(&b, buf_span(&path)) && dirw_put_text(&b, v[i]->title);
    }
    if (code == ERR_OK && !ok)
        code = ERR_LIMIT;
    reply(r->conn, r->type, r->seq, code, code == ERR_OK ? buf_span(&b) : SPAN_NONE);
    buf_free(&b);
    buf_free(&path);
    free(v);
    return true;
}
