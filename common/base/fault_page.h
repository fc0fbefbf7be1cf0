/* What a test and a process under test share: see fault.c. Numbers in host order. */
#ifndef PROV_BASE_FAULT_PAGE_H
#define PROV_BASE_FAULT_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

enum fault_action { FAULT_DIE = 1, FAULT_ERROR = 2, FAULT_STALL = 3 };
enum { FAULT_POINTS = 255 };
struct fault_page {
    _Atomic uint32_t armed; /* 1: the rest is valid */
    uint32_t action;        /* enum fault_action */
    uint32_t value;         /* the errno, or milliseconds */
    _Atomic uint32_t skip;  /* passings that are let by first */
    uint32_t times;         /* of the fault; 0: until it is disarmed */
    uint32_t fired;         /* how often it came about */
    char point[40];
    struct {
        char name[56];
        uint64_t passes;
    } points[FAULT_POINTS];
};

#endif
