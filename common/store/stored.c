/* stored: the one process that owns the mailbox store. It has no network; workers reach it through one socket
 * for each role, each in a folder of its own that only the role's user may enter. Order of the start:
 * sockets, key and folder with all rights; then the user, then the sandbox, and only then the store is opened
 * (recovery reads what hostile mail left in files). */
#include "common/net/sandbox.h"
#include "common/store/server.h"
#include "common/base/clock.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *stored_user(const struct conf *c)
{
    return c->stored_user;
}
static const char *smtpd_user(const struct conf *c)
{
    return c->smtpd_user;
}
static const char *imapd_user(const struct conf *c)
{
    return c->imapd_user;
}
static const char *directoryd_user(const struct conf *c)
{
    return c->directoryd_user;
}

static const struct {
    const char *name;
    enum role role;
    const char *(*user)(const struct conf *c);
} roles[ROLES] = {{"deliver", ROLE_DELIVER, smtpd_user},
                  {"relay", ROLE_RELAY, smtpd_user},
                  {"session", ROLE_SESSION, imapd_user},
                  {"admin", ROLE_ADMIN, stored_user},
                  {"directory", ROLE_DIRECTORY, directoryd_user}};

static enum err_code listen_role(struct server *s, size_t i, struct err *why)
{
    const struct conf *c = daemon_conf(s->d);
    struct listener *l = &s->listeners[i];
    char dir[4096];
    gid_t gid;
    *l = (struct listener){.s = s, .role = roles[i].role, .fd = -1};
    snprintf(dir, sizeof dir, "%s/store/%s", c->run_dir, roles[i].name);
    enum err_code code = daemon_ids(roles[i].user(c), &l->uid, &gid, why);
    return code == ERR_OK ? ipc_listen(dir, "sock", l->uid, gid, &l->fd, why) : code;
}

static enum err_code load_key(struct server *s, struct err *why)
{
    const char *dir = daemon_conf(s->d)->key_dir;
    char path[4096];
    snprintf(path, sizeof path, "%s/grant.key", dir);
    if ((mkdir(dir, 0750) != 0 && errno != EEXIST) || !crypto_key_make(path, s->key))
        return err_set(why, ERR_STATE, NULL, "%s: %s", path, strerror(errno));
    return ERR_OK;
}

static enum err_code make_mail_dir(struct server *s, struct err *why)
{
    const struct conf *c = daemon_conf(s->d);
    uid_t uid;
    gid_t gid;
    enum err_code code = daemon_ids(c->stored_user, &uid, &gid, why);
    if (code != ERR_OK)
        return code;
    if ((mkdir(c->mail_dir, 0750) != 0 && errno != EEXIST) ||
        (geteuid() == 0 && chown(c->mail_dir, uid, gid) != 0))
        return err_set(why, ERR_STATE, NULL, "%s: %s", c->mail_dir, strerror(errno));
    return ERR_OK;
}

static bool only_upgrade;                /* --upgrade: open the store, which upgrades it, and end */
static bool only_verify;                 /* --verify: look through the store and end */
static struct offline_options verifying; /* its --deep, --repair, --json */

static void start(void *arg)
{
    if (only_verify)
        server_verify(arg, &verifying);
    else if (only_upgrade)
        server_upgrade(arg);
    else
        server_start(arg);
}

static enum err_code open_all(struct daemon *d, struct err *why)
{
    struct server *s = xcalloc(1, sizeof *s);
    s->d = d;
    s->loop = daemon_loop(d);
    s->held_last = &s->held;
    crypto_start();
    daemon_set_arg(d, s);
    enum err_code code = load_key(s, why);
    if (code == ERR_OK)
        code = make_mail_dir(s, why);
    for (size_t i = 0; i < ROLES && code == ERR_OK && !only_upgrade && !only_verify; i++)
        code = listen_role(s, i, why);
    if (code == ERR_OK)
        loop_defer(s->loop, start, s); /* once the user and the sandbox are settled */
    return code;
}

static void stop(struct daemon *d)
{
    server_stop(daemon_arg(d));
}

/* The options that other daemons do not have. */
static int take_upgrade(int argc, char **argv)
{
    const struct {
        const char *name;
        bool *on;
    } all[] = {{"--upgrade", &only_upgrade},
               {"--verify", &only_verify},
               {"--deep", &verifying.deep},
               {"--repair", &verifying.repair},
               {"--json", &verifying.json}};
    int n = 1;
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof all / sizeof *all && strcmp(argv[i], all[k].name) != 0)
            k++;
        if (k < sizeof all / sizeof *all)
            *all[k].on = true;
        else
            argv[n++] = argv[i];
    }
    return argc > 0 ? n : argc;
}

static void no_news(void *arg, struct news *n)
{
    (void)arg;
    news_free(&n);
}

/* stored --probe DIR: open the store in DIR, which nobody runs, look, and close it. For the check of backups.
 */
static int probe(const char *dir)
{
    const struct engine_options o = {.dir = dir,
                                     .cache_size = 64 << 20,
                                     .segment_size = 64 << 20,
                                     .checkpoint_ms = 60000,
                                     .checkpoint_size = 64 << 20,
                                     .message_limit = UINT32_MAX,
                                     .done = no_news};
    struct engine *e = NULL;
    struct probe p;
    struct err why = {.code = ERR_OK};
    crypto_start();
    log_threshold(LOG_ALARM);
    enum err_code code = engine_open(&o, &e, &why);
    if (code == ERR_OK && engine_probe(e, &p) != ERR_OK)
        code = err_set(&why, ERR_BUG, NULL, "%s: reading it", dir);
    engine_close(&e);
    if (code != ERR_OK) {
        fprintf(stderr, "stored: %s\n", why.log);
        return 70; /* EX_SOFTWARE */
    }
    printf("opened: %llu accounts, %llu mailboxes, %llu messages, %llu contents, %llu of them not whole\n",
           (unsigned long long)p.accounts, (unsigned long long)p.mailboxes, (unsigned long long)p.messages,
           (unsigned long long)p.contents, (unsigned long long)p.broken);
    return p.broken ? 65 : 0; /* EX_DATAERR */
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--probe") == 0) {
        int status = probe(argv[2]);
        fflush(stdout);
        _exit(status); /* what libdb leaves to the end is no leak to look for */
    }
    const struct daemon_spec spec = {
        .program = "stored",
        .user = stored_user,
        .open = open_all,
        .sandbox = SANDBOX_ACCEPT | SANDBOX_FILES | SANDBOX_THREADS,
        .stop = stop,
    };
    argc = take_upgrade(argc, argv);
    return daemon_main(&spec, argc, argv);
}
