/* Queries: small ones are answered in the loop (a hop to a thread costs more than they do), with a budget of
 * items that keeps it short; what is over the budget goes on in one of two reader threads, step by step, and
 * waits while its asker does not read. */
#include "common/store/server.h"
#include "common/base/clock.h"
#include <stdlib.h>
#include <unistd.h>

enum {
    LOOP_BUDGET = 64, /* items that cost a lookup each */
    LOOP_ROWS = 1024, /* items of a scan */
    LOOP_BYTES = 256 << 10,
    THREAD_BUDGET = 512,
    THREAD_ROWS = 32768,
    BACKLOG = 8 << 20, /* queued for an asker before its scan waits */
    STALL_MS = 5
};

static uint32_t loop_budget(uint16_t type)
{
    return type == WIRE_ROWS ? LOOP_ROWS : LOOP_BUDGET;
}

static uint32_t thread_budget(uint16_t type)
{
    if (type == WIRE_ROWS)
        return THREAD_ROWS;
    return type == WIRE_CHANGES || type == WIRE_LIST || type == WIRE_VIEW || type == WIRE_PAST_NAMES
               ? UINT32_MAX
               : THREAD_BUDGET;
}

static bool for_threads(const struct request *r)
{
    struct wire_read w;
    if (r->type == WIRE_ACCOUNTS || r->type == WIRE_MAILBOXES || r->type == WIRE_TRACE ||
        r->type == WIRE_STATS || r->type == WIRE_CARE || r->type == WIRE_VERIFY ||
        r->type == WIRE_UNIT_LIST || r->type == WIRE_VIEW || r->type == WIRE_PAST_NAMES ||
        r->type == WIRE_QUEUE_HELD)
        return true;
    if (r->type != WIRE_READ)
        return false;
    memcpy(&w, r->body.p, sizeof w);
    return w.want > LOOP_BYTES;
}

static struct query query_of(const struct request *r)
{
    struct query q = {
        .type = r->type, .mailbox = r->ask.mailbox, .body = r->body, .budget = loop_budget(r->type)};
    if (r->session) {
        q.account = r->session->account;
        q.quota_bytes = r->session->quota_bytes;
    }
    return q;
}

/* -- the threads -- */

static void push_task(struct server *s, struct task *t)
{
    t->next = NULL;
    pthread_mutex_lock(&s->lock);
    *s->tasks_last = t;
    s->tasks_last = &t->next;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

static void task_free(struct task *t)
{
    conn_drop(t->conn, t->body.n);
    parts_free(&t->q.answer);
    buf_free(&t->body);
    free(t);
}

static void on_stall(void *arg)
{
    struct server *s = arg;
    struct task *list = s->stalled;
    s->stalled = NULL;
    for (struct task *t = list, *next; t; t = next) {
        next = t->next;
        if (!t->conn->ipc) {
            task_free(t);
        } else if (ipc_backlog(t->conn->ipc) > BACKLOG / 2) {
            t->next = s->stalled;
            s->stalled = t;
        } else {
            push_task(s, t);
        }
    }
    if (s->stalled)
        loop_timer_start(s->stall_timer, STALL_MS);
}

/* A step is done: its parts leave, and the next one is taken up. */
static void on_step(void *arg)
{
    struct task *t = arg;
    struct server *s = t->conn->s;
    bool more = t->code == ERR_OK && t->q.more;
    if (!t->conn->ipc || s->stopping) {
        task_free(t);
        return;
    }
    if (!more || t->q.answer.n)
        reply(t->conn, t->q.mark, (uint16_t)(t->q.type | IPC_ANSWER), t->seq, t->code, &t->q.answer, more);
    if (!more) {
        task_free(t);
        return;
    }
    if (t->conn->ipc && ipc_backlog(t->conn->ipc) > BACKLOG) {
        t->next = s->stalled;
        s->stalled = t;
        loop_timer_start(s->stall_timer, STALL_MS);
        return;
    }
    push_task(s, t);
}

static void *reader_main(void *arg)
{
    struct server *s = arg;
    pthread_setname_np(pthread_self(), "reader");
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->tasks && !s->stopping)
            pthread_cond_wait(&s->work, &s->lock);
        struct task *t = s->tasks;
        if (!t || s->stopping)
            break;
        s->tasks = t->next;
        if (!s->tasks)
            s->tasks_last = &s->tasks;
        pthread_mutex_unlock(&s->lock);
        for (int i = 0; i < 5; i++) {
            t->code = engine_query(s->e, &t->q);
            if (t->code != ERR_RETRY)
                break;
        }
        loop_post(s->loop, on_step, t);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

void readers_start(struct server *s)
{
    s->tasks_last = &s->tasks;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    s->stall_timer = loop_timer_new(s->loop, on_stall, s);
    for (size_t i = 0; i < READERS; i++)
        if (pthread_create(&s->readers[i], NULL, reader_main, s) != 0) {
            log_event(LOG_ALARM, NULL, "store.start.failed", F_STR("why", "no thread"));
            _exit(71); /* EX_OSERR */
        }
}

void readers_stop(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < READERS; i++)
        pthread_join(s->readers[i], NULL);
    for (struct task *t = s->tasks, *next; t; t = next) {
        next = t->next;
        task_free(t);
    }
    s->tasks = NULL;
    for (struct task *t = s->stalled, *next; t; t = next) {
        next = t->next;
        task_free(t);
    }
    s->stalled = NULL;
}

