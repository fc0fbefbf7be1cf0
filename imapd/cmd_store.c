/* STORE (RFC 3501 6.4.6, CONDSTORE RFC 7162 3.1.3): flags of many messages, in slices.
 * The hard problem is what to say: every message of the set that is still there gets its FETCH (unless
 * .SILENT), also one whose flags were already so; the store answers with changed rows only. Messages that
 * another session expunged are passed over and reported by EXPUNGEISSUED (RFC 2180 4.2). */
#include "imapd/imap_int.h"

enum {
    ASK = 16384,  /* messages in one request: the store takes them in slices, with few flushes */
    SLICE = 1000, /* told at once */
    FLAGS_LIMIT = 100
};

struct store_args {
    struct seqset set;
    struct store_flag_change change;
    struct span keywords[FLAGS_LIMIT];
    bool silent;
    uint32_t *uids;
    size_t count, at, asked; /* uids[at .. at+asked) are under way */
    size_t put;              /* of those, told */
    bool gone;
    uint32_t *modified; /* UIDs that failed UNCHANGEDSINCE */
    size_t modified_count;
};

static bool parse_modifier(struct imap *s, struct cursor *c, struct store_args *x)
{
    if (!cur_char(c, '('))
        return true;
    x->change.unchanged_since_given = true;
    s->cmd.condstore = true;
    return cur_word(c, "UNCHANGEDSINCE") && cur_sp(c) && cur_u64(c, &x->change.unchanged_since) &&
           cur_char(c, ')') && cur_sp(c);
}

static bool parse_item(struct cursor *c, struct store_args *x)
{
    x->change.op = STORE_FLAGS_SET;
    if (cur_char(c, '+'))
        x->change.op = STORE_FLAGS_ADD;
    else if (cur_char(c, '-'))
        x->change.op = STORE_FLAGS_REMOVE;
    x->silent = cur_word(c, "FLAGS.SILENT");
    return (x->silent || cur_word(c, "FLAGS")) && cur_sp(c);
}

static bool parse_flag(struct cursor *c, struct store_args *x)
{
    uint32_t bit;
    struct span keyword;
    bool system = cur_peek(c, '\\');
    if (!cur_flag(c, &bit, &keyword))
        return false;
    x->change.flags |= bit;
    if (system)
        return true; /* \Recent and unknown ones cannot be set (RFC 3501 2.3.2) */
    if (x->change.keyword_count == FLAGS_LIMIT)
        return false;
    x->keywords[x->change.keyword_count++] = keyword;
    return true;
}

static bool parse_flags(struct cursor *c, struct store_args *x)
{
    x->change.keywords = x->keywords;
    bool list = cur_char(c, '(');
    if (list && cur_char(c, ')'))
        return cur_end(c);
    do {
        if (!parse_flag(c, x))
            return false;
    } while (cur_sp(c));
    return (!list || cur_char(c, ')')) && cur_end(c);
}

bool parse_store(struct imap *s, struct cursor *c)
{
    struct store_args *x = arena_alloc(s->arena, sizeof *x);
    s->cmd.args = x;
    return x && cur_sp(c) && seqset_parse(c, &x->set) && cur_sp(c) && parse_modifier(s, c, x) &&
           parse_item(c, x) && parse_flags(c, x);
}

static void note_modified(struct imap *s, struct store_args *x, const struct store_flagged *f)
{
    if (!f->modified_count)
        return;
    if (!x->modified)
        x->modified = arena_array(s->arena, x->count, sizeof *x->modified);
    for (size_t i = 0; x->modified && i < f->modified_count && x->modified_count < x->count; i++)
        x->modified[x->modified_count++] = f->modified[i];
}

static void on_flagged(void *session, enum err_code code, const struct store_flagged *f)
{
    struct imap *s = session;
    if (code == ERR_OK) {
        view_keywords(&s->view, f->keywords);
        view_flagged(&s->view, f->runs, f->run_count);
        note_modified(s, s->cmd.args, f);
    }
    imap_answered(s, code);
}

