/* The delivery worker: leases a queue entry, asks the directory who stands behind its groups, and files
 * slices in ascending order of account. The hard problem is to give each account exactly one copy whatever
 * dies when: the entry's own accounts and the groups' members are merged into one ascending order, the cursor
 * is recorded with each slice in one transaction, and whoever leases the entry next starts after it. Entries
 * that ask for a notice (a mailbox or a unit nearly full, a message given up) are composed here (notice.c).
 */
#include "smtpd/delivery.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/mime/meta.h"
#include "smtpd/notice.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LEASE_MS = 60000, LOOK_MS = 30000, RETRY_MS = 1000, BACKOFF_S = 5, BACKOFF_MOST_S = 3600 };

struct delivery {
    struct worker *w;
    struct store *store;
    struct directory *directory;
    struct ticket *ticket;
    struct loop_timer *timer;
    bool busy, stopping;

    /* the leased entry */
    uint64_t queue_id;
    struct trace_id trace;
    uint32_t attempts;
    int64_t queued_us;
    struct uuid cursor;
    struct store_target *direct; /* accounts, ascending; their addresses are in addresses */
    size_t direct_count;
    struct uuid *groups;
    size_t group_count;
    struct buf addresses;
    uint64_t filed;
    enum store_queued_kind kind;
    struct notice notice; /* to be composed; subject is in the buf */
    struct buf sender, subject;

    /* the slice under way */
    struct store_target slice[STORE_SLICE];
    size_t slice_count;
    bool last;
};

static void lease(struct delivery *d);
static void next_slice(struct delivery *d);

static void clear(struct delivery *d)
{
    free(d->direct);
    free(d->groups);
    buf_free(&d->addresses);
    buf_free(&d->sender);
    buf_free(&d->subject);
    d->direct = NULL;
    d->groups = NULL;
    d->direct_count = d->group_count = 0;
    d->filed = 0;
    buf_init(&d->addresses, 0);
    buf_init(&d->sender, 4096);
    buf_init(&d->subject, 64 << 10);
}

/* Done with the entry; on to the next. */
static void entry_over(struct delivery *d)
{
    clear(d);
    d->busy = false;
    if (d->stopping)
        worker_done(d->w);
    else
        lease(d);
}

static void deferred(void *session, enum err_code code)
{
    struct delivery *d = session;
    if (code != ERR_OK) /* the lease ends by itself then */
        log_event(LOG_WARN, NULL, "delivery.defer.failed", F_STR("trace", d->trace.text),
                  F_STR("code", err_name(code)));
    entry_over(d);
}

static void defer(struct delivery *d, int64_t wait_s, const char *reason)
{
    log_event(LOG_INFO, NULL, "delivery.deferred", F_STR("trace", d->trace.text),
              F_UINT("queue", d->queue_id), F_UINT("attempts", d->attempts), F_INT("wait_s", wait_s),
              F_STR("reason", reason));
    store_defer(d->store, d->queue_id, clock_wall_us() + wait_s * 1000000, span_str(reason), d->ticket,
                deferred);
}

static void back_off(struct delivery *d, const char *reason)
{
    int64_t wait_s = BACKOFF_S;
    for (uint32_t i = 0; i < d->attempts && wait_s < BACKOFF_MOST_S; i++)
        wait_s *= 2;
    defer(d, wait_s < BACKOFF_MOST_S ? wait_s : BACKOFF_MOST_S, reason);
}

static void sliced(void *session, enum err_code code)
{
    struct delivery *d = session;
    if (code == ERR_STATE) { /* another worker has it */
        log_event(LOG_WARN, NULL, "delivery.lease.lost", F_STR("trace", d->trace.text),
                  F_UINT("queue", d->queue_id));
        entry_over(d);
        return;
    }
    if (code != ERR_OK) {
        back_off(d, code == ERR_LIMIT ? "mailbox full" : err_name(code));
        return;
    }
    d->filed += d->slice_count;
    if (d->last) {
        log_event(LOG_INFO, NULL, "delivery.finished", F_STR("trace", d->trace.text),
                  F_UINT("accounts", d->filed), F_INT("ms", (clock_wall_us() - d->queued_us) / 1000));
        entry_over(d);
    } else if (d->stopping) {
        defer(d, 0, "worker stops");
    } else {
        next_slice(d);
    }
}

/* Merge a page of members with the entry's own accounts, both ascending and after the cursor, up to a slice.
 * An own account beyond the page's last member waits for the next page, when there is one. */
