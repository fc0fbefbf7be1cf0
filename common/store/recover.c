/* What a start has to settle besides Berkeley DB's own recovery: segments that were open are cut behind their
 * last committed content and sealed, files that are on no record are removed.
 * The hard point: content ids rise in the order of the bytes of one stream, so the last content of an open
 * segment is found by walking the content table back from its end, not by reading all of it. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_SEGMENTS = 64 };

struct open_segment {
    uint32_t number;
    struct rec_segment r;
    bool found;
};

struct open_list {
    struct open_segment v[OPEN_SEGMENTS];
    size_t n;
    uint64_t first_content; /* the least of them */
};

static enum err_code read_records(struct tx *t, struct open_list *out)
{
    struct scan s;
    struct span key, value;
    out->first_content = UINT64_MAX;
    scan_open(&s, t, T_SEGMENT, SPAN_NONE, 0, 64 << 10);
    while (scan_next(&s, &key, &value)) {
        struct open_segment o = {.number = get_be32(key.p)};
        if (key.n != 4 || !rec_segment_get(value, &o.r)) {
            s.code = ERR_BUG;
            break;
        }
        if (o.number >= t->e->next_segment)
            t->e->next_segment = o.number + 1;
        if (o.r.sealed || out->n == OPEN_SEGMENTS)
            continue;
        o.found = o.r.large == SEGMENT_COMPACTED; /* what of it is committed stands in its record */
        if (!o.found)
            o.r.end = SEGMENT_HEAD;
        out->v[out->n++] = o;
        if (o.r.first_content < out->first_content)
            out->first_content = o.r.first_content;
    }
    return scan_close(&s);
}

/* Walk the contents back until each open segment has met its last one. */
static enum err_code find_ends(struct tx *t, struct open_list *open)
{
    DBC *c = NULL;
    DB *db = t->e->db[T_CONTENT];
    unsigned char key[KEY_ID], value[REC_CONTENT_HEAD];
    size_t left = 0;
    for (size_t i = 0; i < open->n; i++)
        left += !open->v[i].found;
    enum err_code code = left ? db_code(t->e, "cursor", db->cursor(db, t->t, &c, 0)) : ERR_OK;
    for (u_int32_t how = DB_LAST; code == ERR_OK && left; how = DB_PREV) {
        DBT k = {.data = key, .ulen = sizeof key, .flags = DB_DBT_USERMEM};
        DBT v = {.data = value,
                 .ulen = sizeof value,
                 .dlen = sizeof value,
                 .flags = DB_DBT_USERMEM | DB_DBT_PARTIAL};
        struct rec_content r;
        code = db_code(t->e, "walk", c->get(c, &k, &v, how));
        if (code != ERR_OK || get_be64(key) < open->first_content)
            break;
        if (!rec_content_get(span_of(value, v.size), &r)) {
            code = ERR_BUG;
            break;
        }
        for (size_t i = 0; i < open->n; i++)
            if (open->v[i].number == r.segment && !open->v[i].found) {
                open->v[i].found = true;
                open->v[i].r.end = r.offset + r.packed;
                left--;
            }
    }
    if (c && c->close(c) != 0)
        return ERR_BUG;
    return code == ERR_MISSING ? ERR_OK : code;
}

static enum err_code seal(struct tx *t, struct open_segment *o)
{
    char name[32];
    unsigned char key[4], v[REC_SEGMENT];
    struct stat st;
    snprintf(name, sizeof name, "%08x.seg", o->number);
    int fd = openat(t->e->segment_dir_fd, name, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        log_event(LOG_ALARM, NULL, "store.segment.missing", F_UINT("segment", o->number),
                  F_STR("why", strerror(errno)));
        if (fd >= 0)
            close(fd);
        return o->found ? ERR_BUG : ERR_OK;
    }
    if ((uint64_t)st.st_size < o->r.end)
        log_event(LOG_ALARM, NULL, "store.segment.short", F_UINT("segment", o->number),
                  F_UINT("size", st.st_size), F_UINT("end", o->r.end));
    else if ((uint64_t)st.st_size > o->r.end && (ftruncate(fd, (off_t)o->r.end) != 0 || fsync(fd) != 0))
        engine_fatal(t->e, "cutting a segment", strerror(errno));
    if ((uint64_t)st.st_size > o->r.end)
        log_event(LOG_INFO, NULL, "store.segment.cut", F_UINT("segment", o->number),
                  F_UINT("bytes", (uint64_t)st.st_size - o->r.end));
    close(fd);
    FAULT_STEP("store.recovery.cut");
    o->r.sealed = 1;
    put_be32(key, o->number);
    rec_segment_put(&o->r, v);
    return tx_put(t, T_SEGMENT, span_of(key, sizeof key), span_of(v, sizeof v));
}

/* An empty one goes; one with bytes (a crash before its record was durable) is kept beside, for a person. */
static enum err_code set_aside(struct engine *e, const char *name)
{
    struct stat st;
    char aside[300];
    if (fstatat(e->segment_dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return ERR_BUG;
    if (st.st_size <= SEGMENT_HEAD)
        return unlinkat(e->segment_dir_fd, name, 0) == 0 ? ERR_OK : ERR_BUG;
    snprintf(aside, sizeof aside, "%s.stray", name);
    log_event(LOG_WARN, NULL, "store.segment.stray", F_STR("file", name), F_UINT("size", st.st_size));
    return renameat(e->segment_dir_fd, name, e->segment_dir_fd, aside) == 0 ? ERR_OK : ERR_BUG;
}

/* Files that no record names: a crash came between making and recording them. */
static enum err_code remove_strays(struct tx *t)
{
    int fd = openat(t->e->segment_dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    enum err_code code = ERR_OK;
    if (!d)
        return ERR_BUG;
    for (struct dirent *f; code == ERR_OK && (f = readdir(d));) {
        unsigned number;
        char tail;
        unsigned char key[4], v[REC_SEGMENT];
        size_t n;
        if (sscanf(f->d_name, "%8x.se%c%c", &number, &tail, &tail) != 2 || tail != 'g')
            continue;
        if (number >= t->e->next_segment)
            t->e->next_segment = number + 1;
        put_be32(key, number);
        code = tx_get(t, T_SEGMENT, span_of(key, sizeof key), v, sizeof v, &n);
        if (code == ERR_MISSING)
            code = set_aside(t->e, f->d_name);
    }
    closedir(d);
    return code;
}

enum err_code segment_recover(struct engine *e, struct err *why)
{
    struct tx t;
    struct open_list *open = xcalloc(1, sizeof *open);
    e->next_segment = 1;
    enum err_code code = tx_begin(e, false, &t);
    if (code == ERR_OK)
        code = segment_next(&t);
    if (code == ERR_OK)
        code = read_records(&t, open);
    if (code == ERR_OK)
        code = find_ends(&t, open);
    for (size_t i = 0; i < open->n && code == ERR_OK; i++)
        code = seal(&t, &open->v[i]);
    if (code == ERR_OK)
        code = remove_strays(&t);
    FAULT_STEP("store.recovery.settled");
    if (code == ERR_OK)
        code = tx_commit(&t);
    FAULT_STEP("store.recovery.committed");
    tx_free(&t);
    free(open);
    return code == ERR_OK ? ERR_OK : err_set(why, code, NULL, "settling the segments in %s", e->dir);
}
