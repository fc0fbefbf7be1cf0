/* mailadm directory status, sync and import: the source of people, read now or replaced. */
#include "mailadm/ask.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

/* Lines that are not pairs (what changed, why it was refused) are text. */
static void on_text(void *session, enum err_code code, struct span text)
{
    struct ask *k = session;
    FILE *to = code == ERR_OK ? stdout : stderr;
    if (k->adm->json) {
        fputs("{\"text\": ", stdout);
        adm_json_span(span_trim(text));
        printf(", \"code\": \"%s\"}\n", err_name(code));
    } else if (text.n) {
        fprintf(to, "%.*s%s", SPAN_ARG(text), span_ends(text, SPAN("\n")) ? "" : "\n");
    }
    ask_end(k, code);
}

static void on_pairs(void *session, enum err_code code, struct span text)
{
    struct ask *k = session;
    if (code == ERR_OK)
        adm_pairs(k, text);
    ask_end(k, code);
}

int adm_directory_status(const struct adm *a, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct ask k;
    int status = ask_open(&k, a, false, true);
    if (status == EX_OK) {
        fputs(a->json ? "{" : "", stdout);
        directory_admin_status(k.directory, k.ticket, on_pairs);
        status = ask_status(ask_wait(&k, ASK_PATIENCE_MS), "directory status");
        fputs(a->json ? "}\n" : "", stdout);
    }
    ask_close(&k);
    return status;
}

/* Words of sync and import: --force, and a file when file_out is given. */
static bool words(int argc, char **argv, bool *force, const char **file_out)
{
    bool ok = true;
    *force = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--force") == 0)
            *force = true;
        else if (file_out && !*file_out)
            *file_out = argv[i];
        else
            ok = false;
    }
    return ok && (!file_out || *file_out);
}

int adm_directory_sync(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    bool force;
    if (!words(argc, argv, &force, NULL)) {
        fputs("usage: mailadm directory sync [--force] [--json]\n", stderr);
        return EX_USAGE;
    }
    int status = ask_open(&k, a, false, true);
    if (status == EX_OK) {
        directory_admin_sync(k.directory, force, k.ticket, on_text);
        status = ask_status(ask_wait(&k, ASK_LONG_MS), "directory sync");
    }
    ask_close(&k);
    return status;
}

int adm_directory_import(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    bool force;
    const char *file = NULL;
    if (!words(argc, argv, &force, &file)) {
        fputs("usage: mailadm directory import FILE [--force] [--json]\n", stderr);
        return EX_USAGE;
    }
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "mailadm: %s: %s\n", file, strerror(errno));
        return EX_NOINPUT;
    }
    int status = ask_open(&k, a, false, true);
    if (status == EX_OK) {
        directory_admin_import(k.directory, fd, force, k.ticket, on_text);
        status = ask_status(ask_wait(&k, ASK_LONG_MS), file);
    } else {
        close(fd);
    }
    ask_close(&k);
    return status;
}
