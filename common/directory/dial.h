/* TCP connections to one named host, blocking with a deadline, from any thread. */
#ifndef PROV_DIRECTORY_DIAL_H
#define PROV_DIRECTORY_DIAL_H

#include "common/base/err.h"
#include <stdint.h>

struct dial;

/* host: a name or a numeric address without brackets; it is copied. Nothing is resolved yet. */
struct dial *dial_new(const char *host, uint16_t port);
/* No thread may be inside dial_connect any more. */
void dial_free(struct dial **d);
/* Connect to the first address that answers.
 * timeout_ms  for all addresses together; also the send and receive timeout of the socket afterwards.
 * *out_fd     a blocking socket, the caller's to close.
 * ERR_OK; ERR_RETRY: the name is not known now, or nobody answers there. */
CHECK_RESULT enum err_code dial_connect(struct dial *d, uint64_t timeout_ms, int *out_fd, struct err *why);

#endif
