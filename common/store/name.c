/* Names of mailboxes: create, delete, rename, subscribe, and the mark of \Recent.
 * Names are UTF-8 in NFC, levels separated by "/"; INBOX is the same in any case, as a first level too. A
 * name record points to a mailbox, or stands alone: a level that exists (NAME_LEVEL) or a subscription of
 * what does not. A rename moves name records, never messages; only INBOX's messages move (message.c), since
 * INBOX stays. */
#include "common/store/engine_int.h"
#include "common/mime/charset.h"
#include <stdio.h>
#include <stdlib.h>

/* The length of one well-formed UTF-8 character that is no control; 0: there is none. */
static size_t char_length(struct span s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    if (p[0] < 0x20 || p[0] == 0x7f)
        return 0;
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (p[0] < 0xc2 || p[0] > 0xf4 || s.n < n)
        return 0;
    uint32_t c = p[0] & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fU);
    }
    bool bad = c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || (c >= 0x80 && c < 0xa0);
    return bad ? 0 : n;
}

/* One name for what looks the same: some keyboards and systems write Vietnamese as letter and marks (RFC
 * 5198). */
static bool composed(struct span in, struct name *out)
{
    bool ascii = true;
    for (size_t i = 0; i < in.n && ascii; i++)
        ascii = (unsigned char)in.p[i] < 0x80;
    struct buf b, again;
    buf_init(&b, STORE_NAME_LIMIT);
    buf_init(&again, STORE_NAME_LIMIT);
    /* Dozens of marks on one letter are composed in parts, and anew each time: such a name is none. */
    bool ok = ascii ||
              (utf8_nfc(in, &b) && utf8_nfc(buf_span(&b), &again) && span_eq(buf_span(&b), buf_span(&again)));
    struct span s = ascii ? in : buf_span(&b);
    if (ok) {
        memcpy(out->p, s.p, s.n);
        out->n = s.n;
    }
    buf_free(&b);
    buf_free(&again);
    return ok;
}

bool name_normal(struct span in, struct name *out)
{
    bool level_empty = true;
    if (in.n == 0 || in.n > STORE_NAME_LIMIT)
        return false;
    for (struct span s = in; s.n;) {
        size_t n = char_length(s);
        if (n == 0 || (s.p[0] == '/' && level_empty))
            return false;
        level_empty = s.p[0] == '/';
        s = span_drop(s, n);
    }
    if (level_empty)
        return false;
    if (!composed(in, out))
        return false;
    if (span_caseeq(span_first(in, span_find(in, '/')), SPAN("INBOX")))
        memcpy(out->p, "INBOX", 5);
    return true;
}

static struct span name_span(const struct name *n)
{
    return span_of(n->p, n->n);
}

static bool is_inbox(const struct name *n)
{
    return span_eq(name_span(n), SPAN("INBOX"));
}

struct name_key {
    size_t n;
    char p[NAME_KEY_LIMIT + 1];
};

static struct span make_key(struct name_key *k, const struct uuid *account, struct span name)
{
    memcpy(k->p, account->b, KEY_UUID);
    if (name.n)
        memcpy(k->p + KEY_UUID, name.p, name.n);
    k->n = KEY_UUID + name.n;
    return span_of(k->p, k->n);
}

enum err_code name_get(struct tx *t, const struct uuid *account, struct span name, struct rec_name *out)
{
    struct name_key k;
    unsigned char v[REC_NAME];
    size_t n;
    enum err_code code = tx_get(t, T_NAME, make_key(&k, account, name), v, sizeof v, &n);
    if (code == ERR_OK && !rec_name_get(span_of(v, n), out))
        return ERR_BUG;
    return code;
}

enum err_code name_put(struct tx *t, const struct uuid *account, struct span name, const struct rec_name *r)
{
    struct name_key k;
    unsigned char v[REC_NAME];
    struct rec_name old;
    enum err_code code = name_get(t, account, name, &old);
    if (code != ERR_OK && code != ERR_MISSING)
        return code;
    code = history_name(t, account, name, code == ERR_OK ? &old : NULL, r);
    if (code != ERR_OK)
        return code;
    rec_name_put(r, v);
    return tx_put(t, T_NAME, make_key(&k, account, name), span_of(v, sizeof v));
}

static enum err_code name_del(struct tx *t, const struct uuid *account, struct span name)
{
    struct name_key k;
    struct rec_name old;
    enum err_code code = name_get(t, account, name, &old);
    if (code == ERR_OK)
        code = history_name(t, account, name, &old, NULL);
    return code == ERR_OK ? tx_del(t, T_NAME, make_key(&k, account, name)) : code;
}

