/* mailadm restore DIR: everything from a backup set, while stored and directoryd do not run. Files are
 * checked as they are copied; the store's own settling (all of the log, larger UIDVALIDITY, the queue held)
 * is done by stored at its next start, told by the file `restored`. The hard point is to leave no half: all
 * is copied into a folder beside its place first, what lies in its place is moved aside (never removed), and
 * the store's `format`, without which stored does not take the databases for a store, comes last. */
#include "common/net/daemon.h"
#include "mailadm/mailadm.h"
#include "mailadm/past.h"
#include "mailadm/set.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct put_back {
    const struct adm *adm;
    struct conf *conf;
    const char *dir, *stamp, *key_file;
    bool force, store_only, has_key;
    unsigned char key[CRYPTO_HASH];
    struct set set;
    struct progress progress;
    uint64_t files;
    struct err why;
};

enum { PARTS = 6 };
/* A place of the system that a part of the set belongs to. */
struct place {
    const char *dir, *user, *part,
        *below[PARTS]; /* what makes it up: what a start asks for first is first taken away and last put */
    uid_t uid;
    gid_t gid;
    int lock;
};

int adm_set_open(const char *dir, const char *stamp, struct set *out)
{
    struct stamps l = {NULL, 0};
    struct err why = {.code = ERR_OK};
    enum err_code code = set_list(dir, &l, &why);
    *out = (struct set){.n = 0};
    if (code == ERR_OK && !l.n)
        code = err_set(&why, ERR_MISSING, NULL, "%s: there is no backup in it", dir);
    if (code == ERR_OK)
        code = set_read(dir, stamp ? stamp : l.v[0], out, &why);
    free(l.v);
    if (code == ERR_OK)
        return EX_OK;
    fprintf(stderr, "mailadm: %s\n", why.log);
    return code == ERR_MISSING ? EX_NOINPUT : EX_DATAERR;
}

/* -- copying -- */

struct target {
    struct put_back *p;
    int fd;
};

static bool write_out(void *arg, struct span bytes)
{
    struct target *t = arg;
    progress_add(&t->p->progress, bytes.n);
    return adm_write(t->fd, bytes);
}

static bool make_parents(const char *path, const struct place *at)
{
    char part[SET_PATH];
    snprintf(part, sizeof part, "%s", path);
    for (char *s = part + strlen(at->dir) + 1; (s = strchr(s, '/')); s++) {
        *s = '\0';
        if (mkdir(part, 0750) == 0) {
            if (geteuid() == 0 && chown(part, at->uid, at->gid) != 0)
                return false;
        } else if (errno != EEXIST) {
            return false;
        }
        *s = '/';
    }
    return true;
}

static int copy_out(struct put_back *p, const struct set_file *f, const char *path, const struct place *at,
                    mode_t mode)
{
    struct target t = {.p = p, .fd = -1};
    if (make_parents(path, at))
        t.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (t.fd < 0 || (geteuid() == 0 && fchown(t.fd, at->uid, at->gid) != 0)) {
        fprintf(stderr, "mailadm: %s: %s\n", path, strerror(errno));
        if (t.fd >= 0)
            close(t.fd);
        return EX_CANTCREAT;
    }
    enum err_code code =
        set_read_file(p->dir, &p->set, f, p->has_key ? p->key : NULL, write_out, &t, &p->why);
    if (code == ERR_STATE || (code == ERR_OK && fsync(t.fd) != 0)) {
        err_set(&p->why, ERR_RETRY, NULL, "%s: %s", path, strerror(errno));
        code = ERR_RETRY;
    }
    close(t.fd);
    if (code == ERR_OK) {
        p->files++;
        return EX_OK;
    }
    progress_end(&p->progress);
    fprintf(stderr, "mailadm: %s\n", p->why.log);
    return code == ERR_RETRY ? EX_IOERR : code == ERR_DENIED ? EX_NOPERM : EX_DATAERR;
}

/* Where a file of the set goes, below the place's folder `restoring`. */
static bool path_in(const struct place *at, const struct set_file *f, char out[SET_PATH])
{
    const size_t part_n = strlen(at->part);
    int n;
    if (f->is_segment && strcmp(at->part, "store/") == 0)
        n = snprintf(out, SET_PATH, "%s/restoring/segments/%08" PRIx32 ".seg", at->dir, f->segment);
    else if (f->is_segment || strncmp(f->name, at->part, part_n) != 0)
        return false;
    else if (strncmp(f->name + part_n, "open/", 5) == 0)
        n = snprintf(out, SET_PATH, "%s/restoring/segments/%s", at->dir, f->name + part_n + 5);
    else
        n = snprintf(out, SET_PATH, "%s/restoring/%s", at->dir, f->name + part_n);
    return n > 0 && n < SET_PATH;
}

/* -- a place -- */

