/* mailadm import: arguments, the accounts, and the processes that take them in turn. The hard point is that
 * one hostile mailbox must not stop the others: each process takes the next account from a counter in shared
 * memory, and one that dies is replaced. What an account's run does is in the sources and the target
 * (import.h). */
#include "mailadm/export_state.h"
#include "mailadm/import.h"
#include "common/base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { JOBS_LIMIT = 64, SHOWN = 20, TICK_MS = 200, TERMINAL_MS = 500, LINES_MS = 10000 };

struct import {
    const struct adm *adm;
    struct import_options o;
    const char *account, *accounts_file;
    bool all_accounts;
    struct import_account *v;
    size_t n;
    struct import_counts *counts;
    int report_fd;
    char notes[PATH_MAX], report[PATH_MAX];
};

static int complain(int status, const char *what, const char *why)
{
    fprintf(stderr, "mailadm: %s: %s\n", what, why);
    return status;
}

/* -- arguments -- */

struct flag {
    const char *name;
    const char **text;
    bool *yes;
};

static int take_number(const char *name, const char *text, unsigned long high, unsigned long *out)
{
    char *end;
    *out = strtoul(text, &end, 10);
    return *text && !*end && *out > 0 && *out <= high ? EX_OK
                                                      : complain(EX_USAGE, name, "not a number that can be");
}

static int take_words(struct import *x, int argc, char **argv)
{
    struct import_options *o = &x->o;
    const char *jobs = NULL, *port = NULL, *patience = NULL;
    bool tls = false, starttls = false, plain = false;
    const struct flag flags[] = {{"--account", &x->account, NULL},
                                 {"--accounts", &x->accounts_file, NULL},
                                 {"--all-accounts", NULL, &x->all_accounts},
                                 {"--mailbox", &o->mailbox, NULL},
                                 {"--notes", &o->notes, NULL},
                                 {"--report", &o->report, NULL},
                                 {"--jobs", &jobs, NULL},
                                 {"--dry-run", NULL, &o->dry_run},
                                 {"--sync", NULL, &o->sync},
                                 {"--force", NULL, &o->force},
                                 {"--over-quota", NULL, &o->over_quota},
                                 {"--not-quoted", NULL, &o->not_quoted},
                                 {"--host", &o->host, NULL},
                                 {"--port", &port, NULL},
                                 {"--patience", &patience, NULL},
                                 {"--user", &o->user, NULL},
                                 {"--password-file", &o->password_file, NULL},
                                 {"--authzid-admin", &o->admin, NULL},
                                 {"--master", &o->master, NULL},
                                 {"--ca-file", &o->ca_file, NULL},
                                 {"--no-verify", NULL, &o->no_verify},
                                 {"--shared", NULL, &o->shared},
                                 {"--tls", NULL, &tls},
                                 {"--starttls", NULL, &starttls},
                                 {"--insecure-loopback", NULL, &plain}};
    unsigned long number;
    for (int i = 1; i < argc; i++) {
        const struct flag *f = NULL;
        for (size_t k = 0; k < sizeof flags / sizeof *flags && !f; k++)
            if (strcmp(argv[i], flags[k].name) == 0)
                f = &flags[k];
        if (!f && argv[i][0] != '-' && !o->path)
            o->path = argv[i];
        else if (f && f->yes)
            *f->yes = true;
        else if (f && i + 1 < argc)
            *f->text = argv[++i];
        else
            return complain(EX_USAGE, argv[i], "unknown, or incomplete (see mailadm import --help)");
    }
    if (tls + starttls + plain > 1)
        return complain(EX_USAGE, "--tls, --starttls, --insecure-loopback", "one of them");
    o->tls = starttls ? IMPORT_STARTTLS : plain ? IMPORT_PLAIN : IMPORT_TLS;
    o->jobs = 2;
    o->port = o->tls == IMPORT_TLS ? 993 : 143;
    if (jobs && take_number("--jobs", jobs, JOBS_LIMIT, &number) == EX_OK)
        o->jobs = (unsigned)number;
    else if (jobs)
        return EX_USAGE;
    if (port && take_number("--port", port, 65535, &number) == EX_OK)
        o->port = (uint16_t)number;
    else if (port)
        return EX_USAGE;
    o->patience_s = 180;
    if (patience && take_number("--patience", patience, 3600, &number) == EX_OK)
        o->patience_s = (unsigned)number;
    else if (patience)
        return EX_USAGE;
    return EX_OK;
}

