/* Plain text for the eye. Its hard problem is links: only http, https and mail addresses become links, their
 * ends are guessed as people write them (no closing bracket, no full stop), and everything is quoted. */
#include "webmail-cgi/shown.h"
#include "webmail-cgi/html/html.h"
#include <stdio.h>

static bool url_byte(char c)
{
    return (unsigned char)c > 0x20 && c != '<' && c != '>' && c != '"' && c != 0x7f;
}

/* The length of an address at the front of s, 0 when there is none. */
static size_t url_at(struct span s)
{
    if (!span_casestarts(s, SPAN("http://")) && !span_casestarts(s, SPAN("https://")) &&
        !span_casestarts(s, SPAN("www.")))
        return 0;
    size_t n = 0;
    int open = 0;
    while (n < s.n && n < 2000 && url_byte(s.p[n])) {
        open += s.p[n] == '(';
        if (s.p[n] == ')' && --open < 0)
            break;
        n++;
    }
    while (n && memchr(".,;:!?'*_", s.p[n - 1], 9))
        n--;
    return n > 10 || span_casestarts(s, SPAN("www.")) ? n : 0;
}

static void put_links(struct page *p, struct span s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        char before = i ? s.p[i - 1] : ' ';
        bool start = (s.p[i] | 0x20) == 'h' || (s.p[i] | 0x20) == 'w';
        bool word = (before >= '0' && before <= '9') || ((before | 0x20) >= 'a' && (before | 0x20) <= 'z');
        size_t n = start && !word ? url_at(span_drop(s, i)) : 0;
        if (!n)
            continue;
        struct span url = span_of(s.p + i, n);
        html_text(p, span_of(s.p + from, i - from));
        PUT(p, "<a href=\"%s%h\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">%h</a>",
            (s.p[i] | 0x20) == 'w' ? "https://" : "", url, url);
        i += n - 1;
        from = i + 1;
    }
    html_text(p, span_drop(s, from));
}

void shown_text(struct page *p, struct span s)
{
    unsigned level = 0;
    PUT(p, "<div class=\"text\">");
    while (s.n) {
        struct span line = span_cut(&s, '\n');
        if (span_ends(line, SPAN("\r")))
            line.n--;
        unsigned quotes = 0;
        for (size_t i = 0; i < line.n && (line.p[i] == '>' || line.p[i] == ' ') && quotes < 4; i++)
            quotes += line.p[i] == '>';
        if (line.n && line.p[0] != '>')
            quotes = 0;
        if (quotes != level) {
            if (level)
                PUT(p, "</div>");
            if (quotes)
                PUT(p, "<div class=\"q q%d\">", (int)quotes);
            level = quotes;
        }
        put_links(p, line);
        PUT(p, "\n");
    }
    if (level)
        PUT(p, "</div>");
    PUT(p, "</div>\n");
}

enum err_code shown_html_as_text(struct page *p, struct span utf8)
{
    struct buf plain;
    buf_init(&plain, 3 * utf8.n + 1024);
    enum err_code code = html_plain(utf8, &plain);
    if (code == ERR_OK)
        shown_text(p, buf_span(&plain));
    buf_free(&plain);
    return code;
}

void shown_more_files(struct web *w, const struct view *v)
{
    char n[16];
    snprintf(n, sizeof n, "%u", v->more_files);
    if (v->more_files)
        web_notice(w, "bad", T_MORE_FILES, span_str(n), SPAN_NONE);
}

/* How the name of a part that has none ends. */
static struct span extension(const struct part *p)
{
    static const struct {
        const char *subtype, *end;
    } rows[] = {{"plain", "txt"},   {"delivery-status", "txt"}, {"rfc822-headers", "txt"},
                {"rfc822", "eml"},  {"calendar", "ics"},        {"vcard", "vcf"},
                {"x-vcard", "vcf"}, {"octet-stream", "bin"},    {"pkcs7-signature", "p7s"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (span_eq(p->subtype, span_str(rows[i].subtype)))
            return span_str(rows[i].end);
    return span_first(p->subtype, 20);
}

struct span shown_file_name(struct web *w, const struct part *part)
{
    char made[200];
    struct span name = part->filename;
    for (size_t i = name.n; i-- > 0;)
        if (name.p[i] == '/' || name.p[i] == '\\') {
            name = span_drop(name, i + 1);
            break;
        }
    if (name.n)
        return name;
    bool mail = part_is(part, "message", "rfc822");
    if (mail && part->inner && part->inner->subject.n)
        snprintf(made, sizeof made, "%.*s.eml", SPAN_ARG(span_first(part->inner->subject, 100)));
    else
        snprintf(made, sizeof made, "%s.%.*s", text(w->page.lang, T_UNNAMED), SPAN_ARG(extension(part)));
    struct span s = arena_dup(w->a, span_str(made));
    return s.p ? s : SPAN("file");
}
