/* The list of a folder or of a search, newest first, and the small answer that the script polls for. Its hard
 * problem is to be quick on a big folder: one page of rows is asked for by sequence numbers, and previews,
 * where the server has none ready, in one request for each kind of structure. */
#include "webmail-cgi/html/html.h"
#include "webmail-cgi/web.h"
#include "common/mime/charset.h"
#include "common/mime/codec.h"
#include <stdio.h>
#include <stdlib.h>

enum { PREVIEW_BYTES = 1200, PREVIEW_TEXT = 140 };

struct listing {
    struct span folder, query, where;
    struct box box;
    uint32_t page, pages, total;
    struct message *rows;
    size_t count;
    const struct imap_node *found; /* SEARCH's words, or NULL */
};

static void search_key(struct web *w, const char *key, struct span q)
{
    imap_word(w->imap, key);
    imap_word(w->imap, " ");
    imap_str(w->imap, q);
}

/* All words of the query must be there. */
static enum err_code search(struct web *w, struct listing *l)
{
    struct imap_answer answer;
    const char *key = span_eq(l->where, SPAN("subject")) ? "SUBJECT"
                      : span_eq(l->where, SPAN("from"))  ? "FROM"
                                                         : "TEXT";
    struct span rest = l->query;
    imap_begin(w->imap);
    imap_word(w->imap, "UID SEARCH CHARSET UTF-8 ALL");
    for (unsigned i = 0; rest.n && i < 10; i++) {
        struct span word = span_cut(&rest, ' ');
        if (!word.n)
            continue;
        imap_word(w->imap, " ");
        search_key(w, key, word);
    }
    enum err_code code = imap_run(w->imap, w->a, &answer, &w->why);
    for (const struct imap_line *line = answer.lines; code == ERR_OK && line; line = line->next)
        if (imap_is(line->first, "SEARCH")) {
            l->found = line->first->next;
            for (const struct imap_node *n = l->found; n; n = n->next)
                l->total++;
        }
    return code;
}

/* Which messages stand on the page: "UID FETCH 7,5,3" or "FETCH 51:100". */
static void fetch_set(struct web *w, const struct listing *l, uint32_t first, uint32_t last)
{
    if (!l->query.n) {
        imap_word(w->imap, "FETCH ");
        imap_num(w->imap, first);
        imap_word(w->imap, ":");
        imap_num(w->imap, last);
        return;
    }
    imap_word(w->imap, "UID FETCH ");
    uint32_t at = 1;
    const char *comma = "";
    for (const struct imap_node *n = l->found; n; n = n->next, at++)
        if (at >= first && at <= last) {
            imap_word(w->imap, comma);
            imap_num(w->imap, imap_number(n));
            comma = ",";
        }
}

static int newest_first(const void *x, const void *y)
{
    const struct message *a = x, *b = y;
    return (a->seq < b->seq) - (a->seq > b->seq);
}

static enum err_code load_rows(struct web *w, struct listing *l)
{
    struct imap_answer answer;
    uint32_t size = (uint32_t)w->conf->web_page_size;
    l->pages = l->total ? (l->total + size - 1) / size : 1;
    l->page = l->page < 1 ? 1 : l->page > l->pages ? l->pages : l->page;
    if (!l->total)
        return ERR_OK;
    uint32_t last = l->total - (l->page - 1) * size, first = last > size ? last - size + 1 : 1;
    imap_begin(w->imap);
    fetch_set(w, l, first, last);
    imap_word(w->imap, imap_has(w->imap, "PREVIEW")
                           ? " (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE PREVIEW)"
                           : " (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)");
    enum err_code code = imap_run(w->imap, w->a, &answer, &w->why);
    if (code != ERR_OK)
        return code;
    l->rows = arena_array(w->a, size + 1, sizeof *l->rows);
    for (const struct imap_line *line = answer.lines; l->rows && line && l->count < size; line = line->next) {
        if (!imap_is(imap_nth(line->first, 1), "FETCH") || !imap_value(imap_nth(line->first, 2), "ENVELOPE"))
            continue;
        struct message *m = &l->rows[l->count++];
        web_message_read(w, imap_nth(line->first, 2), m);
        m->seq = imap_number(line->first);
    }
    qsort(l->rows, l->count, sizeof *l->rows, newest_first);
    return ERR_OK;
}

