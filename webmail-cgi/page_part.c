/* What is not a page: files, the sealed frame of an HTML part, a message's source. The hard problem is that
 * these bytes are a stranger's: files are always downloads of an inert type, and the frame has a policy of
 * its own that lets it load nothing. */
#include "webmail-cgi/html/html.h"
#include "webmail-cgi/shown.h"
#include "common/mime/codec.h"
#include <stdio.h>

enum {
    PIECE = 768 * 1024,
    HTML_SHOW_LIMIT = 2 << 20,
    PICTURE_LIMIT = 4 << 20,
    PICTURES_LIMIT = 12 << 20,
    SOURCE_LIMIT = 1 << 20
};

struct target {
    struct box box;
    uint32_t uid;
    struct message m;
    const struct part *part;
};

static enum err_code find(struct web *w, struct target *t, bool want_part)
{
    t->uid = request_query_num(&w->req, "u");
    enum err_code code = web_select(w, request_query(&w->req, "f"), request_query_num(&w->req, "v"), &t->box);
    if (code == ERR_OK)
        code = web_message(w, t->uid, &t->m);
    if (code == ERR_OK && want_part && !(t->part = part_find(t->m.root, request_query(&w->req, "s"))))
        code = ERR_MISSING;
    return code;
}

/* attachment; filename="ascii"; filename*=UTF-8''... (RFC 6266). */
static void disposition(struct web *w, struct span name)
{
    struct buf b;
    buf_init(&b, 65536);
    bool ok = buf_add_str(&b, "attachment; filename=\"");
    for (size_t i = 0; i < name.n && ok; i++) {
        unsigned char c = (unsigned char)name.p[i];
        ok = buf_add_char(&b, c < 0x20 || c >= 0x7f || strchr("\"\\/%", c) ? '_' : (char)c);
    }
    ok = ok && buf_add_str(&b, "\"; filename*=UTF-8''") && url_encode(&b, name);
    if (ok)
        page_head(&w->page, "Content-Disposition", buf_span(&b));
    w->page.full = w->page.full || !ok;
    buf_free(&b);
}

static void inert(struct web *w, struct span type)
{
    page_head(&w->page, "Content-Type", type);
    page_head(&w->page, "Content-Security-Policy",
              SPAN("default-src 'none'; sandbox; frame-ancestors 'none'"));
}

/* Types whose name helps the reader's programs and that no browser runs; others are bytes. */
static struct span download_type(const struct part *p)
{
    static const char *const good[] = {"application/pdf", "application/zip", "image/png", "image/jpeg",
                                       "image/gif",       "image/webp",      "text/plain"};
    char t[64];
    snprintf(t, sizeof t, "%.*s/%.*s", SPAN_ARG(span_first(p->type, 30)),
             SPAN_ARG(span_first(p->subtype, 30)));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (strcmp(good[i], t) == 0)
            return span_str(good[i]);
    return SPAN("application/octet-stream");
}

/* Send a section piece by piece, decoded. The head goes out with the first piece, so that a failure before it
 * is still an error page; a later one cuts the answer. */
static enum err_code stream(struct web *w, uint32_t uid, struct span section, enum mime_encoding encoding)
{
    struct codec c;
    struct buf out;
    struct arena *page_arena = w->a;
    codec_init(&c, encoding);
    buf_init(&out, 4 * PIECE);
    enum err_code code = ERR_OK;
    bool last = false;
    for (uint64_t at = 0; !last && code == ERR_OK; at += PIECE) {
        struct span raw;
        w->a = arena_new(8 * PIECE);
        code = web_section(w, uid, section, at, PIECE, &raw);
        last = code != ERR_OK || raw.n < PIECE;
        buf_reset(&out);
        if (code == ERR_OK && !codec_decode(&c, raw, last, &out))
            code = ERR_LIMIT;
        if (code == ERR_OK && ((!w->streamed && !page_send_heads(&w->page)) || !page_write(buf_span(&out))))
            code = ERR_BUG; /* the reader went away */
        w->streamed = w->streamed || code == ERR_OK;
        arena_free(&w->a);
    }
    w->a = page_arena;
    buf_free(&out);
    return code;
}

enum err_code page_part(struct web *w)
{
    struct target t = {0};
    enum err_code code = find(w, &t, true);
    if (code != ERR_OK)
        return code;
    inert(w, download_type(t.part));
    disposition(w, shown_file_name(w, t.part));
    return stream(w, t.uid, t.part->section, part_is(t.part, "message", NULL) ? MIME_8BIT : t.part->encoding);
}

enum err_code page_raw(struct web *w)
{
    struct target t = {0};
    enum err_code code = find(w, &t, false);
    if (code != ERR_OK)
        return code;
    struct part whole = {
        .type = SPAN("message"), .subtype = SPAN("rfc822"), .filename = SPAN(""), .inner = t.m.env};
    inert(w, SPAN("application/octet-stream"));
    disposition(w, shown_file_name(w, &whole));
    return stream(w, t.uid, SPAN(""), MIME_8BIT);
}

