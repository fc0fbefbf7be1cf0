#include "tests/lib/store_env.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "store_env: %s: %s\n", what, strerror(errno));
    abort();
}

static const char *build_dir(void)
{
    const char *dir = getenv("top_builddir");
    return dir ? dir : ".";
}

static void launch(struct store_env *e)
{
    char program[4096], conf[300];
    snprintf(program, sizeof program, "%s/stored", build_dir());
    snprintf(conf, sizeof conf, "%s/provmail.conf", e->dir);
    e->pid = fork();
    if (e->pid < 0)
        die("fork");
    if (e->pid == 0) {
        const char *shim = getenv("STORED_PRELOAD"); /* tests/crash/disk.c, for stored alone */
        if (shim) {
            snprintf(program, sizeof program, "%s/mail", e->dir);
            setenv("DISK_DIR", program, 1);
            setenv("LD_PRELOAD", shim, 1);
            snprintf(program, sizeof program, "%s/stored", build_dir());
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, "stored", "--config", conf, (char *)NULL);
        die(program);
    }
}

void env_start(struct store_env *e, const char *options)
{
    char path[300];
    const char *tmp = getenv("TMPDIR");
    *e = (struct store_env){.pid = 0};
    snprintf(e->dir, sizeof e->dir, "%s/store-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(e->dir) || chmod(e->dir, 0755) != 0)
        die("mkdtemp");
    snprintf(path, sizeof path, "%s/provmail.conf", e->dir);
    FILE *f = fopen(path, "w");
    if (!f)
        die(path);
    fprintf(f,
            "stored_user = root\nsmtpd_user = root\nimapd_user = root\ndirectoryd_user = root\n"
            "%s%s",
            strstr(options, "store_cache_size") ? "" : "store_cache_size = 32M\n", options);
    fclose(f);
    crypto_start();
    snprintf(path, sizeof path, "%s/keys", e->dir);
    if (mkdir(path, 0750) != 0)
        die(path);
    snprintf(path, sizeof path, "%s/keys/grant.key", e->dir);
    if (!crypto_key_make(path, e->key))
        die(path);
    e->loop = loop_new();
    launch(e);
}

void env_kill(struct store_env *e)
{
    if (!e->pid)
        return;
    kill(e->pid, SIGKILL);
    if (waitpid(e->pid, NULL, 0) != e->pid)
        die("waitpid");
    e->pid = 0;
}

int env_stop(struct store_env *e)
{
    int status = 0;
    kill(e->pid, SIGTERM);
    if (waitpid(e->pid, &status, 0) != e->pid)
        die("waitpid");
    e->pid = 0;
    return status;
}

void env_restart(struct store_env *e)
{
    launch(e);
}

void env_loop_free(struct store_env *e)
{
    loop_free(&e->loop);
}

void env_end(struct store_env *e)
{
    char command[300];
    env_kill(e);
    env_loop_free(e);
    snprintf(command, sizeof command, "rm -rf '%s'", e->dir);
    if (system(command) != 0)
        fprintf(stderr, "store_env: %s stays\n", e->dir);
}

const char *env_socket(struct store_env *e, const char *role)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/run/store/%s/sock", e->dir, role);
    return path;
}

struct store *env_client(struct store_env *e, const char *role)
{
    enum store_role r = strcmp(role, "deliver") == 0 ? STORE_DELIVER
                        : strcmp(role, "relay") == 0 ? STORE_RELAY
                        : strcmp(role, "admin") == 0 ? STORE_ADMIN
                                                     : STORE_SESSION;
    return store_new_path(e->loop, env_socket(e, role), r);
}

struct uuid env_account(unsigned n)
{
    struct uuid u = {{0}};
    u.b[0] = 0xac;
    u.b[12] = (unsigned char)(n >> 24);
    u.b[13] = (unsigned char)(n >> 16);
    u.b[14] = (unsigned char)(n >> 8);
    u.b[15] = (unsigned char)n;
    return u;
}

