/* Friend header of daemon: what daemon.c, daemon_rights.c, listen.c, master.c and worker.c share. */
#ifndef PROV_NET_DAEMON_INT_H
#define PROV_NET_DAEMON_INT_H

#include "common/net/daemon.h"
#include "common/net/ipc_int.h"

/* The control connection between a master and its worker. */
enum control {
    CTL_STARTED = 1, /* worker: its sandbox is closed and its keepers answer (or are away): it can work */
    CTL_OPEN,        /* worker: connect me to peer (uint16_t row), answered with the descriptor */
    CTL_ACCEPTING,   /* worker: uint8_t, it takes new connections or not */
    CTL_TAKEN,       /* worker: uint32_t, so many connections were taken over since the last time */
    CTL_CONNECTION,  /* master: a connection of listener (uint16_t row) rides on this frame */
    CTL_STOP,        /* master: finish */
    CTL_RETIRE       /* master: no more connections come; let the sessions go, spread over uint64_t ms */
};

struct daemon {
    const struct daemon_spec *spec;
    struct conf *conf;
    struct conf **old_confs; /* one-process daemons keep them: strings of them may be in use */
    size_t old_conf_count;
    char *conf_file;
    struct loop *loop;
    void *arg;
    uid_t uid;
    gid_t gid;
    int pid_fd;
    int notify_fd; /* connected to NOTIFY_SOCKET, or -1 */
    bool ready;
    char *title; /* the command line's memory, for ps */
    size_t title_size;
    struct tls_ctx *tls;
    struct master *master;
};

/* -- daemon_rights.c -- */
/* As many descriptors as the system lets us have. */
void rights_raise_limits(void);
/* Give up root for uid and gid for good, and see that it is so. Does nothing when not root. */
CHECK_RESULT enum err_code rights_drop(const char *user, uid_t uid, gid_t gid, struct err *why);
/* Less likely to be ended when memory is short; needs root, silent without. */
void rights_protect_from_oom(void);
/* Connect to NOTIFY_SOCKET; -1 when there is none. */
int notify_open(void);
void notify_say(int fd, const char *text);

/* -- listen.c -- */
/* Bind "ADDR:PORT"; while an earlier process is on its way out it tries for two seconds. Adds to *fds. */
CHECK_RESULT enum err_code listen_inet(const char *address, int **fds, size_t *count, struct err *why);

/* -- master.c -- */
/* Read keys and bind, with all rights. */
CHECK_RESULT enum err_code master_open(struct daemon *d, struct err *why);
/* Fork the workers; from here on the loop does the work. */
void master_start(struct daemon *d);
void master_reload(struct daemon *d);
void master_stop(struct daemon *d);

/* -- worker.c -- */
struct worker_birth {
    struct daemon *d;
    unsigned kind; /* row of spec->workers */
    unsigned number;
    int control_fd;
    pid_t master;
};
/* The life of a worker process, from fork to exit. */
void worker_live(const struct worker_birth *b) __attribute__((noreturn));

/* -- daemon.c -- */
/* Name the process for ps and top. */
void daemon_title(struct daemon *d, const char *name);
/* The end of a process under a sandbox. */
void daemon_leave(int status) __attribute__((noreturn));
/* Enter the sandbox; a kernel without one is an alarm in the log. */
void daemon_sandbox(struct daemon *d, unsigned allow, const char *const *folders);
/* Read the configuration anew. NULL: faults are logged, go on with the old one. */
struct conf *daemon_reread(struct daemon *d);

#endif
