/* libsasl2 behind a small face. It parses blobs, runs the mechanisms, and asks: for a password's truth by its
 * checkpass callback, for SCRAM's keys by our auxprop plugin, for the right to act as somebody else by its
 * proxy policy. Hard points: it reads files and loads whatever lies in its folder unless it is told not to;
 * its result codes mix a wrong password with a broken blob, so the answer of our own functions counts first;
 * and a few inputs are refused here before it sees them, because it takes them too lightly: a channel binding
 * flag that does not fit the mechanism (RFC 5802 6), NUL and empty names inside LOGIN, very long names.
 * Threads, delays and people are left to logins.c. */
#include "common/directory/sasl_exchange.h"
#include <pthread.h>
#include <sasl/sasl.h>
#include <sasl/saslplug.h>
#include <stdlib.h>

enum { SCRAM_BLOB = 2048, NAME_LIMIT = 1000 };

static const struct mech {
    const char *name, *plugin; /* what libsasl2 calls it, and the file that has it */
    bool plus, scram;
    enum scram_hash hash;
} mechs[] = {
    {"PLAIN", "libplain", false, false, 0},
    {"LOGIN", "liblogin", false, false, 0},
    {"SCRAM-SHA-256", "libscram", false, true, SCRAM_SHA_256},
    {"SCRAM-SHA-256-PLUS", "libscram", true, true, SCRAM_SHA_256},
    {"SCRAM-SHA-1", "libscram", false, true, SCRAM_SHA_1},
    {"SCRAM-SHA-1-PLUS", "libscram", true, true, SCRAM_SHA_1},
};

struct sasl_exchange {
    sasl_conn_t *conn;
    const struct mech *mech;
    const struct sasl_asks *asks;
    void *arg;
    struct buf binding;
    sasl_channel_binding_t cb;
    sasl_callback_t callbacks[6];
    bool begun, spoken;    /* libsasl2 was started; the client has sent something */
    enum err_code verdict; /* what asks said, ERR_OK when it was content or not asked */
    struct buf name;
};

static const struct mech *mech_of(struct span name)
{
    for (size_t i = 0; i < sizeof mechs / sizeof *mechs; i++)
        if (span_caseeq(name, span_str(mechs[i].name)))
            return &mechs[i];
    return NULL;
}

bool sasl_exchange_knows(struct span mech)
{
    return mech_of(mech) != NULL;
}

/* ---------------------------------------------------------------- callbacks */

/* Every option of libsasl2 is answered here; there is no file. */
static int on_option(void *context, const char *plugin, const char *option, const char **result,
                     unsigned *len)
{
    static const char *const options[][2] = {
        {"auxprop_plugin", "provmail"}, {"pwcheck_method", "provmail"}, {"canon_user_plugin", "INTERNAL"}};
    (void)context;
    (void)plugin;
    *result = NULL;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(option, options[i][0]) == 0)
            *result = options[i][1];
    if (len)
        *len = *result ? (unsigned)strlen(*result) : 0;
    return SASL_OK;
}

/* Its lines hold what strangers sent; logins are logged by whoever decides. */
static int on_log(void *context, int level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
    return SASL_OK;
}

/* Which files may be used: the plugins of our mechanisms. */
static int on_file(void *context, const char *file, sasl_verify_type_t type)
{
    const char *base = strrchr(file, '/');
    struct span name = span_str(base ? base + 1 : file);
    (void)context;
    for (size_t i = 0; type == SASL_VRFY_PLUGIN && i < sizeof mechs / sizeof *mechs; i++)
        if (span_eq(span_first(name, span_find(name, '.')), span_str(mechs[i].plugin)))
            return SASL_OK;
    return SASL_CONTINUE; /* passed over */
}

static int keep(struct sasl_exchange *x, enum err_code code)
{
    if (code == ERR_OK)
        return SASL_OK;
    x->verdict = code;
    return code == ERR_DENIED ? SASL_BADAUTH : SASL_TRYAGAIN;
}

