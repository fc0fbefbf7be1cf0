/* mailadm store verify, the store's side: walks through all that the store holds, a step for each query, so
 * that the asker sets the pace and nothing long runs in stored. One verification at a time; what it remembers
 * between steps is a count for each content, and the segments.
 * The hard point is that the store changes meanwhile. What belongs to one mailbox is compared in one
 * snapshot; what does not is only suspected here, and looked at again by the writer (mend.c) before it is
 * told. */
#include "common/store/verify.h"
#include <stdio.h>
#include <stdarg.h>
#include <stdlib.h>

enum { FINDINGS = 200, SUSPECTS = 4096, TURNS = 16, ROUNDS = 4, DEEP_BYTES = 8 << 20, UNREAD = 256 };

void verify_free(struct verify **vp)
{
    struct verify *v = *vp;
    if (!v)
        return;
    for (size_t i = 0; i < v->page_n; i++)
        free(v->pages[i].v);
    free(v->pages);
    free(v->segments);
    ids_free(&v->suspects);
    ids_free(&v->later);
    ids_free(&v->damaged);
    ids_free(&v->lost);
    ids_free(&v->living);
    ids_free(&v->named);
    ids_free(&v->bare);
    ids_free(&v->unread);
    free(v->bare_met);
    buf_free(&v->bare_said);
    free(v);
    *vp = NULL;
}

/* -- findings -- */

void verify_tell(struct verify *v, bool fixed, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    v->found++;
    v->fixed += fixed;
    log_event(LOG_WARN, NULL, fixed ? "store.verify.repaired" : "store.verify.found", F_STR("what", text));
    if (v->told == FINDINGS || !v->out)
        return; /* the log has it */
    const uint32_t flag = fixed;
    if (buf_add(v->out, &flag, sizeof flag) && wire_put_text(v->out, span_of(text, (size_t)n)))
        v->told++;
}

/* Ask the writer about a suspect; what it says is told. */
enum err_code verify_mend(struct verify *v, const struct mend_ask *ask, struct span more,
                          struct mend_said *said)
{
    struct job *j = job_new(WIRE_MEND);
    struct mend_ask w = *ask;
    w.fix = v->repair;
    *said = (struct mend_said){0, 0};
    enum err_code code =
        buf_add(&j->body, &w, sizeof w) && buf_add_span(&j->body, more) ? care_call(v->e, j) : ERR_LIMIT;
    if (code == ERR_OK && j->answer.n && j->answer.v[0].n == sizeof *said)
        memcpy(said, j->answer.v[0].p, sizeof *said);
    job_free(&j);
    return code;
}

/* -- ids -- */

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void verify_sort(struct ids *l)
{
    size_t kept = 0;
    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, by_id);
    for (size_t i = 0; i < l->n; i++)
        if (!kept || l->v[kept - 1] != l->v[i])
            l->v[kept++] = l->v[i];
    l->n = kept;
}

size_t verify_place(const struct ids *sorted, uint64_t id)
{
    const uint64_t *at = sorted->n ? bsearch(&id, sorted->v, sorted->n, sizeof id, by_id) : NULL;
    return at ? (size_t)(at - sorted->v) : sorted->n;
}

bool verify_has(const struct ids *sorted, uint64_t id)
{
    return verify_place(sorted, id) < sorted->n;
}

/* -- references: counted here, judged later -- */

