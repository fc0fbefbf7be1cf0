/* The source of a province: an LDAP server, read whole in pages, and asked about passwords by bind. The hard
 * point is that everything here may be slow or gone: a reading that broke off is never taken for a whole one,
 * a server that is down is not asked again for a while so that logins do not pile up behind its timeout, and
 * several servers may be named, of which the one that answered last is asked first. Connections for binds are
 * kept (a handshake costs more than a bind) and serve one thread at a time. libldap is ldap_conn.c's; what
 * the attributes mean is people.c's. */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/directory/ldap_conn.h"
#include "common/directory/source_int.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SERVERS_MAX = 8,
    IDLE_MAX = 8,
    IDLE_MS = 60000, /* a kept connection is closed after this: servers and firewalls forget them too */
    DOWN_MS = 5000,  /* binds are not tried for so long after nobody answered */
    READ_TIMES = 30, /* ldap_timeout times this: a reading takes no longer, however it trickles */
    PASSWORD_LIMIT = 4096
};
/* What a system trusts, when ldap_ca_file is empty (Debian: ca-certificates). */
static const char system_ca[] = "/etc/ssl/certs/ca-certificates.crt";

/* What people.c and the address book read, and the lasting identity. */
static char *const attributes[] = {"objectClass",
                                   "entryUUID",
                                   "objectGUID",
                                   "uid",
                                   "cn",
                                   "sn",
                                   "givenName",
                                   "displayName",
                                   "mail",
                                   "mailAlternateAddress",
                                   "mailForwardingAddress",
                                   "mailQuotaBytes",
                                   "mailQuotaMessages",
                                   "mailAccountStatus",
                                   "mailSendAsMember",
                                   "mailHost",
                                   "member",
                                   "ou",
                                   "unitCode",
                                   "departmentNumber",
                                   "employeeNumber",
                                   "title",
                                   "telephoneNumber",
                                   "mobile",
                                   "description",
                                   "preferredLanguage",
                                   "userPassword",
                                   "authPassword",
                                   "pwdChangedTime",
                                   "pwdLastSet",
                                   NULL};

struct idle {
    struct ldap_conn *conn;
    uint64_t since_ms;
};
struct source_ldap {
    struct source base;
    struct ldap_server server[SERVERS_MAX];
    size_t server_n;
    char *root, *filter, *bind_dn, *ca_file; /* root: ldap_base */
    struct buf password;                     /* of bind_dn */
    unsigned page_size;

    pthread_mutex_t lock; /* all below */
    size_t good;          /* the server that answered last */
    struct idle idle[IDLE_MAX];
    size_t idle_n;
    uint64_t down_until_ms;
    struct err down_why;
};

/* ---------------------------------------------------------------- servers */

/* "ldap[s]://HOST[:PORT][/]" */
static bool parse_uri(struct span s, bool *tls, struct span *host, uint16_t *port)
{
    uint32_t number = 0;
    *tls = span_casestarts(s, SPAN("ldaps://"));
    if (!*tls && !span_casestarts(s, SPAN("ldap://")))
        return false;
    s = span_drop(s, *tls ? 8 : 7);
    if (span_ends(s, SPAN("/")))
        s.n--;
    *port = *tls ? 636 : 389;
    bool v6 = s.n && s.p[0] == '[';
    size_t end = v6 ? span_find(s, ']') : span_find(s, ':');
    if (v6 && end == s.n)
        return false;
    *host = v6 ? span_drop(span_first(s, end), 1) : span_first(s, end);
    s = span_drop(s, v6 ? end + 1 : end);
    if (s.n) {
        if (s.p[0] != ':' || !span_u32(span_drop(s, 1), &number) || number == 0 || number > 65535)
            return false;
        *port = (uint16_t)number;
    }
    return host->n && host->n < 256 && span_find(*host, '/') == host->n;
}

static bool is_loopback(struct span host)
{
    return span_starts(host, SPAN("127.")) || span_eq(host, SPAN("::1")) ||
           span_caseeq(host, SPAN("localhost"));
}

