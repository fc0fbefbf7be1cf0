/* Reading the source: one helper thread a reading, gathering, comparing, taking over and building the new
 * view, so that the loop only swaps a pointer. The hard point is the brake: a reading that would remove more
 * accounts than directory_remove_limit allows is not taken over at all, neither is its contact counted, until
 * an administrator asks for it with force. A source that is away is asked again sooner than directory_poll,
 * with growing pauses. */
#include "common/directory/server.h"
#include "common/base/clock.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { RETRY_MIN_MS = 2000, TEXT_LIMIT = 4096 };

struct waiter {
    refresh_done *done;
    void *arg;
    bool force;
    struct waiter *next;
};
/* What a reading's thread leaves. */
struct reading {
    struct server *s;
    bool force;
    enum err_code code;
    struct err why;
    struct copy_sync *sync;
    struct copy_changes changes;
    struct view *view; /* NULL: nothing changed */
    int64_t contact_us;
    uint64_t started_ms;
    pthread_t thread;
};
struct refresh {
    struct reading *running;
    struct waiter *joined, *next; /* of the running one; of the one after it */
    struct loop_timer *timer;
    uint64_t retry_ms;
    uint64_t good, failed;
    char last[400];
};

/* -- on the thread -- */

static bool on_record(void *arg, const struct ldif_record *r, const struct uuid *id)
{
    struct reading *g = arg;
    g->code = copy_sync_add(g->sync, r, id, &g->why);
    return g->code == ERR_OK;
}

static void brake(struct reading *g)
{
    uint64_t limit = daemon_conf(g->s->d)->directory_remove_limit;
    const struct copy_changes *c = &g->changes;
    if (g->force || (uint64_t)c->accounts_removed * 100 <= limit * c->accounts)
        return;
    g->code = err_set(&g->why, ERR_LIMIT, NULL,
                      "%zu of %zu accounts would vanish, more than directory_remove_limit (%llu %%) allows; "
                      "nothing was taken over",
                      c->accounts_removed, c->accounts, (unsigned long long)limit);
}

static void read_all(struct reading *g)
{
    g->sync = copy_sync_new(g->s->copy);
    int64_t at_us = clock_wall_us(); /* what changes from here on is not seen */
    enum err_code code = source_read(g->s->source, on_record, g, &g->why);
    if (code != ERR_STATE)
        g->code = code; /* else the callback ended it and said why */
    if (g->code == ERR_OK)
        g->code = copy_sync_compare(g->sync, &g->changes, &g->why);
    if (g->code == ERR_OK)
        brake(g);
    if (g->code == ERR_OK)
        g->code = copy_sync_commit(g->sync, at_us, &g->why);
    if (g->code != ERR_OK)
        return;
    g->contact_us = at_us;
    if (!g->s->view || g->changes.added || g->changes.changed || g->changes.removed)
        g->code = view_new(g->s->copy, &g->view, &g->why);
}

static void on_finished(void *arg);

static void *reading_main(void *arg)
{
    struct reading *g = arg;
    pthread_setname_np(pthread_self(), "reading");
    read_all(g);
    loop_post(g->s->loop, on_finished, g);
    return NULL;
}

/* -- in the loop -- */

static void start(struct server *s)
{
    struct refresh *f = s->refresh;
    struct reading *g = xcalloc(1, sizeof *g);
    g->s = s;
    g->started_ms = clock_mono_ms();
    f->joined = f->next;
    f->next = NULL;
    for (struct waiter *w = f->joined; w; w = w->next)
        g->force = g->force || w->force;
    loop_timer_stop(f->timer);
    int ret = pthread_create(&g->thread, NULL, reading_main, g);
    if (ret == 0) {
        f->running = g;
        return;
    }
    g->code = err_set(&g->why, ERR_RETRY, NULL, "no thread: %s", strerror(ret));
    f->running = g;
    g->thread = 0;
    loop_defer(s->loop, on_finished, g);
}

static void describe(struct reading *g, char *text, size_t size)
{
    const struct copy_changes *c = &g->changes;
    if (g->code == ERR_OK)
        snprintf(text, size, "%zu added, %zu changed, %zu removed, %zu doubled", c->added, c->changed,
                 c->removed, c->doubles);
    else
        snprintf(text, size, "%s", g->why.log);
}

static void settle(struct server *s, struct reading *g)
{
    struct refresh *f = s->refresh;
    describe(g, f->last, sizeof f->last);
    if (g->code == ERR_OK) {
        f->good++;
        f->retry_ms = RETRY_MIN_MS;
        s->contact_us = g->contact_us;
    } else {
        f->failed++;
    }
    if (g->view)
        server_take_view(s, g->view);
    if (g->contact_us)
        server_changed(s, g->changes.account, g->changes.account_count);
    bool brake_held = g->code == ERR_LIMIT;
    log_event(g->code == ERR_OK ? LOG_INFO
              : brake_held      ? LOG_ALARM
                                : LOG_ERROR,
              NULL, g->code == ERR_OK ? "directory.source.read" : "directory.source.failed",
              F_STR("result", f->last), F_UINT("ms", clock_mono_ms() - g->started_ms));
}

static void on_finished(void *arg)
{
    struct reading *g = arg;
    struct server *s = g->s;
    struct refresh *f = s->refresh;
    uint64_t pause_ms = daemon_conf(s->d)->directory_poll;
    if (g->thread)
        pthread_join(g->thread, NULL);
    f->running = NULL;
    settle(s, g);
    if (g->code == ERR_RETRY && f->retry_ms < pause_ms) {
        pause_ms = f->retry_ms;
        f->retry_ms *= 2;
    }
    struct waiter *w = f->joined;
    f->joined = NULL;
    while (w) {
        struct waiter *next = w->next;
        if (w->done)
            w->done(w->arg, g->code, span_str(f->last));
        free(w);
        w = next;
    }
    copy_sync_free(&g->sync);
    free(g);
    loop_timer_start(f->timer, pause_ms);
    if (f->next && !f->running)
        start(s);
}

static void on_poll(void *arg)
{
    struct server *s = arg;
    if (!s->refresh->running)
        start(s);
}

void refresh_new(struct server *s)
{
    s->refresh = xcalloc(1, sizeof *s->refresh);
    s->refresh->retry_ms = RETRY_MIN_MS;
    s->refresh->timer = loop_timer_new(s->loop, on_poll, s);
}

/* A reading that runs began before this question: the answer is the next one's. */
void refresh_now(struct server *s, bool force, refresh_done *done, void *arg)
{
    struct refresh *f = s->refresh;
    if (!f)
        return; /* not started yet: the first reading comes by itself */
    struct waiter *w = xcalloc(1, sizeof *w);
    *w = (struct waiter){done, arg, force, f->next};
    f->next = w;
    if (!f->running)
        start(s);
}

bool refresh_stop(struct server *s)
{
    return !s->refresh || !s->refresh->running;
}

bool refresh_status(struct server *s, struct buf *out)
{
    const struct refresh *f = s->refresh;
    return buf_addf(out, "readings=%llu\nreadings_failed=%llu\nreading_now=%s\nlast_reading=%s\n",
                    (unsigned long long)f->good, (unsigned long long)f->failed, f->running ? "yes" : "no",
                    f->last);
}
