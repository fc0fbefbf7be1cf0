/* A whole message: faults, the author's right, members of small groups, policy, one request to the store, and
 * the reply (RFC 5321 4.2.5: from the 250 on it is ours). Each step may wait, so each is a function that the
 * next one is resumed with. The hard problem is that the store knows accounts while the client knows the
 * recipients that it named: every account gets one copy, and LMTP (RFC 2033 4.2) one reply for each RCPT. */
#include "smtpd/core_int.h"
#include "common/base/clock.h"
#include "common/mime/address.h"
#include <stdlib.h>

enum { AUTHORS_LIMIT = 50, MEMBERS_PAGE = 1000, FIELDS_LIMIT = 64 << 10 };

static resume_fn author_known, members_known, policy_known, stored;

/* -- the end -- */

static void log_message(struct smtp_core *p, const char *outcome, struct span why)
{
    char protocol[16];
    log_event(LOG_INFO, &p->log, p->told ? "smtp.message.accepted" : "smtp.message.refused",
              F_STR("trace", p->tx.trace.text), F_SPAN("sender", p->tx.sender),
              F_UINT("rcpts", p->tx.rcpt_count),
              F_SPAN("rcpt", p->tx.rcpt_count ? p->tx.rcpts[0].target.address : SPAN("")),
              F_UINT("accounts", p->tx.target_count), F_UINT("size", intake_size(p->tx.intake)),
              F_STR("with", trace_protocol(p, protocol)), F_STR("tls", p->tls.on ? p->tls.version : "none"),
              F_STR("login", p->login.in ? p->login.address : ""), F_STR("outcome", outcome),
              F_SPAN("why", why), F_INT("ms", (clock_wall_us() - p->tx.began_us) / 1000));
}

/* One refusal for the whole message. */
static enum step refuse(struct smtp_core *p, struct buf *out, int code, const char *enhanced,
                        struct span text)
{
    size_t n = p->setup.kind == SMTP_LMTP ? p->tx.rcpt_count : 1;
    enum step s = STEP_AGAIN;
    log_message(p, code >= 500 ? "refused" : "deferred", text);
    p->sum.refused++;
    for (size_t i = 0; i < n; i++)
        s = reply(p, out, code, enhanced, "%.*s", SPAN_ARG(text));
    if (code >= 500)
        p->errors -= (unsigned)n - 1; /* one fault, however many replies */
    tx_end(p);
    return s;
}

static enum step refuse_err(struct smtp_core *p, struct buf *out, enum err_code code)
{
    switch (code) {
    case ERR_SYNTAX:
        return refuse(p, out, 550, "5.6.0", SPAN("Message holds a bare CR, a bare LF or NUL"));
    case ERR_LIMIT:
        return refuse(p, out, 552, "5.3.4", SPAN("Message is larger than this system takes"));
    case ERR_STATE:
        return refuse(p, out, 554, "5.4.6",
                      SPAN("Too many Received fields: the message goes round in a loop"));
    case ERR_RETRY:
        return refuse(p, out, 452, "4.3.1", SPAN("No room for a message of this size now"));
    default:
        return refuse(p, out, 451, "4.3.0", SPAN("Cannot take the message now, try again later"));
    }
}

/* -- the author (submission): every mailbox of the From and Sender fields must be the login's -- */

static enum step ask_members(struct smtp_core *p, struct buf *out);

static void code_answer(void *session, enum err_code code)
{
    struct smtp_core *p = session;
    p->wait.code = code;
    wait_over(p);
}

