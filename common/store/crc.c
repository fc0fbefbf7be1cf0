/* CRC-32C by the processor's instruction where there is one, by tables (eight bytes a step) elsewhere. Both
 * give the same numbers; the tables are made once, before any thread starts. */
#include "common/store/crc.h"
#include <pthread.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

enum { POLYNOMIAL_BITS = 8 };
static const uint32_t polynomial = 0x82f63b78U;

static uint32_t table[8][256];
static bool has_instruction;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < POLYNOMIAL_BITS; k++)
            c = c & 1 ? c >> 1 ^ polynomial : c >> 1;
        table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
#if defined(__x86_64__)
    has_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

static uint32_t by_tables(uint32_t c, const unsigned char *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8) {
        uint32_t lo =
            c ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        c = table[7][lo & 0xff] ^ table[6][lo >> 8 & 0xff] ^ table[5][lo >> 16 & 0xff] ^ table[4][lo >> 24] ^
            table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    for (; n; p++, n--)
        c = c >> 8 ^ table[0][(c ^ *p) & 0xff];
    return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t c, const unsigned char *p, size_t n)
{
    uint64_t wide = c;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v;
        memcpy(&v, p, sizeof v);
        wide = _mm_crc32_u64(wide, v);
    }
    c = (uint32_t)wide;
    for (; n; p++, n--)
        c = _mm_crc32_u8(c, *p);
    return c;
}
#else
static uint32_t by_instruction(uint32_t c, const unsigned char *p, size_t n)
{
    return by_tables(c, p, n);
}
#endif

uint32_t crc32c(uint32_t crc, struct span s)
{
    pthread_once(&once, prepare);
    const unsigned char *p = (const unsigned char *)s.p;
    return ~(has_instruction ? by_instruction(~crc, p, s.n) : by_tables(~crc, p, s.n));
}
