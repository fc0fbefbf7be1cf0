/* Friend header of ipc: what the files of ipc and daemon share. */
#ifndef PROV_NET_IPC_INT_H
#define PROV_NET_IPC_INT_H

#include "common/net/ipc.h"

/* As ipc_new; hello is called once, when the peer's version has been read and fits. */
struct ipc *ipc_new_hello(struct loop *l, int fd, const struct ipc_ops *ops, void *arg,
                          void (*hello)(void *arg, struct ipc *c));

/* As ipc_client_new, with open_fd's argument apart from the owner's. forget (or NULL) is called when the
 * client is freed: an answer that is still on its way must not reach it. */
struct ipc_client *ipc_client_new_opener(struct loop *l, const struct ipc_client_ops *ops, void *arg,
                                         void (*open_fd)(void *open_arg, struct ipc_client *c),
                                         void (*forget)(void *open_arg, struct ipc_client *c),
                                         void *open_arg);

/* Accept one connection, close-on-exec and non-blocking. The descriptor, or -1 with errno set. */
int ipc_accept(int listen_fd);
/* Whether the process at the other end of fd runs as root, as ourselves, or as one of uids. */
bool ipc_peer_allowed(int fd, const uid_t *uids, size_t count, uid_t *out_uid);
/* As ipc_listen, with the modes and the folder's owner given (the owners count when root makes them). */
CHECK_RESULT enum err_code ipc_listen_mode(const char *dir, mode_t dir_mode, uid_t dir_uid, const char *name,
                                           mode_t mode, uid_t uid, gid_t gid, int *out_fd, struct err *why);

#endif
