/* Identities that are never given twice: taken from blocks whose upper end is on record before the first is
 * used. The record's transaction commits (in the log) before any that uses the block, so whatever became
 * durable of the users, the record did too. UIDVALIDITY comes from here, never from a clock. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"

static const uint64_t block[ID_KINDS] = {
    [ID_MAILBOX] = 1024, [ID_UIDVALIDITY] = 1024, [ID_CONTENT] = 4096, [ID_QUEUE] = 256};
static const char ids_key[] = "ids";
enum { IDS_SIZE = 1 + 8 * ID_KINDS };

enum err_code ids_load(struct engine *e)
{
    struct tx t;
    unsigned char v[IDS_SIZE];
    size_t n = 0;
    enum err_code code = tx_begin(e, false, &t);
    if (code == ERR_OK)
        code = tx_get(&t, T_STORE, SPAN(ids_key), v, sizeof v, &n);
    for (int i = 0; i < ID_KINDS && code == ERR_OK; i++)
        e->id_next[i] = e->id_end[i] = get_be64(v + 1 + 8 * i);
    if (code == ERR_MISSING) {
        for (int i = 0; i < ID_KINDS; i++)
            e->id_next[i] = e->id_end[i] = 1;
        code = ERR_OK;
    } else if (code == ERR_OK && (n != IDS_SIZE || v[0] != REC_VERSION)) {
        code = ERR_SYNTAX;
    }
    tx_free(&t);
    return code;
}

static enum err_code reserve(struct engine *e, enum id_kind kind)
{
    struct tx t;
    unsigned char v[IDS_SIZE] = {REC_VERSION};
    for (int i = 0; i < ID_KINDS; i++)
        put_be64(v + 1 + 8 * i, e->id_end[i] + (i == (int)kind ? block[i] : 0));
    enum err_code code = tx_begin(e, false, &t);
    if (code == ERR_OK)
        code = tx_put(&t, T_STORE, SPAN(ids_key), span_of(v, sizeof v));
    if (code == ERR_OK)
        code = tx_commit(&t);
    FAULT_STEP("store.ids.committed");
    if (code == ERR_OK)
        e->id_end[kind] += block[kind];
    tx_free(&t);
    return code;
}

enum err_code id_take(struct engine *e, enum id_kind kind, uint64_t *out)
{
    enum err_code code = ERR_OK;
    pthread_mutex_lock(&e->id_lock);
    if (e->id_next[kind] == e->id_end[kind])
        code = reserve(e, kind);
    if (code == ERR_OK)
        *out = e->id_next[kind]++;
    pthread_mutex_unlock(&e->id_lock);
    return code;
}

enum err_code ids_jump(struct engine *e)
{
    static const uint64_t far[ID_KINDS] = {[ID_MAILBOX] = (uint64_t)1 << 32,
                                           [ID_UIDVALIDITY] = (uint64_t)1 << 20,
                                           [ID_CONTENT] = (uint64_t)1 << 40,
                                           [ID_QUEUE] = (uint64_t)1 << 32};
    pthread_mutex_lock(&e->id_lock);
    for (int i = 0; i < ID_KINDS; i++)
        e->id_next[i] = e->id_end[i] = e->id_end[i] + far[i];
    enum err_code code = reserve(e, ID_MAILBOX); /* all ends are on one record */
    pthread_mutex_unlock(&e->id_lock);
    return code;
}
