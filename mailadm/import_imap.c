/* Messages of a running IMAP server, for one login: all mailboxes with special use, subscriptions, flags,
 * keywords and dates. A message's name is its mailbox, UIDVALIDITY and UID. Of each mailbox first what is
 * small (UIDs, flags, dates) is fetched, then the messages that are new, several commands ahead and in pieces
 * as they come. The hard problem is names: namespaces with their prefixes and separators, and mailboxes that
 * are other people's; those are left where they are unless asked for, and their rights go into the report,
 * since the store has no ACLs yet. */
#include "mailadm/import_imap.h"
#include "common/mime/date.h"
#include "mailadm/maildir.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    LISTED_MORE = 10000 /* than exist at first */,
    BATCH = 50,
    BATCH_BYTES = 8 << 20,
    PASSWORD_LIMIT = 1024
};

/* -- the list of a mailbox: UIDs, flags, dates -- */

static uint64_t keyword_bit(struct imap_box *b, struct span name)
{
    for (size_t i = 0; i < b->keyword_count; i++)
        if (span_caseeq(span_str(b->keywords[i]), name))
            return UINT64_C(1) << i;
    if (b->keyword_count == IMAP_KEYWORDS) {
        b->keywords_lost = true;
        return 0;
    }
    b->keywords[b->keyword_count] = xstrspan(name);
    return UINT64_C(1) << b->keyword_count++;
}

static void read_flags(struct imap_client *c, struct imap_box *b, struct imap_item *item)
{
    static const struct {
        struct span name;
        uint32_t flag;
    } rows[] = {{{"\\Seen", 5}, STORE_SEEN},
                {{"\\Answered", 9}, STORE_ANSWERED},
                {{"\\Flagged", 8}, STORE_FLAGGED},
                {{"\\Deleted", 8}, STORE_DELETED},
                {{"\\Draft", 6}, STORE_DRAFT}};
    imap_char(c, ' ');
    if (!imap_char(c, '('))
        return;
    item->flags = 0;
    item->keywords = 0;
    while (!imap_char(c, ')') && !imap_broken(c)) {
        struct span name = imap_atom(c);
        if (!name.n) {
            imap_skip(c);
            if (!imap_char(c, ')'))
                imap_char(c, ' ');
            return;
        }
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            if (span_caseeq(name, rows[i].name))
                item->flags |= rows[i].flag;
        if (name.p[0] != '\\')
            item->keywords |= keyword_bit(b, name);
    }
}

static void read_date(struct imap_client *c, struct imap_item *item)
{
    struct span date = imap_string(c);
    int zone = 0;
    item->has_date = date.p && date_imap_parse(date, &item->internal_s, &zone);
    item->zone_min = (int16_t)zone;
}

static void add_item(struct imap_box *b, const struct imap_item *item)
{
    if (b->n == b->room)
        b->v = xrealloc(b->v, (b->room = b->room ? b->room * 2 : 64) * sizeof *b->v);
    b->v[b->n++] = *item;
}

/* fn of the listing: "n FETCH (UID 5 FLAGS (...) ...)". */
static void on_listed(void *arg, struct imap_client *c, uint32_t number, const char *name)
{
    struct imap_box *b = arg;
    struct imap_item item = {.uid = 0};
    bool flags = false;
    (void)number;
    if (strcmp(name, "FETCH") != 0 || !imap_char(c, '('))
        return;
    while (!imap_char(c, ')') && !imap_broken(c)) {
        struct span what = imap_atom(c);
        if (span_caseeq(what, SPAN("UID"))) {
            (void)span_u32(imap_atom(c), &item.uid); /* stays 0 */
        } else if (span_caseeq(what, SPAN("RFC822.SIZE"))) {
            (void)span_u64(imap_atom(c), &item.size); /* the same: only for the progress */
        } else if (span_caseeq(what, SPAN("FLAGS"))) {
            read_flags(c, b, &item);
            flags = true;
        } else if (span_caseeq(what, SPAN("INTERNALDATE"))) {
            read_date(c, &item);
        } else if (what.n) {
            imap_skip(c);
        } else {
            break;
        }
    }
    if (!item.uid || !flags)
        return;
    add_item(b, &item);
    imap_useful(c);
    if (b->n > (size_t)b->exists + LISTED_MORE)
        imap_give_up(c, "the server lists more messages than exist");
}

