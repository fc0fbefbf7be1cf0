/* Friend header of conn: its state, shared by conn.c (the session's course) and conn_io.c (bytes). */
#ifndef PROV_NET_CONN_INT_H
#define PROV_NET_CONN_INT_H

#include "common/net/conn.h"
#include "common/net/tls_int.h"

/* OPEN -> HANDSHAKE (implicit TLS at birth) -> OPEN; OPEN -> UPGRADE (STARTTLS: the answer leaves in the
 * clear) -> HANDSHAKE -> OPEN; any -> CLOSING (what waits in out leaves) -> ENDED. */
enum conn_phase { CONN_OPEN, CONN_UPGRADE, CONN_HANDSHAKE, CONN_CLOSING, CONN_ENDED };

struct conn {
    struct loop *loop;
    int fd;
    struct loop_io *io;
    struct tls_ctx *tls_ctx;
    struct tls_session *tls;
    const struct conn_ops *ops;
    void *core;
    struct buf in, out;
    size_t output_high;
    bool gather;
    size_t read_size; /* next read asks for so much: small for the idle, large for streams */

    enum conn_phase phase;
    enum conn_end why;
    bool paused, kicked, listen_paused;
    bool eof;
    bool fresh;                              /* input or a kick since the last step */
    bool readable;                           /* the descriptor may have more */
    bool blocked;                            /* the last write would have waited */
    bool read_wants_write, write_wants_read; /* TLS in between */
    bool queued;                             /* a deferred run is under way */
    bool running;                            /* inside conn_run: kicks from step need no second run */
    bool dead;                               /* freed; the deferred run takes the memory */

    struct loop_timer *timer;
    uint64_t deadline_ms, due_ms; /* 0: none */
    bool restart_on_input;

    uint64_t bytes_in, bytes_out;
    char peer[64], local[64];
    char error[200];
};

enum conn_io { CONN_IO_OK, CONN_IO_WAIT, CONN_IO_EOF, CONN_IO_ERROR };

/* Read once into c->in, up to its limit. OK: some bytes came. WAIT: none now, or no room. */
enum conn_io conn_io_read(struct conn *c);
/* Write what waits in c->out, as far as the kernel takes it. OK: out is empty. */
enum conn_io conn_io_write(struct conn *c);
enum conn_io conn_io_handshake(struct conn *c);
/* Fill in peer and local, set the socket's options. */
void conn_io_prepare(struct conn *c);
/* Close fd so that what was sent still reaches a peer that goes on sending: half-close, read away what
 * comes for a second at most, close. Takes over fd. */
void conn_io_linger(struct loop *l, int fd);

#endif