static int fail_at(const struct place *at, const char *what)
{
    fprintf(stderr, "mailadm: %s: %s: %s\n", at->dir, what, strerror(errno));
    return EX_CANTCREAT;
}

/* Nobody works there, and it is empty or may be emptied. */
static int settle_place(struct put_back *p, struct place *at)
{
    char path[SET_PATH];
    struct err why = {.code = ERR_OK};
    at->lock = -1;
    if (daemon_ids(at->user, &at->uid, &at->gid, &why) != ERR_OK) {
        fprintf(stderr, "mailadm: %s\n", why.log);
        return EX_NOUSER;
    }
    if (!make_path(at->dir) || (geteuid() == 0 && chown(at->dir, at->uid, at->gid) != 0) ||
        chmod(at->dir, 0750) != 0)
        return fail_at(at, "making it");
    path_put(path, "%s/lock", at->dir);
    at->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (at->lock < 0 || (geteuid() == 0 && fchown(at->lock, at->uid, at->gid) != 0))
        return fail_at(at, "lock");
    if (flock(at->lock, LOCK_EX | LOCK_NB) != 0) {
        fprintf(stderr, "mailadm: %s is in use: stop the daemons first\n", at->dir);
        return EX_TEMPFAIL;
    }
    for (size_t i = 0; i < PARTS && at->below[i] && !p->force; i++) {
        path_put(path, "%s/%s", at->dir, at->below[i]);
        if (access(path, F_OK) == 0) {
            fprintf(stderr, "mailadm: %s is not empty (%s); with --force what is there is moved aside\n",
                    at->dir, at->below[i]);
            return EX_CANTCREAT;
        }
    }
    return EX_OK;
}

static int fill_place(struct put_back *p, const struct place *at)
{
    char path[SET_PATH];
    int status = EX_OK;
    path_put(path, "%s/restoring", at->dir);
    if (!remove_tree(path))
        return fail_at(at, "removing what an earlier restore left");
    for (size_t i = 0; i < p->set.n && status == EX_OK; i++)
        if (path_in(at, &p->set.v[i], path))
            status = copy_out(p, &p->set.v[i], path, at, 0640);
    return status;
}

/* A new folder `replaced-N`. */
static bool make_aside(const struct place *at, char out[SET_PATH])
{
    for (int n = 1; n < 10000; n++) {
        path_put(out, "%s/replaced-%d", at->dir, n);
        if (mkdir(out, 0750) == 0)
            return true;
        if (errno != EEXIST)
            return false;
    }
    return false;
}

static int move_aside(const struct place *at)
{
    char from[SET_PATH], aside[SET_PATH] = "", to[SET_PATH];
    for (size_t i = 0; i < PARTS && at->below[i]; i++) {
        path_put(from, "%s/%s", at->dir, at->below[i]);
        if (access(from, F_OK) != 0)
            continue;
        if (!*aside && !make_aside(at, aside))
            return fail_at(at, "moving aside what is there");
        path_put(to, "%s/%s", aside, at->below[i]);
        if (rename(from, to) != 0)
            return fail_at(at, to);
    }
    return EX_OK;
}

