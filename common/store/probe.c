/* A look into a store that nobody runs, as the check of a backup wants it: it is opened as stored would open
 * it, and every content must lie whole in its segment. */
#include "common/store/engine_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct sizes {
    uint64_t *v; /* by number; UINT64_MAX: not asked yet */
    size_t n;
};

static uint64_t size_of(struct engine *e, struct sizes *s, uint32_t number)
{
    char name[32];
    struct stat st;
    if (number >= s->n) {
        size_t n = (size_t)number * 2 + 64;
        s->v = xrealloc(s->v, n * sizeof *s->v);
        memset(s->v + s->n, 0xff, (n - s->n) * sizeof *s->v);
        s->n = n;
    }
    if (s->v[number] == UINT64_MAX) {
        snprintf(name, sizeof name, "%08x.seg", number);
        s->v[number] = fstatat(e->segment_dir_fd, name, &st, 0) == 0 ? (uint64_t)st.st_size : 0;
    }
    return s->v[number];
}

enum err_code engine_probe(struct engine *e, struct probe *out)
{
    enum { SEGMENTS = 1 << 26 };
    struct tx t;
    struct scan s;
    struct span key, value;
    struct rec_content r;
    struct sizes sizes = {NULL, 0};
    *out = (struct probe){.contents = 0};
    enum err_code code = tx_begin(e, true, &t);
    if (code != ERR_OK)
        return code;
    scan_open(&s, &t, T_CONTENT, SPAN_NONE, 0, 256 << 10);
    while (scan_next(&s, &key, &value)) {
        out->contents++;
        bool ok = rec_content_get(value, &r) && r.segment < SEGMENTS;
        uint64_t size = ok ? size_of(e, &sizes, r.segment) : 0;
        if (!ok || r.offset > size || r.packed > size - r.offset)
            out->broken++;
    }
    code = scan_close(&s);
    for (int i = T_ACCOUNT; i <= T_MESSAGE && code == ERR_OK; i++) {
        uint64_t *count = i == T_ACCOUNT   ? &out->accounts
                          : i == T_MAILBOX ? &out->mailboxes
                          : i == T_MESSAGE ? &out->messages
                                           : NULL;
        if (!count)
            continue;
        scan_open(&s, &t, (enum table)i, SPAN_NONE, 0, 256 << 10);
        while (scan_next(&s, &key, &value))
            (*count)++;
        code = scan_close(&s);
    }
    tx_free(&t);
    free(sizes.v);
    return code;
}
