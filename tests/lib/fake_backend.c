/* See fake_backend.h. Each call makes a pending answer; running it frees the call's own memory first, so that
 * a core which keeps a borrowed view too long is caught by the sanitizers. */
#include "tests/lib/fake_backend.h"
#include "tests/lib/fake_content.h"
#include <assert.h>
#include <stdlib.h>

struct pending {
    struct pending *next;
    struct ticket *ticket;
    void (*run)(struct fake_backend *f, struct pending *p);
    char *text; /* the address or blob, a copy */
    size_t text_n;
    bool outside; /* lookup without a sender */
    struct uuid after;
    size_t max;
    union {
        directory_entry_cb *entry;
        directory_members_cb *members;
        directory_code_cb *code;
        directory_auth_cb *auth;
        policy_cb *policy;
        store_delivered_cb *delivered;
    } cb;
    struct dir_auth *exchange;
    struct trace_id trace;
    size_t to_count;
    enum err_code outcome[1100];
};

struct dir_auth {
    struct fake_backend *f;
    struct ticket *ticket;
    directory_auth_cb *cb;
    char mech[32];
    unsigned step;
    char user[64];
};

static struct uuid id_of(unsigned char n)
{
    struct uuid u = {{0}};
    u.b[15] = n;
    return u;
}

static struct pending *add(struct fake_backend *f, struct ticket *t, struct span text,
                           void (*run)(struct fake_backend *, struct pending *))
{
    struct pending *p = xcalloc(1, sizeof *p);
    p->ticket = ticket_hold(t);
    p->run = run;
    p->text = xstrspan(text);
    p->text_n = text.n;
    struct pending **at = &f->pending;
    while (*at)
        at = &(*at)->next;
    *at = p;
    return p;
}

static void done(struct fake_backend *f)
{
    if (f->sync)
        fake_backend_run(f);
}

static void drop(struct pending **pp)
{
    struct pending *p = *pp;
    *pp = NULL;
    ticket_drop(&p->ticket);
    free(p->text);
    free(p);
}

bool fake_backend_run(struct fake_backend *f)
{
    struct pending *p = f->pending;
    if (!p)
        return false;
    f->pending = p->next;
    if (ticket_session(p->ticket))
        p->run(f, p);
    drop(&p);
    return true;
}

/* -- directory -- */

static const struct person {
    const char *local;
    unsigned char id;
    enum dir_kind kind;
    bool disabled, inside_only;
    uint32_t members;
} people[] = {
    {"an", 1, DIR_ACCOUNT, false, false, 0},
    {"an.van", 1, DIR_ACCOUNT, false, false, 0},
    {"h\xc6\xb0\xc6\xa1ng", 1, DIR_ACCOUNT, false, false, 0},
    {"postmaster", 1, DIR_ACCOUNT, false, false, 0},
    {"binh", 2, DIR_ACCOUNT, false, false, 0},
    {"chi", 3, DIR_ACCOUNT, false, false, 0},
    {"disabled", 4, DIR_ACCOUNT, true, false, 0},
    {"full", 5, DIR_ACCOUNT, false, false, 0},
    {"refuse", 6, DIR_ACCOUNT, false, false, 0},
    {"stuffed", 8, DIR_ACCOUNT, false, false, 0},
    {"small", 50, DIR_GROUP, false, false, 3},
    {"large", 51, DIR_GROUP, false, false, 500},
    {"closed", 52, DIR_GROUP, false, true, 3},
    {"empty", 53, DIR_GROUP, false, false, 0},
};

static const struct person *find_person(struct span address)
{
    struct span local = span_first(address, span_search(address, SPAN("@gialai.example")));
    for (size_t i = 0; i < sizeof people / sizeof *people; i++)
        if (local.n < address.n && span_caseeq(local, span_str(people[i].local)))
            return &people[i];
    return NULL;
}

static void run_lookup(struct fake_backend *f, struct pending *p)
{
    struct span address = span_of(p->text, p->text_n);
    const struct person *who = find_person(address);
    struct dir_entry e = {.kind = DIR_REMOTE};
    enum err_code code = f->directory;
    if (code == ERR_OK && span_starts(address, SPAN("later@")))
        code = ERR_RETRY;
    if (code == ERR_OK && !who && span_ends(address, SPAN("@gialai.example")))
        code = ERR_MISSING;
    if (who)
        e = (struct dir_entry){.kind = who->kind,
                               .id = id_of(who->id),
                               .address = address,
                               .disabled = who->disabled,
                               .member_count = who->members,
                               .may_post = !who->inside_only || !p->outside};
    p->cb.entry(ticket_session(p->ticket), code, code == ERR_OK ? &e : NULL);
}

static void lookup(void *arg, struct span address, const struct uuid *sender, struct ticket *t,
                   directory_entry_cb *cb)
{
    struct fake_backend *f = arg;
    struct pending *p = add(f, t, address, run_lookup);
    p->outside = !sender;
    p->cb.entry = cb;
    done(f);
}

