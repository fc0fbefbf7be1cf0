/* The flush of the log that makes a batch durable, and what waits for it. Nothing of a batch is told before.
 * When nobody else waits the writer flushes by itself: a hand-over costs a lone message more than it brings.
 * Else the flusher does, and the writer goes on with the next batch meanwhile: its contents, its
 * transactions. The hard point is how far it may go ahead: one batch. While a disk stands still in a flush,
 * what is behind that batch is not begun, and whoever asked for it can be told so. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include <assert.h>

/* Tell those who wait for them; the others stay in the list. */
static void end_inside(struct engine *e, struct job **list)
{
    bool any = false;
    pthread_mutex_lock(&e->lock);
    for (struct job **at = list; *at;) {
        struct job *j = *at;
        if (!j->inside) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        j->next = NULL;
        j->ended = any = true; /* it may be freed as soon as the lock is let go */
    }
    if (any)
        pthread_cond_broadcast(&e->inside_done);
    pthread_mutex_unlock(&e->lock);
}

/* By one thread at a time. */
static void flush_log(struct engine *e)
{
    FAULT_STEP("store.batch.committed");
    const uint64_t begin_us = tick_us();
    if (!FAULT("store.log.forgotten")) /* a wrong store, which the crash harness must find out */
        env_log_flush(e);
    FAULT_STEP("store.batch.flushed");
    tick_count(begin_us, &e->count.flushes, &e->count.flush_us, &e->count.flush_max_us);
}

static void settle(struct engine *e, struct news *n)
{
    if (n->commits)
        flush_log(e);
    atomic_store(&e->durable, n->durable);
    end_inside(e, &n->jobs);
    e->o.done(e->o.arg, n);
}

void flush_after(struct engine *e, struct news *n)
{
    pthread_mutex_lock(&e->lock);
    assert(!e->to_flush); /* flush_turn */
    const bool alone = !e->first && !e->flushing;
    if (!alone) {
        e->to_flush = n;
        pthread_cond_signal(&e->flush_work);
    }
    pthread_mutex_unlock(&e->lock);
    if (alone)
        settle(e, n);
}

void flush_turn(struct engine *e)
{
    while (e->to_flush)
        pthread_cond_wait(&e->flush_taken, &e->lock);
}

void flush_end(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->flush_ends = true;
    pthread_cond_signal(&e->flush_work);
    pthread_mutex_unlock(&e->lock);
}

void *flusher_main(void *engine)
{
    struct engine *e = engine;
    pthread_setname_np(pthread_self(), "flusher");
    pthread_mutex_lock(&e->lock);
    for (;;) {
        while (!e->to_flush && !e->flush_ends)
            pthread_cond_wait(&e->flush_work, &e->lock);
        struct news *n = e->to_flush;
        if (!n)
            break;
        e->to_flush = NULL;
        e->flushing = true;
        pthread_cond_signal(&e->flush_taken);
        pthread_mutex_unlock(&e->lock);
        settle(e, n);
        pthread_mutex_lock(&e->lock);
        e->flushing = false;
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}
