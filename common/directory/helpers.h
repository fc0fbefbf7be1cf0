/* A few threads for work that would hold up the loop: slow hashes, LDAP binds. */
#ifndef PROV_DIRECTORY_HELPERS_H
#define PROV_DIRECTORY_HELPERS_H

#include "common/net/loop.h"
#include <stddef.h>

struct helpers;
/* Threads are started as they are needed, threads_max at most; queue_max pieces of work may wait for one. */
struct helpers *helpers_new(struct loop *l, size_t threads_max, size_t queue_max);
/* Run work(arg) in a thread, then done(arg) in the loop. False: too much is waiting; neither will be called.
 * From the loop only. */
bool helpers_run(struct helpers *h, void (*work)(void *arg), void (*done)(void *arg), void *arg)
    __attribute__((warn_unused_result));
/* Pieces of work whose done has not been called. From the loop only. */
size_t helpers_busy(const struct helpers *h);
/* From inside work: run ask(arg) in the loop and wait for its end. */
void helpers_ask(struct helpers *h, void (*ask)(void *arg), void *arg);
/* Nothing may be under way. */
void helpers_free(struct helpers **h);

#endif
