/* Time. Deadlines use the monotonic clock; dates use the wall clock. Tests may replace both. */
#ifndef PROV_BASE_CLOCK_H
#define PROV_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds of the monotonic clock. */
uint64_t clock_mono_ms(void);
/* Microseconds since 1970-01-01T00:00:00Z. */
int64_t clock_wall_us(void);
/* Seconds since 1970-01-01T00:00:00Z. */
int64_t clock_wall_s(void);

/* For tests: answer with these from now on (0, 0 restores the real clocks). */
void clock_fake(uint64_t mono_ms, int64_t wall_us);

#endif