/* ERR_OK: something lies below the name (a mailbox or a level); ERR_MISSING. */
static enum err_code has_children(struct tx *t, const struct uuid *account, const struct name *name)
{
    struct name_key k;
    struct scan s;
    struct span key, value;
    struct rec_name r;
    bool found = false;
    make_key(&k, account, name_span(name));
    k.p[k.n++] = '/';
    scan_open(&s, t, T_NAME, span_of(k.p, k.n), k.n, 4096);
    while (!found && scan_next(&s, &key, &value))
        found = rec_name_get(value, &r) && (r.mailbox || r.flags & NAME_LEVEL);
    enum err_code code = scan_close(&s);
    return code != ERR_OK ? code : found ? ERR_OK : ERR_MISSING;
}

enum err_code name_box(struct tx *t, const struct uuid *account, struct span name, struct name *normal,
                       struct rec_name *rec, struct box *out)
{
    if (!name_normal(name, normal))
        return ERR_SYNTAX;
    enum err_code code = name_get(t, account, name_span(normal), rec);
    if (code == ERR_OK && rec->mailbox == 0)
        return ERR_MISSING;
    return code == ERR_OK ? box_get(t, rec->mailbox, out) : code;
}

enum err_code name_list_changed(struct tx *t, const struct uuid *account, int mailboxes)
{
    struct rec_account a;
    enum err_code code = account_get(t, account, &a);
    if (code != ERR_OK)
        return code;
    a.list_serial++;
    a.mailboxes = (uint32_t)((int64_t)a.mailboxes + mailboxes);
    tx_touch(t, account, 0, a.list_serial);
    return account_put(t, account, &a);
}

/* The levels above a name: those that are not there become mailboxes (RFC 9051 6.3.4). */
static enum err_code make_superiors(struct tx *t, const struct uuid *account, const struct name *name,
                                    int *made)
{
    for (size_t i = 1; i < name->n; i++) {
        struct rec_name r = {.mailbox = 0};
        struct box box;
        if (name->p[i] != '/')
            continue;
        struct span above = span_of(name->p, i);
        enum err_code code = name_get(t, account, above, &r);
        if (code == ERR_OK && (r.mailbox || r.flags & NAME_LEVEL))
            continue;
        if (code != ERR_OK && code != ERR_MISSING)
            return code;
        code = box_new(t, account, STORE_USE_NONE, &box);
        r.mailbox = box.id;
        if (code == ERR_OK)
            code = name_put(t, account, above, &r);
        if (code != ERR_OK)
            return code;
        (*made)++;
    }
    return ERR_OK;
}

enum err_code name_make(struct tx *t, const struct uuid *account, const struct name *name, enum store_use use,
                        bool subscribe, struct box *out)
{
    struct rec_name r = {.mailbox = 0};
    int made = 1;
    enum err_code code = name_get(t, account, name_span(name), &r);
    if (code == ERR_OK && r.mailbox)
        return ERR_STATE;
    if (code == ERR_OK || code == ERR_MISSING)
        code = make_superiors(t, account, name, &made);
    if (code == ERR_OK)
        code = box_new(t, account, use, out);
    if (code != ERR_OK)
        return code;
    r.mailbox = out->id;
    r.use = (uint8_t)use;
    r.flags = (uint8_t)((r.flags & NAME_SUBSCRIBED) | (subscribe ? NAME_SUBSCRIBED : 0));
    code = name_put(t, account, name_span(name), &r);
    return code == ERR_OK ? name_list_changed(t, account, made) : code;
}

enum err_code name_first(struct tx *t, const struct uuid *account, struct box *out)
{
    const struct span inbox = SPAN("INBOX");
    struct rec_name r = {.flags = NAME_SUBSCRIBED};
    struct name_key k;
    unsigned char v[REC_NAME];
    enum err_code code = box_new(t, account, STORE_USE_NONE, out);
    r.mailbox = out->id;
    rec_name_put(&r, v);
    if (code == ERR_OK)
        code = tx_put_new(t, T_NAME, make_key(&k, account, inbox), span_of(v, sizeof v));
    return code == ERR_OK ? history_first_name(t, account, inbox, &r) : code;
}

