/* Queries of the admin role: accounts, mailboxes of any account, the trace of a message, counters. They may
 * take a while and never run in the event loop. */
#include "common/store/engine_int.h"
#include "common/store/pages.h"
#include <stdio.h>
#include <stdlib.h>

enum err_code read_accounts(struct tx *t, struct query *q)
{
    struct wire_in in = {q->body, false};
    struct wire_accounts w;
    struct wire_accounts_part head = {0, 0};
    struct scan s;
    struct span key, value;
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    const struct uuid from = uuid_is_none(&q->next_uuid) ? w.after : q->next_uuid;
    struct buf *part = parts_add(&q->answer);
    bool ok = buf_add(part, &head, sizeof head);
    scan_open(&s, t, T_ACCOUNT, key_uuid(&from), 0, 64 << 10);
    while (ok && s.code == ERR_OK && scan_next(&s, &key, &value)) {
        struct rec_account r;
        struct rec_quota u;
        struct store_account_info i = {.mailboxes = 0};
        if (key.n != KEY_UUID || !rec_account_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        memcpy(i.id.b, key.p, KEY_UUID);
        if (uuid_cmp(&i.id, &from) == 0)
            continue; /* it was the last of the part before */
        if (head.count == q->budget) {
            q->more = true;
            break;
        }
        s.code = quota_get(t, &i.id, &u);
        i.mailboxes = r.mailboxes;
        i.messages = u.messages;
        i.bytes = u.bytes;
        i.quota_bytes = u.flags & QUOTA_TOLD ? u.limit_bytes : r.quota_bytes;
        i.quota_messages = u.limit_messages;
        i.unit = u.unit;
        i.warned = (u.flags & QUOTA_WARNED) != 0;
        i.hold = r.hold;
        i.created_us = r.created_us;
        i.last_login_us = r.last_login_us;
        i.last_delivery_us = u.last_delivery_us;
        q->next_uuid = i.id;
        head.count++;
        ok = buf_add(part, &i, sizeof i);
    }
    memcpy(part->p, &head, sizeof head);
    enum err_code code = scan_close(&s);
    return code == ERR_OK && !ok ? ERR_LIMIT : code;
}

enum err_code read_mailboxes(struct tx *t, struct query *q)
{
    struct wire_in in = {q->body, false};
    struct wire_account w;
    struct rec_account r;
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    enum err_code code = account_get(t, &w.id, &r);
    return code == ERR_OK ? read_list_of(t, &w.id, q) : code;
}

/* -- counters -- */

struct totals {
    uint64_t accounts, mailboxes, messages, bytes, contents, dead, packed, segments, queued;
    uint64_t segment_dead;
};

static enum err_code sum_accounts(struct tx *t, struct totals *sum)
{
    struct scan s;
    struct span key, value;
    scan_open(&s, t, T_ACCOUNT, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct rec_account r;
        if (rec_account_get(value, &r)) {
            sum->accounts++;
            sum->mailboxes += r.mailboxes;
        }
    }
    enum err_code code = scan_close(&s);
    if (code != ERR_OK)
        return code;
    scan_open(&s, t, T_QUOTA, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct rec_quota r;
        if (rec_quota_get(value, &r)) {
            sum->messages += r.messages;
            sum->bytes += r.bytes;
        }
    }
    return scan_close(&s);
}

static enum err_code sum_contents(struct tx *t, struct totals *sum)
{
    struct scan s;
    struct span key, value;
    scan_open(&s, t, T_REF, SPAN_NONE, 0, 256 << 10);
    while (scan_next(&s, &key, &value)) {
        struct rec_ref r;
        if (rec_ref_get(value, &r)) {
            sum->contents++;
            sum->dead += r.count == 0;
        }
    }
    enum err_code code = scan_close(&s);
    if (code != ERR_OK)
        return code;
    scan_open(&s, t, T_SEGMENT, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct rec_segment r;
        if (rec_segment_get(value, &r)) {
            sum->segments++;
            sum->packed += r.sealed ? r.end : 0;
            sum->segment_dead += r.dead;
        }
    }
    code = scan_close(&s);
    if (code != ERR_OK)
        return code;
    scan_open(&s, t, T_QUEUE_DUE, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value))
        sum->queued++;
    return scan_close(&s);
}

