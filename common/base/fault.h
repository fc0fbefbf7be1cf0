/* Named points at the steps that reach the disk, where a test can end the process, let a call fail or stall.
 * They exist only in programs that are built for tests with -DFAULTS (tests/crash/faulty/): elsewhere the
 * macros leave nothing behind, not even the names. The names are those of the tables of STORE.md. */
#ifndef PROV_BASE_FAULT_H
#define PROV_BASE_FAULT_H

#include <stdbool.h>

#ifdef FAULTS
#include <errno.h>
/* The process comes by a point. True: errno is set, and the call that the point stands for has to fail. */
bool fault_pass(const char *point);
#define FAULT(point) fault_pass(point)
#define FAULT_STEP(point) ((void)fault_pass(point))
/* For calls that answer an errno themselves (Berkeley DB's). */
#define FAULT_CODE(point, call) (fault_pass(point) ? errno : (call))
#else
#define FAULT(point) false
#define FAULT_STEP(point) ((void)0)
#define FAULT_CODE(point, call) (call)
#endif

#endif
