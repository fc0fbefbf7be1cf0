/* The two clocks, replaceable by tests. */
#include "common/base/clock.h"
#include <time.h>

static struct {
    uint64_t mono_ms;
    int64_t wall_us;
} fake;

void clock_fake(uint64_t mono_ms, int64_t wall_us)
{
    fake.mono_ms = mono_ms;
    fake.wall_us = wall_us;
}

uint64_t clock_mono_ms(void)
{
    struct timespec t;
    if (fake.mono_ms)
        return fake.mono_ms;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int64_t clock_wall_us(void)
{
    struct timespec t;
    if (fake.wall_us)
        return fake.wall_us;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_wall_s(void)
{
    return clock_wall_us() / 1000000;
}
