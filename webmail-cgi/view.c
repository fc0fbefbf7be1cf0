/* What of a message is shown and what is offered as a file. Its hard problem is an alternative: one of its
 * branches is shown, and the others are not only the same text again; mail programs put attachments, pictures
 * and invitations into them. Nothing that a sender attached may be out of reach, so what is not shown is a
 * file. */
#include "webmail-cgi/web.h"

enum { DEPTH = 64 };

static bool is_readable(const struct part *p)
{
    return part_is(p, "text", "plain") || part_is(p, "text", "html");
}

static bool is_attached(const struct part *p)
{
    return span_eq(p->disposition, SPAN("attachment"));
}

static void add_file(struct view *v, const struct part *p)
{
    if (v->file_count < WEB_FILES_LIMIT)
        v->files[v->file_count++] = p;
    else
        v->more_files++;
}

/* A picture that the HTML beside it may show in its text. */
static void add_related(struct view *v, const struct part *p)
{
    if (v->related_count < WEB_FILES_LIMIT)
        v->related[v->related_count++] = p;
    else
        v->more_files++;
}

static bool is_related(const struct part *parent, const struct part *p)
{
    return part_is(parent, "multipart", "related") && p != parent->child && part_is(p, "image", NULL) &&
           p->content_id.n && !is_attached(p);
}

static bool has_html(const struct part *p)
{
    if (part_is(p, "text", "html"))
        return true;
    for (const struct part *c = part_is(p, "multipart", NULL) ? p->child : NULL; c; c = c->next)
        if (has_html(c))
            return true;
    return false;
}

/* A branch that is not shown: its texts say what the shown one says, everything else in it is a file. */
static void view_rest(const struct part *p, struct view *v, unsigned depth)
{
    if (!part_is(p, "multipart", NULL)) {
        if (!part_is(p, "text", NULL) || part_is(p, "text", "calendar") || is_attached(p))
            add_file(v, p);
        return;
    }
    for (const struct part *c = depth ? p->child : NULL; c; c = c->next)
        if (is_related(p, c))
            add_related(v, c);
        else
            view_rest(c, v, depth - 1);
}

static void view_part(const struct part *p, bool prefer_text, struct view *v, unsigned depth);

static void view_alternative(const struct part *p, bool prefer_text, struct view *v, unsigned depth)
{
    const struct part *html = NULL, *plain = NULL;
    for (const struct part *c = p->child; c; c = c->next) {
        if (has_html(c))
            html = c;
        else if (part_first_text(c) && part_is(part_first_text(c), "text", "plain"))
            plain = c;
    }
    const struct part *chosen = (prefer_text && plain) || !html ? plain : html;
    v->has_both = v->has_both || (html && plain);
    for (const struct part *c = depth ? p->child : NULL; c; c = c->next)
        if (c == chosen || !chosen)
            view_part(c, prefer_text, v, depth - 1);
        else
            view_rest(c, v, depth - 1);
}

static void view_part(const struct part *p, bool prefer_text, struct view *v, unsigned depth)
{
    if (part_is(p, "multipart", "alternative")) {
        view_alternative(p, prefer_text, v, depth);
    } else if (part_is(p, "multipart", NULL)) {
        for (const struct part *c = depth ? p->child : NULL; c; c = c->next)
            if (is_related(p, c))
                add_related(v, c);
            else
                view_part(c, prefer_text, v, depth - 1);
    } else if (is_readable(p) && !is_attached(p) && !(p->filename.n && v->shown_count) &&
               v->shown_count < WEB_SHOWN_LIMIT) {
        v->shown[v->shown_count++] = p;
    } else {
        add_file(v, p);
    }
}

void web_view(const struct part *root, bool prefer_text, struct view *out)
{
    *out = (struct view){0};
    view_part(root, prefer_text, out, DEPTH);
    for (size_t i = 0; prefer_text && i < out->related_count; i++) /* no HTML shows them */
        add_file(out, out->related[i]);
    if (prefer_text)
        out->related_count = 0;
}