static enum err_code add_server(struct source_ldap *s, const struct conf *c, struct span uri, struct err *why)
{
    struct ldap_server *v = &s->server[s->server_n];
    struct span host = SPAN_NONE;
    uint16_t port = 0;
    struct buf url;
    if (s->server_n == SERVERS_MAX)
        return err_set(why, ERR_SYNTAX, NULL, "ldap_uri: more than %d servers", SERVERS_MAX);
    if (!parse_uri(uri, &v->tls, &host, &port))
        return err_set(why, ERR_SYNTAX, NULL, "ldap_uri: %.*s is not ldap://HOST:PORT or ldaps://HOST:PORT",
                       SPAN_ARG(uri));
    bool v6 = span_find(host, ':') < host.n;
    buf_init(&url, 512);
    if (!buf_addf(&url, "%s://%s%.*s%s:%u", v->tls ? "ldaps" : "ldap", v6 ? "[" : "", SPAN_ARG(host),
                  v6 ? "]" : "", port)) {
        buf_free(&url);
        return err_set(why, ERR_SYNTAX, NULL, "ldap_uri: too long");
    }
    v->url = xstrspan(buf_span(&url));
    buf_free(&url);
    char *name = xstrspan(host);
    v->dial = dial_new(name, port);
    free(name);
    v->starttls = !v->tls && c->ldap_starttls;
    v->ca_file = s->ca_file;
    v->timeout_ms = c->ldap_timeout;
    s->server_n++;
    if (!v->tls && !v->starttls && !is_loopback(host))
        log_event(LOG_WARN, NULL, "ldap.unprotected", F_STR("uri", v->url),
                  F_STR("why", "passwords go in the clear: ldap_starttls is no"));
    return ERR_OK;
}

static enum err_code add_servers(struct source_ldap *s, const struct conf *c, struct err *why)
{
    struct span rest = span_trim(span_str(c->ldap_uri));
    enum err_code code = ERR_OK;
    while (code == ERR_OK && rest.n) {
        struct span uri = span_trim(span_cut(&rest, ' '));
        if (uri.n)
            code = add_server(s, c, uri, why);
    }
    if (code == ERR_OK && s->server_n == 0)
        return err_set(why, ERR_SYNTAX, NULL, "ldap_uri is not set");
    return code;
}

/* ---------------------------------------------------------------- opening */

static enum err_code load_password(struct source_ldap *s, const char *path, struct err *why)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set(why, ERR_MISSING, NULL, "ldap_bind_password_file %s: %s", path, strerror(errno));
    char *to = buf_reserve(&s->password, PASSWORD_LIMIT);
    ssize_t n = read(fd, to, PASSWORD_LIMIT);
    int fault = n < 0 || fstat(fd, &st) != 0 ? errno : 0;
    close(fd);
    if (fault)
        return err_set(why, ERR_MISSING, NULL, "ldap_bind_password_file %s: %s", path, strerror(fault));
    if ((st.st_mode & S_IFMT) == S_IFREG && (st.st_mode & (S_IRWXO | S_IWGRP)))
        log_event(LOG_WARN, NULL, "ldap.password_file.open", F_STR("file", path),
                  F_STR("why", "others may read it or change it: chmod 600"));
    if (n == PASSWORD_LIMIT)
        return err_set(why, ERR_SYNTAX, NULL, "ldap_bind_password_file %s: too long", path);
    if (n > 0 && to[n - 1] == '\n')
        n--;
    if (n > 0 && to[n - 1] == '\r')
        n--;
    buf_commit(&s->password, (size_t)n);
    if (n == 0)
        return err_set(why, ERR_SYNTAX, NULL, "ldap_bind_password_file %s: it is empty", path);
    return ERR_OK;
}

static enum err_code check(struct source_ldap *s, const struct conf *c, struct err *why)
{
    enum err_code code = add_servers(s, c, why);
    if (code != ERR_OK)
        return code;
    if (!*s->root)
        return err_set(why, ERR_SYNTAX, NULL, "ldap_base is not set");
    if (!*s->filter)
        return err_set(why, ERR_SYNTAX, NULL, "ldap_filter is empty");
    if (!*s->bind_dn)
        return ERR_OK;
    if (!*c->ldap_bind_password_file)
        return err_set(why, ERR_SYNTAX, NULL, "ldap_bind_dn without ldap_bind_password_file");
    return load_password(s, c->ldap_bind_password_file, why);
}

