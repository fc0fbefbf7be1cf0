/* Joins the decoder, the header's inspector, the MIME parser and the packer: bytes pass through all of them
 * as they arrive, and nothing is kept but the packed content. The hard problem is to go on in step when a
 * bound is met: the rest is read and dropped, and the fault is told at the end. */
#include "smtpd/intake.h"
#include "common/base/clock.h"
#include "common/mime/date.h"
#include "common/mime/parse.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct intake {
    struct intake_rules rules;
    struct dot dot;
    struct head head;
    struct mime_parser *parser;
    struct content *content;
    uint64_t size, wire;
    bool over, no_room;
};

/* Bytes of the message as it will be stored; ours: the client did not send them. */
static void keep_as(struct intake *i, struct span s, bool ours)
{
    if (i->over || i->no_room)
        return;
    if (s.n > i->rules.limit - i->size) {
        i->over = true;
        return;
    }
    i->size += s.n;
    if ((ours ? content_add_ours(i->content, s) : content_add(i->content, s)) != ERR_OK)
        i->no_room = true;
    else
        mime_parser_feed(i->parser, s);
}

static void keep(void *arg, struct span s)
{
    keep_as(arg, s, false);
}

static void decoded(void *arg, struct span s)
{
    struct intake *i = arg;
    if (!i->over && !i->no_room)
        head_feed(&i->head, s);
}

/* RFC 6409 8.2, 8.3 (Date, Message-ID); a From field from the envelope where the client wrote none. */
static void add_missing(void *arg)
{
    struct intake *i = arg;
    char line[600], date[64];
    if (!i->rules.submission)
        return;
    if (i->head.from_count == 0 && i->rules.sender.n) {
        snprintf(line, sizeof line, "From: <%.*s>\r\n", SPAN_ARG(i->rules.sender));
        keep_as(i, span_str(line), true);
    }
    if (!i->head.has_date) {
        time_t now = (time_t)clock_wall_s();
        struct tm tm;
        localtime_r(&now, &tm);
        date_format((int64_t)now, (int)(tm.tm_gmtoff / 60), date, sizeof date);
        snprintf(line, sizeof line, "Date: %s\r\n", date);
        keep_as(i, span_str(line), true);
    }
    if (!i->head.has_message_id) {
        snprintf(line, sizeof line, "Message-ID: <%s@%s>\r\n", i->rules.trace->text, i->rules.hostname);
        keep_as(i, span_str(line), true);
    }
}

struct intake *intake_new(const struct intake_rules *rules)
{
    struct intake *i = xcalloc(1, sizeof *i);
    i->rules = *rules;
    dot_init(&i->dot, rules->stuffed, rules->normalise, decoded, i);
    head_init(&i->head, rules->submission, keep, add_missing, i);
    i->parser = mime_parser_new();
    i->content = content_new();
    return i;
}

void intake_free(struct intake **ip)
{
    struct intake *i = *ip;
    *ip = NULL;
    if (!i)
        return;
    head_free(&i->head);
    mime_parser_free(&i->parser);
    content_free(&i->content);
    free(i);
}

size_t intake_feed(struct intake *i, struct span in, bool *ended)
{
    size_t n = dot_feed(&i->dot, in);
    i->wire += n;
    *ended = i->dot.ended;
    return n;
}

uint64_t intake_wire_bytes(const struct intake *i)
{
    return i->wire;
}

enum err_code intake_fault(const struct intake *i)
{
    if (i->dot.nul || (!i->rules.normalise && (i->dot.bare_cr || i->dot.bare_lf)))
        return ERR_SYNTAX;
    if (i->over)
        return ERR_LIMIT;
    if (i->no_room)
        return ERR_RETRY;
    if (i->head.received > i->rules.received_limit)
        return ERR_STATE;
    return ERR_OK;
}

void intake_finish(struct intake *i)
{
    if (!i->rules.stuffed)
        dot_finish(&i->dot);
    if (!i->over && !i->no_room)
        head_finish(&i->head);
}

bool intake_authors(const struct intake *i, struct span *from, struct span *sender)
{
    *from = i->head.from_count ? buf_span(&i->head.from) : SPAN_NONE;
    *sender = i->head.sender_count ? buf_span(&i->head.sender) : SPAN_NONE;
    return i->head.from_count <= 1 && i->head.sender_count <= 1 && !i->head.too_long;
}

enum err_code intake_seal(struct intake *i, struct span fields, struct content **out)
{
    enum err_code code = content_prefix(i->content, fields);
    if (code != ERR_OK)
        return code;
    mime_parser_prefix(i->parser, fields.n);
    struct span meta = mime_parser_finish(i->parser);
    code = content_finish(i->content, meta);
    mime_parser_free(&i->parser); /* it serves the next message while this one waits for the store */
    if (code != ERR_OK)
        return code;
    i->size += fields.n;
    *out = i->content;
    return ERR_OK;
}

uint64_t intake_size(const struct intake *i)
{
    return i->size;
}

const struct content *intake_content(const struct intake *i)
{
    return i->content;
}
