/* The trace of a message: lines under its trace id, written in the transaction that they tell of. */
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
