/* Content as it travels and rests: independent zstd frames, each of at most 128 KiB of message, so that any
 * part can be read alone. A worker builds it while the message arrives; stored only checks and copies. */
#ifndef PROV_STORE_FRAMES_H
#define PROV_STORE_FRAMES_H

#include "common/base/buf.h"
#include "common/base/err.h"

enum { FRAME_RAW = 128 << 10, FRAMES_LIMIT = 40000 };

/* One message being packed. Small content stays in memory; over CONTENT_MEMORY packed bytes it moves to a
 * memfd. */
struct content;
enum { CONTENT_MEMORY = 256 << 10 };

struct content *content_new(void);
void content_free(struct content **c);
/* The next bytes of the message. ERR_LIMIT: the worker's budget for large messages in transit is used up
 * (CONTENT_BUDGET bytes over all contents of the process): answer 452 4.3.1. */
CHECK_RESULT enum err_code content_add(struct content *c, struct span bytes);
/* The same for bytes that the client did not send, such as a Date that it left out: they do not count for
 * content_hash, so that the same submission is known when it comes again. */
CHECK_RESULT enum err_code content_add_ours(struct content *c, struct span bytes);
/* Trace fields that stand before all that was or will be added, once, at any time before content_finish. They
 * join the first frame while it is open, and are a frame of their own otherwise. */
CHECK_RESULT enum err_code content_prefix(struct content *c, struct span fields);
/* No more bytes; meta: the parser's record (copied). After that the content may be handed to store_deliver or
 * store_append, which take a reference for as long as they need it (repeating after a restart of stored). */
CHECK_RESULT enum err_code content_finish(struct content *c, struct span meta);
uint64_t content_size(const struct content *c);        /* raw bytes, prefix included */
uint64_t content_packed_size(const struct content *c); /* bytes of all frames */
/* BLAKE2b-256 of the bytes added with content_add: the key that finds a repeated submission. */
void content_hash(const struct content *c, unsigned char out[32]);
struct content *content_hold(struct content *c);
/* Raw bytes again, for a policy step or a local copy: appends to out. */
CHECK_RESULT enum err_code content_unpack(const struct content *c, struct buf *out);

#endif
