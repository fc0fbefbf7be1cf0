/* libldap behind a small face. The socket is ours (dial.c): libldap's own connecting resolves without a limit
 * and, after a loss, connects again by itself, in the clear. So each handle gets one connected socket, is
 * never used after a fault, and no name or password is sent unless TLS is up where it has to be. The hard
 * point is to know "that was all" from "that is all you get": every result code that is not a plain success
 * is an error here. libldap on Debian uses GnuTLS: TLS settings belong to the handle and count only after
 * LDAP_OPT_X_TLS_NEWCTX; a server named "localhost" is checked under this machine's own name. Whom to ask and
 * what entries mean is left to source_ldap.c. */
#include "common/directory/ldap_conn.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include <errno.h>
#include <ldap.h>
#include <openldap.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ANSWER_LIMIT = 32 << 20,   /* bytes of one message of the server */
    ENTRIES_LIMIT = 2000000,   /* of one search */
    EMPTY_PAGES_LIMIT = 10000, /* in a row: a filter that finds few may skip many */
};

struct ldap_conn {
    LDAP *ld;
    const struct ldap_server *server;
    int fd;               /* libldap's own */
    uint64_t until_ms;    /* monotonic: the socket gives and takes nothing after this */
    bool broken;          /* not to be used again */
    bool lost;            /* because the server went away or was silent */
    struct ldif_value *v; /* of the entry at hand */
    size_t v_cap;
};

/* ---------------------------------------------------------------- time */

/* The next step may take so long. */
static void allow(struct ldap_conn *c)
{
    c->until_ms = clock_mono_ms() + c->server->timeout_ms;
}

/* Between TLS and TCP. In a handshake libldap asks again for ever after EAGAIN, and a peer that sends one
 * byte now and then never lets a socket's own timeout run out; so time is kept here, in errors that end. */
static ber_slen_t timed_read(Sockbuf_IO_Desc *io, void *to, ber_len_t n)
{
    struct ldap_conn *c = io->sbiod_pvt;
    uint64_t now = clock_mono_ms();
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (now < c->until_ms && poll(&p, 1, (int)(c->until_ms - now)) != 0)
        return LBER_SBIOD_READ_NEXT(io, to, n);
    errno = ETIMEDOUT;
    return -1;
}

static ber_slen_t timed_write(Sockbuf_IO_Desc *io, void *from, ber_len_t n)
{
    struct ldap_conn *c = io->sbiod_pvt;
    uint64_t now = clock_mono_ms();
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};
    if (now < c->until_ms && poll(&p, 1, (int)(c->until_ms - now)) != 0)
        return LBER_SBIOD_WRITE_NEXT(io, from, n);
    errno = ETIMEDOUT;
    return -1;
}

static int timed_setup(Sockbuf_IO_Desc *io, void *arg)
{
    io->sbiod_pvt = arg;
    return 0;
}

static int timed_ctrl(Sockbuf_IO_Desc *io, int option, void *arg)
{
    return LBER_SBIOD_CTRL_NEXT(io, option, arg);
}

static Sockbuf_IO timed_io = {
    .sbi_setup = timed_setup, .sbi_ctrl = timed_ctrl, .sbi_read = timed_read, .sbi_write = timed_write};

/* ---------------------------------------------------------------- faults */

/* The server's own words; "" when it has none. Freed by the caller. */
static char *words(const struct ldap_conn *c)
{
    char *text = NULL;
    if (ldap_get_option(c->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text) != LDAP_OPT_SUCCESS)
        return NULL;
    return text;
}

/* The connection failed below the protocol: nothing more can be said on it. */
static enum err_code lost(struct ldap_conn *c, const char *what, int rc, struct err *why)
{
    char *text = words(c);
    c->broken = c->lost = true;
    enum err_code code = err_set(why, ERR_RETRY, NULL, "%s: %s: %s%s%s", c->server->url, what,
                                 ldap_err2string(rc), text && *text ? ": " : "", text ? text : "");
    ldap_memfree(text);
    return code;
}

static enum err_code out_of_bounds(struct ldap_conn *c, enum err_code code, const char *what, struct err *why)
{
    c->broken = true;
    return err_set(why, code, NULL, "%s: %s", c->server->url, what);
}

static struct timeval patience(const struct ldap_conn *c)
{
    return (struct timeval){(time_t)(c->server->timeout_ms / 1000),
                            (suseconds_t)(c->server->timeout_ms % 1000 * 1000)};
}

