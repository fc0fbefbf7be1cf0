/* Times as an administrator writes them. */
#include "tests/lib/cm.h"
#include "mailadm/when.h"
#include <stdlib.h>
#include <time.h>

static const int64_t now_us = (int64_t)1795810500 * 1000000; /* 2026-11-27T20:15:00Z */

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t s; /* -1: refused */
        int64_t us;
    } rows[] = {{"2026-11-27T20:15:00Z", 1795810500, 0},
                {"2026-11-28T03:15:00+07:00", 1795810500, 0},
                {"2026-11-28T03:15:00+0700", 1795810500, 0},
                {"2026-11-27T20:15:00.250Z", 1795810500, 250000},
                {"2026-11-27T20:15:00.1234567Z", 1795810500, 123456},
                {"2026-11-27 20:15Z", 1795810500, 0},
                {"2026-11-28 03:15", 1795810500, 0}, /* local, see main */
                {"2026-11-28", 1795798800, 0},
                {"now", 1795810500, 0},
                {"2 hours ago", 1795810500 - 7200, 0},
                {"1 hour ago", 1795810500 - 3600, 0},
                {"30m", 1795810500 - 1800, 0},
                {"3 days ago", 1795810500 - 3 * 86400, 0},
                {"1w", 1795810500 - 604800, 0},
                {"90 seconds", 1795810500 - 90, 0},
                {"", -1, 0},
                {"2026", -1, 0},
                {"2026-13-01", -1, 0},
                {"2026-02-30", -1, 0},
                {"2026-11-27T24:00:00Z", -1, 0},
                {"2026-11-27T20:60Z", -1, 0},
                {"2026-11-27T20:15:00.Z", -1, 0},
                {"2026-11-27T20:15:00+15:00", -1, 0},
                {"2026-11-27T20:15:00Zulu", -1, 0},
                {"2026-11-27T", -1, 0},
                {"hours ago", -1, 0},
                {"2", -1, 0},
                {"2 hours hence", -1, 0},
                {"2 months ago", -1, 0},
                {"9999999999999 days ago", -1, 0},
                {"999999999 weeks ago", -1, 0},
                {"-2 hours ago", -1, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t got = -1;
        bool ok = when_parse(rows[i].text, now_us, &got);
        if (ok != (rows[i].s >= 0) || (ok && got != rows[i].s * 1000000 + rows[i].us))
            fail_msg("\"%s\": %d, %lld", rows[i].text, ok, (long long)got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_times)};
    setenv("TZ", "ICT-7", 1); /* UTC+7, without zone files */
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
