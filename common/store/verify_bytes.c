/* verify, where it touches files: frames against their checksums, segments against their records, files that
 * no record names; and who is hit by what is damaged. A content whose record is lost is looked for in the
 * heads of the segments, which tell all but what the parser had said of it. */
#include "common/store/verify.h"
#include "common/store/crc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- frames -- */

/* Whether the content still lies where it was looked for. */
static bool still_there(struct verify *v, uint64_t id, const struct rec_content *r)
{
    struct tx t;
    struct rec_content now = {.segment = 0};
    unsigned char key[KEY_ID], head[REC_CONTENT_HEAD];
    size_t n = 0;
    put_be64(key, id);
    enum err_code code = tx_begin(v->e, true, &t);
    if (code == ERR_OK)
        code = tx_get_head(&t, T_CONTENT, span_of(key, sizeof key), head, sizeof head, &n);
    tx_free(&t);
    return code == ERR_OK && rec_content_get(span_of(head, n), &now) && now.segment == r->segment &&
           now.offset == r->offset;
}

enum err_code verify_frames(struct verify *v, uint64_t id, const struct rec_content *r)
{
    uint64_t offset = r->offset;
    char *block = xmalloc(FRAME_PACKED_LIMIT);
    const char *bad = NULL;
    for (size_t i = 0; i < r->frame_count && !bad; i++) {
        struct rec_frame f = rec_frame_at(r->frames, i);
        if (f.packed > FRAME_PACKED_LIMIT)
            bad = "its frame table is broken";
        else if (segment_read(v->e, r->segment, offset, block, f.packed) != ERR_OK)
            bad = "its bytes cannot be read";
        else if (crc32c(0, span_of(block, f.packed)) != f.crc)
            bad = "its bytes are not what they were";
        offset += f.packed;
        v->bytes += f.packed;
    }
    free(block);
    if (!bad || !still_there(v, id, r))
        return ERR_OK;
    ids_add(&v->damaged, id);
    verify_tell(v, false, "content %llu: %s (segment %u, offset %llu, trace %s)", (unsigned long long)id, bad,
                r->segment, (unsigned long long)r->offset, r->trace);
    return ERR_OK;
}

/* -- segments -- */

/* Lost contents whose heads lie in this segment. */
static enum err_code find_lost(struct verify *v, int fd, const struct verify_segment *s)
{
    struct buf table, more;
    struct mend_content c;
    enum err_code code = ERR_OK;
    buf_init(&table, (size_t)FRAMES_LIMIT * REC_FRAME);
    buf_init(&more, (size_t)FRAMES_LIMIT * REC_FRAME + sizeof c);
    for (uint64_t at = SEGMENT_HEAD;
         code == ERR_OK && at < s->end && segment_head(fd, at, s->end, &c, &table);) {
        at = c.offset + c.packed;
        v->bytes += sizeof c + table.n;
        if (!verify_has(&v->lost, c.id))
            continue;
        struct mend_said said;
        const struct mend_ask ask = {.what = MEND_CONTENT, .id = c.id};
        c.segment = s->number;
        buf_reset(&more);
        if (!buf_add(&more, &c, sizeof c) || !buf_add_span(&more, buf_span(&table)))
            code = ERR_LIMIT;
        if (code == ERR_OK)
            code = verify_mend(v, &ask, buf_span(&more), &said);
        v->found -= code == ERR_OK && said.fixed; /* the loss was told already */
        if (code == ERR_OK && said.wrong)
            verify_tell(v, said.fixed, "content %llu: its bytes lie in segment %u", (unsigned long long)c.id,
                        s->number);
        if (code == ERR_OK && said.fixed) {
            ids_add(&v->named, c.id);
            ids_add(&v->bare, c.id);
        }
    }
    buf_free(&table);
    buf_free(&more);
    return code;
}

/* Bytes that no content uses are dead; some never had one (a request that failed after its bytes were there).
 */
