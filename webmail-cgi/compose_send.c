/* Keeping and sending. The order is the hard part: submit first, then the copy, then the marks, then the
 * draft goes; a failure after the submission is told, never repeated by itself. */
#include "webmail-cgi/compose.h"
#include "webmail-cgi/shown.h"
#include "webmail-cgi/submit.h"
#include "common/base/log.h"
#include <stdio.h>
#include <stdlib.h>

/* The kept files of the source message, decoded into bufs (to be freed by the caller). */
static enum err_code load_kept(struct web *w, const struct compose *c, struct write_file *files,
                               struct buf *bufs, size_t *count)
{
    struct box box;
    struct message m;
    if (!c->source_uid || !c->keep_count)
        return ERR_OK;
    enum err_code code = web_select(w, c->source_folder, c->source_validity, &box);
    if (code == ERR_OK)
        code = web_message(w, c->source_uid, &m);
    for (size_t i = 0; i < c->keep_count && code == ERR_OK; i++) {
        const struct part *p = part_find(m.root, c->keep[i]);
        bool cut = false;
        if (!p)
            return ERR_MISSING;
        struct buf *b = &bufs[*count];
        buf_init(b, IMAP_ANSWER_LIMIT);
        code = web_part(w, c->source_uid, p, IMAP_ANSWER_LIMIT / 2, false, b, &cut);
        if (code == ERR_OK && cut)
            code = ERR_LIMIT;
        char type[128];
        snprintf(type, sizeof type, "%.*s/%.*s", SPAN_ARG(span_first(p->type, 60)),
                 SPAN_ARG(span_first(p->subtype, 60)));
        files[*count] =
            (struct write_file){shown_file_name(w, p), arena_dup(w->a, span_str(type)), buf_span(b)};
        ++*count;
    }
    return code;
}

enum err_code compose_build(struct web *w, const struct compose *c, bool keep_bcc, struct span message_id,
                            struct buf *out)
{
    size_t count = 0, kept, total = c->keep_count + w->req.upload_count;
    struct write_file *files = arena_array(w->a, total + 1, sizeof *files);
    struct buf *bufs = arena_array(w->a, total + 1, sizeof *bufs);
    if (!files || !bufs)
        return ERR_LIMIT;
    enum err_code code = load_kept(w, c, files, bufs, &count);
    kept = count;
    for (size_t i = 0; i < w->req.upload_count; i++)
        files[count++] = (struct write_file){w->req.uploads[i].name, w->req.uploads[i].type,
                                             buf_span(&w->req.uploads[i].data)};
    struct write_mail m = {.from_name = w->session.name,
                           .from = w->session.address,
                           .to = c->to,
                           .cc = c->cc,
                           .bcc = c->bcc,
                           .subject = c->subject,
                           .body = c->body,
                           .in_reply_to = c->in_reply_to,
                           .references = c->references,
                           .keep_bcc = keep_bcc,
                           .date_s = w->now_s,
                           .message_id = message_id,
                           .files = files,
                           .file_count = count};
    if (code == ERR_OK)
        code = write_message(&m, out);
    for (size_t i = 0; i < kept; i++)
        buf_free(&bufs[i]);
    return code;
}

enum err_code compose_append(struct web *w, int use, struct span message, const char *flags,
                             struct span *folder, uint32_t *uid, uint32_t *validity)
{
    struct imap_answer answer;
    *uid = *validity = 0;
    enum err_code code = web_special(w, use, folder);
    if (code != ERR_OK)
        return code;
    imap_begin(w->imap);
    imap_word(w->imap, "APPEND ");
    imap_folder(w->imap, *folder);
    imap_word(w->imap, flags);
    imap_str(w->imap, message);
    code = imap_run(w->imap, w->a, &answer, &w->why);
    struct span rest = answer.code;
    if (code == ERR_OK && span_caseeq(span_cut(&rest, ' '), SPAN("APPENDUID"))) {
        struct span v = span_cut(&rest, ' ');
        if (!span_u32(v, validity) || !span_u32(rest, uid))
            *uid = *validity = 0;
    }
    return code;
}

/* The draft that this message was goes for good. */
enum err_code compose_discard(struct web *w, const struct compose *c)
{
    struct imap_answer answer;
    struct box box;
    if (!c->source_is_draft || !c->source_uid)
        return ERR_OK;
    enum err_code code = web_select(w, c->source_folder, c->source_validity, &box);
    if (code == ERR_OK)
        code = web_store(w, c->source_uid, "+FLAGS.SILENT (\\Deleted)");
    if (code != ERR_OK)
        return code;
    imap_begin(w->imap);
    imap_word(w->imap, "UID EXPUNGE ");
    imap_num(w->imap, c->source_uid);
    return imap_run(w->imap, w->a, &answer, &w->why);
}