static int on_password(sasl_conn_t *conn, void *context, const char *user, const char *pass, unsigned passlen,
                       struct propctx *propctx)
{
    struct sasl_exchange *x = context;
    (void)conn;
    (void)propctx;
    return keep(x, x->asks->check(x->arg, span_str(user), span_of(pass, passlen)));
}

/* isspace of the C locale, as libsasl2 trims names. */
static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct span trim(struct span name)
{
    while (name.n && is_blank(name.p[0]))
        name = span_drop(name, 1);
    while (name.n && is_blank(name.p[name.n - 1]))
        name.n--;
    return name;
}

/* libsasl2's own canonical form loses memory on a name that does not fit, so that a stranger could use all of
 * it up, and takes some names with leading blanks for empty ones: such names never get there. */
static int on_name(sasl_conn_t *conn, void *context, const char *in, unsigned inlen, unsigned flags,
                   const char *realm, char *out, unsigned out_max, unsigned *out_len)
{
    struct span name = trim(span_of(in, inlen));
    (void)conn;
    (void)context;
    (void)flags;
    (void)realm;
    if (name.n == 0)
        return SASL_BADAUTH;
    if (name.n > NAME_LIMIT || name.n >= out_max)
        return SASL_BADPROT;
    memmove(out, name.p, name.n);
    out[name.n] = 0;
    *out_len = (unsigned)name.n;
    return SASL_OK;
}

static int on_policy(sasl_conn_t *conn, void *context, const char *requested_user, unsigned rlen,
                     const char *auth_identity, unsigned alen, const char *realm, unsigned urlen,
                     struct propctx *propctx)
{
    struct sasl_exchange *x = context;
    struct span authzid = span_of(requested_user, rlen), authcid = span_of(auth_identity, alen);
    (void)conn;
    (void)realm;
    (void)urlen;
    (void)propctx;
    if (span_eq(authzid, authcid) || x->asks->may_act(x->arg, authcid, authzid))
        return SASL_OK;
    return keep(x, ERR_DENIED);
}

/* ---------------------------------------------------------------- keys: an auxprop plugin */

static const char keys_property[] = "*authPassword";

/* The exchange that a connection belongs to: it is the context of one of its callbacks. */
static struct sasl_exchange *exchange_of(const sasl_server_params_t *params)
{
    for (const sasl_callback_t *c = params->callbacks; c && c->id != SASL_CB_LIST_END; c++)
        if (c->id == SASL_CB_SERVER_USERDB_CHECKPASS)
            return c->context;
    return NULL;
}

static bool wants_keys(sasl_server_params_t *params)
{
    const struct propval *v = params->utils->prop_get(params->propctx);
    while (v && v->name && strcmp(v->name, keys_property) != 0)
        v++;
    return v && v->name && !v->values;
}

static int put_keys(struct sasl_exchange *x, sasl_server_params_t *params, struct span user)
{
    struct scram_keys k;
    struct buf text;
    enum err_code code = x->asks->keys(x->arg, user, x->mech->hash, &k);
    if (code != ERR_OK)
        return keep(x, code);
    buf_init(&text, SCRAM_TEXT);
    int ret = SASL_BUFOVER;
    if (scram_format(&k, &text))
        ret = params->utils->prop_set(params->propctx, keys_property, text.p, (int)text.n);
    buf_wipe(&text);
    memset(&k, 0, sizeof k);
    return ret;
}

/* The answer for nobody looks like any other (see asks.keys), so nothing here says that somebody is absent.
 */
static int on_lookup(void *context, sasl_server_params_t *params, unsigned flags, const char *user,
                     unsigned len)
{
    struct sasl_exchange *x = exchange_of(params);
    (void)context;
    if (!x || !x->mech->scram || flags & SASL_AUXPROP_AUTHZID || !wants_keys(params))
        return SASL_OK;
    return put_keys(x, params, span_of(user, len));
}