static bool put_number(struct buf *out, const char *key, uint64_t v)
{
    return buf_addf(out, "%s=%llu\n", key, (unsigned long long)v);
}

enum err_code read_stats(struct tx *t, struct query *q)
{
    struct engine *e = t->e;
    struct totals s = {0};
    struct env_figures f;
    enum err_code code = sum_accounts(t, &s);
    if (code == ERR_OK)
        code = sum_contents(t, &s);
    if (code != ERR_OK)
        return code;
    env_figures(e, &f);
    const struct counters *c = &e->count;
    const uint64_t open = e->small.written + e->large.written + e->compact.written;
    const uint64_t flushes = atomic_load(&c->flushes), syncs = atomic_load(&c->syncs);
    const uint64_t oldest = atomic_load(&c->oldest_change_us), batches = atomic_load(&c->batches);
    const uint64_t jobs = atomic_load(&c->jobs), reads = f.cache_hits + f.cache_misses;
    struct buf *b = parts_add(&q->answer);
    const struct {
        const char *key;
        uint64_t v;
    } lines[] = {{"accounts", s.accounts},
                 {"mailboxes", s.mailboxes},
                 {"messages", s.messages},
                 {"bytes", s.bytes},
                 {"contents", s.contents},
                 {"contents_unreferenced", s.dead},
                 {"segments", s.segments},
                 {"sealed_bytes", s.packed},
                 {"open_bytes", open},
                 {"dead_bytes", s.segment_dead},
                 {"live_bytes", s.packed + open > s.segment_dead ? s.packed + open - s.segment_dead : 0},
                 {"queue", s.queued},
                 {"batches", batches},
                 {"flushes", flushes},
                 {"requests", jobs},
                 {"deadlocks", atomic_load(&e->count.deadlocks)},
                 {"checkpoints", atomic_load(&e->count.checkpoints)},
                 {"refused_full", atomic_load(&e->count.refused_full)},
                 {"damaged_pages", pages_damaged(NULL, 0)},
                 {"refused_late", atomic_load(&e->count.refused_late)},
                 {"log_bytes", env_log_bytes(e)},
                 {"log_files", f.log_files},
                 {"log_file_bytes", f.log_file_bytes},
                 {"database_bytes", f.database_bytes},
                 {"history_bytes", f.history_bytes},
                 {"oldest_change_s", oldest ? (uint64_t)(clock_wall_us() - (int64_t)oldest) / 1000000 : 0},
                 {"purged_changes", atomic_load(&c->purged_changes)},
                 {"purged_messages", atomic_load(&c->purged_rows)},
                 {"purged_mailboxes", atomic_load(&c->purged_mailboxes)},
                 {"purged_records", atomic_load(&c->swept)},
                 {"compacted_bytes", atomic_load(&c->compacted_bytes)},
                 {"segments_removed", atomic_load(&c->segments_dropped)},
                 {"cache_hit_percent", reads ? f.cache_hits * 100 / reads : 100},
                 {"lock_waits", f.lock_waits},
                 {"batch_mean", batches ? jobs / batches : 0},
                 {"batch_max", atomic_load(&c->batch_max)},
                 {"flush_mean_us", flushes ? atomic_load(&c->flush_us) / flushes : 0},
                 {"flush_max_us", atomic_load(&c->flush_max_us)},
                 {"segment_syncs", syncs},
                 {"segment_sync_mean_us", syncs ? atomic_load(&c->sync_us) / syncs : 0},
                 {"segment_sync_max_us", atomic_load(&c->sync_max_us)},
                 {"format", e->format}};
    bool ok = true;
    for (size_t i = 0; i < sizeof lines / sizeof *lines && ok; i++)
        ok = put_number(b, lines[i].key, lines[i].v);
    return ok ? ERR_OK : ERR_LIMIT;
}