/* "local@domain" in the form of a path, quotes put back where they are needed. */
static struct span author_text(struct smtp_core *p, const struct address *a)
{
    struct buf b;
    struct span local, domain, all = SPAN_NONE;
    buf_init(&b, 2 * PATH_LIMIT);
    if (buf_add_span(&b, a->local) && buf_add_char(&b, '@') && buf_add_span(&b, a->domain)) {
        if (address_path(buf_span(&b), true, &local, &domain) == ERR_OK) {
            all = arena_dup(p->tx.arena, buf_span(&b));
        } else {
            buf_reset(&b);
            bool ok = buf_add_char(&b, '"');
            for (size_t i = 0; ok && i < a->local.n; i++)
                ok = (!strchr("\"\\", a->local.p[i]) || buf_add_char(&b, '\\')) &&
                     buf_add_char(&b, a->local.p[i]);
            ok = ok && buf_add_str(&b, "\"@") && buf_add_span(&b, a->domain) &&
                 address_path(buf_span(&b), true, &local, &domain) == ERR_OK;
            all = ok ? arena_dup(p->tx.arena, buf_span(&b)) : SPAN_NONE;
        }
    }
    buf_free(&b);
    return all;
}

static enum step bad_author(struct smtp_core *p, struct buf *out)
{
    return refuse(p, out, 550, "5.7.1", SPAN("The From or Sender field does not belong to your login"));
}

static enum step next_author(struct smtp_core *p, struct buf *out)
{
    for (; p->tx.from; p->tx.from = p->tx.from->next) {
        if (p->tx.from->group_start || p->tx.from->group_end)
            continue;
        struct span text = author_text(p, p->tx.from);
        if (!text.p)
            return bad_author(p, out);
        if ((p->tx.sender.n && span_eq(text, p->tx.sender)) || span_caseeq(text, span_str(p->login.address)))
            continue;
        struct ticket *t = wait_for(p, author_known);
        p->b->may_send(p->b->arg, &p->login.account, text, t, code_answer);
        return STEP_PAUSED;
    }
    return ask_members(p, out);
}

static enum step author_known(struct smtp_core *p, struct buf *out)
{
    if (p->wait.code == ERR_DENIED || p->wait.code == ERR_MISSING)
        return bad_author(p, out);
    if (p->wait.code != ERR_OK)
        return refuse(p, out, 451, "4.3.0", SPAN("Cannot check the author now, try again later"));
    p->tx.from = p->tx.from->next;
    return next_author(p, out);
}

/* Mailboxes of a field, all of which are to be checked. False: there is none in it, or too many. */
static bool authors_of(struct smtp_core *p, struct span value, struct address **out)
{
    size_t count = 0, mailboxes = 0;
    *out = address_list(p->tx.arena, value, AUTHORS_LIMIT + 1);
    for (const struct address *a = *out; a; a = a->next, count++)
        mailboxes += !(a->group_start || a->group_end);
    return mailboxes && count <= AUTHORS_LIMIT;
}

static enum step check_author(struct smtp_core *p, struct buf *out)
{
    struct span from, sender;
    struct address *all = NULL, *more = NULL;
    if (!intake_authors(p->tx.intake, &from, &sender))
        return refuse(p, out, 550, "5.6.0", SPAN("More than one From or Sender field, or one too long"));
    /* Without a From field one was added from the envelope. */
    if ((from.p && !authors_of(p, from, &all)) || (sender.p && !authors_of(p, sender, &more)))
        return bad_author(p, out);
    struct address **end = &all;
    while (*end)
        end = &(*end)->next;
    *end = more;
    p->tx.from = all;
    return next_author(p, out);
}

/* -- accounts behind the recipients -- */

static int target_cmp(const void *a, const void *b)
{
    const struct store_target *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return uuid_cmp(&x->id, &y->id);
}

static struct store_target *target_find(struct store_target *v, size_t n, const struct store_target *what)
{
    return n ? bsearch(what, v, n, sizeof *v, target_cmp) : NULL;
}

static void target_add(struct smtp_core *p, const struct store_target *t)
{
    if (p->tx.target_count == p->tx.target_room) {
        p->tx.target_room = p->tx.target_room ? p->tx.target_room * 2 : 8;
        p->tx.targets = xrealloc(p->tx.targets, p->tx.target_room * sizeof *p->tx.targets);
    }
    p->tx.targets[p->tx.target_count++] = *t;
}

