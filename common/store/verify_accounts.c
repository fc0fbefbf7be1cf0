/* verify, where it looks at accounts: their names, INBOX, sums, the history of their names. An account is
 * compared with its mailboxes in one snapshot; what differs all the same is looked at again by the writer.
 * Mailboxes without a name are known only when all accounts were met. */
#include "common/store/verify.h"

static enum err_code check_account(struct verify *v, struct tx *t, const struct uuid *id,
                                   const struct rec_account *a)
{
    char text[UUID_TEXT];
    struct account_sums sums;
    struct rec_quota q;
    struct scan s;
    struct span key, value;
    struct rec_name r;
    bool inbox = false;
    const uint64_t leaps = v->leaps;
    uuid_format(id, text);
    enum err_code code = account_sum(t, id, &sums);
    if (code == ERR_OK)
        code = quota_get(t, id, &q);
    if (code != ERR_OK)
        return code;
    verify_scan(v, &s, t, T_NAME, key_uuid(id), KEY_UUID, 64 << 10);
    while (scan_next(&s, &key, &value))
        if (rec_name_get(value, &r) && r.mailbox) {
            ids_add(&v->named, r.mailbox);
            inbox = inbox || (r.mailbox == a->inbox && span_eq(span_drop(key, KEY_UUID), SPAN("INBOX")));
        }
    code = scan_close(&s);
    if (v->leaps != leaps)
        return code;
    if (code == ERR_OK && !inbox)
        verify_tell(v, false, "account %s: its INBOX is not mailbox %llu", text,
                    (unsigned long long)a->inbox);
    if (code == ERR_OK && sums.dangling)
        verify_tell(v, false, "account %s: %u names of mailboxes that are not there, deleted or another's",
                    text, sums.dangling);
    if (code != ERR_OK ||
        (a->mailboxes == sums.mailboxes && q.bytes == sums.bytes && q.messages == sums.messages))
        return code;
    struct mend_said said;
    const struct mend_ask ask = {.what = MEND_ACCOUNT, .account = *id};
    code = verify_mend(v, &ask, SPAN_NONE, &said);
    if (code == ERR_OK && said.wrong)
        verify_tell(v, said.fixed,
                    "account %s: it counts %u mailboxes, %llu messages, %llu bytes; they are %u, %llu, %llu",
                    text, a->mailboxes, (unsigned long long)q.messages, (unsigned long long)q.bytes,
                    sums.mailboxes, (unsigned long long)sums.messages, (unsigned long long)sums.bytes);
    return code;
}

static enum err_code next_account(struct verify *v, struct tx *t, const struct uuid *after, struct uuid *id,
                                  struct rec_account *out)
{
    struct scan s;
    struct span key, value;
    bool found = false;
    verify_scan(v, &s, t, T_ACCOUNT, key_uuid(after), 0, 4096);
    while (!found && scan_next(&s, &key, &value)) {
        if (key.n != KEY_UUID || memcmp(key.p, after->b, KEY_UUID) == 0)
            continue;
        memcpy(id->b, key.p, KEY_UUID);
        found = rec_account_get(value, out);
        if (!found) {
            s.code = ERR_BUG;
            break;
        }
    }
    enum err_code code = scan_close(&s);
    return code == ERR_OK && !found ? ERR_MISSING : code;
}

/* A mailbox that lives and had no name: looked at again, for it may have been made or deleted meanwhile. */
static enum err_code check_nameless(struct verify *v, uint64_t id)
{
    struct tx t;
    struct box b;
    struct scan s;
    struct span key, value;
    struct rec_name r;
    bool named = false;
    enum err_code code = tx_begin(v->e, true, &t);
    if (code == ERR_OK)
        code = box_get(&t, id, &b);
    if (code == ERR_OK && !b.r.deleted_us) {
        scan_open(&s, &t, T_NAME, key_uuid(&b.r.account), KEY_UUID, 64 << 10);
        while (!named && scan_next(&s, &key, &value))
            named = rec_name_get(value, &r) && r.mailbox == b.id;
        code = scan_close(&s);
        if (code == ERR_OK && !named)
            verify_tell(v, false, "mailbox %llu: it lives and has no name", (unsigned long long)b.id);
    }
    tx_free(&t);
    return code == ERR_MISSING ? ERR_OK : code;
}

static enum err_code check_living(struct verify *v)
{
    enum err_code code = ERR_OK;
    verify_sort(&v->living);
    verify_sort(&v->named);
    for (size_t i = 0, k = 0; i < v->living.n && code == ERR_OK; i++) {
        const uint64_t mark = verify_mark();
        while (k < v->named.n && v->named.v[k] < v->living.v[i])
            k++;
        if (k < v->named.n && v->named.v[k] == v->living.v[i])
            continue;
        code = check_nameless(v, v->living.v[i]);
        if (verify_hit(v, code, mark, 0, NULL)) /* its account was told */
            code = ERR_OK;
    }
    return code;
}

/* The next account; ERR_MISSING: there is none. */
static enum err_code check_next(struct verify *v, struct uuid *id)
{
    struct tx t;
    struct rec_account a;
    char what[16 + UUID_TEXT] = "account ";
    const uint64_t mark = verify_mark();
    bool odd = false;
    enum err_code code = tx_begin(v->e, true, &t);
    if (code == ERR_OK)
        code = next_account(v, &t, &v->at_account, id, &a);
    const bool found = code == ERR_OK;
    if (code == ERR_OK)
        code = check_account(v, &t, id, &a);
    if (code == ERR_OK)
        code = verify_history(v, &t, id, &odd);
    tx_free(&t);
    if (code == ERR_OK && odd)
        code = verify_history_judge(v, id);
    if (!found)
        return code;
    uuid_format(id, what + 8);
    return verify_hit(v, code, mark, 0, what) ? ERR_OK : code;
}

enum err_code verify_accounts(struct verify *v, bool *end)
{
    const uint64_t begin = clock_mono_ms();
    enum err_code code = ERR_OK;
    while (code == ERR_OK && clock_mono_ms() - begin < VERIFY_STEP_MS) {
        struct uuid id;
        code = check_next(v, &id);
        if (code == ERR_OK) {
            v->at_account = id;
            v->done++;
        }
    }
    *end = code == ERR_MISSING;
    return code == ERR_MISSING ? check_living(v) : code;
}