enum err_code read_care(struct tx *t, struct query *q)
{
    struct engine *e = t->e;
    struct wire_in in = {q->body, false};
    struct wire_care w;
    struct wire_care_said out = {.asked = 0};
    if (!wire_get(&in, &w, sizeof w) || !wire_whole(&in))
        return ERR_SYNTAX;
    if (w.purge || w.compact)
        out.asked = engine_care(e, w.purge != 0, w.compact != 0);
    out.finished = engine_care_finished(e);
    out.purged_changes = atomic_load(&e->count.purged_changes);
    out.purged_rows = atomic_load(&e->count.purged_rows);
    out.purged_mailboxes = atomic_load(&e->count.purged_mailboxes);
    out.swept = atomic_load(&e->count.swept);
    out.segments_dropped = atomic_load(&e->count.segments_dropped);
    out.compacted_bytes = atomic_load(&e->count.compacted_bytes);
    return buf_add(parts_add(&q->answer), &out, sizeof out) ? ERR_OK : ERR_LIMIT;
}

/* -- the trace -- */

struct tracing {
    struct buf *part;
    struct wire_trace_part head;
    struct buf detail;
};

static bool add_line(struct tracing *x, int64_t at_us, const char *event)
{
    x->head.count++;
    return buf_add(x->part, &at_us, sizeof at_us) && wire_put_text(x->part, span_str(event)) &&
           wire_put_text(x->part, buf_span(&x->detail));
}

static bool put_place(struct buf *out, const unsigned char *place)
{
    struct uuid id;
    char text[UUID_TEXT];
    memcpy(id.b, place, sizeof id.b);
    uuid_format(&id, text);
    return buf_addf(out, "account=%s mailbox=%llu uid=%u", text, (unsigned long long)get_be64(place + 16),
                    get_be32(place + 24));
}

/* What has become of a message since it came to a mailbox: moves are followed. */
static enum err_code follow(struct tx *t, struct tracing *x, uint64_t mailbox, uint32_t uid, int depth)
{
    enum { DEPTH = 20 };
    struct store_row row;
    struct rec_change r;
    struct scan s;
    struct span key, value;
    unsigned char from[KEY_CHANGE];
    uint64_t next_box = 0;
    uint32_t next_uid = 0;
    bool ok = true;
    enum err_code code = row_get(t, mailbox, uid, &row);
    buf_reset(&x->detail);
    if (code == ERR_OK) {
        ok = buf_addf(&x->detail, "mailbox=%llu uid=%u seen=%s", (unsigned long long)mailbox, uid,
                      row.flags & STORE_SEEN ? "yes" : "no") &&
             add_line(x, clock_wall_us(), "present");
        return ok ? ERR_OK : ERR_LIMIT;
    }
    if (code != ERR_MISSING)
        return code;
    key_pair(from, mailbox, 0);
    scan_open(&s, t, T_CHANGE, span_of(from, sizeof from), KEY_ID, 256 << 10);
    while (ok && !next_uid && scan_next(&s, &key, &value)) {
        if (!rec_change_get(value, &r) || (r.op != CHANGE_EXPUNGE && r.op != CHANGE_MOVE_OUT))
            continue;
        size_t size = r.op == CHANGE_EXPUNGE ? ITEM_EXPUNGE : ITEM_MOVE;
        for (uint32_t i = 0; i < r.count && ok && !next_uid; i++) {
            const char *item = r.items.p + i * size;
            if (get_be32(item) != uid)
                continue;
            next_uid = r.op == CHANGE_MOVE_OUT ? get_be32(item + ITEM_EXPUNGE) : UINT32_MAX;
            next_box = r.other;
            ok = buf_addf(&x->detail, "mailbox=%llu uid=%u", (unsigned long long)mailbox, uid);
            if (ok && r.op == CHANGE_MOVE_OUT)
                ok = buf_addf(&x->detail, " to_mailbox=%llu to_uid=%u", (unsigned long long)next_box,
                              next_uid);
            ok = ok && add_line(x, r.at_us, r.op == CHANGE_MOVE_OUT ? "moved" : "expunged");
        }
    }
    code = scan_close(&s);
    if (code != ERR_OK || !ok)
        return code == ERR_OK ? ERR_LIMIT : code;
    return next_box && depth < DEPTH ? follow(t, x, next_box, next_uid, depth + 1) : ERR_OK;
}

