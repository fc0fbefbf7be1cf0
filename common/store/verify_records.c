/* verify, where a record says nothing that another one says too: outcomes, traces, repeats, the history of
 * names. Each must be readable, and those that are a chain without a hole. The tables have no versions: what
 * is met here is one page after the other, so what seems odd is looked at again by the writer
 * (mend_records.c). */
#include "common/store/verify.h"
#include <string.h>

enum { STEP_RECORDS = 2000, ODD = 64 /* of one step: the others in another run */ };

static const enum table walked[] = {T_DONE, T_TRACE, T_REPEAT};
enum { WALKED = sizeof walked / sizeof *walked };

/* Keys that are to be looked at again, as texts; one request once. */
struct odd {
    struct buf keys;
    size_t n;
};

static bool odd_add(struct odd *o, struct span key)
{
    if (o->n == ODD)
        return true;
    o->n++;
    return wire_put_text(&o->keys, key);
}

static void key_text(struct span key, char out[2 * KEY_TRACE + 1])
{
    out[0] = '\0';
    for (size_t i = 0; i < key.n && i < KEY_TRACE; i++)
        snprintf(out + 2 * i, 3, "%02x", (unsigned char)key.p[i]);
}

static enum err_code judge_done(struct verify *v, struct span id)
{
    struct mend_said said;
    char text[2 * KEY_TRACE + 1];
    const struct mend_ask ask = {.what = MEND_DONE};
    enum err_code code = verify_mend(v, &ask, id, &said);
    key_text(id, text);
    if (code == ERR_OK && said.wrong)
        verify_tell(v, said.fixed, "request %s: its outcome cannot be read or has a gap", text);
    return code;
}

static enum err_code judge_record(struct verify *v, enum table table, struct span key)
{
    struct mend_said said;
    char text[2 * KEY_TRACE + 1];
    const struct mend_ask ask = {.what = MEND_RECORD, .id = table};
    enum err_code code = verify_mend(v, &ask, key, &said);
    key_text(key, text);
    if (code == ERR_OK && said.wrong && table == T_TRACE)
        verify_tell(v, said.fixed, "trace %.*s: a line of it cannot be read", TRACE_TEXT - 1, key.p);
    else if (code == ERR_OK && said.wrong)
        verify_tell(v, said.fixed, "repeat %s: it cannot be read", text);
    return code;
}

static enum err_code judge(struct verify *v, enum table table, const struct odd *o)
{
    struct wire_in in = {buf_span(&o->keys), false};
    enum err_code code = ERR_OK;
    while (in.s.n && code == ERR_OK) {
        struct span key = wire_text(&in);
        const uint64_t mark = verify_mark();
        code = table == T_DONE ? judge_done(v, key) : judge_record(v, table, key);
        if (verify_hit(v, code, mark, 0, "an outcome, trace or repeat"))
            code = ERR_OK;
    }
    return code;
}

/* One record; *fresh: it does not belong to the one before, so that a step may end in front of it. */
static bool look(struct verify *v, struct done_parts *p, enum table table, struct span key, struct span value,
                 struct odd *o)
{
    if (table != T_DONE)
        return record_ok(v->e, table, key, value) || odd_add(o, key);
    if (key.n < sizeof p->id.b)
        return odd_add(o, key);
    return done_parts_add(p, key, value) || odd_add(o, span_first(key, sizeof p->id.b));
}

static bool same_request(const struct done_parts *p, struct span key)
{
    return p->any && key.n >= sizeof p->id.b && memcmp(key.p, p->id.b, sizeof p->id.b) == 0;
}

static enum err_code walk(struct verify *v, struct tx *t, enum table table, struct odd *o, bool *end)
{
    struct scan s;
    struct span key, value;
    struct done_parts p = {.any = false};
    size_t n = 0;
    *end = true;
    verify_scan(v, &s, t, table, span_of(v->at_key, v->at_key_n), 0, 64 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        const bool goes_on = table == T_DONE && same_request(&p, key);
        if (v->at_key_n && key.n <= sizeof v->at_key && span_eq(key, span_of(v->at_key, v->at_key_n)) &&
            v->at_key_met)
            continue;
        if (n >= STEP_RECORDS && !goes_on) {
            *end = false;
            break;
        }
        if (!goes_on)
            p = (struct done_parts){.any = false};
        n++;
        v->done++;
        if (!look(v, &p, table, key, value, o))
            s.code = ERR_LIMIT;
        v->at_key_n = key.n < sizeof v->at_key ? key.n : sizeof v->at_key;
        memcpy(v->at_key, key.p, v->at_key_n);
        v->at_key_met = true;
    }
    return scan_close(&s);
}

enum err_code verify_records(struct verify *v, bool *end)
{
    const enum table table = walked[v->at];
    struct tx t;
    struct odd o = {.n = 0};
    bool over = false;
    unsigned char from[sizeof v->at_key];
    const size_t from_n = v->at_key_n;
    const bool from_met = v->at_key_met;
    memcpy(from, v->at_key, sizeof from);
    buf_init(&o.keys, (size_t)ODD * 1024);
    enum err_code code = tx_begin(v->e, true, &t);
    if (code == ERR_OK)
        code = walk(v, &t, table, &o, &over);
    tx_free(&t);
    if (code == ERR_OK)
        code = judge(v, table, &o);
    buf_free(&o.keys);
    if (code != ERR_OK) { /* what seemed odd was not judged: once more from there */
        memcpy(v->at_key, from, sizeof from);
        v->at_key_n = from_n;
        v->at_key_met = from_met;
    }
    if (code == ERR_OK && over) {
        v->at++;
        v->at_key_n = 0;
        v->at_key_met = false;
    }
    *end = v->at == WALKED;
    return code;
}

/* -- the history of an account's names -- */

enum err_code verify_history(struct verify *v, struct tx *t, const struct uuid *account, bool *odd)
{
    struct scan s;
    struct span key, value;
    uint64_t last = 0;
    const uint64_t leaps = v->leaps;
    *odd = false;
    verify_scan(v, &s, t, T_NAME_CHANGE, key_uuid(account), KEY_UUID, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        v->done++;
        const bool ok = record_ok(v->e, T_NAME_CHANGE, key, value);
        const uint64_t serial = ok ? get_be64(key.p + KEY_UUID) : 0;
        *odd = *odd || !ok || (last && serial != last + 1);
        last = serial;
    }
    enum err_code code = scan_close(&s);
    unsigned differ = 0;
    *odd = *odd && v->leaps == leaps;
    if (code == ERR_OK && !*odd && v->leaps == leaps)
        code = history_differs(t, account, false, &differ);
    *odd = *odd || differ;
    return code;
}

enum err_code verify_history_judge(struct verify *v, const struct uuid *account)
{
    struct mend_said said;
    char text[UUID_TEXT];
    const struct mend_ask ask = {.what = MEND_HISTORY, .account = *account};
    enum err_code code = verify_mend(v, &ask, SPAN_NONE, &said);
    uuid_format(account, text);
    if (code == ERR_OK && said.wrong)
        verify_tell(v, said.fixed, "account %s: the history of its names %s", text,
                    said.wrong & 2   ? "has a gap"
                    : said.wrong & 1 ? "has a change that cannot be read"
                                     : "does not say what they are");
    return code;
}
