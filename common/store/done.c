/* Outcomes of requests: what makes a write apply once however often it is sent. A request's outcome is
 * written in the transaction of its effects, one record for each slice; the first record of a request in
 * several slices carries the request itself, so that a start after a crash can finish it. Records go when the
 * worker says that the answer has arrived, or after a day. */
#include "common/store/engine_int.h"
#include <stdlib.h>

static void done_key(unsigned char key[KEY_DONE], const struct request_id *id, uint32_t part)
{
    memcpy(key, id->b, sizeof id->b);
    put_be32(key + sizeof id->b, part);
}

static bool no_id(const struct request_id *id)
{
    static const struct request_id none;
    return memcmp(id->b, none.b, sizeof none.b) == 0;
}

static bool put_intent(struct buf *out, const struct job *j)
{
    return buf_add_u16(out, j->type) && buf_add(out, j->account.b, sizeof j->account.b) &&
           buf_add_u64(out, j->quota_bytes) && buf_add_u64(out, j->mailbox) &&
           buf_add_span(out, buf_span(&j->body));
}

static enum err_code put_part(struct tx *t, struct job *j, bool final, enum err_code failure,
                              struct span answer)
{
    unsigned char key[KEY_DONE];
    struct buf intent;
    if (no_id(&j->id))
        return ERR_OK;
    done_key(key, &j->id, j->part);
    buf_init(&intent, IPC_FRAME_LIMIT + 64);
    bool ok = j->part != 0 || final || put_intent(&intent, j);
    const struct rec_done r = {.at_us = clock_wall_us(),
                               .final = final,
                               .code = (uint8_t)failure,
                               .next = j->at,
                               .other = j->other,
                               .intent = buf_span(&intent),
                               .answer = answer};
    buf_reset(&t->scratch);
    ok = ok && rec_done_put(&r, &t->scratch);
    enum err_code code =
        ok ? tx_put_new(t, T_DONE, span_of(key, sizeof key), buf_span(&t->scratch)) : ERR_LIMIT;
    buf_free(&intent);
    return code;
}

enum err_code done_put(struct tx *t, struct job *j, bool final, struct span answer)
{
    return put_part(t, j, final, ERR_OK, answer);
}

enum err_code done_fail(struct tx *t, struct job *j)
{
    return put_part(t, j, true, j->code, SPAN_NONE);
}

enum err_code done_find(struct engine *e, struct job *j, bool *final)
{
    struct tx t;
    unsigned char key[KEY_DONE];
    struct rec_done r = {.final = 0};
    *final = false;
    enum err_code code = tx_begin(e, false, &t);
    for (uint32_t part = 0; code == ERR_OK && !*final; part++) {
        done_key(key, &j->id, part);
        code = tx_get_buf(&t, T_DONE, span_of(key, sizeof key), &t.scratch);
        if (code != ERR_OK)
            break;
        if (!rec_done_get(buf_span(&t.scratch), &r)) {
            code = ERR_BUG;
            break;
        }
        if (r.answer.n && !buf_add_span(parts_add(&j->answer), r.answer))
            code = ERR_LIMIT;
        j->part = part + 1;
        j->at = r.next;
        j->other = r.other;
        *final = r.final != 0;
        if (*final)
            j->code = r.code <= ERR_BUG ? (enum err_code)r.code : ERR_BUG;
    }
    tx_free(&t);
    return code == ERR_MISSING && j->part ? ERR_OK : code;
}

enum err_code done_forget(struct edit *x, const struct request_id *id)
{
    unsigned char key[KEY_DONE], head[REC_DONE_HEAD];
    enum err_code code = ERR_OK;
    bool final = false;
    for (uint32_t part = 0; code == ERR_OK && !final; part++) {
        size_t n;
        done_key(key, id, part);
        code = edit_head(x, span_of(key, sizeof key), head, sizeof head, &n);
        if (code == ERR_OK)
            code = edit_del(x);
        final = code == ERR_OK && rec_done_final(span_of(head, n));
    }
    return code == ERR_MISSING ? ERR_OK : code;
}

/* -- at start: what a crash left half done -- */

static struct job *intent_job(struct span intent, const struct request_id *id)
{
    struct reader r = reader_of(intent);
    struct job *j = job_new(read_u16(&r));
    struct span account = read_bytes(&r, sizeof j->account.b);
    if (account.n)
        memcpy(j->account.b, account.p, account.n);
    j->quota_bytes = read_u64(&r);
    j->mailbox = read_u64(&r);
    j->id = *id;
    if (r.bad || !engine_is_write(j->type) || !buf_add_span(&j->body, r.s))
        job_free(&j);
    return j;
}

bool done_intent_ok(const struct rec_done *r)
{
    static const struct request_id none;
    struct job *j = intent_job(r->intent, &none);
    const bool ok = j != NULL;
    job_free(&j);
    return ok;
}

/* The parts of one request, as the scan meets them. */
static bool resume_part(struct job **open, struct span key, const struct rec_done *r)
{
    struct request_id id;
    memcpy(id.b, key.p, sizeof id.b);
    uint32_t part = get_be32(key.p + sizeof id.b);
    if (part == 0) {
        job_free(open);
        if (r->final)
            return true;
        *open = intent_job(r->intent, &id);
    }
    if (!*open || memcmp((*open)->id.b, id.b, sizeof id.b) != 0 || (*open)->part != part)
        return false;
    (*open)->part = part + 1;
    (*open)->at = r->next;
    (*open)->other = r->other;
    if (r->final)
        job_free(open);
    return true;
}

enum err_code done_resume(struct engine *e)
{
    struct tx t;
    struct scan s;
    struct span key, value;
    struct rec_done r;
    struct job *open = NULL;
    struct request_id last = {{0}};
    enum err_code code = tx_begin(e, false, &t);
    if (code != ERR_OK)
        return code;
    scan_open(&s, &t, T_DONE, SPAN_NONE, 0, 256 << 10);
    while (scan_next(&s, &key, &value)) {
        if (key.n != KEY_DONE || !rec_done_get(value, &r)) { /* no reason to serve nobody: verify names it */
            log_event(LOG_ALARM, NULL, "store.done.broken", F_UINT("size", value.n));
            continue;
        }
        if (open &&
            memcmp(key.p, last.b, sizeof last.b) != 0) { /* the one before ended without a final part */
            open->next = e->sliced;
            e->sliced = open;
            open = NULL;
        }
        memcpy(last.b, key.p, sizeof last.b);
        if (!resume_part(&open, key, &r))
            log_event(LOG_ALARM, NULL, "store.done.broken", F_UINT("part", get_be32(key.p + sizeof last.b)));
    }
    code = scan_close(&s);
    tx_free(&t);
    if (open) {
        open->next = e->sliced;
        e->sliced = open;
    }
    for (struct job *j = e->sliced; j; j = j->next)
        log_event(LOG_INFO, NULL, "store.request.resumed", F_UINT("type", j->type), F_UINT("part", j->part));
    return code;
}
