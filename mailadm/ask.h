/* Questions of mailadm to the admin sockets of stored and directoryd: one loop, one question at a time, a
 * sentence and an exit number when it fails. */
#ifndef PROV_MAILADM_ASK_H
#define PROV_MAILADM_ASK_H

#include "common/directory/directory.h"
#include "common/store/store.h"
#include "mailadm/mailadm.h"

enum { ASK_PATIENCE_MS = 8000, ASK_LONG_MS = 600000 };

struct ask {
    const struct adm *adm;
    struct conf *conf;
    struct loop *loop;
    struct store *store; /* NULL: not asked for */
    struct directory *directory;
    struct ticket *ticket; /* its session is this ask */
    struct loop_timer *timer;
    bool ended;
    enum err_code code;
    void *arg;  /* the question's own */
    bool first; /* nothing of a list has been printed yet */
};

/* Read the configuration and connect to stored or (and) directoryd. EX_OK, or the number to exit with; the
 * ask is to be closed in either case. */
int ask_open(struct ask *k, const struct adm *a, bool store, bool directory);
void ask_close(struct ask *k);
/* Run until ask_end, patience_ms at most. The answer's code; ERR_RETRY: none came. */
enum err_code ask_wait(struct ask *k, uint64_t patience_ms);
/* In a callback: the question is over. */
void ask_end(struct ask *k, enum err_code code);
/* The exit number of a code; prints "mailadm: SUBJECT: reason" for all but ERR_OK. */
int ask_status(enum err_code code, const char *subject);

/* The account of an address (or an id as text), asked of directoryd. EX_OK, or the number to exit with, said.
 */
int adm_account_id(struct ask *k, const char *text, struct uuid *out);

/* Print text for a terminal: control bytes, and what is not UTF-8, as "?". Answers the columns it took. */
int adm_text(struct span s);
/* Print s as a JSON string, what is not UTF-8 replaced. */
void adm_json_span(struct span s);
/* "2026-11-24T20:15:00.123456Z", "" for 0. */
enum { ADM_TIME = 32 };
void adm_time(int64_t us, char out[ADM_TIME]);
/* Print "key=value" lines: aligned, or with --json as the members of one object without its braces; numbers
 * stay numbers. */
void adm_pairs(struct ask *k, struct span lines);

#endif
