/* The session workers of smtpd: connections joined to the protocol core, the directory and the store. */
#ifndef PROV_SMTPD_SESSION_H
#define PROV_SMTPD_SESSION_H

#include "common/net/daemon.h"

/* Rows of daemon_workers: see there. */
void *session_worker_start(struct worker *w);
void session_worker_accepted(void *arg, int fd, const struct daemon_listen *on, struct tls_ctx *tls);
void session_worker_stop(void *arg);

#endif