enum err_code compose_save(struct web *w, struct compose *c)
{
    struct buf message;
    struct span folder;
    uint32_t uid, validity;
    buf_init(&message, 256 << 20);
    enum err_code code = compose_build(w, c, true, write_message_id(w->a, w->session.address), &message);
    if (code == ERR_OK)
        code =
            compose_append(w, T_DRAFTS, buf_span(&message), " (\\Draft \\Seen) ", &folder, &uid, &validity);
    buf_free(&message);
    if (code != ERR_OK)
        return code;
    code = compose_discard(w, c); /* the earlier state */
    if (code != ERR_OK && code != ERR_MISSING)
        return code;
    c->source_folder = folder;
    c->source_uid = uid;
    c->source_validity = validity;
    c->source_is_draft = true;
    return ERR_OK;
}

static enum err_code refused(struct web *w, struct compose *c, int error, struct span a0, struct span a1)
{
    c->error = error;
    c->error_a = arena_dup(w->a, a0);
    c->error_b = arena_dup(w->a, a1);
    return ERR_STATE;
}

static enum err_code hand_over(struct web *w, struct compose *c, struct span message, const struct span *to,
                               size_t count)
{
    struct submission s = {.from = w->session.address, .to = to, .to_count = count, .message = message};
    struct submit_refusal r;
    struct buf path;
    buf_init(&path, 4096);
    enum err_code code = ERR_BUG;
    if (conf_path(w->conf->run_dir, "smtpd/webmail", &path) && buf_add_char(&path, 0))
        code = submit(path.p, span_str(w->session.token), &s, &r, &w->why);
    buf_free(&path);
    if (code != ERR_OK)
        log_event(LOG_WARN, NULL, "web.send.failed", F_STR("code", err_name(code)), F_STR("why", w->why.log));
    if (code == ERR_RETRY || code == ERR_BUG || code == ERR_LIMIT)
        return refused(w, c, T_ERR_SEND_RETRY, SPAN(""), SPAN(""));
    if (code == ERR_STATE)
        return refused(w, c, T_ERR_SEND_UNKNOWN, SPAN(""), SPAN(""));
    if (code == ERR_DENIED && !r.text[0] && !r.address.n) {
        w->expired = true;
        return ERR_DENIED;
    }
    if (code != ERR_OK)
        return refused(w, c, T_ERR_REFUSED, r.address.n ? r.address : SPAN("–"), span_str(r.text));
    return ERR_OK;
}

static void mark_answered(struct web *w, const struct compose *c)
{
    struct box box;
    if (!c->answered_uid || web_select(w, c->answered_folder, c->answered_validity, &box) != ERR_OK)
        return;
    if (web_store(w, c->answered_uid,
                  c->is_forward ? "+FLAGS.SILENT ($Forwarded)" : "+FLAGS.SILENT (\\Answered)") != ERR_OK)
        log_event(LOG_WARN, NULL, "web.mark.failed", F_STR("why", w->why.log)); /* the mail itself is sent */
}

enum err_code compose_send(struct web *w, struct compose *c, bool *copy_kept)
{
    struct span lists[] = {c->to, c->cc, c->bcc}, *to, bad = SPAN(""), folder;
    size_t count;
    uint32_t uid, validity;
    struct buf message;
    enum err_code code = write_recipients(w->a, lists, 3, 1000, &to, &count, &bad);
    if (code != ERR_OK)
        return refused(w, c, T_ERR_BAD_ADDRESS, code == ERR_SYNTAX ? bad : SPAN("> 1000"), SPAN(""));
    if (!count)
        return refused(w, c, T_ERR_NO_RECIPIENT, SPAN(""), SPAN(""));
    struct span id = write_message_id(w->a, w->session.address);
    buf_init(&message, 256 << 20);
    code = compose_build(w, c, false, id, &message);
    if (code == ERR_OK)
        code = hand_over(w, c, buf_span(&message), to, count);
    if (code == ERR_OK) { /* sent: from here on nothing may look like a failure to send */
        bool whole = true;
        if (c->bcc.n) { /* the own copy remembers them */
            buf_reset(&message);
            whole = compose_build(w, c, true, id, &message) == ERR_OK;
        }
        *copy_kept = whole && compose_append(w, T_SENT, buf_span(&message), " (\\Seen) ", &folder, &uid,
                                             &validity) == ERR_OK;
        if (!*copy_kept)
            log_event(LOG_WARN, NULL, "web.copy.failed", F_STR("why", w->why.log));
    }
    buf_free(&message);
    if (code != ERR_OK)
        return code;
    mark_answered(w, c);
    if (*copy_kept && compose_discard(w, c) != ERR_OK)
        log_event(LOG_WARN, NULL, "web.draft.kept", F_STR("why", w->why.log));
    return ERR_OK;
}