static enum err_code check_dead(struct verify *v, const struct verify_segment *s)
{
    uint64_t all = s->end - SEGMENT_HEAD;
    uint64_t dead = s->live <= all ? all - s->live : 0;
    struct mend_said said;
    struct mend_ask ask = {.what = MEND_SEGMENT, .id = s->number, .other = dead, .was = s->dead};
    const uint64_t mark = verify_mark();
    if (v->lost.n || dead == s->dead || verify_torn(v, VERIFY_BIT(T_CONTENT)))
        return ERR_OK;
    ask.always = dead > s->dead;
    enum err_code code = verify_mend(v, &ask, SPAN_NONE, &said);
    if (verify_hit(v, code, mark, 0, "the dead bytes of a segment"))
        return ERR_OK;
    if (code == ERR_OK && said.wrong && !ask.always)
        verify_tell(v, said.fixed, "segment %u: it counts %llu dead bytes, they are %llu", s->number,
                    (unsigned long long)s->dead, (unsigned long long)dead);
    return code;
}

static bool is_sealed_now(struct verify *v, uint32_t number)
{
    struct tx t;
    struct rec_segment r = {.sealed = 0};
    enum err_code code = tx_begin(v->e, true, &t);
    if (code == ERR_OK)
        code = segment_get(&t, number, &r);
    tx_free(&t);
    return code == ERR_OK && r.sealed == SEGMENT_SEALED;
}

enum err_code verify_segments(struct verify *v, bool *end)
{
    enum err_code code = ERR_OK;
    struct stat st;
    char head[SEGMENT_HEAD];
    *end = v->at >= v->segment_n;
    if (v->at == 0) {
        verify_sort(&v->lost);
        v->named.n = 0; /* from now on: lost ones that were found */
    }
    if (*end) {
        verify_sort(&v->named);
        for (size_t i = 0; i < v->lost.n; i++)
            if (!verify_has(&v->named, v->lost.v[i]))
                ids_add(&v->damaged, v->lost.v[i]);
        return ERR_OK;
    }
    const struct verify_segment *s = &v->segments[v->at];
    v->done++;
    if (s->sealed == SEGMENT_SEALED) {
        int fd = segment_open(v->e, s->number);
        if (fd < 0 || fstat(fd, &st) != 0 || (uint64_t)st.st_size < s->end) {
            if (is_sealed_now(v, s->number))
                verify_tell(v, false, "segment %u: %s", s->number,
                            fd < 0 ? strerror(errno) : "its file is shorter than its record says");
        } else if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head || memcmp(head, "PMSEG", 5) != 0 ||
                   get_be32(head + 8) != s->number) {
            verify_tell(v, false, "segment %u: its head is broken", s->number);
        } else {
            code = v->lost.n ? find_lost(v, fd, s) : ERR_OK;
            if (code == ERR_OK)
                code = check_dead(v, s);
        }
        if (fd >= 0)
            close(fd);
    }
    if (code == ERR_OK)
        v->at++;
    return code;
}

/* -- files -- */

static bool on_record(struct verify *v, uint32_t number, bool *is)
{
    struct tx t;
    struct rec_segment r;
    enum err_code code = tx_begin(v->e, true, &t);
    if (code == ERR_OK)
        code = segment_get(&t, number, &r);
    tx_free(&t);
    *is = code == ERR_OK;
    return code == ERR_OK || code == ERR_MISSING;
}

static void check_file(struct verify *v, const char *name)
{
    unsigned number;
    char tail;
    bool is = true;
    /* A stray was set aside by a start that said so: nothing that was acknowledged lies in it. */
    if (name[0] == '.' || span_ends(span_str(name), SPAN(".seg.stray")))
        return;
    bool ours = sscanf(name, "%8x.se%c%c", &number, &tail, &tail) == 2 && tail == 'g';
    if (!ours) {
        verify_tell(v, false, "segments/%s: a file that is no segment", name);
        return;
    }
    pthread_mutex_lock(&v->e->segment_lock);
    bool young = number + 2 >= v->e->next_segment; /* it may be on its way to its record */
    pthread_mutex_unlock(&v->e->segment_lock);
    if (!young && on_record(v, number, &is) && !is)
        verify_tell(v, false, "segments/%s: a segment that is on no record", name);
}

