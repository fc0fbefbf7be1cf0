/* Exchanges from their first blob to their end: libsasl2's in helper threads, OAUTHBEARER (RFC 7628) in the
 * loop. The hard point is what the time of an answer tells: a failure is answered auth_failure_delay after
 * its question came (or the next multiple of it), not so long after the check was over, so that a name that
 * is unknown and a password that is wrong take the same time. A login that is cancelled while a helper has it
 * lives on until the helper is done. How passwords are checked is logins_check.c's. */
#include "common/directory/logins_int.h"
#include "common/base/clock.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 16, WAITING = 5000, BLOB_LIMIT = 16 << 10 };
enum { GUARD_WINDOW_MS = 15 * 60 * 1000, GUARD_ENTRIES = 100000 };

/* -- mechanisms -- */

/* Keys for everybody, or (auth_scram yes) for somebody: a client takes the strongest that is offered, and
 * fails when its user has no keys for it. */
static bool offers(const struct logins *l, enum scram_hash hash)
{
    size_t keyed = l->census.keyed[hash];
    size_t all = l->env.bind ? l->census.accounts : l->census.able;
    if (l->offer == OFFER_YES)
        return keyed || l->env.bind; /* by bind: keys come with the first good PLAIN */
    return l->offer == OFFER_AUTO && keyed && keyed >= all;
}

static void list_mechs(struct logins *l)
{
    char scram[2][128] = {"", ""};
    for (int h = 0; h < SCRAM_HASHES; h++)
        for (int bound = 0; bound < 2 && offers(l, (enum scram_hash)h); bound++) {
            size_t n = strlen(scram[bound]);
            const char *name = scram_name((enum scram_hash)h);
            snprintf(scram[bound] + n, sizeof scram[bound] - n, "%s%s%s ", bound ? name : "",
                     bound ? "-PLUS " : "", name);
        }
    l->plus = *scram[1];
    for (int i = 0; i < 3; i++)
        snprintf(l->mechs[i], sizeof l->mechs[i], "%sPLAIN LOGIN OAUTHBEARER", scram[i == 2]);
    if (!l->c->auth_plaintext_without_tls)
        l->mechs[0][0] = 0;
}

const char *logins_mechs(const struct logins *l, bool secure, bool bound)
{
    return l->mechs[!secure ? 0 : bound ? 2 : 1];
}

bool logins_census(struct logins *l, const struct login_census *c)
{
    char before[3][256];
    memcpy(before, l->mechs, sizeof before);
    pthread_mutex_lock(&l->lock);
    l->census = *c;
    pthread_mutex_unlock(&l->lock);
    memset(l->mechs, 0, sizeof l->mechs);
    list_mechs(l);
    return memcmp(before, l->mechs, sizeof before) != 0;
}

/* -- life -- */

static bool take_offer(const char *value, enum scram_offer *out)
{
    static const char *const names[] = {[OFFER_AUTO] = "auto", [OFFER_YES] = "yes", [OFFER_NO] = "no"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(value, names[i]) == 0) {
            *out = (enum scram_offer)i;
            return true;
        }
    return false;
}

enum err_code logins_new(struct loop *l, const struct conf *c, const struct login_env *env,
                         struct logins **out, struct err *why)
{
    enum scram_offer offer;
    if (!take_offer(c->auth_scram, &offer))
        return err_set(why, ERR_SYNTAX, NULL, "auth_scram: %s is not auto, yes or no", c->auth_scram);
    enum err_code code = sasl_exchange_start(why);
    if (code != ERR_OK)
        return code;
    struct logins *s = xcalloc(1, sizeof *s);
    s->loop = l;
    s->c = c;
    s->env = *env;
    s->offer = offer;
    s->guard = guard_new((unsigned)c->auth_failure_limit, GUARD_WINDOW_MS, GUARD_ENTRIES);
    s->helpers = helpers_new(l, THREADS, WAITING);
    crypto_random(s->memory_key, sizeof s->memory_key);
    crypto_hmac(span_of(env->key, sizeof env->key), SPAN("scram salts"), s->salt_key);
    pthread_mutex_init(&s->lock, NULL);
    list_mechs(s);
    *out = s;
    return ERR_OK;
}

void logins_free(struct logins **lp)
{
    struct logins *l = *lp;
    if (!l)
        return;
    helpers_free(&l->helpers);
    guard_free(&l->guard);
    memory_forget(l, NULL);
    pthread_mutex_destroy(&l->lock);
    sasl_exchange_end();
    crypto_wipe(l, sizeof *l);
    free(l);
    *lp = NULL;
}

bool logins_busy(const struct logins *l)
{
    return helpers_busy(l->helpers) > 0;
}

void logins_forget(struct logins *l, const struct uuid *id)
{
    memory_forget(l, id);
}

static void login_free(struct login *g)
{
    loop_timer_free(&g->timer);
    sasl_exchange_free(&g->x);
    buf_wipe(&g->blob);
    buf_wipe(&g->name);
    free(g);
}

void login_cancel(struct login **gp)
{
    struct login *g = *gp;
    *gp = NULL;
    if (!g)
        return;
    g->cancelled = true;
    if (!g->busy)
        login_free(g);
}

/* -- answers -- */

static void finish(struct login *g)
{
    struct login_person who;
    const struct login_person *person = NULL;
    if (g->code == ERR_OK) { /* it may have gone meanwhile */
        bool there = g->known && g->l->env.find_id(g->l->env.arg, &g->id, &who) && !who.no_login;
        person = there ? &who : NULL;
        g->code = there ? ERR_OK : ERR_DENIED;
    }
    g->busy = true; /* a cancel from inside the callback waits */
    g->cb(g->arg, g->code, g->code == ERR_OK ? g->challenge : SPAN_NONE, person);
    login_free(g);
}