enum err_code name_revive(struct tx *t, const struct name *name, enum store_use use, bool subscribe,
                          enum quota_how how, struct box *b)
{
    const struct quota_wish wish = {.how = how, .bytes = b->r.bytes, .messages = b->r.messages};
    const struct uuid *account = &b->r.account;
    struct rec_name r = {.mailbox = 0};
    int made = 1;
    enum err_code code = name_get(t, account, name_span(name), &r);
    if (code == ERR_OK && r.mailbox)
        return ERR_STATE;
    if (code == ERR_OK || code == ERR_MISSING)
        code = make_superiors(t, account, name, &made);
    if (code == ERR_OK)
        code = quota_take(t, account, &wish);
    if (code != ERR_OK)
        return code;
    b->r.deleted_us = 0;
    b->r.modseq++;
    b->r.use = (uint8_t)use;
    r.mailbox = b->id;
    r.use = (uint8_t)use;
    r.flags = (uint8_t)((r.flags & NAME_SUBSCRIBED) | (subscribe ? NAME_SUBSCRIBED : 0));
    code = box_put(t, b);
    if (code == ERR_OK)
        code = name_put(t, account, name_span(name), &r);
    return code == ERR_OK ? name_list_changed(t, account, made) : code;
}

/* -- operations -- */

enum err_code op_create(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_create w;
    struct name name;
    struct box box;
    struct keywords none = {.n = 0};
    wire_get(&in, &w, sizeof w);
    struct span text = wire_text(&in);
    if (!wire_whole(&in) || w.use > STORE_USE_ARCHIVE || !name_normal(text, &name))
        return ERR_SYNTAX;
    enum err_code code = name_make(t, &j->account, &name, (enum store_use)w.use, false, &box);
    if (code != ERR_OK)
        return code;
    const struct rec_name r = {.mailbox = box.id, .use = (uint8_t)w.use};
    return box_wire(&box, &r, name_span(&name), &none, parts_add(&j->answer)) ? ERR_OK : ERR_LIMIT;
}

/* The mailbox goes out of sight with its messages; its rows stay for the undelete window. */
static enum err_code bury(struct tx *t, const struct uuid *account, uint64_t mailbox)
{
    struct box b;
    enum err_code code = box_get(t, mailbox, &b);
    if (code != ERR_OK)
        return code;
    code = quota_move(t, account, -(int64_t)b.r.bytes, -(int64_t)b.r.messages);
    if (code != ERR_OK)
        return code;
    b.r.deleted_us = clock_wall_us();
    b.r.modseq++;
    return box_put(t, &b);
}

enum err_code op_delete(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct span text = wire_text(&in);
    struct name name;
    struct rec_name r;
    if (!wire_whole(&in) || !name_normal(text, &name))
        return ERR_SYNTAX;
    if (is_inbox(&name))
        return ERR_DENIED;
    enum err_code code = name_get(t, &j->account, name_span(&name), &r);
    if (code == ERR_OK && !r.mailbox && !(r.flags & NAME_LEVEL))
        return ERR_MISSING;
    if (code != ERR_OK)
        return code;
    enum err_code children = has_children(t, &j->account, &name);
    if (children != ERR_OK && children != ERR_MISSING)
        return children;
    if (!r.mailbox && children == ERR_OK)
        return ERR_STATE;
    int gone = r.mailbox ? 1 : 0;
    if (gone)
        code = bury(t, &j->account, r.mailbox);
    if (code != ERR_OK)
        return code;
    r = (struct rec_name){.flags =
                              (uint8_t)((r.flags & NAME_SUBSCRIBED) | (children == ERR_OK ? NAME_LEVEL : 0))};
    code =
        r.flags ? name_put(t, &j->account, name_span(&name), &r) : name_del(t, &j->account, name_span(&name));
    return code == ERR_OK ? name_list_changed(t, &j->account, -gone) : code;
}

/* One name record to its new place. A subscription that waits there is kept. */
static enum err_code move_name(struct tx *t, const struct uuid *account, struct span from, struct span to,
                               struct rec_name r)
{
    struct rec_name old;
    enum err_code code = name_get(t, account, to, &old);
    if (code == ERR_OK && (old.mailbox || old.flags & NAME_LEVEL))
        return ERR_STATE;
    if (code == ERR_OK)
        r.flags |= old.flags & NAME_SUBSCRIBED;
    else if (code != ERR_MISSING)
        return code;
    code = name_put(t, account, to, &r);
    return code == ERR_OK ? name_del(t, account, from) : code;
}

/* All names below from, gathered before any is moved: a scan must not meet what it moved. */
struct names {
    struct buf text; /* u32 length, bytes, REC_NAME bytes each */
};

