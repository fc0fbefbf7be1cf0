/* mailadm import: what its parts share. An account's run happens in a process of its own (import.c starts
 * several): a source (import_mbox.c, import_maildir.c, import_imap.c) reads messages and gives them to a
 * target (import_target.c), which files them; notes of what is done (import_notes.c) let the next run go on
 * where this one ended; counters and refusals (import_report.c) reach the person who waits. */
#ifndef PROV_MAILADM_IMPORT_H
#define PROV_MAILADM_IMPORT_H

#include "mailadm/ask.h"
#include <stdatomic.h>

enum import_tls { IMPORT_TLS, IMPORT_STARTTLS, IMPORT_PLAIN };

struct import_options {
    const char *kind;    /* "mbox", "maildir", "imap" */
    const char *path;    /* file or folder, %u, %d and %s in it; NULL for imap */
    const char *mailbox; /* --mailbox, or NULL */
    const char *notes;   /* --notes, or NULL: log_dir/import */
    const char *report;  /* --report, or NULL: notes/report.json */
    bool dry_run, sync, force, over_quota, not_quoted;
    unsigned jobs;
    /* imap */
    const char *host, *user, *password_file, *admin, *master, *ca_file;
    uint16_t port;
    enum import_tls tls;
    unsigned patience_s; /* of an IMAP server */
    bool no_verify, shared;
};

struct import_account {
    char *address; /* ours, as given */
    struct uuid id;
    char *source; /* of the accounts file: path or login at the source, or NULL */
    char *password_file;
};

/* -- counters, in memory that the processes share -- */

struct import_counts {
    atomic_ullong planned, planned_bytes; /* known so far */
    atomic_ullong seen, seen_bytes;       /* of those, looked at */
    atomic_ullong filed, filed_bytes;
    atomic_ullong known; /* filed by an earlier run */
    atomic_ullong flagged, removed, refused;
    atomic_ullong left; /* mailboxes of others that were left there */
    atomic_ullong accounts, failed;
    atomic_uint next; /* account that the next free process takes */
    unsigned all;     /* accounts */
    bool all_planned; /* planned covers all of them, not only those that were begun */
    uint64_t begin_ms;
};
/* A line about now: on a terminal in place of the last one. final: the last of all. */
void import_show(struct import_counts *c, bool final);
/* "1.5 MB" */
enum { IMPORT_SIZE = 24 };
void import_size(uint64_t bytes, char out[IMPORT_SIZE]);

/* -- the report: a JSON value a line, appended by all processes -- */

struct import_report {
    int fd; /* -1: none */
    struct import_counts *counts;
    const char *account;
};
/* A message, or with mailbox only a mailbox, or neither, that was not taken over, and why. source names it
 * there. */
void import_refused(struct import_report *r, struct span mailbox, struct span source, const char *why);
/* Something to know that is no refusal: kind is the member's name, json its value. */
void import_noted(struct import_report *r, struct span mailbox, const char *kind, struct span json);
/* Append s as a JSON string. */
CHECK_RESULT bool import_json(struct buf *b, struct span s);

/* -- notes: what came in, of one account and one source -- */

struct import_key {
    char text[TRACE_TEXT]; /* the trace under which it is filed */
};
struct import_note {
    struct import_key key;
    uint64_t mailbox;    /* where it was filed; 0: not known, ask the trace */
    uint32_t uid, state; /* state: of flags and keywords at the source */
    bool seen;           /* in this run */
};
struct import_notes;
/* ERR_STATE: another import works on this account and source; ERR_DENIED: the file cannot be written. write
 * false: only read (dry run). */
CHECK_RESULT enum err_code import_notes_open(const char *dir, const struct uuid *account, struct span source,
                                             bool write, struct import_notes **out, struct err *why);
void import_notes_close(struct import_notes **n);
struct import_note *import_note_find(struct import_notes *n, const struct import_key *key);
/* Add, or change what is there. */
void import_note_put(struct import_notes *n, const struct import_note *note);
/* Call with NULL for the first; those removed meanwhile are not given. */
struct import_note *import_note_next(struct import_notes *n, struct import_note *after);
void import_note_remove(struct import_notes *n, struct import_note *note);
/* UIDVALIDITY of a mailbox of the source as noted; 0: none. */
uint32_t import_validity(struct import_notes *n, struct span mailbox);
void import_validity_put(struct import_notes *n, struct span mailbox, uint32_t uidvalidity);

/* The name of a source's message for ever: parts joined. */
struct import_key import_key_of(const struct uuid *account, const struct span *parts, size_t count);
/* A number for flags and keywords. */
uint32_t import_state(uint32_t flags, const struct span *keywords, size_t count);

/* -- the target: an account of the store -- */

struct target;
struct target_message {
    struct import_key key;
    struct span mailbox; /* ours */
    struct span source;  /* its name there, for the report */
    uint32_t flags;
    const struct span *keywords;
    size_t keyword_count;
    bool has_date;
    int64_t internal_s;
    int zone_min;
};
/* Log in with a grant of directoryd. EX_OK, or the number to exit with, reported. In a dry run nothing is
 * connected to. */
int target_open(struct ask *k, const struct import_options *o, const struct import_account *a,
                struct import_notes *n, struct import_report *r, struct target **out);
/* Wait for what is under way. True: all of it was settled. */
bool target_close(struct target **t);
/* The store or the grant has failed: stop reading. */
bool target_failed(const struct target *t);
/* Is it here already? Then its flags are brought up to date and it counts as seen. */
bool target_has(struct target *t, const struct target_message *m);
/* A mailbox of this name, made when missing. use: the account's mailbox of that use instead, if there is one.
 * Answers its name here (the target's own, until the next call), SPAN_NONE when it cannot be: reported. */
struct span target_box(struct target *t, struct span name, enum store_use use);
void target_subscribe(struct target *t, struct span name);
/* A message: begin, its bytes with any line ends, end. hash: of what will be stored, valid between the last
 * byte and end. */
void target_begin(struct target *t);
void target_add(struct target *t, struct span bytes);
void target_hash(struct target *t, unsigned char hash[32]);
void target_end(struct target *t, const struct target_message *m);
/* In the place of target_end: the message that came is here already (target_has). */
void target_skip(struct target *t);
/* n messages of some bytes were passed over unread. */
void target_passed(struct target *t, uint64_t messages, uint64_t bytes);
/* After a whole run: take away what is noted and was not seen in it (--sync). */
void target_sync(struct target *t);

/* -- sources: each EX_OK or a sysexits number, reported -- */

int import_mbox(struct target *t, const struct import_options *o, const struct import_account *a,
                const char *path, struct import_notes *n, struct import_report *r);
int import_maildir(struct target *t, const struct import_options *o, const struct import_account *a,
                   const char *path, struct import_notes *n, struct import_report *r);
int import_imap(struct target *t, const struct import_options *o, const struct import_account *a,
                const char *login, struct import_notes *n, struct import_report *r);
/* Messages and bytes below path, for the progress. */
void import_plan_mbox(const char *path, struct import_counts *c);
void import_plan_maildir(const char *path, struct import_counts *c);

#endif
