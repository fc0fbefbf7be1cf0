/* The event loop (libevent behind it): descriptors, timers, signals, deferred calls. One loop a process; all
 * callbacks run on the thread that runs it, except loop_post which any thread may call. */
#ifndef PROV_NET_LOOP_H
#define PROV_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

struct loop *loop_new(void);
void loop_free(struct loop **l);
/* Run until loop_stop. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* Watch fd (borrowed) for the wanted LOOP_* events; level triggered. */
struct loop_io *loop_io_new(struct loop *l, int fd, unsigned want, void (*cb)(void *arg, unsigned what),
                            void *arg);
void loop_io_want(struct loop_io *io, unsigned want);
void loop_io_free(struct loop_io **io);

/* A timer that is not running yet. */
struct loop_timer *loop_timer_new(struct loop *l, void (*cb)(void *arg), void *arg);
/* Run cb once after delay_ms (again replaces the earlier one). */
void loop_timer_start(struct loop_timer *t, uint64_t delay_ms);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer **t);

struct loop_signal *loop_signal_new(struct loop *l, int signum, void (*cb)(void *arg), void *arg);
void loop_signal_free(struct loop_signal **s);

/* Run cb once from the loop, after the current callback. */
void loop_defer(struct loop *l, void (*cb)(void *arg), void *arg);
/* The same from any thread: a batch of posts costs one wake-up. */
void loop_post(struct loop *l, void (*cb)(void *arg), void *arg);
/* cb runs at the end of each round of the loop in which any callback ran: the place where a batch is closed.
 * NULL takes it away. */
void loop_round_end(struct loop *l, void (*cb)(void *arg), void *arg);

#endif
