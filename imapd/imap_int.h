/* Inside imapd: the session, its command, and what the files of commands share. */
#ifndef PROV_IMAPD_IMAP_INT_H
#define PROV_IMAPD_IMAP_INT_H

#include "common/base/arena.h"
#include "common/base/log.h"
#include "common/mime/meta.h"
#include "imapd/cursor.h"
#include "imapd/imap.h"
#include "imapd/reader.h"
#include "imapd/view.h"

enum {
    IMAP_LINE_LIMIT = 64 << 10,       /* one command with its literals */
    IMAP_LOGIN_LINE_LIMIT = 40 << 10, /* the same before the login: the largest ID of RFC 2971 fits */
    IMAP_ARENA_LIMIT = 64 << 20,      /* pieces of one command: UIDs of a million messages fit */
    IMAP_KEYWORDS = 64
};

/* RFC 3501 3: NONAUTH -> AUTH <-> SELECTED -> LOGOUT. */
enum { PH_NONAUTH = 1, PH_AUTH = 2, PH_SELECTED = 4, PH_LOGOUT = 8 };
enum { PH_ANY = PH_NONAUTH | PH_AUTH | PH_SELECTED, PH_IN = PH_AUTH | PH_SELECTED };

/* What a command's run function says. */
enum run {
    RUN_AGAIN,    /* a slice is done, call again */
    RUN_WAIT,     /* a call of imap_ask is unanswered */
    RUN_INPUT,    /* bytes of the client are needed */
    RUN_LISTEN,   /* waiting for events or input, whichever comes first (IDLE) */
    RUN_DONE,     /* imap_done has been called */
    RUN_STARTTLS, /* the same, then TLS */
    RUN_CLOSE     /* all is said: close, without a tagged response */
};

struct imap;

/* A row of the command table. */
struct command {
    const char *name;
    bool (*parse)(struct imap *s, struct cursor *c); /* NULL: takes no argument */
    enum run (*run)(struct imap *s);
    unsigned phases;
    unsigned flags;
};
enum {
    CMD_UID = 1,     /* has a UID form */
    CMD_BEFORE = 2,  /* bring the view up to date, with rows, before it runs */
    CMD_AFTER = 4,   /* and after it has run */
    CMD_KEEP = 8,    /* its response never holds EXPUNGE (RFC 9051 7.5.1), unless in its UID form */
    CMD_QUIET = 16,  /* nothing of the view is said */
    CMD_WRITES = 32, /* not in a mailbox opened by EXAMINE */
    CMD_NEW = 128,   /* its UID form sees messages that are new: they are told first */
    CMD_APPEND = 64  /* its last literal is streamed */
};

enum life { LIFE_READ, LIFE_BEFORE, LIFE_RUN, LIFE_AFTER, LIFE_ANNOUNCE, LIFE_END };

/* One command: gone as a whole when the next begins (imap_command_reset). */
struct imap_command {
    enum life life;
    struct span tag; /* in the reader's text */
    const struct command *row;
    bool uid;
    void *args;     /* of row, from the arena */
    unsigned stage; /* of row->run */
    enum run after; /* RUN_DONE, RUN_STARTTLS */
    /* calls under way */
    struct ticket *ticket;
    unsigned pending;
    enum err_code code; /* the first that was not ERR_OK since the last imap_clear */
    bool perhaps;       /* one was told ERR_RETRY and may be done nevertheless */
    /* the tagged response, "OK [CODE] text" */
    struct buf response;
    void (*cleanup)(struct imap *s); /* what args holds outside of the arena */
    bool condstore;                  /* it enables CONDSTORE (RFC 7162 3.1) */
    bool of_old;                     /* it asks for what never changes, of messages that the view has */
};

/* Bringing the view up to date (sync.c). */
struct imap_sync {
    unsigned stage;
    bool need_rows;
    enum view_news news;
    uint32_t new_from; /* the first new UID, 0: none */
};

/* Telling the client (announce.c). */
struct imap_announce {
    unsigned stage;
    size_t at, to, expunged;
};

struct imap {
    /* process */
    const struct conf *conf;
    struct store *store;
    struct directory *directory;
    const struct imap_host *host;
    void *host_arg;

    /* connection */
    char id[16];
    char peer[64]; /* with the port */
    char host_of_peer[64];
    char *user; /* primary address, once logged in */
    struct log_ctx log;
    uint64_t started_ms;
    bool local, starttls, secure, has_tls;
    struct tls_facts tls;
    const char *refuse;
    bool greeted, stopping, broken, overflow;
    bool input_wanted; /* what waits in `in` has been looked at */
    unsigned bad, commands;
    struct buf *in, *out; /* of the step under way; out is &held outside of one */
    struct buf held;
    struct line_reader reader;

    /* login */
    unsigned phase;
    struct store_account *account;
    unsigned enabled; /* EN_* */

    /* selected mailbox */
    struct view view;
    uint64_t event_modseq; /* newest that was announced for view.mailbox */
    bool view_deleted;
    uint32_t *saved; /* RFC 5182 */
    size_t saved_count;

    /* command */
    struct imap_command cmd;
    struct arena *arena;
    struct imap_sync sync;
    struct imap_announce announce;
    struct reparse *reparse; /* NULL until a record is missing */
};
enum { EN_CONDSTORE = 1 };

