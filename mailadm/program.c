/* Where the other programs of the suite lie: beside mailadm, or in the build tree that it lies in. */
#include "mailadm/mailadm.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *adm_program(const char *name, char out[PATH_MAX])
{
    char here[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n < 0)
        return NULL;
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    static const char *const places[] = {"", "/..", "/../sbin"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(out, PATH_MAX, "%.4000s%s/%.80s", here, places[i], name);
        if (access(out, X_OK) == 0)
            return out;
    }
    return NULL;
}
