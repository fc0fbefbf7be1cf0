/* The form of a message, and what its buttons do: send, save, attach, find people, discard. All state is in
 * the form and in the saved draft, so it works without a script and survives a restart of everything. */
#include "webmail-cgi/compose.h"
#include "webmail-cgi/shown.h"
#include <stdio.h>

static void put_notice(struct web *w, const struct compose *c)
{
    if (c->error >= 0)
        web_notice(w, "bad", (enum text_id)c->error, c->error_a, c->error_b);
    if (w->req.cut)
        web_notice(w, "bad", T_ERR_UPLOAD, SPAN_NONE, SPAN_NONE);
}

static void put_line(struct web *w, const char *name, enum text_id label, struct span value)
{
    PUT(&w->page,
        "<p class=\"line\"><label for=\"%s\">%t</label><input id=\"%s\" name=\"%s\" value=\"%h\" "
        "autocomplete=\"off\"></p>\n",
        name, label, name, name, value);
}

static void put_state(struct web *w, const struct compose *c)
{
    web_hidden_csrf(w);
    web_hidden(w, "irt", c->in_reply_to);
    web_hidden(w, "refs", c->references);
    web_hidden(w, "sf", c->source_folder);
    web_hidden_num(w, "sv", c->source_validity);
    web_hidden_num(w, "su", c->source_uid);
    web_hidden_num(w, "sd", c->source_is_draft);
    web_hidden(w, "af", c->answered_folder);
    web_hidden_num(w, "av", c->answered_validity);
    web_hidden_num(w, "au", c->answered_uid);
    web_hidden(w, "ak", c->is_forward ? SPAN("fwd") : SPAN(""));
}

static bool ticked(const struct compose *c, struct span section)
{
    for (size_t i = 0; i < c->keep_count; i++)
        if (span_eq(c->keep[i], section))
            return true;
    return c->keep_all;
}

/* Files of the source message, each with its tick. */
static enum err_code put_kept(struct web *w, const struct compose *c)
{
    struct page *p = &w->page;
    struct box box;
    struct message m;
    struct view v;
    if (!c->source_uid)
        return ERR_OK;
    enum err_code code = web_select(w, c->source_folder, c->source_validity, &box);
    if (code == ERR_OK)
        code = web_message(w, c->source_uid, &m);
    if (code !=
        ERR_OK) { /* the typed text matters more: the ticks ride along unseen until the mailbox is back */
        for (size_t i = 0; code != ERR_MISSING && i < c->keep_count; i++)
            web_hidden(w, "keep", c->keep[i]);
        return code == ERR_MISSING || c->error >= 0 ? ERR_OK : code;
    }
    web_view(m.root, true, &v);
    for (size_t i = 1; i < v.shown_count && v.file_count < WEB_FILES_LIMIT; i++)
        v.files[v.file_count++] = v.shown[i]; /* only the first text is quoted */
    if (!v.file_count)
        return ERR_OK;
    PUT(p, "<fieldset class=\"kept\"><legend>%t</legend>", T_ATTACH_KEPT);
    for (size_t i = 0; i < v.file_count; i++) {
        PUT(p, "<label><input type=\"checkbox\" name=\"keep\" value=\"%h\"%s> %h <span class=\"size\">",
            v.files[i]->section, ticked(c, v.files[i]->section) ? " checked" : "",
            shown_file_name(w, v.files[i]));
        page_size(p, v.files[i]->size);
        PUT(p, "</span></label>");
    }
    shown_more_files(w, &v);
    PUT(p, "</fieldset>\n");
    return ERR_OK;
}

static void put_people(struct web *w, const struct compose *c)
{
    struct page *p = &w->page;
    PUT(p,
        "<div class=\"find\"><label for=\"pq\">%t</label><input id=\"pq\" name=\"pq\" type=\"search\" "
        "value=\"%h\" "
        "placeholder=\"%t\"><button name=\"op\" value=\"people\" formnovalidate>%t</button></div>",
        T_FIND_PEOPLE, request_form(&w->req, "pq"), T_PEOPLE_HINT, T_SEARCH);
    if (c->people_asked && !c->people_count)
        PUT(p, "<p class=\"empty\">%t</p>", T_PEOPLE_NONE);
    if (!c->people_count)
        return;
    PUT(p, "<ul class=\"chosen\">");
    for (size_t i = 0; i < c->people_count; i++)
        PUT(p,
            "<li><button name=\"add\" value=\"%h &lt;%h&gt;\" title=\"%t\">+ %h</button> <span "
            "class=\"size\">%h · %h</span></li>",
            c->people[i].name, c->people[i].address, T_ADD_PERSON, c->people[i].name, c->people[i].unit,
            c->people[i].address);
    PUT(p, "</ul>");
}