/* Members 1, 2, 3, a page at a time. */
static void run_members(struct fake_backend *f, struct pending *p)
{
    struct dir_member v[3];
    size_t n = 0;
    for (unsigned char i = 1; i <= 3; i++) {
        struct uuid id = id_of(i);
        if (uuid_cmp(&id, &p->after) > 0 && n < p->max)
            v[n++] = (struct dir_member){.id = id, .address = SPAN("member@gialai.example")};
    }
    bool more = n && v[n - 1].id.b[15] < 3;
    p->cb.members(ticket_session(p->ticket), f->directory, v, n, more);
}

static void members(void *arg, const struct uuid *ids, size_t n, const struct uuid *after, size_t max,
                    struct ticket *t, directory_members_cb *cb)
{
    struct fake_backend *f = arg;
    assert(n > 0 && ids);
    struct pending *p = add(f, t, SPAN(""), run_members);
    p->after = *after;
    p->max = max < 2 ? max : 2; /* pages are small, so that the next one is asked for */
    p->cb.members = cb;
    done(f);
}

static void run_may_send(struct fake_backend *f, struct pending *p)
{
    struct span address = span_of(p->text, p->text_n);
    const struct person *who = find_person(address);
    enum err_code code = f->directory;
    if (code == ERR_OK && span_starts(address, SPAN("later@")))
        code = ERR_RETRY;
    else if (code == ERR_OK && (!who || who->id != 1))
        code = ERR_DENIED;
    p->cb.code(ticket_session(p->ticket), code);
}

static void may_send(void *arg, const struct uuid *account, struct span address, struct ticket *t,
                     directory_code_cb *cb)
{
    struct fake_backend *f = arg;
    assert(account->b[15] == 1);
    add(f, t, address, run_may_send)->cb.code = cb;
    done(f);
}

/* -- logins -- */

static const char *mechs(void *arg, bool secure, bool bound)
{
    (void)bound;
    struct fake_backend *f = arg;
    return f->directory == ERR_OK && secure ? "PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER" : "";
}

static void auth_end(struct dir_auth **ap)
{
    struct dir_auth *a = *ap;
    *ap = NULL;
    ticket_drop(&a->ticket);
    a->f->exchanges--;
    free(a);
}

static void say(struct dir_auth *a, enum err_code code, struct span challenge)
{
    struct dir_login login = {.account = id_of(1), .address = SPAN("an@gialai.example"), .grant = SPAN("g")};
    void *session = ticket_session(a->ticket);
    directory_auth_cb *cb = a->cb;
    if (code != ERR_STATE)
        auth_end(&a);
    cb(session, code, challenge, code == ERR_OK ? &login : NULL);
}

static enum err_code judge(const char *user, struct span password)
{
    if (strcmp(user, "later") == 0)
        return ERR_RETRY;
    if (strcmp(user, "many") == 0)
        return ERR_LIMIT;
    return strcmp(user, "an") == 0 && span_eq(password, SPAN("secret")) ? ERR_OK : ERR_DENIED;
}

static void plain(struct dir_auth *a, struct span blob)
{
    struct span zid = span_cut(&blob, 0), user = span_cut(&blob, 0);
    char name[64] = "";
    if (zid.n || !blob.p || user.n >= sizeof name) {
        say(a, ERR_SYNTAX, SPAN_NONE);
        return;
    }
    memcpy(name, user.p, user.n);
    say(a, judge(name, blob), SPAN_NONE);
}

static void run_auth(struct fake_backend *f, struct pending *p)
{
    struct dir_auth *a = p->exchange;
    struct span blob = span_of(p->text, p->text_n);
    bool given = p->outside; /* here: a response came */
    if (f->directory != ERR_OK) {
        say(a, f->directory, SPAN_NONE);
    } else if (!given) {
        say(a, ERR_STATE, strcmp(a->mech, "LOGIN") == 0 ? SPAN("User Name") : SPAN(""));
    } else if (strcmp(a->mech, "PLAIN") == 0) {
        plain(a, blob);
    } else if (strcmp(a->mech, "LOGIN") == 0 && a->step++ == 0) {
        memcpy(a->user, blob.p, blob.n < 63 ? blob.n : 63);
        say(a, ERR_STATE, SPAN("Password"));
    } else if (strcmp(a->mech, "LOGIN") == 0) {
        say(a, judge(a->user, blob), SPAN_NONE);
    } else if (a->step++ == 0) { /* SCRAM, OAUTHBEARER: one round, then final data */
        say(a, ERR_STATE, SPAN("r=1"));
    } else {
        say(a, span_eq(blob, SPAN("ok")) ? ERR_OK : ERR_DENIED, SPAN("v=sig"));
    }
}

static void auth_ask(struct dir_auth *a, struct span blob, bool given)
{
    struct pending *p = add(a->f, a->ticket, blob, run_auth);
    p->exchange = a;
    p->outside = given;
    done(a->f);
}

