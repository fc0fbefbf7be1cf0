/* The sandbox: an allow-list of system calls (libseccomp), Landlock for files, no core dumps.
 * The hard point is completeness: a call that the libraries make once in a week ends the process, so the
 * lists follow what glibc, OpenSSL, libevent, zstd, libsodium and libdb were seen to make. Whatever opens
 * files on first use (time zone, iconv modules, NSS) must be used once before sandbox_enter.
 * A forbidden call ends the process by SIGSYS; in sanitizer builds the call is named on stderr first. */
#include "common/net/sandbox.h"
#include "common/base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_LINUX_LANDLOCK_H
#include <linux/landlock.h>
#endif

#define CALL(name) SCMP_SYS(name)
static const int base_calls[] = {
    /* descriptors that are open already */
    CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(pread64), CALL(pwrite64), CALL(preadv),
    CALL(pwritev), CALL(close), CALL(close_range), CALL(lseek), CALL(fstat), CALL(ftruncate), CALL(fcntl),
    CALL(dup), CALL(dup2), CALL(dup3), CALL(pipe2), CALL(sendfile), CALL(fadvise64),
    /* sockets that are open already */
    CALL(sendmsg), CALL(recvmsg), CALL(sendmmsg), CALL(recvmmsg), CALL(sendto), CALL(recvfrom),
    CALL(shutdown), CALL(getsockopt), CALL(setsockopt), CALL(getpeername), CALL(getsockname),
    /* waiting */
    CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_pwait2), CALL(poll),
    CALL(ppoll), CALL(select), CALL(pselect6), CALL(eventfd2), CALL(timerfd_create), CALL(timerfd_settime),
    CALL(timerfd_gettime), CALL(signalfd4), CALL(futex), CALL(nanosleep), CALL(clock_nanosleep),
    CALL(restart_syscall), CALL(sched_yield),
    /* memory (mmap and mprotect have rules of their own) */
    CALL(brk), CALL(mremap), CALL(munmap), CALL(madvise), CALL(mlock), CALL(mlock2), CALL(munlock),
    CALL(msync), CALL(membarrier),
    /* time, identity, randomness */
    CALL(clock_gettime), CALL(clock_getres), CALL(gettimeofday), CALL(time), CALL(getpid), CALL(gettid),
    CALL(getppid), CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid), CALL(getresuid), CALL(getresgid),
    CALL(getgroups), CALL(getrandom), CALL(uname), CALL(sysinfo), CALL(getrusage), CALL(times),
    CALL(getrlimit), CALL(getcpu), CALL(sched_getaffinity), CALL(getpriority),
    /* signals and the end */
    CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(rt_sigtimedwait), CALL(rt_sigpending),
    CALL(rt_sigsuspend), CALL(sigaltstack), CALL(exit), CALL(exit_group), CALL(set_robust_list),
    CALL(get_robust_list), CALL(rseq), CALL(set_tid_address), CALL(arch_prctl)};

static const int file_calls[] = {CALL(open),
                                 CALL(openat),
                                 CALL(openat2),
                                 CALL(creat),
                                 CALL(stat),
                                 CALL(lstat),
                                 CALL(statx),
                                 CALL(newfstatat),
                                 CALL(access),
                                 CALL(faccessat),
                                 CALL(faccessat2),
                                 CALL(readlink),
                                 CALL(readlinkat),
                                 CALL(getdents64),
                                 CALL(getdents),
                                 CALL(rename),
                                 CALL(renameat),
                                 CALL(renameat2),
                                 CALL(unlink),
                                 CALL(unlinkat),
                                 CALL(mkdir),
                                 CALL(mkdirat),
                                 CALL(rmdir),
                                 CALL(link),
                                 CALL(linkat),
                                 CALL(truncate),
                                 CALL(fallocate),
                                 CALL(fsync),
                                 CALL(fdatasync),
                                 CALL(sync_file_range),
                                 CALL(syncfs),
                                 CALL(chmod),
                                 CALL(fchmod),
                                 CALL(fchmodat),
                                 CALL(flock),
                                 CALL(utimensat),
                                 CALL(statfs),
                                 CALL(fstatfs),
                                 CALL(copy_file_range),
                                 CALL(getcwd),
                                 CALL(chdir),
                                 CALL(fchdir),
                                 CALL(umask),
                                 CALL(readahead),
                                 CALL(ioprio_set),
                                 CALL(inotify_init1),
                                 CALL(inotify_add_watch),
                                 CALL(inotify_rm_watch)};

