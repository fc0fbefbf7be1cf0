/* Folders: make, rename, delete. Those with a use of their own (Inbox, Sent ...) are not offered for change.
 */
#include "webmail-cgi/web.h"
#include <stdio.h>

static void put_folder(struct web *w, const struct folder *f)
{
    struct page *p = &w->page;
    PUT(p, "<li><a href=\"/list?f=%u\">%h</a> <span class=\"size\">%U</span>", f->name,
        web_folder_title(w, f->name), (uint64_t)f->messages);
    if (f->use < 0) {
        PUT(p, "<form method=\"post\" action=\"/folders\">");
        web_hidden_csrf(w);
        web_hidden(w, "f", f->name);
        PUT(p, "<label class=\"vh\" for=\"n-%u\">", f->name);
        page_words(p, T_NEW_NAME, f->name, SPAN_NONE);
        PUT(p,
            "</label><input id=\"n-%u\" name=\"name\" value=\"%h\" maxlength=\"200\"><button name=\"op\" "
            "value=\"rename\">%t</button><button name=\"op\" value=\"delete\" "
            "class=\"danger\">%t</button></form>",
            f->name, f->name, T_RENAME, T_DELETE);
    }
    PUT(p, "</li>");
}

enum err_code page_folders(struct web *w)
{
    struct page *p = &w->page;
    enum err_code code = web_folders(w);
    if (code != ERR_OK)
        return code;
    web_begin(w, span_str(text(p->lang, T_MANAGE_FOLDERS)), SPAN_NONE);
    PUT(p, "<h1>%t</h1><form class=\"new\" method=\"post\" action=\"/folders\">", T_MANAGE_FOLDERS);
    web_hidden_csrf(w);
    PUT(p,
        "<label for=\"name\">%t</label><input id=\"name\" name=\"name\" maxlength=\"200\" required><button "
        "class=\"main\" "
        "name=\"op\" value=\"create\">%t</button></form><ul class=\"folders\">",
        T_NEW_FOLDER, T_CREATE);
    for (const struct folder *f = w->folders; f; f = f->next)
        if (!f->no_select)
            put_folder(w, f);
    PUT(p, "</ul>");
    web_end(w);
    return ERR_OK;
}

/* Deleting takes the messages too: ask first. */
static void put_sure(struct web *w, const struct folder *f)
{
    struct page *p = &w->page;
    char n[16];
    snprintf(n, sizeof n, "%u", f->messages);
    web_begin(w, span_str(text(p->lang, T_MANAGE_FOLDERS)), f->name);
    PUT(p, "<h1>");
    page_words(p, T_DELETE_FOLDER, f->name, SPAN_NONE);
    PUT(p, "</h1><p>");
    page_words(p, T_DELETE_FOLDER_SURE, f->name, span_str(n));
    PUT(p, "</p><form class=\"tools\" method=\"post\" action=\"/folders\">");
    web_hidden_csrf(w);
    web_hidden(w, "f", f->name);
    web_hidden(w, "sure", SPAN("1"));
    PUT(p,
        "<button name=\"op\" value=\"delete\" class=\"danger\">%t</button><a class=\"button\" "
        "href=\"/folders\">%t</a></form>",
        T_DELETE, T_CANCEL);
    web_end(w);
}

/* A name of letters and the server's separator; no wildcards and no empty level. */
static bool good_name(const struct web *w, struct span s)
{
    char d = w->delimiter.n ? w->delimiter.p[0] : '/';
    if (!s.n || s.n > 200 || s.p[0] == d || s.p[s.n - 1] == d || span_caseeq(s, SPAN("INBOX")))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == '*' || s.p[i] == '%' || s.p[i] == 0x7f ||
            (s.p[i] == d && s.p[i - 1] == d))
            return false;
    return true;
}

static enum err_code run(struct web *w)
{
    struct imap_answer answer;
    enum err_code code = imap_run(w->imap, w->a, &answer, &w->why);
    if (code != ERR_OK && code != ERR_RETRY) {
        snprintf(w->why.client, sizeof w->why.client, "%.*s", SPAN_ARG(answer.text));
        return ERR_STATE;
    }
    return code;
}

static enum err_code with_name(struct web *w, const char *verb, struct span first, struct span second)
{
    imap_begin(w->imap);
    imap_word(w->imap, verb);
    imap_folder(w->imap, first);
    if (second.n) {
        imap_word(w->imap, " ");
        imap_folder(w->imap, second);
    }
    return run(w);
}

enum err_code page_folders_post(struct web *w)
{
    struct span op = request_form(&w->req, "op"), folder = request_form(&w->req, "f"),
                name = span_trim(request_form(&w->req, "name"));
    enum err_code code = web_folders(w);
    if (code != ERR_OK)
        return code;
    const struct folder *f = web_folder(w, folder);
    bool create = span_eq(op, SPAN("create")), rename = span_eq(op, SPAN("rename"));
    if (!create && (!f || f->use >= 0))
        return ERR_MISSING;
    if ((create || rename) && !good_name(w, name)) {
        web_redirect(w, SPAN("/folders?done=name"));
        return ERR_OK;
    }
    if (!create && !rename && !request_form(&w->req, "sure").n) {
        put_sure(w, f);
        return ERR_OK;
    }
    if (create) {
        code = with_name(w, "CREATE ", name, SPAN(""));
        if (code == ERR_OK)
            code = with_name(w, "SUBSCRIBE ", name, SPAN(""));
    } else if (rename) {
        code = span_eq(folder, name) ? ERR_OK : with_name(w, "RENAME ", folder, name);
    } else {
        code = with_name(w, "DELETE ", folder, SPAN(""));
    }
    if (code == ERR_OK)
        web_redirect(w, SPAN("/folders?done=folder"));
    return code;
}
