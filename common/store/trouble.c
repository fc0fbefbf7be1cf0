/* The file `trouble`: one line, written when stored gives up or meets a damaged page, removed by a start that
 * succeeds. mailadm status reads it. It promises nothing, so nothing is synced. */
#include "common/store/trouble.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

void trouble_note(int mail_dir, const char *format, ...)
{
    char text[1024];
    time_t now = time(NULL);
    struct tm tm;
    size_t n = gmtime_r(&now, &tm) ? strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ ", &tm) : 0;
    va_list args;
    va_start(args, format);
    int more = vsnprintf(text + n, sizeof text - n - 1, format, args);
    va_end(args);
    if (more < 0)
        return;
    n = n + (size_t)more < sizeof text - 2 ? n + (size_t)more : sizeof text - 2;
    text[n++] = '\n';
    int fd = openat(mail_dir, "trouble", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return;
    (void)!write(fd, text, n);
    close(fd);
}

void trouble_over(int mail_dir)
{
    (void)unlinkat(mail_dir, "trouble", 0);
}
