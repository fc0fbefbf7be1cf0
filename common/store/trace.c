/* The trace of a message: lines under its trace id, written in the transaction that they tell of, and the
 * keys by which a submission that is sent again is recognised. A repeat key lives from the commit until the
 * worker says that the 250 has been written (confirm), for an hour at most. */
#include "common/store/engine_int.h"

enum err_code trace_put(struct tx *t, const char *trace, uint32_t n, const struct rec_trace *r)
{
    unsigned char key[KEY_TRACE];
    key_trace(key, trace, n);
    buf_reset(&t->scratch);
    if (!rec_trace_put(r, &t->scratch))
        return ERR_LIMIT;
    return tx_put(t, T_TRACE, span_of(key, sizeof key), buf_span(&t->scratch));
}

/* The same bytes may have been sent anew since: then the key is the later submission's, and stays. */
static enum err_code drop_repeat(struct tx *t, struct span key, const char *trace)
{
    struct rec_repeat r;
    enum err_code code = tx_get_buf(t, T_REPEAT, key, &t->scratch);
    if (code != ERR_OK)
        return code;
    if (!rec_repeat_get(buf_span(&t->scratch), &r))
        return ERR_BUG;
    return strcmp(r.trace, trace) == 0 ? tx_del(t, T_REPEAT, key) : ERR_MISSING;
}

enum err_code trace_confirm(struct tx *t, const char *trace)
{
    static const unsigned char none[16];
    unsigned char key[KEY_TRACE], repeat[16];
    struct rec_trace r;
    key_trace(key, trace, 0);
    enum err_code code = tx_get_buf(t, T_TRACE, span_of(key, sizeof key), &t->scratch);
    if (code != ERR_OK)
        return code;
    if (!rec_trace_get(buf_span(&t->scratch), &r))
        return ERR_BUG;
    if (memcmp(r.repeat, none, sizeof none) == 0)
        return ERR_MISSING;
    memcpy(repeat, r.repeat, sizeof repeat);
    return drop_repeat(t, span_of(repeat, sizeof repeat), trace);
}
