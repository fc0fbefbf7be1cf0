/* Records that the parser made of messages (ENVELOPE, BODYSTRUCTURE, offsets), for many messages at once.
 * The hard problem is to serve both a page of a list, whose contents lie far apart, and a whole mailbox,
 * whose contents mostly lie side by side because they came side by side: rows and contents that follow one
 * another are read by a scan, which costs a third of single reads, and the others one by one. */
#include "common/store/engine_int.h"

enum {
    PART = 256 << 10,
    MOST = 512,         /* of one step */
    ROWS_APART = 4,     /* rows that a scan may read for each that is wanted */
    CONTENTS_APART = 4, /* between the numbers of contents that are scanned together */
    RUN = 8,            /* so many side by side are worth a scan */
    BLOCK = 64 << 10
};

struct wanted {
    uint32_t uid;
    uint64_t at; /* in the list of the question */
    uint64_t content;
};

struct step {
    struct tx *t;
    uint64_t mailbox;
    struct wanted v[MOST]; /* in the order of the question */
    size_t n;
    struct buf *part;
    uint32_t count; /* in part */
};

/* -- rows -- */

static enum err_code rows_single(struct step *s, uint64_t mailbox)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct store_row r;
        enum err_code code = row_get(s->t, mailbox, s->v[i].uid, &r);
        if (code == ERR_MISSING)
            continue;
        if (code != ERR_OK)
            return code;
        s->v[n] = s->v[i];
        s->v[n++].content = r.content;
    }
    s->n = n;
    return ERR_OK;
}

static enum err_code rows_scan(struct step *s, uint64_t mailbox)
{
    unsigned char from[KEY_MESSAGE];
    struct scan scan;
    struct span key, value;
    struct store_row r;
    size_t n = 0, i = 0;
    key_message(from, mailbox, s->v[0].uid);
    scan_open(&scan, s->t, T_MESSAGE, span_of(from, sizeof from), KEY_ID, BLOCK);
    while (i < s->n && scan_next(&scan, &key, &value)) {
        uint32_t uid = get_be32(key.p + KEY_ID);
        while (i < s->n && s->v[i].uid < uid)
            i++; /* expunged */
        if (i == s->n || s->v[i].uid > uid)
            continue;
        if (!rec_row_get(value, &r)) {
            scan.code = ERR_BUG;
            break;
        }
        s->v[n] = s->v[i++];
        s->v[n++].content = r.content;
    }
    s->n = n;
    return scan_close(&scan);
}

/* Fill in the contents; messages that are gone leave the list. */
static enum err_code rows_find(struct step *s, uint64_t mailbox)
{
    bool dense = s->n >= RUN && s->v[s->n - 1].uid > s->v[0].uid &&
                 s->v[s->n - 1].uid - s->v[0].uid < ROWS_APART * s->n;
    for (size_t i = 1; i < s->n && dense; i++)
        dense = s->v[i].uid > s->v[i - 1].uid;
    return dense ? rows_scan(s, mailbox) : rows_single(s, mailbox);
}

/* -- contents -- */

static enum err_code put_record(struct step *s, const struct wanted *w, struct span record)
{
    struct rec_content c;
    if (!rec_content_get(record, &c))
        return ERR_BUG;
    s->count++;
    return buf_add(s->part, &w->uid, sizeof w->uid) && wire_put_text(s->part, c.meta) ? ERR_OK : ERR_LIMIT;
}

/* Purge or an expunge was quicker than this snapshot, or it is lost. */
static enum err_code missing(const struct step *s, const struct wanted *w)
{
    const struct store_row row = {.uid = w->uid, .content = w->content};
    return content_gone(s->t->e, s->mailbox, &row, 0);
}

static enum err_code content_single(struct step *s, const struct wanted *w)
{
    unsigned char key[KEY_ID];
    put_be64(key, w->content);
    enum err_code code = tx_get_buf(s->t, T_CONTENT, span_of(key, sizeof key), &s->t->scratch);
    if (code == ERR_MISSING)
        return missing(s, w);
    return code == ERR_OK ? put_record(s, w, buf_span(&s->t->scratch)) : code;
}

/* How many from i on have contents that follow one another closely. */
static size_t run_length(const struct step *s, size_t i)
{
    size_t n = 1;
    while (i + n < s->n && s->v[i + n].content > s->v[i + n - 1].content &&
           s->v[i + n].content - s->v[i + n - 1].content <= CONTENTS_APART)
        n++;
    return n;
}

/* A run of contents, until the part is full; done: how many. */
static enum err_code content_scan(struct step *s, size_t first, size_t n, size_t *done)
{
    unsigned char from[KEY_ID];
    struct scan scan;
    struct span key, value;
    size_t i = first;
    bool lost = false;
    put_be64(from, s->v[first].content);
    scan_open(&scan, s->t, T_CONTENT, span_of(from, sizeof from), 0, BLOCK);
    while (i < first + n && s->part->n < PART && scan_next(&scan, &key, &value)) {
        uint64_t id = key.n == KEY_ID ? get_be64(key.p) : 0;
        if (id < s->v[i].content)
            continue;
        lost = id > s->v[i].content;
        if (lost)
            break;
        scan.code = put_record(s, &s->v[i], value);
        i += scan.code == ERR_OK;
    }
    *done = i - first;
    lost = lost || (i < first + n && s->part->n < PART);
    enum err_code code = scan_close(&scan);
    return code == ERR_OK && lost ? missing(s, &s->v[i]) : code;
}

static enum err_code contents_read(struct step *s, size_t *done)
{
    enum err_code code = ERR_OK;
    size_t i = 0;
    while (i < s->n && code == ERR_OK && s->part->n < PART) {
        size_t n = run_length(s, i);
        if (n >= RUN) {
            code = content_scan(s, i, n, &n);
            i += n;
        } else {
            code = content_single(s, &s->v[i++]);
        }
    }
    *done = i;
    return code;
}

enum err_code read_meta(struct tx *t, struct query *q)
{
    struct box b;
    struct step s = {.t = t};
    struct wire_meta_part head = {0, 0};
    size_t done;
    enum err_code code = box_of(t, &q->account, q->mailbox, &b);
    if (code != ERR_OK)
        return code;
    if (q->body.n % 4)
        return ERR_SYNTAX;
    const uint64_t count = q->body.n / 4, most = q->budget < MOST ? q->budget : MOST;
    uint64_t end = count - q->next > most ? q->next + most : count;
    for (uint64_t i = q->next; i < end; i++) {
        struct wanted *w = &s.v[s.n++];
        *w = (struct wanted){.at = i};
        memcpy(&w->uid, q->body.p + 4 * i, sizeof w->uid);
    }
    s.mailbox = b.id;
    s.part = parts_add(&q->answer);
    if (!buf_add(s.part, &head, sizeof head))
        return ERR_LIMIT;
    code = rows_find(&s, b.id);
    if (code == ERR_OK)
        code = contents_read(&s, &done);
    if (code != ERR_OK)
        return code;
    head.count = s.count;
    memcpy(s.part->p, &head, sizeof head);
    q->next = done < s.n ? s.v[done].at : end;
    q->more = q->next < count;
    return ERR_OK;
}