static const int accept_calls[] = {CALL(accept), CALL(accept4)};
static const int connect_calls[] = {CALL(connect), CALL(bind)};
static const int unix_calls[] = {CALL(connect), CALL(bind), CALL(listen), CALL(socketpair)};
static const int thread_calls[] = {CALL(sched_setscheduler), CALL(sched_getscheduler), CALL(sched_getparam),
                                   CALL(sched_setaffinity), CALL(setpriority)};
/* A master's children close their own sandbox inside the master's. */
static const int fork_calls[] = {CALL(fork),
                                 CALL(vfork),
                                 CALL(wait4),
                                 CALL(waitid),
                                 CALL(kill),
                                 CALL(socketpair),
                                 CALL(seccomp),
                                 CALL(setrlimit),
                                 CALL(landlock_create_ruleset),
                                 CALL(landlock_add_rule),
                                 CALL(landlock_restrict_self)};
static const int memfd_calls[] = {CALL(memfd_create)};

static const struct group {
    unsigned flag; /* 0: always */
    const int *calls;
    size_t count;
} groups[] = {
#define GROUP(flag, list)                                                                                    \
    {                                                                                                        \
        flag, list, sizeof list / sizeof *list                                                               \
    }
    GROUP(0, base_calls),
    GROUP(SANDBOX_FILES, file_calls),
    GROUP(SANDBOX_ACCEPT, accept_calls),
    GROUP(SANDBOX_CONNECT, connect_calls),
    GROUP(SANDBOX_UNIX, unix_calls),
    GROUP(SANDBOX_THREADS, thread_calls),
    GROUP(SANDBOX_FORK, fork_calls),
    GROUP(SANDBOX_MEMFD, memfd_calls),
};

static int allow_if(scmp_filter_ctx f, int call, struct scmp_arg_cmp cmp)
{
    return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, 1, &cmp);
}

static struct scmp_arg_cmp equals(unsigned arg, scmp_datum_t value)
{
    return (struct scmp_arg_cmp){arg, SCMP_CMP_EQ, value, 0};
}

/* Calls whose arguments decide. Answers 0 or a negative errno. */
static int add_argument_rules(scmp_filter_ctx f, unsigned allow)
{
    int bad = 0;
    /* Plug-ins (NSS) are loaded by processes that may read files and connect; nobody else gains code. */
    bool exec = (allow & SANDBOX_FILES) && (allow & SANDBOX_CONNECT);
    const scmp_datum_t exec_bit = exec ? 0 : PROT_EXEC;
    bad |= allow_if(f, CALL(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, exec_bit, 0));
    bad |= allow_if(f, CALL(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, exec_bit, 0));
    bad |= allow_if(f, CALL(ioctl), equals(1, FIONREAD));
    bad |= allow_if(f, CALL(ioctl), equals(1, TCGETS));
    bad |= allow_if(f, CALL(prctl), equals(0, PR_SET_NAME));
    bad |= allow_if(f, CALL(prctl), equals(0, PR_GET_NAME));
    bad |= allow_if(f, CALL(prctl), equals(0, PR_SET_DUMPABLE));
    bad |= allow_if(f, CALL(prlimit64), equals(2, 0)); /* reading limits only */
    if (!(allow & SANDBOX_FILES)) /* fstat of glibc; with a path it tells no more than that it exists */
        bad |= allow_if(f, CALL(newfstatat), SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
    if (allow & SANDBOX_FORK) {
        bad |= allow_if(f, CALL(prctl), equals(0, PR_SET_PDEATHSIG));
        bad |= allow_if(f, CALL(prctl), equals(0, PR_SET_NO_NEW_PRIVS));
        bad |= allow_if(f, CALL(prctl), equals(0, PR_SET_SECCOMP));
        bad |= allow_if(f, CALL(prctl), equals(0, PR_GET_SECCOMP));
        bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(clone), 0);
        bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(tgkill), 0);
    } else {
        /* abort(): a signal to ourselves, by the id that stays ours since there is no fork */
        bad |= allow_if(f, CALL(tgkill), equals(0, (scmp_datum_t)getpid()));
        if (allow & SANDBOX_THREADS)
            bad |= allow_if(f, CALL(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    }
    /* Flags of clone3 lie behind a pointer; glibc falls back to clone. */
    bad |= seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
    if (allow & (SANDBOX_UNIX | SANDBOX_CONNECT))
        bad |= allow_if(f, CALL(socket), equals(0, AF_UNIX));
    if (allow & SANDBOX_CONNECT) {
        bad |= allow_if(f, CALL(socket), equals(0, AF_INET));
        bad |= allow_if(f, CALL(socket), equals(0, AF_INET6));
        bad |= allow_if(f, CALL(socket), equals(0, AF_NETLINK)); /* getaddrinfo asks for routes */
    }
    return bad;
}

#ifdef SANITIZERS
/* Name the call, then die of the same signal. */
static void on_forbidden(int sig, siginfo_t *info, void *context)
{
    char text[64];
    (void)context;
    int n = snprintf(text, sizeof text, "sandbox: forbidden system call %d\n", info->si_syscall);
    if (n > 0 && write(2, text, (size_t)n) < 0)
        _exit(128 + sig);
    signal(SIGSYS, SIG_DFL);
    raise(SIGSYS);
}

static uint32_t forbidden_action(void)
{
    struct sigaction a = {.sa_sigaction = on_forbidden, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSYS, &a, NULL);
    return SCMP_ACT_TRAP;
}
#else
static uint32_t forbidden_action(void)
{
    return SCMP_ACT_KILL_PROCESS;
}
#endif

static enum err_code enter_seccomp(unsigned allow, struct err *why)
{
    enum err_code code = ERR_OK;
    int bad = 0;
    scmp_filter_ctx f = seccomp_init(forbidden_action());
    if (!f)
        return err_set(why, ERR_RETRY, NULL, "seccomp_init failed");
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        for (size_t i = 0; i < groups[g].count && (groups[g].flag & allow) == groups[g].flag; i++)
            bad |= seccomp_rule_add(f, SCMP_ACT_ALLOW, groups[g].calls[i], 0);
    bad |= add_argument_rules(f, allow);
    /* Threads that run already come under the same filter. */
    bad |= seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    int loaded = bad ? bad : seccomp_load(f);
    if (loaded != 0)
        code = err_set(why, ERR_RETRY, NULL, "seccomp: %s", strerror(-loaded));
    seccomp_release(f);
    return code;
}

#ifdef HAVE_LINUX_LANDLOCK_H
static const uint64_t read_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;

static uint64_t handled_access(long abi)
{
    uint64_t all = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | read_access |
                   LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                   LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                   LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                   LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
#ifdef LANDLOCK_ACCESS_FS_REFER
    if (abi >= 2)
        all |= LANDLOCK_ACCESS_FS_REFER;
#endif
    (void)abi;
    return all;
}

static bool permit(int rules, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr at = {.allowed_access = access};
    at.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (at.parent_fd < 0)
        return errno == ENOENT; /* a folder that is not there needs no permission */
    long ret = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &at, 0);
    close(at.parent_fd);
    return ret == 0;
}