/* The beginning of a text part as one line of plain words. */
static struct span preview_of(struct web *w, const struct part *p, struct span raw)
{
    struct buf bytes, utf8, plain;
    struct codec c;
    buf_init(&bytes, 16384);
    buf_init(&utf8, 65536);
    buf_init(&plain, 65536);
    codec_init(&c, p->encoding);
    bool ok = codec_decode(&c, raw, false, &bytes) &&
              charset_to_utf8(p->charset, buf_span(&bytes), &utf8) != ERR_LIMIT;
    if (ok && part_is(p, "text", "html"))
        ok = html_plain(buf_span(&utf8), &plain) == ERR_OK;
    else
        ok = ok && buf_add_span(&plain, buf_span(&utf8));
    size_t n = 0, chars = 0;
    for (size_t i = 0; ok && i < plain.n && chars < PREVIEW_TEXT; i++) {
        char ch = plain.p[i];
        bool blank = ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t';
        if (blank && (n == 0 || plain.p[n - 1] == ' '))
            continue;
        chars += ((unsigned char)ch & 0xc0) != 0x80;
        plain.p[n++] = blank ? ' ' : ch;
    }
    while (n && ((unsigned char)plain.p[n - 1] & 0x80) && !utf8_valid(span_of(plain.p, n)))
        n--; /* a character that was cut */
    struct span s = ok && n ? arena_dup(w->a, span_of(plain.p, n)) : SPAN("");
    buf_free(&bytes);
    buf_free(&utf8);
    buf_free(&plain);
    return s;
}

static struct message *row_with(struct listing *l, uint32_t uid)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->rows[i].uid == uid)
            return &l->rows[i];
    return NULL;
}

/* One request for all rows whose text stands in the same section. */
static enum err_code previews_of(struct web *w, struct listing *l, struct span section)
{
    struct imap_answer answer;
    const char *comma = "";
    char item[300];
    imap_begin(w->imap);
    imap_word(w->imap, "UID FETCH ");
    for (size_t i = 0; i < l->count; i++) {
        const struct part *p = l->rows[i].root ? part_first_text(l->rows[i].root) : NULL;
        if (!p || !span_eq(p->section, section))
            continue;
        imap_word(w->imap, comma);
        imap_num(w->imap, l->rows[i].uid);
        comma = ",";
    }
    snprintf(item, sizeof item, " (UID BODY.PEEK[%.*s]<0.%d>)", SPAN_ARG(section), PREVIEW_BYTES);
    imap_word(w->imap, item);
    enum err_code code = imap_run(w->imap, w->a, &answer, &w->why);
    for (const struct imap_line *line = answer.lines; code == ERR_OK && line; line = line->next) {
        const struct imap_node *fetch = imap_nth(line->first, 2), *body = imap_value(fetch, "BODY[");
        struct message *m = body ? row_with(l, imap_number(imap_value(fetch, "UID"))) : NULL;
        if (m && m->root)
            m->preview = preview_of(w, part_first_text(m->root), imap_text(body));
    }
    return code;
}

static enum err_code load_previews(struct web *w, struct listing *l)
{
    struct span done[8];
    size_t count = 0;
    enum err_code code = ERR_OK;
    if (imap_has(w->imap, "PREVIEW"))
        return ERR_OK;
    for (size_t i = 0; i < l->count && code == ERR_OK && count < 8; i++) {
        const struct part *p = l->rows[i].root ? part_first_text(l->rows[i].root) : NULL;
        bool seen = !p || p->section.n > 100;
        for (size_t k = 0; k < count && !seen; k++)
            seen = span_eq(done[k], p->section);
        if (seen)
            continue;
        done[count++] = p->section;
        code = previews_of(w, l, p->section);
    }
    return code;
}

