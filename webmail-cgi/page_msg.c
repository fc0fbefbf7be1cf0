/* One message: header, text, HTML in its frame, files. An embedded message is shown by the same page, with
 * its section as the root. */
#include "webmail-cgi/web.h"
#include "webmail-cgi/shown.h"
#include <stdio.h>

enum { SHOW_LIMIT = 1 << 20 };

struct reading {
    struct span folder, section; /* section of the embedded message, "" for the whole */
    uint32_t uid;
    struct box box;
    struct message m;
    const struct envelope *env;
    const struct part *root;
    bool as_text;
};

static void put_people(struct web *w, enum text_id label, const struct person *v)
{
    struct page *p = &w->page;
    if (!v)
        return;
    PUT(p, "<dt>%t</dt><dd>", label);
    for (unsigned i = 0; v && i < 500; v = v->next, i++) {
        PUT(p, "%s<span class=\"person\">", i ? ", " : "");
        if (v->name.n && !span_eq(v->name, v->address))
            PUT(p, "<b>%h</b> <span class=\"addr\">&lt;%h&gt;</span></span>", v->name, v->address);
        else
            PUT(p, "%h</span>", v->address);
    }
    PUT(p, "</dd>");
}

static void put_header(struct web *w, const struct reading *r)
{
    struct page *p = &w->page;
    char when[40];
    mail_date(r->env->dated ? r->env->date_s : r->m.received_s, w->now_s, false, when, sizeof when);
    PUT(p, "<article><h1>%h</h1><dl class=\"head\">",
        r->env->subject.n ? r->env->subject : span_str(text(p->lang, T_NO_SUBJECT)));
    put_people(w, T_FROM, r->env->from);
    put_people(w, T_TO, r->env->to);
    put_people(w, T_CC, r->env->cc);
    put_people(w, T_BCC, r->env->bcc);
    PUT(p, "<dt>%t</dt><dd><time>%s</time></dd></dl>\n", T_DATE, when);
}

static void here(struct web *w, const struct reading *r, const char *path)
{
    PUT(&w->page, "%s?f=%u&amp;v=%U&amp;u=%U", path, r->folder, (uint64_t)r->box.uidvalidity,
        (uint64_t)r->uid);
}

static void put_tools(struct web *w, const struct reading *r)
{
    static const struct {
        const char *re;
        enum text_id id;
    } answers[] = {{"reply", T_REPLY}, {"all", T_REPLY_ALL}, {"fwd", T_FORWARD}};
    struct page *p = &w->page;
    const struct folder *f = web_folder(w, r->folder);
    PUT(p,
        "<div class=\"tools\" role=\"group\" aria-label=\"%t\"><a class=\"button\" "
        "href=\"/list?f=%u\">%t</a>",
        T_ACTIONS, r->folder, T_BACK_TO_LIST);
    for (size_t i = 0; i < 3; i++) {
        PUT(p, "<a class=\"button%s\" data-key=\"%s\" href=\"", i ? "" : " main", answers[i].re);
        here(w, r, "/compose");
        PUT(p, "&amp;re=%s\">%t</a>", answers[i].re, answers[i].id);
    }
    if (r->m.draft) {
        PUT(p, "<a class=\"button\" href=\"");
        here(w, r, "/compose");
        PUT(p, "&amp;re=draft\">%t</a>", T_EDIT_DRAFT);
    }
    PUT(p, "<form method=\"post\" action=\"/act\">");
    web_hidden_csrf(w);
    web_hidden(w, "f", r->folder);
    web_hidden_num(w, "v", r->box.uidvalidity);
    web_hidden_num(w, "u", r->uid);
    PUT(p,
        "<button name=\"op\" value=\"delete\" class=\"danger\" data-key=\"delete\">%t</button><button "
        "name=\"op\" "
        "value=\"unread\">%t</button><button name=\"op\" value=\"%s\">%t</button>",
        f && f->use == T_TRASH ? T_DELETE_GOOD : T_DELETE, T_MARK_UNREAD, r->m.flagged ? "unflag" : "flag",
        r->m.flagged ? T_MARK_UNFLAG : T_MARK_FLAG);
    PUT(p, "<span class=\"group\"><label class=\"vh\" for=\"to\">%t</label><select id=\"to\" name=\"to\">",
        T_MOVE_TO);
    for (f = w->folders; f; f = f->next)
        if (!f->no_select && !span_eq(f->name, r->folder) && f->use != T_DRAFTS)
            PUT(p, "<option value=\"%h\">%h</option>", f->name, web_folder_title(w, f->name));
    PUT(p, "</select><button name=\"op\" value=\"move\">%t</button></span></form></div>\n", T_MOVE);
}