static int by_uid(const void *a, const void *b)
{
    const struct imap_item *x = a, *y = b;
    return (x->uid > y->uid) - (x->uid < y->uid);
}

/* -- messages -- */

struct fetching {
    struct imap_run *run;
    struct imap_box *b;
    bool body; /* of the response that is being read */
};

static struct target_message describe(struct imap_run *x, struct imap_box *b, const struct imap_item *item,
                                      struct span words[IMAP_KEYWORDS])
{
    char validity[16], uid[16];
    snprintf(validity, sizeof validity, "%u", b->uidvalidity);
    snprintf(uid, sizeof uid, "%u", item->uid);
    const struct span parts[] = {SPAN("imap"), span_str(x->login), span_str(b->raw), span_str(validity),
                                 span_str(uid)};
    struct target_message m = {.key = import_key_of(&x->account->id, parts, sizeof parts / sizeof *parts),
                               .mailbox = span_str(b->ours),
                               .flags = item->flags,
                               .keywords = words,
                               .has_date = item->has_date,
                               .internal_s = item->internal_s,
                               .zone_min = item->zone_min};
    for (size_t i = 0; i < b->keyword_count; i++)
        if (item->keywords & UINT64_C(1) << i)
            words[m.keyword_count++] = span_str(b->keywords[i]);
    return m;
}

static void on_body(void *arg, struct span bytes)
{
    struct fetching *f = arg;
    target_add(f->run->target, bytes);
}

static void file_it(struct fetching *f, uint32_t uid)
{
    const struct imap_item key = {.uid = uid};
    struct imap_item *item = bsearch(&key, f->b->v, f->b->n, sizeof *f->b->v, by_uid);
    struct span words[IMAP_KEYWORDS];
    char source[60];
    if (!item || !item->wanted || target_failed(f->run->target))
        return;
    struct target_message m = describe(f->run, f->b, item, words);
    snprintf(source, sizeof source, "UID %u", uid);
    m.source = span_str(source);
    item->wanted = false;
    imap_useful(f->run->client);
    target_end(f->run->target, &m);
}

static void on_fetched(void *arg, struct imap_client *c, uint32_t number, const char *name)
{
    struct fetching *f = arg;
    uint32_t uid = 0;
    bool body = false;
    (void)number;
    if (strcmp(name, "FETCH") != 0 || !imap_char(c, '('))
        return;
    while (!imap_char(c, ')') && !imap_broken(c)) {
        struct span what = imap_atom(c);
        if (span_caseeq(what, SPAN("UID"))) {
            (void)span_u32(imap_atom(c), &uid); /* stays 0: nobody's */
        } else if (span_caseeq(what, SPAN("BODY[]"))) {
            target_begin(f->run->target);
            body = imap_stream(c, on_body, f);
        } else if (what.n) {
            imap_skip(c);
        } else {
            break;
        }
    }
    if (body && uid && !imap_broken(c))
        file_it(f, uid);
}

/* The next wanted UIDs as a set, and how many items were passed. 0: there are none. */
static bool next_set(struct imap_box *b, size_t *at, struct buf *out)
{
    uint64_t bytes = 0;
    size_t count = 0;
    bool ok = buf_add_str(out, "UID FETCH ");
    for (; *at < b->n && count < BATCH && bytes < BATCH_BYTES; (*at)++) {
        if (!b->v[*at].wanted)
            continue;
        ok = ok && buf_addf(out, "%s%u", count ? "," : "", b->v[*at].uid);
        bytes += b->v[*at].size;
        count++;
    }
    return ok && count && buf_add_str(out, " (BODY.PEEK[])");
}

