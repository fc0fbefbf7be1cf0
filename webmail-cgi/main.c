/* webmail-cgi: one request in, one page out (CGI, RFC 3875). This file reads the configuration, finds out
 * whose request it is, checks that a form comes from a page of ours, and picks the handler from the table of
 * routes. It owns nothing and keeps nothing: the web server starts it for each request. */
#include "webmail-cgi/web.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

enum { NEEDS_LOGIN = 1, IS_POST = 2, IS_SCRIPT = 4 /* asked for by the script: errors without a page */ };

static const struct route {
    const char *path;
    unsigned what;
    web_handler *run;
} routes[] = {{"/", 0, page_home},
              {"/login", 0, page_login},
              {"/login", IS_POST, page_login_post},
              {"/logout", IS_POST | NEEDS_LOGIN, page_logout},
              {"/list", NEEDS_LOGIN, page_list},
              {"/poll", NEEDS_LOGIN | IS_SCRIPT, page_poll},
              {"/act", IS_POST | NEEDS_LOGIN, page_act},
              {"/msg", NEEDS_LOGIN, page_msg},
              {"/html", NEEDS_LOGIN, page_html},
              {"/part", NEEDS_LOGIN, page_part},
              {"/raw", NEEDS_LOGIN, page_raw},
              {"/source", NEEDS_LOGIN, page_source},
              {"/compose", NEEDS_LOGIN, page_compose},
              {"/compose", IS_POST | NEEDS_LOGIN, page_compose_post},
              {"/folders", NEEDS_LOGIN, page_folders},
              {"/folders", IS_POST | NEEDS_LOGIN, page_folders_post},
              {"/people", NEEDS_LOGIN, page_people},
              {"/people.json", NEEDS_LOGIN | IS_SCRIPT, page_people_json}};

/* By ?lang=, then the cookie, then the browser's wish. */
static void choose_language(struct web *w)
{
    enum lang fallback = LANG_VI, l;
    if (!lang_named(span_str(w->conf->web_language), &fallback))
        fallback = LANG_VI;
    w->page.lang = lang_accept(request_env("HTTP_ACCEPT_LANGUAGE"), fallback);
    if (lang_named(request_cookie(WEB_LANG_COOKIE), &l))
        w->page.lang = l;
    if (lang_named(request_query(&w->req, "lang"), &l)) {
        w->page.lang = l;
        web_cookie(w, WEB_LANG_COOKIE, span_str(lang_code(l)), 365 * 86400);
    }
}

static void set_csrf(struct web *w)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char mac[CRYPTO_HASH];
    crypto_hmac(span_str(w->session.token), SPAN("provmail form"), mac);
    for (size_t i = 0; i < 16; i++) {
        w->csrf[2 * i] = hex[mac[i] >> 4];
        w->csrf[2 * i + 1] = hex[mac[i] & 15];
    }
    w->csrf[32] = 0;
}

static enum err_code resume(struct web *w)
{
    struct span token = request_cookie(WEB_COOKIE);
    struct buf path;
    buf_init(&path, 4096);
    enum err_code code = ERR_BUG;
    if (conf_path(w->conf->run_dir, "directory/user/sock", &path) && buf_add_char(&path, 0))
        code = user_connect(path.p, &w->user, &w->why);
    buf_free(&path);
    if (code != ERR_OK || !token.n)
        return code;
    if (token.n >= USER_TOKEN_TEXT)
        return ERR_OK;
    code = user_resume(w->user, token, w->a, &w->session);
    w->logged_in = code == ERR_OK;
    if (!w->logged_in)
        return code == ERR_RETRY ? code : ERR_OK;
    memcpy(w->session.token, token.p, token.n);
    w->session.token[token.n] = 0;
    set_csrf(w);
    return ERR_OK;
}

static const struct route *find_route(const struct request *r, bool *other_method)
{
    *other_method = false;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (span_eq(r->path, span_str(routes[i].path))) {
            if (r->post == ((routes[i].what & IS_POST) != 0))
                return &routes[i];
            *other_method = true;
        }
    return NULL;
}