static enum err_code put_form(struct web *w, const struct compose *c)
{
    struct page *p = &w->page;
    char mb[24];
    snprintf(mb, sizeof mb, "%llu", (unsigned long long)(w->conf->web_upload_limit >> 20));
    web_begin(w, span_str(text(p->lang, T_COMPOSE)), SPAN_NONE);
    put_notice(w, c);
    PUT(p,
        "<form class=\"compose\" id=\"compose\" method=\"post\" action=\"/compose\" "
        "enctype=\"multipart/form-data\"><h1>%t</h1>",
        T_COMPOSE);
    /* the first button of a form is what Enter presses: saving, never sending by mistake */
    PUT(p, "<button class=\"vh\" name=\"op\" value=\"save\" tabindex=\"-1\" aria-hidden=\"true\">%t</button>",
        T_SAVE_DRAFT);
    put_state(w, c);
    put_line(w, "to", T_TO, c->to);
    put_line(w, "cc", T_CC, c->cc);
    put_line(w, "bcc", T_BCC, c->bcc);
    PUT(p, "<p class=\"hint\">%t</p>", T_TO_HINT);
    put_people(w, c);
    put_line(w, "subject", T_SUBJECT, c->subject);
    PUT(p,
        "<p class=\"line\"><label for=\"body\" class=\"vh\">%t</label><textarea id=\"body\" name=\"body\" "
        "rows=\"14\" "
        "spellcheck=\"true\">\n%h</textarea></p>\n",
        T_BODY, c->body);
    enum err_code code = put_kept(w, c);
    PUT(p, "<p class=\"line\"><label for=\"files\">");
    page_words(p, T_ATTACH_FILES, span_str(mb), SPAN_NONE);
    PUT(p, "</label><input id=\"files\" name=\"files\" type=\"file\" multiple></p>");
    PUT(p,
        "<div class=\"tools\"><button class=\"main\" name=\"op\" value=\"send\">%t</button><button "
        "name=\"op\" "
        "value=\"save\">%t</button><button name=\"op\" value=\"discard\" class=\"danger\" "
        "formnovalidate>%t</button>"
        "<span id=\"state\" role=\"status\"></span></div><datalist id=\"names\"></datalist></form>\n",
        T_SEND, T_SAVE_DRAFT, T_DISCARD);
    web_end(w);
    return code;
}

enum err_code page_compose(struct web *w)
{
    struct compose c;
    enum err_code code = web_folders(w);
    if (code != ERR_OK)
        return code;
    if (request_form(&w->req, "kept").n)
        compose_read(w, &c);
    else
        code = compose_start(w, &c);
    return code == ERR_OK ? put_form(w, &c) : code;
}

/* A person chosen from the list goes behind the typed recipients. */
static void add_person(struct web *w, struct compose *c, struct span who)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    struct span to = span_trim(c->to);
    if (buf_add_span(&b, to) && (!to.n || span_ends(to, SPAN(",")) || buf_add_str(&b, ", ")) &&
        buf_add_span(&b, who))
        c->to = arena_dup(w->a, buf_span(&b));
    buf_free(&b);
}

/* Nothing was sent or saved, and nothing typed is lost: the form again, with the reason. */
static enum err_code not_done(struct web *w, struct compose *c, enum err_code code, int error)
{
    if (w->expired)
        return code;
    c->error = code == ERR_MISSING ? T_ERR_FILES : error;
    if (code == ERR_MISSING) {
        c->source_uid = 0;
        c->source_is_draft = false;
    }
    w->page.status = 503;
    return put_form(w, c);
}

