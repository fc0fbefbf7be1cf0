/* STATUS. All items stand in the mailbox's record but RECENT, whose messages are counted from the mark on,
 * and DELETED-STORAGE (RFC 9208). The mark itself is not moved (RFC 3501 6.3.10). */
#include "imapd/status.h"

static const struct {
    const char *name;
    unsigned bit;
} items_table[] = {{"MESSAGES", ST_MESSAGES},
                   {"RECENT", ST_RECENT},
                   {"UIDNEXT", ST_UIDNEXT},
                   {"UIDVALIDITY", ST_UIDVALIDITY},
                   {"UNSEEN", ST_UNSEEN},
                   {"HIGHESTMODSEQ", ST_HIGHESTMODSEQ},
                   {"SIZE", ST_SIZE},
                   {"DELETED", ST_DELETED},
                   {"DELETED-STORAGE", ST_DELETED_STORAGE},
                   {"MAILBOXID", ST_MAILBOXID},
                   {"APPENDLIMIT", ST_APPENDLIMIT}};
enum { ITEMS = sizeof items_table / sizeof *items_table };

bool status_items(struct cursor *c, unsigned *out)
{
    *out = 0;
    if (!cur_char(c, '('))
        return false;
    do {
        struct span word;
        unsigned bit = 0;
        if (!cur_atom(c, &word))
            return false;
        for (size_t i = 0; i < ITEMS; i++)
            if (span_caseeq(word, span_str(items_table[i].name)))
                bit = items_table[i].bit;
        if (!bit)
            return false;
        *out |= bit;
    } while (cur_sp(c));
    return cur_char(c, ')');
}

static unsigned long long value_of(const struct imap *s, const struct store_mailbox *box, unsigned bit,
                                   const struct status_sums *sums)
{
    switch (bit) {
    case ST_MESSAGES:
        return box->messages;
    case ST_RECENT:
        return sums->recent;
    case ST_UIDNEXT:
        return box->uidnext;
    case ST_UIDVALIDITY:
        return box->uidvalidity;
    case ST_UNSEEN:
        return box->unseen;
    case ST_HIGHESTMODSEQ:
        return box->modseq;
    case ST_SIZE:
        return box->bytes;
    case ST_DELETED:
        return box->deleted;
    case ST_DELETED_STORAGE:
        return sums->deleted_bytes;
    case ST_APPENDLIMIT:
        return s->conf->imap_append_limit;
    default:
        return box->id;
    }
}

void status_put(struct imap *s, const struct store_mailbox *box, struct span name, unsigned items,
                const struct status_sums *sums)
{
    const char *gap = "";
    put(s, "* STATUS ");
    put_mailbox(s, name);
    put(s, " (");
    for (size_t i = 0; i < ITEMS; i++) {
        unsigned bit = items_table[i].bit;
        if (!(items & bit))
            continue;
        putf(s, bit == ST_MAILBOXID ? "%s%s (M%llu)" : "%s%s %llu", gap, items_table[i].name,
             value_of(s, box, bit, sums));
        gap = " ";
    }
    put(s, ")\r\n");
}

uint32_t status_counts(const struct store_mailbox *box, unsigned items)
{
    if (items & ST_DELETED_STORAGE && box->deleted)
        return 1;
    if (items & ST_RECENT && box->messages && box->recent_from < box->uidnext)
        return box->recent_from ? box->recent_from : 1;
    return 0;
}

void status_count(const struct store_mailbox *box, const struct store_row *rows, size_t count,
                  struct status_sums *sums)
{
    for (size_t i = 0; i < count; i++) {
        sums->recent += rows[i].uid >= box->recent_from;
        sums->deleted_bytes += rows[i].flags & STORE_DELETED ? rows[i].size : 0;
    }
}

/* -- the command -- */

enum { SS_START, SS_BOX, SS_ROWS };

struct status {
    struct span name;
    unsigned items;
    struct store_mailbox box; /* numbers only */
    struct status_sums sums;
};

bool parse_status(struct imap *s, struct cursor *c)
{
    struct status *x = arena_alloc(s->arena, sizeof *x);
    if (!x || !cur_sp(c) || !cur_mailbox(c, &x->name) || !cur_sp(c) || !status_items(c, &x->items))
        return false;
    s->cmd.args = x;
    s->cmd.condstore = x->items & ST_HIGHESTMODSEQ;
    return cur_end(c);
}

static void on_box(void *session, enum err_code code, const struct store_mailbox *box)
{
    struct imap *s = session;
    struct status *x = s->cmd.args;
    if (code == ERR_OK)
        x->box = *box;
    imap_answered(s, code == ERR_OK && box->no_select ? ERR_MISSING : code);
}

static void on_rows(void *session, enum err_code code, const struct store_row *rows, size_t count, bool more)
{
    struct imap *s = session;
    struct status *x = s->cmd.args;
    if (code == ERR_OK)
        status_count(&x->box, rows, count, &x->sums);
    if (!more || code != ERR_OK)
        imap_answered(s, code);
}

enum run run_status(struct imap *s)
{
    struct status *x = s->cmd.args;
    if (s->cmd.stage == SS_START) {
        s->cmd.stage = SS_BOX;
        store_status(s->account, x->name, false, imap_ask(s), on_box);
        return RUN_WAIT;
    }
    if (s->cmd.code != ERR_OK)
        return imap_done_err(s, s->cmd.code);
    uint32_t from = s->cmd.stage == SS_BOX ? status_counts(&x->box, x->items) : 0;
    if (from) {
        s->cmd.stage = SS_ROWS;
        store_rows(s->account, x->box.id, from, 0, imap_ask(s), on_rows);
        return RUN_WAIT;
    }
    status_put(s, &x->box, x->name, x->items, &x->sums);
    return imap_done_ok(s, NULL);
}
