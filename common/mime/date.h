/* Dates of messages (RFC 5322 3.3 with the obsolete forms) and of IMAP (RFC 9051 date-time). */
#ifndef PROV_MIME_DATE_H
#define PROV_MIME_DATE_H

#include "common/base/buf.h"

/* Seconds since 1970 UTC and the zone in minutes east. False when it cannot be read. */
bool date_parse(struct span value, int64_t *out_s, int *out_zone_min) __attribute__((warn_unused_result));
/* "Tue, 24 Nov 2026 17:20:00 +0700"; out holds 32 bytes or more. */
void date_format(int64_t s, int zone_min, char *out, size_t size);
/* IMAP date-time with its quotes left out: "24-Nov-2026 17:20:00 +0700" (day may have a leading blank). */
bool date_imap_parse(struct span s, int64_t *out_s, int *out_zone_min) __attribute__((warn_unused_result));
void date_imap_format(int64_t s, int zone_min, char *out, size_t size);
/* IMAP date "24-Nov-2026" as days since 1970. */
bool date_imap_day(struct span s, int64_t *out_day) __attribute__((warn_unused_result));

#endif
