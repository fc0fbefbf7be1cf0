/* See describe.h. The one hard point is to describe the right content: a row is looked up first, and only the
 * bytes of the content that it names, all of them, make its record. stored takes it only where none is. */
#include "mailadm/describe.h"
#include "common/mime/parse.h"
#include <stdlib.h>

struct describe {
    struct ask *k;
    struct session session;
    struct uuid account; /* of the session */
    bool opened;
    enum err_code code; /* why it could not be opened */
    struct mime_parser *parser;
    struct store_row row;
    bool found;
    uint64_t at;
};

struct describe *describe_new(struct ask *k)
{
    struct describe *d = xcalloc(1, sizeof *d);
    d->k = k;
    d->parser = mime_parser_new();
    return d;
}

void describe_free(struct describe **dp)
{
    struct describe *d = *dp;
    if (!d)
        return;
    if (d->opened)
        session_close(&d->session);
    mime_parser_free(&d->parser);
    free(d);
    *dp = NULL;
}

static enum err_code open_account(struct describe *d, const struct uuid *account)
{
    if (d->opened && uuid_cmp(&d->account, account) == 0)
        return d->code;
    if (d->opened)
        session_close(&d->session);
    d->opened = true;
    d->account = *account;
    d->code = session_open(d->k, account, "export", false, &d->session);
    if (d->code == ERR_MISSING)
        d->code = ERR_DENIED;
    return d->code;
}

static void on_rows(void *session, enum err_code code, const struct store_row *rows, size_t count, bool more)
{
    struct reply *r = session;
    struct describe *d = r->out;
    if (code == ERR_OK && count) {
        d->row = rows[0];
        d->found = true;
    }
    if (code != ERR_OK || !more)
        reply_set(r, code);
}

static enum err_code find_row(struct describe *d, const struct store_bare *b)
{
    struct reply r = {.k = d->k, .out = d};
    struct ticket *ticket = ticket_new(&r);
    d->found = false;
    store_rows(d->session.account, b->mailbox, b->uid, b->uid, ticket, on_rows);
    enum err_code code = reply_wait(&r, ticket);
    if (code == ERR_OK && (!d->found || d->row.content != b->content))
        code = ERR_MISSING;
    return code;
}

static void on_bytes(void *session, enum err_code code, struct span bytes)
{
    struct reply *r = session;
    struct describe *d = r->out;
    if (code == ERR_OK && (!bytes.n || bytes.n > d->row.size - d->at))
        code = ERR_BUG;
    if (code == ERR_OK) {
        mime_parser_feed(d->parser, bytes);
        d->at += bytes.n;
    }
    reply_set(r, code);
}

static enum err_code parse(struct describe *d, const struct store_bare *b)
{
    enum err_code code = ERR_OK;
    mime_parser_reset(d->parser);
    d->at = 0;
    while (code == ERR_OK && d->at < d->row.size) {
        const uint64_t left = d->row.size - d->at;
        struct reply r = {.k = d->k, .out = d};
        struct ticket *ticket = ticket_new(&r);
        store_read(d->session.account, b->mailbox, b->uid, d->at,
                   left < STORE_READ_LIMIT ? left : STORE_READ_LIMIT, ticket, on_bytes);
        code = reply_wait(&r, ticket);
    }
    return code;
}

static void on_described(void *session, enum err_code code)
{
    reply_set(session, code);
}

enum err_code describe_one(struct describe *d, const struct store_bare *b)
{
    enum err_code code = open_account(d, &b->account);
    if (code == ERR_OK)
        code = find_row(d, b);
    if (code == ERR_OK)
        code = parse(d, b);
    if (code != ERR_OK)
        return code;
    struct reply r = {.k = d->k};
    struct ticket *ticket = ticket_new(&r);
    store_admin_describe(d->k->store, b->content, mime_parser_finish(d->parser), ticket, on_described);
    code = reply_wait(&r, ticket);
    return code == ERR_STATE ? ERR_OK : code; /* another was quicker */
}
