/* main of every daemon: options, configuration, log, pid file, users, signals; the course of a daemon of
 * one process. Masters and workers are master.c's and worker.c's.
 * The hard point is the order: what needs root (ports, keys, other users' folders) first, then the user,
 * then the sandbox, and only then the first byte from outside. */
#include "common/net/daemon_int.h"
#include "common/base/log.h"
#include "common/net/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { PATH_LIMIT = 4096, FAULTS_LIMIT = 64 << 10 };

const struct conf *daemon_conf(const struct daemon *d)
{
    return d->conf;
}

struct loop *daemon_loop(struct daemon *d)
{
    return d->loop;
}

void daemon_set_arg(struct daemon *d, void *arg)
{
    d->arg = arg;
}

void *daemon_arg(struct daemon *d)
{
    return d->arg;
}

void daemon_done(struct daemon *d)
{
    loop_stop(d->loop);
}

void daemon_ready(struct daemon *d)
{
    if (d->ready)
        return;
    d->ready = true;
    notify_say(d->notify_fd, "READY=1");
    log_event(LOG_INFO, NULL, "daemon.ready", F_STR("program", d->spec->program));
}

void daemon_leave(int status)
{
#ifdef SANITIZERS
    _exit(status); /* the search for leaks at exit needs what the sandbox forbids */
#else
    exit(status);
#endif
}

void daemon_title(struct daemon *d, const char *name)
{
    prctl(PR_SET_NAME, name, 0, 0, 0);
    if (d->title_size) {
        memset(d->title, 0, d->title_size);
        snprintf(d->title, d->title_size, "%s", name);
    }
}

void daemon_sandbox(struct daemon *d, unsigned allow, const char *const *folders)
{
    struct err why = {.code = ERR_OK};
    if (sandbox_enter(allow, folders, &why) != ERR_OK)
        log_event(LOG_ALARM, NULL, "sandbox.missing", F_STR("program", d->spec->program),
                  F_STR("why", why.log));
}

/* -- configuration -- */

static void log_faults(struct span faults)
{
    while (faults.n)
        log_event(LOG_ERROR, NULL, "daemon.configuration.refused", F_SPAN("fault", span_cut(&faults, '\n')));
}

struct conf *daemon_reread(struct daemon *d)
{
    struct conf *fresh = NULL;
    struct buf faults;
    buf_init(&faults, FAULTS_LIMIT);
    if (conf_load(d->conf_file, &fresh, &faults) != ERR_OK)
        log_faults(buf_span(&faults));
    buf_free(&faults);
    return fresh;
}

static int start_failed(struct daemon *d, int status, const char *text)
{
    fprintf(stderr, "%s: %s\n", d->spec->program, text);
    if (log_fd() != 2)
        log_event(LOG_ERROR, NULL, "daemon.start.failed", F_STR("why", text));
    return status;
}

static int status_of(enum err_code code)
{
    switch (code) {
    case ERR_SYNTAX:
        return EX_CONFIG;
    case ERR_DENIED:
        return EX_NOPERM;
    case ERR_MISSING:
        return EX_NOUSER;
    case ERR_STATE:
    case ERR_RETRY:
        return EX_TEMPFAIL;
    default:
        return EX_SOFTWARE;
    }
}

/* -- options -- */

struct options {
    const char *file;
    bool check;
    int exit_status; /* -1: go on */
};

static void usage(FILE *to, const char *program)
{
    fprintf(to,
            "usage: %s --config FILE [--check]\n"
            "  --config FILE  the configuration (default %s/provmail.conf)\n"
            "  --check        read the configuration, report its faults, and end\n"
            "  --foreground   stay in the foreground (the only mode)\n"
            "  --version      print the version\n",
            program, PROV_SYSCONFDIR);
}

static struct options read_options(const char *program, int argc, char **argv)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
        {"foreground", no_argument, NULL, 'f'},   {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    struct options o = {.file = PROV_SYSCONFDIR "/provmail.conf", .exit_status = -1};
    int c;
    while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
        if (c == 'c') {
            o.file = optarg;
        } else if (c == 'k') {
            o.check = true;
        } else if (c == 'V') {
            printf("%s (%s) %s\n", program, PACKAGE_NAME, PACKAGE_VERSION);
            o.exit_status = EX_OK;
        } else if (c == 'h') {
            usage(stdout, program);
            o.exit_status = EX_OK;
        } else if (c != 'f') {
            usage(stderr, program);
            o.exit_status = EX_USAGE;
        }
    }
    if (optind < argc) {
        usage(stderr, program);
        o.exit_status = EX_USAGE;
    }
    return o;
}

