/* The sandbox: each right by what it permits and by what ends the process without it. Every row runs in a
 * child. */
#include "tests/lib/cm.h"
#include "common/base/buf.h"
#include "common/net/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

/* Each answers 0 when all went as it should for one who has the right. */

static int everyday(void)
{
    char *p = malloc(300000);
    time_t now = time(NULL);
    struct tm tm;
    struct stat st;
    int pipe_fd[2];
    bool ok = p && localtime_r(&now, &tm) && fstat(0, &st) == 0 && pipe2(pipe_fd, O_CLOEXEC) == 0 &&
              write(pipe_fd[1], "x", 1) == 1 && read(pipe_fd[0], p, 1) == 1 && usleep(1000) == 0;
    p = realloc(p, 3000000);
    ok = ok && p && fprintf(stderr, "%s", "") == 0;
    free(p);
    return !ok;
}

static int read_outside(void)
{
    int fd = open("/etc/passwd", O_RDONLY);
    return fd < 0;
}

static int write_inside(void)
{
    char a[100], b[100];
    snprintf(a, sizeof a, "%s/a", folder);
    snprintf(b, sizeof b, "%s/b", folder);
    int fd = open(a, O_RDWR | O_CREAT, 0600);
    bool ok = fd >= 0 && write(fd, "x", 1) == 1 && fdatasync(fd) == 0 && fallocate(fd, 0, 0, 4096) == 0 &&
              rename(a, b) == 0 && truncate(b, 0) == 0 && unlink(b) == 0;
    return !ok;
}

static int write_outside(void)
{
    int fd = open("/tmp/provmail-sandbox-test-outside", O_RDWR | O_CREAT, 0600);
    int denied = fd < 0 && errno == EACCES;
    if (fd >= 0)
        unlink("/tmp/provmail-sandbox-test-outside");
    return !denied;
}

static void *thread_main(void *arg)
{
    *(int *)arg = 7;
    return NULL;
}

static int thread(void)
{
    pthread_t t;
    int n = 0;
    return pthread_create(&t, NULL, thread_main, &n) != 0 || pthread_join(t, NULL) != 0 || n != 7;
}

static int process(void)
{
    pid_t pid = fork();
    int status = -1;
    if (pid == 0)
        _exit(3);
    return pid < 0 || waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 3;
}

static int memfd(void)
{
    int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 || ftruncate(fd, 4096) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) != 0;
}

static int unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) < 0;
}

static int inet_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(1)};
    return fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) == 0 || errno != ECONNREFUSED;
}

static int name_lookup(void)
{
    struct addrinfo *ai = NULL;
    int ret = getaddrinfo("localhost", "25", NULL, &ai);
    if (ret == 0)
        freeaddrinfo(ai);
    return ret != 0;
}

static int packet_socket(void)
{
    return socket(AF_PACKET, SOCK_RAW, 0) < 0;
}

static int exec(void)
{
    char *argv[] = {NULL, NULL};
    return execv("/bin/true", argv);
}

static int executable_memory(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int trace(void)
{
    return (int)syscall(SYS_ptrace, 0, 0, 0, 0);
}

static int raise_limit(void)
{
    const struct rlimit r = {10, 10};
    return setrlimit(RLIMIT_NOFILE, &r);
}

static int abort_itself(void)
{
    abort();
}

enum { ENDS = -1 }; /* by SIGSYS */

static const struct row {
    const char *name;
    unsigned allow;
    int (*act)(void);
    int want;
} rows[] = {
    {"everyday calls", 0, everyday, 0},
    {"open without files", 0, read_outside, ENDS},
    {"read anywhere with files", SANDBOX_FILES, read_outside, 0},
    {"write inside", SANDBOX_FILES, write_inside, 0},
    {"thread", SANDBOX_THREADS, thread, 0},
    {"thread with files", SANDBOX_FILES | SANDBOX_THREADS, thread, 0},
    {"thread without", 0, thread, ENDS},
    {"process", SANDBOX_FORK, process, 0},
    {"process without", SANDBOX_THREADS, process, ENDS},
    {"memfd", SANDBOX_MEMFD, memfd, 0},
    {"memfd without", 0, memfd, ENDS},
    {"unix socket", SANDBOX_UNIX, unix_socket, 0},
    {"unix socket without", SANDBOX_ACCEPT, unix_socket, ENDS},
    {"inet socket", SANDBOX_CONNECT, inet_socket, 0},
    {"inet socket with unix only", SANDBOX_UNIX, inet_socket, ENDS},
    {"name lookup", SANDBOX_CONNECT | SANDBOX_FILES, name_lookup, 0},
    {"packet socket", SANDBOX_CONNECT | SANDBOX_UNIX, packet_socket, ENDS},
    {"exec", SANDBOX_FILES | SANDBOX_FORK, exec, ENDS},
    {"executable memory", SANDBOX_FILES, executable_memory, ENDS},
    {"trace", ~0U, trace, ENDS},
    {"limits", SANDBOX_FILES, raise_limit, ENDS},
};

static int in_child(const struct row *r)
{
    const char *const folders[] = {folder, NULL};
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct err why;
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(98);
        if (sandbox_enter(r->allow, folders, &why) != ERR_OK)
            _exit(99);
        _exit(r->act());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void rights(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status = in_child(&rows[i]);
        bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
        bool good = rows[i].want == ENDS ? killed : WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (!good)
            fail_msg("%s: status %#x", rows[i].name, (unsigned)status);
    }
}

static bool has_landlock(void)
{
    return syscall(444 /* landlock_create_ruleset */, NULL, 0, 1) > 0;
}

static void files_outside_are_read_only(void **state)
{
    (void)state;
    static const struct row outside = {"write outside", SANDBOX_FILES, write_outside, 0};
    if (!has_landlock())
        skip();
    int status = in_child(&outside);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* abort must look like an abort, not like a sandbox violation, and leave no core. */
static void an_abort_is_an_abort(void **state)
{
    (void)state;
    static const struct row aborts = {"abort", 0, abort_itself, 0};
    int status = in_child(&aborts);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && !WCOREDUMP(status));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rights),
                                       cmocka_unit_test(files_outside_are_read_only),
                                       cmocka_unit_test(an_abort_is_an_abort)};
    strcpy(folder, "/tmp/net-sandbox-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    int ret = cmocka_run_group_tests_name("net_sandbox", tests, NULL, NULL);
    rmdir(folder);
    return ret;
}