static void on_late(void *arg)
{
    finish(arg);
}

static void answer(struct login *g)
{
    if (g->code == ERR_STATE) {
        g->cb(g->arg, ERR_STATE, g->challenge, NULL);
        return;
    }
    bool failed = g->code == ERR_DENIED || g->is_failure;
    if (failed && g->is_try)
        guard_failed(g->l->guard, &g->pair, g->has_tried ? g->tried : NULL, clock_mono_ms());
    uint64_t delay = failed || g->code == ERR_LIMIT ? g->l->c->auth_failure_delay : 0;
    if (delay == 0) {
        finish(g);
        return;
    }
    uint64_t spent = clock_mono_ms() - g->asked_ms;
    loop_timer_start(g->timer, delay - spent % delay); /* timer: on_late */
}

/* -- work -- */

/* RFC 7628 3.1: kvpairs between ^A; only the token counts, it names its account. */
static enum err_code bearer(struct login *g)
{
    struct span key = SPAN("\001auth=Bearer "), blob = buf_span(&g->blob);
    size_t at = span_search(blob, key);
    if (at == blob.n)
        return ERR_SYNTAX;
    struct span token = span_drop(blob, at + key.n);
    token = span_first(token, span_find(token, 1));
    enum err_code code = g->l->env.token(g->l->env.arg, token, &g->id);
    g->known = code == ERR_OK;
    return code;
}

static void on_soon(void *arg)
{
    struct login *g = arg;
    loop_timer_free(&g->timer);
    g->timer = loop_timer_new(g->l->loop, on_late, g);
    g->challenge = SPAN_NONE;
    if (g->kind == LOGIN_BEARER && !g->has_blob) {
        g->code = ERR_STATE;
        g->challenge = SPAN("");
    } else if (g->kind == LOGIN_BEARER) {
        g->code = bearer(g);
    }
    answer(g);
}

/* Answer from the loop, never inside the call that asks. */
static void soon(struct login *g, enum err_code code)
{
    g->code = code;
    loop_timer_free(&g->timer);
    g->timer = loop_timer_new(g->l->loop, on_soon, g);
    loop_timer_start(g->timer, 0);
}

static void work(void *arg)
{
    struct login *g = arg;
    g->challenge = SPAN_NONE;
    if (g->kind == LOGIN_PASSWORD)
        g->code = login_check(g, buf_span(&g->name), buf_span(&g->blob));
    else
        g->code = sasl_exchange_step(
            g->x, g->has_blob ? span_of(g->blob.p ? g->blob.p : "", g->blob.n) : SPAN_NONE, &g->challenge);
    buf_wipe(&g->blob);
}

static void on_worked(void *arg)
{
    struct login *g = arg;
    g->busy = false;
    if (g->cancelled)
        login_free(g);
    else
        answer(g);
}

static void go_on(struct login *g)
{
    g->asked_ms = clock_mono_ms();
    if (g->kind == LOGIN_BEARER || g->kind == LOGIN_UNKNOWN) {
        soon(g, ERR_SYNTAX);
        return;
    }
    g->busy = helpers_run(g->l->helpers, work, on_worked, g);
    if (!g->busy)
        soon(g, ERR_RETRY);
}

static struct login *begin(struct logins *l, enum login_kind kind, const struct login_facts *facts,
                           login_cb *cb, void *arg)
{
    struct login *g = xcalloc(1, sizeof *g);
    g->l = l;
    g->kind = kind;
    g->facts = *facts;
    g->cb = cb;
    g->arg = arg;
    buf_init(&g->blob, BLOB_LIMIT);
    buf_init(&g->name, BLOB_LIMIT);
    g->timer = loop_timer_new(l->loop, on_late, g);
    return g;
}

static bool offered(const struct logins *l, const struct login_facts *f, struct span mech)
{
    struct span all = span_str(logins_mechs(l, f->secure, f->binding_n));
    while (all.n)
        if (span_caseeq(span_cut(&all, ' '), mech))
            return true;
    return false;
}

struct login *login_begin(struct logins *l, struct span mech, const struct login_facts *facts,
                          bool has_initial, struct span initial, login_cb *cb, void *arg)
{
    struct login *g = begin(l, LOGIN_UNKNOWN, facts, cb, arg);
    /* A binding that is not offered stays out of it: a client that says so is right (RFC 5802 6, "y"). */
    struct span binding = span_of(facts->binding, l->plus ? facts->binding_n : 0);
    g->has_blob = has_initial;
    if (!offered(l, facts, mech) || !buf_add_span(&g->blob, initial))
        g->kind = LOGIN_UNKNOWN;
    else if (span_caseeq(mech, SPAN("OAUTHBEARER")))
        g->kind = LOGIN_BEARER;
    else if (sasl_exchange_new(mech, facts->service, binding, &login_asks, g, &g->x) == ERR_OK)
        g->kind = LOGIN_SASL;
    go_on(g);
    return g;
}

void login_step(struct login *g, struct span response)
{
    assert(!g->busy);
    buf_reset(&g->blob);
    g->has_blob = true;
    if (!buf_add_span(&g->blob, response))
        g->kind = LOGIN_UNKNOWN;
    go_on(g);
}

struct login *login_password(struct logins *l, struct span name, struct span password,
                             const struct login_facts *facts, login_cb *cb, void *arg)
{
    struct login *g = begin(l, LOGIN_PASSWORD, facts, cb, arg);
    if (!buf_add_span(&g->name, name) || !buf_add_span(&g->blob, password))
        g->kind = LOGIN_UNKNOWN;
    go_on(g);
    return g;
}
