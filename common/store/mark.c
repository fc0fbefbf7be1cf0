/* Marks: which batch has to be on the disk before an answer may leave. What a snapshot shows may have been
 * committed by a batch that is not flushed yet; but most batches change other mailboxes than the one that is
 * looked at, and a reader who waited for all of them would wait without end while circulars are filed. So
 * each write notes the number of its batch for the mailbox or account whose record it changes, before its
 * commit can be seen, and a reader looks afterwards at the notes of what it has read. The hard point is to
 * forget nothing: the notes are made where records are written (tx.c), by table, not by those who write them.
 * Mailboxes and accounts share a fixed number of notes by their hash: two that meet wait for each other, no
 * more. */
#include "common/store/engine_int.h"

/* What the first eight bytes of a key say whose record it is: of a mailbox or of an account. */
static bool noted(enum table t)
{
    return t == T_ACCOUNT || t == T_NAME || t == T_MAILBOX || t == T_KEYWORD || t == T_MESSAGE ||
           t == T_CHANGE;
}

static _Atomic uint64_t *note_of(struct engine *e, uint64_t whose)
{
    enum { BITS = 15 };
    _Static_assert(MARKS == 1 << BITS, "a note for each value of the hash");
    static const uint64_t golden = 0x9e3779b97f4a7c15;
    return &e->marks[(whose * golden) >> (64 - BITS)];
}

void mark_written(struct tx *t, enum table table, const void *key)
{
    if (noted(table) && !t->unmarked)
        atomic_store(note_of(t->e, get_be64(key)), t->e->batch);
}

void mark_all(struct engine *e)
{
    atomic_store(&e->mark_all, e->batch);
}

static uint64_t mark_of(struct engine *e, uint64_t whose)
{
    const uint64_t all = atomic_load(&e->mark_all), one = atomic_load(note_of(e, whose));
    return one > all ? one : all;
}

uint64_t mark_of_mailbox(struct engine *e, uint64_t id)
{
    return mark_of(e, id);
}

uint64_t mark_of_account(struct engine *e, const struct uuid *account)
{
    return mark_of(e, get_be64(account->b));
}