static enum err_code put_text_part(struct web *w, const struct reading *r, const struct part *part)
{
    struct buf b;
    bool cut = false;
    buf_init(&b, 8 * (size_t)SHOW_LIMIT);
    enum err_code code = web_part(w, r->uid, part, SHOW_LIMIT, true, &b, &cut);
    if (code == ERR_OK) {
        if (part_is(part, "text", "html"))
            code = shown_html_as_text(&w->page, buf_span(&b));
        else
            shown_text(&w->page, buf_span(&b));
        if (cut)
            web_notice(w, "bad", T_CUT, SPAN_NONE, SPAN_NONE);
    }
    buf_free(&b);
    return code;
}

static void put_frame(struct web *w, const struct reading *r, const struct part *part)
{
    struct page *p = &w->page;
    unsigned lines = 12 + part->size / 200; /* how high the frame should be cannot be asked: it is sealed */
    PUT(p,
        "<iframe class=\"html h%d\" title=\"%t\" sandbox=\"allow-popups allow-popups-to-escape-sandbox\" "
        "referrerpolicy=\"no-referrer\" src=\"",
        lines > 60   ? 3
        : lines > 25 ? 2
                     : 1,
        T_MESSAGE_TEXT);
    here(w, r, "/html");
    PUT(p, "&amp;s=%u\"></iframe>\n", part->section);
}

static enum err_code put_content(struct web *w, const struct reading *r, const struct view *v)
{
    struct page *p = &w->page;
    enum err_code code = ERR_OK;
    if (v->has_both) {
        PUT(p, "<p class=\"switch\"><a href=\"");
        here(w, r, "/msg");
        PUT(p, "&amp;s=%u&amp;t=%d\">%t</a></p>", r->section, r->as_text ? 0 : 1,
            r->as_text ? T_SHOW_HTML : T_SHOW_TEXT);
    }
    for (size_t i = 0; i < v->shown_count && code == ERR_OK; i++) {
        if (part_is(v->shown[i], "text", "html") && !r->as_text)
            put_frame(w, r, v->shown[i]);
        else
            code = put_text_part(w, r, v->shown[i]);
    }
    if (!v->shown_count)
        PUT(p, "<p class=\"empty\">%t</p>", T_NO_TEXT);
    return code;
}

static void put_files(struct web *w, const struct reading *r, const struct view *v)
{
    struct page *p = &w->page;
    if (!v->file_count)
        return;
    PUT(p, "<section class=\"files\"><h2>%t</h2><ul>", T_ATTACHMENTS);
    for (size_t i = 0; i < v->file_count; i++) {
        const struct part *f = v->files[i];
        struct span name = shown_file_name(w, f);
        uint64_t size = f->encoding == MIME_BASE64 ? (uint64_t)f->size * 3 / 4 * 76 / 78 : f->size;
        PUT(p, "<li><a class=\"file\" href=\"");
        here(w, r, "/part");
        PUT(p, "&amp;s=%u\" download><span class=\"clip\"></span><b>%h</b></a> <span class=\"size\">",
            f->section, name);
        page_size(p, size);
        PUT(p, "</span>");
        if (part_is(f, "message", "rfc822") && f->inner) {
            PUT(p, " <a href=\"");
            here(w, r, "/msg");
            PUT(p, "&amp;s=%u\">%t</a>", f->section, T_OPEN);
        }
        PUT(p, "</li>");
    }
    PUT(p, "</ul>");
    shown_more_files(w, v);
    PUT(p, "</section>\n");
}

