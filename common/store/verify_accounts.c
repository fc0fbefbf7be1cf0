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
    uuid_format(id, text);
    enum err_code code = account_sum(t, id, &sums);
    if (code == ERR_OK)
        code = quota_get(t, id, &q);
    if (code != ERR_OK)
        return code;
    scan_open(&s, t, T_NAME, key_uuid(id), KEY_UUID, 64 << 10);
    while (scan_next(&s, &key, &value))
        if (rec_name_get(value, &r) && r.mailbox) {
            ids_add(&v->named, r.mailbox);
            inbox = inbox || (r.mailbox == a->inbox && span_eq(span_drop(key, KEY_UUID), SPAN("INBOX")));
        }
    code = scan_close(&s);
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

static enum err_code next_account(struct tx *t, const struct uuid *after, struct uuid *id,
                                  struct rec_account *out)
{
    struct scan s;
    struct span key, value;
    bool found = false;
    scan_open(&s, t, T_ACCOUNT, key_uuid(after), 0, 4096);
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

/* Mailboxes that live and have no name: looked at again, for they may have been made or deleted meanwhile. */
static enum err_code check_nameless(struct verify *v)
{
    enum err_code code = ERR_OK;
    verify_sort(&v->living);
    verify_sort(&v->named);
    for (size_t i = 0, k = 0; i < v->living.n && code == ERR_OK; i++) {
        struct tx t;
        struct box b;
        struct scan s;
        struct span key, value;
        struct rec_name r;
        bool named = false;
        while (k < v->named.n && v->named.v[k] < v->living.v[i])
            k++;
        if (k < v->named.n && v->named.v[k] == v->living.v[i])
            continue;
        code = tx_begin(v->e, true, &t);
        if (code == ERR_OK)
            code = box_get(&t, v->living.v[i], &b);
        if (code == ERR_OK && !b.r.deleted_us) {
            scan_open(&s, &t, T_NAME, key_uuid(&b.r.account), KEY_UUID, 64 << 10);
            while (!named && scan_next(&s, &key, &value))
                named = rec_name_get(value, &r) && r.mailbox == b.id;
            code = scan_close(&s);
            if (code == ERR_OK && !named)
                verify_tell(v, false, "mailbox %llu: it lives and has no name", (unsigned long long)b.id);
        }
        tx_free(&t);
        if (code == ERR_MISSING)
            code = ERR_OK;
    }
    return code;
}

enum err_code verify_accounts(struct verify *v, bool *end)
{
    const uint64_t begin = clock_mono_ms();
    enum err_code code = ERR_OK;
    while (code == ERR_OK && clock_mono_ms() - begin < VERIFY_STEP_MS) {
        struct tx t;
        struct uuid id;
        struct rec_account a;
        code = tx_begin(v->e, true, &t);
        if (code == ERR_OK)
            code = next_account(&t, &v->at_account, &id, &a);
        if (code == ERR_OK)
            code = check_account(v, &t, &id, &a);
        bool odd = false;
        if (code == ERR_OK)
            code = verify_history(v, &t, &id, &odd);
        tx_free(&t);
        if (code == ERR_OK && odd)
            code = verify_history_judge(v, &id);
        if (code == ERR_OK) {
            v->at_account = id;
            v->done++;
        }
    }
    *end = code == ERR_MISSING;
    return code == ERR_MISSING ? check_nameless(v) : code;
}