/* The next message of an operation. */
static enum err_code await(struct ldap_conn *c, int id, int all, const char *what, LDAPMessage **out,
                           int *type, struct err *why)
{
    struct timeval tv = patience(c);
    allow(c);
    *out = NULL;
    *type = ldap_result(c->ld, id, all, &tv, out);
    if (*type > 0)
        return ERR_OK;
    int rc = LDAP_TIMEOUT;
    if (*type < 0 && ldap_get_option(c->ld, LDAP_OPT_RESULT_CODE, &rc) != LDAP_OPT_SUCCESS)
        rc = LDAP_SERVER_DOWN;
    ldap_msgfree(*out);
    *out = NULL;
    return lost(c, what, rc == LDAP_SUCCESS ? LDAP_SERVER_DOWN : rc, why);
}

struct verdict {
    int rc;     /* result code, RFC 4511 4.1.9 */
    char *text; /* the server's, or NULL */
    LDAPControl **controls;
};

static void verdict_free(struct verdict *v)
{
    ldap_memfree(v->text);
    if (v->controls)
        ldap_controls_free(v->controls);
    *v = (struct verdict){0, NULL, NULL};
}

/* Take a result message apart, and free it. */
static enum err_code judge(struct ldap_conn *c, LDAPMessage *m, const char *what, struct verdict *out,
                           struct err *why)
{
    *out = (struct verdict){0, NULL, NULL};
    int rc = ldap_parse_result(c->ld, m, &out->rc, NULL, &out->text, NULL, &out->controls, 1);
    if (rc == LDAP_SUCCESS && out->rc >= 0)
        return ERR_OK;
    verdict_free(out);
    return lost(c, what, rc, why);
}

/* ---------------------------------------------------------------- opening */

void ldap_conn_start(void)
{
    setenv("LDAPNOINIT", "1", 1);
    LDAP *ld = NULL; /* the first handle sets the library up, which asks for this machine's name */
    if (ldap_create(&ld) == LDAP_SUCCESS)
        ldap_unbind_ext(ld, NULL, NULL);
}

static bool set_options(struct ldap_conn *c)
{
    const int version = LDAP_VERSION3, never = LDAP_DEREF_NEVER, unlimited = LDAP_NO_LIMIT;
    struct timeval tv = patience(c);
    ber_len_t most = ANSWER_LIMIT;
    Sockbuf *sb = NULL;
    return ldap_set_option(c->ld, LDAP_OPT_PROTOCOL_VERSION, &version) == LDAP_OPT_SUCCESS &&
           ldap_set_option(c->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_OPT_SUCCESS &&
           ldap_set_option(c->ld, LDAP_OPT_RESTART, LDAP_OPT_ON) == LDAP_OPT_SUCCESS &&
           ldap_set_option(c->ld, LDAP_OPT_DEREF, &never) == LDAP_OPT_SUCCESS &&
           ldap_set_option(c->ld, LDAP_OPT_SIZELIMIT, &unlimited) == LDAP_OPT_SUCCESS &&
           ldap_set_option(c->ld, LDAP_OPT_TIMEOUT, &tv) == LDAP_OPT_SUCCESS &&
           ldap_set_option(c->ld, LDAP_OPT_NETWORK_TIMEOUT, &tv) == LDAP_OPT_SUCCESS &&
           ldap_get_option(c->ld, LDAP_OPT_SOCKBUF, &sb) == LDAP_OPT_SUCCESS && sb &&
           ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &most) >= 0 &&
           ber_sockbuf_add_io(sb, &timed_io, LBER_SBIOD_LEVEL_PROVIDER, c) == 0;
}

static bool set_tls(struct ldap_conn *c)
{
    const int demand = LDAP_OPT_X_TLS_DEMAND, least = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2, client = 0;
    return ldap_set_option(c->ld, LDAP_OPT_X_TLS_CACERTFILE, c->server->ca_file) == LDAP_OPT_SUCCESS &&
           ldap_set_option(c->ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand) == LDAP_OPT_SUCCESS &&
           ldap_set_option(c->ld, LDAP_OPT_X_TLS_PROTOCOL_MIN, &least) == LDAP_OPT_SUCCESS &&
           ldap_set_option(c->ld, LDAP_OPT_X_TLS_NEWCTX, &client) == LDAP_OPT_SUCCESS;
}

