/* The mailbox as the pages use it: folders with their uses, one message, one part. Its hard problem is that
 * each page starts from nothing, so what it asks for is kept to few round trips. */
#include "webmail-cgi/web.h"
#include "common/mime/charset.h"
#include "common/mime/codec.h"
#include "common/mime/date.h"
#include <stdio.h>
#include <stdlib.h>

enum err_code web_mailbox(struct web *w)
{
    if (w->imap)
        return ERR_OK;
    struct buf path;
    buf_init(&path, 4096);
    enum err_code code = ERR_BUG;
    if (conf_path(w->conf->run_dir, "imapd/webmail", &path) && buf_add_char(&path, 0))
        code = imap_open(path.p, span_str(w->session.token), &w->imap, &w->why);
    buf_free(&path);
    w->expired = code == ERR_DENIED;
    return code;
}

static const struct {
    const char *flag, *name;
    int use;
} uses[] = {{"", "INBOX", T_INBOX},     {"\\Drafts", "Drafts", T_DRAFTS},
            {"\\Sent", "Sent", T_SENT}, {"\\Archive", "Archive", T_ARCHIVE},
            {"\\Junk", "Junk", T_JUNK}, {"\\Trash", "Trash", T_TRASH}};
enum { USES = sizeof uses / sizeof *uses };

static struct span folder_name(struct web *w, const struct imap_node *n)
{
    struct buf b;
    buf_init(&b, 8192);
    struct span s = SPAN_NONE;
    if (imap_name_decode(imap_text(n), &b))
        s = arena_dup(w->a, buf_span(&b));
    buf_free(&b);
    if (span_caseeq(s, SPAN("INBOX")))
        s = SPAN("INBOX");
    return s;
}

static void take_list(struct web *w, const struct imap_node *v)
{
    struct folder *f = arena_alloc(w->a, sizeof *f);
    if (!f)
        return;
    f->name = folder_name(w, imap_nth(v, 3));
    f->use = span_eq(f->name, SPAN("INBOX")) ? T_INBOX : -1;
    const struct imap_node *flags = imap_nth(v, 1);
    for (const struct imap_node *n = flags && flags->kind == IMAP_LIST ? flags->child : NULL; n;
         n = n->next) {
        f->no_select = f->no_select || imap_is(n, "\\Noselect") || imap_is(n, "\\NonExistent");
        for (size_t i = 1; i < USES; i++)
            if (imap_is(n, uses[i].flag))
                f->use = uses[i].use;
    }
    if (imap_text(imap_nth(v, 2)).n)
        w->delimiter = imap_text(imap_nth(v, 2));
    f->next = w->folders;
    w->folders = f;
}

static void take_status(struct web *w, const struct imap_node *v)
{
    struct span name = folder_name(w, imap_nth(v, 1));
    for (struct folder *f = w->folders; f; f = f->next)
        if (span_eq(f->name, name)) {
            f->messages = imap_number(imap_value(imap_nth(v, 2), "MESSAGES"));
            f->unseen = imap_number(imap_value(imap_nth(v, 2), "UNSEEN"));
        }
}

static int use_order(int use)
{
    for (int i = 0; i < (int)USES; i++)
        if (uses[i].use == use)
            return i;
    return USES;
}

static int by_place(const void *x, const void *y)
{
    const struct folder *a = *(struct folder *const *)x, *b = *(struct folder *const *)y;
    int d = use_order(a->use) - use_order(b->use);
    size_t n = a->name.n < b->name.n ? a->name.n : b->name.n;
    d = d ? d : memcmp(a->name.p, b->name.p, n);
    return d ? d : (a->name.n > b->name.n) - (a->name.n < b->name.n);
}

/* A folder called Sent is the Sent folder where none says so. */
static void guess_uses(struct web *w)
{
    for (size_t i = 1; i < USES; i++) {
        struct folder *named = NULL;
        bool marked = false;
        for (struct folder *f = w->folders; f; f = f->next) {
            marked = marked || f->use == uses[i].use;
            if (span_caseeq(f->name, span_str(uses[i].name)))
                named = f;
        }
        if (!marked && named && named->use < 0)
            named->use = uses[i].use;
    }
}

