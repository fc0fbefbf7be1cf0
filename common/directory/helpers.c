/* Threads that take work from one list. The hard point is the way back: the people of directoryd belong to
 * the loop, so a thread that needs one of them asks the loop and waits (helpers_ask); the loop itself never
 * waits for a thread. */
#include "common/directory/helpers.h"
#include "common/base/buf.h"
#include "common/base/log.h"
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
    struct helpers *h;
    void (*work)(void *arg), (*done)(void *arg);
    void *arg;
    struct job *next;
};
struct helpers {
    struct loop *loop;
    size_t threads_max, queue_max;
    size_t busy; /* the loop's */
    pthread_t *thread;
    size_t threads;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t wake;
    struct job *first, **last;
    size_t queued, idle;
    bool end;
};

struct helpers *helpers_new(struct loop *l, size_t threads_max, size_t queue_max)
{
    struct helpers *h = xcalloc(1, sizeof *h);
    h->loop = l;
    h->threads_max = threads_max;
    h->queue_max = queue_max;
    h->thread = xcalloc(threads_max, sizeof *h->thread);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    h->last = &h->first;
    return h;
}

static void on_done(void *arg)
{
    struct job *j = arg;
    j->h->busy--;
    j->done(j->arg);
    free(j);
}

static void *helper_main(void *arg)
{
    struct helpers *h = arg;
    pthread_setname_np(pthread_self(), "login");
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->first && !h->end) {
            h->idle++;
            pthread_cond_wait(&h->wake, &h->lock);
            h->idle--;
        }
        if (!h->first)
            break;
        struct job *j = h->first;
        h->first = j->next;
        if (!h->first)
            h->last = &h->first;
        h->queued--;
        pthread_mutex_unlock(&h->lock);
        j->work(j->arg);
        loop_post(h->loop, on_done, j);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* Another thread, when those that are there may not suffice. */
static void grow(struct helpers *h, bool needed)
{
    if (!needed || h->threads == h->threads_max)
        return;
    int ret = pthread_create(&h->thread[h->threads], NULL, helper_main, h);
    if (ret == 0)
        h->threads++;
    else
        log_event(LOG_ERROR, NULL, "directory.helper.failed", F_STR("why", strerror(ret)));
}

bool helpers_run(struct helpers *h, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    pthread_mutex_lock(&h->lock);
    bool room = h->queued < h->queue_max, needed = h->idle <= h->queued;
    pthread_mutex_unlock(&h->lock);
    if (room)
        grow(h, needed);
    if (!room || h->threads == 0)
        return false;
    struct job *j = xcalloc(1, sizeof *j);
    *j = (struct job){h, work, done, arg, NULL};
    h->busy++;
    pthread_mutex_lock(&h->lock);
    *h->last = j;
    h->last = &j->next;
    h->queued++;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return true;
}

size_t helpers_busy(const struct helpers *h)
{
    return h->busy;
}

struct question {
    void (*ask)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool answered;
};

static void on_question(void *arg)
{
    struct question *q = arg;
    q->ask(q->arg);
    pthread_mutex_lock(&q->lock);
    q->answered = true;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->lock);
}

void helpers_ask(struct helpers *h, void (*ask)(void *arg), void *arg)
{
    struct question q = {.ask = ask, .arg = arg};
    pthread_mutex_init(&q.lock, NULL);
    pthread_cond_init(&q.wake, NULL);
    loop_post(h->loop, on_question, &q);
    pthread_mutex_lock(&q.lock);
    while (!q.answered)
        pthread_cond_wait(&q.wake, &q.lock);
    pthread_mutex_unlock(&q.lock);
    pthread_cond_destroy(&q.wake);
    pthread_mutex_destroy(&q.lock);
}

void helpers_free(struct helpers **hp)
{
    struct helpers *h = *hp;
    if (!h)
        return;
    assert(h->busy == 0);
    pthread_mutex_lock(&h->lock);
    h->end = true;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
    for (size_t i = 0; i < h->threads; i++)
        pthread_join(h->thread[i], NULL);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h->thread);
    free(h);
    *hp = NULL;
}
