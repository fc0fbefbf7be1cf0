/* Bringing back what was: rows to the end of a mailbox, flags of messages that are still there, expunges of
 * what a restore in place replaces; mailboxes that were deleted. Each request is at most one slice in one
 * transaction; the asker (an administrator's tool, which has seen how it was by history.c) sends them one
 * after the other, and asked twice finds that nothing is left to do.
 * The hard point is what is believed: sizes come from the content record, mailboxes must be of the account
 * named, and a content that is gone is passed over, never referred to. */
#include "common/store/engine_int.h"
#include <stdlib.h>

struct restoring {
    struct wire_restore w;
    struct span items;
    struct box from, to;
    struct keywords names, to_names;
    enum quota_how how;
    struct wire_restored out;
    struct slice s;
};

static struct store_row row_at(const struct restoring *r, size_t i)
{
    struct store_row row;
    memcpy(&row, r->items.p + i * sizeof row, sizeof row);
    row.flags &= 0x1f;
    return row;
}

/* The bits of the destination. */
static enum err_code map_bits(struct tx *t, struct restoring *r, uint64_t bits, uint64_t *out)
{
    *out = bits;
    if (r->from.id == r->to.id || !bits)
        return ERR_OK;
    return keywords_map(t, &r->names, &r->to, &r->to_names, bits, out);
}

/* -- new rows -- */

/* The rows whose content is still there, with the size that it has. */
static enum err_code take_rows(struct tx *t, struct restoring *r)
{
    for (size_t i = 0; i < r->w.count; i++) {
        unsigned char key[KEY_ID], v[REC_CONTENT_HEAD];
        struct rec_content c;
        struct store_row row = row_at(r, i);
        size_t n;
        put_be64(key, row.content);
        enum err_code code = tx_get_head(t, T_CONTENT, span_of(key, sizeof key), v, sizeof v, &n);
        if (code == ERR_MISSING) {
            r->out.missing++;
            continue;
        }
        if (code == ERR_OK && !rec_content_get(span_of(v, n), &c))
            code = ERR_BUG;
        if (code != ERR_OK)
            return code;
        row.size = (uint32_t)c.size;
        r->s.v[r->s.n++] = row;
    }
    return ERR_OK;
}

static enum err_code put_rows(struct tx *t, struct restoring *r)
{
    struct box *b = &r->to;
    enum err_code code = ERR_OK;
    if (b->r.uidnext > UINT32_MAX - SLICE - 1)
        return ERR_LIMIT;
    const uint32_t first = b->r.uidnext;
    b->r.modseq++;
    for (size_t i = 0; i < r->s.n && code == ERR_OK; i++) {
        struct store_row row = r->s.v[i];
        row.uid = b->r.uidnext++;
        row.modseq = b->r.modseq;
        row.saved_s_low = saved_now();
        code = map_bits(t, r, row.keywords, &row.keywords);
        box_count(b, &row, 1);
        if (code == ERR_OK)
            code = row_put(t, b->id, &row);
    }
    if (code == ERR_OK)
        code = change_added(t, b, CHANGE_COPY_IN, r->from.id, first, (uint32_t)r->s.n);
    return code;
}

static enum err_code restore_add(struct tx *t, struct job *j, struct restoring *r)
{
    struct quota_wish wish = {.how = r->how};
    enum err_code code = take_rows(t, r);
    wish.messages = r->s.n;
    for (size_t i = 0; i < r->s.n; i++)
        wish.bytes += r->s.v[i].size;
    if (code == ERR_OK && r->s.n)
        code = quota_take(t, &j->account, &wish);
    if (code == ERR_OK && r->s.n)
        code = put_rows(t, r);
    if (code == ERR_OK && r->s.n)
        code = slice_refs(t, &r->s);
    if (code == ERR_OK && r->s.n)
        code = box_put(t, &r->to);
    r->out.done = (uint32_t)r->s.n;
    return code;
}

/* -- flags -- */

