/* One connection to an LDAP server: the only place that knows libldap. All calls block, with the server's
 * timeout for each answer; a connection belongs to one thread at a time. */
#ifndef PROV_DIRECTORY_LDAP_CONN_H
#define PROV_DIRECTORY_LDAP_CONN_H

#include "common/directory/dial.h"
#include "common/directory/ldif.h"

struct ldap_conn;

/* What is told about a server; borrowed by its connections, for their whole life. */
struct ldap_server {
    struct dial *dial;
    const char *url;     /* ldap://HOST:PORT or ldaps://HOST:PORT: names the host for its certificate */
    bool tls, starttls;  /* TLS from the first byte; or StartTLS, without which nothing else is said */
    const char *ca_file; /* PEM */
    uint64_t timeout_ms;
};

/* Call once at start, before there are threads: libldap shall read no ldap.conf, no .ldaprc and no
 * environment. */
void ldap_conn_start(void);

/* Connect, with TLS up and the certificate checked against the host's name when the server has tls or
 * starttls (RFC 4513 3.1.3). ERR_OK; ERR_RETRY: down, silent, or not to be trusted: why tells. */
CHECK_RESULT enum err_code ldap_conn_open(const struct ldap_server *server, struct ldap_conn **out,
                                          struct err *why);
void ldap_conn_close(struct ldap_conn **c);
/* Can it be used for another request? No after a timeout or a loss, and when the server has closed it. */
bool ldap_conn_usable(struct ldap_conn *c);
/* Did the server go away, or not answer in time? */
bool ldap_conn_lost(const struct ldap_conn *c);

/* Simple bind. dn and password must not be empty. ERR_OK; ERR_DENIED: the server knows that this is not the
 * password, or that this entry may not use it (expired, locked); ERR_RETRY: it could not say. */
CHECK_RESULT enum err_code ldap_conn_bind(struct ldap_conn *c, const char *dn, struct span password,
                                          struct err *why);

struct ldap_search {
    const char *base, *filter;
    char *const *attributes; /* NULL-ended */
    unsigned page_size;
    uint64_t until_ms;  /* monotonic: all of it is there by then */
    ldif_record_cb *cb; /* record: borrowed inside; line is the number of the entry, from 1 */
    void *arg;
    /* results */
    size_t entries, references, dropped; /* dropped: values with NUL, or over LDIF_LINE_LIMIT */
    bool unpaged;                        /* the server has no paged results */
};
/* Search the subtree in pages (RFC 2696), in one piece where the server has no pages. Referrals are counted,
 * not followed. ERR_OK: that was all; ERR_STATE: cb ended it; ERR_RETRY: broke off; ERR_SYNTAX, ERR_DENIED,
 * ERR_LIMIT: the server answers, but does not give all of it. */
CHECK_RESULT enum err_code ldap_conn_search(struct ldap_conn *c, struct ldap_search *s, struct err *why);

#endif
