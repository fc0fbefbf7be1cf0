/* GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208). The roots of every mailbox of an account are the account
 * itself and each unit above it that has a limit; roots without a limit have nothing to say and are not
 * named. Limits are the directory's, so nobody sets them here. */
#include "imapd/imap_int.h"
#include <stdio.h>

enum { QS_START, QS_BOX, QS_QUOTA };
enum { ROOT_NAME = 128 };

struct quota {
    struct span name; /* of a root, or of a mailbox */
    bool roots;
    bool found;
};

static bool parse(struct imap *s, struct cursor *c, bool roots)
{
    struct quota *x = arena_alloc(s->arena, sizeof *x);
    s->cmd.args = x;
    if (!x || !cur_sp(c))
        return false;
    *x = (struct quota){.roots = roots};
    return (roots ? cur_mailbox(c, &x->name) : cur_astring(c, &x->name)) && cur_end(c);
}

bool parse_getquota(struct imap *s, struct cursor *c)
{
    return parse(s, c, false);
}

bool parse_getquotaroot(struct imap *s, struct cursor *c)
{
    return parse(s, c, true);
}

bool parse_setquota(struct imap *s, struct cursor *c)
{
    struct span root, resource;
    uint64_t limit;
    bool first = true;
    (void)s;
    if (!cur_sp(c) || !cur_astring(c, &root) || !cur_sp(c) || !cur_char(c, '('))
        return false;
    for (; !cur_peek(c, ')'); first = false)
        if ((!first && !cur_sp(c)) || !cur_atom(c, &resource) || !cur_sp(c) || !cur_u64(c, &limit))
            return false;
    return cur_char(c, ')') && cur_end(c);
}

enum run run_setquota(struct imap *s)
{
    return imap_done(s, COND_NO, "NOPERM", "Limits are set in the directory.");
}

/* "account", "unit/snv"; a unit without a code goes by its id. */
static struct span root_name(const struct store_quota *q, bool account, char out[ROOT_NAME])
{
    char id[UUID_TEXT];
    uuid_format(&q->id, id);
    if (account)
        snprintf(out, ROOT_NAME, "account");
    else if (q->code.n && q->code.n < ROOT_NAME - 6)
        snprintf(out, ROOT_NAME, "unit/%.*s", SPAN_ARG(q->code));
    else
        snprintf(out, ROOT_NAME, "unit/%s", id);
    return span_str(out);
}

/* STORAGE counts units of 1024 octets (RFC 9208 5.1); what is used is rounded up. */
static void put_quota(struct imap *s, const struct store_quota *q, struct span name)
{
    const char *gap = "";
    put(s, "* QUOTA ");
    put_string(s, name);
    put(s, " (");
    if (q->limit_bytes) {
        putf(s, "STORAGE %llu %llu", (unsigned long long)(q->bytes / 1024 + (q->bytes % 1024 != 0)),
             (unsigned long long)(q->limit_bytes / 1024));
        gap = " ";
    }
    if (q->limit_messages)
        putf(s, "%sMESSAGE %llu %llu", gap, (unsigned long long)q->messages,
             (unsigned long long)q->limit_messages);
    put(s, ")\r\n");
}

static bool has_limit(const struct store_quota *q)
{
    return q->limit_bytes || q->limit_messages;
}

static void on_quota(void *session, enum err_code code, const struct store_quota *v, size_t count)
{
    struct imap *s = session;
    struct quota *x = s->cmd.args;
    char text[ROOT_NAME];
    if (code == ERR_OK && x->roots) {
        put(s, "* QUOTAROOT ");
        put_mailbox(s, x->name);
        for (size_t i = 0; i < count; i++)
            if (has_limit(&v[i])) {
                put(s, " ");
                put_string(s, root_name(&v[i], i == 0, text));
            }
        put(s, "\r\n");
    }
    for (size_t i = 0; code == ERR_OK && i < count; i++) {
        struct span name = root_name(&v[i], i == 0, text);
        if (!has_limit(&v[i]) || !(x->roots || span_eq(name, x->name)))
            continue;
        put_quota(s, &v[i], name);
        x->found = true;
    }
    imap_answered(s, code);
}

static void on_box(void *session, enum err_code code, const struct store_mailbox *box)
{
    imap_answered(session, code == ERR_OK && box->no_select ? ERR_MISSING : code);
}

enum run run_getquota(struct imap *s)
{
    struct quota *x = s->cmd.args;
    if (s->cmd.stage == QS_START && x->roots) {
        s->cmd.stage = QS_BOX;
        store_status(s->account, x->name, false, imap_ask(s), on_box);
        return RUN_WAIT;
    }
    if (s->cmd.code != ERR_OK)
        return imap_done_err(s, s->cmd.code);
    if (s->cmd.stage != QS_QUOTA) {
        s->cmd.stage = QS_QUOTA;
        store_quota(s->account, imap_ask(s), on_quota);
        return RUN_WAIT;
    }
    if (!x->roots && !x->found)
        return imap_done(s, COND_NO, "NONEXISTENT", "No such quota root.");
    return imap_done_ok(s, NULL);
}
