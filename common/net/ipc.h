/* Frames between the suite's own processes on one machine: UNIX stream sockets, a fixed head with trailing
 * bytes, pipelined, one descriptor may ride on a frame. Host byte order (the same machine, the same build);
 * a hello frame carries IPC_VERSION, and a peer of another version is refused.
 * A receiver bounds every frame (size, type) before it believes it: a worker may be hostile. */
#ifndef PROV_NET_IPC_H
#define PROV_NET_IPC_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/net/loop.h"
#include <sys/types.h>

enum { IPC_VERSION = 1, IPC_FRAME_LIMIT = 16 << 20 };

struct ipc_head {
    uint32_t size;  /* of the whole frame, head included */
    uint16_t type;  /* of the service's own enum; bit 15: answer; 0: hello */
    uint8_t status; /* enum err_code, in answers */
    uint8_t has_fd; /* a descriptor rides on this frame */
    uint64_t seq;   /* chosen by the asker, repeated in the answer(s); 0: event */
};
enum { IPC_ANSWER = 0x8000, IPC_HELLO = 0 };

/* -- one connection, either end -- */
struct ipc;
struct ipc_ops {
    /* A frame. body is borrowed, valid inside; fd is -1 or the callee's to close. Returning false drops the
     * connection (the peer broke the protocol). body has no alignment: copy structs out of it. */
    bool (*frame)(void *arg, struct ipc *c, const struct ipc_head *h, struct span body, int fd);
    /* The connection fell (the peer closed, broke the protocol or did not read); said from the loop, once;
     * c is freed after it returns. */
    void (*gone)(void *arg, struct ipc *c);
};
/* Take over fd. */
struct ipc *ipc_new(struct loop *l, int fd, const struct ipc_ops *ops, void *arg);
/* Queue a frame: head fields type, status, seq; parts are joined as its body. fd -1 or sent and closed.
 * Frames written in one callback leave in one write. False: the peer does not read and its queue is over the
 * limit (the connection is then dropped), or the frame is over IPC_FRAME_LIMIT. */
bool ipc_send(struct ipc *c, uint16_t type, uint8_t status, uint64_t seq, const struct span *parts,
              size_t count, int fd);
/* Stop and start reading, when the asker is over its fair share. */
void ipc_reading(struct ipc *c, bool on);
/* Send what the kernel takes of the queue and close. No callback follows, gone neither; c is gone for the
 * caller. Permitted inside its own callbacks. */
void ipc_close(struct ipc *c);
/* SO_PEERCRED of a UNIX socket, read when the connection was made. */
uid_t ipc_peer_uid(const struct ipc *c);
pid_t ipc_peer_pid(const struct ipc *c);
void *ipc_arg(const struct ipc *c);
void ipc_set_arg(struct ipc *c, void *arg);
/* Bytes queued and not yet taken by the kernel. */
size_t ipc_backlog(const struct ipc *c);

/* -- a listening socket with a role -- */
struct ipc_server;
/* accept is called with each new connection whose peer's uid is 0, the own uid, or in uids; others are closed
 * and logged. It answers the ops' arg by ipc_set_arg. */
struct ipc_server *ipc_serve(struct loop *l, int listen_fd, const uid_t *uids, size_t uid_count,
                             const struct ipc_ops *ops, void (*accepted)(void *arg, struct ipc *c),
                             void *arg);
void ipc_server_free(struct ipc_server **s);
/* Make DIR (mode dir_mode, owner uid:gid when root) and bind DIR/NAME there; an old socket file is replaced.
 */
CHECK_RESULT enum err_code ipc_listen(const char *dir, const char *name, uid_t uid, gid_t gid, int *out_fd,
                                      struct err *why);
/* Connect to a socket path, non-blocking. */
CHECK_RESULT enum err_code ipc_connect(const char *path, int *out_fd, struct err *why);

/* -- a client that comes back -- */
/* Asks go out in order; when the connection falls, `down` is told, it connects again with back-off (10 ms to
 * 200 ms) through open_fd, says hello, hears the other's, and `up` is told: the owner then repeats what was
 * unanswered (the store client) or fails it with ERR_RETRY (others). */
struct ipc_client;
struct ipc_client_ops {
    /* A new connected descriptor by done(client, fd or -1): directly by ipc_connect, or through the master.
     */
    void (*open_fd)(void *arg, struct ipc_client *c);
    void (*up)(void *arg);
    void (*down)(void *arg);
    bool (*frame)(void *arg, const struct ipc_head *h, struct span body, int fd);
};
struct ipc_client *ipc_client_new(struct loop *l, const struct ipc_client_ops *ops, void *arg);
void ipc_client_opened(struct ipc_client *c, int fd);
bool ipc_client_is_up(const struct ipc_client *c);
bool ipc_client_send(struct ipc_client *c, uint16_t type, uint64_t seq, const struct span *parts,
                     size_t count, int fd);
void ipc_client_free(struct ipc_client **c);

#endif