/* RFC 4511 4.14. The server must agree before the handshake begins. */
static enum err_code ask_starttls(struct ldap_conn *c, struct err *why)
{
    int id = 0, type = 0, rc = ldap_start_tls(c->ld, NULL, NULL, &id);
    LDAPMessage *m = NULL;
    struct verdict v;
    if (rc != LDAP_SUCCESS)
        return lost(c, "StartTLS", rc, why);
    enum err_code code = await(c, id, LDAP_MSG_ALL, "StartTLS", &m, &type, why);
    if (code == ERR_OK)
        code = judge(c, m, "StartTLS", &v, why);
    if (code != ERR_OK)
        return code;
    if (v.rc != LDAP_SUCCESS) {
        c->broken = true;
        code = err_set(why, ERR_RETRY, NULL, "%s: StartTLS is refused: %s", c->server->url,
                       ldap_err2string(v.rc));
    }
    verdict_free(&v);
    return code;
}

static enum err_code bring_up_tls(struct ldap_conn *c, struct err *why)
{
    if (!c->server->tls && !c->server->starttls)
        return ERR_OK;
    if (access(c->server->ca_file, R_OK) != 0)
        return out_of_bounds(c, ERR_RETRY, "ldap_ca_file cannot be read", why);
    if (!set_tls(c))
        return out_of_bounds(c, ERR_RETRY, "ldap_ca_file holds no usable certificate", why);
    enum err_code code = c->server->tls ? ERR_OK : ask_starttls(c, why);
    if (code != ERR_OK)
        return code;
    allow(c);
    int rc = ldap_install_tls(c->ld);
    if (rc != LDAP_SUCCESS)
        return lost(c, "TLS failed (is its certificate for this host, and of ldap_ca_file?)", rc, why);
    return ERR_OK;
}

enum err_code ldap_conn_open(const struct ldap_server *server, struct ldap_conn **out, struct err *why)
{
    int fd = -1;
    enum err_code code = dial_connect(server->dial, server->timeout_ms, &fd, why);
    if (code != ERR_OK)
        return code;
    struct ldap_conn *c = xcalloc(1, sizeof *c);
    c->server = server;
    c->fd = fd;
    allow(c);
    int rc = ldap_init_fd(fd, LDAP_PROTO_TCP, server->url, &c->ld);
    if (rc != LDAP_SUCCESS) {
        close(fd);
        free(c);
        return err_set(why, ERR_RETRY, NULL, "%s: %s", server->url, ldap_err2string(rc));
    }
    if (!set_options(c))
        code = out_of_bounds(c, ERR_RETRY, "libldap refuses an option", why);
    if (code == ERR_OK)
        code = bring_up_tls(c, why);
    if (code != ERR_OK) {
        ldap_conn_close(&c);
        return code;
    }
    *out = c;
    return ERR_OK;
}

void ldap_conn_close(struct ldap_conn **c)
{
    if (!*c)
        return;
    if (!(*c)->lost)
        allow(*c); /* for a goodbye */
    ldap_unbind_ext((*c)->ld, NULL, NULL);
    free((*c)->v);
    free(*c);
    *c = NULL;
}

bool ldap_conn_usable(struct ldap_conn *c)
{
    struct pollfd p = {.fd = -1, .events = POLLIN};
    if (c->broken || ldap_get_option(c->ld, LDAP_OPT_DESC, &p.fd) != LDAP_OPT_SUCCESS || p.fd < 0)
        return false;
    /* Between two requests a server has nothing to say but goodbye. */
    return poll(&p, 1, 0) == 0;
}

bool ldap_conn_lost(const struct ldap_conn *c)
{
    return c->lost;
}

/* libldap connects again by itself when its socket is gone: then TLS is gone too. */
static bool is_private(struct ldap_conn *c)
{
    return (!c->server->tls && !c->server->starttls) || ldap_tls_inplace(c->ld);
}

/* ---------------------------------------------------------------- bind */

/* What a refusal says of the entry, as against the state of the server. */
static bool about_the_entry(int rc)
{
    switch (rc) {
    case LDAP_INVALID_CREDENTIALS:  /* also no such entry, locked, expired */
    case LDAP_INAPPROPRIATE_AUTH:   /* the entry has no password */
    case LDAP_NO_SUCH_OBJECT:       /* some servers tell */
    case LDAP_INVALID_DN_SYNTAX:    /* it cannot be an entry there */
    case LDAP_INSUFFICIENT_ACCESS:  /* it may not bind */
    case LDAP_CONSTRAINT_VIOLATION: /* 389 Directory Server: too many failures */
    case LDAP_UNWILLING_TO_PERFORM: /* 389 Directory Server: the account is inactive */
        return true;
    default:
        return false;
    }
}

