/* verify, where it looks at the queue: entries against the schedule, whose tables are read one after the
 * other while both change. */
#include "common/store/verify.h"
#include <stdlib.h>

static enum err_code ask_due(struct verify *v, uint64_t id, uint64_t due_us)
{
    struct mend_said said;
    const struct mend_ask ask = {.what = MEND_DUE, .id = id, .other = due_us};
    enum err_code code = verify_mend(v, &ask, SPAN_NONE, &said);
    if (code == ERR_OK && said.wrong)
        verify_tell(v, said.fixed,
                    due_us ? "queue entry %llu: a time in the schedule that is not its own"
                           : "queue entry %llu: it is not in the schedule",
                    (unsigned long long)id);
    return code;
}

/* Entries and the schedule, as pairs of a time and an entry. */
struct due {
    uint64_t at_us, id;
};
struct dues {
    struct due *v;
    size_t n, cap;
};

static void due_add(struct dues *l, uint64_t at_us, uint64_t id)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->v = xrealloc(l->v, l->cap * sizeof *l->v);
    }
    l->v[l->n++] = (struct due){at_us, id};
}

static int by_due(const void *a, const void *b)
{
    const struct due *x = a, *y = b;
    if (x->at_us != y->at_us)
        return x->at_us < y->at_us ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static enum err_code look_queue(struct verify *v, struct dues *entries, struct dues *dues)
{
    struct tx t;
    struct scan s;
    struct span key, value;
    struct rec_queue q;
    uint64_t last = 0;
    const uint64_t leaps = v->leaps;
    enum err_code code = tx_begin(v->e, true, &t);
    if (code != ERR_OK)
        return code;
    verify_scan(v, &s, &t, T_QUEUE, SPAN_NONE, 0, 256 << 10);
    while (scan_next(&s, &key, &value)) {
        v->done++;
        if (key.n == KEY_PROGRESS && get_be64(key.p) == last && rec_progress_get(value, &q))
            continue;
        if (key.n == KEY_PROGRESS && v->leaps != leaps)
            continue; /* its entry was passed over */
        if (key.n == KEY_PROGRESS && get_be64(key.p) != last) {
            if (!v->watching)
                verify_tell(v, false, "queue entry %llu: its cursor is there without it",
                            (unsigned long long)get_be64(key.p));
            continue;
        }
        if (key.n != KEY_ID || !rec_queue_get(value, &q)) {
            if (!v->watching)
                verify_tell(v, false, "a queue entry is broken");
            continue;
        }
        verify_count(v, q.content);
        last = get_be64(key.p);
        due_add(entries, (uint64_t)q.due_us, last);
    }
    code = scan_close(&s);
    if (code == ERR_OK && !v->watching) {
        verify_scan(v, &s, &t, T_QUEUE_DUE, SPAN_NONE, 0, 64 << 10);
        while (scan_next(&s, &key, &value))
            due_add(dues, get_be64(key.p), get_be64(key.p + 8));
        code = scan_close(&s);
    }
    tx_free(&t);
    return code;
}

/* The writer is asked only about what does not pair: it may have moved while both were read. */
static enum err_code pair_queue(struct verify *v, struct dues *entries, struct dues *dues)
{
    enum err_code code = ERR_OK;
    if (entries->n)
        qsort(entries->v, entries->n, sizeof *entries->v, by_due);
    for (size_t i = 0, k = 0; code == ERR_OK && (i < entries->n || k < dues->n);) {
        int order = i == entries->n ? 1 : k == dues->n ? -1 : by_due(&entries->v[i], &dues->v[k]);
        if (order < 0)
            code = ask_due(v, entries->v[i].id, 0);
        else if (order > 0)
            code = ask_due(v, dues->v[k].id, dues->v[k].at_us);
        i += order <= 0;
        k += order >= 0;
    }
    return code;
}

enum err_code verify_queue(struct verify *v, bool *end)
{
    struct dues entries = {NULL, 0, 0}, dues = {NULL, 0, 0};
    enum err_code code = look_queue(v, &entries, &dues);
    const uint64_t mark = verify_mark();
    if (code == ERR_OK && !v->watching && !verify_torn(v, VERIFY_BIT(T_QUEUE) | VERIFY_BIT(T_QUEUE_DUE)))
        code = pair_queue(v, &entries, &dues);
    if (verify_hit(v, code, mark, 0, "the schedule of the queue"))
        code = ERR_OK;
    free(entries.v);
    free(dues.v);
    *end = true;
    return code;
}