static int check_words(const struct import *x)
{
    const struct import_options *o = &x->o;
    bool imap = strcmp(o->kind, "imap") == 0;
    if (!!x->account + !!x->accounts_file + x->all_accounts != 1)
        return complain(EX_USAGE, o->kind, "one of --account, --accounts or --all-accounts is needed");
    if (!imap && !o->path && !x->accounts_file)
        return complain(EX_USAGE, o->kind, "a file or folder is needed");
    if (imap && (o->path || !o->host || !o->password_file))
        return complain(EX_USAGE, o->kind, "--host and --password-file are needed");
    if (imap && o->tls == IMPORT_PLAIN && strcmp(o->host, "127.0.0.1") != 0 && strcmp(o->host, "::1") != 0 &&
        strcmp(o->host, "localhost") != 0)
        return complain(EX_USAGE, o->host, "without TLS only this machine itself can be asked");
    if (o->sync && o->mailbox)
        return complain(EX_USAGE, "--sync", "it needs the whole account: leave --mailbox away");
    return EX_OK;
}

/* -- accounts -- */

static struct import_account *add_account(struct import *x, struct span address, struct span source,
                                          struct span file)
{
    x->v = xrealloc(x->v, (x->n + 1) * sizeof *x->v);
    x->v[x->n] = (struct import_account){.address = xstrspan(address),
                                         .source = source.n ? xstrspan(source) : NULL,
                                         .password_file = file.n ? xstrspan(file) : NULL};
    return &x->v[x->n++];
}

/* ADDRESS [SOURCE [PASSWORD-FILE]], "#" comments. */
static int read_accounts(struct import *x)
{
    FILE *f = fopen(x->accounts_file, "re");
    char *line = NULL;
    size_t size = 0;
    ssize_t got;
    if (!f)
        return complain(EX_NOINPUT, x->accounts_file, strerror(errno));
    while ((got = getline(&line, &size, f)) > 0) {
        struct span word[3] = {{NULL, 0}}, rest = span_trim(span_of(line, (size_t)got));
        if (!rest.n || rest.p[0] == '#')
            continue;
        for (int i = 0; i < 3 && rest.n; i++) {
            word[i] = span_cut(&rest, span_find(rest, '\t') < rest.n ? '\t' : ' ');
            rest = span_trim(rest);
        }
        add_account(x, word[0], word[1], word[2]);
    }
    free(line);
    fclose(f);
    return x->n ? EX_OK : complain(EX_DATAERR, x->accounts_file, "there is no account in it");
}

static void on_entries(void *session, enum err_code code, const struct dir_entry *v, size_t count, bool more)
{
    struct ask *k = session;
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        if (v[i].kind == DIR_ACCOUNT)
            add_account(k->arg, v[i].address, SPAN_NONE, SPAN_NONE)->id = v[i].id;
    if (code != ERR_OK || !more)
        ask_end(k, code);
}

/* "%u" local part, "%d" domain, "%s" whole address, "%%". NULL: too long. */
static char *expand(const char *template, const char *address)
{
    struct span whole = span_str(address), domain = whole, local = span_cut(&domain, '@');
    struct buf b;
    bool ok = true;
    buf_init(&b, PATH_MAX);
    for (const char *p = template; *p && ok; p++) {
        const char c = *p == '%' ? p[1] : '\0';
        if (!c || !strchr("uds%", c)) {
            ok = buf_add_char(&b, *p);
            continue;
        }
        ok = c == '%' ? buf_add_char(&b, c) : buf_add_span(&b, c == 'u' ? local : c == 'd' ? domain : whole);
        p++;
    }
    char *text = ok ? xstrspan(buf_span(&b)) : NULL;
    buf_free(&b);
    return text;
}

/* Where this account's mail is at the source: a path, or a login. */
static char *source_of(const struct import *x, const struct import_account *a)
{
    bool imap = strcmp(x->o.kind, "imap") == 0;
    const char *template = imap ? (x->o.user ? x->o.user : "%s") : x->o.path;
    return a->source ? xstrdup(a->source) : template ? expand(template, a->address) : NULL;
}

