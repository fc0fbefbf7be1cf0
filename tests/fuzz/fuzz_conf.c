/* The reader of provmail.conf under hostile bytes: no crash; either there is a configuration and no fault, or
 * none and every fault names the file and a line; what stands in the options is inside their bounds. */
#include "common/base/conf.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FAULTS = 1 << 20 };

static bool names_a_line(struct span fault)
{
    static const char file[] = "fuzz.conf:";
    size_t at = sizeof file - 1;
    if (fault.n <= at || memcmp(fault.p, file, at) != 0)
        return false;
    size_t digits = 0;
    while (at + digits < fault.n && fault.p[at + digits] >= '0' && fault.p[at + digits] <= '9')
        digits++;
    return digits && at + digits < fault.n && fault.p[at + digits] == ':';
}

static void check_faults(struct span faults)
{
    if (faults.n == 0)
        abort();
    while (faults.n) {
        size_t n = span_find(faults, '\n');
        if (n == faults.n || !names_a_line(span_first(faults, n)))
            abort();
        faults = span_drop(faults, n + 1);
    }
}

static void check_bound(uint64_t v, uint64_t lo, uint64_t hi)
{
    if ((lo || hi) && (v < lo || (hi && v > hi)))
        abort();
}

static void check_host(const struct conf_list *l)
{
    struct span host;
    uint16_t port;
    for (size_t i = 0; i < l->n; i++)
        if (!conf_host_port(span_str(l->v[i]), &host, &port))
            abort();
}

#define CHECK_STR(c, v, lo, hi) ((void)strlen(v))
#define CHECK_PATH(c, v, lo, hi) ((void)strlen(v))
#define CHECK_NUM(c, v, lo, hi) check_bound(v, lo, hi)
#define CHECK_SIZE(c, v, lo, hi) check_bound(v, lo, hi)
#define CHECK_TIME(c, v, lo, hi) check_bound(v, lo, hi)
#define CHECK_BOOL(c, v, lo, hi) ((void)(v))
#define CHECK_LIST(c, v, lo, hi) ((void)(v).n)
#define CHECK_HOST(c, v, lo, hi) ((void)strlen(v))
#define CHECK_HOSTS(c, v, lo, hi) ((void)(v).n)
#define CHECK_LISTEN(c, v, lo, hi) check_host(&(v))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf *c = NULL;
    struct buf faults;
    buf_init(&faults, FAULTS);
    enum err_code code = conf_parse("fuzz.conf", span_of(data, size), &c, &faults);
    if ((code == ERR_OK) != (c != NULL))
        abort();
    if (code != ERR_OK) {
        check_faults(buf_span(&faults));
    } else {
        if (faults.n)
            abort();
#define OPT(name, TYPE, def, lo, hi, help) CHECK_##TYPE(c, c->name, lo, hi);
#include "conf/options.def"
#undef OPT
    }
    conf_free(&c);
    buf_free(&faults);
    return 0;
}