void env_grant(struct store_env *e, unsigned n, struct buf *out)
{
    struct grant *g = xcalloc(1, sizeof *g);
    int64_t now = clock_wall_us();
    *g = (struct grant){.account = env_account(n),
                        .serial = n,
                        .issued_us = now,
                        .expires_us = now + 3600 * (int64_t)1000000,
                        .protocol = "imap",
                        .peer = "127.0.0.1"};
    snprintf(g->address, sizeof g->address, "user%u@example.org", n);
    if (!grant_seal(g, e->key, out))
        die("grant_seal");
    free(g);
}

/* -- waiting -- */

struct waiting {
    struct loop *loop;
    const bool *flag;
};

static void on_late(void *arg)
{
    (void)arg;
    fprintf(stderr, "store_env: no answer within 120 s\n");
    abort();
}

static void on_round(void *arg)
{
    struct waiting *w = arg;
    if (*w->flag)
        loop_stop(w->loop);
}

void env_wait(struct store_env *e, const bool *flag)
{
    struct waiting w = {e->loop, flag};
    struct loop_timer *late = loop_timer_new(e->loop, on_late, NULL);
    loop_timer_start(late, 120000);
    loop_round_end(e->loop, on_round, &w);
    if (!*flag)
        loop_run(e->loop);
    loop_round_end(e->loop, NULL, NULL);
    loop_timer_free(&late);
}

struct content *env_content(struct span text, struct span meta)
{
    struct content *c = content_new();
    if (content_add(c, text) != ERR_OK || content_finish(c, meta) != ERR_OK)
        die("content");
    return c;
}

struct answer {
    bool done;
    enum err_code code;
    struct store_account *account;
    struct store_mailbox box;
};

static void on_login(void *session, enum err_code code, struct store_account *account)
{
    struct answer *a = session;
    a->done = true;
    a->code = code;
    a->account = account;
}

struct store_account *env_login(struct store_env *e, struct store *s, unsigned n, enum err_code *code)
{
    struct answer a = {.done = false};
    struct ticket *t = ticket_new(&a);
    struct buf grant;
    buf_init(&grant, GRANT_LIMIT);
    env_grant(e, n, &grant);
    store_login(s, buf_span(&grant), t, on_login);
    env_wait(e, &a.done);
    ticket_void(&t);
    buf_free(&grant);
    if (code)
        *code = a.code;
    return a.account;
}

static void on_delivered(void *session, enum err_code code, const struct store_delivered *d)
{
    struct answer *a = session;
    a->done = true;
    a->code = code == ERR_OK ? d->outcome[0] : code;
}

enum err_code env_deliver(struct store_env *e, struct store *s, unsigned n, const char *text)
{
    struct answer a = {.done = false};
    struct ticket *t = ticket_new(&a);
    struct content *c = env_content(span_str(text), SPAN("meta"));
    const struct store_target to = {
        .kind = STORE_TO_ACCOUNT, .id = env_account(n), .address = SPAN("u@example.org")};
    const struct store_delivery d = {.trace = trace_new(),
                                     .sender = SPAN("s@example.net"),
                                     .peer = SPAN("127.0.0.1"),
                                     .login = SPAN(""),
                                     .received_us = clock_wall_us(),
                                     .content = c,
                                     .to = &to,
                                     .to_count = 1};
    store_deliver(s, &d, t, on_delivered);
    env_wait(e, &a.done);
    ticket_void(&t);
    content_free(&c);
    return a.code;
}

static void on_status(void *session, enum err_code code, const struct store_mailbox *box)
{
    struct answer *a = session;
    a->done = true;
    a->code = code;
    if (code == ERR_OK) {
        a->box = *box;
        a->box.name = SPAN_NONE;
        a->box.keywords = NULL;
    }
}

enum err_code env_status(struct store_env *e, struct store_account *account, const char *name,
                         struct store_mailbox *out)
{
    struct answer a = {.done = false};
    struct ticket *t = ticket_new(&a);
    store_status(account, span_str(name), false, t, on_status);
    env_wait(e, &a.done);
    ticket_void(&t);
    *out = a.box;
    return a.code;
}