/* Ids of all; who is not known is reported and left out. */
static int find_accounts(struct import *x)
{
    struct ask k;
    int status = ask_open(&k, x->adm, false, true);
    if (status == EX_OK && x->account)
        add_account(x, span_str(x->account), SPAN_NONE, SPAN_NONE);
    if (status == EX_OK && x->accounts_file)
        status = read_accounts(x);
    if (status == EX_OK && x->all_accounts) {
        k.arg = x;
        directory_admin_accounts(k.directory, SPAN(""), k.ticket, on_entries);
        status = ask_status(ask_wait(&k, ASK_LONG_MS), "accounts");
    }
    size_t kept = 0;
    for (size_t i = 0; status == EX_OK && i < x->n; i++) {
        int one = uuid_is_none(&x->v[i].id) ? adm_account_id(&k, x->v[i].address, &x->v[i].id) : EX_OK;
        if (one == EX_TEMPFAIL || (one != EX_OK && x->n == 1))
            status = one;
        else if (one == EX_OK)
            x->v[kept++] = x->v[i];
        else
            atomic_fetch_add(&x->counts->failed, 1);
    }
    x->n = kept;
    ask_close(&k);
    return status;
}

/* -- what there is to do -- */

static int make_folders(const char *path)
{
    char *copy = xstrdup(path);
    int ret = 0;
    for (char *p = copy + 1; *p && ret == 0; p++)
        if (*p == '/') {
            *p = '\0';
            ret = mkdir(copy, 0700) != 0 && errno != EEXIST ? -1 : 0;
            *p = '/';
        }
    if (ret == 0)
        ret = mkdir(copy, 0700) != 0 && errno != EEXIST ? -1 : 0;
    free(copy);
    return ret;
}

/* The report is this import's while it runs (and its children's, who inherit the lock). False: errno says
 * why. */
static bool lock_report(struct import *x)
{
    x->report_fd = open(x->report, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (x->report_fd < 0)
        return false;
    if (flock(x->report_fd, LOCK_EX | LOCK_NB) == 0 && ftruncate(x->report_fd, 0) == 0)
        return true;
    int saved = errno;
    close(x->report_fd);
    x->report_fd = -1;
    errno = saved;
    return false;
}

/* Imports that run at once have a report each: report.json, report-2.json ... */
static int take_report(struct import *x)
{
    enum { AT_ONCE = 100 };
    errno = EWOULDBLOCK;
    for (int i = 1; i <= AT_ONCE && errno == EWOULDBLOCK; i++) {
        if (x->o.report)
            snprintf(x->report, sizeof x->report, "%.4000s", x->o.report);
        else if (i == 1)
            snprintf(x->report, sizeof x->report, "%.4000s/report.json", x->notes);
        else
            snprintf(x->report, sizeof x->report, "%.4000s/report-%d.json", x->notes, i);
        if (lock_report(x))
            return EX_OK;
        if (x->o.report)
            break;
    }
    return complain(EX_CANTCREAT, x->report,
                    errno == EWOULDBLOCK ? "another import that is running writes its report here"
                                         : strerror(errno));
}

static int open_report(struct import *x)
{
    struct conf *c;
    int status = adm_conf(x->adm, &c);
    if (status != EX_OK)
        return status;
    if (x->o.notes)
        snprintf(x->notes, sizeof x->notes, "%.4000s", x->o.notes);
    else
        snprintf(x->notes, sizeof x->notes, "%.4000s/import", *c->log_dir ? c->log_dir : c->dir);
    conf_free(&c);
    if (make_folders(x->notes) != 0)
        return complain(EX_CANTCREAT, x->notes, strerror(errno));
    return take_report(x);
}

/* With --all-accounts those that have nothing there are left out. */
static void plan(struct import *x)
{
    size_t kept = 0;
    for (size_t i = 0; i < x->n; i++) {
        char *path = strcmp(x->o.kind, "imap") == 0 ? NULL : source_of(x, &x->v[i]);
        struct stat st;
        if (path && x->all_accounts && stat(path, &st) != 0) {
            free(path);
            continue;
        }
        if (path && strcmp(x->o.kind, "mbox") == 0)
            import_plan_mbox(path, x->counts);
        else if (path)
            import_plan_maildir(path, x->counts);
        free(path);
        x->v[kept++] = x->v[i];
    }
    x->n = kept;
    x->counts->all = (unsigned)kept;
    x->counts->all_planned = strcmp(x->o.kind, "imap") != 0;
}

/* -- a process -- */

static const struct {
    const char *kind;
    int (*run)(struct target *t, const struct import_options *o, const struct import_account *a,
               const char *source, struct import_notes *n, struct import_report *r);
} kinds[] = {{"mbox", import_mbox}, {"maildir", import_maildir}, {"imap", import_imap}};

static int run_source(struct target *t, const struct import *x, const struct import_account *a,
                      const char *source, struct import_notes *n, struct import_report *r)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].kind, x->o.kind) == 0)
            return kinds[i].run(t, &x->o, a, source, n, r);
    return EX_USAGE;
}