/* Password policy's reason (draft-behera-ldap-password-policy), or NULL. */
static const char *policy_reason(struct ldap_conn *c, const struct verdict *v)
{
    LDAPControl *p =
        v->controls ? ldap_control_find(LDAP_CONTROL_PASSWORDPOLICYRESPONSE, v->controls, NULL) : NULL;
    LDAPPasswordPolicyError error = PP_noError;
    ber_int_t expire = -1, grace = -1;
    if (!p || ldap_parse_passwordpolicy_control(c->ld, p, &expire, &grace, &error) != LDAP_SUCCESS ||
        error == PP_noError)
        return NULL;
    return ldap_passwordpolicy_err2txt(error);
}

static enum err_code bind_answer(struct ldap_conn *c, const struct verdict *v, struct err *why)
{
    if (v->rc == LDAP_SUCCESS)
        return ERR_OK;
    const char *policy = policy_reason(c, v);
    bool text = v->text && *v->text;
    enum err_code code = about_the_entry(v->rc) ? ERR_DENIED : ERR_RETRY;
    c->broken = c->broken || code == ERR_RETRY;
    return err_set(why, code, NULL, "%s: bind: %s%s%s%s%s", c->server->url, ldap_err2string(v->rc),
                   policy ? ": " : "", policy ? policy : "", text ? ": " : "", text ? v->text : "");
}

enum err_code ldap_conn_bind(struct ldap_conn *c, const char *dn, struct span password, struct err *why)
{
    if (!*dn || !password.n)
        return err_set(why, ERR_DENIED, NULL, "a bind without name or password would be anonymous");
    if (!is_private(c))
        return out_of_bounds(c, ERR_RETRY, "TLS is gone", why);
    struct berval secret = {password.n, (char *)(uintptr_t)password.p};
    LDAPControl *policy = NULL, *controls[] = {NULL, NULL};
    if (ldap_create_passwordpolicy_control(c->ld, &policy) == LDAP_SUCCESS)
        controls[0] = policy;
    allow(c);
    LDAPMessage *m = NULL;
    struct verdict v;
    int id = 0, type = 0, rc = ldap_sasl_bind(c->ld, dn, LDAP_SASL_SIMPLE, &secret, controls, NULL, &id);
    ldap_control_free(policy);
    if (rc != LDAP_SUCCESS)
        return lost(c, "bind", rc, why);
    enum err_code code = await(c, id, LDAP_MSG_ALL, "bind", &m, &type, why);
    if (code == ERR_OK)
        code = judge(c, m, "bind", &v, why);
    if (code != ERR_OK)
        return code;
    code = bind_answer(c, &v, why);
    verdict_free(&v);
    return code;
}

/* ---------------------------------------------------------------- search */

static bool hold(struct ldap_conn *c, size_t count, struct span name, const struct berval *value)
{
    if (count >= LDIF_VALUE_LIMIT)
        return false;
    if (count == c->v_cap) {
        c->v_cap = c->v_cap ? 2 * c->v_cap : 64;
        c->v = xrealloc(c->v, c->v_cap * sizeof *c->v);
    }
    c->v[count] = (struct ldif_value){name, {value->bv_val, value->bv_len}};
    return true;
}

/* Text never holds NUL; an objectGUID does. */
static bool wanted(struct span name, const struct berval *value)
{
    if (value->bv_len > LDIF_LINE_LIMIT)
        return false;
    return value->bv_len == 0 || !memchr(value->bv_val, 0, value->bv_len) ||
           span_caseeq(name, SPAN("objectGUID"));
}

/* One attribute's values behind those that are held already. */
static enum err_code add_values(struct ldap_conn *c, struct ldap_search *s, struct span name,
                                const struct berval *vals, size_t *count, struct err *why)
{
    struct span plain = span_first(name, span_find(name, ';'));
    /* Active Directory gives long lists in pieces ("member;range=0-1499"); a piece is not the list. */
    size_t range = span_search(name, SPAN(";range="));
    if (range < name.n && !span_eq(span_drop(name, range), SPAN(";range=0-*")))
        return err_set(why, ERR_LIMIT, NULL, "%s: an entry's %.*s comes in pieces: raise MaxValRange",
                       c->server->url, SPAN_ARG(plain));
    for (; vals->bv_val; vals++) {
        if (!wanted(plain, vals))
            s->dropped++;
        else if (!hold(c, *count, plain, vals))
            return err_set(why, ERR_LIMIT, NULL, "%s: an entry has more than %d values", c->server->url,
                           LDIF_VALUE_LIMIT);
        else
            ++*count;
    }
    return ERR_OK;
}

