/* Points in time as an administrator writes them. */
#ifndef PROV_MAILADM_WHEN_H
#define PROV_MAILADM_WHEN_H

#include <stdbool.h>
#include <stdint.h>

/* Forms: "2026-11-27T20:15:00Z", with "+07:00", or without a zone (local time); a blank for the T; seconds,
 * their fraction and the time of day may be missing. "2 hours ago", "30m", "3 days ago" (s, m, h, d, w and
 * their words), "now". now_us: the present. False: none of these. */
bool when_parse(const char *text, int64_t now_us, int64_t *out_us) __attribute__((warn_unused_result));

#endif
