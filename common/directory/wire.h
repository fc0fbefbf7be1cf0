/* What goes over the directory's sockets (frames of ipc.h). Bodies are written with buf_add_* and read with
 * struct reader of buf.h: big-endian numbers, a text is a u32 length and its bytes, an id is 16 bytes. An
 * answer carries enum err_code in ipc_head.status and a body when that is ERR_OK (and where named here). Each
 * type belongs to the roles in directoryd's table; others are answered ERR_DENIED. */
#ifndef PROV_DIRECTORY_WIRE_H
#define PROV_DIRECTORY_WIRE_H

#include "common/base/buf.h"
#include "common/base/ids.h"

enum dir_wire {
    DIRW_MECHS = 1, /* event: texts mechanisms on secure connections, on others, on secure ones with a
                       channel binding */

    DIRW_PING = 2, /* -> : a sign of life; of all roles */
    DIRW_PAGE = 3, /* event of role smtp, a descriptor: the page of known.h */

    DIRW_LOOKUP = 16, /* id sender (or none), text address -> entry */
    DIRW_ACCOUNT,     /* id -> entry */
    DIRW_MEMBERS,     /* id after, u32 max, u16 count, ids -> u8 more, u32 count, for each: id, u64 quota,
                         text address */
    DIRW_MAY_SEND,    /* id account, text address -> */

    DIRW_AUTH = 32,   /* u32 exchange, u8 secure, u8 has_initial, texts mechanism, service, peer, tls version,
                         channel binding, initial -> (ERR_OK and ERR_STATE) u8 has_challenge, text challenge,
                         and on ERR_OK: id, text address, text name, text grant */
    DIRW_AUTH_STEP,   /* u32 exchange, text response -> as DIRW_AUTH */
    DIRW_AUTH_CANCEL, /* u32 exchange; no answer */

    DIRW_USER_LOGIN = 48, /* texts name, password, peer, agent -> session */
    DIRW_USER_RESUME,     /* text token -> session */
    DIRW_USER_LOGOUT,     /* text token -> */
    DIRW_USER_SEARCH,     /* text token, text query, u32 max -> u32 count, for each: u8 group, texts name,
                             address, unit, title */

    DIRW_ACCOUNTS = 64, /* text filter -> u8 more, u32 count, entries; further answers while more */
    DIRW_SHOW,          /* text address or id -> text */
    DIRW_SYNC,          /* u8 force -> (any code) text */
    DIRW_IMPORT,        /* u8 force, a descriptor -> (any code) text */
    DIRW_STATUS,        /* -> text */
    DIRW_GRANT,         /* id account, u8 over_quota, text protocol -> the sealed grant */
    DIRW_BACKUP         /* the write end of a pipe -> (any code) text */
};
/* entry: u8 kind, u8 flags, id, id unit, u64 quota, u32 members, texts address, name, forward
 * session: id account, i64 expires_s, texts token, address, name */
enum { DIRW_DISABLED = 1, DIRW_NO_LOGIN = 2, DIRW_MAY_POST = 4 };
enum {
    DIRW_BLOB = 12 << 10,    /* of an exchange */
    DIRW_TEXT = 64 << 10,    /* of any other text in a question */
    DIRW_MEMBER_PAGE = 5000, /* most members of one answer */
    DIRW_ENTRY_PAGE = 500,   /* entries of one part of DIRW_ACCOUNTS */
    DIRW_ANSWER_LIMIT = 8 << 20,
    DIRW_QUESTION_LIMIT = 1 << 20
};

static inline bool dirw_put_text(struct buf *b, struct span s)
{
    return buf_add_u32(b, (uint32_t)s.n) && buf_add_span(b, s);
}
static inline bool dirw_put_id(struct buf *b, const struct uuid *id)
{
    return buf_add(b, id->b, sizeof id->b);
}
static inline struct span dirw_text(struct reader *r)
{
    return read_bytes(r, read_u32(r));
}
static inline struct uuid dirw_id(struct reader *r)
{
    struct uuid id = {{0}};
    struct span s = read_bytes(r, sizeof id.b);
    if (s.n == sizeof id.b)
        memcpy(id.b, s.p, s.n);
    return id;
}
/* Nothing was short and nothing is left. */
static inline bool dirw_whole(const struct reader *r)
{
    return !r->bad && r->s.n == 0;
}

#endif
