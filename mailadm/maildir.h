/* Names of Maildir and Maildir++: what a file's and a folder's name say. Maildir is a folder with cur, new
 * and tmp; in Maildir++ (Courier, Dovecot) folders lie beside them as ".A.B", in modified UTF-7; Dovecot's
 * keywords are the letters a-z of a file's name, their names in "dovecot-keywords". */
#ifndef PROV_MAILADM_MAILDIR_H
#define PROV_MAILADM_MAILDIR_H

#include "common/base/buf.h"

enum { MAILDIR_KEYWORDS = 26 };
struct maildir_keywords {
    char *v[MAILDIR_KEYWORDS]; /* by letter; NULL: none */
};
/* dovecot-keywords in the folder; none when there is no such file. */
void maildir_keywords_read(struct maildir_keywords *k, const char *folder);
/* False: the file cannot be written. */
bool maildir_keywords_write(const struct maildir_keywords *k, const char *folder)
    __attribute__((warn_unused_result));
/* The letter's number, a new one when there is room; -1: there is none. */
int maildir_keyword(struct maildir_keywords *k, struct span name);
void maildir_keywords_free(struct maildir_keywords *k);

enum { MAILDIR_WORDS = MAILDIR_KEYWORDS + 1 }; /* letters, and "$Forwarded" for P */
struct maildir_info {
    struct span unique; /* the part that stays the same whatever happens to the message */
    uint32_t flags;
    struct span keywords[MAILDIR_WORDS];
    size_t keyword_count;
    uint64_t delivered_s; /* the number in front, for order; 0: none */
    bool has_zone;        /* export's own ",z=" */
    int zone_min;
};
/* What a file's name says; the spans point into name and k. */
void maildir_info(struct span name, const struct maildir_keywords *k, struct maildir_info *out);
/* Append ":2," and the letters; keywords without a letter are counted in *lost. */
bool maildir_put_info(struct buf *b, uint32_t flags, const struct span *keywords, size_t count,
                      struct maildir_keywords *k, size_t *lost) __attribute__((warn_unused_result));

/* ".A.B" (the first dot is optional) as the mailbox "A/B": modified UTF-7, or UTF-8 as newer servers write,
 * and
 * "\2e" for a dot inside a level (Dovecot's listescape). False: out is full. */
bool maildir_name(struct span folder, char separator, struct buf *out) __attribute__((warn_unused_result));
bool maildir_folder(struct span name, struct buf *out) __attribute__((warn_unused_result));

#endif