/* Files chosen together with a button that shows the form again are kept in the draft. */
static enum err_code keep_uploads(struct web *w, struct compose *c)
{
    if (!w->req.upload_count)
        return ERR_OK;
    enum err_code code = compose_save(w, c);
    if (code == ERR_OK)
        c->keep_all = true;
    else
        c->error = T_ERR_SAVE;
    return code == ERR_RETRY || code == ERR_OK ? ERR_OK : code;
}

static enum err_code again(struct web *w, struct compose *c)
{
    enum err_code code = keep_uploads(w, c);
    return code == ERR_OK ? put_form(w, c) : code;
}

static enum err_code too_big(struct web *w, struct compose *c)
{
    char mb[24];
    snprintf(mb, sizeof mb, "%llu", (unsigned long long)(w->conf->web_upload_limit >> 20));
    c->error = T_ERR_TOO_BIG;
    c->error_a = arena_dup(w->a, span_str(mb));
    w->page.status = 413;
    for (size_t i = 0; i < w->req.upload_count; i++)
        buf_free(&w->req.uploads[i].data);
    w->req.upload_count = 0;
    return put_form(w, c);
}

static enum err_code op_send(struct web *w, struct compose *c)
{
    bool copy_kept = false;
    enum err_code code = compose_send(w, c, &copy_kept);
    if (code == ERR_STATE && c->error >= 0) {
        w->page.status = 422;
        return again(w, c);
    }
    if (code != ERR_OK)
        return not_done(w, c, code, T_ERR_SEND_RETRY);
    web_redirect(w,
                 web_url(w, "/list?f=%u&done=%u", c->answered_folder.n ? c->answered_folder : SPAN("INBOX"),
                         copy_kept ? SPAN("sent") : SPAN("nocopy")));
    return ERR_OK;
}

static enum err_code op_save(struct web *w, struct compose *c)
{
    enum err_code code = compose_save(w, c);
    if (code != ERR_OK)
        return not_done(w, c, code, T_ERR_SAVE);
    if (request_form_num(&w->req, "js")) {
        page_head(&w->page, "Content-Type", SPAN("application/json"));
        PUT(&w->page, "{\"su\":%U,\"sv\":%U,\"sf\":\"%u\"}", (uint64_t)c->source_uid,
            (uint64_t)c->source_validity, c->source_folder);
        return ERR_OK;
    }
    web_redirect(w, web_url(w, "/compose?re=draft&f=%u&v=%d&u=%d&af=%u&av=%d&au=%d&ak=%u&done=saved",
                            c->source_folder, c->source_validity, c->source_uid, c->answered_folder,
                            c->answered_validity, c->answered_uid, c->is_forward ? SPAN("fwd") : SPAN("")));
    return ERR_OK;
}

static enum err_code op_people(struct web *w, struct compose *c)
{
    c->people_asked = true;
    enum err_code code = user_search(w->user, span_str(w->session.token), request_form(&w->req, "pq"), 20,
                                     w->a, &c->people, &c->people_count);
    if (code != ERR_OK)
        c->people_count = 0;
    return again(w, c);
}

static enum err_code op_discard(struct web *w, struct compose *c)
{
    enum err_code code = compose_discard(w, c);
    if (code == ERR_OK || code == ERR_MISSING)
        web_redirect(w, SPAN("/list?f=INBOX&done=discarded"));
    return code == ERR_MISSING ? ERR_OK : code;
}

enum err_code page_compose_post(struct web *w)
{
    static const struct {
        const char *op;
        enum err_code (*run)(struct web *w, struct compose *c);
    } ops[] = {{"send", op_send}, {"save", op_save}, {"people", op_people}, {"discard", op_discard}};
    struct compose c;
    compose_read(w, &c);
    enum err_code code = web_folders(w);
    if (code != ERR_OK)
        return not_done(w, &c, code,
                        span_eq(request_form(&w->req, "op"), SPAN("send")) ? T_ERR_SEND_RETRY : T_ERR_SAVE);
    if (w->req.too_big)
        return too_big(w, &c);
    if (w->req.cut)
        return put_form(w, &c);
    if (request_form(&w->req, "add").n) {
        add_person(w, &c, request_form(&w->req, "add"));
        return again(w, &c);
    }
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (span_eq(request_form(&w->req, "op"), span_str(ops[i].op)))
            return ops[i].run(w, &c);
    return ERR_SYNTAX;
}
