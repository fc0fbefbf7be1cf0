/* The store's part of a backup, in a thread of its own while all else runs: sealed segments that the asker
 * does not have, then every database, then the log files, then the segments that were open or came since. In
 * this order the set is consistent: a page that was copied early is brought forward by the log, and what the
 * log commits lies in segments that were written before it. The hard point is what must not go away
 * meanwhile: segments are held from the start, log files from the first database on (hold.c); both end with
 * this call, however it ends, and the log's hold may fall before. */
#include "common/store/dbcopy.h"
#include "common/base/crypto.h"
#include "common/store/engine_int.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct listed {
    uint32_t number;
    bool sealed, sent;
    uint64_t end;
};
struct listing {
    struct listed *v;
    size_t n, cap;
};

struct backup {
    struct engine *e;
    struct dbcopy c;
    struct span have; /* u32 numbers, ascending, in host order */
    struct listing first;
    int db_fd;
};

/* -- the life of a store -- */

static const char life_key[] = "life";
enum { REC_LIFE = 1 + BACKUP_LIFE_SIZE };

enum err_code life_load(struct engine *e, bool fresh)
{
    struct tx t;
    unsigned char v[REC_LIFE] = {REC_VERSION};
    size_t n = 0;
    enum err_code code = tx_begin(e, false, &t);
    if (code == ERR_OK)
        code = fresh ? ERR_MISSING : tx_get(&t, T_STORE, SPAN(life_key), v, sizeof v, &n);
    if (code == ERR_OK && n != REC_LIFE)
        code = ERR_BUG;
    if (code == ERR_MISSING) {
        v[0] = REC_VERSION;
        crypto_random(v + 1, BACKUP_LIFE_SIZE);
        code = tx_put(&t, T_STORE, SPAN(life_key), span_of(v, sizeof v));
        if (code == ERR_OK)
            code = tx_commit(&t);
    }
    tx_free(&t);
    memcpy(e->life, v + 1, sizeof e->life);
    return code;
}

/* -- segments -- */

static enum err_code list_segments(struct engine *e, struct listing *out)
{
    struct tx t;
    struct scan s;
    struct span key, value;
    struct rec_segment r;
    enum err_code code = tx_begin(e, true, &t);
    if (code != ERR_OK)
        return code;
    scan_open(&s, &t, T_SEGMENT, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        if (key.n != 4 || !rec_segment_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        if (out->n == out->cap) {
            out->cap = out->cap ? out->cap * 2 : 64;
            out->v = xrealloc(out->v, out->cap * sizeof *out->v);
        }
        out->v[out->n++] = (struct listed){.number = get_be32(key.p), .sealed = r.sealed != 0, .end = r.end};
    }
    code = scan_close(&s);
    tx_free(&t);
    return code;
}

static bool has(struct span have, uint32_t number)
{
    size_t lo = 0, hi = have.n / 4;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        uint32_t v = uid_at(have, mid);
        if (v == number)
            return true;
        if (v < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static bool sent_before(const struct listing *l, uint32_t number)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].number == number)
            return l->v[i].sent;
    return false;
}

static void send_segment(struct backup *b, struct listed *s)
{
    char file[32], name[64];
    struct stat st;
    snprintf(file, sizeof file, "%08x.seg", s->number);
    snprintf(name, sizeof name, "%s/%s", s->sealed ? "segments" : "open", file);
    if (fstatat(b->e->segment_dir_fd, file, &st, 0) != 0)
        return; /* on record before its first byte, or dead: the restore's own check says when it is missed */
    if (!s->sealed)
        s->end = (uint64_t)st.st_size; /* what is committed by now lies below it */
    if (s->sealed && has(b->have, s->number))
        dbcopy_kept(&b->c, name, s->end);
    else
        dbcopy_file(&b->c, b->e->segment_dir_fd, file, name, s->end);
    s->sent = true;
}

static uint64_t size_of(int dir_fd, const char *file)
{
    struct stat st;
    return fstatat(dir_fd, file, &st, 0) == 0 ? (uint64_t)st.st_size : 0;
}

static void tell_total(struct backup *b)
{
    uint64_t total = 0;
    for (size_t i = 0; i < b->first.n; i++)
        if (b->first.v[i].sealed && !has(b->have, b->first.v[i].number))
            total += b->first.v[i].end;
    for (int t = 0; t < T_COUNT; t++) {
        char file[64];
        snprintf(file, sizeof file, "%s.db", env_table_name((enum table)t));
        total += size_of(b->db_fd, file);
    }
    dbcopy_total(&b->c, total);
}

static void send_format(struct backup *b)
{
    dbcopy_file(&b->c, b->e->dir_fd, "format", "format", 4096);
}

static void send_databases(struct backup *b)
{
    char file[64], name[80];
    for (int t = 0; t < T_COUNT; t++) {
        snprintf(file, sizeof file, "%s.db", env_table_name((enum table)t));
        snprintf(name, sizeof name, "db/%s", file);
        dbcopy_table(&b->c, b->e->env, file, name);
    }
    dbcopy_logs(&b->c, b->e->env, b->db_fd, "db/");
}

static enum err_code send_rest(struct backup *b)
{
    struct listing now = {NULL, 0, 0};
    enum err_code code = list_segments(b->e, &now);
    for (size_t i = 0; i < now.n && code == ERR_OK; i++)
        if (!sent_before(&b->first, now.v[i].number))
            send_segment(b, &now.v[i]);
    free(now.v);
    return code;
}

static enum err_code run(struct backup *b)
{
    enum err_code code = list_segments(b->e, &b->first);
    if (code != ERR_OK)
        return code;
    dbcopy_life(&b->c, b->e->life);
    tell_total(b);
    for (size_t i = 0; i < b->first.n; i++)
        if (b->first.v[i].sealed)
            send_segment(b, &b->first.v[i]);
    const uint64_t hold = engine_hold(b->e, 0);
    if (!hold)
        return err_set(b->c.why, ERR_STATE, NULL, "too many backups at a time");
    send_format(b);
    send_databases(b);
    if (!engine_hold_end(b->e, hold))
        return err_set(b->c.why, ERR_RETRY, NULL,
                       "the backup was too slow: it kept more log than store_log_keep");
    return send_rest(b);
}

enum err_code engine_backup(struct engine *e, int fd, const unsigned char life[16], struct span have,
                            _Atomic bool *stop, uint64_t *sent, struct err *why)
{
    struct backup b = {.e = e, .have = memcmp(life, e->life, sizeof e->life) == 0 ? have : SPAN_NONE};
    why->code = ERR_OK;
    const uint64_t hold = engine_hold(e, UINT32_MAX); /* segments only */
    dbcopy_start(&b.c, fd, stop, why);
    b.db_fd = openat(e->dir_fd, "db", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err_code code = b.db_fd >= 0 ? run(&b) : err_set(why, ERR_RETRY, NULL, "db: %s", strerror(errno));
    if (code != ERR_OK && b.c.code == ERR_OK) {
        if (why->code == ERR_OK)
            err_set(why, code, NULL, "reading the list of segments");
        b.c.code = code;
    }
    code = dbcopy_finish(&b.c);
    engine_hold_end(e, hold);
    *sent = b.c.sent;
    if (b.db_fd >= 0)
        close(b.db_fd);
    free(b.first.v);
    return code;
}
