/* Segments that hold little or nothing any more. One that is wholly dead is dropped: first on record, then
 * its file goes, then the record; a start in between finds the record and does the rest. The hard point is a
 * reader that found a content's place and comes to the file when it is gone: it looks the place up again
 * (read.c). */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static enum err_code ask_writer(struct engine *e, uint32_t number, uint32_t what)
{
    struct job *j = job_new(WIRE_SEGMENT);
    const struct segment_ask ask = {number, what};
    enum err_code code = buf_add(&j->body, &ask, sizeof ask) ? care_call(e, j) : ERR_LIMIT;
    job_free(&j);
    return code;
}

/* The record says dropped, durably: nothing refers to the file. */
static void unlink_segment(struct engine *e, uint32_t number)
{
    char name[32];
    snprintf(name, sizeof name, "%08x.seg", number);
    FAULT_STEP("store.segment.dropped");
    if (unlinkat(e->segment_dir_fd, name, 0) != 0 && errno != ENOENT) {
        log_event(LOG_ERROR, NULL, "store.segment.kept", F_UINT("segment", number),
                  F_STR("why", strerror(errno)));
        return;
    }
    segment_forget(e, number);
    if (fsync(e->segment_dir_fd) != 0)
        engine_fatal(e, "syncing the folder of segments", strerror(errno));
    FAULT_STEP("store.segment.unlinked");
    if (ask_writer(e, number, SEGMENT_GONE) == ERR_OK)
        atomic_fetch_add(&e->count.segments_dropped, 1);
}

/* The next segment that is worth something; ERR_MISSING: none is left. */
static enum err_code next_segment(struct engine *e, struct walk *w, uint32_t *number, struct rec_segment *out)
{
    struct tx t;
    struct scan s;
    struct span key, value;
    bool found = false;
    enum err_code code = tx_begin(e, true, &t);
    if (code != ERR_OK)
        return code;
    scan_open(&s, &t, T_SEGMENT, span_of(w->key, w->n), 0, 64 << 10);
    while (!found && scan_next(&s, &key, &value)) {
        if (key.n != 4 || !rec_segment_get(value, out)) {
            s.code = ERR_BUG;
            break;
        }
        if (w->n && memcmp(w->key, key.p, 4) == 0)
            continue;
        memcpy(w->key, key.p, 4);
        w->n = 4;
        *number = get_be32(key.p);
        found = out->sealed != SEGMENT_OPEN && out->dead;
    }
    code = scan_close(&s);
    tx_free(&t);
    return code == ERR_OK && !found ? ERR_MISSING : code;
}

/* -- the writer's part -- */

/* Whether the record still has the old place; then it has the new one. */
static enum err_code move_one(struct tx *t, const struct relocate_ask *w, const struct relocated *m,
                              uint64_t *moved)
{
    unsigned char key[KEY_ID];
    struct buf old;
    struct rec_content r;
    put_be64(key, m->content);
    buf_init(&old, (size_t)64 << 20);
    enum err_code code = tx_get_buf(t, T_CONTENT, span_of(key, sizeof key), &old);
    if (code == ERR_OK && !rec_content_get(buf_span(&old), &r))
        code = ERR_BUG;
    if (code == ERR_OK && r.segment == w->from && r.offset == m->old_offset) {
        r.segment = w->to;
        r.offset = m->new_offset;
        *moved += segment_share(r.frame_count, r.packed);
        buf_reset(&t->scratch);
        code = rec_content_put(&r, &t->scratch)
                   ? tx_put(t, T_CONTENT, span_of(key, sizeof key), buf_span(&t->scratch))
                   : ERR_LIMIT;
    } else if (code == ERR_MISSING) { /* it died since, and so its copy */
        code = ERR_OK;
    }
    buf_free(&old);
    return code;
}

enum err_code op_relocate(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct relocate_ask w;
    struct rec_segment r;
    uint64_t moved = 0;
    wire_get(&in, &w, sizeof w);
    enum err_code code = in.bad ? ERR_SYNTAX : ERR_OK;
    for (uint32_t i = 0; i < w.count && code == ERR_OK; i++) {
        struct relocated m;
        code = wire_get(&in, &m, sizeof m) ? move_one(t, &w, &m, &moved) : ERR_SYNTAX;
    }
    if (code == ERR_OK)
        code = segment_dead(t, w.from, moved);
    if (code == ERR_OK)
        code = segment_get(t, w.to, &r);
    if (code != ERR_OK)
        return code;
    r.dead += w.end - r.end - moved; /* what was copied and not moved */
    r.end = w.end;
    code = segment_put(t, w.to, &r);
    return code == ERR_OK && !answer_add(j, &moved, sizeof moved) ? ERR_LIMIT : code;
}

/* -- rewriting -- */

static int by_content(const void *a, const void *b)
{
    const struct relocated *x = a, *y = b;
    return x->content < y->content ? -1 : x->content > y->content;
}

/* The content's record, when it lies where the head was met; views point into v. */
static enum err_code living(struct engine *e, uint32_t number, const struct mend_content *c, struct buf *v,
                            struct rec_content *out, bool *lives)
{
    struct tx t;
    unsigned char key[KEY_ID];
    put_be64(key, c->id);
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = tx_get_buf(&t, T_CONTENT, span_of(key, sizeof key), v);
    tx_free(&t);
    if (code == ERR_OK && !rec_content_get(buf_span(v), out))
        code = ERR_BUG;
    *lives = code == ERR_OK && out->segment == number && out->offset == c->offset;
    return code == ERR_MISSING ? ERR_OK : code;
}