static const struct source_ops ldap_ops;

enum err_code source_ldap_new(const struct conf *c, struct source **out, struct err *why)
{
    struct source_ldap *s = xcalloc(1, sizeof *s);
    ldap_conn_start();
    s->base.ops = &ldap_ops;
    pthread_mutex_init(&s->lock, NULL);
    buf_init(&s->password, PASSWORD_LIMIT);
    s->root = xstrdup(c->ldap_base);
    s->filter = xstrdup(c->ldap_filter);
    s->bind_dn = xstrdup(c->ldap_bind_dn);
    s->ca_file = xstrdup(*c->ldap_ca_file ? c->ldap_ca_file : system_ca);
    s->page_size = (unsigned)c->ldap_page_size;
    enum err_code code = check(s, c, why);
    struct source *base = &s->base;
    if (code != ERR_OK)
        source_free(&base);
    else
        *out = base;
    return code;
}

static void ldap_free(struct source *base)
{
    struct source_ldap *s = (struct source_ldap *)base;
    for (size_t i = 0; i < s->idle_n; i++)
        ldap_conn_close(&s->idle[i].conn);
    for (size_t i = 0; i < s->server_n; i++) {
        dial_free(&s->server[i].dial);
        free((char *)(uintptr_t)s->server[i].url);
    }
    pthread_mutex_destroy(&s->lock);
    buf_wipe(&s->password);
    free(s->root);
    free(s->filter);
    free(s->bind_dn);
    free(s->ca_file);
    free(s);
}

/* ---------------------------------------------------------------- connections */

static void mark_down(struct source_ldap *s, const struct err *why)
{
    pthread_mutex_lock(&s->lock);
    s->down_until_ms = clock_mono_ms() + DOWN_MS;
    s->down_why = *why;
    pthread_mutex_unlock(&s->lock);
}

/* Connect to the first server that answers, the one that did last time first. */
static enum err_code connect_any(struct source_ldap *s, struct ldap_conn **out, struct err *why)
{
    struct err local = {.code = ERR_OK};
    enum err_code code = ERR_RETRY;
    pthread_mutex_lock(&s->lock);
    size_t first = s->good;
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < s->server_n; i++) {
        size_t n = (first + i) % s->server_n;
        code = ldap_conn_open(&s->server[n], out, &local);
        if (code != ERR_OK)
            continue;
        pthread_mutex_lock(&s->lock);
        s->good = n;
        s->down_until_ms = 0;
        pthread_mutex_unlock(&s->lock);
        return ERR_OK;
    }
    mark_down(s, &local);
    if (why)
        *why = local;
    return code;
}

static bool is_down(struct source_ldap *s, struct err *why)
{
    pthread_mutex_lock(&s->lock);
    bool down = clock_mono_ms() < s->down_until_ms;
    if (down && why)
        *why = s->down_why;
    pthread_mutex_unlock(&s->lock);
    return down;
}

/* The connection that was used last, or NULL; those that are too old or were closed over there go. */
static struct ldap_conn *take_idle(struct source_ldap *s)
{
    for (;;) {
        struct idle i = {NULL, 0};
        pthread_mutex_lock(&s->lock);
        if (s->idle_n)
            i = s->idle[--s->idle_n];
        pthread_mutex_unlock(&s->lock);
        if (!i.conn || (clock_mono_ms() - i.since_ms < IDLE_MS && ldap_conn_usable(i.conn)))
            return i.conn;
        ldap_conn_close(&i.conn);
    }
}

static void give_back(struct source_ldap *s, struct ldap_conn *c)
{
    bool kept = false;
    if (ldap_conn_usable(c)) {
        pthread_mutex_lock(&s->lock);
        kept = s->idle_n < IDLE_MAX;
        if (kept)
            s->idle[s->idle_n++] = (struct idle){c, clock_mono_ms()};
        pthread_mutex_unlock(&s->lock);
    }
    if (!kept)
        ldap_conn_close(&c);
}

/* ---------------------------------------------------------------- reading */