/* Identities that were given, against the block that is on record. */
static enum err_code check_ids(struct verify *v)
{
    static const struct {
        enum table table;
        enum id_kind kind;
        const char *what;
    } rows[] = {{T_MAILBOX, ID_MAILBOX, "mailbox"},
                {T_CONTENT, ID_CONTENT, "content"},
                {T_QUEUE, ID_QUEUE, "queue entry"}};
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && code == ERR_OK; i++) {
        struct tx t;
        struct buf key, value;
        buf_init(&key, 1 << 16);
        buf_init(&value, (size_t)64 << 20);
        const uint64_t mark = verify_mark();
        code = tx_begin(v->e, false, &t);
        if (code == ERR_OK)
            code = tx_last(&t, rows[i].table, &key, &value);
        tx_free(&t);
        if (verify_hit(v, code, mark, 0, "the newest identities"))
            code = ERR_MISSING;
        pthread_mutex_lock(&v->e->id_lock);
        uint64_t next = v->e->id_next[rows[i].kind];
        pthread_mutex_unlock(&v->e->id_lock);
        if (code == ERR_OK && get_be64(key.p) >= next)
            verify_tell(v, false, "%s %llu: its id was never given (the next is %llu)", rows[i].what,
                        (unsigned long long)get_be64(key.p), (unsigned long long)next);
        buf_free(&key);
        buf_free(&value);
        if (code == ERR_MISSING)
            code = ERR_OK;
    }
    return code;
}

enum err_code verify_files(struct verify *v, bool *end)
{
    int fd = openat(v->e->segment_dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    *end = true;
    if (!d)
        return ERR_BUG;
    for (struct dirent *f; (f = readdir(d));)
        check_file(v, f->d_name);
    closedir(d);
    return check_ids(v);
}

/* -- who is hit -- */

/* The first message of a bare content that is met. */
static bool tell_bare(struct verify *v, const struct box *b, uint32_t uid, uint64_t content)
{
    const size_t lo = verify_place(&v->bare, content);
    if (b->r.deleted_us || lo == v->bare.n || v->bare_met[lo])
        return true;
    const struct store_bare said = {b->r.account, b->id, content, uid, 0};
    v->bare_met[lo] = true;
    return buf_add(&v->bare_said, &said, sizeof said);
}

static enum err_code hits_in(struct verify *v, struct tx *t, const struct box *b)
{
    unsigned char from[KEY_MESSAGE];
    char account[UUID_TEXT];
    struct scan s;
    struct span key, value;
    struct store_row r;
    uuid_format(&b->r.account, account);
    key_message(from, b->id, 0);
    verify_scan(v, &s, t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, 256 << 10);
    while (s.code == ERR_OK && scan_next(&s, &key, &value)) {
        if (!rec_row_get(value, &r))
            continue;
        if (!tell_bare(v, b, get_be32(key.p + KEY_ID), r.content))
            s.code = ERR_LIMIT;
        if (verify_has(&v->damaged, r.content)) {
            v->found--; /* it is the same finding, told once more for each who is hit */
            verify_tell(v, false, "content %llu: hits account %s mailbox %llu uid %u%s",
                        (unsigned long long)r.content, account, (unsigned long long)b->id,
                        get_be32(key.p + KEY_ID), b->r.deleted_us ? " (deleted)" : "");
        }
    }
    return scan_close(&s);
}

enum err_code verify_losses(struct verify *v, bool *end)
{
    const uint64_t begin = clock_mono_ms();
    enum err_code code = ERR_OK;
    *end = v->damaged.n == 0 && v->bare.n == 0;
    verify_sort(&v->damaged);
    verify_sort(&v->bare);
    if (!v->bare_met)
        v->bare_met = xcalloc(v->bare.n + 1, sizeof *v->bare_met);
    while (!*end && code == ERR_OK && clock_mono_ms() - begin < VERIFY_STEP_MS) {
        struct tx t;
        struct box b;
        code = tx_begin(v->e, true, &t);
        if (code == ERR_OK)
            code = verify_next_box(v, &t, v->at, &b);
        if (code == ERR_OK)
            code = hits_in(v, &t, &b);
        tx_free(&t);
        if (code == ERR_OK)
            v->at = b.id;
    }
    *end = *end || code == ERR_MISSING;
    return code == ERR_MISSING ? ERR_OK : code;
}
