/* mailadm status: which daemons run, by the locks on their pid files (a process id alone may be another's).
 */
#include "mailadm/mailadm.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char *const programs[] = {"stored", "directoryd", "imapd", "smtpd"};

long adm_holder(const char *run_dir, const char *program)
{
    char path[4096];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int n = snprintf(path, sizeof path, "%s/%s.pid", run_dir, program);
    if (n < 0 || (size_t)n >= sizeof path)
        return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    int got = fcntl(fd, F_GETLK, &lock);
    close(fd);
    if (got != 0)
        return -1;
    return lock.l_type == F_UNLCK ? 0 : (long)lock.l_pid;
}

/* What stored has noted of what keeps it from its work, "" when nothing does. */
static void read_trouble(const struct conf *c, char out[1024])
{
    char path[4096];
    out[0] = '\0';
    int n = snprintf(path, sizeof path, "%s/trouble", c->mail_dir);
    int fd = n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    ssize_t got = read(fd, out, 1023);
    close(fd);
    out[got > 0 ? got : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
}

int adm_status(const struct adm *a, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct conf *c;
    int status = adm_conf(a, &c);
    if (status != EX_OK)
        return status;
    char trouble[1024];
    read_trouble(c, trouble);
    if (a->json)
        putchar('[');
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        long pid = adm_holder(c->run_dir, programs[i]);
        if (pid <= 0)
            status = EX_UNAVAILABLE;
        unsigned long long held = 0;
        bool asked = i == 0 && pid > 0 && adm_queue_held(a, &held);
        if (a->json) {
            printf("%s{\"name\": \"%s\", \"running\": %s, \"pid\": %ld", i ? ", " : "", programs[i],
                   pid > 0 ? "true" : "false", pid > 0 ? pid : 0);
            if (asked)
                printf(", \"held\": %llu", held);
            if (i == 0 && trouble[0]) {
                fputs(", \"trouble\": ", stdout);
                adm_json(trouble);
            }
            putchar('}');
        } else if (pid > 0 && held)
            printf("%-12s running %ld; %llu entries of the queue are held since a restore (mailadm queue "
                   "release)\n",
                   programs[i], pid, held);
        else if (pid > 0)
            printf("%-12s running %ld\n", programs[i], pid);
        else
            printf("%-12s %s\n", programs[i],
                   pid == 0 ? "not running" : "unknown: its pid file cannot be read");
        if (!a->json && i == 0 && trouble[0])
            printf("%-12s %s\n", "", trouble);
    }
    if (a->json)
        puts("]");
    conf_free(&c);
    return status;
}