/* The messages before and behind, by sequence number. */
static enum err_code put_neighbours(struct web *w, const struct reading *r)
{
    struct imap_answer answer;
    uint32_t older = 0, newer = 0, seq = r->m.seq;
    imap_begin(w->imap);
    imap_word(w->imap, "FETCH ");
    imap_num(w->imap, seq > 1 ? seq - 1 : 1);
    imap_word(w->imap, ":");
    imap_num(w->imap, seq < r->box.exists ? seq + 1 : seq);
    imap_word(w->imap, " (UID)");
    enum err_code code = imap_run(w->imap, w->a, &answer, &w->why);
    for (const struct imap_line *l = answer.lines; code == ERR_OK && l; l = l->next) {
        uint32_t at = imap_number(l->first), uid = imap_number(imap_value(imap_nth(l->first, 2), "UID"));
        older = at == seq - 1 && uid ? uid : older;
        newer = at == seq + 1 && uid ? uid : newer;
    }
    PUT(&w->page, "<nav class=\"pager\" aria-label=\"%t\">", T_MESSAGES);
    if (newer)
        PUT(&w->page, "<a class=\"button\" rel=\"prev\" href=\"/msg?f=%u&amp;v=%U&amp;u=%U\">%t</a>",
            r->folder, (uint64_t)r->box.uidvalidity, (uint64_t)newer, T_PREVIOUS);
    if (older)
        PUT(&w->page, "<a class=\"button\" rel=\"next\" href=\"/msg?f=%u&amp;v=%U&amp;u=%U\">%t</a>",
            r->folder, (uint64_t)r->box.uidvalidity, (uint64_t)older, T_NEXT);
    PUT(&w->page, "</nav>");
    return code;
}

static enum err_code show(struct web *w, const struct reading *r)
{
    struct page *p = &w->page;
    struct view v;
    web_view(r->root, r->as_text, &v);
    web_begin(w, r->env->subject.n ? r->env->subject : span_str(text(p->lang, T_NO_SUBJECT)), r->folder);
    put_tools(w, r);
    put_header(w, r);
    enum err_code code = put_content(w, r, &v);
    put_files(w, r, &v);
    PUT(p, "</article><p class=\"more\"><a href=\"");
    here(w, r, "/source");
    PUT(p, "\">%t</a> <a href=\"", T_SHOW_SOURCE);
    here(w, r, "/raw");
    PUT(p, "\" download>%t</a></p>", T_DOWNLOAD_MESSAGE);
    if (code == ERR_OK)
        code = put_neighbours(w, r);
    web_end(w);
    return code;
}

enum err_code page_msg(struct web *w)
{
    struct reading r = {.folder = request_query(&w->req, "f"),
                        .section = request_query(&w->req, "s"),
                        .uid = request_query_num(&w->req, "u"),
                        .as_text = request_query_num(&w->req, "t") == 1};
    enum err_code code = web_folders(w);
    if (code == ERR_OK)
        code = web_select(w, r.folder, request_query_num(&w->req, "v"), &r.box);
    if (code == ERR_OK)
        code = web_message(w, r.uid, &r.m);
    if (code != ERR_OK)
        return code;
    r.env = r.m.env;
    r.root = r.m.root;
    if (r.section.n) {
        const struct part *inside = part_find(r.root, r.section);
        if (!inside || !inside->inner || !inside->child)
            return ERR_MISSING;
        r.env = inside->inner;
        r.root = inside->child;
    }
    if (!r.m.seen) {
        code = web_store(w, r.uid, "+FLAGS.SILENT (\\Seen)");
        if (code == ERR_STATE || code == ERR_DENIED) /* read only: shown all the same */
            code = ERR_OK;
        for (struct folder *f = w->folders; f; f = f->next)
            if (span_eq(f->name, r.folder) && f->unseen)
                f->unseen--;
    }
    return code == ERR_OK ? show(w, &r) : code;
}
