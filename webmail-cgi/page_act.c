/* Actions on messages of a folder, from the list or from a message: mark, move, delete. One table of
 * operations; afterwards the reader is sent back to where he was. */
#include "webmail-cgi/web.h"
#include <stdio.h>

static enum err_code run(struct web *w)
{
    struct imap_answer answer;
    enum err_code code = imap_run(w->imap, w->a, &answer, &w->why);
    if (code != ERR_OK && code != ERR_RETRY)
        snprintf(w->why.client, sizeof w->why.client, "%.*s", SPAN_ARG(answer.text));
    return code == ERR_DENIED ? ERR_STATE : code; /* "not permitted" is told in the server's words */
}

/* The ticked UIDs as a set; false when there is none. */
static bool put_set(struct web *w)
{
    const char *comma = "";
    uint32_t uid;
    for (size_t i = 0; i < w->req.form_count; i++)
        if (span_eq(w->req.form[i].name, SPAN("u")) && span_u32(w->req.form[i].value, &uid) && uid) {
            imap_word(w->imap, comma);
            imap_num(w->imap, uid);
            comma = ",";
        }
    return *comma != 0;
}

static bool any_ticked(const struct web *w)
{
    uint32_t uid;
    for (size_t i = 0; i < w->req.form_count; i++)
        if (span_eq(w->req.form[i].name, SPAN("u")) && span_u32(w->req.form[i].value, &uid) && uid)
            return true;
    return false;
}

static enum err_code store_flags(struct web *w, const char *change)
{
    imap_begin(w->imap);
    imap_word(w->imap, "UID STORE ");
    if (!put_set(w))
        return ERR_SYNTAX;
    imap_word(w->imap, " ");
    imap_word(w->imap, change);
    return run(w);
}

static enum err_code move_to(struct web *w, struct span folder)
{
    imap_begin(w->imap);
    imap_word(w->imap, "UID MOVE ");
    if (!put_set(w))
        return ERR_SYNTAX;
    imap_word(w->imap, " ");
    imap_folder(w->imap, folder);
    return run(w);
}

static enum err_code expunge(struct web *w)
{
    enum err_code code = store_flags(w, "+FLAGS.SILENT (\\Deleted)");
    if (code != ERR_OK)
        return code;
    imap_begin(w->imap);
    imap_word(w->imap, "UID EXPUNGE ");
    if (!put_set(w))
        return ERR_SYNTAX;
    return run(w);
}

static enum err_code delete_them(struct web *w, struct span folder, const char **done)
{
    struct span trash;
    enum err_code code = web_special(w, T_TRASH, &trash);
    if (code != ERR_OK)
        return code;
    const struct folder *f = web_folder(w, folder);
    bool for_good = span_eq(trash, folder) || (f && f->use == T_DRAFTS);
    *done = for_good ? "purged" : "deleted";
    return for_good ? expunge(w) : move_to(w, trash);
}

static enum err_code all_read(struct web *w)
{
    imap_begin(w->imap);
    imap_word(w->imap, "UID STORE 1:* +FLAGS.SILENT (\\Seen)");
    return run(w);
}

static const struct {
    const char *op, *change;
} marks[] = {{"read", "+FLAGS.SILENT (\\Seen)"},
             {"unread", "-FLAGS.SILENT (\\Seen)"},
             {"flag", "+FLAGS.SILENT (\\Flagged)"},
             {"unflag", "-FLAGS.SILENT (\\Flagged)"}};

static enum err_code act(struct web *w, struct span folder, uint32_t exists, const char **done)
{
    struct span op = request_form(&w->req, "op");
    *done = "marked";
    if (span_eq(op, SPAN("allread")))
        return exists ? all_read(w) : ERR_OK;
    if (!any_ticked(w)) {
        *done = "none";
        return ERR_OK;
    }
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (span_eq(op, span_str(marks[i].op)))
            return store_flags(w, marks[i].change);
    if (span_eq(op, SPAN("delete")))
        return delete_them(w, folder, done);
    if (span_eq(op, SPAN("move"))) {
        *done = "moved";
        return move_to(w, request_form(&w->req, "to"));
    }
    return ERR_SYNTAX;
}

enum err_code page_act(struct web *w)
{
    struct span folder = request_form(&w->req, "f");
    struct box box;
    const char *done = "";
    enum err_code code = web_folders(w);
    if (code == ERR_OK)
        code = web_select(w, folder, request_form_num(&w->req, "v"), &box);
    if (code == ERR_OK)
        code = act(w, folder, box.exists, &done);
    if (code == ERR_OK)
        web_redirect(w, web_url(w, "/list?f=%u&q=%u&w=%u&p=%d&done=%u", folder, request_form(&w->req, "q"),
                                request_form(&w->req, "w"), request_form_num(&w->req, "p"), span_str(done)));
    return code;
}