static int on_plugin(const sasl_utils_t *utils, int max_version, int *out_version,
                     sasl_auxprop_plug_t **plugin, const char *name)
{
    static sasl_auxprop_plug_t ours = {.auxprop_lookup = on_lookup, .name = "provmail"};
    (void)utils;
    (void)name;
    if (max_version < SASL_AUXPROP_PLUG_VERSION)
        return SASL_BADVERS;
    *out_version = SASL_AUXPROP_PLUG_VERSION;
    *plugin = &ours;
    return SASL_OK;
}

/* ---------------------------------------------------------------- start */

static void *mutex_new(void)
{
    pthread_mutex_t *m = xcalloc(1, sizeof *m);
    pthread_mutex_init(m, NULL);
    return m;
}

static int mutex_lock(void *m)
{
    return pthread_mutex_lock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static int mutex_unlock(void *m)
{
    return pthread_mutex_unlock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static void mutex_free(void *m)
{
    pthread_mutex_destroy(m);
    free(m);
}

/* The library's callbacks have as many types as names. */
#define PROC(fn) ((int (*)(void))(void (*)(void))(fn))

static const sasl_callback_t common_callbacks[] = {{SASL_CB_GETOPT, PROC(on_option), NULL},
                                                   {SASL_CB_LOG, PROC(on_log), NULL},
                                                   {SASL_CB_VERIFYFILE, PROC(on_file), NULL},
                                                   {SASL_CB_LIST_END, NULL, NULL}};

static bool loaded(const struct mech *m)
{
    const char **all = sasl_global_listmech();
    struct span base = span_str(m->name);
    if (m->plus)
        base.n -= strlen("-PLUS");
    for (; all && *all; all++)
        if (span_caseeq(span_str(*all), base))
            return true;
    return false;
}

enum err_code sasl_exchange_start(struct err *why)
{
    sasl_set_mutex(mutex_new, mutex_lock, mutex_unlock, mutex_free);
    /* Without a program's name it looks for no configuration file. */
    int ret = sasl_server_init(common_callbacks, NULL);
    if (ret == SASL_OK)
        ret = sasl_auxprop_add_plugin("provmail", on_plugin);
    if (ret != SASL_OK)
        return err_set(why, ERR_BUG, NULL, "libsasl2: %s", sasl_errstring(ret, NULL, NULL));
    for (size_t i = 0; i < sizeof mechs / sizeof *mechs; i++)
        if (!loaded(&mechs[i]))
            return err_set(why, ERR_MISSING, NULL, "libsasl2 has no %s: install libsasl2-modules",
                           mechs[i].name);
    return ERR_OK;
}

void sasl_exchange_end(void)
{
    sasl_done();
}

/* ---------------------------------------------------------------- exchanges */

static bool open_conn(struct sasl_exchange *x, const char *service)
{
    const sasl_callback_t callbacks[] = {{SASL_CB_GETOPT, PROC(on_option), x},
                                         {SASL_CB_LOG, PROC(on_log), x},
                                         {SASL_CB_SERVER_USERDB_CHECKPASS, PROC(on_password), x},
                                         {SASL_CB_CANON_USER, PROC(on_name), x},
                                         {SASL_CB_PROXY_POLICY, PROC(on_policy), x},
                                         {SASL_CB_LIST_END, NULL, NULL}};
    memcpy(x->callbacks, callbacks, sizeof callbacks);
    /* A host name of its own keeps it from asking the resolver for one. */
    if (sasl_server_new(service, "localhost", NULL, NULL, NULL, x->callbacks, SASL_SUCCESS_DATA, &x->conn) !=
        SASL_OK)
        return false;
    if (x->binding.n == 0)
        return true;
    x->cb = (sasl_channel_binding_t){.name = "tls-exporter",
                                     .critical = x->mech->plus,
                                     .len = x->binding.n,
                                     .data = (const unsigned char *)x->binding.p};
    return sasl_setprop(x->conn, SASL_CHANNEL_BINDING, &x->cb) == SASL_OK;
}

enum err_code sasl_exchange_new(struct span mech, const char *service, struct span binding,
                                const struct sasl_asks *asks, void *arg, struct sasl_exchange **out)
{
    const struct mech *m = mech_of(mech);
    if (!m || (m->plus && binding.n == 0))
        return ERR_SYNTAX;
    struct sasl_exchange *x = xcalloc(1, sizeof *x);
    x->mech = m;
    x->asks = asks;
    x->arg = arg;
    buf_init(&x->binding, 256);
    buf_init(&x->name, NAME_LIMIT + 1);
    if (!buf_add_span(&x->binding, binding) || !open_conn(x, service)) {
        sasl_exchange_free(&x);
        return ERR_BUG;
    }
    *out = x;
    return ERR_OK;
}

void sasl_exchange_free(struct sasl_exchange **xp)
{
    struct sasl_exchange *x = *xp;
    if (!x)
        return;
    sasl_dispose(&x->conn);
    buf_wipe(&x->binding);
    buf_free(&x->name);
    free(x);
    *xp = NULL;
}

static bool is_login(const struct sasl_exchange *x)
{
    return strcmp(x->mech->name, "LOGIN") == 0;
}

/* Is the blob fit to be shown to libsasl2? */
static bool fit(const struct sasl_exchange *x, struct span blob)
{
    bool nul = blob.n && memchr(blob.p, 0, blob.n);
    if (is_login(x)) /* its plugin forgets to free the password of a name that has no canonical form */
        return !nul && (x->spoken || (blob.n <= NAME_LIMIT && trim(blob).n));
    if (!x->mech->scram)
        return true;
    if (nul || blob.n > SCRAM_BLOB)
        return false;
    /* RFC 5802 6: "p" belongs to the -PLUS form, and to no other. */
    return x->spoken || span_starts(blob, SPAN("p=")) == x->mech->plus;
}

static enum err_code outcome(struct sasl_exchange *x, int ret)
{
    switch (ret) {
    case SASL_OK:
        return ERR_OK;
    case SASL_CONTINUE:
        return ERR_STATE;
    default:
        break;
    }
    if (x->verdict != ERR_OK)
        return x->verdict;
    switch (ret) {
    case SASL_BADPROT:
    case SASL_BADPARAM:
    case SASL_BUFOVER:
    case SASL_BADBINDING:
    case SASL_NOMECH:
        return ERR_SYNTAX;
    case SASL_NOMEM:
        return ERR_BUG;
    default:
        return ERR_DENIED;
    }
}

static int begin(struct sasl_exchange *x, struct span blob, const char **out, unsigned *n)
{
    return sasl_server_start(x->conn, x->mech->name, blob.p, (unsigned)blob.n, out, n);
}

static int feed(struct sasl_exchange *x, struct span blob, const char **out, unsigned *n)
{
    bool first = !x->begun;
    x->begun = true;
    /* LOGIN asks before it listens; a name that came with the command answers the first question. */
    if (first && is_login(x)) {
        int ret = begin(x, SPAN_NONE, out, n);
        if (ret != SASL_CONTINUE || !blob.p)
            return ret;
    } else if (first) {
        return begin(x, blob, out, n);
    }
    return sasl_server_step(x->conn, blob.p ? blob.p : "", (unsigned)blob.n, out, n);
}

static bool take_name(struct sasl_exchange *x)
{
    const void *name = NULL;
    buf_reset(&x->name);
    return sasl_getprop(x->conn, SASL_AUTHUSER, &name) == SASL_OK && name && buf_add_str(&x->name, name);
}

enum err_code sasl_exchange_step(struct sasl_exchange *x, struct span blob, struct span *challenge)
{
    const char *out = NULL;
    unsigned n = 0;
    *challenge = SPAN_NONE;
    if (blob.p && !fit(x, blob))
        return ERR_SYNTAX;
    enum err_code code = outcome(x, feed(x, blob, &out, &n));
    x->spoken = x->spoken || blob.p;
    if (code == ERR_STATE)
        *challenge = span_of(out ? out : "", n);
    else if (code == ERR_OK && out && n)
        *challenge = span_of(out, n);
    if (code == ERR_OK && !take_name(x))
        code = ERR_BUG;
    return code;
}

struct span sasl_exchange_name(const struct sasl_exchange *x)
{
    return buf_span(&x->name);
}
