/* A stand-in for the logins until SASL is here: PLAIN, LOGIN and OAUTHBEARER, checked in the loop. */
#include "common/directory/logins.h"
#include "common/base/log.h"
#include "common/directory/password.h"
#include <stdlib.h>

struct logins {
    struct loop *loop;
    const struct conf *c;
    struct login_env env;
};
struct login {
    struct logins *l;
    struct loop_timer *timer;
    struct buf blob, name;
    login_cb *cb;
    void *arg;
    enum { PLAIN, LOGIN, BEARER, UNKNOWN } mech;
    unsigned step;
    bool has;
    enum err_code late;
};

enum err_code logins_new(struct loop *l, const struct conf *c, const struct login_env *env,
                         struct logins **out, struct err *why)
{
    (void)why;
    *out = xcalloc(1, sizeof **out);
    **out = (struct logins){l, c, *env};
    return ERR_OK;
}
void logins_free(struct logins **l)
{
    free(*l);
    *l = NULL;
}
void logins_forget(struct logins *l, const struct uuid *id)
{
    (void)l;
    (void)id;
}
const char *logins_mechs(struct logins *l, bool secure, bool any_scram)
{
    (void)any_scram;
    return secure || l->c->auth_plaintext_without_tls ? "PLAIN LOGIN OAUTHBEARER" : "";
}

static void end(struct login *g, enum err_code code, const struct login_person *who)
{
    login_cb *cb = g->cb;
    void *arg = g->arg;
    login_cancel(&g);
    cb(arg, code, SPAN_NONE, who);
}

static enum err_code check(struct login *g, struct span name, struct span password, struct login_person *who)
{
    enum err_code code = ERR_DENIED;
    if (!g->l->env.find(g->l->env.arg, name, who) || who->no_login)
        return ERR_DENIED;
    for (size_t i = 0; i < who->password_count && code != ERR_OK; i++)
        code = password_check(who->passwords[i], password);
    return code == ERR_OK ? ERR_OK : ERR_DENIED;
}

static enum err_code bearer(struct login *g, struct span blob, struct login_person *who)
{
    struct span key = SPAN("\001auth=Bearer ");
    struct uuid id;
    size_t at = span_search(blob, key);
    if (at == blob.n)
        return ERR_SYNTAX;
    struct span token = span_drop(blob, at + key.n);
    token = span_first(token, span_find(token, 1));
    enum err_code code = g->l->env.token(g->l->env.arg, token, &id);
    if (code == ERR_OK && (!g->l->env.find_id(g->l->env.arg, &id, who) || who->no_login))
        code = ERR_DENIED;
    return code;
}

static void on_timer(void *arg)
{
    struct login *g = arg;
    struct login_person who;
    enum err_code code = ERR_SYNTAX;
    struct span blob = buf_span(&g->blob);
    if (g->late) {
        end(g, g->late, NULL);
        return;
    }
    if (g->mech != UNKNOWN && !g->has) {
        g->cb(g->arg, ERR_STATE, g->mech == LOGIN ? SPAN("Username:") : SPAN(""), NULL);
        return;
    }
    if (g->mech == LOGIN && g->step == 0) {
        g->step = 1;
        (void)!buf_add_span(&g->name, blob);
        g->cb(g->arg, ERR_STATE, SPAN("Password:"), NULL);
        return;
    }
    if (g->mech == LOGIN) {
        code = check(g, buf_span(&g->name), blob, &who);
    } else if (g->mech == PLAIN) {
        struct span authz = span_cut(&blob, 0), name = span_cut(&blob, 0);
        (void)authz;
        code = blob.p ? check(g, name, blob, &who) : ERR_SYNTAX;
    } else if (g->mech == BEARER) {
        code = bearer(g, blob, &who);
    }
    if (code == ERR_DENIED) {
        g->late = code;
        loop_timer_start(g->timer, g->l->c->auth_failure_delay);
        return;
    }
    end(g, code, code == ERR_OK ? &who : NULL);
}

static struct login *begin(struct logins *l, login_cb *cb, void *arg)
{
    struct login *g = xcalloc(1, sizeof *g);
    g->l = l;
    g->cb = cb;
    g->arg = arg;
    buf_init(&g->blob, 16 << 10);
    buf_init(&g->name, 16 << 10);
    g->timer = loop_timer_new(l->loop, on_timer, g);
    loop_timer_start(g->timer, 0);
    return g;
}

struct login *login_begin(struct logins *l, struct span mech, const struct login_facts *facts,
                          bool has_initial, struct span initial, login_cb *cb, void *arg)
{
    struct login *g = begin(l, cb, arg);
    (void)facts;
    g->mech = span_caseeq(mech, SPAN("PLAIN"))         ? PLAIN
              : span_caseeq(mech, SPAN("LOGIN"))       ? LOGIN
              : span_caseeq(mech, SPAN("OAUTHBEARER")) ? BEARER
                                                       : UNKNOWN;
    g->has = has_initial;
    (void)!buf_add_span(&g->blob, initial);
    return g;
}

void login_step(struct login *g, struct span response)
{
    buf_reset(&g->blob);
    (void)!buf_add_span(&g->blob, response);
    g->has = true;
    loop_timer_start(g->timer, 0);
}

void login_cancel(struct login **gp)
{
    struct login *g = *gp;
    *gp = NULL;
    if (!g)
        return;
    loop_timer_free(&g->timer);
    buf_wipe(&g->blob);
    buf_wipe(&g->name);
    free(g);
}

struct login *login_password(struct logins *l, struct span name, struct span password,
                             const struct login_facts *facts, login_cb *cb, void *arg)
{
    struct login *g = begin(l, cb, arg);
    (void)facts;
    g->mech = LOGIN;
    g->step = 1;
    g->has = true;
    (void)!buf_add_span(&g->name, name);
    (void)!buf_add_span(&g->blob, password);
    return g;
}