/* -- files -- */

static bool make_folder(const char *dir, struct err *why)
{
    if (mkdir(dir, 0755) == 0 ? chmod(dir, 0755) == 0 : errno == EEXIST)
        return true; /* others pass through it, whatever the umask */
    err_set(why, ERR_STATE, NULL, "%s: %s", dir, strerror(errno));
    return false;
}

static enum err_code open_log(struct daemon *d, struct err *why)
{
    enum log_level level;
    struct buf path, name;
    if (!log_level_named(span_str(d->conf->log_level), &level))
        return err_set(why, ERR_SYNTAX, NULL, "log_level: no such level %s", d->conf->log_level);
    log_threshold(level);
    if (!*d->conf->log_dir) {
        bool ok = log_open(d->spec->program, NULL);
        return ok ? ERR_OK : err_set(why, ERR_STATE, NULL, "log: %s", strerror(errno));
    }
    if (!make_folder(d->conf->log_dir, why))
        return ERR_STATE;
    buf_init(&path, PATH_LIMIT);
    buf_init(&name, 64);
    bool ok = buf_addf(&name, "%s.log", d->spec->program) && buf_add_char(&name, '\0') &&
              conf_path(d->conf->log_dir, name.p, &path);
    if (!ok)
        errno = ENAMETOOLONG;
    ok = ok && log_open(d->spec->program, path.p);
    if (ok && geteuid() == 0) /* it is opened anew after a rotation, by the daemon's user */
        ok = fchown(log_fd(), d->uid, d->gid) == 0;
    enum err_code code =
        ok ? ERR_OK : err_set(why, ERR_STATE, NULL, "log in %s: %s", d->conf->log_dir, strerror(errno));
    buf_free(&path);
    buf_free(&name);
    return code;
}

