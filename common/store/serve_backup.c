/* Backups that an administrator's tool asks for: one at a time, in a thread of its own, into the pipe that
 * came with the question. It ends when the tool closes the pipe, or when stored ends. */
#include "common/store/server.h"
#include "common/base/clock.h"
#include <stdlib.h>
#include <unistd.h>

struct backup_task {
    struct server *s;
    struct conn *conn;
    uint64_t seq, sent, begin_ms;
    int fd;
    struct buf body;
    struct err why;
    enum err_code code;
};

static void on_done(void *arg)
{
    struct backup_task *t = arg;
    struct server *s = t->s;
    struct parts answer = {NULL, 0, 0};
    if (s->backup_runs) /* else joined by the end of stored */
        pthread_join(s->backup, NULL);
    s->backup_runs = false;
    log_event(t->code == ERR_OK ? LOG_INFO : LOG_ERROR, NULL,
              t->code == ERR_OK ? "store.backup.sent" : "store.backup.failed", F_UINT("bytes", t->sent),
              F_UINT("ms", clock_mono_ms() - t->begin_ms), F_STR("why", t->code == ERR_OK ? "" : t->why.log));
    if (t->conn->ipc)
        reply(t->conn, 0, WIRE_BACKUP | IPC_ANSWER, t->seq, t->code, &answer, false);
    conn_drop(t->conn, 0);
    buf_free(&t->body);
    free(t);
}

static void *backup_main(void *arg)
{
    struct backup_task *t = arg;
    struct wire_backup w;
    pthread_setname_np(pthread_self(), "backup");
    memcpy(&w, t->body.p, sizeof w);
    t->code = engine_backup(t->s->e, t->fd, w.life, span_drop(buf_span(&t->body), sizeof w),
                            &t->s->backup_stop, &t->sent, &t->why);
    loop_post(t->s->loop, on_done, t);
    return NULL;
}

bool serve_backup(struct request *r)
{
    struct server *s = r->conn->s;
    struct wire_backup w;
    memcpy(&w, r->body.p, sizeof w);
    if (r->fd < 0 || r->body.n - sizeof w != (size_t)w.count * 4)
        return false;
    if (s->backup_runs) {
        reply_code(r->conn, r->type, r->seq, ERR_STATE);
        return true;
    }
    struct backup_task *t = xcalloc(1, sizeof *t);
    *t = (struct backup_task){
        .s = s, .conn = r->conn, .seq = r->seq, .fd = r->fd, .begin_ms = clock_mono_ms()};
    buf_init(&t->body, IPC_FRAME_LIMIT);
    if (!buf_add_span(&t->body, r->body) || pthread_create(&s->backup, NULL, backup_main, t) != 0) {
        buf_free(&t->body);
        free(t);
        reply_code(r->conn, r->type, r->seq, ERR_RETRY);
        return true;
    }
    r->fd = -1;
    s->backup_runs = true;
    conn_hold(r->conn, 0);
    log_event(LOG_INFO, NULL, "store.backup.started", F_UINT("has_segments", w.count));
    return true;
}

void backup_stop(struct server *s)
{
    s->backup_stop = true;
    if (s->backup_runs)
        pthread_join(s->backup, NULL);
    s->backup_runs = false;
}