struct batch_of {
    struct relocated v[SLICE];
    size_t n;
    uint64_t bytes;
};

/* Copy what lives, from where the last step ended. The stream stays within one segment. */
static enum err_code copy_living(struct engine *e, struct compacting *c, int fd, struct batch_of *b)
{
    enum { STEP_BYTES = 1 << 20 };
    struct buf table, value;
    struct mend_content head;
    enum err_code code = ERR_OK;
    buf_init(&table, (size_t)FRAMES_LIMIT * REC_FRAME);
    buf_init(&value, (size_t)64 << 20);
    while (code == ERR_OK && c->at < c->end && b->n < SLICE && b->bytes < STEP_BYTES) {
        struct rec_content r;
        bool lives = false;
        if (!segment_head(fd, c->at, c->end, &head, &table)) {
            code = ERR_BUG;
            break;
        }
        code = living(e, c->number, &head, &value, &r, &lives);
        uint64_t share = segment_share(head.frames, head.packed);
        bool full = e->compact.fd < 0 || e->compact.written + share > e->o.segment_size;
        if (code == ERR_OK && lives && full && b->n)
            break; /* what was copied is moved first */
        struct relocated *m = &b->v[b->n];
        if (code == ERR_OK && lives)
            code = stream_copy(&e->compact, head.id, &r, &m->new_offset);
        if (code != ERR_OK)
            break;
        if (lives) {
            m->content = head.id;
            m->old_offset = head.offset;
            b->n++;
            b->bytes += share;
        }
        c->at += share;
    }
    buf_free(&table);
    buf_free(&value);
    return code;
}

static enum err_code move_places(struct engine *e, struct compacting *c, struct batch_of *b)
{
    struct job *j = job_new(WIRE_RELOCATE);
    const struct relocate_ask w = {
        .from = c->number, .to = e->compact.number, .count = (uint32_t)b->n, .end = e->compact.written};
    uint64_t moved = 0;
    qsort(b->v, b->n, sizeof *b->v, by_content);
    enum err_code code = buf_add(&j->body, &w, sizeof w) && buf_add(&j->body, b->v, b->n * sizeof *b->v)
                             ? care_call(e, j)
                             : ERR_LIMIT;
    if (code == ERR_OK && j->answer.n)
        memcpy(&moved, j->answer.v[0].p, sizeof moved);
    atomic_fetch_add(&e->count.compacted_bytes, moved);
    job_free(&j);
    return code;
}

/* A step of the segment that is being rewritten. */
static enum err_code compact_step(struct engine *e, struct compacting *c)
{
    struct batch_of *b = xcalloc(1, sizeof *b);
    int fd = segment_open(e, c->number);
    enum err_code code = fd >= 0 ? copy_living(e, c, fd, b) : ERR_MISSING;
    if (fd >= 0)
        close(fd);
    if (b->n) { /* also before an error */
        FAULT_STEP("store.compact.copied");
        stream_sync(&e->compact);
        FAULT_STEP("store.compact.synced");
        enum err_code moved = move_places(e, c, b);
        FAULT_STEP("store.compact.moved");
        code = code == ERR_OK ? moved : code;
    }
    free(b);
    if (code == ERR_OK && c->at >= c->end) {
        code = ask_writer(e, c->number, SEGMENT_EMPTIED);
        log_event(LOG_INFO, NULL, "store.segment.compacted", F_UINT("segment", c->number));
    }
    return code;
}

static bool worth_it(const struct engine *e, const struct rec_segment *r)
{
    const uint64_t size = r->end - SEGMENT_HEAD;
    return e->care_state.thorough ? r->dead > size / 16 : r->dead > size / 2;
}

static void drop(struct engine *e, uint32_t number, bool recorded)
{
    enum err_code code = recorded ? ERR_OK : ask_writer(e, number, SEGMENT_DROP);
    if (code == ERR_OK)
        unlink_segment(e, number);
}

/* One that is under way. */
static void go_on(struct engine *e, struct compacting *c)
{
    enum err_code code = holds_segments(e) || atomic_load(&e->full) ? ERR_STATE : compact_step(e, c);
    if (code == ERR_BUG)
        log_event(LOG_ALARM, NULL, "store.segment.damaged", F_UINT("segment", c->number),
                  F_UINT("offset", c->at));
    if (code == ERR_OK && c->at < c->end)
        return;
    if (code == ERR_OK)
        drop(e, c->number, false);
    c->number = 0;
}

bool segments_step(struct engine *e, struct walk *w)
{
    struct compacting *c = &e->care_state.compacting;
    uint32_t number;
    struct rec_segment r;
    if (c->number) {
        go_on(e, c);
        return false;
    }
    enum err_code code = next_segment(e, w, &number, &r);
    if (code != ERR_OK)
        return code != ERR_RETRY;
    if (holds_segments(e))
        return false; /* a later round does it */
    if (r.sealed == SEGMENT_DROPPED || r.dead >= r.end - SEGMENT_HEAD)
        drop(e, number, r.sealed == SEGMENT_DROPPED);
    else if (worth_it(e, &r))
        *c = (struct compacting){number, SEGMENT_HEAD, r.end};
    return false;
}