static int put_marker(const struct place *at)
{
    char path[SET_PATH];
    path_put(path, "%s/restored", at->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    bool ok = fd >= 0 && (geteuid() != 0 || fchown(fd, at->uid, at->gid) == 0) && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok ? EX_OK : fail_at(at, "restored");
}

static int take_place(const struct place *at)
{
    char from[SET_PATH], to[SET_PATH];
    int status = move_aside(at);
    if (status == EX_OK)
        status = put_marker(at);
    for (size_t i = PARTS; i-- > 0 && status == EX_OK;) {
        if (!at->below[i])
            continue;
        path_put(from, "%s/restoring/%s", at->dir, at->below[i]);
        path_put(to, "%s/%s", at->dir, at->below[i]);
        if (access(from, F_OK) != 0)
            continue;
        sync_dir(from);
        if (rename(from, to) != 0 || !sync_dir(at->dir))
            status = fail_at(at, to);
    }
    path_put(from, "%s/restoring", at->dir);
    if (status == EX_OK && !remove_tree(from))
        status = fail_at(at, "restoring");
    return status;
}

/* -- configuration, keys, certificates: only where there is none -- */

static int put_file(struct put_back *p, const char *name, const char *path, const char *user, mode_t mode)
{
    struct place at = {.dir = "", .user = user};
    const struct set_file *f = set_find(&p->set, name);
    struct err why = {.code = ERR_OK};
    if (!f || !path || !*path || access(path, F_OK) == 0)
        return EX_OK;
    if (user && daemon_ids(user, &at.uid, &at.gid, &why) != ERR_OK) {
        fprintf(stderr, "mailadm: %s\n", why.log);
        return EX_NOUSER;
    }
    if (!user) {
        at.uid = geteuid();
        at.gid = getegid();
    }
    return copy_out(p, f, path, &at, mode);
}

static int put_files(struct put_back *p)
{
    const struct conf *c = p->conf;
    int status = put_file(p, "files/tls-certificate.pem", c->tls_certificate, NULL, 0644);
    if (status == EX_OK)
        status = put_file(p, "files/tls-key.pem", c->tls_key, NULL, 0600);
    if (status == EX_OK && strcmp(c->directory_source, "ldif") == 0)
        status = put_file(p, "files/directory.ldif", c->directory_ldif, c->directoryd_user, 0600);
    if (status == EX_OK)
        status = put_file(p, "files/ldap-password", c->ldap_bind_password_file, c->directoryd_user, 0600);
    for (size_t i = 0; i < p->set.n && status == EX_OK; i++) {
        char path[SET_PATH];
        const char *name = p->set.v[i].name;
        if (strncmp(name, "files/keys/", 11) != 0)
            continue;
        path_put(path, "%s/%s", c->key_dir, name + 11);
        status = put_file(p, name, path, NULL, 0640);
    }
    return status;
}

/* -- the command -- */

static int read_options(struct put_back *p, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char **text = strcmp(argv[i], "--set") == 0   ? &p->stamp
                            : strcmp(argv[i], "--key") == 0 ? &p->key_file
                                                            : NULL;
        if (text && i + 1 < argc)
            *text = argv[++i];
        else if (strcmp(argv[i], "--force") == 0)
            p->force = true;
        else if (strcmp(argv[i], "--store-only") == 0)
            p->store_only = true;
        else if (!p->dir && argv[i][0] != '-')
            p->dir = argv[i];
        else
            p->dir = "";
    }
    if (!p->dir || !*p->dir || strlen(p->dir) > 3000) {
        fputs("usage: mailadm restore DIR [--set STAMP] [--key FILE] [--force] [--store-only] [--json]\n",
              stderr);
        return EX_USAGE;
    }
    p->has_key = p->key_file != NULL;
    if (p->has_key && !crypto_key_load(p->key_file, p->key)) {
        fprintf(stderr, "mailadm: %s: %s\n", p->key_file, errno ? strerror(errno) : "not a key");
        return EX_NOINPUT;
    }
    return EX_OK;
}

static int open_set(struct put_back *p)
{
    int status = adm_set_open(p->dir, p->stamp, &p->set);
    if (status == EX_OK && *p->set.key && !p->has_key) {
        fprintf(stderr, "mailadm: %s is encrypted: --key FILE opens it\n", p->set.stamp);
        return EX_NOPERM;
    }
    for (size_t i = 0; i < p->set.n; i++)
        p->progress.total += p->set.v[i].is_segment ? p->set.v[i].plain : p->set.v[i].size;
    return status;
}

static void say(const struct put_back *p)
{
    if (p->adm->json)
        printf("{\"set\": \"%s\", \"files\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n", p->set.stamp, p->files,
               p->progress.done);
    else
        printf(
            "%s: %" PRIu64 " files, %.1f MiB are in their places.\n"
            "At its next start stored gives every mailbox a new UIDVALIDITY and holds back what was queued:\n"
            "mailadm queue release lets it go.\n",
            p->set.stamp, p->files, (double)p->progress.done / 1048576);
}

int adm_restore_set(const struct adm *a, int argc, char **argv)
{
    struct put_back p = {.adm = a};
    crypto_start();
    int status = read_options(&p, argc, argv);
    if (status == EX_OK)
        status = adm_conf(a, &p.conf);
    progress_start(&p.progress, 0);
    p.progress.bytes = true;
    if (status == EX_OK)
        status = open_set(&p);
    const struct conf *c = p.conf;
    struct place places[2] = {
        {.part = "store/", .below = {"format", "pages", "making", "db", "segments"}, .lock = -1},
        {.part = "directory/", .below = {"db"}, .lock = -1},
    };
    const size_t count = p.store_only ? 1 : 2;
    if (status == EX_OK) {
        places[0].dir = c->mail_dir;
        places[0].user = c->stored_user;
        places[1].dir = c->directory_dir;
        places[1].user = c->directoryd_user;
    }
    for (size_t i = 0; i < count && status == EX_OK; i++)
        status = settle_place(&p, &places[i]);
    for (size_t i = 0; i < count && status == EX_OK; i++)
        status = fill_place(&p, &places[i]);
    for (size_t i = 0; i < count && status == EX_OK; i++)
        status = take_place(&places[i]);
    if (status == EX_OK)
        status = put_files(&p);
    progress_end(&p.progress);
    if (status == EX_OK)
        say(&p);
    for (size_t i = 0; i < count; i++)
        if (places[i].lock >= 0)
            close(places[i].lock);
    set_free(&p.set);
    conf_free(&p.conf);
    return status;
}
