/* The province's address book: a page to search, and the same as JSON for suggestions while typing. */
#include "webmail-cgi/web.h"

enum { FOUND_LIMIT = 50, SUGGEST_LIMIT = 8 };

static enum err_code search(struct web *w, size_t limit, struct user_entry **v, size_t *count)
{
    struct span q = span_trim(request_query(&w->req, "q"));
    *count = 0;
    return q.n ? user_search(w->user, span_str(w->session.token), q, limit, w->a, v, count) : ERR_OK;
}

enum err_code page_people(struct web *w)
{
    struct page *p = &w->page;
    struct user_entry *v = NULL;
    size_t count;
    struct span q = request_query(&w->req, "q");
    enum err_code code = web_folders(w);
    if (code == ERR_OK)
        code = search(w, FOUND_LIMIT, &v, &count);
    if (code != ERR_OK)
        return code;
    web_begin(w, span_str(text(p->lang, T_PEOPLE)), SPAN_NONE);
    PUT(p,
        "<h1>%t</h1><form class=\"search wide\" role=\"search\" action=\"/people\"><label for=\"q\" "
        "class=\"vh\">%t</label>"
        "<input id=\"q\" name=\"q\" type=\"search\" value=\"%h\" "
        "placeholder=\"%t\"><button>%t</button></form>",
        T_PEOPLE, T_PEOPLE_HINT, q, T_PEOPLE_HINT, T_SEARCH);
    if (q.n && !count)
        PUT(p, "<p class=\"empty\">%t</p>", T_PEOPLE_NONE);
    PUT(p, "<ul class=\"people\">");
    for (size_t i = 0; i < count; i++) {
        PUT(p, "<li><b>%h</b>", v[i].name);
        if (v[i].group)
            PUT(p, " <span class=\"tag\">%t</span>", T_GROUP);
        PUT(p, "<br><span class=\"size\">%h%s%h</span><br><a href=\"/compose?to=%u\">%h</a></li>", v[i].title,
            v[i].title.n && v[i].unit.n ? " · " : "", v[i].unit, v[i].address, v[i].address);
    }
    PUT(p, "</ul>");
    web_end(w);
    return ERR_OK;
}

/* JSON text: quotes, backslashes and controls escaped; "<" too, so that it is inert wherever it lands. */
static void json_text(struct page *p, struct span s)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char e[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        bool plain = c >= 0x20 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' && c != 0x7f;
        p->full = p->full || (plain ? !buf_add_char(&p->out, (char)c) : !buf_add(&p->out, e, 6));
    }
}

enum err_code page_people_json(struct web *w)
{
    struct page *p = &w->page;
    struct user_entry *v = NULL;
    size_t count;
    enum err_code code = search(w, SUGGEST_LIMIT, &v, &count);
    if (code != ERR_OK)
        return code;
    page_head(p, "Content-Type", SPAN("application/json"));
    PUT(p, "[");
    for (size_t i = 0; i < count; i++) {
        PUT(p, "%s{\"name\":\"", i ? "," : "");
        json_text(p, v[i].name);
        PUT(p, "\",\"address\":\"");
        json_text(p, v[i].address);
        PUT(p, "\",\"unit\":\"");
        json_text(p, v[i].unit);
        PUT(p, "\"}");
    }
    PUT(p, "]");
    return ERR_OK;
}
