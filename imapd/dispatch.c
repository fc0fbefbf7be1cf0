/* The table of commands, and the way from a read text to a row of it.
 * The hard problem is literals that must not be kept: one that is too large is refused before it is sent (or
 * counted off when the client does not wait), and the message of APPEND is handed to its command before the
 * line is whole. Arguments are parsed by the commands' own files. */
#include "imapd/dispatch.h"

enum { DROP_LIMIT = 1 << 30 /* a literal beyond this that nobody asked for ends the session */ };

#define UID_ROWS CMD_UID | CMD_BEFORE
static const struct command commands[] = {
    {"CAPABILITY", NULL, run_capability, PH_ANY, 0},
    {"NOOP", NULL, run_noop, PH_ANY, CMD_AFTER},
    {"LOGOUT", NULL, run_logout, PH_ANY, CMD_QUIET},
    {"ID", parse_id, run_id, PH_ANY, 0},
    {"STARTTLS", NULL, run_starttls, PH_NONAUTH, 0},
    {"AUTHENTICATE", parse_authenticate, run_authenticate, PH_NONAUTH, 0},
    {"LOGIN", parse_login, run_login, PH_NONAUTH, 0},
    {"ENABLE", parse_enable, run_enable, PH_IN, 0},
    {"SELECT", parse_select, run_select, PH_IN, CMD_QUIET},
    {"EXAMINE", parse_examine, run_select, PH_IN, CMD_QUIET},
    {"CREATE", parse_create, run_create, PH_IN, 0},
    {"DELETE", parse_delete, run_delete, PH_IN, 0},
    {"RENAME", parse_rename, run_rename, PH_IN, 0},
    {"SUBSCRIBE", parse_subscribe, run_subscribe, PH_IN, 0},
    {"UNSUBSCRIBE", parse_unsubscribe, run_subscribe, PH_IN, 0},
    {"LIST", parse_list, run_list, PH_IN, 0},
    {"LSUB", parse_lsub, run_list, PH_IN, 0},
    {"STATUS", parse_status, run_status, PH_IN, 0},
    {"GETQUOTA", parse_getquota, run_getquota, PH_IN, 0},
    {"GETQUOTAROOT", parse_getquotaroot, run_getquota, PH_IN, 0},
    {"SETQUOTA", parse_setquota, run_setquota, PH_IN, 0},
    {"NAMESPACE", NULL, run_namespace, PH_IN, 0},
    {"APPEND", parse_append, run_append, PH_IN, CMD_AFTER | CMD_APPEND},
    {"IDLE", NULL, run_idle, PH_IN, 0},
    {"CHECK", NULL, run_check, PH_SELECTED, CMD_AFTER},
    {"CLOSE", NULL, run_close, PH_SELECTED, CMD_QUIET},
    {"UNSELECT", NULL, run_unselect, PH_SELECTED, CMD_QUIET},
    {"EXPUNGE", parse_expunge, run_expunge, PH_SELECTED, UID_ROWS | CMD_WRITES},
    {"SEARCH", parse_search, run_search, PH_SELECTED, UID_ROWS | CMD_KEEP | CMD_NEW},
    {"FETCH", parse_fetch, run_fetch, PH_SELECTED, UID_ROWS | CMD_KEEP | CMD_NEW},
    {"STORE", parse_store, run_store, PH_SELECTED, UID_ROWS | CMD_KEEP | CMD_WRITES},
    {"COPY", parse_copy, run_copy, PH_SELECTED, UID_ROWS | CMD_AFTER},
    {"MOVE", parse_move, run_copy, PH_SELECTED, UID_ROWS | CMD_AFTER | CMD_WRITES}};
#undef UID_ROWS

const struct command *command_find(struct span name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (span_caseeq(name, span_str(commands[i].name)))
            return &commands[i];
    return NULL;
}

/* -- answers to what is no command -- */

static bool take_tag(struct cursor *c, struct span *out)
{
    size_t n = 0;
    while (n < c->s.n && is_astring_char(c->s.p[n]) && c->s.p[n] != '+')
        n++;
    *out = span_first(c->s, n);
    c->s = span_drop(c->s, n);
    return n > 0 && (c->s.n == 0 || cur_peek(c, ' '));
}

/* Answer at once, with the tag when there is one; the text is done with. */
static enum step refuse(struct imap *s, enum cond cond, const char *code, const char *text)
{
    struct cursor c = {.s = buf_span(&s->reader.text), .a = s->arena};
    static const struct command none = {.name = "?"};
    c.s = span_trim(span_first(c.s, span_find(c.s, '\n')));
    struct span tag;
    if (!take_tag(&c, &tag))
        tag = SPAN("*");
    s->cmd.tag = arena_dup(s->arena, tag);
    if (!s->cmd.row)
        s->cmd.row = &none;
    s->cmd.after = imap_done(s, cond, code, text);
    s->cmd.life = LIFE_END;
    return STEP_AGAIN;
}

