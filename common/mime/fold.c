/* Search and sort form of text: case, marks, width and compatibility forms taken out.
 * The hard problem: "đ" has no decomposition, so Unicode's own ways leave it alone, and it begins some of
 * the commonest Vietnamese words; the tables (tables-fold.h, from make-tables.py) map it to d. A table
 * below U+2000, a sorted list above it. Results are code points of NFC. */
#include "common/mime/fold.h"
#include "common/mime/charset.h"
#include "common/mime/tables-fold.h"

static const struct fold_row *fold_find(uint32_t cp)
{
    size_t lo = 0, hi = sizeof fold_rows / sizeof *fold_rows;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (fold_rows[mid].cp < cp)
            lo = mid + 1;
        else if (fold_rows[mid].cp > cp)
            hi = mid;
        else
            return &fold_rows[mid];
    }
    return NULL;
}

struct folding {
    struct buf *out;
    bool blank;   /* white space was met and not yet written */
    bool started; /* something was written */
};

static bool put(struct folding *f, uint32_t cp)
{
    if (cp == ' ' || (cp >= '\t' && cp <= '\r')) {
        f->blank = true;
        return true;
    }
    if (f->blank && f->started && !buf_add_char(f->out, ' '))
        return false;
    f->blank = false;
    f->started = true;
    return utf8_put(f->out, cp);
}

static bool put_folded(struct folding *f, uint32_t cp)
{
    if (cp < 0x80)
        return put(f, (unsigned char)ascii_lower((char)cp));
    uint32_t to = cp < 0x2000 ? fold_low[cp] : 2;
    if (to == 0 || to == 1)
        return to == 1 || put(f, cp);
    if (to != 2)
        return put(f, to);
    const struct fold_row *row = fold_find(cp);
    if (!row)
        return put(f, cp);
    bool ok = true;
    for (unsigned i = 0; i < row->n && ok; i++)
        ok = put(f, fold_cps[row->at + i]);
    return ok;
}

bool fold_text(struct span utf8, struct buf *out)
{
    struct folding f = {.out = out};
    bool ok = true;
    while (utf8.n && ok) {
        size_t n;
        uint32_t cp = utf8_next(utf8, &n);
        utf8.p += n;
        utf8.n -= n;
        ok = put_folded(&f, cp);
    }
    return ok && (!f.blank || !f.started || buf_add_char(out, ' '));
}