/* NULL: no content was there in that range when the verification began. */
static uint32_t *count_of(struct verify *v, uint64_t id)
{
    const uint64_t number = id / COUNT_PAGE;
    size_t lo = 0, hi = v->page_n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (v->pages[mid].number == number)
            return &v->pages[mid].v[id % COUNT_PAGE];
        if (v->pages[mid].number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

void verify_count(struct verify *v, uint64_t id)
{
    if (v->watching) {
        const size_t at = verify_place(&v->suspects, id);
        if (at < v->suspects.n)
            v->again[at]++;
        return;
    }
    if (id == 0 || id >= v->limit)
        return; /* no content, or one that came after the start */
    uint32_t *n = count_of(v, id);
    if (n)
        ++*n;
    else
        ids_add(&v->suspects, id);
}

static enum err_code count_changes(struct verify *v, struct tx *t, uint64_t mailbox, const struct rec_box *b)
{
    unsigned char from[KEY_CHANGE];
    struct scan s;
    struct span key, value;
    struct rec_change r;
    struct ids named = {NULL, 0, 0};
    key_pair(from, mailbox, 0);
    verify_scan(v, &s, t, T_CHANGE, span_of(from, sizeof from), KEY_ID, 256 << 10);
    while (scan_next(&s, &key, &value)) {
        v->done++;
        if (key.n != KEY_CHANGE || !rec_change_get(value, &r) || !change_contents(&r, &named)) {
            if (!v->watching) /* it was told */
                verify_tell(v, false, "mailbox %llu: a change record is broken", (unsigned long long)mailbox);
            continue;
        }
        if (b && !v->watching && (get_be64(key.p + 8) > b->modseq || get_be64(key.p + 8) <= b->change_floor))
            verify_tell(v, false, "mailbox %llu: a change outside of its history (modseq %llu)",
                        (unsigned long long)mailbox, (unsigned long long)get_be64(key.p + 8));
    }
    for (size_t i = 0; i < named.n; i++)
        verify_count(v, named.v[i]);
    ids_free(&named);
    return scan_close(&s);
}

/* -- mailboxes: rows, counters, history, in one snapshot each -- */

static enum err_code check_rows(struct verify *v, struct tx *t, const struct box *b)
{
    unsigned char from[KEY_MESSAGE];
    struct scan s;
    struct span key, value;
    struct store_row r;
    struct box sum = *b;
    unsigned odd = 0;
    const uint64_t leaps = v->leaps;
    sum.r.messages = sum.r.unseen = sum.r.deleted = 0;
    sum.r.bytes = 0;
    key_message(from, b->id, 0);
    verify_scan(v, &s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, 256 << 10);
    while (scan_next(&s, &key, &value)) {
        v->done++;
        r.uid = get_be32(key.p + KEY_ID);
        if (!rec_row_get(value, &r)) {
            if (!v->watching)
                verify_tell(v, false, "mailbox %llu uid %u: its row is broken", (unsigned long long)b->id,
                            r.uid);
            continue;
        }
        box_count(&sum, &r, 1);
        verify_count(v, r.content);
        odd += r.uid >= b->r.uidnext || r.modseq > b->r.modseq ||
               (b->r.keyword_count < 64 && r.keywords >> b->r.keyword_count);
    }
    enum err_code code = scan_close(&s);
    if (code != ERR_OK || v->watching || v->leaps != leaps || (odd == 0 && box_same(&sum.r, &b->r)))
        return code;
    struct mend_said said;
    const struct mend_ask ask = {.what = MEND_BOX, .id = b->id};
    code = verify_mend(v, &ask, SPAN_NONE, &said);
    if (code == ERR_OK && (said.wrong || odd))
        verify_tell(v, said.fixed && !odd,
                    "mailbox %llu: its counters say %u messages, %llu bytes, %u unseen; its rows %u, %llu, "
                    "%u; %u rows "
                    "beyond UIDNEXT, modseq or keywords",
                    (unsigned long long)b->id, b->r.messages, (unsigned long long)b->r.bytes, b->r.unseen,
                    sum.r.messages, (unsigned long long)sum.r.bytes, sum.r.unseen, odd);
    return code;
}

/* Rows or changes of mailboxes between two that are there. */
static enum err_code check_gap(struct verify *v, struct tx *t, enum table table, uint64_t after,
                               uint64_t until)
{
    unsigned char from[KEY_CHANGE] = {0};
    struct scan s;
    struct span key, value;
    put_be64(from, after + 1);
    verify_scan(v, &s, t, table, span_of(from, table == T_MESSAGE ? KEY_MESSAGE : KEY_CHANGE), 0, 4096);
    if (scan_next(&s, &key, &value) && get_be64(key.p) < until)
        verify_tell(v, false, "%s of mailbox %llu, which is not there",
                    table == T_MESSAGE ? "messages" : "changes", (unsigned long long)get_be64(key.p));
    return scan_close(&s);
}

enum err_code verify_next_box(struct verify *v, struct tx *t, uint64_t after, struct box *out)
{
    unsigned char from[KEY_ID];
    struct scan s;
    struct span key, value;
    bool found = false;
    put_be64(from, after + 1);
    verify_scan(v, &s, t, T_MAILBOX, span_of(from, sizeof from), 0, 4096);
    if (scan_next(&s, &key, &value)) {
        out->id = get_be64(key.p);
        found = rec_box_get(value, &out->r);
        if (!found)
            s.code = ERR_BUG;
    }
    enum err_code code = scan_close(&s);
    return code == ERR_OK && !found ? ERR_MISSING : code;
}

/* Of the next mailbox: what lies before it, its rows, its changes. ERR_MISSING: there is none. */
static enum err_code check_next(struct verify *v, struct box *b)
{
    struct tx t;
    enum err_code code = tx_begin(v->e, true, &t);
    if (code == ERR_OK)
        code = verify_next_box(v, &t, v->at, b);
    if (code == ERR_OK || code == ERR_MISSING) {
        uint64_t until = code == ERR_OK ? b->id : UINT64_MAX;
        /* What a torn table lacks may be the mailbox of these rows. */
        const bool look = !v->watching && !verify_torn(v, VERIFY_BIT(T_MAILBOX));
        enum err_code gap = look ? check_gap(v, &t, T_MESSAGE, v->at, until) : ERR_OK;
        if (gap == ERR_OK && look)
            gap = check_gap(v, &t, T_CHANGE, v->at, until);
        if (gap != ERR_OK)
            code = gap;
    }
    if (code == ERR_OK)
        code = check_rows(v, &t, b);
    if (code == ERR_OK)
        code = count_changes(v, &t, b->id, &b->r);
    tx_free(&t);
    return code;
}

static enum err_code step_mailboxes(struct verify *v, bool *end)
{
    const uint64_t begin = clock_mono_ms();
    enum err_code code = ERR_OK;
    while (code == ERR_OK && clock_mono_ms() - begin < VERIFY_STEP_MS) {
        struct box b = {.id = 0};
        char what[64];
        const uint64_t mark = verify_mark();
        code = check_next(v, &b);
        snprintf(what, sizeof what, "mailbox %llu", (unsigned long long)b.id);
        if (b.id && verify_hit(v, code, mark, VERIFY_REFS, what))
            code = ERR_OK;
        if (code == ERR_OK) {
            v->at = b.id;
            v->done++;
            if (!b.r.deleted_us && !v->watching)
                ids_add(&v->living, b.id);
        }
    }
    *end = code == ERR_MISSING;
    return code == ERR_MISSING ? ERR_OK : code;
}

/* -- contents: each has its count and its place; what does not fit is a suspect -- */

static struct verify_segment *segment_of(struct verify *v, uint32_t number)
{
    size_t lo = 0, hi = v->segment_n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (v->segments[mid].number == number)
            return &v->segments[mid];
        if (v->segments[mid].number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void check_place(struct verify *v, uint64_t id, const struct rec_content *r)
{
    struct verify_segment *s = segment_of(v, r->segment);
    if (!s) /* it was made or moved after the start */
        return;
    if (s->sealed == SEGMENT_SEALED && (r->offset > s->end || r->packed > s->end - r->offset))
        verify_tell(v, false, "content %llu: it lies beyond the end of segment %u", (unsigned long long)id,
                    r->segment);
    s->live += segment_share(r->frame_count, r->packed);
}

/* The next records of contents: met says which; *until is the id up to which they were looked at. */
static enum err_code look_records(struct verify *v, struct tx *t, struct ids *met, struct buf *deep,
                                  uint64_t *until)
{
    const size_t look = v->deep ? 100 : 2000;
    uint64_t packed = 0; /* what a deep run will read in this step */
    struct scan s;
    struct span key, value;
    unsigned char from[KEY_ID];
    put_be64(from, v->at + 1);
    *until = v->limit;
    verify_scan(v, &s, t, T_CONTENT, span_of(from, sizeof from), 0, 64 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        struct rec_content r;
        uint64_t id = get_be64(key.p);
        if (id >= v->limit)
            break;
        if (met->n == look || packed > DEEP_BYTES) {
            *until = id - 1;
            break;
        }
        ids_add(met, id);
        const uint32_t *n = count_of(v, id);
        if (!n || *n == 0)
            ids_add(&v->suspects, id);
        if (!rec_content_get(value, &r)) {
            verify_tell(v, false, "content %llu: its record is broken", (unsigned long long)id);
            continue;
        }
        if (!r.meta.n && v->bare.n < BARE) /* the others in another run */
            ids_add(&v->bare, id);
        if (r.meta.n && v->unread.n < UNREAD && !record_meta_ok(v->e, r.meta))
            ids_add(&v->unread, id);
        check_place(v, id, &r);
        packed += v->deep ? r.packed : 0;
        if (v->deep && (!buf_add(deep, &id, sizeof id) || !wire_put_text(deep, value)))
            s.code = ERR_LIMIT;
    }
    return scan_close(&s);
}

/* The counts of the same ids. */
static enum err_code look_refs(struct verify *v, struct tx *t, const struct ids *met, uint64_t until)
{
    struct scan s;
    struct span key, value;
    unsigned char from[KEY_ID];
    put_be64(from, v->at + 1);
    verify_scan(v, &s, t, T_REF, span_of(from, sizeof from), 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct rec_ref r;
        uint64_t id = get_be64(key.p);
        if (id > until || id >= v->limit)
            break;
        v->done++;
        uint32_t *n = count_of(v, id);
        if (!n || !rec_ref_get(value, &r) || r.count != *n || !verify_has(met, id))
            ids_add(&v->suspects, id);
        if (n)
            *n = 0;
    }
    return scan_close(&s);
}

static enum err_code look_contents(struct verify *v, struct buf *deep, bool *end)
{
    struct tx t;
    struct ids met = {NULL, 0, 0};
    uint64_t until = v->limit;
    enum err_code code = tx_begin(v->e, true, &t);
    if (code == ERR_OK)
        code = look_records(v, &t, &met, deep, &until);
    if (code == ERR_OK)
        code = look_refs(v, &t, &met, until);
    tx_free(&t);
    ids_free(&met);
    *end = until >= v->limit;
    if (code == ERR_OK)
        v->at = until;
    return code;
}

/* What was counted and had no count on record. */
static void left_over(struct verify *v)
{
    for (size_t i = 0; i < v->page_n; i++)
        for (size_t k = 0; k < COUNT_PAGE; k++)
            if (v->pages[i].v[k])
                ids_add(&v->suspects, v->pages[i].number * COUNT_PAGE + k);
}

/* Contents of a step of a deep run, read when no cursor is open: id and record of each, as texts. */
static enum err_code read_deep(struct verify *v, struct span list)
{
    struct wire_in in = {list, false};
    enum err_code code = ERR_OK;
    while (in.s.n && code == ERR_OK) {
        uint64_t id;
        struct rec_content r;
        if (!wire_get(&in, &id, sizeof id))
            return ERR_BUG;
        struct span value = wire_text(&in);
        if (rec_content_get(value, &r) && r.frames.n)
            code = verify_frames(v, id, &r);
    }
    return code;
}

/* A meta record that cannot be read is as good as none, once the writer has taken it away. */
static enum err_code judge_unread(struct verify *v)
{
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < v->unread.n && code == ERR_OK; i++) {
        struct mend_said said;
        const struct mend_ask ask = {.what = MEND_META, .id = v->unread.v[i]};
        const uint64_t mark = verify_mark();
        code = verify_mend(v, &ask, SPAN_NONE, &said);
        if (verify_hit(v, code, mark, 0, "a content whose meta cannot be read")) {
            code = ERR_OK;
            continue;
        }
        if (code == ERR_OK && said.wrong)
            verify_tell(v, said.fixed, "content %llu: what the parser said of it cannot be read",
                        (unsigned long long)v->unread.v[i]);
        if (code == ERR_OK && said.fixed && v->bare.n < BARE)
            ids_add(&v->bare, v->unread.v[i]);
    }
    v->unread.n = 0;
    return code;
}

static enum err_code step_contents(struct verify *v, bool *end)
{
    struct buf deep;
    buf_init(&deep, (size_t)64 << 20);
    enum err_code code = look_contents(v, &deep, end);
    if (code == ERR_OK)
        code = judge_unread(v);
    if (code == ERR_OK && v->deep)
        code = read_deep(v, buf_span(&deep));
    if (code == ERR_OK && *end)
        left_over(v);
    buf_free(&deep);
    return code;
}
/* -- suspects: put on the watch, counted anew, judged by the writer -- */

static enum err_code judge(struct verify *v)
{
    struct job *j = job_new(WIRE_MEND);
    const struct mend_ask ask = {.what = MEND_REFS, .fix = v->repair};
    struct ids left = {NULL, 0, 0};
    enum err_code code =
        buf_add(&j->body, &ask, sizeof ask) && buf_add(&j->body, v->again, v->suspects.n * sizeof *v->again)
            ? care_call(v->e, j)
            : ERR_LIMIT;
    for (size_t i = 0; code == ERR_OK && (i + 1) * sizeof(struct mend_ref) <= j->answer.v[0].n; i++) {
        struct mend_ref r;
        memcpy(&r, j->answer.v[0].p + i * sizeof r, sizeof r);
        if (r.touched)
            ids_add(&left, r.id);
        else if (r.wrong && r.counted && !r.has_content)
            ids_add(&v->lost, r.id);
        if (!r.touched && r.wrong)
            verify_tell(v, r.fixed,
                        r.counted && !r.has_content
                            ? "content %llu: its record is lost (%u references, %u counted)"
                            : "content %llu: it counts %u references, they are %u",
                        (unsigned long long)r.id, r.recorded, r.counted);
    }
    job_free(&j);
    ids_free(&v->suspects);
    v->suspects = left;
    return code;
}

/* At most so many at a time: where much comes and goes, many that are right are doubtful. */
static void put_off(struct verify *v)
{
    verify_sort(&v->suspects);
    const size_t all = v->suspects.n;
    if (all > (size_t)SUSPECTS * TURNS) { /* the others in another run */
        verify_tell(v, false, "%zu contents with doubtful counts; looked at %d of them", all,
                    SUSPECTS * TURNS);
        v->suspects.n = (size_t)SUSPECTS * TURNS;
    }
    while (v->suspects.n > SUSPECTS)
        ids_add(&v->later, v->suspects.v[--v->suspects.n]);
}

/* The next ones. False: there are none. */
static bool take_later(struct verify *v)
{
    while (v->later.n && v->suspects.n < SUSPECTS)
        ids_add(&v->suspects, v->later.v[--v->later.n]);
    v->rounds = 0;
    v->at = UINT64_MAX;
    return v->suspects.n != 0;
}

static enum err_code watch(struct verify *v)
{
    struct mend_said said;
    const struct mend_ask ask = {.what = MEND_WATCH};
    put_off(v);
    memset(v->again, 0, SUSPECTS * sizeof *v->again);
    return verify_mend(v, &ask, span_of(v->suspects.v, v->suspects.n * sizeof *v->suspects.v), &said);
}

/* Where references were not all met, or their records not, no count may be called wrong. */
static enum err_code leave_suspects(struct verify *v)
{
    enum err_code code = ERR_OK;
    v->suspects.n = v->later.n = 0;
    if (v->watching)
        code = watch(v); /* nothing: the watch ends */
    v->watching = false;
    verify_tell(v, false, "because of damaged pages the counts of references were not compared");
    return code;
}

static enum err_code step_suspects(struct verify *v, bool *end)
{
    enum err_code code = ERR_OK;
    bool over = false;
    *end = verify_torn(v, VERIFY_REFS);
    if (*end)
        return leave_suspects(v);
    if (v->suspects.n == 0 || v->rounds == ROUNDS) {
        if (v->suspects.n)
            log_event(LOG_INFO, NULL, "store.verify.undecided", F_UINT("contents", v->suspects.n));
        v->suspects.n = 0;
        *end = !take_later(v);
        if (!*end)
            return ERR_OK;
        if (v->watching)
            code = watch(v); /* nothing: the watch ends */
        v->watching = false;
        return code;
    }
    if (!v->watching || v->at == UINT64_MAX) {
        v->watching = true;
        v->rounds++;
        v->at = 0;
        return watch(v);
    }
    code = step_mailboxes(v, &over);
    if (code == ERR_OK && over)
        code = verify_queue(v, &over);
    if (code == ERR_RETRY) /* what was counted half would be counted twice */
        v->at = UINT64_MAX;
    if (code != ERR_OK || !over)
        return code;
    code = judge(v);
    v->at = UINT64_MAX;
    return code;
}

/* -- start, steps, end -- */

static enum err_code load_segments(struct verify *v, struct tx *t)
{
    struct scan s;
    struct span key, value;
    size_t cap = 0;
    verify_scan(v, &s, t, T_SEGMENT, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct rec_segment r;
        if (key.n != 4 || !rec_segment_get(value, &r)) {
            verify_tell(v, false, "a segment's record is broken");
            continue;
        }
        if (v->segment_n == cap) {
            cap = cap ? cap * 2 : 64;
            v->segments = xrealloc(v->segments, cap * sizeof *v->segments);
        }
        v->segments[v->segment_n++] = (struct verify_segment){
            .number = get_be32(key.p), .sealed = r.sealed, .end = r.end, .dead = r.dead};
    }
    return scan_close(&s);
}

/* A page of counts for each range of ids that has contents: one seek for each. */
static enum err_code make_pages(struct verify *v, struct tx *t)
{
    enum err_code code = ERR_OK;
    size_t cap = 0;
    for (uint64_t from = 0; code == ERR_OK;) {
        unsigned char key_from[KEY_ID];
        struct scan s;
        struct span key, value;
        uint64_t number = UINT64_MAX;
        put_be64(key_from, from);
        verify_scan(v, &s, t, T_REF, span_of(key_from, sizeof key_from), 0, 4096);
        if (scan_next(&s, &key, &value))
            number = get_be64(key.p) / COUNT_PAGE;
        code = scan_close(&s);
        if (number == UINT64_MAX || number > v->limit / COUNT_PAGE)
            break;
        if (v->page_n == cap) {
            cap = cap ? cap * 2 : 64;
            v->pages = xrealloc(v->pages, cap * sizeof *v->pages);
        }
        v->pages[v->page_n].number = number;
        v->pages[v->page_n++].v = xcalloc(COUNT_PAGE, sizeof(uint32_t));
        from = (number + 1) * COUNT_PAGE;
    }
    return code;
}

static enum err_code start(struct engine *e, const struct wire_verify *w, struct buf *out)
{
    struct tx t;
    verify_free(&e->verify);
    struct verify *v = e->verify = xcalloc(1, sizeof *v);
    v->e = e;
    v->out = out;
    buf_init(&v->bare_said, (size_t)2 * BARE * sizeof(struct store_bare));
    v->deep = w->deep != 0;
    v->repair = w->repair != 0;
    pthread_mutex_lock(&e->id_lock);
    v->limit = e->id_next[ID_CONTENT];
    pthread_mutex_unlock(&e->id_lock);
    enum err_code code = tx_begin(e, true, &t);
    if (code == ERR_OK)
        code = make_pages(v, &t);
    if (code == ERR_OK)
        code = load_segments(v, &t);
    tx_free(&t);
    return code;
}

static const struct {
    const char *name;
    enum err_code (*step)(struct verify *v, bool *end);
} phases[] = {{"mailboxes", step_mailboxes}, {"accounts", verify_accounts}, {"queue", verify_queue},
              {"records", verify_records},   {"contents", step_contents},   {"suspects", step_suspects},
              {"segments", verify_segments}, {"files", verify_files},       {"losses", verify_losses}};
enum { PHASES = sizeof phases / sizeof *phases };

/* A step of the phase. Damaged pages are told by its walks, which go on behind them; what is left is met
 * where one record was asked for that many others need, and ends the phase. */
static enum err_code step(struct verify *v, bool *end)
{
    const uint64_t mark = verify_mark();
    char what[64];
    enum err_code code = phases[v->phase].step(v, end);
    snprintf(what, sizeof what, "the rest of the %s", phases[v->phase].name);
    if (!verify_hit(v, code, mark, VERIFY_ALL, what))
        return code;
    *end = true;
    v->suspects.n = v->later.n = 0;
    code = v->watching ? watch(v) : ERR_OK; /* nothing: the watch ends */
    v->watching = false;
    return code;
}

enum err_code read_verify(struct tx *t, struct query *q)
{
    struct engine *e = t->e;
    struct wire_in in = {q->body, false};
    struct wire_verify w;
    struct wire_verify_said said = {.phases = PHASES};
    struct buf *out = parts_add(&q->answer);
    bool end = false;
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in) || !buf_add(out, &said, sizeof said))
        return ERR_SYNTAX;
    pthread_mutex_lock(&e->verify_lock);
    enum err_code code = w.start ? start(e, &w, out) : e->verify ? ERR_OK : ERR_STATE;
    struct verify *v = e->verify;
    if (code == ERR_OK) {
        v->out = out;
        v->told = w.start ? v->told : 0;
        v->bytes = 0;
        if (!w.start)
            code = step(v, &end);
        if (code == ERR_RETRY) /* a snapshot fell, or the writer has no time: the next step tries again */
            code = ERR_OK;
        if (code == ERR_OK && end) {
            v->phase++;
            v->at = 0;
        }
        said.phase = v->phase;
        said.done = v->done;
        said.bytes = v->bytes;
        said.found = v->found;
        said.fixed = v->fixed;
        said.count = v->told;
        said.bare = (uint32_t)(v->bare_said.n / sizeof(struct store_bare));
        if (!buf_add_span(out, buf_span(&v->bare_said)))
            code = ERR_LIMIT;
        buf_reset(&v->bare_said);
        snprintf(said.name, sizeof said.name, "%s", v->phase < PHASES ? phases[v->phase].name : "");
        v->out = NULL;
    }
    if (out->n >= sizeof said)
        memcpy(out->p, &said, sizeof said);
    if (code != ERR_OK || (v && v->phase == PHASES))
        verify_free(&e->verify);
    pthread_mutex_unlock(&e->verify_lock);
    return code;
}
