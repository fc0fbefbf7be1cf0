/* Segments that hold little or nothing any more. One that is wholly dead is dropped: first on record, then
 * its file goes, then the record; a start in between finds the record and does the rest. The hard point is a
 * reader that found a content's place and comes to the file when it is gone: it looks the place up again
 * (read.c). */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static enum err_code ask_writer(struct engine *e, uint32_t number, bool gone)
{
    struct job *j = job_new(WIRE_SEGMENT);
    const struct segment_ask ask = {number, gone};
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
    if (ask_writer(e, number, true) == ERR_OK)
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

bool segments_step(struct engine *e, struct walk *w)
{
    uint32_t number;
    struct rec_segment r;
    enum err_code code = next_segment(e, w, &number, &r);
    if (code != ERR_OK)
        return code != ERR_RETRY;
    if (holds_segments(e))
        return false; /* a later round does it */
    if (r.sealed == SEGMENT_SEALED && r.dead >= r.end - SEGMENT_HEAD) {
        code = ask_writer(e, number, false);
        if (code == ERR_OK)
            unlink_segment(e, number);
    } else if (r.sealed == SEGMENT_DROPPED) {
        unlink_segment(e, number);
    }
    return false;
}
