/* A full disk under stored: first its own mail fills it down to the reserve, then somebody else takes the
 * rest. What adds is answered ERR_RETRY, what gives space back works, nothing that was acknowledged is lost,
 * an alarm is logged, and when there is space again deliveries go on by themselves. Needs a file system of
 * its own (a tmpfs in a private mount namespace); without the right to make one the test is skipped. */
#include "tests/lib/store_env.h"
#include "common/base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77, MESSAGE = 200 << 10, LIMIT = 2000 };

static struct store_env env;
static char text[MESSAGE + 1];

static void fail(const char *what, long a, long b)
{
    char command[1000];
    fprintf(stderr, "full_store: %s (%ld, %ld)\n", what, a, b);
    snprintf(command, sizeof command, "tail -n 20 '%s/log/stored.log' >&2; ls -lasR %s/mail >&2; df %s >&2",
             env.dir, env.dir, env.dir);
    exit(system(command) == 0 ? 1 : 2);
}

/* Bytes that do not pack, without a NUL. */
static void make_text(unsigned seed)
{
    uint32_t x = seed + 1;
    for (size_t i = 0; i < MESSAGE; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = (char)(1 + (x >> 16) % 255);
    }
}

static bool fill(const char *name, bool all)
{
    static char block[64 << 10];
    char path[400];
    snprintf(path, sizeof path, "%s/%s", env.dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    size_t n = sizeof block;
    bool full = false;
    while (fd >= 0 && n) {
        if (write(fd, block, n) < 0) {
            full = errno == ENOSPC;
            n = all ? n / 2 : 0;
        }
    }
    close(fd);
    return full;
}

static uint32_t messages(struct store *s)
{
    struct store_mailbox box;
    struct store_account *a = env_login(&env, s, 1, NULL);
    if (!a || env_status(&env, a, "INBOX", &box) != ERR_OK)
        fail("no INBOX", 0, 0);
    store_logout(&a);
    return box.messages;
}

static bool logged(const char *event)
{
    char path[400], line[2000];
    bool found = false;
    snprintf(path, sizeof path, "%s/log/stored.log", env.dir);
    FILE *f = fopen(path, "r");
    while (f && !found && fgets(line, sizeof line, f))
        found = strstr(line, event) && strstr(line, " alarm ");
    if (f)
        fclose(f);
    return found;
}

/* The supervisor's part: start it again when it ended. */
static void revive(void)
{
    int status;
    if (waitpid(env.pid, &status, WNOHANG) == env.pid)
        env_restart(&env);
}

/* Deliver until it is refused; how many were taken. */
static uint32_t deliver_until_refused(struct store *d)
{
    for (uint32_t taken = 0; taken < LIMIT; taken++) {
        make_text(taken);
        enum err_code code = env_deliver(&env, d, 1, text);
        if (code == ERR_RETRY)
            return taken;
        if (code != ERR_OK)
            fail("a full disk was answered otherwise", code, taken);
    }
    fail("the disk does not fill up", LIMIT, 0);
    return 0;
}

static void on_tick(void *arg)
{
    bool *flag = arg;
    *flag = true;
}

static void pause_ms(uint64_t ms)
{
    bool flag = false;
    struct loop_timer *t = loop_timer_new(env.loop, on_tick, &flag);
    loop_timer_start(t, ms);
    env_wait(&env, &flag);
    loop_timer_free(&t);
}

static void run(void)
{
    char path[400];
    struct store *d = env_client(&env, "deliver"), *s = env_client(&env, "session");
    uint32_t taken = deliver_until_refused(d);
    if (taken < 50 || messages(s) != taken)
        fail("acknowledged and there", taken, messages(s));
    if (!logged("store.disk.full"))
        fail("no alarm", 0, 0);
    /* somebody else takes the reserve as well */
    if (!fill("filler", true))
        fail("the filler did not fill", 0, 0);
    pause_ms(1500); /* checkpoints meet the full disk */
    revive();
    if (env_deliver(&env, d, 1, "x\r\n") != ERR_RETRY)
        fail("taken without space", 0, 0);
    env_kill(&env); /* and it must come up without space, too */
    env_restart(&env);
    if (messages(s) != taken)
        fail("acknowledged and there, after a start without space", taken, messages(s));
    snprintf(path, sizeof path, "%s/filler", env.dir);
    unlink(path);
    pause_ms(300);
    revive();
    /* the ballast was given up for the start, so that there is some space now */
    if (env_deliver(&env, d, 1, "Subject: space again\r\n\r\n") != ERR_OK || messages(s) != taken + 1)
        fail("no delivery although there is space again", taken, messages(s));
    store_free(&d);
    store_free(&s);
    printf("full_store: %u messages acknowledged and there\n", taken);
}

int main(void)
{
    char dir[] = "/tmp/full-store-XXXXXX";
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        !mkdtemp(dir) || mount("tmpfs", dir, "tmpfs", 0, "size=110m") != 0) {
        printf("full_store: no file system of its own (%s)\n", strerror(errno));
        return SKIPPED;
    }
    setenv("TMPDIR", dir, 1);
    env_start(&env, "store_cache_size = 16M\nstore_segment_size = 8M\n");
    run();
    env_end(&env);
    umount2(dir, MNT_DETACH);
    rmdir(dir);
    return 0;
}