static enum err_code gather_children(struct tx *t, const struct uuid *account, const struct name *from,
                                     struct buf *out)
{
    struct name_key k;
    struct scan s;
    struct span key, value;
    bool ok = true;
    make_key(&k, account, name_span(from));
    k.p[k.n++] = '/';
    scan_open(&s, t, T_NAME, span_of(k.p, k.n), k.n, 64 << 10);
    while (ok && scan_next(&s, &key, &value))
        ok = buf_add_u32(out, (uint32_t)(key.n - KEY_UUID)) && buf_add_span(out, span_drop(key, KEY_UUID)) &&
             value.n == REC_NAME && buf_add_span(out, value);
    enum err_code code = scan_close(&s);
    return code == ERR_OK && !ok ? ERR_LIMIT : code;
}

static enum err_code move_children(struct tx *t, const struct uuid *account, const struct name *from,
                                   const struct name *to, struct span list)
{
    enum err_code code = ERR_OK;
    struct reader r = reader_of(list);
    while (r.s.n && code == ERR_OK) {
        struct rec_name rec;
        struct name fresh;
        struct span old = read_bytes(&r, read_u32(&r));
        struct span value = read_bytes(&r, REC_NAME);
        struct span tail = span_drop(old, from->n);
        if (r.bad || !rec_name_get(value, &rec))
            return ERR_BUG;
        if (to->n + tail.n > STORE_NAME_LIMIT)
            return ERR_SYNTAX;
        memcpy(fresh.p, to->p, to->n);
        memcpy(fresh.p + to->n, tail.p, tail.n);
        fresh.n = to->n + tail.n;
        code = move_name(t, account, old, name_span(&fresh), rec);
    }
    return code;
}

static enum err_code rename_tree(struct tx *t, const struct uuid *account, const struct name *from,
                                 const struct name *to, struct rec_name r)
{
    struct buf list;
    int made = 0;
    buf_init(&list, (size_t)64 << 20);
    enum err_code code = make_superiors(t, account, to, &made);
    if (code == ERR_OK)
        code = gather_children(t, account, from, &list);
    if (code == ERR_OK)
        code = move_name(t, account, name_span(from), name_span(to), r);
    if (code == ERR_OK)
        code = move_children(t, account, from, to, buf_span(&list));
    buf_free(&list);
    return code == ERR_OK ? name_list_changed(t, account, made) : code;
}

static bool below(const struct name *name, const struct name *top)
{
    return name->n > top->n && name->p[top->n] == '/' && memcmp(name->p, top->p, top->n) == 0;
}

enum err_code name_move(struct tx *t, const struct uuid *account, const struct name *from,
                        const struct name *to)
{
    struct rec_name r, taken;
    enum err_code code = name_get(t, account, name_span(from), &r);
    if (code == ERR_OK && !r.mailbox && !(r.flags & NAME_LEVEL))
        code = ERR_MISSING;
    if (code != ERR_OK)
        return code;
    code = name_get(t, account, name_span(to), &taken);
    if (code == ERR_OK && (taken.mailbox || taken.flags & NAME_LEVEL))
        return ERR_STATE;
    if (code != ERR_OK && code != ERR_MISSING)
        return code;
    return below(to, from) ? ERR_STATE : rename_tree(t, account, from, to, r);
}

enum err_code op_rename(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct span a = wire_text(&in), b = wire_text(&in);
    struct name from, to;
    if (!wire_whole(&in) || !name_normal(a, &from) || !name_normal(b, &to))
        return ERR_SYNTAX;
    if (is_inbox(&from))
        return op_copy(t, j);
    return name_move(t, &j->account, &from, &to);
}

enum err_code op_subscribe(struct tx *t, struct job *j)
{
    struct wire_in in = {buf_span(&j->body), false};
    struct wire_subscribe w;
    struct name name;
    struct rec_name r = {.mailbox = 0};
    wire_get(&in, &w, sizeof w);
    struct span text = wire_text(&in);
    if (!wire_whole(&in) || !name_normal(text, &name))
        return ERR_SYNTAX;
    enum err_code code = name_get(t, &j->account, name_span(&name), &r);
    if (code == ERR_MISSING && !w.on)
        return ERR_OK;
    if (code != ERR_OK && code != ERR_MISSING)
        return code;
    uint8_t flags = (uint8_t)(w.on ? r.flags | NAME_SUBSCRIBED : r.flags & ~NAME_SUBSCRIBED);
    if (code == ERR_OK && flags == r.flags)
        return ERR_OK;
    r.flags = flags;
    code = r.mailbox || r.flags ? name_put(t, &j->account, name_span(&name), &r)
                                : name_del(t, &j->account, name_span(&name));
    return code == ERR_OK ? name_list_changed(t, &j->account, 0) : code;
}