enum err_code page_source(struct web *w)
{
    struct target t = {0};
    struct span raw;
    struct buf valid;
    enum err_code code = web_folders(w);
    if (code == ERR_OK)
        code = find(w, &t, false);
    if (code == ERR_OK)
        code = web_section(w, t.uid, SPAN(""), 0, SOURCE_LIMIT, &raw);
    if (code != ERR_OK)
        return code;
    struct page *p = &w->page;
    buf_init(&valid, 4 * (size_t)SOURCE_LIMIT);
    web_begin(w, span_str(text(p->lang, T_SHOW_SOURCE)), request_query(&w->req, "f"));
    PUT(p, "<h1>%t</h1>", T_SHOW_SOURCE);
    if (raw.n >= SOURCE_LIMIT)
        web_notice(w, "bad", T_CUT, SPAN_NONE, SPAN_NONE);
    if (web_to_utf8(raw, &valid))
        PUT(p, "<pre class=\"source\" tabindex=\"0\">%h</pre>", buf_span(&valid));
    web_end(w);
    buf_free(&valid);
    return ERR_OK;
}

/* ------------------------------------------------------------------------------------- the sealed frame */

struct pictures {
    struct web *w;
    struct target *t;
    size_t bytes;
};

static const struct part *by_content_id(const struct part *p, struct span cid)
{
    for (; p; p = p->next) {
        if (part_is(p, "image", NULL) && p->content_id.n && span_eq(p->content_id, cid))
            return p;
        const struct part *inside = by_content_id(p->child, cid);
        if (inside)
            return inside;
    }
    return NULL;
}

/* What the bytes are, whatever they are called. */
static const char *picture_type(struct span s)
{
    if (span_starts(s, SPAN("\x89PNG\r\n\x1a\n")))
        return "image/png";
    if (span_starts(s, SPAN("\xff\xd8\xff")))
        return "image/jpeg";
    if (span_starts(s, SPAN("GIF87a")) || span_starts(s, SPAN("GIF89a")))
        return "image/gif";
    if (span_starts(s, SPAN("RIFF")) && s.n > 12 && span_starts(span_drop(s, 8), SPAN("WEBP")))
        return "image/webp";
    return NULL;
}

static bool picture(void *arg, struct span cid, struct buf *out)
{
    struct pictures *ps = arg;
    const struct part *p = by_content_id(ps->t->m.root, cid);
    if (!p || p->size > PICTURE_LIMIT || ps->bytes + p->size > PICTURES_LIMIT)
        return false;
    struct buf b;
    bool cut = false;
    buf_init(&b, PICTURE_LIMIT + 1024);
    bool ok = web_part(ps->w, ps->t->uid, p, PICTURE_LIMIT, false, &b, &cut) == ERR_OK && !cut;
    const char *type = ok ? picture_type(buf_span(&b)) : NULL;
    ok = type && buf_addf(out, "data:%s;base64,", type) && base64_encode(buf_span(&b), 0, out);
    ps->bytes += b.n;
    buf_free(&b);
    return ok;
}

static void put_frame(struct web *w, struct span html, const struct html_result *r)
{
    struct page *p = &w->page;
    char n[16];
    page_head(p, "Content-Security-Policy",
              SPAN("default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; "
                   "base-uri 'none'; "
                   "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"));
    PUT(p,
        "<!DOCTYPE html><html lang=\"%s\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width, "
        "initial-scale=1\"><title>%t</title><style>html{color-scheme:light;background:#fff;"
        "color:#111}body{margin:12px;font:16px/1.5 "
        "system-ui,sans-serif;overflow-wrap:break-word}img{max-width:100%%;"
        "height:auto}table{max-width:100%%}blockquote{margin:0 0 0 .8em;padding-left:.8em;border-left:3px "
        "solid #ccc}"
        ".provmail-note{margin:0 0 12px;padding:8px 12px;background:#fff4d6;border-left:4px solid "
        "#b26a00;font-size:14px}"
        "</style></head><body>",
        lang_code(p->lang), T_MESSAGE_TEXT);
    if (r->blocked) {
        snprintf(n, sizeof n, "%u", r->blocked);
        PUT(p, "<p class=\"provmail-note\">");
        page_words(p, T_BLOCKED, span_str(n), SPAN_NONE);
        PUT(p, "</p>");
    }
    p->full = p->full || !buf_add_span(&p->out, html); /* the re-serialiser's own writing */
    PUT(p, "</body></html>");
}

enum err_code page_html(struct web *w)
{
    struct target t = {0};
    struct buf utf8, safe;
    bool cut = false;
    enum err_code code = find(w, &t, true);
    if (code == ERR_OK && !part_is(t.part, "text", "html"))
        code = ERR_MISSING;
    if (code != ERR_OK)
        return code;
    buf_init(&utf8, 8 * (size_t)HTML_SHOW_LIMIT);
    buf_init(&safe, 48 << 20);
    code = web_part(w, t.uid, t.part, HTML_SHOW_LIMIT, true, &utf8, &cut);
    struct pictures ps = {w, &t, 0};
    struct html_opts opts = {picture, &ps};
    struct html_result r = {0};
    if (code == ERR_OK)
        code = html_serialise(buf_span(&utf8), &opts, &safe, &r);
    if (code == ERR_OK)
        put_frame(w, buf_span(&safe), &r);
    buf_free(&utf8);
    buf_free(&safe);
    return code;
}
