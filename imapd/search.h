/* SEARCH between its files: the program (search_parse.c), its judgement of a message by row, record and bytes
 * (search_eval.c, search_text.c), and the command (cmd_search.c). */
#ifndef PROV_IMAPD_SEARCH_H
#define PROV_IMAPD_SEARCH_H

#include "common/mime/meta.h"
#include "imapd/imap_int.h"

enum { SEARCH_DEPTH = 50, SEARCH_KEYS = 2000 };

enum search_kind {
    SK_AND, /* all children */
    SK_OR,
    SK_NOT,
    SK_ALL,
    SK_SEQ,
    SK_UID,
    SK_FLAG, /* number: the bit; on */
    SK_KEYWORD,
    SK_RECENT,
    SK_NEW,
    SK_BEFORE, /* number: the day */
    SK_ON,
    SK_SINCE,
    SK_SAVEDBEFORE,
    SK_SAVEDON,
    SK_SAVEDSINCE,
    SK_LARGER,
    SK_SMALLER,
    SK_OLDER,
    SK_YOUNGER,
    SK_MODSEQ,
    SK_EMAILID,
    SK_THREADID, /* matches nothing: THREADID is NIL here (RFC 8474 5.4) */
    /* from the meta record */
    SK_SENTBEFORE,
    SK_SENTON,
    SK_SENTSINCE,
    SK_SUBJECT,
    SK_FROM,
    SK_TO,
    SK_CC,
    SK_BCC,
    /* from the bytes */
    SK_HEADER,
    SK_TEXT,
    SK_BODY
};

struct search_key {
    enum search_kind kind;
    bool on;
    int64_t number;
    struct span text; /* folded; keyword, id: as it is */
    struct span field;
    struct seqset set;
    struct search_key *child, *next;
    bool found; /* SK_TEXT, SK_BODY: seen in the bytes of the message at hand */
};

enum { RETURN_MIN = 1, RETURN_MAX = 2, RETURN_ALL = 4, RETURN_COUNT = 8, RETURN_SAVE = 16 };

struct search_program {
    struct search_key *root; /* SK_AND */
    bool extended;           /* RETURN was given */
    unsigned returns;
    bool uses_modseq;
    bool bad_charset;
    size_t key_count;
    size_t longest; /* bytes of the longest text */
};

bool search_parse(struct imap *s, struct cursor *c, struct search_program *out) MUST;
/* Fix the sets of the program against the view. */
bool search_fix(struct imap *s, struct search_key *k) MUST;

enum tri { TRI_NO, TRI_YES, TRI_UNKNOWN };

/* What is known of the message at hand. */
struct search_doc {
    const struct imap *s;
    size_t index;
    int64_t now_s;
    const struct mime_meta *meta; /* NULL: not read yet */
    bool has_header;
    struct span header;
    bool has_body;       /* every text has been looked at: found is final */
    struct arena *arena; /* scratch, reset by the caller */
};
enum tri search_eval(const struct search_key *k, const struct search_doc *d);

/* -- text -- */
/* Append the folded form; long results are cut. */
bool text_fold(struct span utf8, struct buf *out) MUST;
/* Whether folded text occurs in utf8 text once that is folded. */
bool text_has(struct arena *a, struct span utf8, struct span folded);
/* Note in each SK_TEXT (and, with body, SK_BODY) of the program whether it occurs in decoded header fields.
 */
void text_in_header(struct search_key *k, struct arena *a, struct span header, bool body);
/* The same in a decoded name of an attachment, for SK_TEXT alone. */
void text_in_name(struct search_key *k, struct span name);
/* Whether a SK_TEXT has not been found yet. */
bool text_wants_headers(const struct search_key *k);

/* One part's text, as its bytes come. */
struct text_scan;
struct text_scan *text_scan_new(const struct search_program *p);
void text_scan_free(struct text_scan **t);
void text_scan_begin(struct text_scan *t, const struct mime_part *part);
void text_scan_feed(struct text_scan *t, struct span bytes, bool last);
/* Nothing of the program is left to be found. */
bool text_scan_done(const struct search_key *k);
void text_forget(struct search_key *k);

#endif
