/* The supervisor's state, between its course (supervise.c) and its setting up (supervise_open.c). */
#ifndef PROV_MAILADM_SUPERVISE_H
#define PROV_MAILADM_SUPERVISE_H

#include "common/net/loop.h"
#include <stddef.h>
#include <sys/types.h>

enum child_state { CHILD_WAITING, CHILD_STARTING, CHILD_UP, CHILD_BACKOFF, CHILD_GONE };

struct super;
struct child {
    struct super *super;
    const char *name;
    char path[4096];     /* a daemon's program */
    const char *command; /* or a shell command, which is ready when it has started */
    enum child_state state;
    bool was_up, told; /* was ready once; has its SIGTERM */
    pid_t pid;         /* 0: no process */
    uint64_t started_ms, backoff_ms;
    struct loop_timer *timer, *kill_timer;
};

enum { SUPER_CHILDREN = 16 };
struct super {
    struct loop *loop;
    const char *file; /* of the configuration */
    struct child children[SUPER_CHILDREN];
    size_t count;
    int notify_fd; /* where children say READY=1 */
    int ready_fd;  /* a byte there tells the waiting parent that all are ready; -1: nobody waits */
    bool detached; /* nobody's terminal: output goes to the log */
    bool stopping, all_up;
    int status;
    pid_t self;
};

/* Run until SIGTERM; answers the exit status. */
int super_run(struct super *s);
/* Begin to stop, with this exit status at the end. */
void super_stop(struct super *s, int status);
void child_is_up(struct super *s, struct child *c);
/* Input from nowhere, output to the log: of each child at its start, of the supervisor when all are ready, so
 * that the caller of a detached start sees why it failed. */
void leave_terminal(void);
/* All were ready once. */
void super_ready(struct super *s);

#endif
