/* What a test and the shim disk.c share: a file named by DISK_CONTROL, mapped by both. Host order. */
#ifndef PROV_TESTS_DISK_PAGE_H
#define PROV_TESTS_DISK_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

enum disk_op {
    DISK_WRITE = 1, /* write and pwrite */
    DISK_SYNC = 2,  /* fsync and fdatasync, of files and folders */
    DISK_READ = 4,
    DISK_NAME = 8, /* making, renaming and removing a file */
    DISK_SHRINK = 16
};
enum disk_flag {
    DISK_ALL = 1,    /* the power cut drops every unsynced block; else each one by chance */
    DISK_STRICT = 2, /* a name needs the sync of its folder; else that of the new file will do, as on ext4 */
    DISK_FORGET = 4, /* syncs do nothing: for the proof that the test can fail */
    DISK_NAMES = 8   /* names are never lost */
};
struct disk_page {
    _Atomic int32_t cut_after;   /* operations until the power fails; -1: never */
    uint32_t flags, seed, grain; /* bytes that reach the disk as a whole: 512 or 4096 */
    /* calls that fail */
    _Atomic uint32_t fail_ops; /* enum disk_op, or'ed; 0: none */
    uint32_t fail_errno;
    _Atomic uint32_t fail_skip;
    uint32_t fail_times;            /* 0: until fail_ops is 0 */
    char fail_path[64];             /* part of the file's path; "": any */
    _Atomic int64_t clock_shift_us; /* of the wall clock */
    /* what came about */
    _Atomic uint64_t ops, cuts, blocks_lost, blocks_kept, names_lost, failed;
};

#endif
