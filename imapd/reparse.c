/* Messages whose record (meta.h) the store has lost, or that cannot be read: parsed again from their bytes
 * when a command needs the record. `mailadm store verify --repair` puts such records back; until then they
 * are answered from here, and the command goes on. The hard point is that clients keep what they are told of
 * a message for ever: so the whole message is read, piece by piece, rather than described by guess. Only when
 * its bytes are damaged too is it described as a message of which nothing was received. */
#include "common/mime/parse.h"
#include "imapd/imap_int.h"
#include <assert.h>
#include <stdlib.h>

enum { PIECE = 256 << 10 };

struct reparse {
    struct mime_parser *parser;
    uint32_t uid;
    uint64_t at, size;
    bool gone, damaged;
    bool told; /* in the log: once in a session */
};

void reparse_free(struct reparse **rp)
{
    if (*rp)
        mime_parser_free(&(*rp)->parser);
    free(*rp);
    *rp = NULL;
}

void reparse_begin(struct imap *s, size_t index)
{
    const struct view_row *row = &s->view.rows[index];
    if (!s->reparse) {
        s->reparse = xcalloc(1, sizeof *s->reparse);
        s->reparse->parser = mime_parser_new();
    }
    struct reparse *r = s->reparse;
    mime_parser_reset(r->parser);
    r->uid = row->uid;
    r->size = row->size;
    r->at = 0;
    r->gone = r->damaged = false;
    if (!r->told)
        log_event(LOG_ERROR, &s->log, "imap.meta.broken", F_UINT("mailbox", s->view.mailbox),
                  F_UINT("uid", row->uid));
    r->told = true;
}

static void on_bytes(void *session, enum err_code code, struct span bytes)
{
    struct imap *s = session;
    struct reparse *r = s->reparse;
    r->gone = code == ERR_MISSING;
    r->damaged = code == ERR_BUG || (code == ERR_OK && (!bytes.n || bytes.n > r->size - r->at));
    if (code == ERR_OK && !r->damaged) {
        mime_parser_feed(r->parser, bytes);
        r->at += bytes.n;
    }
    imap_answered(s, r->gone || r->damaged ? ERR_OK : code);
}

enum run reparse_step(struct imap *s)
{
    const struct reparse *r = s->reparse;
    const uint64_t left = r->size - r->at;
    if (r->gone || r->damaged || !left)
        return RUN_DONE;
    imap_clear(s);
    store_read(s->account, s->view.mailbox, r->uid, r->at, left < PIECE ? left : PIECE, imap_ask(s),
               on_bytes);
    return RUN_WAIT;
}

/* All is in the message, and nothing is known of it. */
static void unknown(const struct reparse *r, struct arena *a, struct mime_meta *out)
{
    struct mime_part *body = arena_alloc(a, sizeof *body);
    assert(body && out->part_count == 1);
    *body = out->parts[0];
    body->body_n = out->size = r->size;
    out->parts = body;
}

enum reparsed reparse_meta(struct imap *s, struct arena *a, struct mime_meta *out)
{
    struct reparse *r = s->reparse;
    arena_reset(a);
    if (r->gone)
        return REPARSED_GONE;
    if (!r->damaged && mime_meta_read(mime_parser_finish(r->parser), a, out) == ERR_OK)
        return REPARSED;
    mime_parser_reset(r->parser);
    arena_reset(a);
    enum err_code code = mime_meta_read(mime_parser_finish(r->parser), a, out);
    assert(code == ERR_OK);
    (void)code;
    unknown(r, a, out);
    return REPARSED_NOTHING;
}
