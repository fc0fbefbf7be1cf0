/* What verify asks of the writer about single records that cannot be read, and of chains of records that have
 * a hole: judged where nothing moves, and set right as far as it goes. The hard point is what to put where
 * there was a record whose contents nobody knows: nothing where its place means nothing (repeats; the outcome
 * of a request as a whole), else one that keeps the place and says that its contents are lost, so that a
 * trace id stays taken and the history of names goes on. */
#include "common/store/engine_int.h"
#include <string.h>

bool record_meta_ok(const struct engine *e, struct span meta)
{
    return !e->o.meta_ok || e->o.meta_ok(meta);
}

static bool repeat_ok(struct span value)
{
    struct span groups;
    struct rec_repeat_group g;
    if (value.n && value.p[0] == REC_VERSION)
        return value.n >= 9; /* it goes by its time */
    if (!rec_repeat_get(value, &groups))
        return false;
    while (groups.n)
        if (!rec_repeat_next(&groups, &g))
            return false;
    return true;
}

static bool trace_ok(const struct engine *e, struct span key, struct span value)
{
    struct rec_trace r;
    (void)e;
    return key.n == KEY_TRACE && rec_trace_get(value, &r) && r.kind >= TRACE_RECEIVED &&
           r.kind <= TRACE_FINISHED;
}

bool record_ok(const struct engine *e, enum table table, struct span key, struct span value)
{
    struct rec_name_change r;
    switch (table) {
    case T_TRACE:
        return trace_ok(e, key, value);
    case T_REPEAT:
        return key.n == REPEAT_KEY && repeat_ok(value);
    case T_NAME_CHANGE:
        return key.n == KEY_NAME_CHANGE && rec_name_change_get(value, &r);
    default:
        return false;
    }
}

/* -- the parser's record -- */

/* It goes; a reader of the message can then give another (op_describe). */
enum err_code mend_meta(struct tx *t, uint64_t content, bool fix, struct mend_said *out)
{
    struct rec_content r;
    struct buf old;
    unsigned char key[KEY_ID];
    put_be64(key, content);
    buf_init(&old, (size_t)64 << 20);
    enum err_code code = tx_get_buf(t, T_CONTENT, span_of(key, sizeof key), &old);
    if (code == ERR_OK && !rec_content_get(buf_span(&old), &r))
        code = ERR_BUG;
    if (code == ERR_OK) {
        out->wrong = r.meta.n && !record_meta_ok(t->e, r.meta);
        out->fixed = out->wrong && fix;
    }
    if (code == ERR_OK && out->fixed) {
        r.meta = SPAN_NONE;
        mark_all(t->e);
        buf_reset(&t->scratch);
        code = rec_content_put(&r, &t->scratch)
                   ? tx_put(t, T_CONTENT, span_of(key, sizeof key), buf_span(&t->scratch))
                   : ERR_LIMIT;
    }
    buf_free(&old);
    return code == ERR_MISSING ? ERR_OK : code;
}

/* -- outcomes -- */

bool done_parts_add(struct done_parts *p, struct span key, struct span value)
{
    struct rec_done r;
    if (key.n != KEY_DONE || !rec_done_get(value, &r))
        return false;
    const uint32_t part = get_be32(key.p + sizeof p->id.b);
    if (!p->any) {
        *p = (struct done_parts){.any = true, .at_us = r.at_us};
        memcpy(p->id.b, key.p, sizeof p->id.b);
    }
    const bool follows = part == p->next && !p->final;
    p->next = part + 1;
    p->final = r.final != 0;
    return follows && r.code <= ERR_BUG && (part || r.final || done_intent_ok(&r));
}

static enum err_code drop_all(struct tx *t, const struct buf *keys)
{
    enum err_code code = ERR_OK;
    for (size_t at = 0; at < keys->n && code == ERR_OK; at += KEY_DONE)
        code = tx_del(t, T_DONE, span_of(keys->p + at, KEY_DONE));
    return code;
}