static enum err_code set_back(struct tx *t, struct restoring *r, struct store_row want,
                              struct flag_changes *changes)
{
    struct store_row row;
    uint64_t bits;
    enum err_code code = row_get(t, r->to.id, want.uid, &row);
    if (code == ERR_MISSING) {
        r->out.missing++;
        return ERR_OK;
    }
    if (code == ERR_OK)
        code = map_bits(t, r, want.keywords, &bits);
    if (code != ERR_OK || (row.flags == want.flags && row.keywords == bits))
        return code;
    const struct store_row old = row;
    row.flags = want.flags;
    row.keywords = bits;
    row.modseq = r->to.r.modseq + 1;
    box_count(&r->to, &old, -1);
    box_count(&r->to, &row, 1);
    flag_changes_add(changes, &old, &row);
    r->out.done++;
    return row_put(t, r->to.id, &row);
}

static enum err_code restore_flags(struct tx *t, struct restoring *r)
{
    struct flag_changes changes = {NULL, 0, 0};
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < r->w.count && code == ERR_OK; i++)
        code = set_back(t, r, row_at(r, i), &changes);
    if (code == ERR_OK && r->out.done) {
        r->to.r.modseq++;
        code = flag_changes_put(t, &r->to, &changes);
    }
    if (code == ERR_OK && r->out.done)
        code = box_put(t, &r->to);
    flag_changes_free(&changes);
    return code;
}

/* -- expunges -- */

static enum err_code restore_expunge(struct tx *t, struct job *j, struct restoring *r)
{
    struct job scratch = {.account = j->account};
    for (size_t i = 0; i < r->w.count; i++) {
        struct store_row row = row_at(r, i);
        bool twice = r->s.n && row.uid <= r->s.v[r->s.n - 1].uid;
        enum err_code code = twice ? ERR_MISSING : row_get(t, r->to.id, row.uid, &row);
        if (code == ERR_OK)
            r->s.v[r->s.n++] = row;
        else if (code == ERR_MISSING)
            r->out.missing++;
        else
            return code;
    }
    if (!r->s.n)
        return ERR_OK;
    r->out.done = (uint32_t)r->s.n;
    enum err_code code = expunge_slice(t, &scratch, &r->to, &r->s); /* its answer, UID by UID, nobody reads */
    parts_free(&scratch.answer);
    return code;
}

/* -- operations -- */

static enum err_code restore_settle(struct tx *t, struct job *j, struct restoring *r)
{
    struct rec_account a;
    j->account = r->w.account;
    enum err_code code = account_get(t, &j->account, &a);
    if (code == ERR_OK)
        code = box_of(t, &j->account, j->mailbox, &r->to);
    if (code == ERR_OK)
        code = box_get(t, r->w.from, &r->from); /* it may be a deleted one */
    if (code == ERR_OK && uuid_cmp(&r->from.r.account, &j->account) != 0)
        code = ERR_DENIED;
    if (code == ERR_OK)
        code = keywords_get(t, &r->from, &r->names);
    if (code == ERR_OK)
        code = keywords_get(t, &r->to, &r->to_names);
    r->how = r->w.over_quota ? QUOTA_ANYWAY : QUOTA_OWN;
    return code;
}

enum err_code op_restore(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct restoring *r = xcalloc(1, sizeof *r);
    wire_get(&in, &r->w, sizeof r->w);
    r->items = wire_items(&in, r->w.count, sizeof(struct store_row));
    enum err_code code =
        wire_whole(&in) && r->w.count <= SLICE && r->w.kind <= RESTORE_EXPUNGE ? ERR_OK : ERR_SYNTAX;
    keywords_init(&r->names);
    keywords_init(&r->to_names);
    if (code == ERR_OK)
        code = restore_settle(t, j, r);
    if (code == ERR_OK)
        code = r->w.kind == RESTORE_ADD     ? restore_add(t, j, r)
               : r->w.kind == RESTORE_FLAGS ? restore_flags(t, r)
                                            : restore_expunge(t, j, r);
    r->out.modseq = r->to.r.modseq;
    if (code == ERR_OK && !answer_add(j, &r->out, sizeof r->out))
        code = ERR_LIMIT;
    keywords_free(&r->names);
    keywords_free(&r->to_names);
    free(r);
    return code;
}

