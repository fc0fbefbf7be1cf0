/* One stream connection of a session, with or without TLS, joined to a protocol core. The core has no
 * sockets: conn hands it the bytes that have come and takes the bytes that it wants to send.
 *
 * The step function is called while there is input (or after conn_kick) and output is below the high mark.
 * It consumes from in what it understands and appends its answers to out, and says how to go on:
 *   STEP_NEED_INPUT  nothing more can be done with what is in `in`: call again when more has come
 *   STEP_AGAIN       call again at once (progress was made; conn flushes and is fair to others)
 *   STEP_PAUSED      an answer from elsewhere is awaited: call again only after conn_kick; reading stops
 *   STEP_STARTTLS    send out, then start TLS as the server; bytes waiting in `in` end the session
 *   STEP_CLOSE       send out, then close */
#ifndef PROV_NET_CONN_H
#define PROV_NET_CONN_H

#include "common/base/buf.h"
#include "common/net/loop.h"
#include "common/net/tls.h"
#include <sys/socket.h>

struct conn;

enum step { STEP_NEED_INPUT, STEP_AGAIN, STEP_PAUSED, STEP_STARTTLS, STEP_CLOSE };

enum conn_end {
    CONN_END_CLOSED,  /* by our STEP_CLOSE, all sent */
    CONN_END_EOF,     /* the peer closed */
    CONN_END_TIMEOUT, /* the deadline passed and on_timeout asked for the end */
    CONN_END_ERROR,   /* read, write or TLS failed: conn_error says what */
    CONN_END_LIMIT    /* the input limit was passed without the core consuming */
};

struct conn_ops {
    /* eof: the peer has ended its side; no more input comes. */
    enum step (*step)(void *core, struct buf *in, struct buf *out);
    /* TLS is up (implicit or after STARTTLS): learn the facts and forget what was learnt in the clear. */
    void (*tls_up)(void *core, const struct tls_facts *facts);
    /* The deadline passed: may append a farewell to out; the connection then closes. */
    void (*on_timeout)(void *core, struct buf *out);
    /* The end, called exactly once; the conn is freed after it returns. */
    void (*closed)(void *core, enum conn_end why);
};

struct conn_limits {
    size_t input_bytes;  /* most that waits in `in` (default 64 KiB) */
    size_t output_high;  /* step is not called above this (default 256 KiB) */
    size_t output_bytes; /* ceiling of out: a core that would pass it is broken (default 64 MiB) */
    bool gather; /* while step is paused and more input waits, out is held: a client that sent commands in one
                  * go gets their answers in one (RFC 2920 3.2). For cores whose answers come all at once. */
};

/* Take over fd (connected, any blocking mode). tls: context for STARTTLS or implicit TLS, may be NULL,
 * borrowed until the end. implicit_tls: the handshake comes first; step runs after tls_up. Deadline starts at
 * first_deadline_ms. step is first called from the loop with empty input (so that the core can greet). */
struct conn *conn_new(struct loop *l, int fd, struct tls_ctx *tls, bool implicit_tls,
                      const struct conn_ops *ops, void *core,
                      const struct conn_limits *limits /* NULL: defaults */, uint64_t first_deadline_ms);
/* An answer has come: call step again, from the loop. Harmless when the session is not paused. */
void conn_kick(struct conn *c);
/* Replace the deadline: on_timeout after ms of waiting for the peer from now on (it is pushed forward by
 * every byte that comes if restart_on_input). */
void conn_deadline(struct conn *c, uint64_t ms, bool restart_on_input);
/* Append to out from outside of step (IDLE, farewell) with conn_out, then conn_flush. */
struct buf *conn_out(struct conn *c);
void conn_flush(struct conn *c);
/* Send what waits in out, then close. */
void conn_finish(struct conn *c);
/* Close at once. closed is called from the loop. */
void conn_abort(struct conn *c);
/* While paused, watch for the peer going away or for input (IDLE): step is called on input although paused.
 */
void conn_listen_paused(struct conn *c, bool on);
/* For a paused core: whether input is waiting that has not been handed to it; whether the peer has closed. */
bool conn_eof(const struct conn *c);
const char *conn_error(const struct conn *c);
/* "192.0.2.1:1234", "[2001:db8::1]:25", "unix" */
const char *conn_peer(const struct conn *c);
const char *conn_local(const struct conn *c);
/* Raw COMPRESS or other layers come here later. Bytes in and out so far, as the peer saw them. */
uint64_t conn_bytes_in(const struct conn *c);
uint64_t conn_bytes_out(const struct conn *c);

#endif
