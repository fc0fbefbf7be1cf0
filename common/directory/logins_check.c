/* Is it the password, and which keys has a name? Runs in helper threads; people are asked of the loop and
 * copied. The hard part is what must look alike: a name that nobody bears, one that may not log in and one
 * with a wrong password cost the same work; SCRAM gives each of them keys (RFC 5802 9). And what must not
 * outlive a change: a success is remembered, and a verifier kept, only when nothing was forgotten since the
 * person was looked up. */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/directory/logins_int.h"
#include "common/directory/password.h"
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

enum { PERSON_LIMIT = 1 << 20, VERIFIER_FRESH_US = 86400 };

/* -- who -- */

struct subject {
    struct login *g;
    struct span name;
    struct arena *a;
    bool found; /* and may log in */
    struct login_person who;
    uint64_t epoch;
};

static struct span *copy_spans(struct arena *a, const struct span *v, size_t count)
{
    struct span *to = arena_array(a, count + 1, sizeof *to);
    for (size_t i = 0; to && i < count; i++) {
        to[i] = arena_dup(a, v[i]);
        if (!to[i].p)
            return NULL;
    }
    return to;
}

/* In the loop. */
static void on_subject(void *arg)
{
    struct subject *s = arg;
    struct logins *l = s->g->l;
    struct login_person who;
    pthread_mutex_lock(&l->lock);
    s->epoch = l->epoch;
    pthread_mutex_unlock(&l->lock);
    if (!l->env.find(l->env.arg, s->name, &who) || who.no_login)
        return;
    s->who = who;
    s->who.address = s->who.name = SPAN_NONE; /* of no use here */
    s->who.dn = arena_dup(s->a, who.dn.p ? who.dn : SPAN(""));
    s->who.passwords = copy_spans(s->a, who.passwords, who.password_count);
    s->who.scram = copy_spans(s->a, who.scram, who.scram_count);
    s->found = s->who.dn.p && s->who.passwords && s->who.scram;
}

static void subject_get(struct login *g, struct span name, struct subject *s)
{
    *s = (struct subject){.g = g, .name = name, .a = arena_new(PERSON_LIMIT)};
    helpers_ask(g->l->helpers, on_subject, s);
    g->known = s->found;
    if (s->found)
        g->id = s->who.id;
}

static void subject_free(struct subject *s)
{
    for (size_t i = 0; s->found && i < s->who.password_count; i++)
        crypto_wipe((void *)(uintptr_t)s->who.passwords[i].p, s->who.passwords[i].n);
    arena_free(&s->a);
}

/* -- memory of successes, and of failures -- */

/* May this name be tried from where the client is? What comes of it is counted in logins.c. */
static bool may_try(struct login *g, struct span name)
{
    g->pair = guard_pair(g->l->guard, span_str(g->facts.peer), name);
    g->is_try = true;
    return guard_allows(g->l->guard, &g->pair, clock_mono_ms());
}

struct memory {
    struct uuid id;
    unsigned char mark[CRYPTO_HASH];
    uint64_t until_ms;
    UT_hash_handle hh;
};

/* Under lock. */
static struct memory *memory_find(struct logins *l, const struct uuid *id)
{
    struct memory *m = NULL;
    HASH_FIND(hh, l->memory, id, sizeof *id, m);
    return m;
}

static void memory_mark(const struct logins *l, const struct uuid *id, struct span password,
                        unsigned char out[CRYPTO_HASH])
{
    unsigned char key[CRYPTO_HASH];
    crypto_hmac(span_of(l->memory_key, sizeof l->memory_key), span_of(id->b, sizeof id->b), key);
    crypto_hmac(span_of(key, sizeof key), password, out);
    crypto_wipe(key, sizeof key);
}

static bool memory_has(struct logins *l, const struct uuid *id, const unsigned char mark[CRYPTO_HASH])
{
    pthread_mutex_lock(&l->lock);
    const struct memory *m = memory_find(l, id);
    bool has = m && clock_mono_ms() < m->until_ms && crypto_equal(m->mark, mark, CRYPTO_HASH);
    pthread_mutex_unlock(&l->lock);
    return has;
}

/* At most one an account. */
static void memory_put(struct logins *l, const struct uuid *id, const unsigned char mark[CRYPTO_HASH],
                       uint64_t epoch)
{
    pthread_mutex_lock(&l->lock);
    struct memory *m = memory_find(l, id);
    if (l->epoch == epoch && l->c->auth_cache_lifetime && !m) {
        m = xcalloc(1, sizeof *m);
        m->id = *id;
        HASH_ADD(hh, l->memory, id, sizeof m->id, m);
    }
    if (l->epoch == epoch && m) {
        memcpy(m->mark, mark, sizeof m->mark);
        m->until_ms = clock_mono_ms() + l->c->auth_cache_lifetime;
    }
    pthread_mutex_unlock(&l->lock);
}

static void memory_drop(struct logins *l, struct memory *m)
{
    HASH_DEL(l->memory, m);
    crypto_wipe(m, sizeof *m);
    free(m);
}

