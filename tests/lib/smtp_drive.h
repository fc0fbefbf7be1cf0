/* Drives the SMTP core over fakes: bytes in, replies out, with random ids made alike. */
#ifndef PROV_TESTS_SMTP_DRIVE_H
#define PROV_TESTS_SMTP_DRIVE_H

#include "smtpd/core.h"
#include "tests/lib/fake_backend.h"

struct smtp_drive {
    struct smtp_core *core;
    struct fake_backend fake;
    struct buf in, out;
    enum step last;
    bool kicked;
    bool injected; /* bytes waited behind STARTTLS */
    unsigned accepted;
};

void smtp_drive_start(struct smtp_drive *d, const struct conf *conf, enum smtp_kind kind, bool local);
/* Put in one piece and let the core go as far as it can. Nothing is taken after the end. */
void smtp_drive_feed(struct smtp_drive *d, struct span piece);
void smtp_drive_end(struct smtp_drive *d);

#endif
