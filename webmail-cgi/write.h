/* Writing a message (RFC 5322, 2045-2047, 2231): header, UTF-8 text, attachments. Lines end in CRLF;
 * everything is 7-bit but for addresses that are not. */
#ifndef PROV_WEB_WRITE_H
#define PROV_WEB_WRITE_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

struct write_file {
    struct span name, type; /* type "" : application/octet-stream */
    struct span data;       /* decoded content */
};
struct write_mail {
    struct span from_name, from;
    struct span to, cc, bcc; /* lists as they were typed; bcc is written when keep_bcc */
    struct span subject, body;
    struct span in_reply_to, references; /* message ids, "" when none */
    bool keep_bcc;                       /* drafts and the own copy; never what is submitted */
    int64_t date_s;
    struct span message_id; /* with angle brackets */
    const struct write_file *files;
    size_t file_count;
};

/* Append the message to out. ERR_OK; ERR_LIMIT: out is full. */
CHECK_RESULT enum err_code write_message(const struct write_mail *m, struct buf *out);
/* A fresh Message-ID for mail from this address. */
struct span write_message_id(struct arena *a, struct span from);
/* The addresses of the typed lists, once each, in *out (from the arena). ERR_SYNTAX: *bad is no address;
 * ERR_LIMIT: more than limit. */
CHECK_RESULT enum err_code write_recipients(struct arena *a, const struct span *lists, size_t list_count,
                                            size_t limit, struct span **out, size_t *out_count,
                                            struct span *bad);

#endif
