/* Maildir's names, read and written. The hard problem is that three servers' habits differ and all are met in
 * the wild: a name is read as generously as can be, and written so that Dovecot and this program read it back
 * as it was. */
#include "mailadm/maildir.h"
#include "common/mime/charset.h"
#include "common/mime/mutf7.h"
#include "common/store/store.h"
#include <stdio.h>
#include <stdlib.h>

/* -- keywords -- */

void maildir_keywords_read(struct maildir_keywords *k, const char *folder)
{
    char path[4200];
    char *line = NULL;
    size_t size = 0;
    ssize_t got;
    *k = (struct maildir_keywords){{NULL}};
    snprintf(path, sizeof path, "%.4000s/dovecot-keywords", folder);
    FILE *f = fopen(path, "re");
    while (f && (got = getline(&line, &size, f)) > 0) {
        struct span name = span_trim(span_of(line, (size_t)got)), number = span_cut(&name, ' ');
        uint32_t n;
        if (span_u32(number, &n) && n < MAILDIR_KEYWORDS && name.n && !k->v[n])
            k->v[n] = xstrspan(name);
    }
    free(line);
    if (f)
        fclose(f);
}

bool maildir_keywords_write(const struct maildir_keywords *k, const char *folder)
{
    char path[4200];
    bool any = false;
    for (int i = 0; i < MAILDIR_KEYWORDS; i++)
        any = any || k->v[i];
    if (!any)
        return true;
    snprintf(path, sizeof path, "%.4000s/dovecot-keywords", folder);
    FILE *f = fopen(path, "we");
    for (int i = 0; f && i < MAILDIR_KEYWORDS; i++)
        if (k->v[i])
            fprintf(f, "%d %s\n", i, k->v[i]);
    return f && fclose(f) == 0;
}

int maildir_keyword(struct maildir_keywords *k, struct span name)
{
    for (int i = 0; i < MAILDIR_KEYWORDS; i++) {
        if (!k->v[i])
            k->v[i] = xstrspan(name);
        if (span_caseeq(span_str(k->v[i]), name))
            return i;
    }
    return -1;
}

void maildir_keywords_free(struct maildir_keywords *k)
{
    for (int i = 0; i < MAILDIR_KEYWORDS; i++)
        free(k->v[i]);
}

/* -- files -- */

static const struct {
    char letter;
    uint32_t flag;
} letters[] = {
    {'D', STORE_DRAFT}, {'F', STORE_FLAGGED}, {'R', STORE_ANSWERED}, {'S', STORE_SEEN}, {'T', STORE_DELETED}};
enum { LETTERS = sizeof letters / sizeof *letters };

static void take_letter(char c, const struct maildir_keywords *k, struct maildir_info *out)
{
    for (int i = 0; i < LETTERS; i++)
        if (letters[i].letter == c)
            out->flags |= letters[i].flag;
    if (out->keyword_count == MAILDIR_WORDS)
        return;
    if (c == 'P')
        out->keywords[out->keyword_count++] = SPAN("$Forwarded");
    else if (c >= 'a' && c <= 'z' && k->v[c - 'a'])
        out->keywords[out->keyword_count++] = span_str(k->v[c - 'a']);
}

void maildir_info(struct span name, const struct maildir_keywords *k, struct maildir_info *out)
{
    size_t at = span_search(name, SPAN(":2,"));
    struct span info = span_drop(name, at + 3), base = span_first(name, at);
    *out = (struct maildir_info){.unique = span_first(base, span_find(base, ','))};
    (void)span_u64(span_first(base, span_find(base, '.')), &out->delivered_s);
    for (size_t i = 0; i < info.n && info.p[i] != ','; i++)
        take_letter(info.p[i], k, out);
    size_t zone = span_search(base, SPAN(",z="));
    if (zone < base.n) {
        struct span v = span_drop(base, zone + 3);
        bool west = v.n && v.p[0] == '-';
        uint32_t minutes;
        v = span_first(v, span_find(v, ','));
        out->has_zone = span_u32(span_drop(v, west), &minutes) && minutes <= 16 * 60;
        out->zone_min = out->has_zone ? (int)minutes * (west ? -1 : 1) : 0;
    }
}

bool maildir_put_info(struct buf *b, uint32_t flags, const struct span *keywords, size_t count,
                      struct maildir_keywords *k, size_t *lost)
{
    uint32_t words = 0;
    bool passed = false, ok = buf_add_str(b, ":2,");
    for (size_t i = 0; i < count; i++) {
        bool forwarded = span_caseeq(keywords[i], SPAN("$Forwarded"));
        int n = forwarded ? -1 : maildir_keyword(k, keywords[i]);
        passed = passed || forwarded;
        if (n >= 0)
            words |= UINT32_C(1) << n;
        else if (!forwarded)
            (*lost)++;
    }
    for (int i = 0; ok && i < LETTERS; i++) { /* in order of the letters: D F P R S T */
        if (letters[i].letter == 'R' && passed)
            ok = buf_add_char(b, 'P');
        if (flags & letters[i].flag)
            ok = ok && buf_add_char(b, letters[i].letter);
    }
    for (int i = 0; ok && i < MAILDIR_KEYWORDS; i++)
        if (words & UINT32_C(1) << i)
            ok = buf_add_char(b, (char)('a' + i));
    return ok;
}

/* -- folders -- */

static bool unescape(struct span s, struct buf *out)
{
    bool ok = true;
    for (size_t i = 0; i < s.n && ok; i++) {
        unsigned v;
        char hex[3] = "";
        if (s.p[i] == '\\' && s.n - i > 2)
            memcpy(hex, s.p + i + 1, 2);
        bool escaped = *hex && sscanf(hex, "%2x", &v) == 1 && v >= 32;
        ok = buf_add_char(out, escaped ? (char)v : s.p[i]);
        i += escaped ? 2 : 0;
    }
    return ok;
}

static bool put_level(struct span level, struct buf *out)
{
    struct buf wide, plain;
    buf_init(&wide, level.n * 2 + 16);
    buf_init(&plain, level.n * 2 + 16);
    bool ok = mutf7_decode(level, &wide);
    if (!ok)
        buf_reset(&wide);
    ok = (ok || buf_add_span(&wide, level)) && unescape(buf_span(&wide), &plain);
    for (size_t i = 0; ok && i < plain.n; i++) /* the store's own separator cannot be in a level */
        ok = buf_add_char(out, plain.p[i] == '/' ? '_' : plain.p[i]);
    buf_free(&wide);
    buf_free(&plain);
    return ok;
}

bool maildir_name(struct span folder, char separator, struct buf *out)
{
    bool ok = true;
    if (folder.n && folder.p[0] == separator)
        folder = span_drop(folder, 1);
    for (bool first = true; folder.n && ok; first = false) {
        struct span level = span_cut(&folder, separator);
        ok = (first || buf_add_char(out, '/')) && put_level(level, out);
    }
    return ok;
}

bool maildir_folder(struct span name, struct buf *out)
{
    struct buf escaped;
    bool ok = true;
    buf_init(&escaped, name.n * 3 + 1);
    for (size_t i = 0; i < name.n && ok; i++) {
        char c = name.p[i];
        ok = c == '/'                            ? buf_add_char(&escaped, '.')
             : c == '.' || c == '\\' || c == '~' ? buf_addf(&escaped, "\\%02x", (unsigned)(unsigned char)c)
                                                 : buf_add_char(&escaped, c);
    }
    ok = ok && buf_add_char(out, '.') && mutf7_encode(buf_span(&escaped), out);
    buf_free(&escaped);
    return ok;
}
