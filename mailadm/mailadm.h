/* What the subcommands of mailadm share. Each answers a sysexits number and prints one sentence when it
 * fails. */
#ifndef PROV_MAILADM_H
#define PROV_MAILADM_H

#include "common/base/conf.h"
#include "common/base/span.h"
#include <limits.h>

struct adm {
    const char *file; /* --config */
    bool json;        /* --json: listings as one JSON value */
};

/* Read adm->file; on a fault print it and answer the number to exit with, else EX_OK and *out. */
int adm_conf(const struct adm *a, struct conf **out);
/* Write all of it; false: errno says why (ENOSPC where nothing is taken). */
bool adm_write(int fd, struct span bytes);
/* Print s as a JSON string. */
void adm_json(const char *s);

/* The process that holds the lock of a daemon's pid file, 0: it does not run, -1: cannot be said. */
long adm_holder(const char *run_dir, const char *program);
/* The path of another program of the suite; NULL, errno set: it is not found. */
const char *adm_program(const char *name, char out[PATH_MAX]);

/* How many queue entries wait since a restore; false: stored cannot be asked. */
bool adm_queue_held(const struct adm *a, unsigned long long *held);

/* argv[0] is the subcommand's last word. */
int adm_supervise(const struct adm *a, int argc, char **argv);
int adm_status(const struct adm *a, int argc, char **argv);
int adm_config_check(const struct adm *a, int argc, char **argv);
int adm_config_sample(const struct adm *a, int argc, char **argv);
int adm_config_man(const struct adm *a, int argc, char **argv);
int adm_store_stats(const struct adm *a, int argc, char **argv);
int adm_restore(const struct adm *a, int argc, char **argv);
int adm_restore_set(const struct adm *a, int argc, char **argv);
int adm_backup(const struct adm *a, int argc, char **argv);
int adm_backup_key(const struct adm *a, int argc, char **argv);
int adm_backup_verify(const struct adm *a, int argc, char **argv);
int adm_queue_release(const struct adm *a, int argc, char **argv);
int adm_undelete(const struct adm *a, int argc, char **argv);
int adm_store_verify(const struct adm *a, int argc, char **argv);
int adm_store_purge(const struct adm *a, int argc, char **argv);
int adm_store_compact(const struct adm *a, int argc, char **argv);
int adm_account_hold(const struct adm *a, int argc, char **argv);
int adm_store_upgrade(const struct adm *a, int argc, char **argv);
int adm_trace(const struct adm *a, int argc, char **argv);
int adm_mailbox_list(const struct adm *a, int argc, char **argv);
int adm_account_list(const struct adm *a, int argc, char **argv);
int adm_quota_list(const struct adm *a, int argc, char **argv);
int adm_quota_show(const struct adm *a, int argc, char **argv);
int adm_account_show(const struct adm *a, int argc, char **argv);
int adm_directory_status(const struct adm *a, int argc, char **argv);
int adm_directory_sync(const struct adm *a, int argc, char **argv);
int adm_import_mbox(const struct adm *a, int argc, char **argv);
int adm_import_maildir(const struct adm *a, int argc, char **argv);
int adm_import_imap(const struct adm *a, int argc, char **argv);
int adm_export(const struct adm *a, int argc, char **argv);
int adm_directory_import(const struct adm *a, int argc, char **argv);

#endif