static void sort_folders(struct web *w)
{
    size_t n = 0, i = 0;
    for (struct folder *f = w->folders; f; f = f->next)
        n++;
    struct folder **v = arena_array(w->a, n + 1, sizeof *v);
    if (!v || !n)
        return;
    for (struct folder *f = w->folders; f; f = f->next)
        v[i++] = f;
    qsort(v, n, sizeof *v, by_place);
    for (i = 0; i < n; i++)
        v[i]->next = v[i + 1]; /* the last is the array's zero */
    w->folders = v[0];
}

enum err_code web_folders(struct web *w)
{
    struct imap_answer answer;
    if (w->folders)
        return ERR_OK;
    enum err_code code = web_mailbox(w);
    if (code != ERR_OK)
        return code;
    imap_begin(w->imap);
    imap_word(w->imap, imap_has(w->imap, "LIST-STATUS")
                           ? "LIST \"\" \"*\" RETURN (SPECIAL-USE STATUS (MESSAGES UNSEEN))"
                           : "LIST \"\" \"*\"");
    code = imap_run(w->imap, w->a, &answer, &w->why);
    if (code != ERR_OK)
        return code;
    for (const struct imap_line *l = answer.lines; l; l = l->next)
        if (imap_is(l->first, "LIST"))
            take_list(w, l->first);
    for (const struct imap_line *l = answer.lines; l; l = l->next)
        if (imap_is(l->first, "STATUS"))
            take_status(w, l->first);
    guess_uses(w);
    sort_folders(w);
    return ERR_OK;
}

const struct folder *web_folder(const struct web *w, struct span name)
{
    for (const struct folder *f = w->folders; f; f = f->next)
        if (span_eq(f->name, name))
            return f;
    return NULL;
}

enum err_code web_special(struct web *w, int use, struct span *out)
{
    struct imap_answer answer;
    enum err_code code = web_folders(w);
    if (code != ERR_OK)
        return code;
    for (const struct folder *f = w->folders; f; f = f->next)
        if (f->use == use && !f->no_select) {
            *out = f->name;
            return ERR_OK;
        }
    *out = span_str(uses[use_order(use)].name);
    imap_begin(w->imap);
    imap_word(w->imap, "CREATE ");
    imap_folder(w->imap, *out);
    if (imap_has(w->imap, "CREATE-SPECIAL-USE")) {
        imap_word(w->imap, " (USE (");
        imap_word(w->imap, uses[use_order(use)].flag);
        imap_word(w->imap, "))");
    }
    code = imap_run(w->imap, w->a, &answer, &w->why);
    if (code != ERR_OK)
        return code;
    imap_begin(w->imap);
    imap_word(w->imap, "SUBSCRIBE ");
    imap_folder(w->imap, *out);
    return imap_run(w->imap, w->a, &answer, &w->why);
}

enum err_code web_select(struct web *w, struct span folder, uint32_t expect, struct box *out)
{
    struct imap_answer answer;
    enum err_code code = web_mailbox(w);
    if (code != ERR_OK)
        return code;
    imap_begin(w->imap);
    imap_word(w->imap, "SELECT ");
    imap_folder(w->imap, folder);
    code = imap_run(w->imap, w->a, &answer, &w->why);
    if (code != ERR_OK)
        return code == ERR_STATE ? ERR_MISSING : code;
    *out = (struct box){0};
    for (const struct imap_line *l = answer.lines; l; l = l->next) {
        if (imap_is(imap_nth(l->first, 1), "EXISTS"))
            out->exists = imap_number(l->first);
        struct span s = imap_is(l->first, "OK") ? imap_text(imap_nth(l->first, 1)) : SPAN("");
        uint32_t *to = span_casestarts(s, SPAN("[UIDVALIDITY ")) ? &out->uidvalidity
                       : span_casestarts(s, SPAN("[UIDNEXT "))   ? &out->uidnext
                                                                 : NULL;
        struct span n = span_drop(s, span_find(s, ' ') + 1);
        if (to && !span_u32(span_first(n, span_find(n, ']')), to))
            *to = 0;
    }
    return expect && expect != out->uidvalidity ? ERR_MISSING : ERR_OK;
}

static void take_flags(struct message *m, const struct imap_node *n)
{
    for (n = n && n->kind == IMAP_LIST ? n->child : NULL; n; n = n->next) {
        m->seen = m->seen || imap_is(n, "\\Seen");
        m->flagged = m->flagged || imap_is(n, "\\Flagged");
        m->answered = m->answered || imap_is(n, "\\Answered");
        m->draft = m->draft || imap_is(n, "\\Draft");
        m->forwarded = m->forwarded || imap_is(n, "$Forwarded");
    }
}

