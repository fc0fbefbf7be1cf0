/* One IMAP session (RFC 3501 with the extensions of imap_capabilities) as a core without sockets: bytes in,
 * bytes out, a step. The shell (main.c) joins it to a connection; unit tests and the fuzzer call it directly.
 * What it asks of the store and the directory goes through their own headers and comes back by the loop. */
#ifndef PROV_IMAPD_IMAP_H
#define PROV_IMAPD_IMAP_H

#include "common/base/conf.h"
#include "common/directory/directory.h"
#include "common/net/conn.h"
#include "common/store/store.h"

struct imap;

/* What the core asks of whoever drives it. */
struct imap_host {
    void (*kick)(void *arg);                                         /* call step again, from the loop */
    void (*deadline)(void *arg, uint64_t ms, bool restart_on_input); /* as conn_deadline */
    void (*listen)(void *arg, bool on);                              /* as conn_listen_paused */
    void (*later)(void *arg, uint64_t ms);                           /* a kick after so long */
};

struct imap_start {
    const struct conf *conf;
    struct store *store;
    struct directory *directory;
    const struct imap_host *host;
    void *host_arg;
    const char *peer;   /* "192.0.2.1:1234", "unix"; copied */
    bool local;         /* a local socket of ours: as good as TLS */
    bool starttls;      /* TLS can be started */
    const char *refuse; /* greet with this BYE and close; NULL: serve */
};

/* conf, store, directory and host are borrowed for the session's life. */
struct imap *imap_new(const struct imap_start *start);
/* The functions of conn_ops. */
enum step imap_step(void *core, struct buf *in, struct buf *out);
void imap_tls_up(void *core, const struct tls_facts *facts);
void imap_timeout(void *core, struct buf *out);
/* Log the session's summary line. why: "logout", "closed by peer", ... */
void imap_summary(const struct imap *s, const char *why, uint64_t bytes_in, uint64_t bytes_out);
/* The worker stops: say BYE when the current command is done. */
void imap_stop(struct imap *s);
void imap_free(struct imap **s);

#endif