static void to_threads(struct request *r, struct query *q)
{
    struct task *t = xcalloc(1, sizeof *t);
    t->conn = r->conn;
    t->seq = r->seq;
    buf_init(&t->body, IPC_FRAME_LIMIT);
    if (!buf_add_span(&t->body, r->body)) {
        free(t);
        reply_code(r->conn, r->type, r->seq, ERR_LIMIT);
        return;
    }
    t->q = *q;
    t->q.body = buf_span(&t->body);
    t->q.budget = thread_budget(r->type);
    t->q.answer = (struct parts){NULL, 0, 0};
    conn_hold(r->conn, t->body.n);
    push_task(r->conn->s, t);
}

/* -- the loop -- */

bool serve_read(struct request *r)
{
    struct query q = query_of(r);
    if (for_threads(r)) {
        to_threads(r, &q);
        return true;
    }
    enum err_code code = engine_query(r->conn->s->e, &q);
    bool more = code == ERR_OK && q.more;
    if (code == ERR_RETRY) { /* a snapshot fell: a thread may try again */
        q = query_of(r);
        to_threads(r, &q);
        return true;
    }
    if (!more || q.answer.n)
        reply(r->conn, q.mark, (uint16_t)(r->type | IPC_ANSWER), r->seq, code, &q.answer, more);
    if (more)
        to_threads(r, &q);
    return true;
}

/* -- \Recent -- */

/* The mark of \Recent moves here, in memory, and nobody waits for the disk: each session that sees new mail
 * would. Until the record has followed, the claim stands beside it; a crash loses the move at worst, and then
 * the messages are recent once more, as they should be where it is not known (RFC 3501 2.3.2). */
static void claim_recent(struct request *r, struct wire_box *box)
{
    struct server *s = r->conn->s;
    struct claim *c = NULL;
    HASH_FIND(hh, s->claims, &box->id, sizeof box->id, c);
    if (c && c->to > box->recent_from)
        box->recent_from = c->to;
    if (!box->id || box->recent_from >= box->uidnext)
        return;
    struct job *j = job_new(WIRE_CLAIM);
    if (!buf_add(&j->body, &box->uidnext, sizeof box->uidnext)) {
        job_free(&j);
        return;
    }
    if (!c) {
        c = xcalloc(1, sizeof *c);
        c->mailbox = box->id;
        HASH_ADD(hh, s->claims, mailbox, sizeof c->mailbox, c);
    }
    c->to = box->uidnext;
    c->jobs++;
    j->account = r->session->account;
    j->mailbox = box->id;
    submit_job(s, j);
}

void claim_written(struct server *s, const struct job *j)
{
    struct claim *c = NULL;
    HASH_FIND(hh, s->claims, &j->mailbox, sizeof j->mailbox, c);
    if (!c || --c->jobs)
        return;
    HASH_DEL(s->claims, c);
    free(c);
}

bool serve_status(struct request *r)
{
    struct wire_status w;
    struct wire_box box;
    struct query q = query_of(r);
    memcpy(&w, r->body.p, sizeof w);
    enum err_code code = engine_query(r->conn->s->e, &q);
    if (code == ERR_OK && w.claim_recent) {
        memcpy(&box, q.answer.v[0].p, sizeof box);
        claim_recent(r, &box);
        memcpy(q.answer.v[0].p, &box, sizeof box);
    }
    reply(r->conn, q.mark, (uint16_t)(r->type | IPC_ANSWER), r->seq, code, &q.answer, false);
    return true;
}