static struct dir_auth *auth(void *arg, struct span mech, const struct dir_facts *facts, struct span initial,
                             struct ticket *t, directory_auth_cb *cb)
{
    struct fake_backend *f = arg;
    struct dir_auth *a = xcalloc(1, sizeof *a);
    assert(mech.n < sizeof a->mech && strcmp(facts->service, "smtp") == 0);
    a->f = f;
    a->ticket = ticket_hold(t);
    a->cb = cb;
    for (size_t i = 0; i < mech.n; i++)
        a->mech[i] = mech.p[i] >= 'a' ? (char)(mech.p[i] - 32) : mech.p[i];
    f->exchanges++;
    auth_ask(a, initial, initial.p != NULL);
    return a;
}

static void auth_step(struct dir_auth *a, struct span response)
{
    auth_ask(a, response, true);
}

static void auth_cancel(struct dir_auth **a)
{
    for (struct pending **p = &(*a)->f->pending; *p;) {
        struct pending *one = *p;
        if (one->exchange == *a) {
            *p = one->next;
            drop(&one);
        } else {
            p = &one->next;
        }
    }
    auth_end(a);
}

/* -- policy and store -- */

static void run_policy(struct fake_backend *f, struct pending *p)
{
    p->cb.policy(ticket_session(p->ticket), &f->verdict);
}

static void policy(void *arg, const struct policy_question *q, struct ticket *t, policy_cb *cb)
{
    struct fake_backend *f = arg;
    assert(q->recipient_count > 0 && q->content);
    add(f, t, SPAN(""), run_policy)->cb.policy = cb;
    done(f);
}

static void run_deliver(struct fake_backend *f, struct pending *p)
{
    struct trace_id traces[sizeof p->outcome / sizeof *p->outcome];
    struct store_delivered a = {.trace = p->trace,
                                .repeated = f->repeat,
                                .traces = traces,
                                .receipt = SPAN("receipt"),
                                .outcome = p->outcome,
                                .count = p->to_count};
    for (size_t i = 0; i < p->to_count; i++)
        traces[i] = f->repeat ? (struct trace_id){"EARLIERTRACE00000001"} : p->trace;
    if (f->store == ERR_OK)
        f->deliveries++;
    p->cb.delivered(ticket_session(p->ticket), f->store, f->store == ERR_OK ? &a : NULL);
}

/* The content with the trace id, which is random, taken out. */
static void log_content(struct fake_backend *f, const struct store_delivery *d)
{
    struct buf raw;
    struct span rest;
    bool ok = true;
    buf_init(&raw, 1 << 30);
    if (content_unpack(d->content, &raw) != ERR_OK)
        abort();
    rest = buf_span(&raw);
    while (ok && rest.n) {
        size_t at = span_search(rest, span_str(d->trace.text));
        ok = buf_add(&f->log, rest.p, at) && (at == rest.n || buf_add_str(&f->log, "TRACE"));
        rest = span_drop(rest, at + TRACE_TEXT - 1);
    }
    buf_free(&raw);
    if (!ok)
        buf_reset(&f->log);
}

static void deliver(void *arg, const struct store_delivery *d, struct ticket *t, store_delivered_cb *cb)
{
    struct fake_backend *f = arg;
    struct pending *p = add(f, t, SPAN(""), run_deliver);
    bool ok = buf_addf(&f->log, "<%.*s> login=%.*s queue=%d repeat=%d to=", SPAN_ARG(d->sender),
                       SPAN_ARG(d->login), d->queue, d->find_repeat);
    assert(d->to_count > 0 && d->to_count < 1100 && fake_content_meta(d->content).n);
    p->trace = d->trace;
    p->to_count = d->to_count;
    for (size_t i = 0; i < d->to_count; i++) {
        unsigned char id = d->to[i].id.b[15];
        ok = ok && buf_addf(&f->log, "%s%c%u", i ? "," : "", d->to[i].kind == STORE_TO_GROUP ? 'g' : 'a', id);
        p->outcome[i] = id == 5 ? ERR_LIMIT : id == 6 ? ERR_DENIED : ERR_OK;
    }
    if (!ok || !buf_add_str(&f->log, "\n"))
        buf_reset(&f->log);
    log_content(f, d);
    p->cb.delivered = cb;
    done(f);
}

static bool is_full(void *arg, const struct uuid *account)
{
    (void)arg;
    return account->b[15] == 8;
}

static bool is_up(void *arg)
{
    struct fake_backend *f = arg;
    return !f->down;
}

void fake_backend_init(struct fake_backend *f)
{
    *f = (struct fake_backend){.b = {.arg = f,
                                     .is_up = is_up,
                                     .lookup = lookup,
                                     .members = members,
                                     .may_send = may_send,
                                     .is_full = is_full,
                                     .mechs = mechs,
                                     .auth = auth,
                                     .auth_step = auth_step,
                                     .auth_cancel = auth_cancel,
                                     .policy = policy,
                                     .deliver = deliver}};
    buf_init(&f->log, 256 << 20);
}

void fake_backend_free(struct fake_backend *f)
{
    while (f->pending) {
        struct pending *p = f->pending;
        f->pending = p->next;
        drop(&p);
    }
    buf_free(&f->log);
}
