/* What the handlers of all pages share: the request, the session, the page being made, the mailbox. */
#ifndef PROV_WEB_WEB_H
#define PROV_WEB_WEB_H

#include "common/base/conf.h"
#include "common/directory/user.h"
#include "webmail-cgi/imap.h"
#include "webmail-cgi/mail.h"
#include "webmail-cgi/page.h"
#include "webmail-cgi/request.h"

enum { WEB_CSRF_TEXT = 33, WEB_ARENA_LIMIT = 256 << 20, WEB_FILES_LIMIT = 500, WEB_SHOWN_LIMIT = 20 };
#define WEB_COOKIE "__Host-provmail"
#define WEB_LANG_COOKIE "__Host-lang"

struct folder {
    struct span name; /* UTF-8 */
    int use;          /* T_INBOX, T_DRAFTS ... or -1 */
    bool no_select, no_children_here;
    uint32_t messages, unseen;
    struct folder *next;
};

/* How full something is. limit 0: it has no limit, or none is known. */
struct fill {
    uint64_t use, limit;
    bool messages; /* else bytes */
};

struct web {
    struct conf *conf;
    struct request req;
    struct page page;
    struct arena *a;
    struct user_link *user;
    struct user_session session;
    bool logged_in;
    bool expired;  /* the token was refused: the answer is the login page */
    bool lost;     /* the path is none of ours: it is not repeated on the page */
    bool streamed; /* the handler has sent its answer itself */
    char csrf[WEB_CSRF_TEXT];
    struct imap *imap;
    struct folder *folders;
    struct span delimiter;
    struct fill mailbox, unit; /* of the account and of its fullest unit */
    struct err why;
    int64_t now_s;
};

/* -- web.c: the frame of a page -- */
void web_begin(struct web *w, struct span title, struct span active_folder);
void web_end(struct web *w);
/* A hidden field; the token as one. */
void web_hidden(struct web *w, const char *name, struct span value);
void web_hidden_num(struct web *w, const char *name, uint32_t value);
void web_hidden_csrf(struct web *w);
/* A message to the reader above the content. kind "ok" or "bad". */
void web_notice(struct web *w, const char *kind, enum text_id id, struct span a0, struct span a1);
/* The notice that the last page asked for (?done=). */
void web_done_notice(struct web *w);
/* An address of ours put together: "%s" literal pieces, %u encoded; kept in the arena. */
struct span web_url(struct web *w, const char *fmt, ...);
void web_redirect(struct web *w, struct span url);
void web_error_page(struct web *w, enum err_code code);
void web_cookie(struct web *w, const char *name, struct span value, int64_t max_age_s);
/* What a folder is called on a page. */
struct span web_folder_title(struct web *w, struct span name);

/* -- box.c: the mailbox as pages use it -- */
CHECK_RESULT enum err_code web_mailbox(struct web *w);
CHECK_RESULT enum err_code web_folders(struct web *w);
/* The folder of a use (T_SENT ...), made when there is none. */
CHECK_RESULT enum err_code web_special(struct web *w, int use, struct span *out);
const struct folder *web_folder(const struct web *w, struct span name);
struct box {
    uint32_t exists, uidvalidity, uidnext;
};
/* SELECT. expect: the UIDVALIDITY that the page's address knew, 0: any; another one is ERR_MISSING. */
CHECK_RESULT enum err_code web_select(struct web *w, struct span folder, uint32_t expect, struct box *out);
struct message {
    uint32_t uid, seq, size;
    bool seen, flagged, answered, forwarded, draft;
    int64_t received_s;
    struct envelope *env;
    struct part *root;
    struct span preview;
};
/* Flags, ENVELOPE, BODYSTRUCTURE of one message. ERR_MISSING: it is gone. */
CHECK_RESULT enum err_code web_message(struct web *w, uint32_t uid, struct message *out);
void web_message_read(struct web *w, const struct imap_node *fetch, struct message *out);
/* Bytes of a section ("1.2", "HEADER", ""), encoded, from first on, at most want. */
CHECK_RESULT enum err_code web_section(struct web *w, uint32_t uid, struct span section, uint64_t first,
                                       uint64_t want, struct span *out);
/* A part's content decoded into out; text parts converted to UTF-8. *cut: there is more than limit. */
CHECK_RESULT enum err_code web_part(struct web *w, uint32_t uid, const struct part *p, size_t limit,
                                    bool as_text, struct buf *out, bool *cut);
/* Bytes of any kind as UTF-8, for the source view. False: out is full. */
bool web_to_utf8(struct span bytes, struct buf *out) CHECK_RESULT;
CHECK_RESULT enum err_code web_store(struct web *w, uint32_t uid, const char *change);
/* What of a message is shown and what is offered as a file. */
struct view {
    const struct part *shown[WEB_SHOWN_LIMIT], *files[WEB_FILES_LIMIT];
    const struct part *related[WEB_FILES_LIMIT]; /* pictures that HTML shows in its text */
    size_t shown_count, file_count, related_count;
    unsigned more_files; /* for which there is no room here */
    bool has_both;       /* an alternative of text and HTML */
};
/* prefer_text: of an alternative the text, not the HTML; its pictures are files then. */
void web_view(const struct part *root, bool prefer_text, struct view *out);

/* -- quota.c: how full the mailbox is -- */
CHECK_RESULT enum err_code web_quota(struct web *w);
/* A line and a bar, when there is a limit; class: where it stands. */
void web_put_quota(struct web *w, const char *class);
/* A word above the content, when it is nearly full or full. */
void web_quota_notice(struct web *w);

/* -- handlers -- */
typedef enum err_code web_handler(struct web *w);
web_handler page_home, page_login, page_login_post, page_logout, page_list, page_poll, page_act, page_msg,
    page_part, page_html, page_source, page_raw, page_compose, page_compose_post, page_folders,
    page_folders_post, page_people, page_people_json;
/* The login page with a word about why; fields of a form that the session's end cut off are kept. */
void login_form(struct web *w, int notice);

#endif