static bool add_received(struct tracing *x, const struct rec_trace *r)
{
    return buf_addf(&x->detail, "sender=<%.*s> peer=%.*s login=%.*s size=%llu", SPAN_ARG(r->sender),
                    SPAN_ARG(r->peer), SPAN_ARG(r->login), (unsigned long long)r->size) &&
           add_line(x, r->at_us, r->kind == TRACE_APPENDED ? "appended" : "received");
}

static enum err_code add_record(struct tx *t, struct tracing *x, const struct rec_trace *r)
{
    enum { FOLLOWED = 20 };
    bool ok = true;
    enum err_code code = ERR_OK;
    buf_reset(&x->detail);
    if (r->kind == TRACE_RECEIVED || r->kind == TRACE_APPENDED)
        ok = add_received(x, r);
    buf_reset(&x->detail);
    if (ok && r->kind == TRACE_RECEIVED && r->queue_id)
        ok = buf_addf(&x->detail, "queue=%llu", (unsigned long long)r->queue_id) &&
             add_line(x, r->at_us, "queued");
    buf_reset(&x->detail);
    if (ok && r->kind == TRACE_DEFERRED)
        ok = buf_addf(&x->detail, "queue=%llu reason=\"%.*s\"", (unsigned long long)r->queue_id,
                      SPAN_ARG(r->reason)) &&
             add_line(x, r->at_us, "deferred");
    for (uint32_t i = 0; i < r->place_count && ok && code == ERR_OK; i++) {
        const unsigned char *place = (const unsigned char *)r->places.p + (size_t)i * REC_PLACE;
        buf_reset(&x->detail);
        ok = put_place(&x->detail, place) && add_line(x, r->at_us, "filed");
        if (ok && r->place_count <= FOLLOWED)
            code = follow(t, x, get_be64(place + 16), get_be32(place + 24), 0);
    }
    buf_reset(&x->detail);
    if (ok && code == ERR_OK && r->kind == TRACE_FINISHED)
        ok = buf_addf(&x->detail, "queue=%llu %.*s", (unsigned long long)r->queue_id, SPAN_ARG(r->reason)) &&
             add_line(x, r->at_us, "finished");
    return code == ERR_OK && !ok ? ERR_LIMIT : code;
}

enum err_code read_trace(struct tx *t, struct query *q)
{
    struct wire_in in = {q->body, false};
    struct span text = wire_text(&in);
    struct tracing x = {.part = parts_add(&q->answer)};
    struct scan s;
    struct span key, value;
    if (!wire_whole(&in) || text.n != TRACE_TEXT - 1)
        return ERR_MISSING;
    buf_init(&x.detail, 64 << 10);
    bool ok = buf_add(x.part, &x.head, sizeof x.head);
    scan_open(&s, t, T_TRACE, text, text.n, 64 << 10);
    while (ok && s.code == ERR_OK && scan_next(&s, &key, &value)) {
        struct rec_trace r;
        s.code = rec_trace_get(value, &r) ? add_record(t, &x, &r) : ERR_BUG;
    }
    memcpy(x.part->p, &x.head, sizeof x.head);
    buf_free(&x.detail);
    enum err_code code = scan_close(&s);
    if (code == ERR_OK && x.head.count == 0)
        code = ERR_MISSING;
    return code;
}