/* The name that a living mailbox has. */
static enum err_code name_of(struct tx *t, const struct uuid *account, uint64_t mailbox, struct name *out)
{
    struct scan s;
    struct span key, value;
    struct rec_name r;
    bool found = false;
    scan_open(&s, t, T_NAME, key_uuid(account), KEY_UUID, 64 << 10);
    while (!found && scan_next(&s, &key, &value)) {
        found = rec_name_get(value, &r) && r.mailbox == mailbox && key.n - KEY_UUID <= STORE_NAME_LIMIT;
        if (found) {
            out->n = key.n - KEY_UUID;
            memcpy(out->p, key.p + KEY_UUID, out->n);
        }
    }
    enum err_code code = scan_close(&s);
    return code != ERR_OK ? code : found ? ERR_OK : ERR_MISSING;
}

static enum err_code folder_rename(struct tx *t, struct job *j, const struct name *name, struct box *b)
{
    struct name from;
    enum err_code code = box_of(t, &j->account, j->mailbox, b);
    if (code == ERR_OK)
        code = name_of(t, &j->account, b->id, &from);
    if (code != ERR_OK)
        return code;
    if (span_eq(span_of(from.p, from.n), span_of(name->p, name->n)))
        return ERR_OK;
    if (span_eq(span_of(from.p, from.n), SPAN("INBOX")))
        return ERR_DENIED;
    return name_move(t, &j->account, &from, name);
}

static enum err_code folder_revive(struct tx *t, struct job *j, const struct wire_folder *w,
                                   const struct name *name, struct box *b)
{
    struct rec_account a;
    enum err_code code = account_get(t, &j->account, &a);
    if (code == ERR_OK)
        code = box_get(t, j->mailbox, b);
    if (code == ERR_OK && uuid_cmp(&b->r.account, &j->account) != 0)
        code = ERR_DENIED;
    if (code == ERR_OK && !b->r.deleted_us)
        code = ERR_STATE;
    if (code != ERR_OK)
        return code;
    return name_revive(t, name, (enum store_use)w->use, w->subscribe,
                       w->over_quota ? QUOTA_ANYWAY : QUOTA_OWN, b);
}

static enum err_code folder_need(struct tx *t, struct job *j, const struct wire_folder *w,
                                 const struct name *name, struct box *b)
{
    struct rec_account a;
    struct rec_name r;
    struct name normal;
    enum err_code code = account_get(t, &j->account, &a);
    if (code == ERR_OK)
        code = name_box(t, &j->account, span_of(name->p, name->n), &normal, &r, b);
    else if (code == ERR_MISSING)
        return code;
    if (code == ERR_MISSING)
        code = name_make(t, &j->account, name, (enum store_use)w->use, w->subscribe, b);
    return code;
}

enum err_code op_folder(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_folder w;
    struct name name;
    struct keywords k;
    struct box b;
    wire_get(&in, &w, sizeof w);
    struct span text = wire_text(&in);
    if (!wire_whole(&in) || w.use > STORE_USE_ARCHIVE || w.action > FOLDER_RENAME ||
        !name_normal(text, &name))
        return ERR_SYNTAX;
    j->account = w.account;
    enum err_code code = w.action == FOLDER_NEED     ? folder_need(t, j, &w, &name, &b)
                         : w.action == FOLDER_REVIVE ? folder_revive(t, j, &w, &name, &b)
                                                     : folder_rename(t, j, &name, &b);
    if (code != ERR_OK)
        return code;
    const struct rec_name r = {.mailbox = b.id, .use = (uint8_t)w.use};
    keywords_init(&k);
    code = keywords_get(t, &b, &k);
    if (code == ERR_OK && !box_wire(&b, &r, span_of(name.p, name.n), &k, parts_add(&j->answer)))
        code = ERR_LIMIT;
    keywords_free(&k);
    return code;
}
