/* mbox files: reading one message after the other, and writing them.
 * There is no standard for them (RFC 4155 names the family). Known: mboxo (">From " for "From " at the start
 * of a line), mboxrd (one ">" more for any number of them), mboxcl (a Content-Length field as well), mboxcl2
 * (that field and nothing quoted); flags in Status, X-Status and X-Keywords (mutt, Dovecot, Pine) or
 * X-Mozilla-Status. */
#ifndef PROV_MAILADM_MBOX_H
#define PROV_MAILADM_MBOX_H

#include "common/base/buf.h"
#include "common/base/err.h"

/* The file's bytes: up to n from offset at on; 0: its end; negative: cannot be read. */
typedef long mbox_read_fn(void *arg, uint64_t at, char *out, size_t n);

enum mbox_quoting {
    MBOX_QUOTED,    /* take one ">" off each line that starts with ">From ", ">>From " ... */
    MBOX_NOT_QUOTED /* mboxcl2 */
};

struct mbox;
struct mbox *mbox_new(mbox_read_fn *read, void *arg, enum mbox_quoting quoting);
void mbox_free(struct mbox **m);

enum { MBOX_KEYWORDS = 2000 };
struct mbox_message {
    uint64_t at; /* offset of its From_ line */
    uint32_t flags;
    char keywords[MBOX_KEYWORDS]; /* blank-separated */
    bool has_date;                /* of the From_ line, or else of the Date field */
    int64_t internal_s;
    int zone_min;
    bool not_mail; /* the folder's own data, or left by a reader as expunged: not to be imported */
};
typedef void mbox_bytes_fn(void *arg, struct span bytes);
/* The next message; its bytes go to put in pieces, with line ends as in the file, without the From_ line and
 * the fields that only an mbox has. ERR_OK; ERR_MISSING: no further one; ERR_SYNTAX: not an mbox (no From_
 * line where the first must be); ERR_RETRY: the file cannot be read. */
CHECK_RESULT enum err_code mbox_next(struct mbox *m, mbox_bytes_fn *put, void *arg, struct mbox_message *out);
/* The offset behind the last message. */
uint64_t mbox_offset(const struct mbox *m);

/* -- writing: mboxrd with LF; what reading gives back is what was written -- */

struct mbox_writer {
    struct buf *out; /* the caller empties it */
    unsigned angles; /* ">" of a line that may yet have to be quoted */
    unsigned from;   /* bytes of "From " behind them */
    bool in_line, after_cr, last_lf;
};
/* keywords: blank-separated. ends_lf: the message ends with a line end. False: out is full. */
CHECK_RESULT bool mbox_write_begin(struct mbox_writer *w, struct buf *out, int64_t internal_s, int zone_min,
                                   uint32_t flags, struct span keywords, bool ends_lf);
/* The next bytes of the message (CRLF). */
CHECK_RESULT bool mbox_write(struct mbox_writer *w, struct span bytes);
CHECK_RESULT bool mbox_write_end(struct mbox_writer *w);

#endif
