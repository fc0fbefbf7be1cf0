/* Accounts. One is made by the first delivery or login that names it; who may
 * name it is the directory's word (targets of smtpd, grants). Counters that change with each message lie
 * apart from the record, which hardly ever changes (quota.c). */
#include "common/store/engine_int.h"

enum err_code account_get(struct tx *t, const struct uuid *id, struct rec_account *out)
{
    unsigned char v[REC_ACCOUNT];
    size_t n;
    enum err_code code = tx_get(t, T_ACCOUNT, key_uuid(id), v, sizeof v, &n);
    if (code == ERR_OK && !rec_account_get(span_of(v, n), out))
        return ERR_BUG;
    return code;
}

enum err_code account_put(struct tx *t, const struct uuid *id, const struct rec_account *r)
{
    unsigned char v[REC_ACCOUNT];
    rec_account_put(r, v);
    return tx_put(t, T_ACCOUNT, key_uuid(id), span_of(v, sizeof v));
}

static const struct {
    struct span name;
    enum store_use use;
} specials[] = {{{"Archive", 7}, STORE_USE_ARCHIVE},
                {{"Drafts", 6}, STORE_USE_DRAFTS},
                {{"Junk", 4}, STORE_USE_JUNK},
                {{"Sent", 4}, STORE_USE_SENT},
                {{"Trash", 5}, STORE_USE_TRASH}};

static enum err_code make_specials(struct tx *t, const struct uuid *id)
{
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        struct name name;
        struct box box;
        struct rec_name taken;
        if (!name_normal(specials[i].name, &name))
            return ERR_BUG;
        enum err_code code = name_get(t, id, span_of(name.p, name.n), &taken);
        if (code == ERR_OK && taken.mailbox)
            continue; /* the user was quicker */
        if (code != ERR_OK && code != ERR_MISSING)
            return code;
        code = name_make(t, id, &name, specials[i].use, true, &box);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

/* Each record once: a circular makes thousands of accounts. Without the account's record there are no names.
 */
static enum err_code make_account(struct tx *t, const struct uuid *id, struct rec_account *out)
{
    struct box box;
    enum err_code code = name_first(t, id, &box);
    if (code != ERR_OK)
        return code;
    *out = (struct rec_account){
        .created_us = clock_wall_us(), .inbox = box.id, .list_serial = 1, .mailboxes = 1};
    tx_touch(t, id, 0, out->list_serial);
    return account_put(t, id, out);
}

enum err_code account_need(struct tx *t, const struct uuid *id, bool with_specials, struct rec_account *out)
{
    if (uuid_is_none(id))
        return ERR_SYNTAX;
    enum err_code code = account_get(t, id, out);
    if (code == ERR_MISSING)
        code = make_account(t, id, out);
    if (code != ERR_OK || out->specials || !with_specials)
        return code;
    code = make_specials(t, id);
    if (code == ERR_OK)
        code = account_get(t, id, out);
    if (code != ERR_OK)
        return code;
    out->specials = true;
    return account_put(t, id, out);
}

/* -- operations -- */

static enum err_code touch(struct tx *t, struct job *j)
{
    struct rec_account r;
    enum err_code code = account_need(t, &j->account, true, &r);
    if (code != ERR_OK)
        return code;
    if (j->body.n == 0) { /* else no person, see serve_session.c */
        r.last_login_us = clock_wall_us();
        if (j->quota_bytes != GRANT_UNBOUND)
            r.quota_bytes = j->quota_bytes;
    }
    return account_put(t, &j->account, &r);
}

enum err_code op_login(struct tx *t, struct job *j)
{
    return touch(t, j);
}

enum err_code op_touch(struct tx *t, struct job *j)
{
    return touch(t, j);
}

enum err_code op_revoke(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_revoke w;
    struct rec_account r;
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = account_need(t, &w.account, false, &r);
    if (code != ERR_OK || r.revoked_before_us >= w.before_us)
        return code;
    r.revoked_before_us = w.before_us;
    return account_put(t, &w.account, &r);
}