static struct span shown_name(struct web *w, const struct message *m, bool outgoing)
{
    const struct person *p = m->env ? outgoing ? m->env->to ? m->env->to : m->env->cc : m->env->from : NULL;
    if (!p)
        return span_str(text(w->page.lang, outgoing ? T_NO_RECIPIENT : T_NO_SENDER));
    return p->name.n ? p->name : p->address;
}

static void put_marks(struct page *p, const struct message *m)
{
    if (!m->seen)
        PUT(p, "<span class=\"vh\">%t. </span>", T_UNREAD);
    if (m->flagged)
        PUT(p, "<span class=\"star\" role=\"img\" aria-label=\"%t\" title=\"%t\">★</span>", T_FLAGGED,
            T_FLAGGED);
    if (m->answered)
        PUT(p, "<span class=\"mark\" role=\"img\" aria-label=\"%t\" title=\"%t\">↩</span>", T_ANSWERED,
            T_ANSWERED);
    if (m->forwarded)
        PUT(p, "<span class=\"mark\" role=\"img\" aria-label=\"%t\" title=\"%t\">→</span>", T_FORWARDED,
            T_FORWARDED);
}

static void put_row(struct web *w, const struct listing *l, const struct message *m, bool outgoing,
                    bool drafts)
{
    struct page *p = &w->page;
    char when[40], exact[40];
    struct span subject =
        m->env && m->env->subject.n ? m->env->subject : span_str(text(p->lang, T_NO_SUBJECT));
    mail_date(m->received_s, w->now_s, true, when, sizeof when);
    mail_date(m->received_s, w->now_s, false, exact, sizeof exact);
    PUT(p,
        "<li class=\"%s\"><label class=\"pick\"><input type=\"checkbox\" name=\"u\" value=\"%U\"><span "
        "class=\"vh\">",
        m->seen ? "row" : "row unread", (uint64_t)m->uid);
    page_words(p, T_SELECT_ONE, subject, SPAN_NONE);
    PUT(p, "</span></label><a href=\"");
    if (drafts)
        PUT(p, "/compose?re=draft&amp;f=%u&amp;v=%U&amp;u=%U", l->folder, (uint64_t)l->box.uidvalidity,
            (uint64_t)m->uid);
    else
        PUT(p, "/msg?f=%u&amp;v=%U&amp;u=%U", l->folder, (uint64_t)l->box.uidvalidity, (uint64_t)m->uid);
    PUT(p, "\"><span class=\"from\">");
    put_marks(p, m);
    PUT(p,
        "%h</span><span class=\"what\"><span class=\"subject\">%h</span> <span "
        "class=\"preview\">%h</span></span>",
        shown_name(w, m, outgoing), subject, m->preview);
    PUT(p, "<span class=\"when\">");
    if (m->root && part_has_attachment(m->root))
        PUT(p, "<span class=\"clip\" role=\"img\" aria-label=\"%t\" title=\"%t\"></span>", T_HAS_ATTACHMENT,
            T_HAS_ATTACHMENT);
    PUT(p, "<time title=\"%s\">%s</time></span></a></li>\n", exact, when);
}

static void put_search(struct web *w, const struct listing *l)
{
    static const struct {
        const char *value;
        enum text_id id;
    } rows[] = {{"all", T_SEARCH_ALL}, {"subject", T_SEARCH_SUBJECT}, {"from", T_SEARCH_FROM}};
    struct page *p = &w->page;
    PUT(p, "<form class=\"search\" role=\"search\" action=\"/list\">");
    web_hidden(w, "f", l->folder);
    PUT(p,
        "<label class=\"vh\" for=\"q\">%t</label><input id=\"q\" name=\"q\" type=\"search\" value=\"%h\" "
        "placeholder=\"%t\"><label class=\"vh\" for=\"w\">%t</label><select id=\"w\" name=\"w\">",
        T_SEARCH, l->query, T_SEARCH, T_SEARCH_IN);
    for (size_t i = 0; i < 3; i++)
        PUT(p, "<option value=\"%s\"%s>%t</option>", rows[i].value,
            span_eq(l->where, span_str(rows[i].value)) ? " selected" : "", rows[i].id);
    PUT(p, "</select><button>%t</button></form>\n", T_SEARCH);
}

