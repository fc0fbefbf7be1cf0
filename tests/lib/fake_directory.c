/* The directory's login half in memory, for tests of imapd: PLAIN and OAUTHBEARER, everybody's password is
 * "thu-dien-tu", a token is "token-" and an address; the grant is the address. "retry@..." cannot be checked
 * now. SCRAM-LIKE is a mechanism of two steps with final data. Answers come by fake_directory_pump. */
#include "tests/lib/fake_directory.h"
#include "common/directory/directory.h"
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

struct directory *directory_new_worker(struct worker *w)
{
    (void)w;
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

const char *directory_mechs(struct directory *d, bool secure)
{
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
    struct dir_login login = {.address = user, .name = user, .grant = user};
    a->cb(session, code, code == ERR_OK && a->step ? SPAN("final") : SPAN_NONE,
          code == ERR_OK ? &login : NULL);
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