static enum err_code fetch_wanted(struct imap_run *x, struct imap_box *b)
{
    struct fetching f = {.run = x, .b = b};
    uint32_t ahead[2] = {0, 0}; /* two commands at a time: the server works while we do */
    size_t at = 0;
    enum err_code code = ERR_OK;
    struct buf line;
    buf_init(&line, 4096);
    for (bool more = true; code == ERR_OK && !target_failed(x->target);) {
        buf_reset(&line);
        more = more && next_set(b, &at, &line);
        ahead[1] = more ? imap_send(x->client, buf_span(&line)) : 0;
        if (more && !ahead[1])
            code = ERR_RETRY;
        if (ahead[0])
            code = imap_wait(x->client, ahead[0], on_fetched, &f);
        if (code ==
            ERR_DENIED) { /* one message may be broken there: the others come with their own command */
            char why[300];
            snprintf(why, sizeof why, "the server refuses some messages: %.250s", imap_text(x->client).p);
            import_refused(x->report, span_str(b->ours), SPAN_NONE, why);
            code = ERR_OK;
        }
        ahead[0] = ahead[1];
        if (!more && !ahead[0])
            break;
    }
    buf_free(&line);
    return code;
}

/* -- a mailbox -- */

static void on_examined(void *arg, struct imap_client *c, uint32_t number, const char *name)
{
    struct imap_box *b = arg;
    if (strcmp(name, "EXISTS") == 0)
        b->exists = number;
    if (strcmp(name, "OK") == 0) {
        struct span s = imap_text(c);
        if (span_casestarts(s, SPAN("[UIDVALIDITY "))) {
            s = span_drop(s, 13);
            (void)span_u32(span_first(s, span_find(s, ']')), &b->uidvalidity); /* stays 0 */
        }
    }
}

static enum err_code ask_of_box(struct imap_run *x, const char *verb, const struct imap_box *b,
                                imap_untagged_fn *fn, void *arg)
{
    struct buf line;
    buf_init(&line, 16 << 10);
    bool ok = buf_addf(&line, "%s ", verb) && imap_put(&line, span_str(b->raw));
    enum err_code code = ok ? imap_ask(x->client, buf_span(&line), fn, arg) : ERR_LIMIT;
    buf_free(&line);
    return code;
}

static enum err_code list_messages(struct imap_run *x, struct imap_box *b)
{
    enum err_code code = ERR_OK;
    if (b->exists)
        code = imap_ask(x->client, SPAN("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)"), on_listed, b);
    if (b->n)
        qsort(b->v, b->n, sizeof *b->v, by_uid);
    if (b->keywords_lost)
        import_refused(x->report, span_str(b->ours), SPAN_NONE,
                       "it has more than 64 keywords: some are left out");
    return code;
}

/* What is here already needs its flags looked at only. */
static void choose(struct imap_run *x, struct imap_box *b)
{
    struct import_counts *c = x->report->counts;
    struct span words[IMAP_KEYWORDS];
    for (size_t i = 0; i < b->n && !target_failed(x->target); i++) {
        struct target_message m = describe(x, b, &b->v[i], words);
        b->v[i].wanted = !target_has(x->target, &m);
        if (!b->v[i].wanted)
            target_passed(x->target, 1, 0);
        else
            atomic_fetch_add(&c->planned_bytes, b->v[i].size);
    }
}

static void count_lost(struct imap_run *x, struct imap_box *b)
{
    char source[60];
    for (size_t i = 0; i < b->n; i++)
        if (b->v[i].wanted && !target_failed(x->target) && !x->dry_run) {
            snprintf(source, sizeof source, "UID %u", b->v[i].uid);
            import_refused(x->report, span_str(b->ours), span_str(source),
                           "the server did not give it: deleted meanwhile, or broken there");
            target_passed(x->target, 1, 0);
        }
}