/* What an export left that was cut would come in as if it were all. */
static bool is_cut(const char *source)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/" EXPORT_UNFINISHED, source);
    return access(path, F_OK) == 0;
}

static bool run_account(struct import *x, struct ask *k, const struct import_account *a)
{
    struct import_report r = {.fd = x->report_fd, .counts = x->counts, .account = a->address};
    struct import_notes *n = NULL;
    struct target *t = NULL;
    struct err why;
    struct buf where;
    char *source = source_of(x, a);
    buf_init(&where, 2 * PATH_MAX);
    bool ok = source && buf_addf(&where, "%s %s %u %s%s", x->o.kind, x->o.host ? x->o.host : "", x->o.port,
                                 source, x->o.shared ? " shared" : "");
    enum err_code code =
        ok ? import_notes_open(x->notes, &a->id, buf_span(&where), !x->o.dry_run, &n, &why)
           : err_set(&why, ERR_LIMIT, NULL, "the name of the source is missing, or too long");
    int status = EX_TEMPFAIL;
    if (code == ERR_OK && strcmp(x->o.kind, "imap") != 0 && is_cut(source))
        code = err_set(
            &why, ERR_STATE, NULL,
            "%s: the export there was cut; let it go on first, or take away its file " EXPORT_UNFINISHED,
            source);
    if (code != ERR_OK)
        import_refused(&r, SPAN_NONE, SPAN_NONE, why.log);
    else
        status = target_open(k, &x->o, a, n, &r, &t);
    if (status == EX_OK)
        status = run_source(t, x, a, source, n, &r);
    if (status == EX_OK && x->o.sync && !x->o.dry_run)
        target_sync(t);
    if (t && !target_close(&t))
        status = EX_TEMPFAIL;
    import_notes_close(&n);
    buf_free(&where);
    free(source);
    return status == EX_OK;
}

static void run_child(struct import *x)
{
    struct ask k;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    if (ask_open(&k, x->adm, !x->o.dry_run, true) != EX_OK)
        _exit(EX_CONFIG);
    for (;;) {
        unsigned i = atomic_fetch_add(&x->counts->next, 1);
        if (i >= x->n)
            break;
        if (!run_account(x, &k, &x->v[i]))
            atomic_fetch_add(&x->counts->failed, 1);
        atomic_fetch_add(&x->counts->accounts, 1);
    }
    ask_close(&k);
    _exit(EX_OK);
}

/* -- the parent -- */

static bool start_child(struct import *x)
{
    pid_t pid = fork();
    if (pid == 0)
        run_child(x);
    if (pid < 0)
        complain(EX_OSERR, "fork", strerror(errno));
    return pid > 0;
}

static void died(struct import *x, int status)
{
    struct import_report r = {.fd = x->report_fd, .counts = x->counts, .account = ""};
    char why[100];
    snprintf(why, sizeof why, "a process of the import ended by signal %d: run the import again",
             WTERMSIG(status));
    import_refused(&r, SPAN_NONE, SPAN_NONE, why);
    atomic_fetch_add(&x->counts->failed, 1);
}

static void run_all(struct import *x)
{
    unsigned running = 0;
    uint64_t shown_ms = clock_mono_ms(), every_ms = isatty(STDERR_FILENO) ? TERMINAL_MS : LINES_MS;
    while (running < x->o.jobs && running < x->n && start_child(x))
        running++;
    while (running) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            running--;
            if (WIFSIGNALED(status)) {
                died(x, status);
                running += x->counts->next < x->n && start_child(x);
            }
        } else if (pid < 0 && errno == ECHILD) {
            break;
        } else {
            usleep(TICK_MS * 1000 / 10);
        }
        if (clock_mono_ms() - shown_ms >= every_ms) {
            shown_ms = clock_mono_ms();
            import_show(x->counts, false);
        }
    }
}

