/* mailadm store upgrade: the store is stored's alone, so stored does it, in a run that ends when it is done.
 */
#include "mailadm/ask.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

int adm_store_upgrade(const struct adm *a, int argc, char **argv)
{
    char path[PATH_MAX];
    struct conf *c;
    int status = adm_conf(a, &c);
    (void)argc;
    (void)argv;
    if (status != EX_OK)
        return status;
    bool runs = adm_holder(c->run_dir, "stored") > 0;
    conf_free(&c);
    if (runs) { /* it would not have started otherwise */
        puts(a->json ? "{\"upgraded\": false}" : "stored runs: its store has this release's format");
        return EX_OK;
    }
    if (!adm_program("stored", path)) {
        fprintf(stderr, "mailadm: stored: %s\n", strerror(errno));
        return EX_UNAVAILABLE;
    }
    pid_t pid = fork();
    if (pid == 0) {
        execl(path, path, "--config", a->file, "--upgrade", (char *)NULL);
        _exit(EX_OSERR);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        fprintf(stderr, "mailadm: stored ended before its time\n");
        return EX_SOFTWARE;
    }
    if (a->json)
        printf("{\"upgraded\": %s}\n", WEXITSTATUS(status) == 0 ? "true" : "false");
    return WEXITSTATUS(status);
}

/* -- a round of care -- */

struct round {
    struct store_care now;
    uint64_t number;
};

static void on_care(void *session, enum err_code code, const struct store_care *c)
{
    struct ask *k = session;
    struct round *r = k->arg;
    if (code == ERR_OK)
        r->now = *c;
    ask_end(k, code);
}

static int care_ask(struct ask *k, bool purge, bool compact, const char *what)
{
    store_admin_care(k->store, purge, compact, k->ticket, on_care);
    return ask_status(ask_wait(k, ASK_PATIENCE_MS), what);
}

static void say_round(const struct adm *a, const struct store_care *from, const struct store_care *to)
{
    const struct {
        const char *key, *text;
        uint64_t v;
    } rows[] = {
        {"purged_changes", "changes purged", to->purged_changes - from->purged_changes},
        {"purged_messages", "messages of deleted mailboxes purged", to->purged_rows - from->purged_rows},
        {"purged_mailboxes", "deleted mailboxes purged", to->purged_mailboxes - from->purged_mailboxes},
        {"purged_records", "traces and outcomes purged", to->swept - from->swept},
        {"compacted_bytes", "bytes of contents rewritten", to->compacted_bytes - from->compacted_bytes},
        {"segments_removed", "segments removed", to->segments_dropped - from->segments_dropped}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (a->json)
            printf("%s\"%s\": %" PRIu64, i ? ", " : "{", rows[i].key, rows[i].v);
        else
            printf("%12" PRIu64 "  %s\n", rows[i].v, rows[i].text);
    if (a->json)
        puts("}");
}

static int care_round(const struct adm *a, bool purge, bool compact, const char *what)
{
    enum { POLL_US = 200 * 1000, EVERY = 25 };
    struct ask k;
    struct round r = {.number = 0};
    int status = ask_open(&k, a, true, false);
    k.arg = &r;
    if (status == EX_OK)
        status = care_ask(&k, purge, compact, what);
    const struct store_care first = r.now;
    for (unsigned i = 1; status == EX_OK && r.now.finished < first.asked; i++) {
        usleep(POLL_US);
        status = care_ask(&k, false, false, what);
        if (status == EX_OK && i % EVERY == 0 && isatty(STDERR_FILENO))
            fprintf(stderr, "mailadm: %s: %" PRIu64 " changes, %" PRIu64 " bytes so far\n", what,
                    r.now.purged_changes - first.purged_changes,
                    r.now.compacted_bytes - first.compacted_bytes);
    }
    if (status == EX_OK)
        say_round(a, &first, &r.now);
    ask_close(&k);
    return status;
}

int adm_store_purge(const struct adm *a, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return care_round(a, true, false, "store purge");
}

int adm_store_compact(const struct adm *a, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return care_round(a, false, true, "store compact");
}

/* -- legal hold -- */

static void on_held(void *session, enum err_code code)
{
    ask_end(session, code);
}

int adm_account_hold(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    struct uuid id;
    bool release = argc == 3 && strcmp(argv[2], "--release") == 0;
    if (argc != 2 && !release) {
        fputs("usage: mailadm account hold ADDRESS [--release] [--json]\n", stderr);
        return EX_USAGE;
    }
    int status = ask_open(&k, a, true, true);
    if (status == EX_OK)
        status = adm_account_id(&k, argv[1], &id);
    if (status == EX_OK) {
        store_admin_hold(k.store, &id, !release, k.ticket, on_held);
        status = ask_status(ask_wait(&k, ASK_PATIENCE_MS), argv[1]);
    }
    if (status == EX_OK && a->json)
        printf("{\"hold\": %s}\n", release ? "false" : "true");
    ask_close(&k);
    return status;
}
