/* Prints what the MIME parser makes of each message named on the command line, a JSON object a line, for
 * tests/unit/mime_corpus.py. Each message is also parsed in pieces (byte by byte when it is small, and in
 * pieces of 7, 1000 and 4093 bytes); "split" says whether every record was the same. */
#include "common/mime/charset.h"
#include "common/mime/codec.h"
#include "common/mime/parse.h"
#include <stdio.h>
#include <stdlib.h>

static void put_json(const char *key, struct span s, bool more)
{
    printf("\"%s\": \"", key);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 32 || c == '"' || c == '\\' || c == 127)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    printf("\"%s", more ? ", " : "");
}

/* Raw bytes, each as one Latin-1 character. */
static void put_raw(const char *key, struct span s, bool more)
{
    printf("\"%s\": \"", key);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 32 || c == '"' || c == '\\' || c > 126)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    printf("\"%s", more ? ", " : "");
}

static bool same_in_pieces(struct span message, struct span record, size_t piece)
{
    struct mime_parser *p = mime_parser_new();
    for (struct span rest = message; rest.n; rest = span_drop(rest, piece)) {
        char *copy = xmalloc(piece); /* so that a read beyond a piece is seen by ASan */
        struct span one = span_first(rest, piece);
        char *at = copy + (piece - one.n);
        memcpy(at, one.p, one.n);
        mime_parser_feed(p, span_of(at, one.n));
        free(copy);
    }
    bool same = span_eq(mime_parser_finish(p), record);
    mime_parser_free(&p);
    return same;
}

static void put_text(struct span message, const struct mime_meta *m)
{
    struct buf raw, text;
    buf_init(&raw, message.n * 2 + 100);
    buf_init(&text, message.n * 8 + 100);
    for (size_t i = 0; i < m->part_count; i++) {
        const struct mime_part *p = &m->parts[i];
        if (!span_eq(p->type, SPAN("text")) || p->kind != MIME_LEAF)
            continue;
        struct codec c;
        codec_init(&c, p->encoding);
        if (!codec_decode(&c, span_first(span_drop(message, p->body_at), p->body_n), true, &raw) ||
            charset_to_utf8(p->charset, buf_span(&raw), &text) == ERR_LIMIT)
            exit(3);
        break;
    }
    put_json("body", buf_span(&text), true);
    buf_free(&raw);
    buf_free(&text);
}

static void put_parts(const struct mime_meta *m)
{
    printf("\"parts\": [");
    for (size_t i = 0; i < m->part_count; i++) {
        const struct mime_part *p = &m->parts[i];
        printf("%s{\"kind\": %d, \"parent\": %d, ", i ? ", " : "", p->kind,
               p->parent == MIME_NO_PART ? -1 : p->parent);
        printf(
            "\"header_at\": %llu, \"header_n\": %llu, \"body_at\": %llu, \"body_n\": %llu, \"lines\": %u, ",
            (unsigned long long)p->header_at, (unsigned long long)p->header_n, (unsigned long long)p->body_at,
            (unsigned long long)p->body_n, p->lines);
        put_json("type", p->type, true);
        put_json("subtype", p->subtype, true);
        put_json("number", p->number, true);
        put_json("filename", p->filename, false);
        printf("}");
    }
    printf("], ");
}

static int dump(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    struct buf message, record;
    buf_init(&message, 200 << 20);
    buf_init(&record, MIME_META_LIMIT);
    char chunk[65536];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        if (!buf_add(&message, chunk, n))
            return 1;
    fclose(f);
    struct arena *a = arena_new(64 << 20);
    struct mime_meta m;
    if (mime_parse(buf_span(&message), &record) != ERR_OK ||
        mime_meta_read(buf_span(&record), a, &m) != ERR_OK)
        return 2;
    static const size_t pieces[] = {7, 1000, 4093, 1};
    bool same = true;
    for (size_t i = 0; i < 3 + (message.n < 100000); i++)
        same = same && same_in_pieces(buf_span(&message), buf_span(&record), pieces[i]);
    printf("{");
    put_json("file", span_str(path), true);
    printf("\"split\": %s, \"size\": %llu, \"header_n\": %llu, \"flags\": %u, \"date\": %lld, ",
           same ? "true" : "false", (unsigned long long)m.size, (unsigned long long)m.header_n, m.flags,
           (long long)m.date);
    put_text(buf_span(&message), &m);
    put_parts(&m);
    put_raw("envelope", m.envelope, true);
    put_raw("bodyshort", m.body, true);
    put_raw("bodystructure", m.bodystructure, true);
    put_json("subject", m.subject, true);
    put_json("from", m.from, true);
    put_json("to", m.to, true);
    put_json("from_addr", m.from_addr, true);
    put_json("cc_addr", m.cc_addr, true);
    put_raw("message_id", m.message_id, true);
    put_json("base_subject", m.base_subject, true);
    put_json("preview", m.preview, false);
    printf("}\n");
    arena_free(&a);
    buf_free(&message);
    buf_free(&record);
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (dump(argv[i]) != 0) {
            fprintf(stderr, "mimedump: %s failed\n", argv[i]);
            return 1;
        }
    return 0;
}