/* -- answers of store and directory -- */
/* The ticket to give to a call that will be answered; the command waits until all are. */
struct ticket *imap_ask(struct imap *s);
/* In the call's callback (its last one): note the outcome, go on. */
void imap_answered(struct imap *s, enum err_code code);
/* Forget the outcome before the next call. */
void imap_clear(struct imap *s);

/* -- the tagged response -- */
enum cond { COND_OK, COND_NO, COND_BAD };
/* code: without brackets, NULL for none. */
enum run imap_done(struct imap *s, enum cond cond, const char *code, const char *text);
/* "NAME completed." */
enum run imap_done_ok(struct imap *s, const char *code);
/* A failure of the store in words of RFC 5530. */
enum run imap_done_err(struct imap *s, enum err_code code);

/* -- output (put.c). What passes the ceiling of out ends the session. -- */
void put(struct imap *s, const char *text);
void put_span(struct imap *s, struct span bytes);
void putf(struct imap *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A string: quoted where that can be, else a literal. NUL is left out. */
void put_string(struct imap *s, struct span text);
void put_nstring(struct imap *s, struct span text);
/* A mailbox name, UTF-8, in quotes and modified UTF-7. */
void put_mailbox(struct imap *s, struct span utf8);
/* "\Answered ... keyword" of a row, without parentheses. */
void put_flags(struct imap *s, const struct view_row *r);
/* "* 3 FETCH (UID 5 FLAGS (...) MODSEQ (7))" */
void put_fetch_flags(struct imap *s, size_t index, bool uid);
/* "* FLAGS (...)" and "* OK [PERMANENTFLAGS ...]" of the view. */
void put_select_flags(struct imap *s);
void put_permanent_flags(struct imap *s);

/* -- sync.c, announce.c -- */
/* RUN_DONE: the view is up to date, or s->cmd.code says why not. */
enum run imap_sync(struct imap *s);
/* RUN_DONE: everything that may be told is told. */
enum run imap_announce(struct imap *s, bool expunges);
/* Tell of new messages alone, at once: EXISTS may come in any response. */
void imap_announce_new(struct imap *s);
void imap_event(void *arg, enum err_code code, uint64_t mailbox, uint64_t modseq);

/* -- reparse.c: a message of the view whose record is empty or broken -- */
struct reparse;
void reparse_begin(struct imap *s, size_t index);
/* RUN_DONE: its bytes are read, as far as they can be; RUN_WAIT: call again (s->cmd.code: the store failed).
 */
enum run reparse_step(struct imap *s);
enum reparsed {
    REPARSED,
    REPARSED_NOTHING, /* its bytes are damaged: an empty text of the size that the row tells */
    REPARSED_GONE     /* expunged meanwhile, *out is not set */
};
/* What the parser says, in a (reset first) and valid until the next reparse_begin. */
enum reparsed reparse_meta(struct imap *s, struct arena *a, struct mime_meta *out);
void reparse_free(struct reparse **r);

/* -- session.c -- */
const struct command *command_find(struct span name);
/* The capabilities of the state that the session is in, "IMAP4rev1 ...". */
void put_capabilities(struct imap *s);
void imap_select_end(struct imap *s); /* leave the selected state */
void imap_save_result(struct imap *s, const uint32_t *uids, size_t count);
/* A set of the command as UIDs of told rows that are not gone; *gone: some were. From the arena. */
bool imap_set_uids(struct imap *s, struct seqset *set, uint32_t **out, size_t *out_count, bool *gone);
/* Fix "*" and "$". False: a message number beyond the last (answer BAD). */
bool imap_set_fix(struct imap *s, struct seqset *set, bool uid);

/* -- commands: parse_X, run_X, each in its own file -- */
/* The line at c (behind the name) ends in the literal lit: if that is the message, the command is set up. */
bool append_begin(struct imap *s, struct cursor *c, const struct reader_literal *lit);
#define COMMAND(x) enum run run_##x(struct imap *s);
#define COMMAND_P(x) COMMAND(x) bool parse_##x(struct imap *s, struct cursor *c);
COMMAND(capability)
COMMAND(noop)
COMMAND(logout)
COMMAND(starttls)
COMMAND_P(id)
COMMAND_P(enable)
COMMAND(namespace)
COMMAND_P(authenticate)
COMMAND_P(login)
COMMAND_P(select)
COMMAND_P(examine)
COMMAND_P(create)
COMMAND_P(delete)
COMMAND_P(rename)
COMMAND_P(subscribe)
COMMAND_P(unsubscribe)
COMMAND_P(list)
COMMAND_P(lsub)
COMMAND_P(status)
COMMAND_P(append)
COMMAND(check)
COMMAND(close)
COMMAND(unselect)
COMMAND_P(expunge)
COMMAND_P(search)
COMMAND_P(fetch)
COMMAND_P(store)
COMMAND_P(copy)
COMMAND_P(move)
COMMAND(idle)
COMMAND_P(getquota)
bool parse_getquotaroot(struct imap *s, struct cursor *c);
COMMAND_P(setquota)
#undef COMMAND
#undef COMMAND_P

#endif
