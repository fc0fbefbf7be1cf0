/* Putting commands together from the bytes that come: lines that may end in a literal, "{5}" or "{5+}", whose
 * bytes and further line follow (RFC 3501 4.3, RFC 7888). Bounded; what is too long is read to its end. */
#ifndef PROV_IMAPD_READER_H
#define PROV_IMAPD_READER_H

#include "common/base/buf.h"

struct line_reader {
    struct buf text;  /* the command so far; literals in their place, line ends too */
    size_t limit;     /* of text; beyond it bytes are dropped */
    size_t line_at;   /* where in text the current line began */
    uint64_t literal; /* bytes of a literal that are still to come */
    bool too_long;    /* something was dropped */
    bool has_nul;
    char tail[24]; /* the last bytes of the line, also of a dropped one */
    size_t tail_n;
};

enum reader_news {
    READER_MORE,    /* input is used up */
    READER_COMMAND, /* text is a whole command with its line end (or too_long, has_nul is set) */
    READER_LITERAL  /* the line ends in a literal of literal_size bytes: say what is to be done */
};

struct reader_literal {
    uint64_t size;
    bool sync; /* the client waits for "+" */
};

void reader_init(struct line_reader *r, size_t limit);
void reader_free(struct line_reader *r);
/* Ready for the next command. */
void reader_reset(struct line_reader *r);
/* Take bytes of in. */
enum reader_news reader_step(struct line_reader *r, struct buf *in, struct reader_literal *out);
/* After READER_LITERAL: the literal belongs to the text (it is kept if it fits). */
void reader_take_literal(struct line_reader *r, uint64_t size);
/* A literal was streamed elsewhere; its line goes on. */
void reader_went_on(struct line_reader *r);
/* Whether a literal of so many bytes would fit. */
bool reader_fits(const struct line_reader *r, uint64_t size);

#endif
