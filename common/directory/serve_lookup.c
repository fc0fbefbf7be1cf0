/* Who is behind an address? The three answers are decided here: found is said as long as there is a copy,
 * absent only by one that is complete and fresh, else it is "try again". */
#include "common/directory/server.h"
#include "common/mime/address.h"
#include <stdio.h>
#include <stdlib.h>

bool put_entry(struct buf *b, struct server *s, const struct people_entry *e, bool may_post)
{
    bool group = e->kind == PEOPLE_GROUP;
    uint64_t quota = e->quota_bytes ? e->quota_bytes : daemon_conf(s->d)->quota_default;
    const struct uuid none = {{0}};
    size_t members = group ? people_member_count(s->view->people, e) : 0;
    unsigned flags = (e->disabled ? DIRW_DISABLED : 0U) | (e->no_login ? DIRW_NO_LOGIN : 0U) |
                     (may_post ? DIRW_MAY_POST : 0U);
    return buf_add_u8(b, group ? DIR_GROUP : DIR_ACCOUNT) && buf_add_u8(b, (uint8_t)flags) &&
           dirw_put_id(b, &e->id) && dirw_put_id(b, e->unit ? &e->unit->id : &none) &&
           buf_add_u64(b, group ? 0 : quota) && buf_add_u32(b, (uint32_t)members) &&
           dirw_put_text(b, e->address) && dirw_put_text(b, e->name) && dirw_put_text(b, e->forward);
}

static bool put_remote(struct buf *b, struct span address)
{
    const struct uuid none = {{0}};
    return buf_add_u8(b, DIR_REMOTE) && buf_add_u8(b, 0) && dirw_put_id(b, &none) && dirw_put_id(b, &none) &&
           buf_add_u64(b, 0) && buf_add_u32(b, 0) && dirw_put_text(b, address) &&
           dirw_put_text(b, SPAN("")) && dirw_put_text(b, SPAN(""));
}

static void answer_entry(struct request *r, const struct people_entry *e, bool may_post)
{
    struct buf b;
    buf_init(&b, DIRW_ANSWER_LIMIT);
    bool ok = put_entry(&b, r->conn->s, e, may_post);
    reply(r->conn, r->type, r->seq, ok ? ERR_OK : ERR_LIMIT, buf_span(&b));
    buf_free(&b);
}

static void answer_absent(struct request *r)
{
    reply(r->conn, r->type, r->seq, server_knows(r->conn->s) ? ERR_MISSING : ERR_RETRY, SPAN_NONE);
}

/* -- addresses -- */

static bool is_ours(const struct conf *c, struct span domain)
{
    bool ours = false;
    struct buf n;
    buf_init(&n, 1024);
    for (size_t i = 0; i < c->domains.n && !ours; i++) {
        ours = span_caseeq(domain, span_str(c->domains.v[i]));
        buf_reset(&n); /* one written with letters outside ASCII: its A-labels */
        char name[512];
        int len = snprintf(name, sizeof name, "x@%s", c->domains.v[i]);
        if (!ours && len > 0 && (size_t)len < sizeof name && address_normal(span_of(name, (size_t)len), &n))
            ours = span_eq(span_drop(buf_span(&n), 2), domain);
    }
    buf_free(&n);
    return ours;
}

static bool is_office(struct span local)
{
    return span_caseeq(local, SPAN("postmaster")) || span_caseeq(local, SPAN("abuse"));
}

static struct span domain_of(struct span address)
{
    size_t at = address.n;
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    return at ? span_drop(address, at) : SPAN_NONE;
}

/* postmaster and abuse of a domain of ours that has none are those of another (RFC 5321 4.5.1, RFC 2142). */
static const struct people_entry *find_office(struct server *s, struct span local)
{
    const struct conf *c = daemon_conf(s->d);
    const struct people_entry *e = NULL;
    for (size_t i = 0; i < c->domains.n && !e; i++) {
        char name[512];
        int n = snprintf(name, sizeof name, "%.*s@%s", SPAN_ARG(local), c->domains.v[i]);
        if (n > 0 && (size_t)n < sizeof name)
            e = people_find(s->view->people, span_of(name, (size_t)n));
    }
    return e;
}

static bool may_post(struct server *s, const struct people_entry *e, const struct uuid *sender, bool office)
{
    if (e->kind != PEOPLE_GROUP || office)
        return true;
    const struct people_entry *from = uuid_is_none(sender) ? NULL : people_by_id(s->view->people, sender);
    if (!from)
        return false;
    return !e->restricted || people_may_send(s->view->people, from, e);
}

bool serve_lookup(struct request *r)
{
    struct server *s = r->conn->s;
    struct uuid sender = dirw_id(&r->in);
    struct span address = dirw_text(&r->in);
    struct buf n;
    if (!dirw_whole(&r->in))
        return false;
    buf_init(&n, 2048);
    if (!address_normal(address, &n)) {
        reply(r->conn, r->type, r->seq, ERR_SYNTAX, SPAN_NONE);
        buf_free(&n);
        return true;
    }
    struct span normal = buf_span(&n), domain = domain_of(normal);
    struct span local = span_first(normal, normal.n - domain.n - 1);
    const struct people_entry *e = s->view ? people_find(s->view->people, normal) : NULL;
    bool ours = is_ours(daemon_conf(s->d), domain);
    if (!e && ours && s->view && is_office(local))
        e = find_office(s, local);
    if (e && ours) {
        answer_entry(r, e, may_post(s, e, &sender, is_office(local)));
    } else if (ours) {
        answer_absent(r);
    } else {
        struct buf b;
        buf_init(&b, DIRW_ANSWER_LIMIT);
        bool ok = put_remote(&b, normal);
        reply(r->conn, r->type, r->seq, ok ? ERR_OK : ERR_LIMIT, buf_span(&b));
        buf_free(&b);
    }
    buf_free(&n);
    return true;
}

