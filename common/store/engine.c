/* Opening and closing the engine, and the queue in front of the writer. The lock on the folder comes first,
 * then recovery, then what a crash left half done, and only then the first request. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include "common/store/pages.h"
#include "common/store/trouble.h"
#include "common/store/spare.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BALLAST = 16 << 20 };

/* -- parts and jobs -- */

struct buf *parts_add(struct parts *p)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 1;
        p->v = xrealloc(p->v, p->cap * sizeof *p->v);
    }
    buf_init(&p->v[p->n], IPC_FRAME_LIMIT - 4096);
    return &p->v[p->n++];
}

void parts_free(struct parts *p)
{
    for (size_t i = 0; i < p->n; i++)
        buf_free(&p->v[i]);
    free(p->v);
    *p = (struct parts){NULL, 0, 0};
}

bool answer_add(struct job *j, const void *p, size_t n)
{
    return buf_add(parts_add(&j->answer), p, n);
}

struct job *job_new(uint16_t type)
{
    struct job *j = xcalloc(1, sizeof *j);
    j->type = type;
    j->fd = -1;
    buf_init(&j->body, IPC_FRAME_LIMIT);
    buf_init(&j->frames, FRAMES_LIMIT * REC_FRAME);
    return j;
}

void job_free(struct job **jp)
{
    struct job *j = *jp;
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    buf_free(&j->body);
    buf_free(&j->frames);
    parts_free(&j->answer);
    free(j);
    *jp = NULL;
}

void news_free(struct news **np)
{
    struct news *n = *np;
    if (!n)
        return;
    for (struct job *j = n->jobs, *next; j; j = next) {
        next = j->next;
        job_free(&j);
    }
    free(n->touched);
    free(n->fulls);
    free(n->begun);
    free(n);
    *np = NULL;
}

void engine_submit(struct engine *e, struct job *j)
{
    bool large = false, small = false;
    pthread_mutex_lock(&e->lock);
    for (struct job *next; j; j = next) {
        next = j->next;
        j->next = NULL;
        if (engine_is_lazy(j->type)) {
            j->next = e->lazy.in;
            e->lazy.in = j;
            small = small || ++e->lazy.in_count >= LAZY_JOBS;
        } else if (j->fd >= 0) {
            *e->large_last = j;
            e->large_last = &j->next;
            large = true;
        } else {
            *e->last = j;
            e->last = &j->next;
            small = true;
        }
    }
    pthread_mutex_unlock(&e->lock);
    if (large)
        pthread_cond_signal(&e->large_work);
    if (small)
        pthread_cond_signal(&e->work);
}

static bool add_waiting(const struct job *j, const void *owner, struct buf *out)
{
    bool ok = true;
    for (; j && ok; j = j->next)
        if (j->owner == owner)
            ok = buf_add(out, &j->seq, sizeof j->seq);
    return ok;
}

bool engine_waiting(struct engine *e, const void *owner, struct buf *out)
{
    pthread_mutex_lock(&e->lock);
    bool ok = add_waiting(e->first, owner, out) && add_waiting(e->large_first, owner, out);
    pthread_mutex_unlock(&e->lock);
    return ok;
}