/* The first refusals of the report, for who has no eye for JSON. */
static void show_refusals(const struct import *x)
{
    FILE *f = fopen(x->report, "re");
    char *line = NULL;
    size_t size = 0, shown = 0;
    ssize_t got;
    while (f && shown < SHOWN && (got = getline(&line, &size, f)) > 0)
        if (strstr(line, "\"refused\": ")) {
            fputs("  ", stderr);
            fwrite(line, 1, (size_t)got, stderr); /* JSON: no control bytes in it */
            shown++;
        }
    if (f && shown == SHOWN)
        fputs("  ...\n", stderr);
    free(line);
    if (f)
        fclose(f);
}

static void show_json(const struct import *x)
{
    const struct import_counts *c = x->counts;
    const struct {
        const char *name;
        unsigned long long value;
    } rows[] = {{"accounts", c->accounts},
                {"failed", c->failed},
                {"messages", c->seen},
                {"imported", c->filed},
                {"imported_bytes", c->filed_bytes},
                {"known", c->known},
                {"flags_changed", c->flagged},
                {"removed", c->removed},
                {"refused", c->refused},
                {"left", c->left},
                {"ms", clock_mono_ms() - c->begin_ms}};
    printf("{\"dry_run\": %s", x->o.dry_run ? "true" : "false");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        printf(", \"%s\": %llu", rows[i].name, rows[i].value);
    fputs(", \"report\": ", stdout);
    adm_json(x->report);
    puts("}");
}

static void show_end(const struct import *x)
{
    struct import_counts *c = x->counts;
    char bytes[IMPORT_SIZE];
    import_show(c, true);
    if (c->refused)
        show_refusals(x);
    if (x->adm->json) {
        show_json(x);
        return;
    }
    import_size(c->filed_bytes, bytes);
    printf("%s %llu messages (%s), %llu were here already, %llu changed flags, %llu removed, %llu refused; ",
           x->o.dry_run ? "would import" : "imported", (unsigned long long)c->filed, bytes,
           (unsigned long long)c->known, (unsigned long long)c->flagged, (unsigned long long)c->removed,
           (unsigned long long)c->refused);
    if (c->left)
        printf("%llu mailboxes of others were left there; ", (unsigned long long)c->left);
    printf("%llu of %u accounts failed; report: %s\n", (unsigned long long)c->failed, c->all, x->report);
}

static void free_accounts(struct import *x)
{
    for (size_t i = 0; i < x->n; i++) {
        free(x->v[i].address);
        free(x->v[i].source);
        free(x->v[i].password_file);
    }
    free(x->v);
}

static int run(const struct adm *a, const char *kind, int argc, char **argv)
{
    struct import x = {.adm = a, .o = {.kind = kind}, .report_fd = -1};
    x.counts = mmap(NULL, sizeof *x.counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (x.counts == MAP_FAILED)
        return complain(EX_OSERR, "memory", strerror(errno));
    int status = take_words(&x, argc, argv);
    if (status == EX_OK)
        status = check_words(&x);
    if (status == EX_OK)
        status = open_report(&x);
    if (status == EX_OK)
        status = find_accounts(&x);
    if (status == EX_OK) {
        plan(&x);
        x.counts->begin_ms = clock_mono_ms();
        run_all(&x);
        show_end(&x);
        status = x.counts->failed ? EX_TEMPFAIL : x.counts->refused ? EX_DATAERR : EX_OK;
    }
    if (x.report_fd >= 0)
        close(x.report_fd);
    free_accounts(&x);
    munmap(x.counts, sizeof *x.counts);
    return status;
}

int adm_import_mbox(const struct adm *a, int argc, char **argv)
{
    return run(a, "mbox", argc, argv);
}

int adm_import_maildir(const struct adm *a, int argc, char **argv)
{
    return run(a, "maildir", argc, argv);
}

int adm_import_imap(const struct adm *a, int argc, char **argv)
{
    return run(a, "imap", argc, argv);
}