struct reading {
    source_record_cb *cb;
    void *arg;
};

/* Active Directory keeps the first three groups little-endian; the text form, which other tools show, does
 * not (MS-DTYP 2.3.4.2). */
static bool guid(struct span s, struct uuid *out)
{
    static const unsigned char place[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    if (s.n != sizeof out->b)
        return false;
    for (size_t i = 0; i < sizeof place; i++)
        out->b[i] = (unsigned char)s.p[place[i]];
    return !uuid_is_none(out);
}

static bool on_record(void *arg, const struct ldif_record *r)
{
    struct reading *g = arg;
    struct uuid id;
    bool has = uuid_parse(ldif_get(r, "entryUUID"), &id) || guid(ldif_get(r, "objectGUID"), &id);
    return g->cb(g->arg, r, has ? &id : NULL);
}

static enum err_code whole(const struct source_ldap *s, const struct ldap_search *q, struct err *why)
{
    if (q->references)
        log_event(LOG_WARN, NULL, "ldap.references.passed_over", F_UINT("count", q->references),
                  F_STR("base", s->root));
    if (q->dropped)
        log_event(LOG_WARN, NULL, "ldap.values.passed_over", F_UINT("count", q->dropped),
                  F_STR("why", "with NUL, or too long"));
    if (q->unpaged)
        log_event(LOG_INFO, NULL, "ldap.unpaged", F_UINT("entries", q->entries));
    if (q->entries == 0) /* rights that hide all look just the same */
        return err_set(why, ERR_SYNTAX, NULL, "nothing below ldap_base %s fits ldap_filter, or may be seen",
                       s->root);
    return ERR_OK;
}

static enum err_code ldap_read(struct source *base, source_record_cb *cb, void *arg, struct err *why)
{
    struct source_ldap *s = (struct source_ldap *)base;
    struct ldap_conn *c = NULL;
    struct reading g = {cb, arg};
    struct ldap_search q = {.base = s->root,
                            .filter = s->filter,
                            .attributes = attributes,
                            .page_size = s->page_size,
                            .cb = on_record,
                            .arg = &g};
    enum err_code code = connect_any(s, &c, why);
    if (code == ERR_OK && *s->bind_dn)
        code = ldap_conn_bind(c, s->bind_dn, buf_span(&s->password), why);
    if (code == ERR_OK) {
        q.until_ms = clock_mono_ms() + READ_TIMES * s->server[0].timeout_ms;
        code = ldap_conn_search(c, &q, why);
    }
    if (code == ERR_OK)
        code = whole(s, &q, why);
    ldap_conn_close(&c);
    return code;
}

/* ---------------------------------------------------------------- passwords */

/* On a fresh connection; a server that cannot answer that is taken for down. */
static enum err_code bind_fresh(struct source_ldap *s, struct ldap_conn **c, const char *dn,
                                struct span password, struct err *why)
{
    enum err_code code = connect_any(s, c, why);
    if (code != ERR_OK)
        return code;
    code = ldap_conn_bind(*c, dn, password, why);
    if (ldap_conn_lost(*c))
        mark_down(s, why);
    return code;
}

static enum err_code ldap_bind_entry(struct source *base, struct span dn, struct span password,
                                     struct err *why)
{
    struct source_ldap *s = (struct source_ldap *)base;
    struct err local;
    if (dn.n == 0 || memchr(dn.p, 0, dn.n))
        return err_set(why, ERR_DENIED, NULL, "no DN to bind as");
    struct ldap_conn *c = take_idle(s);
    if (!c && is_down(s, why))
        return ERR_RETRY;
    char *name = xstrspan(dn);
    enum err_code code = ERR_RETRY;
    if (c)
        code = ldap_conn_bind(c, name, password, &local);
    if (c && ldap_conn_lost(c)) /* it may have been cut meanwhile */
        ldap_conn_close(&c);
    if (!c)
        code = bind_fresh(s, &c, name, password, &local);
    free(name);
    if (c)
        give_back(s, c);
    if (code != ERR_OK && why)
        *why = local;
    return code;
}

static const struct source_ops ldap_ops = {.read = ldap_read, .bind = ldap_bind_entry, .free = ldap_free};