void engine_nudge(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    if (e->lazy.in)
        pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

uint64_t engine_durable(const struct engine *e)
{
    return atomic_load(&e->durable);
}

/* -- the folder -- */

static enum err_code folder_failed(struct engine *e, const char *what, struct err *why)
{
    return err_set(why, errno == EWOULDBLOCK ? ERR_STATE : ERR_RETRY, NULL, "%s: %s: %s", e->dir, what,
                   errno == EWOULDBLOCK ? "another process has the store open" : strerror(errno));
}

static bool make_dir(int at, const char *name)
{
    return mkdirat(at, name, 0750) == 0 || errno == EEXIST;
}

static enum err_code open_folder(struct engine *e, struct err *why)
{
    if (mkdir(e->dir, 0750) != 0 && errno != EEXIST)
        return folder_failed(e, "mkdir", why);
    e->dir_fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e->dir_fd < 0)
        return folder_failed(e, "open", why);
    e->lock_fd = openat(e->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (e->lock_fd < 0 || flock(e->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return folder_failed(e, "lock", why);
    if (restored_half(
            e)) /* before anything is made: else an empty store would stand where one is to come back */
        return err_set(why, ERR_SYNTAX, NULL,
                       "%s: a restore of everything was not finished: run mailadm restore again (--force)",
                       e->dir);
    if (!make_dir(e->dir_fd, "segments") || !make_dir(e->dir_fd, "db"))
        return folder_failed(e, "mkdir", why);
    e->segment_dir_fd = openat(e->dir_fd, "segments", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    e->db_dir_fd = openat(e->dir_fd, "db", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e->segment_dir_fd < 0 || e->db_dir_fd < 0)
        return folder_failed(e, "segments or db", why);
    if (!making_begin(e))
        return folder_failed(e, "making the store", why);
    return format_check(e, why);
}

/* Space that recovery may need when others have filled the disk: given up before it, taken again after. */
static void ballast_give(struct engine *e)
{
    struct statvfs st;
    if (fstatvfs(e->dir_fd, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize < e->o.reserve &&
        unlinkat(e->dir_fd, "ballast", 0) == 0)
        log_event(LOG_ALARM, NULL, "store.ballast.given", F_UINT("bytes", BALLAST));
}

static void ballast_take(struct engine *e)
{
    struct statvfs st;
    if (faccessat(e->dir_fd, "ballast", F_OK, 0) == 0 || fstatvfs(e->dir_fd, &st) != 0 ||
        (uint64_t)st.f_bavail * st.f_frsize < e->o.reserve + 2 * (uint64_t)BALLAST)
        return;
    int fd = openat(e->dir_fd, "ballast", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0 || posix_fallocate(fd, 0, BALLAST) != 0)
        log_event(LOG_WARN, NULL, "store.ballast.missing", F_STR("dir", e->dir));
    if (fd >= 0)
        close(fd);
}

/* -- life -- */

static struct engine *engine_alloc(const struct engine_options *o)
{
    pthread_condattr_t monotonic;
    struct engine *e = xcalloc(1, sizeof *e);
    e->o = *o;
    e->dir = xstrdup(o->dir);
    e->lock_fd = e->dir_fd = e->segment_dir_fd = e->db_dir_fd = -1;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->id_lock, NULL);
    pthread_mutex_init(&e->segment_lock, NULL);
    pthread_mutex_init(&e->lease_lock, NULL);
    pthread_mutex_init(&e->hold_lock, NULL);
    pthread_mutex_init(&e->verify_lock, NULL);
    pthread_cond_init(&e->work, &monotonic);
    pthread_cond_init(&e->large_work, &monotonic);
    pthread_cond_init(&e->care_wake, &monotonic);
    pthread_cond_init(&e->inside_done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    e->last = &e->first;
    e->large_last = &e->large_first;
    for (size_t i = 0; i < SEGMENT_FDS; i++)
        e->fds[i].fd = -1;
    e->small.fd = e->large.fd = e->compact.fd = -1;
    return e;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void engine_release(struct engine *e)
{
    env_close(e);
    spare_stop();
    if (e->paged)
        pages_stop();
    segments_close(e);
    units_close(e);
    for (struct job *j = e->sliced, *next; j; j = next) {
        next = j->next;
        job_free(&j);
    }
    close_fd(e->segment_dir_fd);
    close_fd(e->db_dir_fd);
    close_fd(e->dir_fd);
    close_fd(e->lock_fd);
    free(e->leases);
    free(e->watch);
    verify_free(&e->verify);
    free(e->dir);
    free(e);
}

static enum err_code start_threads(struct engine *e, struct err *why)
{
    if (pthread_create(&e->writer, NULL, writer_main, e) != 0 ||
        pthread_create(&e->stager, NULL, stager_main, e) != 0 ||
        pthread_create(&e->care, NULL, care_main, e) != 0)
        return err_set(why, ERR_RETRY, NULL, "starting threads: %s", strerror(errno));
    e->threads = true;
    return ERR_OK;
}

/* What a start met, with what to do where that is known. */
static void start_trouble(struct engine *e, struct err *why)
{
    char file[64];
    if (why->code == ERR_STATE || e->dir_fd < 0) /* another process has it: its notes count */
        return;
    if (pages_damaged(file, sizeof file)) {
        char text[sizeof why->log];
        snprintf(text, sizeof text, "%s", why->log);
        (void)err_set(why, why->code, NULL,
                      "%s (db/%s has a damaged page: bring the store back from a backup, mailadm "
                      "restore)",
                      text, file);
    }
    trouble_note(e->dir_fd, "stored does not start: %s", why->log);
}

enum err_code engine_open(const struct engine_options *o, struct engine **out, struct err *why)
{
    struct engine *e = engine_alloc(o);
    enum err_code code = open_folder(e, why);
    if (code == ERR_OK) {
        ballast_give(e);
        code = pages_start(e->dir_fd, e->db_dir_fd, why);
    }
    if (code == ERR_OK) {
        e->paged = true;
        code = spare_start(e->db_dir_fd, env_log_size(e), e->o.reserve, why);
    }
    if (code == ERR_OK) {
        code = env_open(e, why);
    }
    if (code == ERR_OK && !making_end(e))
        code = folder_failed(e, "making the store", why);
    if (code == ERR_OK)
        code = upgrade_run(e, why);
    if (code == ERR_OK && ids_load(e) != ERR_OK)
        code = err_set(why, ERR_BUG, NULL, "%s: the record of identities is broken", e->dir);
    if (code == ERR_OK)
        code = restored_settle(e, why);
    if (code == ERR_OK && (life_load(e, false) != ERR_OK || queue_hold_load(e) != ERR_OK))
        code = err_set(why, ERR_BUG, NULL, "%s: the record of the store's life is broken", e->dir);
    if (code == ERR_OK)
        code = segments_open(e, why);
    if (code == ERR_OK && units_open(e) != ERR_OK)
        code = err_set(why, ERR_BUG, NULL, "%s: reading units and quotas", e->dir);
    if (code == ERR_OK)
        code = restored_done(e, why);
    if (code == ERR_OK && !o->still && done_resume(e) != ERR_OK)
        code = err_set(why, ERR_BUG, NULL, "%s: reading what was under way", e->dir);
    FAULT_STEP("store.recovery.resumed");
    if (code == ERR_OK)
        env_log_flush(e);
    if (code == ERR_OK) {
        ballast_take(e);
        code = start_threads(e, why);
    }
    if (code != ERR_OK) {
        start_trouble(e, why);
        engine_release(e);
        return code;
    }
    trouble_over(e->dir_fd);
    *out = e;
    return ERR_OK;
}

void engine_close(struct engine **ep)
{
    struct engine *e = *ep;
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    pthread_cond_broadcast(&e->work);
    pthread_cond_broadcast(&e->large_work);
    pthread_cond_broadcast(&e->care_wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->stager, NULL);
    pthread_join(e->writer, NULL);
    pthread_join(e->care, NULL);
    stream_close(&e->small);
    stream_close(&e->large);
    stream_close(&e->compact);
    env_log_flush(e);
    env_checkpoint(e, true);
    engine_release(e);
    *ep = NULL;
}
