/* mailadm queue release: what was queued when the store was backed up goes out only when a person says so. */
#include "mailadm/ask.h"
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

static void on_released(void *session, enum err_code code)
{
    ask_end(session, code);
}

static void on_held(void *session, enum err_code code, struct span text)
{
    struct ask *k = session;
    unsigned long long held = 0;
    char line[64];
    snprintf(line, sizeof line, "%.*s", SPAN_ARG(text));
    if (code == ERR_OK && sscanf(line, "held=%llu", &held) == 1)
        *(unsigned long long *)k->arg = held;
    ask_end(k, code);
}

bool adm_queue_held(const struct adm *a, unsigned long long *held)
{
    enum { PATIENCE_MS = 2000 };
    char path[PATH_MAX];
    struct ask k;
    bool ok = false;
    *held = 0;
    if (ask_open(&k, a, false, false) == EX_OK) {
        snprintf(path, sizeof path, "%.4000s/store/admin/sock", k.conf->run_dir);
        ok = access(path, W_OK) == 0;
    }
    ask_close(&k);
    if (ok && ask_open(&k, a, true, false) == EX_OK) {
        k.arg = held;
        store_admin_queue_held(k.store, k.ticket, on_held);
        ok = ask_wait(&k, PATIENCE_MS) == ERR_OK;
        ask_close(&k);
    }
    return ok;
}

int adm_queue_release(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    unsigned long long held = 0;
    (void)argc;
    (void)argv;
    int status = ask_open(&k, a, true, false);
    if (status == EX_OK) {
        k.arg = &held;
        store_admin_queue_held(k.store, k.ticket, on_held);
        status = ask_status(ask_wait(&k, ASK_PATIENCE_MS), "queue");
    }
    if (status == EX_OK) {
        store_admin_queue_release(k.store, k.ticket, on_released);
        status = ask_status(ask_wait(&k, ASK_PATIENCE_MS), "queue release");
    }
    if (status == EX_OK && a->json)
        printf("{\"released\": %llu}\n", held);
    else if (status == EX_OK)
        printf(held ? "%llu entries are let go\n" : "nothing was held\n", held);
    ask_close(&k);
    return status;
}