static void dry_count(struct imap_run *x, struct imap_box *b)
{
    struct import_counts *c = x->report->counts;
    for (size_t i = 0; i < b->n; i++)
        if (b->v[i].wanted) {
            atomic_fetch_add(&c->filed, 1);
            atomic_fetch_add(&c->filed_bytes, b->v[i].size);
            target_passed(x->target, 1, b->v[i].size);
        }
}

/* UIDs of another UIDVALIDITY mean other messages: nobody can say which of them are here. */
static bool same_validity(struct imap_run *x, const struct imap_box *b)
{
    uint32_t noted = import_validity(x->notes, span_str(b->raw));
    if (!b->uidvalidity) {
        import_refused(x->report, span_str(b->ours), SPAN_NONE, "the server names no UIDVALIDITY for it");
        return false;
    }
    if (noted && noted != b->uidvalidity) {
        import_refused(x->report, span_str(b->ours), SPAN_NONE,
                       "its UIDVALIDITY has changed since the last run, so nobody can say what of it is new. "
                       "To bring all of "
                       "it again, delete the mailbox here and the notes of the import");
        return false;
    }
    import_validity_put(x->notes, span_str(b->raw), b->uidvalidity);
    return true;
}

static enum err_code take_messages(struct imap_run *x, struct imap_box *b)
{
    enum err_code code = list_messages(x, b);
    if (code == ERR_OK)
        choose(x, b);
    if (code == ERR_OK && x->dry_run)
        dry_count(x, b);
    else if (code == ERR_OK)
        code = fetch_wanted(x, b);
    if (code == ERR_OK)
        count_lost(x, b);
    return code;
}

enum err_code imap_take_box(struct imap_run *x, struct imap_box *b)
{
    struct span ours = target_box(x->target, span_str(b->name), b->use);
    if (!ours.p)
        return ERR_OK;
    b->ours = xstrspan(ours);
    enum err_code code = ask_of_box(x, "EXAMINE", b, on_examined, b);
    if (code == ERR_DENIED) {
        char why[300];
        snprintf(why, sizeof why, "it cannot be opened: %.250s", imap_text(x->client).p);
        import_refused(x->report, span_str(b->ours), SPAN_NONE, why);
        x->incomplete = true;
        return ERR_OK;
    }
    if (code == ERR_OK && same_validity(x, b))
        code = take_messages(x, b);
    else
        x->incomplete = true;
    if (code == ERR_OK && b->subscribed)
        target_subscribe(x->target, span_str(b->ours));
    return code;
}

/* -- rights (RFC 4314) -- */

struct rights {
    struct buf json;
    const char *owner;
    bool others, ok;
};

static void add_right(struct rights *r, struct span who, struct span what)
{
    r->ok = r->ok && (r->json.n == 1 || buf_add_str(&r->json, ", ")) && import_json(&r->json, who) &&
            buf_add_str(&r->json, ": ") && import_json(&r->json, what);
}

static void on_rights(void *arg, struct imap_client *c, uint32_t number, const char *name)
{
    struct rights *r = arg;
    (void)number;
    if (strcmp(name, "ACL") != 0 && strcmp(name, "MYRIGHTS") != 0)
        return;
    (void)imap_string(c); /* the mailbox */
    if (strcmp(name, "MYRIGHTS") == 0) {
        struct span what = imap_string(c);
        if (what.p)
            add_right(r, span_str(r->owner), what);
        r->others = true;
        return;
    }
    for (;;) {
        struct span who = imap_string(c);
        if (!who.n)
            return;
        char *name_of = xstrspan(who);
        struct span what = imap_string(c);
        r->others = r->others || strcmp(name_of, r->owner) != 0;
        add_right(r, span_str(name_of), what);
        free(name_of);
    }
}

static void on_mine(void *arg, struct imap_client *c, uint32_t number, const char *name)
{
    (void)number;
    if (strcmp(name, "MYRIGHTS") != 0)
        return;
    (void)imap_string(c); /* the mailbox */
    struct span rights = imap_string(c);
    *(bool *)arg = rights.p && span_find(rights, 'a') == rights.n;
}