/* Sort and keep one of each. */
static void targets_settle(struct smtp_core *p)
{
    size_t n = 0;
    if (p->tx.target_count)
        qsort(p->tx.targets, p->tx.target_count, sizeof *p->tx.targets, target_cmp);
    for (size_t i = 0; i < p->tx.target_count; i++)
        if (n == 0 || target_cmp(&p->tx.targets[n - 1], &p->tx.targets[i]) != 0)
            p->tx.targets[n++] = p->tx.targets[i];
    p->tx.target_count = p->tx.direct_count = n;
}

static enum step ask_policy(struct smtp_core *p, struct buf *out);

static void members_answer(void *session, enum err_code code, const struct dir_member *v, size_t count,
                           bool more)
{
    struct smtp_core *p = session;
    p->wait.code = code;
    for (size_t i = 0; code == ERR_OK && i < count; i++) {
        struct store_target t = {.kind = STORE_TO_ACCOUNT, .id = v[i].id, .quota_bytes = v[i].quota_bytes};
        t.address = arena_dup(p->tx.arena, v[i].address);
        if (!t.address.p)
            p->wait.code = ERR_LIMIT;
        else if (!target_find(p->tx.targets, p->tx.direct_count, &t))
            target_add(p, &t);
    }
    p->wait.more = more && count;
    if (count)
        p->wait.entry.id = v[count - 1].id;
    wait_over(p);
}

static enum step ask_members_after(struct smtp_core *p, const struct uuid *after)
{
    struct ticket *t = wait_for(p, members_known);
    p->b->members(p->b->arg, p->tx.group_ids, p->tx.group_count, after, MEMBERS_PAGE, t, members_answer);
    return STEP_PAUSED;
}

static enum step members_known(struct smtp_core *p, struct buf *out)
{
    if (p->wait.code != ERR_OK)
        return refuse(p, out, 451, "4.3.0", SPAN("Cannot look up the group now, try again later"));
    if (p->wait.more) {
        struct uuid after = p->wait.entry.id;
        return ask_members_after(p, &after);
    }
    targets_settle(p);
    if (p->tx.target_count == 0)
        return refuse(p, out, 550, "5.2.1", SPAN("This group has no members"));
    return ask_policy(p, out);
}

/* Small groups are filed at once, as their members; a large one makes a queue entry of the whole message. */
static enum step ask_members(struct smtp_core *p, struct buf *out)
{
    static const struct uuid none;
    size_t groups = 0;
    for (size_t i = 0; i < p->tx.rcpt_count; i++) {
        const struct rcpt *r = &p->tx.rcpts[i];
        groups += r->target.kind == STORE_TO_GROUP;
        p->tx.by_worker |= r->target.kind == STORE_TO_GROUP && r->member_count > p->conf->group_inline_limit;
    }
    p->tx.group_ids = xcalloc(groups ? groups : 1, sizeof *p->tx.group_ids);
    for (size_t i = 0; i < p->tx.rcpt_count; i++) {
        const struct store_target *t = &p->tx.rcpts[i].target;
        if (t->kind == STORE_TO_GROUP && !p->tx.by_worker)
            p->tx.group_ids[p->tx.group_count++] = t->id;
        else
            target_add(p, t);
    }
    targets_settle(p);
    return p->tx.group_count ? ask_members_after(p, &none) : ask_policy(p, out);
}

/* -- policy -- */

static void policy_answer(void *session, const struct policy_verdict *v)
{
    struct smtp_core *p = session;
    p->wait.act = (int)v->act;
    p->tx.fields = v->fields.n ? arena_dup(p->tx.arena, v->fields) : SPAN_NONE;
    size_t n = 0;
    for (size_t i = 0; i < v->text.n && n + 1 < sizeof p->wait.text; i++)
        p->wait.text[n++] = (unsigned char)v->text.p[i] < 32 ? ' ' : v->text.p[i];
    p->wait.text[n] = 0;
    wait_over(p);
}

