/* Composing notices: a header, the text in Vietnamese, the same in English. What comes from people (names,
 * addresses, a subject) goes through the writers of header fields, or into the body with its control bytes
 * taken out. RFC 3834 5 (Auto-Submitted, the null Return-Path). A full delivery report (RFC 3464) is not
 * written yet. */
#include "smtpd/notice.h"
#include "common/mime/date.h"
#include "common/mime/header.h"
#include "common/mime/parse.h"
#include <stdio.h>
#include <time.h>

enum { NOTICE_LIMIT = 1 << 20, SUBJECT_SHOWN = 300, LOST_SHOWN = 1000 };

static const char *domain(const struct conf *c)
{
    return c->domains.n ? c->domains.v[0] : c->hostname;
}

static bool put_date(struct buf *out, int64_t at_s)
{
    char text[64];
    time_t t = (time_t)at_s;
    struct tm tm;
    localtime_r(&t, &tm);
    date_format(at_s, (int)(tm.tm_gmtoff / 60), text, sizeof text);
    return buf_add_str(out, text);
}

static bool put_header(const struct notice *n, struct buf *out)
{
    static const char *const subjects[] = {
        [STORE_QUEUED_WARNING] = "Hộp thư sắp đầy / Your mailbox is nearly full",
        [STORE_QUEUED_REPORT] = "Thư không đến được người nhận / Undelivered mail",
        [STORE_QUEUED_UNIT] = "Đơn vị sắp hết dung lượng thư / A unit's mail quota is nearly used up"};
    const bool report = n->kind == STORE_QUEUED_REPORT;
    char from[300];
    snprintf(from, sizeof from, "postmaster@%s", domain(n->conf));
    return buf_add_str(out, "Return-Path: <>\r\nFrom: ") &&
           header_write_mailbox(out, SPAN("Hệ thống thư điện tử"), span_str(from)) &&
           buf_add_str(out, "\r\nTo: ") && header_write_mailbox(out, n->to_name, n->to_address) &&
           buf_add_str(out, "\r\n") && header_write(out, SPAN("Subject"), span_str(subjects[n->kind])) &&
           buf_add_str(out, "Date: ") && put_date(out, n->now_s) &&
           buf_addf(out, "\r\nMessage-ID: <%s@%s>\r\n", n->trace->text, n->conf->hostname) &&
           buf_addf(out, "Auto-Submitted: %s\r\n", report ? "auto-replied" : "auto-generated") &&
           buf_add_str(out, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                            "Content-Transfer-Encoding: 8bit\r\n\r\n");
}

/* On one line, without control bytes, of bounded length. */
static bool put_safe(struct buf *out, struct span s, size_t most)
{
    bool ok = true;
    for (size_t i = 0; i < s.n && ok; i++) {
        if (i >= most && ((unsigned char)s.p[i] & 0xc0) != 0x80) /* not inside a character */
            return buf_add_str(out, "…");
        ok = buf_add_char(out, (unsigned char)s.p[i] < 32 || s.p[i] == 127 ? ' ' : s.p[i]);
    }
    return ok;
}

/* -- nearly full -- */

static bool put_size(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
    size_t u = 0;
    uint64_t rest = 0;
    for (; bytes >= 1024 && u + 1 < sizeof units / sizeof *units; u++) {
        rest = bytes % 1024;
        bytes /= 1024;
    }
    if (bytes >= 100 || !u)
        return buf_addf(out, "%llu %s", (unsigned long long)bytes, units[u]);
    return buf_addf(out, "%llu.%llu %s", (unsigned long long)bytes, (unsigned long long)(rest * 10 / 1024),
                    units[u]);
}

static bool put_use(const struct notice *n, struct buf *out, const char *of, const char *messages)
{
    bool ok = true;
    if (n->limit_bytes)
        ok = buf_add_str(out, "    ") && put_size(out, n->bytes) && buf_addf(out, " %s ", of) &&
             put_size(out, n->limit_bytes) && buf_add_str(out, "\r\n");
    if (ok && n->limit_messages)
        ok = buf_addf(out, "    %llu %s %llu %s\r\n", (unsigned long long)n->messages, of,
                      (unsigned long long)n->limit_messages, messages);
    return ok;
}

