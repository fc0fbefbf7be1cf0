/* Reading a command that is whole: a cursor over its text, in which literals stand as they came,
 * "{5}\r\nhello". Each function takes one thing of the grammar (RFC 3501 9) off the front; false: it is not
 * there, the cursor is then where it was or at the fault, and the command is answered BAD. Results point into
 * the text, or into the arena when something had to be unquoted. */
#ifndef PROV_IMAPD_CURSOR_H
#define PROV_IMAPD_CURSOR_H

#include "common/base/arena.h"

struct cursor {
    struct span s;   /* what is left */
    struct arena *a; /* of the command */
    bool bad_name;   /* a mailbox name was not one: the grammar holds, the command is refused */
};

#define MUST __attribute__((warn_unused_result))

/* Exactly this byte. */
bool cur_char(struct cursor *c, char ch) MUST;
bool cur_peek(const struct cursor *c, char ch);
/* One blank or more (the grammar wants one; some clients send two). */
bool cur_sp(struct cursor *c) MUST;
/* Nothing is left, or blanks only. */
bool cur_end(struct cursor *c) MUST;
/* The word, letters compared alike, ended by something that is not of an atom. */
bool cur_word(struct cursor *c, const char *word) MUST;
bool cur_atom(struct cursor *c, struct span *out) MUST;
/* Quoted string or literal. 8-bit bytes are accepted in both. */
bool cur_string(struct cursor *c, struct span *out) MUST;
bool cur_astring(struct cursor *c, struct span *out) MUST;
/* As astring, "%" and "*" are of it (list-mailbox). */
bool cur_pattern(struct cursor *c, struct span *out) MUST;
/* NIL gives p NULL. */
bool cur_nstring(struct cursor *c, struct span *out) MUST;
bool cur_u32(struct cursor *c, uint32_t *out) MUST;
bool cur_u64(struct cursor *c, uint64_t *out) MUST;
/* A mailbox name: modified UTF-7 becomes UTF-8 and INBOX (also as first level) is in capitals.
 * A name that is neither valid modified UTF-7 nor valid UTF-8 sets bad_name. */
bool cur_mailbox(struct cursor *c, struct span *out) MUST;
/* A flag: "\Seen" sets a bit of STORE_* in *bit; a keyword gives bit 0 and its name; "\Recent" and unknown
 * system flags give bit 0 and an empty name. */
bool cur_flag(struct cursor *c, uint32_t *bit, struct span *keyword) MUST;

bool is_atom_char(char ch);
bool is_astring_char(char ch);

#endif
