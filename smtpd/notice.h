/* The messages that the system writes itself, in Vietnamese and English: a mailbox or a unit that is nearly
 * full, and a message that did not arrive. */
#ifndef PROV_SMTPD_NOTICE_H
#define PROV_SMTPD_NOTICE_H

#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/store/store.h"

struct notice {
    const struct conf *conf;
    const struct trace_id *trace; /* of the notice */
    int64_t now_s;
    struct span to_address, to_name;
    enum store_queued_kind kind;
    /* STORE_QUEUED_WARNING, STORE_QUEUED_UNIT; limits of 0: none */
    uint64_t bytes, limit_bytes, messages, limit_messages;
    struct span unit; /* STORE_QUEUED_UNIT: its name */
    /* STORE_QUEUED_REPORT: what did not arrive, and where */
    struct span subject; /* decoded, or "" */
    const struct trace_id *lost;
    int64_t queued_s;
    const struct store_target *targets;
    size_t target_count;
};
/* The finished content; the caller frees it. ERR_LIMIT: it would be too large. */
CHECK_RESULT enum err_code notice_compose(const struct notice *n, struct content **out);

#endif
