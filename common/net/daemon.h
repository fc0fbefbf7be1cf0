/* What every daemon does alike: options, configuration, log, listeners, users, workers, signals, readiness.
 *
 * Command line of all: PROGRAM --config FILE [--foreground is the only mode] [--check] [--version] [--help].
 * A start that fails says one sentence on stderr with a sysexits number. Readiness: "READY=1" to
 * NOTIFY_SOCKET (systemd's protocol, which `mailadm supervise` speaks too). RUN_DIR/PROGRAM.pid holds the
 * master's id.
 *
 * A master (smtpd, imapd) binds, reads keys, drops to its user, and forks workers that die with it. It starts
 * a worker again when one ends (back-off 10 ms to 1 s), on SIGHUP (or a changed certificate, looked at each
 * minute) it starts new workers with the new configuration and lets the old ones finish their sessions, those
 * that can retire within reload_grace; SIGTERM ends all after their current commands (5 s at most). Workers
 * cannot connect to anything: the master opens the sockets of stored and directoryd for them and passes the
 * descriptors. */
#ifndef PROV_NET_DAEMON_H
#define PROV_NET_DAEMON_H

#include "common/base/conf.h"
#include "common/net/ipc.h"
#include "common/net/loop.h"
#include "common/net/tls.h"

struct daemon;
struct worker;

/* A group of listeners, all handled alike. */
struct daemon_listen {
    const char *name; /* "smtp", "submission": for logs and for worker->accepted */
    struct conf_list (*addresses)(const struct conf *c); /* NULL: unix_name is used */
    const char *unix_name;                               /* UNIX socket RUN_DIR/PROGRAM/NAME, or NULL */
    bool tls, implicit_tls; /* the certificate is needed; the handshake comes first */
    const char *(*unix_owner)(
        const struct conf *c); /* user whose processes may connect, or NULL: only our own */
};

/* A socket that workers are connected to through the master: RUN_DIR/PATH. */
struct daemon_peer {
    const char *name; /* "store", "directory" */
    const char *path; /* "store/deliver/sock" */
};

/* Kinds of workers: session workers accept; others (delivery, relay) have no listeners. */
struct daemon_workers {
    const char *name; /* in the process title and log: "session", "delivery" */
    unsigned (*count)(const struct conf *c);
    const struct daemon_listen *listens; /* ended by a row with name NULL; NULL: none */
    const struct daemon_peer *peers;     /* the same */
    unsigned sandbox;                    /* SANDBOX_* of sandbox.h */
    /* In the worker, before the sandbox closes: make the worker's state; the answer is worker_arg. */
    void *(*start)(struct worker *w);
    /* A new connection on a listener. The callee owns fd. tls is NULL where the listener has none. */
    void (*accepted)(void *worker_arg, int fd, const struct daemon_listen *on, struct tls_ctx *tls);
    /* Stop soon: finish what is under way, then worker_done. */
    void (*stop)(void *worker_arg);
    /* New workers are there: no more connections come; within grace_ms send the sessions away one after the
     * other, then worker_done. stop may follow. NULL: stop at once. */
    void (*retire)(void *worker_arg, uint64_t grace_ms);
};

struct daemon_spec {
    const char *program; /* "smtpd" */
    const char *(*user)(const struct conf *c);
    const struct daemon_workers *workers; /* ended by a row with name NULL; NULL: a daemon of one process */
    /* A daemon of one process (stored, directoryd): open everything (still with all rights), then
     * *out_arg. Listening sockets of roles are made here through ipc_listen. */
    enum err_code (*open)(struct daemon *d, struct err *why);
    unsigned sandbox;                 /* of the one process, or of the master */
    void (*stop)(struct daemon *d);   /* SIGTERM: finish, then daemon_done */
    void (*reload)(struct daemon *d); /* SIGHUP, may be NULL */
};

/* main of every daemon; answers the exit status. */
int daemon_main(const struct daemon_spec *spec, int argc, char **argv);

const struct conf *daemon_conf(const struct daemon *d);
struct loop *daemon_loop(struct daemon *d);
void daemon_set_arg(struct daemon *d, void *arg);
void *daemon_arg(struct daemon *d);
/* The loop may end: the process exits with status 0. */
void daemon_done(struct daemon *d);
/* One-process daemons call it when they can answer; masters are ready when all workers have started. */
void daemon_ready(struct daemon *d);
/* uid and gid of a user of the configuration; the own ones when not started as root. */
CHECK_RESULT enum err_code daemon_ids(const char *user, uid_t *uid, gid_t *gid, struct err *why);

const struct conf *worker_conf(const struct worker *w);
struct loop *worker_loop(struct worker *w);
unsigned worker_number(const struct worker *w);
void worker_done(struct worker *w);
/* Stop and start accepting (all listeners of this worker), when it is full. */
void worker_accepting(struct worker *w, bool on);
/* An ipc_client to the named peer of this worker's row, connected through the master. arg is handed to up,
 * down and frame; open_fd of ops is filled in here. */
struct ipc_client *worker_client(struct worker *w, const char *peer, const struct ipc_client_ops *ops,
                                 void *arg);

#endif
