/* One message being taken in: decoded, looked at, parsed and packed in one pass. */
#ifndef PROV_SMTPD_INTAKE_H
#define PROV_SMTPD_INTAKE_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/store/frames.h"
#include "smtpd/dot.h"
#include "smtpd/head.h"

struct intake;

struct intake_rules {
    bool stuffed;    /* DATA; else BDAT */
    bool normalise;  /* LMTP: bare CR and LF become CRLF instead of a fault */
    bool submission; /* drop Bcc and Return-Path, add From, Date and Message-ID where missing */
    uint64_t limit;  /* bytes of a message */
    unsigned received_limit;
    const char *hostname; /* borrowed until the end, as the next two */
    struct span sender;   /* for a missing From field */
    const struct trace_id *trace;
};

struct intake *intake_new(const struct intake_rules *rules);
void intake_free(struct intake **i);

/* Wire bytes. Answers how many were taken; *ended is set with the end of data (stuffed only). */
size_t intake_feed(struct intake *i, struct span in, bool *ended);
/* Wire bytes so far. */
uint64_t intake_wire_bytes(const struct intake *i);
/* The message is whole. The first fault that was seen, or ERR_OK:
 *   ERR_SYNTAX  bare CR, bare LF or NUL
 *   ERR_LIMIT   over the size limit
 *   ERR_RETRY   no room for large messages now
 *   ERR_STATE   more Received fields than allowed: a loop
 * May be asked before the end too (BDAT). */
enum err_code intake_fault(const struct intake *i);
/* No more bytes come. Call once, before intake_authors and intake_seal. */
void intake_finish(struct intake *i);
/* The values of the From and Sender fields, SPAN_NONE: none. False when there is more than one of a kind, or
 * one is too long. */
bool intake_authors(const struct intake *i, struct span *from, struct span *sender) CHECK_RESULT;
/* Put fields (whole, with line ends) before the message and finish the content. The content stays the
 * intake's. */
CHECK_RESULT enum err_code intake_seal(struct intake *i, struct span fields, struct content **out);
/* The content while it grows, for the policy. */
const struct content *intake_content(const struct intake *i);
/* Size of the message as it will be stored; without the trace fields before intake_seal. */
uint64_t intake_size(const struct intake *i);

#endif
