/* mailadm store verify: asks stored for one step after the other and sets the pace, so that the store's own
 * work goes on: it rests as long as each step took, and longer where a rate says so. Contents whose record
 * stored made anew from a segment lack what the parser says; with --repair they get it at the end. */
#include "common/base/clock.h"
#include "mailadm/describe.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { STATUS_FINDINGS = 1, STEP_PATIENCE_MS = 120000 };
static const uint64_t default_rate = (uint64_t)50 << 20;

struct verifying {
    const struct adm *adm;
    struct store_verify step; /* its findings and name are gone */
    bool over, first;
    char name[16];
    struct store_bare *bare;
    size_t bare_count, described;
};

struct verify_args {
    bool deep, repair;
    uint64_t rate; /* bytes a second */
};

static bool read_rate(const char *text, uint64_t *out)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (end == text || (shift && end[1]) || (!shift && *end) || n == 0 || n > UINT64_MAX >> 31)
        return false;
    *out = (uint64_t)n << shift;
    return true;
}

static int read_arguments(int argc, char **argv, struct verify_args *out)
{
    *out = (struct verify_args){.rate = default_rate};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--deep") == 0) {
            out->deep = true;
        } else if (strcmp(argv[i], "--repair") == 0) {
            out->repair = true;
        } else if (strcmp(argv[i], "--rate") == 0 && i + 1 < argc && read_rate(argv[i + 1], &out->rate)) {
            i++;
        } else {
            fputs("usage: mailadm store verify [--deep] [--repair] [--rate BYTES] [--json]\n", stderr);
            return EX_USAGE;
        }
    }
    return EX_OK;
}

static void tell(struct verifying *v, struct span text, bool repaired)
{
    if (v->adm->json) {
        fputs(v->first ? "" : ", ", stdout);
        fputs("{\"finding\": ", stdout);
        adm_json_span(text);
        printf(", \"repaired\": %s}", repaired ? "true" : "false");
    } else {
        fputs(repaired ? "repaired  " : "found     ", stdout);
        adm_text(text);
        putchar('\n');
    }
    v->first = false;
}

static void keep_bare(struct verifying *v, const struct store_verify *step)
{
    if (!step->bare_count)
        return;
    v->bare = xrealloc(v->bare, (v->bare_count + step->bare_count) * sizeof *v->bare);
    memcpy(v->bare + v->bare_count, step->bare, step->bare_count * sizeof *v->bare);
    v->bare_count += step->bare_count;
}

static void on_step(void *session, enum err_code code, const struct store_verify *step)
{
    struct ask *k = session;
    struct verifying *v = k->arg;
    if (code == ERR_OK) {
        v->step = *step;
        v->over = step->phase == step->phases;
        snprintf(v->name, sizeof v->name, "%s", step->name);
    }
    for (size_t i = 0; code == ERR_OK && i < step->count; i++)
        tell(v, step->findings[i].text, step->findings[i].repaired);
    if (code == ERR_OK)
        keep_bare(v, step);
    ask_end(k, code);
}

static void progress(const struct verifying *v, uint64_t bytes)
{
    if (isatty(STDERR_FILENO) && !v->adm->json)
        fprintf(stderr, "\r%u of %u: %-10s %12" PRIu64 " records, %6" PRIu64 " MB read, %" PRIu64 " found ",
                v->step.phase + 1, v->step.phases, v->name, v->step.records, bytes >> 20, v->step.found);
}

/* Rest as long as the step took, or until its bytes fit the rate. */
static void rest(uint64_t took_ms, uint64_t bytes, uint64_t rate)
{
    uint64_t by_rate = bytes * 1000 / rate;
    uint64_t ms = by_rate > 2 * took_ms ? by_rate - took_ms : took_ms;
    if (ms)
        usleep((useconds_t)((ms > 1000 ? 1000 : ms) * 1000));
}

/* -- contents without a meta record -- */

static int by_account(const void *a, const void *b)
{
    const struct store_bare *x = a, *y = b;
    int order = uuid_cmp(&x->account, &y->account);
    return order ? order : x->content < y->content ? -1 : x->content > y->content;
}

static void tell_bare(struct verifying *v, const struct store_bare *b, enum err_code code)
{
    static const char *const why[] = {
        [ERR_DENIED] = ": no session in its account (the directory must know it)",
        [ERR_RETRY] = ": stored or directoryd did not answer",
        [ERR_BUG] = ": its bytes cannot be read (--deep says more)",
    };
    char account[UUID_TEXT], text[400];
    const size_t i = (size_t)code;
    uuid_format(&b->account, account);
    int n = snprintf(text, sizeof text,
                     "content %" PRIu64 ": its record lacks what the parser says (account %s mailbox %" PRIu64
                     " uid %u)%s",
                     b->content, account, b->mailbox, b->uid,
                     code != ERR_STATE && i < sizeof why / sizeof *why && why[i] ? why[i] : "");
    tell(v, span_of(text, (size_t)n), code == ERR_OK);
}