static void merge(struct delivery *d, const struct dir_member *v, size_t count, bool more)
{
    size_t i = 0, k = 0;
    while (k < d->direct_count && uuid_cmp(&d->direct[k].id, &d->cursor) <= 0)
        k++;
    d->slice_count = 0;
    while (d->slice_count < STORE_SLICE && (i < count || (k < d->direct_count && !more))) {
        int order = i == count ? 1 : k == d->direct_count ? -1 : uuid_cmp(&v[i].id, &d->direct[k].id);
        struct store_target *t = &d->slice[d->slice_count++];
        if (order >= 0) {
            *t = d->direct[k++];
            i += order == 0;
        } else {
            *t = (struct store_target){.kind = STORE_TO_ACCOUNT,
                                       .id = v[i].id,
                                       .address = v[i].address,
                                       .quota_bytes = v[i].quota_bytes};
            i++;
        }
    }
    d->last = !more && i == count && k == d->direct_count;
    if (d->slice_count)
        d->cursor = d->slice[d->slice_count - 1].id;
}

static void page(void *session, enum err_code code, const struct dir_member *v, size_t count, bool more)
{
    struct delivery *d = session;
    if (code == ERR_MISSING) { /* the groups are gone; what was named itself is still filed */
        log_event(LOG_WARN, NULL, "delivery.group.missing", F_STR("trace", d->trace.text));
        count = 0;
        more = false;
    } else if (code != ERR_OK) {
        back_off(d, "directory cannot be asked");
        return;
    }
    merge(d, v, count, more && count);
    struct store_slice slice = {.queue_id = d->queue_id,
                                .to = d->slice,
                                .to_count = d->slice_count,
                                .cursor = d->cursor,
                                .finished = d->last};
    store_slice(d->store, &slice, d->ticket, sliced);
}

static void next_slice(struct delivery *d)
{
    if (d->group_count)
        directory_members(d->directory, d->groups, d->group_count, &d->cursor, STORE_SLICE, d->ticket, page);
    else
        page(d, ERR_OK, NULL, 0, false);
}

static int by_id(const void *a, const void *b)
{
    const struct store_target *x = a, *y = b;
    return uuid_cmp(&x->id, &y->id);
}

static void copy_targets(struct delivery *d, const struct store_queued *e)
{
    size_t bytes = 0;
    for (size_t i = 0; i < e->to_count; i++)
        bytes += e->to[i].address.n;
    buf_init(&d->addresses, bytes + 1);
    char *at = buf_reserve(&d->addresses, bytes + 1);
    d->direct = xcalloc(e->to_count + 1, sizeof *d->direct);
    d->groups = xcalloc(e->to_count + 1, sizeof *d->groups);
    for (size_t i = 0; i < e->to_count; i++) {
        const struct store_target *t = &e->to[i];
        if (t->kind == STORE_TO_GROUP) {
            d->groups[d->group_count++] = t->id;
            continue;
        }
        struct store_target *own = &d->direct[d->direct_count++];
        *own = *t;
        own->address = span_of(at, t->address.n);
        if (t->address.n)
            memcpy(at, t->address.p, t->address.n);
        at += t->address.n;
    }
    qsort(d->direct, d->direct_count, sizeof *d->direct, by_id);
    size_t n = 0;
    for (size_t i = 0; i < d->direct_count; i++)
        if (n == 0 || by_id(&d->direct[n - 1], &d->direct[i]) != 0)
            d->direct[n++] = d->direct[i];
    d->direct_count = n;
}

/* -- notices -- */

static void noticed(void *session, enum err_code code)
{
    struct delivery *d = session;
    if (code != ERR_OK && code != ERR_STATE) {
        back_off(d, err_name(code));
        return;
    }
    if (code == ERR_STATE)
        log_event(LOG_WARN, NULL, "delivery.lease.lost", F_UINT("queue", d->queue_id));
    entry_over(d);
}

/* Nobody can be told: the entry ends. */
static void notice_nobody(struct delivery *d, const char *why)
{
    const struct store_slice end = {.queue_id = d->queue_id, .finished = true};
    log_event(LOG_WARN, NULL, "delivery.notice.dropped", F_STR("trace", d->trace.text),
              F_SPAN("sender", buf_span(&d->sender)), F_UINT("queue", d->queue_id), F_STR("why", why));
    store_slice(d->store, &end, d->ticket, noticed);
}