static enum step ask_policy(struct smtp_core *p, struct buf *out)
{
    struct span *rcpts = arena_array(p->tx.arena, p->tx.rcpt_count, sizeof *rcpts);
    if (!rcpts)
        return refuse_err(p, out, ERR_BUG);
    for (size_t i = 0; i < p->tx.rcpt_count; i++)
        rcpts[i] = p->tx.rcpts[i].target.address;
    struct policy_question q = {.peer = span_str(p->setup.peer),
                                .hello = span_str(p->hello),
                                .login = span_str(p->login.in ? p->login.address : ""),
                                .sender = p->tx.sender,
                                .recipients = rcpts,
                                .recipient_count = p->tx.rcpt_count,
                                .size = intake_size(p->tx.intake),
                                .content = intake_content(p->tx.intake)};
    struct ticket *t = wait_for(p, policy_known);
    p->b->policy(p->b->arg, &q, t, policy_answer);
    return STEP_PAUSED;
}

/* -- the store -- */

static void delivered(void *session, enum err_code code, const struct store_delivered *a)
{
    struct smtp_core *p = session;
    p->wait.code = code;
    if (code == ERR_OK && a->count != p->tx.target_count && !a->repeated)
        p->wait.code = ERR_BUG;
    p->tx.outcome = xcalloc(p->tx.target_count, sizeof *p->tx.outcome); /* all ERR_OK */
    p->tx.traces = xcalloc(p->tx.target_count, sizeof *p->tx.traces);
    if (p->wait.code == ERR_OK) {
        p->tx.repeated = a->repeated;
        p->tx.trace = a->trace;
        p->tx.receipt = arena_dup(p->tx.arena, a->receipt);
        for (size_t i = 0; i < p->tx.target_count; i++)
            p->tx.traces[i] = i < a->count ? a->traces[i] : a->trace;
        if (a->count == p->tx.target_count)
            memcpy(p->tx.outcome, a->outcome, a->count * sizeof *a->outcome);
    }
    wait_over(p);
}

static enum step deliver(struct smtp_core *p, struct buf *out)
{
    struct buf fields;
    struct content *content = NULL;
    buf_init(&fields, FIELDS_LIMIT);
    enum err_code code = ERR_BUG;
    if (trace_fields(p, p->tx.fields, &fields))
        code = intake_seal(p->tx.intake, buf_span(&fields), &content);
    buf_free(&fields);
    if (code != ERR_OK)
        return refuse_err(p, out, code == ERR_LIMIT ? ERR_RETRY : code);
    /* More than a slice at once would keep all other writers waiting. LMTP wants the outcome of each. */
    if (p->setup.kind != SMTP_LMTP && p->tx.target_count > STORE_SLICE)
        p->tx.by_worker = true;
    struct store_delivery d = {.trace = p->tx.trace,
                               .sender = p->tx.sender,
                               .peer = span_str(p->setup.peer),
                               .login = span_str(p->login.in ? p->login.address : ""),
                               .received_us = p->tx.began_us,
                               .content = content,
                               .to = p->tx.targets,
                               .to_count = p->tx.target_count,
                               .queue = p->tx.by_worker,
                               .queue_full = p->setup.kind != SMTP_LMTP,
                               .find_repeat = true};
    struct ticket *t = wait_for(p, stored);
    p->b->deliver(p->b->arg, &d, t, delivered);
    return STEP_PAUSED;
}

static enum step policy_known(struct smtp_core *p, struct buf *out)
{
    struct span text = span_str(p->wait.text);
    switch (p->wait.act) {
    case POLICY_ACCEPT:
        return deliver(p, out);
    case POLICY_REFUSE:
        return refuse(p, out, 550, "5.7.1", text.n ? text : SPAN("Message refused by policy"));
    default:
        return refuse(p, out, 451, "4.7.1", text.n ? text : SPAN("Message deferred by policy"));
    }
}

/* The worst of two outcomes: what may still succeed is tried again. */
static enum err_code worse(enum err_code a, enum err_code b)
{
    static const int rank[] = {[ERR_OK] = 0,    [ERR_DENIED] = 1, [ERR_MISSING] = 1, [ERR_SYNTAX] = 1,
                               [ERR_LIMIT] = 2, [ERR_STATE] = 3,  [ERR_RETRY] = 3,   [ERR_BUG] = 3};
    return rank[b] > rank[a] ? b : a;
}

