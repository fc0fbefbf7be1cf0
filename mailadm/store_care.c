/* mailadm store upgrade: the store is stored's alone, so stored does it, in a run that ends when it is done.
 */
#include "mailadm/ask.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

/* stored beside mailadm, or in the build tree that it lies in. */
static bool find_stored(char out[PATH_MAX])
{
    char here[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n < 0)
        return false;
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    snprintf(out, PATH_MAX, "%.4000s/stored", here);
    if (access(out, X_OK) == 0)
        return true;
    snprintf(out, PATH_MAX, "%.4000s/../stored", here);
    return access(out, X_OK) == 0;
}

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
    if (!find_stored(path)) {
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
