/* The store's format: the file that says it, and the steps from an older one. stored takes them by itself at
 * a start (every release opens the store of the one before); `stored --upgrade` takes them alone. The hard
 * point is a death in the middle: each transaction of a step carries the step's place on record
 * (`store`, key "upgrade"), so that the next start goes on behind it and counts nothing twice. The format
 * file is renamed last; a record of a place beside a file of the new format means nothing. 1 to 2: references
 * of contents count the history too. Old rows in kept changes are added one by one; then contents that
 * nothing refers to go. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FORMAT_LIMIT = 64,
    UPGRADE_BLOCK = 256 << 10,
    CHECKPOINT_EVERY = 256,
    FLUSH_EVERY = 16,
    PASSED_OVER = 100000
};
static const char format_head[] = "provmail store ";
static const char upgrade_key[] = "upgrade";

/* -- the format file -- */

static bool write_format(struct engine *e, unsigned format)
{
    char text[FORMAT_LIMIT];
    int n = snprintf(text, sizeof text, "%s%u\n", format_head, format);
    int fd = openat(e->dir_fd, "format.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    bool ok = fd >= 0 && write(fd, text, (size_t)n) == n && fsync(fd) == 0 &&
              renameat(e->dir_fd, "format.new", e->dir_fd, "format") == 0 && fsync(e->dir_fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static enum err_code read_format(struct engine *e, int fd, struct err *why)
{
    char text[FORMAT_LIMIT] = "";
    ssize_t n = read(fd, text, sizeof text - 1);
    struct span s = span_of(text, n > 0 ? (size_t)n : 0);
    uint64_t format = 0;
    struct span head = SPAN(format_head);
    if (s.n > head.n && span_eq(span_first(s, head.n), head) && s.p[s.n - 1] == '\n')
        (void)!span_u64(span_of(s.p + head.n, s.n - head.n - 1), &format); /* 0 when it is no number */
    if (format == 0)
        return err_set(why, ERR_SYNTAX, NULL, "%s/format: not a store of this release", e->dir);
    if (format > STORE_FORMAT)
        return err_set(
            why, ERR_SYNTAX, NULL,
            "%s/format: not a store of this release but of a newer one (format %llu; this release knows "
            "up to %u)",
            e->dir, (unsigned long long)format, STORE_FORMAT);
    e->format = (unsigned)format;
    return ERR_OK;
}

enum err_code format_check(struct engine *e, struct err *why)
{
    int fd = openat(e->dir_fd, "format", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        enum err_code code = read_format(e, fd, why);
        close(fd);
        return code;
    }
    if (errno == ENOENT && faccessat(e->dir_fd, "db/store.db", F_OK, 0) == 0)
        return err_set(why, ERR_SYNTAX, NULL, "%s: databases without a format file", e->dir);
    FAULT_STEP("store.format.none");
    if (errno != ENOENT || !write_format(e, STORE_FORMAT))
        return err_set(why, ERR_RETRY, NULL, "%s: format: %s", e->dir, strerror(errno));
    e->format = STORE_FORMAT;
    return ERR_OK;
}

/* -- where an upgrade is -- */

enum phase { PHASE_HISTORY, PHASE_UNREFERENCED, PHASE_DONE };
struct place {
    enum phase phase;
    size_t n; /* of key: the last one that was done, or none */
    unsigned char key[KEY_CHANGE];
};
struct upgrade {
    struct engine *e;
    struct place at;
    uint64_t records, slices;
    uint32_t slice;
};

static enum err_code place_get(struct engine *e, struct place *out)
{
    struct tx t;
    unsigned char v[2 + KEY_CHANGE];
    size_t n = 0;
    *out = (struct place){.phase = PHASE_HISTORY};
    enum err_code code = tx_begin(e, false, &t);
    if (code == ERR_OK)
        code = tx_get(&t, T_STORE, SPAN(upgrade_key), v, sizeof v, &n);
    tx_free(&t);
    if (code == ERR_MISSING)
        return ERR_OK;
    if (code != ERR_OK || n < 2 || v[0] != REC_VERSION || v[1] > PHASE_DONE)
        return code == ERR_OK ? ERR_BUG : code;
    out->phase = (enum phase)v[1];
    out->n = n - 2;
    memcpy(out->key, v + 2, out->n);
    return ERR_OK;
}

static enum err_code place_put(struct tx *t, const struct place *p)
{
    unsigned char v[2 + KEY_CHANGE] = {REC_VERSION, (unsigned char)p->phase};
    memcpy(v + 2, p->key, p->n);
    return tx_put(t, T_STORE, SPAN(upgrade_key), span_of(v, 2 + p->n));
}

static void place_move(struct upgrade *u, struct span key)
{
    assert(key.n <= sizeof u->at.key);
    memcpy(u->at.key, key.p, key.n);
    u->at.n = key.n;
    u->records++;
}

/* -- the slices -- */

/* Old rows of the next change records, in v. *more: there are more. */
static enum err_code next_history(struct upgrade *u, struct tx *t, struct ids *v, bool *more)
{
    struct scan s;
    struct span key, value;
    struct rec_change r;
    size_t seen = 0;
    *more = false;
    scan_open(&s, t, T_CHANGE, span_of(u->at.key, u->at.n), 0, UPGRADE_BLOCK);
    while (scan_next(&s, &key, &value)) {
        if (u->at.n == key.n && memcmp(u->at.key, key.p, key.n) == 0)
            continue;
        if (v->n >= u->slice || seen++ >= u->slice) {
            *more = true;
            break;
        }
        if (key.n != KEY_CHANGE || !rec_change_get(value, &r) || !change_contents(&r, v)) {
            s.code = ERR_BUG;
            break;
        }
        place_move(u, key);
    }
    return scan_close(&s);
}

/* The next contents without references. */
static enum err_code next_unreferenced(struct upgrade *u, struct tx *t, struct ids *v, bool *more)
{
    struct scan s;
    struct span key, value;
    struct rec_ref r;
    size_t seen = 0;
    *more = false;
    scan_open(&s, t, T_REF, span_of(u->at.key, u->at.n), 0, UPGRADE_BLOCK);
    while (scan_next(&s, &key, &value)) {
        if (u->at.n == key.n && memcmp(u->at.key, key.p, key.n) == 0)
            continue;
        if (v->n >= u->slice || seen++ >= PASSED_OVER) {
            *more = true;
            break;
        }
        if (key.n != KEY_ID || !rec_ref_get(value, &r)) {
            s.code = ERR_BUG;
            break;
        }
        if (r.count == 0)
            ids_add(v, get_be64(key.p));
        place_move(u, key);
    }
    return scan_close(&s);
}

static enum err_code slice(struct upgrade *u, struct tx *t, struct ids *v)
{
    bool more = false;
    const enum phase phase = u->at.phase;
    enum err_code code =
        phase == PHASE_HISTORY ? next_history(u, t, v, &more) : next_unreferenced(u, t, v, &more);
    if (!more) {
        u->at.phase++;
        u->at.n = 0;
    }
    if (code == ERR_OK)
        code = place_put(t, &u->at);
    if (code == ERR_OK)
        code = phase == PHASE_HISTORY ? content_refs_add(t, v, true) : content_refs_drop(t, v);
    if (code == ERR_OK)
        code = tx_commit(t);
    FAULT_STEP("store.upgrade.slice");
    return code;
}

static enum err_code run(struct upgrade *u, struct tx *t)
{
    struct ids v = {NULL, 0, 0};
    enum err_code code = tx_begin(u->e, false, t);
    while (code == ERR_OK && u->at.phase != PHASE_DONE) {
        v.n = 0;
        code = slice(u, t, &v);
        if (++u->slices % CHECKPOINT_EVERY == 0)
            env_checkpoint(u->e, false);
        else if (u->slices % FLUSH_EVERY == 0)
            env_log_flush(u->e);
        if (u->e->o.progress)
            u->e->o.progress(u->e->o.arg, u->at.phase == PHASE_HISTORY ? "history" : "contents", u->records);
        if (code == ERR_OK && u->at.phase != PHASE_DONE)
            code = tx_renew(t);
    }
    ids_free(&v);
    return code;
}

enum err_code upgrade_run(struct engine *e, struct err *why)
{
    struct tx t = {.e = e};
    struct upgrade u = {.e = e, .slice = e->o.slice ? e->o.slice : SLICE};
    uint64_t begin_ms = clock_mono_ms();
    if (e->format == STORE_FORMAT)
        return ERR_OK;
    enum err_code code = place_get(e, &u.at);
    log_event(LOG_INFO, NULL, "store.upgrade.started", F_UINT("from", e->format), F_UINT("to", STORE_FORMAT),
              F_INT("phase", u.at.phase));
    if (code == ERR_OK) {
        code = run(&u, &t);
        tx_free(&t);
    }
    if (code == ERR_OK)
        env_log_flush(e);
    if (code != ERR_OK)
        return err_set(why, code, NULL, "%s: upgrading from format %u: %s", e->dir, e->format,
                       err_name(code));
    FAULT_STEP("store.upgrade.counted");
    if (!write_format(e, STORE_FORMAT))
        return err_set(why, ERR_RETRY, NULL, "%s: format: %s", e->dir, strerror(errno));
    log_event(LOG_INFO, NULL, "store.upgrade.finished", F_UINT("from", e->format), F_UINT("to", STORE_FORMAT),
              F_UINT("records", u.records), F_UINT("ms", clock_mono_ms() - begin_ms));
    e->format = STORE_FORMAT;
    return ERR_OK;
}