static enum err_code rcpt_outcome(const struct smtp_core *p, const struct rcpt *r)
{
    const struct store_target *t = target_find(p->tx.targets, p->tx.target_count, &r->target);
    enum err_code worst = ERR_OK;
    if (t)
        return p->tx.outcome[t - p->tx.targets];
    for (size_t i = 0; i < p->tx.target_count; i++) /* a group that was expanded */
        worst = worse(worst, p->tx.outcome[i]);
    return worst;
}

/* The trace that one recipient's copy is filed under. */
static const struct trace_id *rcpt_trace(const struct smtp_core *p, const struct rcpt *r)
{
    const struct store_target *t = target_find(p->tx.targets, p->tx.target_count, &r->target);
    return t ? &p->tx.traces[t - p->tx.targets] : &p->tx.trace;
}

static enum step reply_outcome(struct smtp_core *p, struct buf *out, enum err_code code, struct span rcpt,
                               const struct trace_id *trace)
{
    const struct full_reply full = full_reply(p);
    bool named = rcpt.n > 0;
    switch (code) {
    case ERR_OK:
        return reply(p, out, 250, "2.0.0", "%s%.*s%sOk: queued as %s", named ? "<" : "", SPAN_ARG(rcpt),
                     named ? "> " : "", trace->text);
    case ERR_LIMIT:
        return reply(p, out, full.code, full.enhanced, "%s", full.text);
    case ERR_DENIED:
    case ERR_MISSING:
    case ERR_SYNTAX:
        return reply(p, out, 550, "5.2.0", "Mailbox takes no mail");
    default:
        return reply(p, out, 451, "4.3.0", "Cannot store the message now, try again later");
    }
}

static void count_accepted(struct smtp_core *p)
{
    p->told = true;
    p->errors = 0;
    p->sum.accepted++;
    p->sum.recipients += p->tx.rcpt_count;
    p->sum.bytes += intake_size(p->tx.intake);
}

static enum step stored(struct smtp_core *p, struct buf *out)
{
    enum err_code worst = ERR_OK;
    enum step s = STEP_AGAIN;
    bool any = false;
    if (p->wait.code != ERR_OK)
        return refuse_err(p, out, p->wait.code == ERR_LIMIT ? ERR_RETRY : ERR_BUG);
    for (size_t i = 0; i < p->tx.target_count; i++) {
        worst = worse(worst, p->tx.outcome[i]);
        any = any || p->tx.outcome[i] == ERR_OK;
    }
    bool lmtp = p->setup.kind == SMTP_LMTP;
    buf_reset(&p->receipt);
    if (lmtp ? any : worst == ERR_OK)
        count_accepted(p);
    /* A group answers as the worst of its members: while anybody is told to come again, all that were served
     * may be named again. */
    if (worst == ERR_OK && !buf_add_span(&p->receipt, p->tx.receipt))
        buf_reset(&p->receipt); /* then it is known for an hour */
    else
        p->sum.refused++;
    log_message(p, p->tx.repeated ? "repeated" : p->tx.by_worker ? "queued" : err_name(worst), SPAN(""));
    for (size_t i = 0; lmtp && i < p->tx.rcpt_count && s == STEP_AGAIN; i++) {
        const struct rcpt *r = &p->tx.rcpts[i];
        s = reply_outcome(p, out, rcpt_outcome(p, r), r->target.address, rcpt_trace(p, r));
    }
    if (!lmtp)
        s = reply_outcome(p, out, worst, SPAN_NONE, &p->tx.trace);
    tx_end(p);
    return s;
}

enum step accept_begin(struct smtp_core *p, struct buf *out)
{
    intake_finish(p->tx.intake);
    enum err_code fault = intake_fault(p->tx.intake);
    if (fault != ERR_OK)
        return refuse_err(p, out, fault);
    return p->login.in ? check_author(p, out) : ask_members(p, out);
}