static void notice_known(void *session, enum err_code code, const struct dir_entry *e)
{
    struct delivery *d = session;
    struct content *content = NULL;
    const struct trace_id trace = trace_new();
    if (code == ERR_MISSING || code == ERR_SYNTAX) {
        notice_nobody(d, "not in the directory");
        return;
    }
    const bool group = code == ERR_OK && e->kind == DIR_GROUP && d->kind == STORE_QUEUED_UNIT;
    if (code == ERR_OK && e->kind != DIR_ACCOUNT && !group) { /* remote: until there is a relay */
        notice_nobody(d, e->kind == DIR_REMOTE ? "the address is elsewhere" : "the address is a group's");
        return;
    }
    if (code == ERR_OK) {
        struct notice *n = &d->notice;
        n->conf = worker_conf(d->w);
        n->trace = &trace;
        n->now_s = clock_wall_s();
        n->to_address = e->address;
        n->to_name = e->name;
        code = notice_compose(n, &content);
    }
    if (code != ERR_OK) {
        back_off(d, code == ERR_RETRY ? "directory cannot be asked" : err_name(code));
        return;
    }
    log_event(LOG_INFO, NULL,
              d->kind == STORE_QUEUED_REPORT ? "delivery.notice.undelivered" : "delivery.notice.quota",
              F_STR("trace", trace.text), F_SPAN("to", e->address), F_STR("about", d->trace.text));
    const struct store_target to = {.kind = group ? STORE_TO_GROUP : STORE_TO_ACCOUNT, .id = e->id};
    store_notice(d->store, d->queue_id, &to, &trace, content, d->ticket, noticed);
    content_free(&content);
}

/* Of the message that the notice speaks of; one that cannot be had, or is too long, is left out. */
static void copy_subject(struct delivery *d, struct span record)
{
    struct mime_meta meta;
    struct arena *a = arena_new(2 * MIME_META_LIMIT);
    const bool ok =
        record.n && mime_meta_head(record, a, &meta) == ERR_OK && buf_add_span(&d->subject, meta.subject);
    (void)ok;
    arena_free(&a);
}

static void copy_notice(struct delivery *d, const struct store_queued *e)
{
    const bool ok = buf_add_span(&d->sender, e->sender); /* the same */
    (void)ok;
    copy_subject(d, e->meta);
    d->notice = (struct notice){.kind = e->kind,
                                .bytes = e->note.bytes,
                                .limit_bytes = e->note.limit_bytes,
                                .messages = e->note.messages,
                                .limit_messages = e->note.limit_messages,
                                .unit = d->direct_count ? d->direct[0].address : SPAN(""),
                                .subject = buf_span(&d->subject),
                                .lost = &d->trace,
                                .queued_s = e->queued_us / 1000000,
                                .targets = d->direct,
                                .target_count = d->direct_count};
}

/* Who hears of units. */
static void tell_unit(struct delivery *d)
{
    char text[300];
    const struct conf *c = worker_conf(d->w);
    snprintf(text, sizeof text, "postmaster@%s", c->domains.n ? c->domains.v[0] : c->hostname);
    directory_lookup(d->directory, span_str(*c->quota_unit_notice ? c->quota_unit_notice : text), NULL,
                     d->ticket, notice_known);
}

static void make_notice(struct delivery *d, const struct store_queued *e)
{
    copy_notice(d, e);
    if (e->kind == STORE_QUEUED_UNIT)
        tell_unit(d);
    else if (e->kind == STORE_QUEUED_REPORT)
        directory_lookup(d->directory, buf_span(&d->sender), NULL, d->ticket, notice_known);
    else if (d->direct_count)
        directory_account(d->directory, &d->direct[0].id, d->ticket, notice_known);
    else
        notice_nobody(d, "it names nobody");
}

static void leased(void *session, enum err_code code, const struct store_queued *e)
{
    struct delivery *d = session;
    if (code != ERR_OK) {
        d->busy = false;
        if (d->stopping)
            worker_done(d->w);
        else
            loop_timer_start(d->timer, code == ERR_MISSING ? LOOK_MS : RETRY_MS);
        return;
    }
    d->queue_id = e->queue_id;
    d->trace = e->trace;
    d->attempts = e->attempts;
    d->queued_us = e->queued_us;
    d->cursor = e->cursor;
    d->kind = e->kind;
    copy_targets(d, e);
    if (e->kind == STORE_QUEUED_MESSAGE)
        next_slice(d);
    else
        make_notice(d, e);
}

static void lease(struct delivery *d)
{
    if (d->busy || d->stopping)
        return;
    d->busy = true;
    loop_timer_stop(d->timer);
    store_lease(d->store, LEASE_MS, d->ticket, leased);
}

static void look(void *arg)
{
    lease(arg);
}

void *delivery_worker_start(struct worker *w)
{
    struct delivery *d = xcalloc(1, sizeof *d);
    tzset(); /* the zone's file is out of reach later */
    d->w = w;
    d->store = store_new_worker(w, STORE_RELAY);
    d->directory = directory_new_worker(w);
    d->ticket = ticket_new(d);
    d->timer = loop_timer_new(worker_loop(w), look, d);
    clear(d);
    store_queue_event(d->store, look, d);
    loop_timer_start(d->timer, 10);
    return d;
}

void delivery_worker_stop(void *arg)
{
    struct delivery *d = arg;
    d->stopping = true;
    if (!d->busy)
        worker_done(d->w);
}

void delivery_worker_free(void *arg)
{
    struct delivery *d = arg;
    clear(d);
    ticket_void(&d->ticket);
    loop_timer_free(&d->timer);
    free(d);
}