static void put_pager(struct web *w, const struct listing *l)
{
    struct page *p = &w->page;
    char page[16], pages[16];
    if (l->pages < 2)
        return;
    snprintf(page, sizeof page, "%u", l->page);
    snprintf(pages, sizeof pages, "%u", l->pages);
    PUT(p, "<nav class=\"pager\" aria-label=\"%t\">", T_PAGES);
    if (l->page > 1)
        PUT(p, "<a class=\"button\" rel=\"prev\" href=\"/list?f=%u&amp;q=%u&amp;w=%u&amp;p=%d\">%t</a>",
            l->folder, l->query, l->where, (int)l->page - 1, T_NEWER);
    PUT(p, "<span>");
    page_words(p, T_RANGE, span_str(page), span_str(pages));
    PUT(p, "</span>");
    if (l->page < l->pages)
        PUT(p, "<a class=\"button\" rel=\"next\" href=\"/list?f=%u&amp;q=%u&amp;w=%u&amp;p=%d\">%t</a>",
            l->folder, l->query, l->where, (int)l->page + 1, T_OLDER);
    PUT(p, "</nav>\n");
}

/* The choice of a folder to move to. */
static void put_move(struct web *w, struct span from)
{
    struct page *p = &w->page;
    PUT(p, "<span class=\"group\"><label class=\"vh\" for=\"to\">%t</label><select id=\"to\" name=\"to\">",
        T_MOVE_TO);
    for (const struct folder *f = w->folders; f; f = f->next)
        if (!f->no_select && !span_eq(f->name, from) && f->use != T_DRAFTS)
            PUT(p, "<option value=\"%h\">%h</option>", f->name, web_folder_title(w, f->name));
    PUT(p, "</select><button name=\"op\" value=\"move\">%t</button></span>", T_MOVE);
}

static void put_tools(struct web *w, const struct listing *l, bool trash)
{
    struct page *p = &w->page;
    PUT(p,
        "<div class=\"tools\" role=\"group\" aria-label=\"%t\"><label class=\"all js\"><input "
        "type=\"checkbox\" "
        "id=\"all\"><span class=\"vh\">%t</span></label>",
        T_WITH_SELECTED, T_SELECT_ALL);
    PUT(p, "<button name=\"op\" value=\"read\">%t</button><button name=\"op\" value=\"unread\">%t</button>",
        T_MARK_READ, T_MARK_UNREAD);
    PUT(p, "<button name=\"op\" value=\"flag\">%t</button><button name=\"op\" value=\"unflag\">%t</button>",
        T_MARK_FLAG, T_MARK_UNFLAG);
    PUT(p, "<button name=\"op\" value=\"delete\" class=\"danger\">%t</button>",
        trash ? T_DELETE_GOOD : T_DELETE);
    put_move(w, l->folder);
    PUT(p, "<button name=\"op\" value=\"allread\">%t</button></div>\n", T_MARK_ALL_READ);
}

