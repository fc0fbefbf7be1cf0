/* Mailbox records and keyword names. A mailbox is its number; names point to it, so that renames leave
 * messages, changes and sessions alone. A deleted mailbox keeps its record and rows until they are purged.
 * Keyword names of a mailbox lie in one record apart: the hot record stays small. A bit, once named, keeps
 * its name. */
#include "common/store/engine_int.h"
#include <assert.h>

enum err_code box_get(struct tx *t, uint64_t id, struct box *out)
{
    unsigned char key[KEY_ID], v[REC_BOX];
    size_t n;
    put_be64(key, id);
    enum err_code code = tx_get(t, T_MAILBOX, span_of(key, sizeof key), v, sizeof v, &n);
    out->id = id;
    if (code == ERR_OK && !rec_box_get(span_of(v, n), &out->r))
        return ERR_BUG;
    return code;
}

enum err_code box_put(struct tx *t, const struct box *b)
{
    tx_touch(t, &b->r.account, b->id, b->r.modseq);
    return box_put_quietly(t, b);
}

enum err_code box_put_quietly(struct tx *t, const struct box *b)
{
    unsigned char key[KEY_ID], v[REC_BOX];
    put_be64(key, b->id);
    rec_box_put(&b->r, v);
    return tx_put(t, T_MAILBOX, span_of(key, sizeof key), span_of(v, sizeof v));
}

enum err_code box_of(struct tx *t, const struct uuid *account, uint64_t id, struct box *out)
{
    enum err_code code = box_get(t, id, out);
    if (code == ERR_OK && uuid_cmp(account, &out->r.account) != 0)
        return ERR_DENIED;
    return code == ERR_OK && out->r.deleted_us ? ERR_MISSING : code;
}

enum err_code box_new(struct tx *t, const struct uuid *account, enum store_use use, struct box *out)
{
    uint64_t id, validity;
    enum err_code code = id_take(t->e, ID_MAILBOX, &id);
    if (code == ERR_OK)
        code = id_take(t->e, ID_UIDVALIDITY, &validity);
    if (code != ERR_OK)
        return code;
    assert(validity < UINT32_MAX);
    *out = (struct box){.id = id,
                        .r = {.account = *account,
                              .modseq = 1,
                              .uidvalidity = (uint32_t)validity,
                              .uidnext = 1,
                              .recent_from = 1,
                              .use = (uint8_t)use}};
    return box_put(t, out);
}

/* A session was told what is recent, and nobody waits for this: the body is the UID up to which. Readers need
 * not wait for it either (see serve_read.c). */
enum err_code op_claim(struct tx *t, struct job *j)
{
    struct box b;
    uint32_t to;
    if (j->body.n != sizeof to)
        return ERR_SYNTAX;
    memcpy(&to, j->body.p, sizeof to);
    enum err_code code = box_of(t, &j->account, j->mailbox, &b);
    if (code != ERR_OK || to <= b.r.recent_from || to > b.r.uidnext)
        return code;
    b.r.recent_from = to;
    t->unmarked = true;
    return box_put_quietly(t, &b);
}

/* -- keywords: a record is texts of {u8 length, bytes}, in the order of the bits -- */

void keywords_init(struct keywords *k)
{
    buf_init(&k->text, KEYWORDS * (KEYWORD_LIMIT + 1));
    k->n = 0;
}

void keywords_free(struct keywords *k)
{
    buf_free(&k->text);
}

static bool split(struct keywords *k)
{
    struct reader r = reader_of(buf_span(&k->text));
    for (k->n = 0; r.s.n; k->n++) {
        if (k->n == KEYWORDS)
            return false;
        k->v[k->n] = read_bytes(&r, read_u8(&r));
    }
    return !r.bad;
}

enum err_code keywords_get(struct tx *t, const struct box *b, struct keywords *out)
{
    unsigned char key[KEY_ID];
    out->n = 0;
    buf_reset(&out->text);
    if (b->r.keyword_count == 0)
        return ERR_OK;
    put_be64(key, b->id);
    enum err_code code = tx_get_buf(t, T_KEYWORD, span_of(key, sizeof key), &out->text);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_BUG : code;
    return split(out) && out->n >= b->r.keyword_count ? ERR_OK : ERR_BUG;
}

static enum err_code keyword_add(struct tx *t, struct box *b, struct keywords *k, struct span name)
{
    unsigned char key[KEY_ID];
    if (k->n == KEYWORDS || name.n > KEYWORD_LIMIT)
        return ERR_LIMIT;
    if (name.n == 0)
        return ERR_SYNTAX;
    if (!buf_add_u8(&k->text, (uint8_t)name.n) || !buf_add_span(&k->text, name) || !split(k))
        return ERR_LIMIT;
    b->r.keyword_count = (uint32_t)k->n;
    put_be64(key, b->id);
    return tx_put(t, T_KEYWORD, span_of(key, sizeof key), buf_span(&k->text));
}

/* Keywords are compared without regard to case (RFC 9051 2.3.2). */
static enum err_code keyword_bit(struct tx *t, struct box *b, struct keywords *k, struct span name, bool add,
                                 uint64_t *bits)
{
    for (size_t i = 0; i < k->n; i++)
        if (span_caseeq(k->v[i], name)) {
            *bits |= (uint64_t)1 << i;
            return ERR_OK;
        }
    if (!add)
        return ERR_OK;
    enum err_code code = keyword_add(t, b, k, name);
    if (code == ERR_OK)
        *bits |= (uint64_t)1 << (k->n - 1);
    return code;
}

enum err_code keywords_bits(struct tx *t, struct box *b, struct keywords *k, struct wire_in *in, size_t count,
                            bool add, uint64_t *bits)
{
    *bits = 0;
    for (size_t i = 0; i < count; i++) {
        struct span name = wire_text(in);
        if (in->bad)
            return ERR_SYNTAX;
        enum err_code code = keyword_bit(t, b, k, name, add, bits);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum err_code keywords_map(struct tx *t, const struct keywords *from, struct box *to, struct keywords *names,
                           uint64_t bits, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < from->n && bits >> i; i++) {
        if (!(bits >> i & 1))
            continue;
        enum err_code code = keyword_bit(t, to, names, from->v[i], true, out);
        if (code == ERR_LIMIT)
            continue; /* the copy goes without it: RFC 9051 6.4.7 asks for flags, not at any price */
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

bool box_wire(const struct box *b, const struct rec_name *n, struct span name, const struct keywords *k,
              struct buf *out)
{
    const struct wire_box w = {.id = b->id,
                               .modseq = b->r.modseq,
                               .bytes = b->r.bytes,
                               .uidvalidity = b->r.uidvalidity,
                               .uidnext = b->r.uidnext,
                               .messages = b->r.messages,
                               .unseen = b->r.unseen,
                               .deleted = b->r.deleted,
                               .recent_from = b->r.recent_from,
                               .use = n ? n->use : b->r.use,
                               .subscribed = n && n->flags & NAME_SUBSCRIBED,
                               .no_select = b->id == 0,
                               .keyword_count = (uint32_t)k->n};
    bool ok = buf_add(out, &w, sizeof w) && wire_put_text(out, name);
    for (size_t i = 0; i < k->n && ok; i++)
        ok = wire_put_text(out, k->v[i]);
    return ok;
}