/* The lock on the pid file is what makes a second instance impossible; it falls with the process. */
static enum err_code open_pid_file(struct daemon *d, struct err *why)
{
    struct buf path, name;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char text[32];
    enum err_code code = ERR_OK;
    if (!make_folder(d->conf->run_dir, why))
        return ERR_STATE;
    buf_init(&path, PATH_LIMIT);
    buf_init(&name, 64);
    bool named = buf_addf(&name, "%s.pid", d->spec->program) && buf_add_char(&name, '\0') &&
                 conf_path(d->conf->run_dir, name.p, &path);
    d->pid_fd = named ? open(path.p, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (d->pid_fd < 0)
        code = err_set(why, ERR_STATE, NULL, "%s in %s: %s", "pid file", d->conf->run_dir, strerror(errno));
    else if (fcntl(d->pid_fd, F_SETLK, &lock) != 0)
        code = err_set(why, ERR_STATE, NULL, "%s: another instance is running", path.p);
    else if (fchmod(d->pid_fd, 0644) != 0 || ftruncate(d->pid_fd, 0) != 0 ||
             write(d->pid_fd, text, (size_t)n) != n)
        code = err_set(why, ERR_STATE, NULL, "%s: %s", path.p, strerror(errno));
    buf_free(&path);
    buf_free(&name);
    return code;
}

static void clear_pid_file(struct daemon *d)
{
    /* The folder may belong to root by now: an empty file says the same as none. */
    if (d->pid_fd >= 0 && ftruncate(d->pid_fd, 0) != 0)
        log_event(LOG_WARN, NULL, "daemon.pid_file.kept", F_STR("why", strerror(errno)));
}

/* -- signals -- */

static void on_stop(void *arg)
{
    struct daemon *d = arg;
    log_event(LOG_INFO, NULL, "daemon.stopping", F_STR("program", d->spec->program));
    notify_say(d->notify_fd, "STOPPING=1");
    if (d->master)
        master_stop(d);
    else if (d->spec->stop)
        d->spec->stop(d);
    else
        daemon_done(d);
}

static void on_reload(void *arg)
{
    struct daemon *d = arg;
    if (!log_reopen())
        log_event(LOG_ERROR, NULL, "daemon.log.kept", F_STR("why", strerror(errno)));
    log_event(LOG_INFO, NULL, "daemon.reloading", F_STR("program", d->spec->program));
    if (d->master) {
        master_reload(d);
        return;
    }
    struct conf *fresh = daemon_reread(d);
    if (!fresh)
        return;
    d->old_confs = xrealloc(d->old_confs, (d->old_conf_count + 1) * sizeof(struct conf *));
    d->old_confs[d->old_conf_count++] = d->conf;
    d->conf = fresh;
    if (d->spec->reload)
        d->spec->reload(d);
}

/* -- the course -- */

static enum err_code open_all(struct daemon *d, struct err *why)
{
    const char *user = d->spec->user ? d->spec->user(d->conf) : NULL;
    enum err_code code = daemon_ids(user, &d->uid, &d->gid, why);
    if (code == ERR_OK)
        code = open_log(d, why);
    if (code == ERR_OK)
        code = open_pid_file(d, why);
    if (code != ERR_OK)
        return code;
    rights_raise_limits();
    d->notify_fd = notify_open();
    d->loop = loop_new();
    loop_signal_new(d->loop, SIGTERM, on_stop, d);
    loop_signal_new(d->loop, SIGINT, on_stop, d);
    loop_signal_new(d->loop, SIGHUP, on_reload, d);
    if (!d->spec->workers)
        rights_protect_from_oom();
    code = d->spec->workers ? master_open(d, why) : ERR_OK;
    if (code == ERR_OK && d->spec->open)
        code = d->spec->open(d, why);
    if (code == ERR_OK)
        code = rights_drop(user, d->uid, d->gid, why);
    return code;
}

/* All that the one process or the master may need. */
static unsigned allowed(const struct daemon_spec *spec)
{
    unsigned allow = spec->sandbox;
    for (const struct daemon_workers *w = spec->workers; w && w->name; w++)
        allow |= w->sandbox; /* a child's sandbox lies inside the master's */
    if (spec->workers)
        allow |= SANDBOX_ACCEPT | SANDBOX_UNIX | SANDBOX_FILES | SANDBOX_FORK;
    return allow;
}

static void __attribute__((noreturn)) run(struct daemon *d)
{
    struct err why = {.code = ERR_OK};
    enum err_code code = open_all(d, &why);
    if (code != ERR_OK)
        daemon_leave(start_failed(d, status_of(code), why.log));
    const struct conf *c = d->conf;
    const char *const folders[] = {c->run_dir, c->log_dir, c->mail_dir, c->directory_dir, c->key_dir, NULL};
    const char *const master_folders[] = {c->run_dir, c->log_dir, NULL};
    daemon_sandbox(d, allowed(d->spec), d->spec->workers ? master_folders : folders);
    if (d->spec->workers)
        master_start(d);
    loop_run(d->loop);
    clear_pid_file(d);
    log_event(LOG_INFO, NULL, "daemon.stopped", F_STR("program", d->spec->program));
    daemon_leave(EX_OK);
}

int daemon_main(const struct daemon_spec *spec, int argc, char **argv)
{
    struct daemon d = {.spec = spec, .pid_fd = -1, .notify_fd = -1};
    d.title = argv[0];
    d.title_size = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]);
    struct options o = read_options(spec->program, argc, argv);
    struct buf faults;
    if (o.exit_status >= 0)
        return o.exit_status;
    signal(SIGPIPE, SIG_IGN);
    umask(027);
    buf_init(&faults, FAULTS_LIMIT);
    d.conf_file = realpath(o.file, NULL); /* SIGHUP reads it again, wherever we are then */
    if (!d.conf_file)
        d.conf_file = xstrdup(o.file);
    enum err_code code = conf_load(d.conf_file, &d.conf, &faults);
    int status = EX_OK;
    if (code != ERR_OK)
        status = conf_start_failed(spec->program, code, o.file, buf_span(&faults));
    buf_free(&faults);
    if (code == ERR_OK && !o.check)
        run(&d);
    conf_free(&d.conf);
    free(d.conf_file);
    return status;
}