void memory_forget(struct logins *l, const struct uuid *id)
{
    pthread_mutex_lock(&l->lock);
    l->epoch++;
    struct memory *m = id ? memory_find(l, id) : NULL, *next;
    if (m)
        memory_drop(l, m);
    for (m = id ? NULL : l->memory; m; m = next) {
        next = m->hh.next;
        memory_drop(l, m);
    }
    pthread_mutex_unlock(&l->lock);
}

/* -- verifiers: keys of the last good login by bind, for outages and for SCRAM -- */

static bool verifier_get(struct logins *l, const struct uuid *id, struct scram_keys *out, int64_t *age_us)
{
    struct buf text;
    int64_t at_us = 0;
    buf_init(&text, SCRAM_TEXT);
    bool has = l->env.verifier_get && l->env.verifier_get(l->env.arg, id, &text, &at_us) &&
               scram_parse(buf_span(&text), out);
    *age_us = clock_wall_us() - at_us;
    buf_wipe(&text);
    return has && *age_us / 1000 <= (int64_t)l->c->auth_outage_lifetime;
}

static void verifier_put(struct logins *l, const struct subject *s, struct span password)
{
    struct scram_keys k;
    struct buf text;
    int64_t age_us = 0;
    if (!l->env.verifier_put || l->c->auth_outage_lifetime == 0)
        return;
    if (verifier_get(l, &s->who.id, &k, &age_us) && age_us >= 0 &&
        age_us < (int64_t)VERIFIER_FRESH_US * 1000000 && scram_check(&k, password) == ERR_OK)
        return; /* it is young enough */
    k = (struct scram_keys){.hash = SCRAM_SHA_256, .iterations = SCRAM_ITERATIONS, .salt_n = SCRAM_SALT};
    crypto_random(k.salt, k.salt_n);
    buf_init(&text, SCRAM_TEXT);
    if (scram_derive(&k, password) && scram_format(&k, &text)) {
        pthread_mutex_lock(&l->lock);
        if (l->epoch == s->epoch)
            l->env.verifier_put(l->env.arg, &s->who.id, buf_span(&text), clock_wall_us());
        pthread_mutex_unlock(&l->lock);
    }
    buf_wipe(&text);
    crypto_wipe(&k, sizeof k);
}

/* LDAP says no to what it once said yes to: the password was changed where the copy cannot see it. */
static void verifier_doubt(struct logins *l, const struct subject *s, struct span password)
{
    struct scram_keys k;
    int64_t age_us = 0;
    if (!verifier_get(l, &s->who.id, &k, &age_us) || scram_check(&k, password) != ERR_OK)
        return;
    log_event(LOG_INFO, NULL, "directory.verifier.dropped", F_SPAN("dn", s->who.dn));
    l->env.verifier_drop(l->env.arg, &s->who.id);
    memory_forget(l, &s->who.id);
    crypto_wipe(&k, sizeof k);
}

/* -- passwords -- */

/* Against the values of the copy. */
static enum err_code check_stored(const struct login_person *who, struct span password)
{
    enum err_code code = ERR_DENIED;
    struct scram_keys k;
    for (size_t i = 0; i < who->password_count && code != ERR_OK; i++)
        code = password_check(who->passwords[i], password);
    for (size_t i = 0; i < who->scram_count && code != ERR_OK; i++)
        code = scram_parse(who->scram[i], &k) ? scram_check(&k, password) : ERR_DENIED;
    crypto_wipe(&k, sizeof k);
    return code == ERR_OK ? ERR_OK : ERR_DENIED;
}

/* LDAP does not answer: what is known from before may let somebody in, and never says that a password is
 * wrong (it may be new). */
static enum err_code check_outage(struct login *g, const struct login_person *who, struct span password)
{
    struct scram_keys k;
    int64_t age_us = 0;
    bool known = who->password_count || who->scram_count;
    enum err_code code = check_stored(who, password);
    if (code != ERR_OK && verifier_get(g->l, &who->id, &k, &age_us)) {
        known = true;
        code = scram_check(&k, password);
        crypto_wipe(&k, sizeof k);
    }
    if (code == ERR_OK)
        return ERR_OK;
    g->is_failure = known;
    return ERR_RETRY;
}

static enum err_code check_bind(struct login *g, const struct subject *s, struct span password)
{
    struct logins *l = g->l;
    struct err why = {.code = ERR_OK};
    enum err_code code = l->env.bind(l->env.arg, s->who.dn, password, &why);
    if (code == ERR_OK) {
        verifier_put(l, s, password);
        return ERR_OK;
    }
    if (code == ERR_DENIED) {
        verifier_doubt(l, s, password);
        return ERR_DENIED;
    }
    log_event(LOG_WARN, NULL, "directory.bind.failed", F_STR("why", why.log));
    return check_outage(g, &s->who, password);
}

/* The work of a check, for nobody. */
static void check_nobody(struct logins *l, struct span password)
{
    char sample[sizeof l->census.sample];
    pthread_mutex_lock(&l->lock);
    memcpy(sample, l->census.sample, sizeof sample);
    pthread_mutex_unlock(&l->lock);
    if (*sample && !l->env.bind)
        (void)!password_check(span_str(sample), password);
}

