/* smtpd: its listeners, its two kinds of workers, and what each may do (design.md 1). */
#include "common/net/daemon.h"
#include "common/net/sandbox.h"
#include "smtpd/delivery.h"
#include "smtpd/session.h"
#include <unistd.h>

static struct conf_list smtp_listen(const struct conf *c)
{
    return c->smtp_listen;
}

static struct conf_list submission_listen(const struct conf *c)
{
    return c->submission_listen;
}

static struct conf_list submissions_listen(const struct conf *c)
{
    return c->submissions_listen;
}

static struct conf_list lmtp_listen(const struct conf *c)
{
    return c->lmtp_listen;
}

static const char *web_user(const struct conf *c)
{
    return c->web_user;
}

static const char *user(const struct conf *c)
{
    return c->smtpd_user;
}

static unsigned session_count(const struct conf *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->workers)
        return (unsigned)c->workers;
    return cores > 0 && cores < 256 ? 4 * (unsigned)cores : 4;
}

static unsigned delivery_count(const struct conf *c)
{
    (void)c;
    return 2; /* one may wait for the directory */
}

int main(int argc, char **argv)
{
    static const struct daemon_listen listens[] = {
        {.name = "smtp", .addresses = smtp_listen, .tls = true},
        {.name = "submission", .addresses = submission_listen, .tls = true},
        {.name = "submissions", .addresses = submissions_listen, .tls = true, .implicit_tls = true},
        {.name = "lmtp", .addresses = lmtp_listen, .tls = true},
        {.name = "webmail", .unix_name = "webmail", .unix_owner = web_user},
        {.name = NULL}};
    static const struct daemon_peer session_peers[] = {
        {"store", "store/deliver/sock"}, {"directory", "directory/smtp/sock"}, {NULL, NULL}};
    static const struct daemon_peer delivery_peers[] = {
        {"store", "store/relay/sock"}, {"directory", "directory/smtp/sock"}, {NULL, NULL}};
    static const struct daemon_workers workers[] = {{.name = "session",
                                                     .count = session_count,
                                                     .listens = listens,
                                                     .peers = session_peers,
                                                     .sandbox = SANDBOX_MEMFD,
                                                     .start = session_worker_start,
                                                     .accepted = session_worker_accepted,
                                                     .stop = session_worker_stop},
                                                    {.name = "delivery",
                                                     .count = delivery_count,
                                                     .peers = delivery_peers,
                                                     .start = delivery_worker_start,
                                                     .stop = delivery_worker_stop},
                                                    {.name = NULL}};
    static const struct daemon_spec spec = {.program = "smtpd", .user = user, .workers = workers};
    return daemon_main(&spec, argc, argv);
}