static bool was_modified(const struct store_args *x, uint32_t uid)
{
    for (size_t i = 0; i < x->modified_count; i++)
        if (x->modified[i] == uid)
            return true;
    return false;
}

/* With CONDSTORE a silent STORE still tells the new modseqs (RFC 7162 3.1.3). */
static void put_modseq(struct imap *s, size_t index)
{
    const struct view_row *r = &s->view.rows[index];
    putf(s, "* %zu FETCH (", index + 1);
    if (s->cmd.uid)
        putf(s, "UID %u ", r->uid);
    putf(s, "MODSEQ (%llu))\r\n", (unsigned long long)r->modseq);
}

/* True: all that was asked for is told. */
static bool put_slice(struct imap *s, struct store_args *x)
{
    const size_t end = x->asked - x->put < SLICE ? x->asked : x->put + SLICE;
    if (x->silent && !(s->enabled & EN_CONDSTORE) && !s->view.keywords_changed)
        return true;
    if (s->view.keywords_changed && x->change.keyword_count) {
        put_select_flags(s);
        put_permanent_flags(s);
        s->view.keywords_changed = false;
    }
    for (size_t i = x->at + x->put; i < x->at + end; i++) {
        size_t index = view_find(&s->view, x->uids[i]);
        if (index == SIZE_MAX || (x->modified_count && was_modified(x, x->uids[i])))
            continue;
        if (!x->silent)
            put_fetch_flags(s, index, s->cmd.uid);
        else if (s->enabled & EN_CONDSTORE)
            put_modseq(s, index);
        struct view_row *r = &s->view.rows[index];
        if (r->state & ROW_DIRTY && !x->silent) { /* told just now */
            r->state &= (uint8_t)~ROW_DIRTY;
            s->view.dirty--;
        }
    }
    x->put = end;
    return x->put == x->asked;
}

static enum run answer(struct imap *s, struct store_args *x)
{
    struct buf code;
    buf_init(&code, 8 << 20);
    if (x->modified_count) {
        if (!s->cmd.uid) /* numbers, not UIDs; both rise together */
            for (size_t i = 0; i < x->modified_count; i++)
                x->modified[i] = (uint32_t)view_lower(&s->view, x->modified[i]) + 1;
        if (!buf_add_str(&code, "MODIFIED ") || !uidset_put(x->modified, x->modified_count, &code) ||
            !buf_add_char(&code, 0))
            s->overflow = true;
        imap_done_ok(s, code.p);
    } else if (x->gone && !s->cmd.uid && !x->silent) {
        imap_done(s, COND_NO, "EXPUNGEISSUED", "Some of the messages no longer exist.");
    } else {
        imap_done_ok(s, NULL);
    }
    buf_free(&code);
    return RUN_DONE;
}

static enum run ask(struct imap *s, struct store_args *x)
{
    x->asked = x->count - x->at < ASK ? x->count - x->at : ASK;
    x->put = 0;
    if (!x->asked)
        return answer(s, x);
    imap_clear(s);
    store_flags(s->account, s->view.mailbox, x->uids + x->at, x->asked, &x->change, imap_ask(s), on_flagged);
    return RUN_WAIT;
}

enum run run_store(struct imap *s)
{
    struct store_args *x = s->cmd.args;
    if (s->cmd.stage == 0) {
        s->cmd.stage = 1;
        if (!imap_set_fix(s, &x->set, s->cmd.uid))
            return imap_done(s, COND_BAD, NULL, "Invalid messageset.");
        if (!imap_set_uids(s, &x->set, &x->uids, &x->count, &x->gone))
            return imap_done(s, COND_NO, "LIMIT", "Too many messages.");
        return ask(s, x);
    }
    if (s->cmd.code == ERR_LIMIT)
        return imap_done(s, COND_NO, "LIMIT", "The mailbox has no room for more keywords.");
    if (s->cmd.code != ERR_OK)
        return imap_done_err(s, s->cmd.code);
    if (!put_slice(s, x))
        return RUN_AGAIN;
    x->at += x->asked;
    return ask(s, x);
}