bool serve_account(struct request *r)
{
    struct server *s = r->conn->s;
    struct uuid id = dirw_id(&r->in);
    if (!dirw_whole(&r->in))
        return false;
    const struct people_entry *e = s->view ? people_by_id(s->view->people, &id) : NULL;
    if (e)
        answer_entry(r, e, false);
    else
        answer_absent(r);
    return true;
}

/* -- members -- */

static int id_cmp(const void *a, const void *b)
{
    return uuid_cmp(&(*(const struct people_entry *const *)a)->id,
                    &(*(const struct people_entry *const *)b)->id);
}

/* The distinct accounts behind all ids, ascending. */
static const struct people_entry **gather(struct people *p, struct span ids, size_t *count)
{
    const struct people_entry **v = NULL;
    size_t n = 0, kept = 0;
    for (; ids.n; ids = span_drop(ids, sizeof(struct uuid))) {
        struct uuid id;
        memcpy(id.b, ids.p, sizeof id.b);
        const struct people_entry *e = people_by_id(p, &id);
        size_t more = e ? people_member_count(p, e) : 0;
        if (!more)
            continue;
        v = xrealloc(v, (n + more) * sizeof *v);
        (void)people_members(p, e, v + n, more);
        n += more;
    }
    if (n)
        qsort(v, n, sizeof *v, id_cmp);
    for (size_t i = 0; i < n; i++)
        if (!kept || v[kept - 1] != v[i])
            v[kept++] = v[i];
    *count = kept;
    return v;
}

/* The same, kept for the next page: a group of thousands is asked for page by page. */
static const struct people_entry *const *roll_of(struct view *v, struct span ids, size_t *count)
{
    struct roll *k = &v->roll;
    if (!k->ids.limit)
        buf_init(&k->ids, DIRW_QUESTION_LIMIT);
    if (!k->v || !span_eq(buf_span(&k->ids), ids)) {
        roll_free(k);
        if (!buf_add_span(&k->ids, ids)) /* larger than a question: cannot be */
            buf_reset(&k->ids);
        k->v = gather(v->people, ids, &k->n);
    }
    *count = k->n;
    return k->v;
}

/* The first one behind that id. */
static size_t roll_after(const struct people_entry *const *v, size_t n, const struct uuid *after)
{
    size_t low = 0;
    while (low < n) {
        size_t middle = low + (n - low) / 2;
        if (uuid_cmp(&v[middle]->id, after) <= 0)
            low = middle + 1;
        else
            n = middle;
    }
    return low;
}

static bool put_members(struct buf *b, struct server *s, const struct people_entry *const *v, size_t n,
                        bool more)
{
    uint64_t quota = daemon_conf(s->d)->quota_default;
    bool ok = buf_add_u8(b, more) && buf_add_u32(b, (uint32_t)n);
    for (size_t i = 0; ok && i < n; i++)
        ok = dirw_put_id(b, &v[i]->id) && buf_add_u64(b, v[i]->quota_bytes ? v[i]->quota_bytes : quota) &&
             dirw_put_text(b, v[i]->address);
    return ok;
}

bool serve_members(struct request *r)
{
    struct server *s = r->conn->s;
    struct uuid after = dirw_id(&r->in);
    uint32_t max = read_u32(&r->in);
    uint16_t ids = read_u16(&r->in);
    struct span raw = read_bytes(&r->in, ids * sizeof(struct uuid));
    if (!dirw_whole(&r->in) || max == 0)
        return false;
    if (!s->view) {
        reply(r->conn, r->type, r->seq, ERR_RETRY, SPAN_NONE);
        return true;
    }
    size_t n = 0, first = 0;
    const struct people_entry *const *v = roll_of(s->view, raw, &n);
    if (!uuid_is_none(&after))
        first = roll_after(v, n, &after);
    if (max > DIRW_MEMBER_PAGE)
        max = DIRW_MEMBER_PAGE;
    bool more = n - first > max;
    struct buf b;
    buf_init(&b, DIRW_ANSWER_LIMIT);
    bool ok = put_members(&b, s, n ? v + first : NULL, more ? max : n - first, more);
    reply(r->conn, r->type, r->seq, ok ? ERR_OK : ERR_LIMIT, buf_span(&b));
    buf_free(&b);
    return true;
}

bool serve_may_send(struct request *r)
{
    struct server *s = r->conn->s;
    struct uuid id = dirw_id(&r->in);
    struct span address = dirw_text(&r->in);
    struct buf n;
    if (!dirw_whole(&r->in))
        return false;
    enum err_code code = ERR_RETRY;
    buf_init(&n, 2048);
    const struct people_entry *who = s->view ? people_by_id(s->view->people, &id) : NULL;
    bool valid = address_normal(address, &n);
    const struct people_entry *as = who && valid ? people_find(s->view->people, buf_span(&n)) : NULL;
    if (who && as && !who->no_login)
        code = people_may_send(s->view->people, who, as) ? ERR_OK : ERR_DENIED;
    else if (who || server_knows(s))
        code = !valid || server_knows(s) || (who && who->no_login) ? ERR_DENIED : ERR_RETRY;
    buf_free(&n);
    reply(r->conn, r->type, r->seq, code, SPAN_NONE);
    return true;
}