enum err_code imap_whose(struct imap_run *x, const struct imap_box *b, bool *foreign)
{
    enum err_code code = ask_of_box(x, "MYRIGHTS", b, on_mine, foreign);
    return code == ERR_DENIED ? ERR_OK : code;
}

void imap_note_rights(struct imap_run *x, const struct imap_box *b)
{
    struct rights r = {.owner = x->login, .ok = true};
    if (!imap_can(x->client, "ACL"))
        return;
    buf_init(&r.json, 1 << 20);
    r.ok = buf_add_char(&r.json, '{');
    enum err_code code = ask_of_box(x, b->foreign ? "MYRIGHTS" : "GETACL", b, on_rights, &r);
    r.ok = r.ok && buf_add_char(&r.json, '}');
    if (code == ERR_OK && r.ok && r.others)
        import_noted(x->report, span_str(b->name), b->foreign ? "my_rights" : "rights", buf_span(&r.json));
    buf_free(&r.json);
}

/* -- the run -- */

static bool read_password(const char *path, struct buf *out)
{
    char text[PASSWORD_LIMIT];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    struct span s = n > 0 ? span_of(text, (size_t)n) : SPAN_NONE;
    s = span_first(s, span_find(s, '\n'));
    if (span_ends(s, SPAN("\r")))
        s.n--;
    bool ok = n > 0 && buf_add_span(out, s);
    explicit_bzero(text, sizeof text);
    return ok;
}

static enum err_code log_in(struct imap_run *x, const struct import_options *o, struct err *why)
{
    struct buf password, name;
    const char *file = x->account->password_file ? x->account->password_file : o->password_file;
    enum err_code code = ERR_LIMIT;
    buf_init(&password, PASSWORD_LIMIT);
    buf_init(&name, 4096);
    bool ok = o->master && o->admin ? buf_addf(&name, "%s%s%s", x->login, o->master, o->admin)
                                    : buf_add_str(&name, x->login);
    ok = ok && buf_add_char(&name, '\0');
    if (!read_password(file, &password))
        code = err_set(why, ERR_MISSING, NULL, "%.250s: %s", file,
                       errno ? strerror(errno) : "no password in it");
    else if (ok)
        code = imap_log_in(x->client, name.p, o->master ? NULL : o->admin, buf_span(&password), why);
    buf_wipe(&password);
    buf_free(&name);
    return code;
}

int import_imap(struct target *t, const struct import_options *o, const struct import_account *a,
                const char *login, struct import_notes *n, struct import_report *r)
{
    struct imap_run x = {.target = t,
                         .notes = n,
                         .report = r,
                         .account = a,
                         .login = login,
                         .only = o->mailbox,
                         .dry_run = o->dry_run,
                         .shared = o->shared};
    const struct imap_server server = {.host = o->host,
                                       .port = o->port,
                                       .tls = o->tls == IMPORT_TLS        ? IMAP_TLS
                                              : o->tls == IMPORT_STARTTLS ? IMAP_STARTTLS
                                                                          : IMAP_CLEAR,
                                       .ca_file = o->ca_file,
                                       .no_verify = o->no_verify,
                                       .patience_ms = (uint64_t)o->patience_s * 1000};
    struct err why = {.code = ERR_OK};
    enum err_code code = imap_open(&server, &x.client, &why);
    if (code == ERR_OK)
        code = log_in(&x, o, &why);
    if (code != ERR_OK)
        import_refused(r, SPAN_NONE, SPAN_NONE, why.log);
    else
        code = imap_take_boxes(&x);
    imap_close(&x.client);
    if (code == ERR_OK && !target_failed(t))
        return x.incomplete ? EX_DATAERR : EX_OK;
    return code == ERR_DENIED ? EX_NOPERM : EX_TEMPFAIL;
}
