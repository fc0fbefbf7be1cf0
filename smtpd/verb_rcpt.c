/* RCPT (RFC 5321 4.1.1.3). The address is looked up as it stands: nothing in a local part ("%", "!", a quoted
 * "@") ever names another host, so that no form of address makes a relay of us. */
#include "smtpd/core_int.h"
#include <stdio.h>
#include <stdlib.h>

static enum step refused(struct smtp_core *p, struct buf *out, int code, const char *enhanced,
                         const char *text)
{
    log_event(LOG_INFO, &p->log, "smtp.rcpt.refused", F_SPAN("rcpt", p->tx.pending), F_INT("code", code),
              F_STR("why", enhanced));
    enum step s = reply(p, out, code, enhanced, "%s", text);
    if (code >= 500 && p->login.in)
        p->errors--; /* a colleague's old address book is no attack */
    return s;
}

static enum step accepted(struct smtp_core *p, const struct dir_entry *e, struct buf *out)
{
    if (p->tx.rcpt_count == p->tx.rcpt_room) {
        p->tx.rcpt_room = p->tx.rcpt_room ? p->tx.rcpt_room * 2 : 4;
        p->tx.rcpts = xrealloc(p->tx.rcpts, p->tx.rcpt_room * sizeof *p->tx.rcpts);
    }
    p->tx.rcpts[p->tx.rcpt_count++] =
        (struct rcpt){.target = {.kind = e->kind == DIR_GROUP ? STORE_TO_GROUP : STORE_TO_ACCOUNT,
                                 .id = e->id,
                                 .address = p->tx.pending,
                                 .quota_bytes = e->quota_bytes},
                      .member_count = e->member_count};
    enter(p, PH_RCPT);
    return reply(p, out, 250, "2.1.5", "Ok");
}

/* Known before the message is sent; what becomes full later is found when it is stored. */
static enum step full(struct smtp_core *p, struct buf *out)
{
    struct full_reply r = full_reply(p);
    return refused(p, out, r.code, r.enhanced, r.text);
}

static enum step found(struct smtp_core *p, const struct dir_entry *e, struct buf *out)
{
    if (e->kind == DIR_REMOTE && p->login.in)
        return refused(p, out, 550, "5.1.2", "Mail for other systems cannot be sent from here yet");
    if (e->kind == DIR_REMOTE)
        return refused(p, out, 550, "5.7.1", "Relaying denied");
    if (e->kind == DIR_GROUP && !e->may_post)
        return refused(p, out, 550, "5.7.1", "You may not send to this group");
    if (e->kind == DIR_GROUP && e->member_count == 0)
        return refused(p, out, 550, "5.2.1", "This group has no members");
    if (e->kind == DIR_ACCOUNT && e->disabled)
        return refused(p, out, 550, "5.2.1", "This mailbox takes no mail");
    if (e->kind == DIR_ACCOUNT && p->b->is_full(p->b->arg, &e->id))
        return full(p, out);
    return accepted(p, e, out);
}

static enum step lookup_known(struct smtp_core *p, struct buf *out)
{
    switch (p->wait.code) {
    case ERR_OK:
        return found(p, &p->wait.entry, out);
    case ERR_MISSING:
        return refused(p, out, 550, "5.1.1", "No such mailbox here");
    case ERR_SYNTAX:
        return refused(p, out, 553, "5.1.3", "Not a mailbox address");
    default:
        return refused(p, out, 451, "4.3.0", "Cannot look up this address now, try again later");
    }
}

static void lookup_answer(void *session, enum err_code code, const struct dir_entry *entry)
{
    struct smtp_core *p = session;
    p->wait.code = code;
    if (code == ERR_OK) {
        p->wait.entry = *entry;
        /* views end with this call, and none is needed */
        p->wait.entry.address = p->wait.entry.name = p->wait.entry.forward = SPAN_NONE;
    }
    wait_over(p);
}

/* "postmaster" alone must be taken (RFC 5321 4.5.1): it is the first domain's. */
static struct span full_address(struct smtp_core *p, const struct path_arg *a)
{
    char text[PATH_LIMIT + 1];
    const char *domain = p->conf->domains.n ? p->conf->domains.v[0] : p->conf->hostname;
    if (a->domain.n)
        return arena_dup(p->tx.arena, a->path);
    int n = snprintf(text, sizeof text, "postmaster@%s", domain);
    return n > 0 && (size_t)n < sizeof text ? arena_dup(p->tx.arena, span_str(text)) : SPAN_NONE;
}

enum step on_rcpt(struct smtp_core *p, struct span arg, struct buf *out)
{
    struct path_arg a;
    enum err_code code = path_arg_parse(arg, SPAN("TO:"), p->tx.utf8, true, &a);
    if (code == ERR_DENIED)
        return reply(p, out, 553, "5.6.7", "An address outside ASCII needs SMTPUTF8");
    if (code == ERR_LIMIT)
        return reply(p, out, 501, "5.1.3", "Recipient address is too long");
    if (code != ERR_OK || a.path.n == 0)
        return reply(p, out, 501, "5.1.3", "Syntax: RCPT TO:<address>");
    if (a.param_count)
        return reply(p, out, 555, "5.5.4", "Parameter not recognised");
    if (p->tx.rcpt_count >= p->conf->recipients_limit)
        return reply(p, out, 452, "4.5.3", "Too many recipients, send to these first");
    p->tx.pending = full_address(p, &a);
    if (!p->tx.pending.p) /* thousands of refused recipients have filled the arena */
        return reply(p, out, 452, "4.5.3", "Too many recipients, send to these first");
    if (a.domain.n && a.domain.p[0] == '[')
        return refused(p, out, 550, "5.1.2", "Address literals take no mail here");
    struct dir_entry e;
    if (p->b->known && p->b->known(p->b->arg, p->tx.pending, &e))
        return found(p, &e, out);
    struct ticket *t = wait_for(p, lookup_known);
    p->b->lookup(p->b->arg, p->tx.pending, p->login.in ? &p->login.account : NULL, t, lookup_answer);
    return STEP_PAUSED;
}
