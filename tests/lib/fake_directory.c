/* The directory's login half in memory, for tests of imapd: PLAIN and OAUTHBEARER, everybody's password is
 * "thu-dien-tu", a token is "token-" and an address; the grant is the address. "retry@..." cannot be checked
 * now. SCRAM-LIKE is a mechanism of two steps with final data. Answers come by fake_directory_pump.
 * In a real worker answers come through its loop, and the grant is a real one, sealed for stored under
 * KEY_DIR/grant.key; the account's id is made from the address. */
#include "tests/lib/fake_directory.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/base/grant.h"
#include "common/directory/directory.h"
#include <stdio.h>
#include <stdlib.h>

struct directory {
    int unused;
};

struct dir_auth {
    struct dir_auth *next;
    struct span mech;
    struct ticket *ticket;
    directory_auth_cb *cb;
    struct buf blob;
    bool has_blob, asked, over;
    unsigned step;
    char *user;
};

bool fake_directory_down;
void (*fake_directory_wake)(void *arg);
void *fake_directory_arg;
static struct dir_auth *exchanges;

static unsigned char key[CRYPTO_HASH];
static bool sealing, pumping;
static struct buf sealed;

static void pump_later(void *arg)
{
    (void)arg;
    pumping = false;
    fake_directory_pump();
}

static void wake_loop(void *arg)
{
    if (!pumping)
        loop_defer(arg, pump_later, NULL);
    pumping = true;
}

struct directory *directory_new_worker(struct worker *w)
{
    char path[4096];
    if (w) {
        snprintf(path, sizeof path, "%s/grant.key", worker_conf(w)->key_dir);
        if (!crypto_key_load(path, key)) {
            perror(path);
            exit(78);
        }
        sealing = true;
        fake_directory_wake = wake_loop;
        fake_directory_arg = worker_loop(w);
    }
    return xcalloc(1, sizeof(struct directory));
}

void directory_free(struct directory **d)
{
    free(*d);
    *d = NULL;
}

bool directory_is_up(const struct directory *d)
{
    (void)d;
    return !fake_directory_down;
}

const char *directory_mechs(struct directory *d, bool secure, bool bound)
{
    (void)bound;
    (void)d;
    if (fake_directory_down)
        return "";
    return secure ? "PLAIN OAUTHBEARER SCRAM-LIKE" : "SCRAM-LIKE";
}

static void auth_free(struct dir_auth *a)
{
    for (struct dir_auth **at = &exchanges; *at; at = &(*at)->next)
        if (*at == a) {
            *at = a->next;
            break;
        }
    ticket_drop(&a->ticket);
    buf_wipe(&a->blob);
    free(a->user);
    free(a);
}

static void wake(void)
{
    if (fake_directory_wake)
        fake_directory_wake(fake_directory_arg);
}

struct dir_auth *directory_auth(struct directory *d, struct span mech, const struct dir_facts *facts,
                                struct span initial, struct ticket *t, directory_auth_cb *cb)
{
    struct dir_auth *a = xcalloc(1, sizeof *a);
    (void)d;
    (void)facts;
    buf_init(&a->blob, 16 << 10);
    a->mech = span_caseeq(mech, SPAN("PLAIN"))         ? SPAN("PLAIN")
              : span_caseeq(mech, SPAN("OAUTHBEARER")) ? SPAN("OAUTHBEARER")
                                                       : SPAN("SCRAM-LIKE");
    a->ticket = ticket_hold(t);
    a->cb = cb;
    a->asked = true;
    a->has_blob = initial.p;
    if (initial.p && !buf_add_span(&a->blob, initial))
        abort();
    a->next = exchanges;
    exchanges = a;
    wake();
    return a;
}

void directory_auth_step(struct dir_auth *a, struct span response)
{
    buf_reset(&a->blob);
    if (!buf_add_span(&a->blob, response))
        abort();
    a->has_blob = a->asked = true;
    wake();
}

void directory_auth_cancel(struct dir_auth **a)
{
    if (*a)
        auth_free(*a);
    *a = NULL;
}

static enum err_code plain(struct dir_auth *a, struct span *user)
{
    struct span s = buf_span(&a->blob);
    if (span_find(s, 0) == s.n)
        return ERR_SYNTAX;
    span_cut(&s, 0);
    *user = span_cut(&s, 0);
    if (span_starts(*user, SPAN("retry@")))
        return ERR_RETRY;
    return span_eq(s, SPAN("thu-dien-tu")) ? ERR_OK : ERR_DENIED;
}

static enum err_code bearer(struct dir_auth *a, struct span *user)
{
    struct span s = buf_span(&a->blob), at = SPAN("auth=Bearer token-");
    size_t n = span_search(s, at);
    if (n == s.n)
        return ERR_DENIED;
    s = span_drop(s, n + at.n);
    *user = span_first(s, span_find(s, 1));
    return ERR_OK;
}

/* The grant of a person. */
static struct span grant_of(struct span user)
{
    static uint64_t serial;
    unsigned char hash[CRYPTO_HASH];
    int64_t now = clock_wall_us();
    struct grant g = {.serial = (uint64_t)now + serial++, .issued_us = now, .expires_us = now + 86400000000};
    if (!sealing)
        return user;
    crypto_sha256(user, hash);
    memcpy(g.account.b, hash, sizeof g.account.b);
    snprintf(g.protocol, sizeof g.protocol, "imap");
    snprintf(g.peer, sizeof g.peer, "127.0.0.1");
    snprintf(g.address, sizeof g.address, "%.*s", SPAN_ARG(user));
    buf_init(&sealed, GRANT_LIMIT);
    if (!grant_seal(&g, key, &sealed))
        abort();
    return buf_span(&sealed);
}

/* One question is answered; true: the exchange is over. */
static bool answer(struct dir_auth *a)
{
    void *session = ticket_session(a->ticket);
    struct span user = SPAN_NONE;
    enum err_code code = ERR_STATE;
    a->asked = false;
    if (!session)
        return true;
    if (!a->has_blob) {
        a->cb(session, ERR_STATE, SPAN(""), NULL);
        return false;
    }
    if (span_eq(a->mech, SPAN("PLAIN")))
        code = plain(a, &user);
    else if (span_eq(a->mech, SPAN("OAUTHBEARER")))
        code = bearer(a, &user);
    else if (a->step++ == 0) {
        a->user = xstrspan(buf_span(&a->blob));
        a->cb(session, ERR_STATE, SPAN("challenge"), NULL);
        return false;
    } else {
        code = span_eq(buf_span(&a->blob), SPAN("proof")) ? ERR_OK : ERR_DENIED;
        user = span_str(a->user);
    }
    struct dir_login login = {
        .address = user, .name = user, .grant = code == ERR_OK ? grant_of(user) : SPAN_NONE};
    a->cb(session, code, code == ERR_OK && a->step ? SPAN("final") : SPAN_NONE,
          code == ERR_OK ? &login : NULL);
    buf_free(&sealed);
    return true;
}

bool fake_directory_pump(void)
{
    bool did = false;
    for (struct dir_auth *a = exchanges, *next; a; a = next) {
        next = a->next;
        if (!a->asked)
            continue;
        did = true;
        if (answer(a))
            auth_free(a);
    }
    return did;
}
