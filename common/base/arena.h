/* Memory for the pieces of one command or one parse: many small allocations, one reset. Everything
 * that came from an arena dies at the next arena_reset or arena_free. */
#ifndef PROV_BASE_ARENA_H
#define PROV_BASE_ARENA_H

#include "common/base/span.h"

struct arena;

/* limit_bytes bounds the sum of all that is handed out between two resets. */
struct arena *arena_new(size_t limit_bytes);
void arena_free(struct arena **a);
/* Take everything back; the first block is kept for the next round. */
void arena_reset(struct arena *a);
/* Zeroed memory, aligned for any object; NULL when the limit would be passed. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((warn_unused_result));
/* As arena_alloc for an array, the multiplication checked. */
void *arena_array(struct arena *a, size_t count, size_t size) __attribute__((warn_unused_result));
/* A copy with a terminator behind it (not counted in the span); p is NULL when the limit forbids it. */
struct span arena_dup(struct arena *a, struct span s) __attribute__((warn_unused_result));
/* Bytes handed out since the last reset. */
size_t arena_used(const struct arena *a);

#endif
