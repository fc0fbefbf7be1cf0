/* CREATE (with RFC 6154 USE), DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE. Names are checked by the store, which
 * also makes missing superiors; here its outcomes become response codes of RFC 5530.
 * The one hard point is the session's own selected mailbox, which may be deleted or get another name. */
#include "imapd/imap_int.h"
#include <stdio.h>
#include <stdlib.h>

struct change {
    struct span name, to;
    enum store_use use;
    bool bad_use, on;
    uint64_t id;
};

static bool name_argument(struct imap *s, struct cursor *c, struct change **out)
{
    struct change *x = arena_alloc(s->arena, sizeof *x);
    s->cmd.args = *out = x;
    return x && cur_sp(c) && cur_mailbox(c, &x->name);
}

static void on_code(void *session, enum err_code code)
{
    imap_answered(session, code);
}

/* -- CREATE -- */

static bool use_attribute(struct cursor *c, struct change *x)
{
    static const struct {
        const char *name;
        enum store_use use;
    } uses[] = {{"Drafts", STORE_USE_DRAFTS},
                {"Sent", STORE_USE_SENT},
                {"Trash", STORE_USE_TRASH},
                {"Junk", STORE_USE_JUNK},
                {"Archive", STORE_USE_ARCHIVE}};
    struct span word;
    if (!cur_char(c, '\\') || !cur_atom(c, &word))
        return false;
    x->bad_use = x->bad_use || x->use != STORE_USE_NONE;
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        if (span_caseeq(word, span_str(uses[i].name)))
            x->use = uses[i].use;
    x->bad_use = x->bad_use || x->use == STORE_USE_NONE;
    return true;
}

bool parse_create(struct imap *s, struct cursor *c)
{
    struct change *x;
    if (!name_argument(s, c, &x))
        return false;
    if (x->name.n > 1 && span_ends(x->name, SPAN("/")))
        x->name.n--; /* "names below it will be made", RFC 3501 6.3.3 */
    if (cur_end(c))
        return true;
    if (!cur_char(c, '(') || !cur_word(c, "USE") || !cur_sp(c) || !cur_char(c, '('))
        return false;
    while (!cur_char(c, ')'))
        if (!use_attribute(c, x) || (!cur_peek(c, ')') && !cur_sp(c)))
            return false;
    return cur_char(c, ')') && cur_end(c);
}

static void on_created(void *session, enum err_code code, const struct store_mailbox *box)
{
    struct imap *s = session;
    struct change *x = s->cmd.args;
    if (code == ERR_OK)
        x->id = box->id;
    imap_answered(s, code);
}

enum run run_create(struct imap *s)
{
    struct change *x = s->cmd.args;
    char code[48];
    if (x->bad_use)
        return imap_done(s, COND_NO, "USEATTR", "That special use is not supported.");
    if (s->cmd.stage++ == 0) {
        store_create(s->account, x->name, x->use, imap_ask(s), on_created);
        return RUN_WAIT;
    }
    switch (s->cmd.code) {
    case ERR_OK:
        snprintf(code, sizeof code, "MAILBOXID (M%llu)", (unsigned long long)x->id);
        return imap_done_ok(s, code);
    case ERR_STATE:
        return imap_done(s, COND_NO, "ALREADYEXISTS", "The mailbox exists already.");
    case ERR_SYNTAX:
        return imap_done(s, COND_NO, "CANNOT", "That is not a mailbox name.");
    default:
        return imap_done_err(s, s->cmd.code);
    }
}

/* -- DELETE -- */

bool parse_delete(struct imap *s, struct cursor *c)
{
    struct change *x;
    return name_argument(s, c, &x) && cur_end(c);
}

enum run run_delete(struct imap *s)
{
    struct change *x = s->cmd.args;
    if (s->cmd.stage++ == 0) {
        store_delete(s->account, x->name, imap_ask(s), on_code);
        return RUN_WAIT;
    }
    switch (s->cmd.code) {
    case ERR_OK:
        if (s->view.open && span_eq(x->name, span_str(s->view.name)))
            imap_select_end(s);
        return imap_done_ok(s, NULL);
    case ERR_DENIED:
        return imap_done(s, COND_NO, "CANNOT", "This mailbox cannot be deleted.");
    case ERR_STATE:
        return imap_done(s, COND_NO, "CANNOT", "Only a name with mailboxes below it is left.");
    default:
        return imap_done_err(s, s->cmd.code);
    }
}

/* -- RENAME -- */

bool parse_rename(struct imap *s, struct cursor *c)
{
    struct change *x;
    return name_argument(s, c, &x) && cur_sp(c) && cur_mailbox(c, &x->to) && cur_end(c);
}

/* The selected mailbox goes by its new name. */
static void follow(struct imap *s, const struct change *x)
{
    struct span old = span_str(s->view.name), new_name;
    if (!s->view.open || span_eq(x->name, SPAN("INBOX")) || !span_starts(old, x->name))
        return;
    struct span rest = span_drop(old, x->name.n);
    if (rest.n && rest.p[0] != '/')
        return;
    struct buf b;
    buf_init(&b, x->to.n + rest.n);
    if (buf_add_span(&b, x->to) && buf_add_span(&b, rest)) {
        new_name = buf_span(&b);
        char *copy = xstrspan(new_name);
        free(s->view.name);
        s->view.name = copy;
    }
    buf_free(&b);
}

enum run run_rename(struct imap *s)
{
    struct change *x = s->cmd.args;
    if (s->cmd.stage++ == 0) {
        store_rename(s->account, x->name, x->to, imap_ask(s), on_code);
        return RUN_WAIT;
    }
    switch (s->cmd.code) {
    case ERR_OK:
        follow(s, x);
        return imap_done_ok(s, NULL);
    case ERR_STATE:
        if (x->to.n > x->name.n && span_starts(x->to, x->name) && x->to.p[x->name.n] == '/')
            return imap_done(s, COND_NO, "CANNOT", "A mailbox cannot go below itself.");
        return imap_done(s, COND_NO, "ALREADYEXISTS", "The new name exists already.");
    case ERR_SYNTAX:
        return imap_done(s, COND_NO, "CANNOT", "The new name is not a mailbox name.");
    default:
        return imap_done_err(s, s->cmd.code);
    }
}

/* -- SUBSCRIBE, UNSUBSCRIBE -- */

static bool parse_subscription(struct imap *s, struct cursor *c, bool on)
{
    struct change *x;
    if (!name_argument(s, c, &x))
        return false;
    x->on = on;
    return cur_end(c);
}

bool parse_subscribe(struct imap *s, struct cursor *c)
{
    return parse_subscription(s, c, true);
}

bool parse_unsubscribe(struct imap *s, struct cursor *c)
{
    return parse_subscription(s, c, false);
}

enum run run_subscribe(struct imap *s)
{
    struct change *x = s->cmd.args;
    if (s->cmd.stage++ == 0) {
        store_subscribe(s->account, x->name, x->on, imap_ask(s), on_code);
        return RUN_WAIT;
    }
    if (s->cmd.code == ERR_OK || (s->cmd.code == ERR_MISSING && !x->on))
        return imap_done_ok(s, NULL);
    return imap_done_err(s, s->cmd.code);
}