static void put_list(struct web *w, const struct listing *l)
{
    struct page *p = &w->page;
    const struct folder *f = web_folder(w, l->folder);
    bool drafts = f && f->use == T_DRAFTS, outgoing = drafts || (f && f->use == T_SENT);
    struct span title = web_folder_title(w, l->folder);
    web_begin(w, title, l->folder);
    web_quota_notice(w);
    PUT(p, "<div class=\"headline\"><h1>%h</h1>", title);
    put_search(w, l);
    PUT(p, "</div>");
    if (l->query.n) {
        char n[16];
        snprintf(n, sizeof n, "%u", l->total);
        PUT(p, "<p class=\"found\">");
        page_words(p, T_SEARCH_FOUND, span_str(n), l->query);
        PUT(p, " <a href=\"/list?f=%u\">%t</a></p>", l->folder, T_SEARCH_CLEAR);
    }
    if (!l->count) {
        PUT(p, "<p class=\"empty\">%t</p>", l->query.n ? T_EMPTY_SEARCH : T_EMPTY_FOLDER);
        PUT(p, "<div id=\"poll\" data-f=\"%u\" data-next=\"%U\"></div>", l->folder, (uint64_t)l->box.uidnext);
        web_put_quota(w, "narrow");
        web_end(w);
        return;
    }
    PUT(p, "<form method=\"post\" action=\"/act\" id=\"list\">");
    web_hidden_csrf(w);
    web_hidden(w, "f", l->folder);
    web_hidden_num(w, "v", l->box.uidvalidity);
    web_hidden_num(w, "p", l->page);
    web_hidden(w, "q", l->query);
    web_hidden(w, "w", l->where);
    put_tools(w, l, f && f->use == T_TRASH);
    PUT(p, "<ul class=\"mails\" aria-label=\"%t\">\n", T_MESSAGES);
    for (size_t i = 0; i < l->count; i++)
        put_row(w, l, &l->rows[i], outgoing, drafts);
    PUT(p, "</ul></form><div id=\"poll\" data-f=\"%u\" data-next=\"%U\"></div>", l->folder,
        (uint64_t)l->box.uidnext);
    put_pager(w, l);
    web_put_quota(w, "narrow");
    web_end(w);
}

enum err_code page_list(struct web *w)
{
    struct listing l = {.folder = request_query(&w->req, "f"),
                        .query = span_trim(request_query(&w->req, "q")),
                        .where = request_query(&w->req, "w"),
                        .page = request_query_num(&w->req, "p")};
    if (!l.folder.n)
        l.folder = SPAN("INBOX");
    if (!l.where.n)
        l.where = SPAN("all");
    enum err_code code = web_folders(w);
    if (code == ERR_OK)
        code = web_quota(w);
    if (code == ERR_OK)
        code = web_select(w, l.folder, 0, &l.box);
    l.total = l.box.exists;
    if (code == ERR_OK && l.query.n) {
        l.total = 0;
        code = search(w, &l);
    }
    if (code == ERR_OK)
        code = load_rows(w, &l);
    if (code == ERR_OK)
        code = load_previews(w, &l);
    if (code == ERR_OK)
        put_list(w, &l);
    return code;
}

/* {"next": UIDNEXT, "unseen": n} of a folder. */
enum err_code page_poll(struct web *w)
{
    struct imap_answer answer;
    enum err_code code = web_mailbox(w);
    if (code != ERR_OK)
        return code;
    imap_begin(w->imap);
    imap_word(w->imap, "STATUS ");
    imap_folder(w->imap, request_query(&w->req, "f"));
    imap_word(w->imap, " (UIDNEXT UNSEEN)");
    code = imap_run(w->imap, w->a, &answer, &w->why);
    if (code != ERR_OK)
        return code;
    uint32_t next = 0, unseen = 0;
    for (const struct imap_line *l = answer.lines; l; l = l->next)
        if (imap_is(l->first, "STATUS")) {
            next = imap_number(imap_value(imap_nth(l->first, 2), "UIDNEXT"));
            unseen = imap_number(imap_value(imap_nth(l->first, 2), "UNSEEN"));
        }
    page_head(&w->page, "Content-Type", SPAN("application/json"));
    PUT(&w->page, "{\"next\":%U,\"unseen\":%U}", (uint64_t)next, (uint64_t)unseen);
    return ERR_OK;
}
