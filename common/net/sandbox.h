/* What a process gives up once it has all that it needs (design: Processes and their rights): no new
 * privileges, seccomp filter that ends the process on a forbidden call, Landlock where the kernel has it,
 * no core dumps of mail. */
#ifndef PROV_NET_SANDBOX_H
#define PROV_NET_SANDBOX_H

#include "common/base/err.h"

enum {
    SANDBOX_ACCEPT = 1,   /* accept on listeners it holds */
    SANDBOX_CONNECT = 2,  /* socket and connect, inet */
    SANDBOX_UNIX = 4,     /* socket, bind, connect: UNIX only */
    SANDBOX_FILES = 8,    /* open and change files below the folders given */
    SANDBOX_THREADS = 16, /* start threads */
    SANDBOX_FORK = 32,    /* start processes (masters only) */
    SANDBOX_MEMFD = 64    /* memfd_create and its seals */
};

/* folders: NULL-ended list of paths that stay writable under SANDBOX_FILES (Landlock). Answers ERR_RETRY,
 * with why, when the kernel has no seccomp (the caller logs an alarm and goes on). */
CHECK_RESULT enum err_code sandbox_enter(unsigned allow, const char *const *folders, struct err *why);

#endif