static bool put_warning(const struct notice *n, struct buf *out)
{
    return buf_add_str(out, "Hộp thư của anh/chị sắp đầy. Hiện đã dùng:\r\n\r\n") &&
           put_use(n, out, "trong", "thư") &&
           buf_add_str(
               out, "\r\nKhi hộp thư đầy, thư mới gửi đến sẽ không nhận được. Anh/chị vui lòng xoá những\r\n"
                    "thư không cần nữa và dọn thùng rác, hoặc liên hệ quản trị hệ thống.\r\n"
                    "\r\n-- \r\nYour mailbox is nearly full. It uses:\r\n\r\n") &&
           put_use(n, out, "of", "messages") &&
           buf_add_str(
               out, "\r\nOnce it is full, no new mail can be delivered to it. Please delete what you no\r\n"
                    "longer need and empty the trash, or ask your administrator.\r\n");
}

static bool put_unit(const struct notice *n, struct buf *out)
{
    return buf_add_str(
               out,
               "Hộp thư của các tài khoản thuộc đơn vị sau sắp dùng hết dung lượng chung:\r\n\r\n    ") &&
           put_safe(out, n->unit, SUBJECT_SHOWN) && buf_add_str(out, "\r\n") &&
           put_use(n, out, "trong", "thư") &&
           buf_add_str(
               out,
               "\r\nKhi hết dung lượng, thư mới gửi đến mọi tài khoản của đơn vị và của các đơn vị trực\r\n"
               "thuộc sẽ không nhận được. Xem ai dùng nhiều: mailadm quota list ĐƠN-VỊ.\r\n"
               "\r\n-- \r\nThe mailboxes of this unit have nearly used up what they have in common:\r\n\r\n  "
               "  ") &&
           put_safe(out, n->unit, SUBJECT_SHOWN) && buf_add_str(out, "\r\n") &&
           put_use(n, out, "of", "messages") &&
           buf_add_str(out, "\r\nOnce it is used up, no new mail can be delivered to anybody in it or in the "
                            "units below.\r\n"
                            "Who uses how much: mailadm quota list UNIT.\r\n");
}

/* -- not delivered -- */

static bool put_lost(const struct notice *n, struct buf *out, const char *subject, const char *trace)
{
    bool ok = buf_add_str(out, "\r\n");
    for (size_t i = 0; i < n->target_count && i < LOST_SHOWN && ok; i++)
        ok = buf_add_str(out, "    ") && put_safe(out, n->targets[i].address, SUBJECT_SHOWN) &&
             buf_add_str(out, "\r\n");
    if (n->target_count > LOST_SHOWN)
        ok = ok && buf_addf(out, "    ... +%zu\r\n", n->target_count - LOST_SHOWN);
    return ok && buf_addf(out, "\r\n%s: ", subject) && put_safe(out, n->subject, SUBJECT_SHOWN) &&
           buf_addf(out, "\r\n%s: %s, ", trace, n->lost->text) && put_date(out, n->queued_s) &&
           buf_add_str(out, "\r\n");
}

static bool put_report(const struct notice *n, struct buf *out)
{
    return buf_add_str(out,
                       "Thư của anh/chị đã chờ nhưng không vào được các hộp thư sau vì hộp thư đã đầy.\r\n"
                       "Hệ thống không thử lại nữa.\r\n") &&
           put_lost(n, out, "Tiêu đề", "Mã thư") &&
           buf_add_str(
               out,
               "\r\n-- \r\nYour message has waited, but could not be delivered to these mailboxes because\r\n"
               "they are full (5.2.2). It will not be tried again.\r\n") &&
           put_lost(n, out, "Subject", "Message id");
}

static enum err_code pack(struct span text, struct content **out)
{
    struct mime_parser *p = mime_parser_new();
    struct content *c = content_new();
    enum err_code code = content_add(c, text);
    mime_parser_feed(p, text);
    if (code == ERR_OK)
        code = content_finish(c, mime_parser_finish(p));
    mime_parser_free(&p);
    if (code == ERR_OK)
        *out = c;
    else
        content_free(&c);
    return code;
}

enum err_code notice_compose(const struct notice *n, struct content **out)
{
    struct buf text;
    buf_init(&text, NOTICE_LIMIT);
    bool ok = put_header(n, &text) && (n->kind == STORE_QUEUED_WARNING ? put_warning(n, &text)
                                       : n->kind == STORE_QUEUED_UNIT  ? put_unit(n, &text)
                                                                       : put_report(n, &text));
    enum err_code code = ok ? pack(buf_span(&text), out) : ERR_LIMIT;
    buf_free(&text);
    return code;
}
