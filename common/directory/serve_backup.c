/* A backup that an administrator's tool asks for: one at a time, in a thread of its own, into the pipe that
 * came with the question. */
#include "common/directory/server.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct backup {
    struct server *s;
    struct conn *conn;
    uint16_t type;
    uint64_t seq, sent;
    int fd;
    pthread_t thread;
    _Atomic bool stop;
    bool joined;
    struct err why;
    enum err_code code;
};

static void on_done(void *arg)
{
    struct backup *b = arg;
    if (!b->joined)
        pthread_join(b->thread, NULL);
    b->s->backup = NULL;
    log_event(b->code == ERR_OK ? LOG_INFO : LOG_ERROR, NULL,
              b->code == ERR_OK ? "directory.backup.sent" : "directory.backup.failed",
              F_UINT("bytes", b->sent), F_STR("why", b->code == ERR_OK ? "" : b->why.log));
    reply(b->conn, b->type, b->seq, b->code, span_str(b->code == ERR_OK ? "" : b->why.log));
    conn_release(b->conn);
    free(b);
}

static void *backup_main(void *arg)
{
    struct backup *b = arg;
    pthread_setname_np(pthread_self(), "backup");
    b->code =
        copy_backup(b->s->copy, daemon_conf(b->s->d)->directory_dir, b->fd, &b->stop, &b->sent, &b->why);
    loop_post(b->s->loop, on_done, b);
    return NULL;
}

bool serve_backup(struct request *r)
{
    struct server *s = r->conn->s;
    if (!dirw_whole(&r->in) || r->fd < 0)
        return false;
    if (s->backup) {
        reply(r->conn, r->type, r->seq, ERR_STATE, SPAN("another backup is under way"));
        return true;
    }
    struct backup *b = xcalloc(1, sizeof *b);
    b->s = s;
    b->conn = r->conn;
    b->type = r->type;
    b->seq = r->seq;
    b->fd = r->fd;
    if (pthread_create(&b->thread, NULL, backup_main, b) != 0) {
        free(b);
        reply(r->conn, r->type, r->seq, ERR_RETRY, SPAN("no thread can be started"));
        return true;
    }
    r->fd = -1;
    s->backup = b;
    conn_hold(r->conn);
    return true;
}

void backup_stop(struct server *s)
{
    if (!s->backup)
        return;
    s->backup->stop = true;
    pthread_join(s->backup->thread, NULL);
    s->backup->joined = true;
}