enum err_code mend_done(struct tx *t, struct span id, bool fix, struct mend_said *out)
{
    /* Parts are swept one by one when they are a day old: what is nearly so may be incomplete. */
    static const int64_t young_us = (int64_t)23 * 3600 * 1000000;
    struct done_parts p = {.any = false};
    struct buf keys;
    struct scan s;
    struct span key, value;
    bool odd = false;
    if (id.n != sizeof p.id.b)
        return ERR_SYNTAX;
    buf_init(&keys, (size_t)64 << 20);
    scan_open(&s, t, T_DONE, id, id.n, 64 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        odd = !done_parts_add(&p, key, value) || odd;
        if (key.n == KEY_DONE && !buf_add_span(&keys, key))
            s.code = ERR_LIMIT;
    }
    enum err_code code = scan_close(&s);
    out->wrong = code == ERR_OK && odd && !(p.any && clock_wall_us() - p.at_us > young_us);
    out->fixed = out->wrong && fix;
    if (out->fixed)
        code = drop_all(t, &keys);
    buf_free(&keys);
    return code;
}

/* -- traces, repeats -- */

static enum err_code put_lost_line(struct tx *t, struct span key)
{
    const struct rec_trace r = {.at_us = clock_wall_us(),
                                .kind = TRACE_DEFERRED,
                                .reason = SPAN("what this line said was damaged and is lost")};
    buf_reset(&t->scratch);
    return rec_trace_put(&r, &t->scratch) ? tx_put(t, T_TRACE, key, buf_span(&t->scratch)) : ERR_LIMIT;
}

enum err_code mend_record(struct tx *t, enum table table, struct span key, bool fix, struct mend_said *out)
{
    if (table != T_TRACE && table != T_REPEAT)
        return ERR_SYNTAX;
    enum err_code code = tx_get_buf(t, table, key, &t->scratch);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_OK : code;
    out->wrong = !record_ok(t->e, table, key, buf_span(&t->scratch));
    out->fixed = out->wrong && fix && (table == T_REPEAT || key.n == KEY_TRACE);
    if (!out->fixed)
        return ERR_OK;
    return table == T_REPEAT ? tx_del(t, table, key) : put_lost_line(t, key);
}

/* -- the history of names -- */

static enum err_code put_lost_change(struct tx *t, struct span key, int64_t at_us)
{
    const struct rec_name_change r = {.at_us = at_us, .name = SPAN("")};
    buf_reset(&t->scratch);
    return rec_name_change_put(&r, &t->scratch) ? tx_put(t, T_NAME_CHANGE, key, buf_span(&t->scratch))
                                                : ERR_LIMIT;
}

/* wrong: 1, a record cannot be read (or some); 2, one is missing; 4, it does not say what the names are. */
enum err_code mend_history(struct tx *t, const struct uuid *account, bool fix, struct mend_said *out)
{
    struct scan s;
    struct span key, value;
    struct rec_name_change r;
    struct buf broken; /* keys, each with a time */
    uint64_t last = 0;
    int64_t at_us = clock_wall_us();
    buf_init(&broken, (size_t)64 << 20);
    scan_open(&s, t, T_NAME_CHANGE, key_uuid(account), KEY_UUID, 64 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        const bool whole = record_ok(t->e, T_NAME_CHANGE, key, value);
        if (key.n != KEY_NAME_CHANGE) {
            out->wrong |= 1;
            continue;
        }
        const uint64_t serial = get_be64(key.p + KEY_UUID);
        if (last && serial != last + 1)
            out->wrong |= 2;
        last = serial;
        if (whole && rec_name_change_get(value, &r)) {
            at_us = r.at_us;
            continue;
        }
        out->wrong |= 1;
        if (!buf_add_span(&broken, key) || !buf_add(&broken, &at_us, sizeof at_us))
            s.code = ERR_LIMIT;
    }
    enum err_code code = scan_close(&s);
    out->fixed = out->wrong == 1 && fix && broken.n;
    for (size_t at = 0; at < broken.n && code == ERR_OK && fix; at += KEY_NAME_CHANGE + sizeof at_us) {
        memcpy(&at_us, broken.p + at + KEY_NAME_CHANGE, sizeof at_us);
        code = put_lost_change(t, span_of(broken.p + at, KEY_NAME_CHANGE), at_us);
    }
    buf_free(&broken);
    unsigned differ = 0;
    if (code == ERR_OK && !out->wrong)
        code = history_differs(t, account, fix, &differ);
    if (code == ERR_OK && differ) {
        out->wrong |= 4;
        out->fixed = fix;
    }
    return code;
}
