/* Content segments: files that only grow. A content is a head, its frame table and its packed frames; the
 * head makes a segment readable without the databases. Two streams grow at a time: the writer's for small
 * contents (one write and one sync for a batch) and the stager's for large ones, so that a message of a
 * hundred megabytes keeps nobody waiting. The hard point is the tail: bytes behind the last committed content
 * mean nothing. At start every segment that was open is cut to the end of its last committed content and
 * sealed, and a new one begins: bytes that were once referred to are never written over. A sync that fails
 * ends the process; it is never tried again. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include "common/store/crc.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTENT_HEAD = 40, PENDING_LIMIT = 64 << 20, COPY_BYTES = 1 << 20, LOGGED = 64 << 10, TRIES = 8 };
static const char segment_magic[8] = "PMSEG\0\0\1";
static const char content_magic[4] = "PMc1";

static void file_name(uint32_t number, char out[32])
{
    snprintf(out, 32, "%08x.seg", number);
}

bool segment_write(int fd, struct span s, uint64_t at)
{
    while (s.n) {
        ssize_t n = FAULT("store.segment.write") ? -1 : pwrite(fd, s.p, s.n, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s = span_drop(s, (size_t)n);
        at += (uint64_t)n;
    }
    return true;
}

static enum err_code write_failed(struct engine *e, const char *what)
{
    int error = errno;
    if (error != ENOSPC && error != EDQUOT && error != EFBIG)
        engine_fatal(e, what, strerror(error));
    log_event(LOG_ALARM, NULL, "store.disk.full", F_STR("what", what));
    return ERR_RETRY;
}

uint64_t segment_share(uint32_t frames, uint64_t packed)
{
    return CONTENT_HEAD + (uint64_t)frames * REC_FRAME + packed;
}

enum err_code segment_get(struct tx *t, uint32_t number, struct rec_segment *out)
{
    unsigned char key[4], v[REC_SEGMENT];
    size_t n;
    put_be32(key, number);
    enum err_code code = tx_get(t, T_SEGMENT, span_of(key, sizeof key), v, sizeof v, &n);
    return code == ERR_OK && !rec_segment_get(span_of(v, n), out) ? ERR_BUG : code;
}

enum err_code segment_put(struct tx *t, uint32_t number, const struct rec_segment *r)
{
    unsigned char key[4], v[REC_SEGMENT];
    put_be32(key, number);
    rec_segment_put(r, v);
    return tx_put(t, T_SEGMENT, span_of(key, sizeof key), span_of(v, sizeof v));
}

enum err_code segment_dead(struct tx *t, uint32_t number, uint64_t bytes)
{
    struct rec_segment r;
    enum err_code code = segment_get(t, number, &r);
    if (code != ERR_OK)
        return code == ERR_MISSING ? ERR_BUG : code;
    r.dead += bytes;
    return segment_put(t, number, &r);
}

/* Numbers are never used again, also when the newest segment has been dropped: backups know files by them. */
static const char segments_key[] = "segments";

static enum err_code number_get(struct tx *t, uint32_t *next)
{
    unsigned char v[5];
    size_t n = 0;
    *next = 1;
    enum err_code code = tx_get(t, T_STORE, SPAN(segments_key), v, sizeof v, &n);
    if (code == ERR_OK && n == sizeof v)
        *next = get_be32(v + 1);
    return code == ERR_MISSING ? ERR_OK : code;
}

static enum err_code number_used(struct tx *t, uint32_t number)
{
    unsigned char v[5] = {REC_VERSION};
    uint32_t next;
    enum err_code code = number_get(t, &next);
    if (code != ERR_OK || next > number)
        return code;
    put_be32(v + 1, number + 1);
    return tx_put(t, T_STORE, SPAN(segments_key), span_of(v, sizeof v));
}

enum err_code segment_next(struct tx *t)
{
    uint32_t next;
    enum err_code code = number_get(t, &next);
    if (code == ERR_OK && next > t->e->next_segment)
        t->e->next_segment = next;
    return code;
}

static enum err_code note_new(struct engine *e, uint32_t number, const struct rec_segment *r)
{
    enum err_code code = ERR_RETRY;
    for (int i = 0; i < TRIES && code == ERR_RETRY; i++) { /* the other stream may begin one too */
        struct tx t;
        code = tx_begin(e, false, &t);
        if (code == ERR_OK)
            code = number_used(&t, number);
        if (code == ERR_OK)
            code = segment_put(&t, number, r);
        if (code == ERR_OK)
            code = tx_commit(&t);
        tx_free(&t);
    }
    return code;
}

