/* Friend header of the protocol core: its state, shared by core.c, accept.c and the verbs. */
#ifndef PROV_SMTPD_CORE_INT_H
#define PROV_SMTPD_CORE_INT_H

#include "common/base/arena.h"
#include "common/base/log.h"
#include "smtpd/core.h"
#include "smtpd/intake.h"

enum {
    LINE_LIMIT = 2048,       /* RFC 5321 4.5.3.1.4 asks for 512 and more for extensions */
    AUTH_LINE_LIMIT = 12290, /* RFC 4954 4 */
    SKIP_LIMIT = 64 << 10,   /* a line longer than this ends the session */
    HELLO_LIMIT = 255,
    PATH_LIMIT = 64 + 1 + 255
};

/* One bit each, so that the verb table can name sets of them. */
enum phase {
    PH_START = 1,    /* nothing said yet */
    PH_HELLO = 2,    /* greeted; waits for EHLO */
    PH_READY = 4,    /* between messages */
    PH_MAIL = 8,     /* sender known */
    PH_RCPT = 16,    /* at least one recipient accepted */
    PH_DATA = 32,    /* bytes up to CRLF.CRLF */
    PH_CHUNK = 64,   /* bytes of a BDAT chunk that counts */
    PH_DRAIN = 128,  /* bytes of a BDAT chunk that was refused already */
    PH_BDAT = 256,   /* between two chunks */
    PH_FILING = 512, /* the message is whole: checks, policy, store */
    PH_AUTH = 1024,  /* waits for the client's answer to a challenge */
    PH_TLS = 2048,   /* STARTTLS was answered */
    PH_END = 4096
};
enum { PH_ANY = PH_HELLO | PH_READY | PH_MAIL | PH_RCPT | PH_BDAT };

struct rcpt {
    struct store_target target; /* address is in the transaction's arena */
    uint32_t member_count;      /* of a group */
};

/* One mail transaction; tx_clear forgets all of it. */
struct tx {
    struct arena *arena;
    struct span sender; /* in arena; "" is the null sender */
    bool utf8;
    struct span pending; /* the recipient being looked up, in arena */
    struct rcpt *rcpts;
    size_t rcpt_count, rcpt_room;
    struct trace_id trace;
    struct intake *intake;
    int64_t began_us;
    /* filing */
    const struct address *from; /* next author to check */
    struct uuid *group_ids;
    size_t group_count;
    bool by_worker; /* the whole message is left to a delivery worker: a large group, or many recipients */
    struct store_target *targets; /* distinct, ascending by kind and id once complete */
    size_t target_count, target_room;
    size_t direct_count; /* while it grows: the first ones are sorted, members of groups stand behind them */
    enum err_code *outcome;  /* of each target */
    struct trace_id *traces; /* of each target: the trace that it is filed under */
    bool repeated;
    struct span receipt; /* in arena */
    struct span fields;  /* of the policy's verdict, in arena */
};

typedef enum step resume_fn(struct smtp_core *p, struct buf *out);

/* A call that is under way and what it answered. */
struct wait {
    resume_fn *then; /* NULL: nothing is awaited */
    bool answered;
    struct ticket *ticket;
    enum err_code code;
    struct dir_entry entry; /* scalars only */
    bool more;              /* members */
    int act;                /* policy */
    char text[200];
};

struct smtp_core {
    struct smtp_setup setup;
    const struct conf *conf;
    const struct backend *b;
    enum phase phase;
    bool stopping, crowded;

    /* the connection */
    char session[17];
    struct log_ctx log;
    struct {
        bool on;
        const char *version, *cipher;
        struct span binding;
    } tls;

    /* what the client said of itself; forgotten with STARTTLS */
    char hello[HELLO_LIMIT + 1];
    bool esmtp;
    struct {
        bool in;
        struct uuid account;
        char address[PATH_LIMIT + 1];
    } login;

    struct {
        struct dir_auth *exchange;
        struct ticket *ticket; /* of the whole exchange */
        struct buf challenge;
        bool over;  /* the exchange has ended, well or not */
        bool final; /* the server's last data was sent; an empty answer completes it */
    } auth;
    struct tx tx;
    struct wait wait;

    struct {
        bool skipping; /* the rest of a line that was too long */
        uint64_t skipped;
    } line;
    struct {
        uint64_t left;
        bool last;
    } chunk;
    enum phase after_drain;