struct loan { /* arrays that libldap allocated; their values lie inside the message */
    struct berval **v;
    size_t n, cap;
};

static void lend(struct loan *l, struct berval *vals)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 32;
        l->v = xrealloc(l->v, l->cap * sizeof(struct berval *));
    }
    l->v[l->n++] = vals;
}

static enum err_code collect(struct ldap_conn *c, struct ldap_search *s, LDAPMessage *m, BerElement *ber,
                             struct loan *loan, size_t *count, struct err *why)
{
    for (;;) {
        struct berval name = {0, NULL}, *vals = NULL;
        int rc = ldap_get_attribute_ber(c->ld, m, ber, &name, &vals);
        if (rc != LDAP_SUCCESS)
            return lost(c, "an entry is not well-formed", rc, why);
        if (!name.bv_val)
            return ERR_OK;
        if (!vals)
            continue;
        lend(loan, vals);
        enum err_code code = add_values(c, s, span_of(name.bv_val, name.bv_len), vals, count, why);
        if (code != ERR_OK)
            return code;
    }
}

static enum err_code on_entry(struct ldap_conn *c, struct ldap_search *s, LDAPMessage *m, struct err *why)
{
    BerElement *ber = NULL;
    struct berval dn = {0, NULL};
    struct loan loan = {NULL, 0, 0};
    size_t count = 0;
    if (++s->entries > ENTRIES_LIMIT)
        return err_set(why, ERR_LIMIT, NULL, "%s: more than %d entries", c->server->url, ENTRIES_LIMIT);
    int rc = ldap_get_dn_ber(c->ld, m, &ber, &dn);
    enum err_code code = rc == LDAP_SUCCESS ? ERR_OK : lost(c, "an entry is not well-formed", rc, why);
    if (code == ERR_OK)
        code = collect(c, s, m, ber, &loan, &count, why);
    if (code == ERR_OK) {
        struct ldif_record r = {span_of(dn.bv_val, dn.bv_len), (unsigned)s->entries, c->v, count};
        if (!s->cb(s->arg, &r))
            code = err_set(why, ERR_STATE, NULL, "%s: ended by its reader", c->server->url);
    }
    for (size_t i = 0; i < loan.n; i++)
        ldap_memfree(loan.v[i]);
    free(loan.v);
    if (ber)
        ber_free(ber, 0);
    return code;
}

/* Why a search did not give all. The advice is for whoever set the server up. */
static enum err_code refusal(struct ldap_conn *c, const struct ldap_search *s, const struct verdict *v,
                             struct err *why)
{
    static const struct {
        int rc;
        enum err_code code;
        const char *advice;
    } known[] = {
        {LDAP_SIZELIMIT_EXCEEDED, ERR_DENIED, "lift the size limit of ldap_bind_dn there"},
        {LDAP_ADMINLIMIT_EXCEEDED, ERR_DENIED,
         "lift the limits of ldap_bind_dn there, or lower ldap_page_size"},
        {LDAP_INSUFFICIENT_ACCESS, ERR_DENIED, "ldap_bind_dn may not search there"},
        {LDAP_INAPPROPRIATE_AUTH, ERR_DENIED, "ldap_bind_dn is needed"},
        {LDAP_STRONG_AUTH_REQUIRED, ERR_DENIED, "ldap_bind_dn or TLS is needed"},
        {LDAP_CONFIDENTIALITY_REQUIRED, ERR_DENIED, "TLS is needed"},
        {LDAP_NO_SUCH_OBJECT, ERR_SYNTAX, "ldap_base is not there, or ldap_bind_dn may not see it"},
        {LDAP_INVALID_DN_SYNTAX, ERR_SYNTAX, "see ldap_base"},
        {LDAP_REFERRAL, ERR_SYNTAX, "ldap_base is on another server"},
    };
    const char *advice = NULL;
    enum err_code code = ERR_RETRY;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].rc == v->rc) {
            advice = known[i].advice;
            code = known[i].code;
        }
    bool text = v->text && *v->text;
    return err_set(why, code, NULL, "%s: search broke off after %zu entries: %s%s%s%s%s%s", c->server->url,
                   s->entries, ldap_err2string(v->rc), text ? ": " : "", text ? v->text : "",
                   advice ? " (" : "", advice ? advice : "", advice ? ")" : "");
}

