/* The checksums of Berkeley DB's pages, looked at before the library does: it answers a page whose checksum
 * is wrong by a panic of the whole environment, that is the end of the process, at each read of that page. A
 * read that fails is an error of one request. The format is that of the library's release 5.3 without
 * encryption, in the byte order of this machine: a page has its checksum behind its head of 26 bytes, a
 * file's first page (of which 512 bytes count) at 492; it is 33 * sum + byte over all bytes, its own counted
 * as zeros. */
#include "common/store/page_sum.h"
#include <stdint.h>
#include <string.h>

enum {
    MAGIC_AT = 12,
    SIZE_AT = 20,
    TYPE_AT = 25,
    FLAGS_AT = 26,
    PAGE_SUM_AT = 28,
    META_SUM_AT = 492,
    META_BYTES = 512,
    TYPE_INVALID = 0,
    TYPE_BTREE_META = 9,
    HAS_SUMS = 1,
    LEAST = 512,
    MOST = 64 << 10
};
static const uint32_t btree_magic = 0x053162;

static uint32_t get32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

size_t page_sum_size(const unsigned char head[PAGE_SUM_HEAD])
{
    const uint32_t size = get32(head + SIZE_AT);
    const bool sums = get32(head + MAGIC_AT) == btree_magic && head[TYPE_AT] == TYPE_BTREE_META &&
                      head[FLAGS_AT] & HAS_SUMS;
    return sums && size >= LEAST && size <= MOST && (size & (size - 1)) == 0 ? size : 0;
}

/* Eight bytes at a time: their products do not wait for each other. */
static uint32_t add(uint32_t sum, const unsigned char *p, size_t n)
{
    enum { P1 = 33, P2 = P1 * P1, P3 = P2 * P1, P4 = P3 * P1 };
    const uint32_t p5 = (uint32_t)P4 * P1, p6 = p5 * P1, p7 = p6 * P1, p8 = p7 * P1;
    for (; n >= 8; n -= 8, p += 8)
        sum = sum * p8 + p[0] * p7 + p[1] * p6 + p[2] * p5 + p[3] * (uint32_t)P4 + p[4] * (uint32_t)P3 +
              p[5] * (uint32_t)P2 + p[6] * (uint32_t)P1 + p[7];
    for (; n; n--)
        sum = sum * P1 + *p++;
    return sum;
}

bool page_sum_ok(const unsigned char *page, size_t n)
{
    static const unsigned char zeros[16];
    const bool meta = page[TYPE_AT] == TYPE_BTREE_META;
    const size_t at = meta ? META_SUM_AT : PAGE_SUM_AT, all = meta ? META_BYTES : n;
    /* Neither position nor number nor type: a hole in the file, as the library takes it, too. */
    if (n < LEAST || (page[TYPE_AT] == TYPE_INVALID && memcmp(page, zeros, 12) == 0))
        return true;
    uint32_t sum = add(0, page, at);
    sum = add(sum, zeros, sizeof sum);
    return add(sum, page + at + sizeof sum, all - at - sizeof sum) == get32(page + at);
}