    unsigned errors;
    uint64_t commands, wire_before; /* progress */
    struct {
        uint64_t accepted, refused, recipients, bytes;
        int64_t began_us;
    } sum;
    bool told;          /* smtp_core_accepted has something to say */
    struct buf receipt; /* of it */
};

/* -- core.c -- */
void enter(struct smtp_core *p, enum phase to);
bool core_secure(const struct smtp_core *p);
void tx_clear(struct smtp_core *p);
/* The transaction is over: forget it, wait for the next. */
enum step tx_end(struct smtp_core *p);
/* Begin to wait: the ticket for the call, which is made next; then runs after its answer. */
struct ticket *wait_for(struct smtp_core *p, resume_fn *then);
/* The same when the call has its ticket already (a further step of AUTH). */
void wait_mark(struct smtp_core *p, resume_fn *then);
/* A callback has filled in the answer. */
void wait_over(struct smtp_core *p);
/* Forget the exchange of AUTH; its answers will not come. */
void auth_clear(struct smtp_core *p);

/* -- reply.c -- */
/* Append "CODE ENHANCED text CRLF"; enhanced "" for none. Refusals (5xx) are counted. STEP_AGAIN, or
 * STEP_CLOSE when out is full. */
enum step reply(struct smtp_core *p, struct buf *out, int code, const char *enhanced, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* The general reply for an outcome, by table. */
enum step reply_err(struct smtp_core *p, struct buf *out, enum err_code code);

/* What the policy (quota_full_policy) answers for a mailbox that is full. */
struct full_reply {
    int code;
    const char *enhanced, *text;
};
struct full_reply full_reply(const struct smtp_core *p);

/* -- core.c: the verb table -- */
enum {
    V_NO_ARG = 1,
    V_ARG = 2,
    V_SMTP = 4, /* not in LMTP */
    V_LMTP = 8  /* only there */
};
struct verb {
    const char *name;
    enum step (*on)(struct smtp_core *p, struct span arg, struct buf *out);
    unsigned phases; /* in which it is in order */
    unsigned flags;
};
const struct verb *verb_find(struct span name);

enum step on_helo(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_ehlo(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_mail(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_rcpt(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_data(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_bdat(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_rset(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_noop(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_quit(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_vrfy(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_expn(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_help(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_auth(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_starttls(struct smtp_core *p, struct span arg, struct buf *out);
enum step on_stranger(struct smtp_core *p, struct span arg, struct buf *out);

/* A line while an AUTH exchange waits for it. */
enum step auth_line(struct smtp_core *p, struct span line, struct buf *out);
/* Bytes of DATA, of a chunk, of a chunk to be dropped. */
enum step data_bytes(struct smtp_core *p, struct buf *in, struct buf *out);
enum step chunk_bytes(struct smtp_core *p, struct buf *in, struct buf *out);
enum step drain_bytes(struct smtp_core *p, struct buf *in, struct buf *out);
/* Start taking in the message. */
void begin_message(struct smtp_core *p, bool stuffed);

/* -- path.c: MAIL and RCPT arguments -- */
struct param {
    struct span name, value; /* value.p NULL: none given */
};
enum { PARAMS_LIMIT = 16 };
struct path_arg {
    struct span path; /* between the brackets, without a source route */
    struct span local, domain;
    struct param params[PARAMS_LIMIT];
    size_t param_count;
};
/* "FROM:<...> params". ERR_SYNTAX; ERR_LIMIT: a part of the path is too long; ERR_DENIED: an address outside
 * ASCII without allow_utf8. to: "postmaster" alone is taken; else the path is a sender's, read as leniently
 * as address_path_wild does. */
CHECK_RESULT enum err_code path_arg_parse(struct span arg, struct span word, bool allow_utf8, bool to,
                                          struct path_arg *out);

/* -- accept.c: a whole message -- */
enum step accept_begin(struct smtp_core *p, struct buf *out);

/* -- trace.c -- */
/* Return-Path, then extra fields, then Received (RFC 5321 4.4). */
bool trace_fields(const struct smtp_core *p, struct span extra, struct buf *out) CHECK_RESULT;
/* The protocol's name for Received and logs (RFC 3848, 6531 4.3). */
const char *trace_protocol(const struct smtp_core *p, char out[16]);

#endif
