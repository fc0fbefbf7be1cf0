/* Commands of every state: CAPABILITY, NOOP, LOGOUT, STARTTLS, ID (RFC 2971), ENABLE (RFC 5161), NAMESPACE
 * (RFC 2342), CHECK. The one hard point: what is announced depends on who asks and how safe the line is, and
 * nothing is announced that is not whole. */
#include "imapd/imap_int.h"

static void put_mechs(struct imap *s)
{
    struct span mechs = span_str(directory_mechs(s->directory, s->secure, s->has_tls && s->tls.has_exporter));
    bool plain = false;
    while (mechs.n) {
        struct span m = span_cut(&mechs, ' ');
        if (!m.n)
            continue;
        put(s, " AUTH=");
        put_span(s, m);
        plain = plain || span_caseeq(m, SPAN("PLAIN"));
    }
    if (!plain)
        put(s, " LOGINDISABLED");
}

void put_capabilities(struct imap *s)
{
    put(s, "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN SPECIAL-USE "
           "CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH SEARCHRES WITHIN CONDSTORE "
           "OBJECTID SAVEDATE PREVIEW QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE");
    putf(s, " APPENDLIMIT=%llu", (unsigned long long)s->conf->imap_append_limit);
    if (s->phase != PH_NONAUTH)
        return;
    if (s->starttls && !s->secure)
        put(s, " STARTTLS");
    put_mechs(s);
}

enum run run_capability(struct imap *s)
{
    put(s, "* CAPABILITY ");
    put_capabilities(s);
    put(s, "\r\n");
    return imap_done_ok(s, NULL);
}

enum run run_noop(struct imap *s)
{
    return imap_done_ok(s, NULL);
}

enum run run_check(struct imap *s)
{
    return imap_done_ok(s, NULL); /* all that was answered OK is on the disk already */
}

enum run run_logout(struct imap *s)
{
    put(s, "* BYE IMAP4rev1 Server logging out\r\n");
    s->phase = PH_LOGOUT;
    return imap_done_ok(s, NULL);
}

enum run run_starttls(struct imap *s)
{
    if (!s->starttls || s->secure)
        return imap_done(s, COND_BAD, NULL, "TLS is not available here.");
    imap_done(s, COND_OK, NULL, "Begin TLS negotiation now.");
    return RUN_STARTTLS;
}

/* -- ID -- */

bool parse_id(struct imap *s, struct cursor *c)
{
    struct span key, value;
    unsigned pairs = 0;
    (void)s;
    if (!cur_sp(c))
        return false;
    if (cur_word(c, "NIL"))
        return cur_end(c);
    if (!cur_char(c, '('))
        return false;
    while (!cur_char(c, ')')) {
        if ((pairs++ && !cur_sp(c)) || !cur_string(c, &key) || !cur_sp(c) || !cur_nstring(c, &value) ||
            pairs > 30)
            return false;
        if (span_caseeq(key, SPAN("name")) && value.p)
            log_event(LOG_INFO, &s->log, "imap.client.named", F_SPAN("name", span_first(value, 100)));
    }
    return cur_end(c);
}

enum run run_id(struct imap *s)
{
    put(s, "* ID (\"name\" \"provmail\")\r\n");
    return imap_done_ok(s, NULL);
}

/* -- ENABLE -- */

struct enable {
    bool condstore;
};

bool parse_enable(struct imap *s, struct cursor *c)
{
    struct enable *e = arena_alloc(s->arena, sizeof *e);
    unsigned n = 0;
    if (!e)
        return false;
    while (cur_sp(c)) {
        struct span word;
        if (!cur_atom(c, &word))
            break;
        e->condstore = e->condstore || span_caseeq(word, SPAN("CONDSTORE"));
        n++;
    }
    s->cmd.args = e;
    return n && cur_end(c);
}

enum run run_enable(struct imap *s)
{
    const struct enable *e = s->cmd.args;
    put(s, "* ENABLED");
    if (e->condstore && !(s->enabled & EN_CONDSTORE)) {
        s->enabled |= EN_CONDSTORE;
        put(s, " CONDSTORE");
    }
    put(s, "\r\n");
    return imap_done_ok(s, NULL);
}

enum run run_namespace(struct imap *s)
{
    put(s, "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
    return imap_done_ok(s, NULL);
}