/* The record keeps what is dead, which another thread may have raised: tried again after a deadlock. */
static enum err_code note_sealed(struct engine *e, uint32_t number, uint64_t end)
{
    enum err_code code = ERR_RETRY;
    for (int i = 0; i < TRIES && code == ERR_RETRY; i++) {
        struct tx t;
        struct rec_segment r;
        code = tx_begin(e, false, &t);
        if (code == ERR_OK)
            code = segment_get(&t, number, &r);
        if (code == ERR_OK) {
            r.sealed = 1;
            r.end = end;
            code = segment_put(&t, number, &r);
        }
        if (code == ERR_OK)
            code = tx_commit(&t);
        tx_free(&t);
    }
    return code;
}

/* -- growing -- */

/* A fresh segment for the stream: on the disk with its name, and on record, before anything lies in it. */
static enum err_code stream_open(struct stream *s)
{
    struct engine *e = s->e;
    char name[32], head[SEGMENT_HEAD] = {0};
    pthread_mutex_lock(&e->id_lock);
    struct rec_segment r = {.large = s->compact ? SEGMENT_COMPACTED : s->large,
                            .first_content = s->compact ? UINT64_MAX : e->id_next[ID_CONTENT],
                            .end = s->compact ? SEGMENT_HEAD : 0};
    pthread_mutex_unlock(&e->id_lock);
    pthread_mutex_lock(&e->segment_lock);
    uint32_t number = e->next_segment++;
    pthread_mutex_unlock(&e->segment_lock);
    file_name(number, name);
    memcpy(head, segment_magic, sizeof segment_magic);
    put_be32((unsigned char *)head + 8, number);
    int fd = openat(e->segment_dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return write_failed(e, "making a segment");
    FAULT_STEP("store.segment.made");
    if (!segment_write(fd, span_of(head, sizeof head), 0)) {
        enum err_code code = write_failed(e, "heading a segment");
        close(fd);
        unlinkat(e->segment_dir_fd, name, 0);
        return code;
    }
    FAULT_STEP("store.segment.headed");
    if (fdatasync(fd) != 0 || fsync(e->segment_dir_fd) != 0)
        engine_fatal(e, "syncing a new segment", strerror(errno));
    FAULT_STEP("store.segment.named");
    enum err_code code = note_new(e, number, &r);
    FAULT_STEP("store.segment.recorded");
    if (code != ERR_OK) {
        close(fd);
        return code; /* not on record: the next start removes it */
    }
    s->fd = fd;
    s->number = number;
    s->written = SEGMENT_HEAD;
    if (s == &e->small)
        atomic_store(&e->small_segment, number);
    atomic_fetch_add(&e->count.segments_made, 1);
    return ERR_OK;
}

/* Seal the stream's segment: it never changes from now on. */
static enum err_code stream_seal(struct stream *s)
{
    if (s->fd < 0)
        return ERR_OK;
    enum err_code code = stream_flush(s);
    if (code != ERR_OK)
        return code;
    stream_sync(s);
    FAULT_STEP("store.segment.full");
    code = note_sealed(s->e, s->number, s->written);
    FAULT_STEP("store.segment.sealed");
    if (code == ERR_OK) {
        close(s->fd);
        s->fd = -1;
    }
    return code;
}

static enum err_code stream_room(struct stream *s, uint64_t need)
{
    if (s->fd >= 0 && s->written > SEGMENT_HEAD && s->written + need > s->e->o.segment_size) {
        enum err_code code = stream_seal(s);
        if (code != ERR_OK)
            return code;
    }
    return s->fd >= 0 ? ERR_OK : stream_open(s);
}

static void content_head(unsigned char out[CONTENT_HEAD], const struct job *j, const struct wire_content *w)
{
    memcpy(out, content_magic, sizeof content_magic);
    put_be32(out + 4, w->frames);
    put_be64(out + 8, j->content);
    put_be64(out + 16, w->size);
    put_be64(out + 24, w->packed);
    put_be32(out + 32, crc32c(0, buf_span(&j->frames)));
    put_be32(out + 36, crc32c(0, span_of(out, 36)));
}

static void take_place(struct stream *s, struct job *j, const struct wire_content *w)
{
    j->segment = s->number;
    j->offset = s->written + CONTENT_HEAD + j->frames.n;
    j->has_place = true;
    s->written = j->offset + w->packed;
    s->dirty = true;
}

static bool add_frame(struct buf *out, struct frame_size f, uint32_t crc)
{
    return buf_add_u32(out, f.raw) && buf_add_u32(out, f.packed) && buf_add_u32(out, crc);
}

static struct frame_size size_at(struct span table, size_t i)
{
    struct frame_size f;
    memcpy(&f, table.p + i * sizeof f, sizeof f);
    return f;
}

enum err_code stream_add(struct stream *s, struct job *j, const struct wire_content *w, struct span table,
                         struct span bytes)
{
    unsigned char head[CONTENT_HEAD];
    enum err_code code = stream_room(s, segment_share(w->frames, w->packed));
    if (code == ERR_OK)
        code = id_take(s->e, ID_CONTENT, &j->content);
    if (code != ERR_OK)
        return code;
    bool ok = true;
    for (size_t i = 0; i < w->frames && ok; i++) {
        struct frame_size f = size_at(table, i);
        ok = add_frame(&j->frames, f, crc32c(0, span_first(bytes, f.packed)));
        bytes = span_drop(bytes, f.packed);
    }
    content_head(head, j, w);
    struct span packed = span_of(bytes.p - w->packed, w->packed);
    ok = ok && buf_add(&s->pending, head, sizeof head) && buf_add_span(&s->pending, buf_span(&j->frames)) &&
         buf_add_span(&s->pending, packed);
    assert(ok);
    take_place(s, j, w);
    return s->pending.n > PENDING_LIMIT / 4 ? stream_flush(s) : ERR_OK;
}

/* What is pending, which stays in memory; the place where it lies now. */
static enum err_code write_pending(struct stream *s, uint64_t *at)
{
    *at = s->written - s->pending.n;
    if (s->pending.n == 0 || segment_write(s->fd, buf_span(&s->pending), *at))
        return ERR_OK;
    enum err_code code = write_failed(s->e, "writing contents");
    s->written = *at;
    if (ftruncate(s->fd, (off_t)*at) != 0)
        engine_fatal(s->e, "cutting a segment", strerror(errno));
    return code;
}

enum err_code stream_flush(struct stream *s)
{
    uint64_t at;
    s->unlogged = s->unlogged || s->pending.n;
    enum err_code code = write_pending(s, &at);
    buf_reset(&s->pending);
    return code;
}

enum err_code stream_secure(struct stream *s)
{
    uint64_t at;
    const struct span bytes = buf_span(&s->pending);
    const bool little = !s->unlogged && bytes.n <= LOGGED;
    enum err_code code = write_pending(s, &at);
    FAULT_STEP("store.batch.written");
    if (code == ERR_OK && !(little && (bytes.n == 0 || redo_put(s->e, s->number, at, bytes))))
        stream_sync(s);
    buf_reset(&s->pending);
    return code;
}

void stream_sync(struct stream *s)
{
    if (!s->dirty)
        return;
    s->dirty = s->unlogged = false;
    const uint64_t begin_us = tick_us();
    if (FAULT("store.segment.sync") || fdatasync(s->fd) != 0)
        engine_fatal(s->e, "syncing contents", strerror(errno));
    tick_count(begin_us, &s->e->count.syncs, &s->e->count.sync_us, &s->e->count.sync_max_us);
}

void stream_close(struct stream *s)
{
    /* An orderly end seals, so that the next start has nothing to look for. */
    if (stream_seal(s) != ERR_OK)
        log_event(LOG_WARN, NULL, "store.segment.open", F_UINT("segment", s->number));
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    buf_free(&s->pending);
}

/* -- large contents -- */

/* Packed bytes of a content: some from memory, the rest from a descriptor of a worker (which may be short).
 */
struct source {
    struct span memory;
    int fd;
    uint64_t at;
};

static bool source_read(struct source *in, char *out, size_t n)
{
    struct span m = span_first(in->memory, n);
    if (m.n)
        memcpy(out, m.p, m.n);
    in->memory = span_drop(in->memory, m.n);
    for (size_t got = m.n; got < n;) {
        ssize_t r = pread(in->fd, out + got, n - got, (off_t)in->at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return false;
        got += (size_t)r;
        in->at += (uint64_t)r;
    }
    return true;
}

static enum err_code copy_frames(struct stream *s, struct job *j, const struct wire_content *w,
                                 struct span table, struct source in)
{
    uint64_t at = s->written + CONTENT_HEAD + (uint64_t)w->frames * REC_FRAME;
    enum err_code code = ERR_OK;
    struct buf block;
    buf_init(&block, COPY_BYTES + FRAME_PACKED_LIMIT);
    for (size_t i = 0; i < w->frames && code == ERR_OK; i++) {
        struct frame_size f = size_at(table, i);
        char *to = buf_reserve(&block, f.packed);
        assert(to);
        if (!source_read(&in, to, f.packed)) {
            code = ERR_SYNTAX;
            break;
        }
        if (!add_frame(&j->frames, f, crc32c(0, span_of(to, f.packed))))
            code = ERR_LIMIT;
        buf_commit(&block, f.packed);
        if (block.n >= COPY_BYTES || i + 1 == w->frames) {
            if (!segment_write(s->fd, buf_span(&block), at))
                code = write_failed(s->e, "writing a large content");
            at += block.n;
            buf_reset(&block);
        }
    }
    buf_free(&block);
    return code;
}

enum err_code stream_add_large(struct stream *s, struct job *j, const struct wire_content *w,
                               struct span table, struct span bytes)
{
    unsigned char head[CONTENT_HEAD];
    enum err_code code = stream_room(s, CONTENT_HEAD + (uint64_t)w->frames * REC_FRAME + w->packed);
    if (code == ERR_OK)
        code = id_take(s->e, ID_CONTENT, &j->content);
    if (code == ERR_OK)
        code = copy_frames(s, j, w, table, (struct source){bytes, j->fd, 0});
    if (code == ERR_OK) {
        content_head(head, j, w);
        FAULT_STEP("store.large.copied");
        if (!segment_write(s->fd, span_of(head, sizeof head), s->written) ||
            !segment_write(s->fd, buf_span(&j->frames), s->written + CONTENT_HEAD))
            code = write_failed(s->e, "writing a large content");
    }
    if (code != ERR_OK) {
        if (s->fd >= 0 && ftruncate(s->fd, (off_t)s->written) != 0)
            engine_fatal(s->e, "cutting a segment", strerror(errno));
        return code;
    }
    take_place(s, j, w);
    FAULT_STEP("store.large.written");
    stream_sync(s);
    FAULT_STEP("store.large.synced");
    return ERR_OK;
}

/* -- contents of other segments -- */

/* The frames of r, checked, to the place behind its head in the stream's file. */
static enum err_code copy_checked(struct stream *s, const struct rec_content *r, uint64_t to)
{
    enum err_code code = ERR_OK;
    char *block = xmalloc(FRAME_PACKED_LIMIT);
    uint64_t from = r->offset;
    for (size_t i = 0; i < r->frame_count && code == ERR_OK; i++) {
        struct rec_frame f = rec_frame_at(r->frames, i);
        if (f.packed > FRAME_PACKED_LIMIT)
            code = ERR_BUG;
        if (code == ERR_OK)
            code = segment_read(s->e, r->segment, from, block, f.packed);
        if (code == ERR_OK && crc32c(0, span_of(block, f.packed)) != f.crc)
            code = ERR_BUG;
        if (code == ERR_OK && !segment_write(s->fd, span_of(block, f.packed), to))
            code = write_failed(s->e, "rewriting contents");
        from += f.packed;
        to += f.packed;
    }
    free(block);
    return code;
}

enum err_code stream_copy(struct stream *s, uint64_t id, const struct rec_content *r, uint64_t *offset)
{
    unsigned char head[CONTENT_HEAD];
    struct job j = {.content = id};
    const struct wire_content w = {.frames = r->frame_count, .size = r->size, .packed = r->packed};
    enum err_code code = stream_room(s, segment_share(r->frame_count, r->packed));
    if (code != ERR_OK)
        return code;
    buf_init(&j.frames, FRAMES_LIMIT * REC_FRAME);
    if (!buf_add_span(&j.frames, r->frames))
        code = ERR_LIMIT;
    *offset = s->written + CONTENT_HEAD + r->frames.n;
    if (code == ERR_OK)
        code = copy_checked(s, r, *offset);
    if (code == ERR_OK) {
        content_head(head, &j, &w);
        if (!segment_write(s->fd, span_of(head, sizeof head), s->written) ||
            !segment_write(s->fd, r->frames, s->written + CONTENT_HEAD))
            code = write_failed(s->e, "rewriting contents");
    }
    buf_free(&j.frames);
    if (code != ERR_OK) {
        if (ftruncate(s->fd, (off_t)s->written) != 0)
            engine_fatal(s->e, "cutting a segment", strerror(errno));
        return code;
    }
    s->written = *offset + r->packed;
    s->dirty = true;
    return ERR_OK;
}

/* -- reading -- */

/* A descriptor of the segment, kept open; users says that it must not be closed now. */
static struct segment_fd *fd_take(struct engine *e, uint32_t number)
{
    struct segment_fd *best = NULL;
    char name[32];
    pthread_mutex_lock(&e->segment_lock);
    for (size_t i = 0; i < SEGMENT_FDS; i++) {
        struct segment_fd *f = &e->fds[i];
        if (f->fd >= 0 && f->number == number) {
            best = f;
            break;
        }
        if (f->users == 0 && (!best || f->used < best->used))
            best = f;
    }
    if (best && (best->fd < 0 || best->number != number)) {
        if (best->fd >= 0)
            close(best->fd);
        file_name(number, name);
        best->number = number;
        best->fd = openat(e->segment_dir_fd, name, O_RDONLY | O_CLOEXEC);
        if (best->fd < 0)
            best = NULL;
    }
    if (best) {
        best->users++;
        best->used = ++e->fd_clock;
    }
    pthread_mutex_unlock(&e->segment_lock);
    return best;
}

void segment_forget(struct engine *e, uint32_t number)
{
    pthread_mutex_lock(&e->segment_lock);
    for (size_t i = 0; i < SEGMENT_FDS; i++) {
        struct segment_fd *f = &e->fds[i];
        if (f->fd < 0 || f->number != number)
            continue;
        f->number = 0; /* nobody finds it any more; the last user's place is the next to be taken */
        f->used = 0;
        if (f->users == 0) {
            close(f->fd);
            f->fd = -1;
        }
    }
    pthread_mutex_unlock(&e->segment_lock);
}

enum err_code segment_read(struct engine *e, uint32_t number, uint64_t offset, char *out, size_t n)
{
    enum err_code code = ERR_OK;
    struct segment_fd *f = fd_take(e, number);
    if (!f && errno == ENOENT)
        return ERR_MISSING;
    if (!f) {
        log_event(LOG_ALARM, NULL, "store.segment.unreadable", F_UINT("segment", number),
                  F_STR("why", strerror(errno)));
        return ERR_BUG;
    }
    for (size_t got = 0; got < n && code == ERR_OK;) {
        ssize_t r =
            FAULT("store.segment.read") ? -1 : pread(f->fd, out + got, n - got, (off_t)(offset + got));
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            log_event(LOG_ALARM, NULL, "store.segment.unreadable", F_UINT("segment", number),
                      F_UINT("offset", offset + got), F_STR("why", r ? strerror(errno) : "it ends before"));
            code = ERR_BUG;
        } else {
            got += (size_t)r;
        }
    }
    pthread_mutex_lock(&e->segment_lock);
    f->users--;
    pthread_mutex_unlock(&e->segment_lock);
    return code;
}

int segment_open_as(struct engine *e, uint32_t number, int flags)
{
    char name[32];
    file_name(number, name);
    return openat(e->segment_dir_fd, name, flags | O_CLOEXEC);
}

int segment_open(struct engine *e, uint32_t number)
{
    return segment_open_as(e, number, O_RDONLY);
}

bool segment_head(int fd, uint64_t at, uint64_t end, struct mend_content *out, struct buf *table)
{
    unsigned char head[CONTENT_HEAD];
    if (pread(fd, head, sizeof head, (off_t)at) != (ssize_t)sizeof head ||
        memcmp(head, content_magic, sizeof content_magic) != 0 ||
        get_be32(head + 36) != crc32c(0, span_of(head, 36)))
        return false;
    *out = (struct mend_content){.frames = get_be32(head + 4),
                                 .id = get_be64(head + 8),
                                 .size = get_be64(head + 16),
                                 .packed = get_be64(head + 24)};
    size_t n = (size_t)out->frames * REC_FRAME;
    out->offset = at + sizeof head + n;
    buf_reset(table);
    char *p = out->frames && out->frames <= FRAMES_LIMIT ? buf_reserve(table, n) : NULL;
    if (!p || pread(fd, p, n, (off_t)(at + sizeof head)) != (ssize_t)n ||
        get_be32(head + 32) != crc32c(0, span_of(p, n)))
        return false;
    buf_commit(table, n);
    return out->offset <= end && out->packed <= end - out->offset;
}

/* -- life -- */

enum err_code segments_open(struct engine *e, struct err *why)
{
    for (size_t i = 0; i < SEGMENT_FDS; i++)
        e->fds[i].fd = -1;
    e->small = (struct stream){.e = e, .fd = -1};
    e->large = (struct stream){.e = e, .fd = -1, .large = true};
    e->compact = (struct stream){.e = e, .fd = -1, .compact = true};
    buf_init(&e->small.pending, PENDING_LIMIT);
    buf_init(&e->large.pending, PENDING_LIMIT);
    return segment_recover(e, why);
}

void segments_close(struct engine *e)
{
    for (size_t i = 0; i < SEGMENT_FDS; i++)
        if (e->fds[i].fd >= 0)
            close(e->fds[i].fd);
}
