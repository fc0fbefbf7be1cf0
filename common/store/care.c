/* The care thread: checkpoints, what is old, and what backups hold back.
 * The hard point is to be in nobody's way: what writes goes through the writer in small slices, and only so
 * often that it takes a bounded share of its time. */
#include "common/store/engine_int.h"
#include <stdio.h>
#include <stdlib.h>

enum { CARE_TICK_MS = 100 };

/* -- holds -- */

static uint32_t oldest_log(struct engine *e)
{
    char **files = NULL;
    unsigned number = 1, least = UINT32_MAX;
    if (e->env->log_archive(e->env, &files, DB_ARCH_LOG) == 0)
        for (char **f = files; f && *f; f++)
            if (sscanf(*f, "log.%u", &number) == 1 && number < least)
                least = number;
    free(files);
    return least == UINT32_MAX ? 1 : least;
}

uint64_t engine_hold(struct engine *e, uint32_t first_log)
{
    uint64_t number = 0;
    pthread_mutex_lock(&e->hold_lock); /* the removal of logs waits for it: what is there now stays */
    for (size_t i = 0; i < HOLDS && !number; i++)
        if (!e->holds[i].number) {
            number = ++e->next_hold;
            e->holds[i] = (struct hold){number, first_log ? first_log : oldest_log(e)};
        }
    pthread_mutex_unlock(&e->hold_lock);
    return number;
}

static struct hold *find(struct engine *e, uint64_t number)
{
    for (size_t i = 0; i < HOLDS; i++)
        if (number && e->holds[i].number == number)
            return &e->holds[i];
    return NULL;
}

bool engine_hold_move(struct engine *e, uint64_t hold, uint32_t first_log)
{
    pthread_mutex_lock(&e->hold_lock);
    struct hold *h = find(e, hold);
    if (h && first_log > h->first_log)
        h->first_log = first_log;
    pthread_mutex_unlock(&e->hold_lock);
    return h != NULL;
}

bool engine_hold_end(struct engine *e, uint64_t hold)
{
    pthread_mutex_lock(&e->hold_lock);
    struct hold *h = find(e, hold);
    if (h)
        h->number = 0;
    pthread_mutex_unlock(&e->hold_lock);
    return h != NULL;
}

uint32_t holds_first_log(struct engine *e)
{
    uint32_t least = UINT32_MAX;
    const uint64_t now = env_log_bytes(e) / LOG_FILE;
    for (size_t i = 0; i < HOLDS; i++) {
        struct hold *h = &e->holds[i];
        if (!h->number)
            continue;
        if (e->o.log_keep && now > h->first_log && (now - h->first_log) * LOG_FILE > e->o.log_keep) {
            log_event(LOG_ALARM, NULL, "store.hold.fallen", F_UINT("hold", h->number),
                      F_UINT("first_log", h->first_log), F_UINT("now", now));
            h->number = 0;
            continue;
        }
        if (h->first_log < least)
            least = h->first_log;
    }
    return least;
}

bool holds_segments(struct engine *e)
{
    bool held = false;
    pthread_mutex_lock(&e->hold_lock);
    for (size_t i = 0; i < HOLDS; i++)
        held = held || e->holds[i].number != 0;
    pthread_mutex_unlock(&e->hold_lock);
    return held;
}

/* -- the thread -- */

static bool care_sleep(struct engine *e)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += CARE_TICK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&e->lock);
    if (!e->stopping)
        pthread_cond_timedwait(&e->care_wake, &e->lock, &until);
    bool stop = e->stopping;
    pthread_mutex_unlock(&e->lock);
    return !stop;
}

/* Checkpoints, and once an hour what is old. */
void *care_main(void *engine)
{
    pthread_setname_np(pthread_self(), "care");
    enum { HOUR_MS = 3600 * 1000 };
    struct engine *e = engine;
    uint64_t last_ms = clock_mono_ms(), last_bytes = env_log_bytes(e), expired_ms = last_ms;
    while (care_sleep(e)) {
        uint64_t now = clock_mono_ms(), bytes = env_log_bytes(e);
        bool due = bytes - last_bytes >= e->o.checkpoint_size ||
                   (bytes != last_bytes && now - last_ms >= e->o.checkpoint_ms);
        if (due) {
            env_checkpoint(e, false);
            last_ms = clock_mono_ms();
            last_bytes = env_log_bytes(e);
        }
        if (now - expired_ms >= HOUR_MS) {
            expired_ms = now;
            engine_submit(e, job_new(WIRE_EXPIRE));
        }
    }
    return NULL;
}
