/* The delivery worker of smtpd: files queue entries (messages for large groups, and for mailboxes that were
 * full) in slices. */
#ifndef PROV_SMTPD_DELIVERY_H
#define PROV_SMTPD_DELIVERY_H

#include "common/directory/directory.h"
#include "common/net/daemon.h"
#include "common/store/store.h"

/* Rows of daemon_workers: see there. */
void *delivery_worker_start(struct worker *w);
void delivery_worker_stop(void *arg);
/* For tests: processes end without it. */
void delivery_worker_free(void *arg);

#endif
