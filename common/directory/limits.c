/* What stored must know of people and units to keep quotas: limits, who is in which unit, the tree. After
 * each reading that changed any of it, and whenever the connection is new, all of it is told: the units at
 * once, the accounts in pages in the order of their ids. Each message says the whole truth of its range and
 * may be told again, so nothing is kept here; the hard point is only to start over when a newer reading comes
 * between two pages. */
#include "common/base/crypto.h"
#include "common/directory/server.h"
#include "common/store/wire.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAGE = 256, AGAIN_MS = 5000, BODY_LIMIT = 16 << 20 };

struct limits {
    struct server *s;
    struct ipc_client *client;
    struct loop_timer *again;
    struct buf units;                                   /* body of WIRE_UNITS */
    struct wire_limit *v;                               /* ascending by account */
    size_t n, at;                                       /* at: accounts that stored has */
    unsigned char hash[CRYPTO_HASH], told[CRYPTO_HASH]; /* of all that is to be told, and was told */
    bool ready, has_told, units_told;
    bool stale;          /* what is asked is of an older reading */
    uint64_t asked, seq; /* asked: under way, 0: nothing */
};

static int by_account(const void *a, const void *b)
{
    const struct wire_limit *x = a, *y = b;
    return uuid_cmp(&x->account, &y->account);
}

static bool put_units(struct buf *b, const struct units *u)
{
    static const struct uuid none;
    struct wire_units head = {.count = (uint32_t)units_count(u)};
    bool ok = buf_add(b, &head, sizeof head);
    for (size_t i = 0; i < head.count && ok; i++) {
        const struct unit *x = units_at(u, i);
        const struct wire_unit w = {x->id, x->parent ? x->parent->id : none, x->quota_bytes,
                                    x->quota_messages};
        ok = buf_add(b, &w, sizeof w) && wire_put_text(b, x->code) && wire_put_text(b, x->name);
    }
    return ok;
}

static void collect(struct limits *l, const struct people *p)
{
    const struct conf *c = daemon_conf(l->s->d);
    size_t kept = 0;
    free(l->v);
    l->v = xcalloc(people_count(p) + 1, sizeof *l->v);
    l->n = 0;
    for (size_t i = 0; i < people_count(p); i++) {
        const struct people_entry *e = people_at(p, i);
        struct wire_limit w = {.account = e->id,
                               .limit_bytes = e->quota_bytes ? e->quota_bytes : c->quota_default,
                               .limit_messages =
                                   e->quota_messages ? e->quota_messages : c->quota_default_messages};
        if (e->unit)
            w.unit = e->unit->id;
        if (e->kind != PEOPLE_GROUP)
            l->v[l->n++] = w;
    }
    qsort(l->v, l->n, sizeof *l->v, by_account);
    for (size_t i = 0; i < l->n; i++)
        if (!kept || uuid_cmp(&l->v[kept - 1].account, &l->v[i].account) != 0)
            l->v[kept++] = l->v[i];
    l->n = kept;
}

static void make_hash(struct limits *l)
{
    struct crypto_hash h;
    crypto_hash_init(&h);
    crypto_hash_add(&h, buf_span(&l->units));
    crypto_hash_add(&h, span_of(l->v, l->n * sizeof *l->v));
    crypto_hash_final(&h, l->hash);
}

static void send_body(struct limits *l, uint16_t type, const struct span *body, size_t parts)
{
    const struct wire_ask ask = {.flags = 0};
    struct span v[3] = {span_of(&ask, sizeof ask)};
    for (size_t i = 0; i < parts; i++)
        v[1 + i] = body[i];
    if (ipc_client_send(l->client, type, ++l->seq, v, (unsigned)(1 + parts), -1))
        l->asked = l->seq;
}