enum err_code login_check(struct login *g, struct span name, struct span password)
{
    struct logins *l = g->l;
    struct subject s;
    unsigned char mark[CRYPTO_HASH];
    subject_get(g, name, &s);
    enum err_code code = ERR_DENIED;
    bool may = may_try(g, name);
    memory_mark(l, &(struct uuid){{0}}, password, g->tried);
    g->has_tried = true;
    if (!s.found && may) {
        check_nobody(l, password);
    } else if (!s.found) {
        code = ERR_LIMIT;
    } else if (password.n && password.n <= PASSWORD_LIMIT && !memchr(password.p, 0, password.n)) {
        memory_mark(l, &s.who.id, password, mark);
        if (memory_has(l, &s.who.id, mark))
            code = ERR_OK;
        else if (!may)
            code = ERR_LIMIT;
        else
            code = l->env.bind ? check_bind(g, &s, password) : check_stored(&s.who, password);
        if (code == ERR_OK)
            memory_put(l, &s.who.id, mark, s.epoch);
    }
    subject_free(&s);
    return code;
}

/* -- keys for SCRAM -- */

static bool kept_keys(const struct login_person *who, enum scram_hash hash, struct scram_keys *out)
{
    for (size_t i = 0; i < who->scram_count; i++)
        if (scram_parse(who->scram[i], out) && out->hash == hash)
            return true;
    for (size_t i = 0; i < who->password_count; i++)
        if (span_starts(who->passwords[i], SPAN("{")) && scram_parse(who->passwords[i], out) &&
            out->hash == hash)
            return true;
    return false;
}

/* With the salt of the name; the same for a name that nobody bears. */
static void fresh_keys(struct logins *l, struct span name, enum scram_hash hash, struct scram_keys *out)
{
    char low[256];
    size_t n = name.n < sizeof low ? name.n : sizeof low;
    for (size_t i = 0; i < n; i++)
        low[i] = ascii_lower(name.p[i]);
    *out = (struct scram_keys){.hash = hash, .iterations = SCRAM_ITERATIONS, .salt_n = SCRAM_SALT};
    scram_salt(l->salt_key, hash, span_of(low, n), out->salt);
}

/* A readable password, or that which was verified by bind since the entry last changed it. */
static bool made_keys(struct logins *l, const struct subject *s, enum scram_hash hash, struct scram_keys *out)
{
    struct span clear;
    int64_t age_us = 0;
    for (size_t i = 0; i < s->who.password_count; i++)
        if (password_readable(s->who.passwords[i], &clear)) {
            fresh_keys(l, s->name, hash, out);
            return scram_derive(out, clear);
        }
    return l->env.bind && (s->who.dated || s->who.password_count) &&
           verifier_get(l, &s->who.id, out, &age_us) && out->hash == hash;
}

/* Keys that look like those of the others and fit nothing. */
static void nobodys_keys(struct logins *l, struct span name, enum scram_hash hash, struct scram_keys *out)
{
    pthread_mutex_lock(&l->lock);
    bool readable = l->census.readable;
    uint32_t iterations = l->census.iterations[hash];
    size_t salt_n = l->census.salt_n[hash];
    pthread_mutex_unlock(&l->lock);
    fresh_keys(l, name, hash, out);
    if (iterations && !readable) {
        out->iterations = iterations;
        out->salt_n = salt_n;
    }
    if (readable && !scram_derive(out, SPAN("nobody's")))
        out->iterations = SCRAM_ITERATIONS;
    crypto_random(out->stored, sizeof out->stored);
    crypto_random(out->server, sizeof out->server);
}

static enum err_code on_keys(void *arg, struct span name, enum scram_hash hash, struct scram_keys *out)
{
    struct login *g = arg;
    struct subject s;
    if (!may_try(g, name))
        return ERR_LIMIT;
    subject_get(g, name, &s);
    bool has = s.found && (kept_keys(&s.who, hash, out) || made_keys(g->l, &s, hash, out));
    if (!has) {
        nobodys_keys(g->l, name, hash, out);
        g->known = false;
    }
    subject_free(&s);
    return ERR_OK;
}

static enum err_code on_check(void *arg, struct span name, struct span password)
{
    return login_check(arg, name, password);
}

/* Nobody acts for others; the names of one account are one. */
struct pair {
    struct login *g;
    struct span names[2];
    bool same;
};

static void on_pair(void *arg)
{
    struct pair *p = arg;
    const struct login_env *env = &p->g->l->env;
    struct login_person a, b;
    bool both = env->find(env->arg, p->names[0], &a);
    struct uuid id = both ? a.id : (struct uuid){{0}};
    both = both && env->find(env->arg, p->names[1], &b);
    p->same = both && uuid_cmp(&id, &b.id) == 0;
}

static bool on_may_act(void *arg, struct span authcid, struct span authzid)
{
    struct login *g = arg;
    struct pair p = {g, {authcid, authzid}, false};
    helpers_ask(g->l->helpers, on_pair, &p);
    return p.same;
}

const struct sasl_asks login_asks = {.check = on_check, .keys = on_keys, .may_act = on_may_act};
