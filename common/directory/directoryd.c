/* directoryd: the one process that knows people. It has no network but the LDAP connections of its source;
 * workers, webmail and administrators reach it through one socket for each role. Order of the start: sockets,
 * key and folder with all rights; then the user, then the sandbox, and only then the copy is opened and the
 * source is read. */
#include "common/directory/server.h"
#include "common/net/sandbox.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *directoryd_user(const struct conf *c)
{
    return c->directoryd_user;
}
static const char *smtpd_user(const struct conf *c)
{
    return c->smtpd_user;
}
static const char *imapd_user(const struct conf *c)
{
    return c->imapd_user;
}
static const char *web_user(const struct conf *c)
{
    return c->web_user;
}

static const struct {
    const char *name;
    enum role role;
    const char *(*user)(const struct conf *c);
} roles[ROLES] = {{"smtp", ROLE_SMTP, smtpd_user},
                  {"imap", ROLE_IMAP, imapd_user},
                  {"user", ROLE_USER, web_user},
                  {"admin", ROLE_ADMIN, directoryd_user}};

static enum err_code listen_role(struct server *s, size_t i, struct err *why)
{
    const struct conf *c = daemon_conf(s->d);
    struct listener *l = &s->listeners[i];
    char dir[4096];
    gid_t gid;
    *l = (struct listener){.s = s, .role = roles[i].role, .fd = -1};
    snprintf(dir, sizeof dir, "%s/directory/%s", c->run_dir, roles[i].name);
    enum err_code code = daemon_ids(roles[i].user(c), &l->uid, &gid, why);
    return code == ERR_OK ? ipc_listen(dir, "sock", l->uid, gid, &l->fd, why) : code;
}

/* Read with the rights of the start, like stored does: nobody else can. */
static enum err_code load_key(struct server *s, struct err *why)
{
    const char *dir = daemon_conf(s->d)->key_dir;
    char path[4096];
    snprintf(path, sizeof path, "%s/grant.key", dir);
    if ((mkdir(dir, 0750) != 0 && errno != EEXIST) || !crypto_key_make(path, s->key))
        return err_set(why, ERR_STATE, NULL, "%s: %s", path, strerror(errno));
    return ERR_OK;
}

static enum err_code make_folder(struct server *s, struct err *why)
{
    const struct conf *c = daemon_conf(s->d);
    uid_t uid;
    gid_t gid;
    enum err_code code = daemon_ids(c->directoryd_user, &uid, &gid, why);
    if (code != ERR_OK)
        return code;
    if ((mkdir(c->directory_dir, 0750) != 0 && errno != EEXIST) ||
        (geteuid() == 0 && chown(c->directory_dir, uid, gid) != 0))
        return err_set(why, ERR_STATE, NULL, "%s: %s", c->directory_dir, strerror(errno));
    return ERR_OK;
}

/* What it gives up is known once the configuration is: see main. */
static struct daemon_spec spec;

static enum err_code open_source(struct server *s, struct err *why)
{
    const struct conf *c = daemon_conf(s->d);
    if (strcmp(c->directory_source, "ldif") == 0)
        return source_ldif_new(c, &s->source, why);
    if (strcmp(c->directory_source, "ldap") == 0)
        return source_ldap_new(c, &s->source, why);
    return err_set(why, ERR_SYNTAX, NULL, "directory_source: %s is not known", c->directory_source);
}

static void start(void *arg)
{
    server_start(arg);
}

static enum err_code open_all(struct daemon *d, struct err *why)
{
    struct server *s = xcalloc(1, sizeof *s);
    s->d = d;
    s->loop = daemon_loop(d);
    s->page = answers_page_new(&s->page_fd);
    if (!s->page)
        log_event(LOG_WARN, NULL, "directory.page.missing", F_STR("why", strerror(errno)));
    crypto_start();
    daemon_set_arg(d, s);
    enum err_code code = open_source(s, why);
    if (code == ERR_OK && source_binds(s->source))
        spec.sandbox |= SANDBOX_CONNECT; /* an LDIF file needs no network */
    if (code == ERR_OK)
        code = load_key(s, why);
    if (code == ERR_OK)
        code = make_folder(s, why);
    for (size_t i = 0; i < ROLES && code == ERR_OK; i++)
        code = listen_role(s, i, why);
    if (code == ERR_OK)
        code = server_logins(s, why);
    if (code == ERR_OK)
        loop_defer(s->loop, start, s); /* once the user and the sandbox are settled */
    return code;
}

static void stop(struct daemon *d)
{
    server_stop(daemon_arg(d));
}

static void reload(struct daemon *d)
{
    struct server *s = daemon_arg(d);
    answers_changed(s->page); /* domains and the usual quota come from the configuration */
    refresh_now(daemon_arg(d), false, NULL, NULL);
}

int main(int argc, char **argv)
{
    spec = (struct daemon_spec){
        .program = "directoryd",
        .user = directoryd_user,
        .open = open_all,
        .sandbox = SANDBOX_ACCEPT | SANDBOX_FILES | SANDBOX_THREADS | SANDBOX_UNIX,
        .stop = stop,
        .reload = reload,
    };
    return daemon_main(&spec, argc, argv);
}