/* A kernel without Landlock leaves seccomp alone to guard: that is no error. */
static enum err_code enter_landlock(unsigned allow, const char *const *folders, struct err *why)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return ERR_OK;
    struct landlock_ruleset_attr attr = {.handled_access_fs = handled_access(abi)};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0)
        return err_set(why, ERR_RETRY, NULL, "Landlock: %s", strerror(errno));
    bool ok = !(allow & SANDBOX_FILES) || permit(rules, "/", read_access);
    for (size_t i = 0; ok && (allow & SANDBOX_FILES) && folders && folders[i]; i++)
        ok = !*folders[i] || permit(rules, folders[i], attr.handled_access_fs & ~LANDLOCK_ACCESS_FS_EXECUTE);
    ok = ok && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    int saved = errno;
    close(rules);
    return ok ? ERR_OK : err_set(why, ERR_RETRY, NULL, "Landlock: %s", strerror(saved));
}
#else
static enum err_code enter_landlock(unsigned allow, const char *const *folders, struct err *why)
{
    (void)allow;
    (void)folders;
    (void)why;
    return ERR_OK;
}
#endif

/* common/mime's, in programs that have it: iconv opens its modules before the sandbox or never, and a
 * message may ask for any of them. */
extern void charset_warm(void) __attribute__((weak));

enum err_code sandbox_enter(unsigned allow, const char *const *folders, struct err *why)
{
    const struct rlimit none = {0, 0};
    struct rlimit core = {1, 1};
    tzset(); /* reads its file now or never */
    if (charset_warm)
        charset_warm();
    /* A worker inherits the master's limit and may not set any. */
    if (getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max != 0 && setrlimit(RLIMIT_CORE, &none) != 0)
        return err_set(why, ERR_RETRY, NULL, "setrlimit: %s", strerror(errno));
#ifndef SANITIZERS
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_set(why, ERR_RETRY, NULL, "PR_SET_DUMPABLE: %s", strerror(errno));
#endif
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_set(why, ERR_RETRY, NULL, "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
    enum err_code files = enter_landlock(allow, folders, why);
    enum err_code calls = enter_seccomp(allow, why);
    return calls != ERR_OK ? calls : files;
}