void web_message_read(struct web *w, const struct imap_node *fetch, struct message *out)
{
    int zone;
    const struct imap_node *v;
    out->uid = imap_number(imap_value(fetch, "UID"));
    out->size = imap_number(imap_value(fetch, "RFC822.SIZE"));
    take_flags(out, imap_value(fetch, "FLAGS"));
    if (!date_imap_parse(imap_text(imap_value(fetch, "INTERNALDATE")), &out->received_s, &zone))
        out->received_s = 0;
    if ((v = imap_value(fetch, "ENVELOPE")))
        out->env = envelope_read(w->a, v);
    if ((v = imap_value(fetch, "BODYSTRUCTURE")))
        out->root = part_read(w->a, v, SPAN(""));
    out->preview = imap_text(imap_value(fetch, "PREVIEW"));
}

enum err_code web_message(struct web *w, uint32_t uid, struct message *out)
{
    struct imap_answer answer;
    *out = (struct message){0};
    imap_begin(w->imap);
    imap_word(w->imap, "UID FETCH ");
    imap_num(w->imap, uid);
    imap_word(w->imap, " (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)");
    enum err_code code = imap_run(w->imap, w->a, &answer, &w->why);
    for (const struct imap_line *l = answer.lines; code == ERR_OK && l; l = l->next)
        if (imap_is(imap_nth(l->first, 1), "FETCH") && imap_value(imap_nth(l->first, 2), "ENVELOPE")) {
            web_message_read(w, imap_nth(l->first, 2), out);
            out->seq = imap_number(l->first);
        }
    return code != ERR_OK ? code : out->env && out->root ? ERR_OK : ERR_MISSING;
}

enum err_code web_section(struct web *w, uint32_t uid, struct span section, uint64_t first, uint64_t want,
                          struct span *out)
{
    struct imap_answer answer;
    char range[64];
    char *name = xstrspan(section);
    imap_begin(w->imap);
    imap_word(w->imap, "UID FETCH ");
    imap_num(w->imap, uid);
    imap_word(w->imap, " (BODY.PEEK[");
    imap_word(w->imap, name);
    snprintf(range, sizeof range, "]<%llu.%llu>)", (unsigned long long)first, (unsigned long long)want);
    imap_word(w->imap, range);
    free(name);
    enum err_code code = imap_run(w->imap, w->a, &answer, &w->why);
    if (code != ERR_OK)
        return code;
    for (const struct imap_line *l = answer.lines; l; l = l->next) {
        const struct imap_node *v =
            imap_is(imap_nth(l->first, 1), "FETCH") ? imap_value(imap_nth(l->first, 2), "BODY[") : NULL;
        if (v) {
            *out = imap_text(v);
            return ERR_OK;
        }
    }
    return ERR_MISSING;
}

enum err_code web_part(struct web *w, uint32_t uid, const struct part *p, size_t limit, bool as_text,
                       struct buf *out, bool *cut)
{
    struct span raw;
    struct codec c;
    enum err_code code = web_section(w, uid, p->section, 0, limit, &raw);
    if (code != ERR_OK)
        return code;
    *cut = raw.n >= limit && p->size > raw.n;
    codec_init(&c, p->encoding);
    if (!as_text)
        return codec_decode(&c, raw, true, out) ? ERR_OK : ERR_LIMIT;
    struct buf bytes;
    buf_init(&bytes, raw.n + 64);
    code =
        codec_decode(&c, raw, true, &bytes) ? charset_to_utf8(p->charset, buf_span(&bytes), out) : ERR_LIMIT;
    buf_free(&bytes);
    return code == ERR_MISSING ? ERR_OK : code; /* an unknown charset was read as well as possible */
}

bool web_to_utf8(struct span bytes, struct buf *out)
{
    return charset_to_utf8(SPAN(""), bytes, out) != ERR_LIMIT;
}

enum err_code web_store(struct web *w, uint32_t uid, const char *change)
{
    struct imap_answer answer;
    imap_begin(w->imap);
    imap_word(w->imap, "UID STORE ");
    imap_num(w->imap, uid);
    imap_word(w->imap, " ");
    imap_word(w->imap, change);
    return imap_run(w->imap, w->a, &answer, &w->why);
}