static void send_page(struct limits *l)
{
    struct wire_limits w = {.count = (uint32_t)(l->n - l->at < PAGE ? l->n - l->at : PAGE)};
    if (l->at)
        w.after = l->v[l->at - 1].account;
    memset(w.last.b, 0xff, sizeof w.last.b);
    if (l->at + w.count < l->n)
        w.last = l->v[l->at + w.count - 1].account;
    const struct span body[] = {span_of(&w, sizeof w), span_of(l->v + l->at, w.count * sizeof *l->v)};
    l->at += w.count;
    send_body(l, WIRE_LIMITS, body, 2);
}

static void next(struct limits *l)
{
    if (!l->ready || l->asked || !ipc_client_is_up(l->client))
        return;
    if (l->has_told && memcmp(l->told, l->hash, sizeof l->told) == 0)
        return;
    if (!l->units_told) {
        const struct span body = buf_span(&l->units);
        l->at = 0;
        send_body(l, WIRE_UNITS, &body, 1);
        return;
    }
    send_page(l);
}

/* Begin with the units again. */
static void start_over(struct limits *l)
{
    l->units_told = false;
    l->at = 0;
    l->stale = l->asked != 0;
    next(l);
}

static void on_up(void *arg)
{
    struct limits *l = arg;
    l->has_told = false; /* another store may stand behind the socket */
    start_over(l);
}

static void on_down(void *arg)
{
    struct limits *l = arg;
    l->asked = 0;
}

static void on_again(void *arg)
{
    start_over(arg);
}

static void answered(struct limits *l, uint16_t type)
{
    if (l->stale) {
        l->stale = false;
    } else if (type == WIRE_UNITS) {
        l->units_told = true;
    } else if (l->at == l->n) {
        memcpy(l->told, l->hash, sizeof l->told);
        l->has_told = true;
        log_event(LOG_INFO, NULL, "directory.limits.told", F_UINT("accounts", l->n));
    }
    next(l);
}

static bool on_frame(void *arg, const struct ipc_head *h, struct span body, int fd)
{
    struct limits *l = arg;
    (void)body;
    if (fd >= 0)
        close(fd);
    if (fd >= 0 || h->seq != l->asked)
        return false;
    l->asked = 0;
    if (h->status == ERR_OK) {
        answered(l, h->type & (uint16_t)~IPC_ANSWER);
    } else {
        log_event(LOG_ERROR, NULL, "directory.limits.refused",
                  F_STR("code", err_name((enum err_code)h->status)));
        loop_timer_start(l->again, AGAIN_MS);
    }
    return true;
}

static void open_path(void *arg, struct ipc_client *c)
{
    struct limits *l = arg;
    struct err why;
    char path[4096];
    int fd = -1;
    snprintf(path, sizeof path, "%s/store/directory/sock", daemon_conf(l->s->d)->run_dir);
    if (ipc_connect(path, &fd, &why) != ERR_OK)
        fd = -1; /* tried again with back-off */
    ipc_client_opened(c, fd);
}

static const struct ipc_client_ops ops = {open_path, on_up, on_down, on_frame};

void limits_changed(struct server *s)
{
    struct limits *l = s->limits;
    if (!l || !s->view)
        return;
    buf_reset(&l->units);
    l->ready = put_units(&l->units, people_units(s->view->people));
    if (!l->ready) {
        log_event(LOG_ALARM, NULL, "directory.limits.large", F_UINT("units", s->view->units));
        return;
    }
    collect(l, s->view->people);
    make_hash(l);
    start_over(l);
}

void limits_new(struct server *s)
{
    struct limits *l = s->limits = xcalloc(1, sizeof *l);
    l->s = s;
    buf_init(&l->units, BODY_LIMIT);
    l->again = loop_timer_new(s->loop, on_again, l);
    l->client = ipc_client_new(s->loop, &ops, l);
    limits_changed(s);
}

void limits_free(struct server *s)
{
    struct limits *l = s->limits;
    if (!l)
        return;
    ipc_client_free(&l->client);
    loop_timer_free(&l->again);
    buf_free(&l->units);
    free(l->v);
    free(l);
    s->limits = NULL;
}