static bool form_is_ours(const struct web *w)
{
    struct span token = request_form(&w->req, "csrf");
    return request_same_origin() && token.n == 32 && crypto_equal(token.p, w->csrf, 32);
}

static void ask_for_login(struct web *w, const struct route *r)
{
    page_reset(&w->page);
    if (r->what & IS_SCRIPT) {
        w->page.status = 403;
        page_head(&w->page, "Content-Type", SPAN("application/json"));
        PUT(&w->page, "{}");
        return;
    }
    bool had = request_cookie(WEB_COOKIE).n > 0;
    w->page.status = w->req.post ? 403 : 200;
    if (!w->req.post) {
        web_redirect(w, had ? SPAN("/login?why=end") : SPAN("/login"));
    } else {
        login_form(w, T_LOGIN_AGAIN);
    }
    if (had)
        web_cookie(w, WEB_COOKIE, SPAN(""), 0);
}

static enum err_code serve(struct web *w)
{
    bool other = false;
    const struct route *r = find_route(&w->req, &other);
    w->lost = r == NULL;
    if (!r)
        return other ? ERR_SYNTAX : ERR_MISSING;
    enum err_code code = resume(w);
    if (code != ERR_OK)
        return code;
    if ((r->what & NEEDS_LOGIN) && !w->logged_in) {
        ask_for_login(w, r);
        return ERR_OK;
    }
    if ((r->what & (IS_POST | NEEDS_LOGIN)) == (IS_POST | NEEDS_LOGIN) && !form_is_ours(w))
        return ERR_DENIED;
    code = r->run(w);
    if (w->expired && !w->streamed) {
        w->logged_in = false;
        ask_for_login(w, r);
        return ERR_OK;
    }
    return code;
}

static void answer(struct web *w, enum err_code code)
{
    if (code == ERR_OK && w->page.full)
        code = err_set(&w->why, ERR_BUG, NULL, "page over its limit");
    if (code != ERR_OK)
        log_event(code == ERR_MISSING || code == ERR_DENIED ? LOG_INFO : LOG_WARN, NULL, "web.request.failed",
                  F_SPAN("path", w->req.path), F_STR("code", err_name(code)), F_STR("why", w->why.log));
    if (w->streamed)
        return;
    if (code != ERR_OK)
        web_error_page(w, code);
    if (!page_send(&w->page))
        log_event(LOG_INFO, NULL, "web.reader.gone", F_SPAN("path", w->req.path));
}

static int start(struct conf **conf)
{
    const char *path = getenv("PROVMAIL_CONF");
    struct buf faults;
    buf_init(&faults, 65536);
    enum err_code code = conf_load(path ? path : PROV_SYSCONFDIR "/provmail.conf", conf, &faults);
    int status =
        code == ERR_OK ? 0 : conf_start_failed("webmail-cgi", code, path ? path : "", buf_span(&faults));
    buf_free(&faults);
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        bool version = strcmp(argv[1], "--version") == 0;
        puts(version ? "webmail-cgi " PACKAGE_VERSION
                     : "webmail-cgi is started by a web server; see webmail-cgi(8)");
        return version || strcmp(argv[1], "--help") == 0 ? 0 : EX_USAGE;
    }
    struct web w = {.now_s = clock_wall_s()};
    log_open("webmail-cgi", NULL); /* standard error: the web server's log */
    crypto_start();
    page_init(&w.page, LANG_VI);
    int status = start(&w.conf);
    if (status) {
        if (!page_write(SPAN("Status: 500\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nwebmail-cgi is "
                             "not configured\n")))
            return EX_IOERR;
        return status;
    }
    w.a = arena_new(WEB_ARENA_LIMIT);
    w.delimiter = SPAN("/");
    enum err_code code = request_read(&w.req, w.conf->web_upload_limit);
    choose_language(&w);
    answer(&w, code == ERR_OK ? serve(&w) : code);
    imap_close(&w.imap);
    user_close(&w.user);
    request_free(&w.req);
    page_free(&w.page);
    crypto_wipe(&w.session, sizeof w.session);
    arena_free(&w.a);
    conf_free(&w.conf);
    return 0;
}
