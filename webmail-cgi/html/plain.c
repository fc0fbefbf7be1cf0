/* HTML to text, for quoting a message in its answer and for previews. White space runs become one blank,
 * blocks begin lines. It leaves fidelity (tables, lists with numbers) alone: people edit what they quote. */
#include "webmail-cgi/html/html_int.h"
#include <stdlib.h>

struct plain {
    struct buf *out, value;
    unsigned newlines; /* line ends at the end of out, 2 at the start */
    bool blank, full;
};

static void new_line(struct plain *p, unsigned want)
{
    if (!want)
        return;
    while (p->newlines < want && !p->full) {
        p->full = !buf_add_char(p->out, '\n');
        p->newlines++;
    }
    p->blank = false;
}

static void add_text(struct plain *p, struct span s)
{
    for (size_t i = 0; i < s.n && !p->full; i++) {
        bool nbsp = s.p[i] == '\xc2' && i + 1 < s.n && s.p[i + 1] == '\xa0';
        if (nbsp || memchr(" \t\r\n", s.p[i], 4)) {
            i += nbsp;
            p->blank = p->newlines == 0;
            continue;
        }
        p->full = (p->blank && !buf_add_char(p->out, ' ')) || !buf_add_char(p->out, s.p[i]);
        p->blank = false;
        p->newlines = 0;
    }
}

static unsigned lines_before(const char *name)
{
    static const struct {
        const char *name;
        unsigned lines;
    } rows[] = {{"p", 2},  {"h1", 2}, {"h2", 2},  {"h3", 2},  {"h4", 2}, {"h5", 2},      {"h6", 2},
                {"ul", 1}, {"ol", 1}, {"div", 1}, {"li", 1},  {"tr", 1}, {"table", 1},   {"blockquote", 2},
                {"hr", 1}, {"dt", 1}, {"dd", 1},  {"pre", 1}, {"br", 0}, {"section", 1}, {"address", 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].lines;
    return 0;
}

enum err_code html_plain(struct span utf8, struct buf *out)
{
    struct html_tokens in;
    struct html_token *t = xmalloc(sizeof *t);
    struct plain p = {.out = out, .newlines = 2};
    buf_init(&p.value, utf8.n * 3 + 64);
    html_tokens_init(&in, utf8);
    for (html_next(&in, t); t->kind != HTML_END_OF_FILE && !p.full; html_next(&in, t)) {
        if (t->kind == HTML_TEXT || t->kind == HTML_RAW_TEXT) {
            buf_reset(&p.value);
            p.full = !html_decode(t->text, false, &p.value);
            add_text(&p, buf_span(&p.value));
        } else if (strcmp(t->name, "br") == 0) {
            new_line(&p, p.newlines < 2 ? p.newlines + 1 : 2);
        } else if (strcmp(t->name, "td") == 0 || strcmp(t->name, "th") == 0) {
            p.blank = p.newlines == 0;
        } else {
            new_line(&p, lines_before(t->name));
        }
    }
    buf_free(&p.value);
    free(t);
    return p.full ? ERR_LIMIT : ERR_OK;
}