/* -- a command -- */

static bool take_name(struct imap *s, struct cursor *c)
{
    struct span name;
    if (!cur_sp(c) || !cur_atom(c, &name))
        return false;
    s->cmd.uid = span_caseeq(name, SPAN("UID"));
    if (s->cmd.uid && (!cur_sp(c) || !cur_atom(c, &name)))
        return false;
    s->cmd.row = command_find(name);
    return s->cmd.row && (!s->cmd.uid || s->cmd.row->flags & CMD_UID);
}

/* Why the command cannot be taken; NULL: it can. */
static const char *fault(const struct imap *s)
{
    const struct command *row = s->cmd.row;
    if (row->phases & s->phase)
        return NULL;
    if (s->phase == PH_NONAUTH)
        return "Please log in first.";
    return row->phases == PH_SELECTED ? "No mailbox is selected." : "Not permitted in this state.";
}

/* RFC 7162 3.1: the first command that shows an interest in modseqs is told where the mailbox stands. */
static void enable_condstore(struct imap *s)
{
    if (s->enabled & EN_CONDSTORE)
        return;
    s->enabled |= EN_CONDSTORE;
    if (s->view.open && !(s->cmd.row->flags & CMD_QUIET))
        putf(s, "* OK [HIGHESTMODSEQ %llu] Highest\r\n", (unsigned long long)s->view.modseq);
}

static enum step start(struct imap *s, struct cursor *c)
{
    const struct command *row = s->cmd.row;
    const char *why = fault(s);
    if (why)
        return refuse(s, COND_BAD, NULL, why);
    if (row->parse ? !row->parse(s, c) : !cur_end(c))
        return refuse(s, COND_BAD, NULL, "Illegal arguments.");
    if (s->cmd.row->flags & CMD_WRITES && s->view.read_only)
        return refuse(s, COND_NO, "READ-ONLY", "Mailbox is read only.");
    if (c->bad_name)
        return refuse(s, COND_NO, "CANNOT", "That is not a mailbox name.");
    if (s->cmd.condstore)
        enable_condstore(s);
    s->cmd.life = LIFE_BEFORE;
    return STEP_AGAIN;
}

static enum step dispatch(struct imap *s)
{
    struct span text = buf_span(&s->reader.text);
    if (s->reader.too_long)
        return refuse(s, COND_BAD, "TOOBIG", "The command is too long.");
    if (!span_ends(text, SPAN("\r\n")))
        return refuse(s, COND_BAD, "CLIENTBUG", "Lines end in CRLF.");
    if (s->reader.has_nul)
        return refuse(s, COND_BAD, "CLIENTBUG", "NUL is not permitted.");
    text.n -= 2;
    struct cursor c = {.s = text, .a = s->arena};
    struct span tag;
    if (!take_tag(&c, &tag))
        return refuse(s, COND_BAD, NULL, "A command begins with a tag.");
    s->cmd.tag = arena_dup(s->arena, tag);
    if (!take_name(s, &c))
        return refuse(s, COND_BAD, NULL, "Unknown command.");
    return start(s, &c);
}

/* -- literals -- */

/* The message of an APPEND: its command begins before its line is whole. */
static bool starts_append(struct imap *s, const struct reader_literal *lit)
{
    struct cursor c = {.s = buf_span(&s->reader.text), .a = s->arena};
    struct span tag;
    if (!(s->phase & PH_IN) || s->reader.too_long || s->reader.has_nul || !take_tag(&c, &tag) ||
        !take_name(s, &c) || !(s->cmd.row->flags & CMD_APPEND))
        return false;
    s->cmd.tag = arena_dup(s->arena, tag);
    return append_begin(s, &c, lit);
}

static enum step on_literal(struct imap *s, const struct reader_literal *lit)
{
    if (starts_append(s, lit)) {
        s->cmd.life = LIFE_RUN;
        return STEP_AGAIN;
    }
    arena_reset(s->arena);
    if (lit->sync && !reader_fits(&s->reader, lit->size))
        return refuse(s, COND_NO, "TOOBIG", "The literal is too large.");
    if (lit->size > DROP_LIMIT) {
        put(s, "* BYE [TOOBIG] The literal is too large.\r\n");
        return STEP_CLOSE;
    }
    if (lit->sync)
        put(s, "+ OK\r\n");
    reader_take_literal(&s->reader, lit->size);
    return STEP_AGAIN;
}

enum step imap_read_command(struct imap *s)
{
    struct reader_literal lit;
    switch (reader_step(&s->reader, s->in, &lit)) {
    case READER_MORE:
        return STEP_NEED_INPUT;
    case READER_COMMAND:
        return dispatch(s);
    case READER_LITERAL:
        return on_literal(s, &lit);
    }
    return STEP_CLOSE;
}