/* After the last step. What is gone meanwhile is no finding. */
static void describe_all(struct ask *k, struct verifying *v, const struct verify_args *args)
{
    struct describe *d = args->repair ? describe_new(k) : NULL;
    enum err_code code = ERR_OK;
    size_t left = 0;
    if (v->bare_count)
        qsort(v->bare, v->bare_count, sizeof *v->bare, by_account);
    for (size_t i = 0; i < v->bare_count; i++) {
        uint64_t begin = clock_mono_ms();
        if (!d)
            code = ERR_STATE;
        else if (code != ERR_RETRY) /* who does not answer is not asked for each of them */
            code = describe_one(d, &v->bare[i]);
        if (code == ERR_MISSING)
            continue;
        tell_bare(v, &v->bare[i], code);
        left++;
        v->described += code == ERR_OK;
        if (code == ERR_OK)
            rest(clock_mono_ms() - begin, 0, args->rate);
    }
    v->bare_count = left;
    describe_free(&d);
}

static int run(struct ask *k, struct verifying *v, const struct verify_args *args)
{
    uint64_t bytes = 0;
    int status = EX_OK;
    for (bool start = true; status == EX_OK && !v->over; start = false) {
        uint64_t begin = clock_mono_ms();
        store_admin_verify(k->store, start, args->deep, args->repair, k->ticket, on_step);
        status = ask_status(ask_wait(k, STEP_PATIENCE_MS), "store verify");
        bytes += v->step.bytes;
        progress(v, bytes);
        if (status == EX_OK && !v->over)
            rest(clock_mono_ms() - begin, v->step.bytes, args->rate);
    }
    if (isatty(STDERR_FILENO) && !v->adm->json)
        fputc('\n', stderr);
    if (status == EX_OK)
        describe_all(k, v, args);
    v->step.found += v->bare_count;
    v->step.repaired += v->described;
    if (v->adm->json)
        printf("], \"records\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"found\": %" PRIu64
               ", \"repaired\": %" PRIu64 ", \"complete\": %s}\n",
               v->step.records, bytes, v->step.found, v->step.repaired, v->over ? "true" : "false");
    else if (status == EX_OK)
        printf("%" PRIu64 " records, %" PRIu64 " bytes of contents: %" PRIu64 " findings, %" PRIu64
               " repaired\n",
               v->step.records, bytes, v->step.found, v->step.repaired);
    return status;
}

/* stored does not run: it looks by itself, in a run that ends when it is done. */
static int run_offline(const struct adm *a, const struct verify_args *args)
{
    char path[PATH_MAX];
    const char *words[8] = {path, "--config", a->file, "--verify"};
    size_t n = 4;
    int status;
    if (args->deep)
        words[n++] = "--deep";
    if (args->repair)
        words[n++] = "--repair";
    if (a->json)
        words[n++] = "--json";
    if (!adm_program("stored", path)) {
        fprintf(stderr, "mailadm: stored: %s\n", strerror(errno));
        return EX_UNAVAILABLE;
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execv(path, (char *const *)(uintptr_t)words);
        _exit(EX_OSERR);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        fprintf(stderr, "mailadm: stored ended before its time\n");
        return EX_SOFTWARE;
    }
    return WEXITSTATUS(status);
}

static bool stored_runs(const struct adm *a)
{
    struct conf *c;
    if (adm_conf(a, &c) != EX_OK)
        return true; /* ask_open says why not */
    const bool runs = adm_holder(c->run_dir, "stored") != 0;
    conf_free(&c);
    return runs;
}

int adm_store_verify(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    struct verify_args args;
    struct verifying v = {.adm = a, .first = true};
    int status = read_arguments(argc, argv, &args);
    if (status != EX_OK)
        return status;
    if (!stored_runs(a))
        return run_offline(a, &args);
    status = ask_open(&k, a, true, args.repair);
    k.arg = &v;
    if (status == EX_OK) {
        fputs(a->json ? "{\"findings\": [" : "", stdout);
        status = run(&k, &v, &args);
    }
    if (status == EX_OK && v.step.found > v.step.repaired)
        status = STATUS_FINDINGS;
    ask_close(&k);
    free(v.bare);
    return status;
}
