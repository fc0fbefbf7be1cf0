/* Login and logout. A form that the session's end cut off rides along as hidden fields, so that nothing typed
 * is lost. */
#include "webmail-cgi/web.h"
#include <stdlib.h>

static const char *const kept[] = {"to", "cc", "bcc", "subject", "body", "irt", "refs", "sf",
                                   "sv", "su", "sd",  "af",      "av",   "au",  "ak"};

static void keep_fields(struct web *w)
{
    bool compose = span_eq(w->req.path, SPAN("/compose")),
         again = request_form(&w->req, "k_body").p != NULL && request_form(&w->req, "kept").n;
    if (!w->req.post || (!compose && !again))
        return;
    web_hidden(w, "kept", SPAN("1"));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        char name[16] = "k_";
        strcat(name, kept[i]);
        struct span v = request_form(&w->req, compose ? kept[i] : name);
        if (v.n)
            web_hidden(w, name, v);
    }
    for (size_t i = 0; i < w->req.form_count; i++)
        if (span_eq(w->req.form[i].name, compose ? SPAN("keep") : SPAN("k_keep")))
            web_hidden(w, "k_keep", w->req.form[i].value);
}

void login_form(struct web *w, int notice)
{
    struct page *p = &w->page;
    bool compose = w->req.post && span_eq(w->req.path, SPAN("/compose"));
    struct span name = request_form(&w->req, "user");
    w->logged_in = false;
    web_begin(w, span_str(text(p->lang, T_LOG_IN)), SPAN_NONE);
    PUT(p, "<form class=\"login\" method=\"post\" action=\"/login\"><h1>%t</h1>", T_LOG_IN);
    if (compose)
        notice = T_LOGIN_KEPT;
    if (notice >= 0)
        web_notice(w, notice == T_LOGGED_OUT ? "ok" : "bad", (enum text_id)notice, SPAN_NONE, SPAN_NONE);
    keep_fields(w);
    PUT(p,
        "<p><label for=\"user\">%t</label><input id=\"user\" name=\"user\" value=\"%h\" "
        "autocomplete=\"username\" "
        "autocapitalize=\"none\" spellcheck=\"false\" required%s></p>",
        T_USER_NAME, name, name.n ? "" : " autofocus");
    PUT(p,
        "<p><label for=\"password\">%t</label><input id=\"password\" name=\"password\" type=\"password\" "
        "autocomplete=\"current-password\" required%s></p><p><button class=\"main\">%t</button></p></form>",
        T_PASSWORD, name.n ? " autofocus" : "", T_LOG_IN);
    web_end(w);
}

enum err_code page_home(struct web *w)
{
    if (w->logged_in)
        web_redirect(w, SPAN("/list?f=INBOX"));
    else
        web_redirect(w, SPAN("/login"));
    return ERR_OK;
}

enum err_code page_login(struct web *w)
{
    if (w->logged_in)
        return page_home(w);
    struct span why = request_query(&w->req, "why");
    login_form(w, span_eq(why, SPAN("out")) ? T_LOGGED_OUT : span_eq(why, SPAN("end")) ? T_LOGIN_AGAIN : -1);
    return ERR_OK;
}

/* The kept fields under their own names again, for the compose page. */
static void restore_fields(struct web *w)
{
    for (size_t i = 0; i < w->req.form_count; i++)
        if (span_starts(w->req.form[i].name, SPAN("k_")))
            w->req.form[i].name = span_drop(w->req.form[i].name, 2);
}

enum err_code page_login_post(struct web *w)
{
    if (!request_same_origin())
        return ERR_DENIED;
    struct span name = span_trim(request_form(&w->req, "user")), password = request_form(&w->req, "password");
    enum err_code code = user_login(w->user, name, password, request_env("REMOTE_ADDR"),
                                    request_env("HTTP_USER_AGENT"), w->a, &w->session);
    if (code == ERR_DENIED || code == ERR_LIMIT || code == ERR_SYNTAX || code == ERR_MISSING) {
        w->page.status = 403;
        login_form(w, code == ERR_LIMIT ? T_LOGIN_LIMIT : T_LOGIN_WRONG);
        return ERR_OK;
    }
    if (code != ERR_OK)
        return code;
    w->logged_in = true;
    if (!request_form(&w->req, "kept").n) {
        web_redirect(w, SPAN("/list?f=INBOX"));
    } else {
        restore_fields(w);
        w->req.post = false; /* show the form, do not send */
        code = page_compose(w);
        if (code != ERR_OK)
            return code;
    }
    web_cookie(w, WEB_COOKIE, span_str(w->session.token), -1);
    return ERR_OK;
}

enum err_code page_logout(struct web *w)
{
    enum err_code code = user_logout(w->user, span_str(w->session.token));
    if (code == ERR_RETRY)
        return code;
    web_redirect(w, SPAN("/login?why=out"));
    web_cookie(w, WEB_COOKIE, SPAN(""), 0);
    return ERR_OK;
}
