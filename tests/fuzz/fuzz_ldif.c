/* The LDIF reader under hostile bytes: no crash, a fault always names a line, and whatever is delivered has a
 * name and at least one value. */
#include "common/directory/ldif.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool look(void *arg, const struct ldif_record *r)
{
    (void)arg;
    if (r->count == 0 || r->line == 0 || !r->dn.p)
        abort();
    for (size_t i = 0; i < r->count; i++)
        if (r->v[i].name.n == 0 && r->v[i].name.p == NULL)
            abort();
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(1 << 16);
    struct err why = {0};
    enum err_code code = ldif_read(span_of(data, size), a, look, NULL, &why);
    if (code && !span_starts(span_str(why.log), SPAN("line ")))
        abort();
    arena_free(&a);
    return 0;
}