/* Where the next page begins; an empty cookie after the last one. Answers false when it cannot be told. */
static bool next_page(struct ldap_conn *c, const struct ldap_search *s, const struct verdict *v, bool first,
                      struct berval *cookie)
{
    ldap_memfree(cookie->bv_val);
    *cookie = (struct berval){0, NULL};
    if (s->unpaged)
        return true;
    LDAPControl *p = v->controls ? ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, v->controls, NULL) : NULL;
    ber_int_t total = 0;
    if (!p) /* a server that overlooks the control has given all at once; in the middle it is a fault */
        return first;
    return ldap_parse_pageresponse_control(c->ld, p, &total, cookie) == LDAP_SUCCESS;
}

static enum err_code ask(struct ldap_conn *c, const struct ldap_search *s, struct berval *cookie, int *id,
                         struct err *why)
{
    LDAPControl *page = NULL, *controls[] = {NULL, NULL};
    int rc = LDAP_SUCCESS;
    if (!s->unpaged)
        rc = ldap_create_page_control(c->ld, (ber_int_t)s->page_size, cookie, 1, &page);
    controls[0] = page;
    allow(c);
    if (rc == LDAP_SUCCESS)
        rc = ldap_search_ext(c->ld, s->base, LDAP_SCOPE_SUBTREE, s->filter, (char **)(uintptr_t)s->attributes,
                             0, controls, NULL, NULL, LDAP_NO_LIMIT, id);
    if (page)
        ldap_control_free(page);
    if (rc == LDAP_FILTER_ERROR)
        return out_of_bounds(c, ERR_SYNTAX, "ldap_filter is not a filter (RFC 4515)", why);
    return rc == LDAP_SUCCESS ? ERR_OK : lost(c, "search", rc, why);
}

/* All messages of one request up to its result. */
static enum err_code page(struct ldap_conn *c, struct ldap_search *s, int id, struct verdict *v,
                          struct err *why)
{
    for (;;) {
        LDAPMessage *m = NULL;
        int type = 0;
        if (clock_mono_ms() > s->until_ms)
            return lost(c, "search goes on and on", LDAP_TIMEOUT, why);
        enum err_code code = await(c, id, LDAP_MSG_ONE, "search", &m, &type, why);
        if (code != ERR_OK)
            return code;
        if (type == LDAP_RES_SEARCH_RESULT)
            return judge(c, m, "search", v, why);
        if (type == LDAP_RES_SEARCH_ENTRY)
            code = on_entry(c, s, m, why);
        else if (type == LDAP_RES_SEARCH_REFERENCE)
            s->references++;
        ldap_msgfree(m);
        if (code != ERR_OK) {
            c->broken = true; /* the rest of the answer is still on its way */
            return code;
        }
    }
}

/* A server without pages says so to the first request (the control is critical). */
static bool without_pages(const struct ldap_search *s, const struct verdict *v)
{
    return !s->unpaged && s->entries == 0 &&
           (v->rc == LDAP_UNAVAILABLE_CRITICAL_EXTENSION || v->rc == LDAP_UNWILLING_TO_PERFORM);
}

enum err_code ldap_conn_search(struct ldap_conn *c, struct ldap_search *s, struct err *why)
{
    struct berval cookie = {0, NULL};
    struct verdict v = {0, NULL, NULL};
    enum err_code code = ERR_OK;
    unsigned empty = 0;
    bool more = true;
    s->entries = s->references = s->dropped = 0;
    s->unpaged = false;
    for (bool first = true; code == ERR_OK && more;) {
        int id = 0;
        size_t before = s->entries;
        code = is_private(c) ? ask(c, s, &cookie, &id, why) : out_of_bounds(c, ERR_RETRY, "TLS is gone", why);
        if (code == ERR_OK)
            code = page(c, s, id, &v, why);
        if (code != ERR_OK)
            break;
        empty = s->entries == before ? empty + 1 : 0;
        if (without_pages(s, &v))
            s->unpaged = true;
        else if (v.rc != LDAP_SUCCESS)
            code = refusal(c, s, &v, why);
        else if (!next_page(c, s, &v, first, &cookie) || empty > EMPTY_PAGES_LIMIT)
            code = out_of_bounds(c, ERR_RETRY, "the server lost its place between two pages", why);
        else {
            first = false;
            more = cookie.bv_len != 0;
        }
        verdict_free(&v);
    }
    ldap_memfree(cookie.bv_val);
    return code;
}
