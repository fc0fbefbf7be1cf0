/* The packed form of a meta record. A record says much twice (BODY and BODYSTRUCTURE, addresses, subjects)
 * and is read far more often than written, tens of thousands at once when a client lists a large mailbox. So
 * it is packed with LZ4: less than half of the bytes in the database, its cache and its log, for about a
 * microsecond when it is made and a third of one when it is read. Packed: version 2, u32 length of the plain
 * record, an LZ4 block. The plain form stays legal: short records have it, and those of earlier releases. */
#include "common/mime/meta_int.h"
#include <lz4.h>

enum { HEAD = 5, SHORTEST = 128 /* bytes that are worth it */ };

bool meta_pack(struct span plain, struct buf *out)
{
    const int most = LZ4_compressBound((int)plain.n); /* MIME_META_LIMIT is far below INT_MAX */
    char *to = plain.n < SHORTEST ? NULL : buf_reserve(out, HEAD + (size_t)most);
    const int n = to ? LZ4_compress_default(plain.p, to + HEAD, (int)plain.n, most) : 0;
    if (n <= 0 || (size_t)n + HEAD >= plain.n)
        return buf_add_span(out, plain);
    bool ok = buf_add_u8(out, META_PACKED) && buf_add_u32(out, (uint32_t)plain.n); /* just before the block */
    buf_commit(out, (size_t)n);
    return ok;
}

enum err_code meta_unpack(struct span record, struct arena *a, struct span *plain)
{
    if (record.n < HEAD || (unsigned char)record.p[0] != META_PACKED) {
        *plain = record;
        return ERR_OK;
    }
    struct reader r = reader_of(record);
    (void)read_u8(&r);
    const uint32_t n = read_u32(&r);
    if (n > MIME_META_LIMIT || r.s.n > (size_t)LZ4_compressBound(MIME_META_LIMIT))
        return ERR_SYNTAX;
    char *to = arena_alloc(a, n ? n : 1);
    if (!to)
        return ERR_LIMIT;
    if (LZ4_decompress_safe(r.s.p, to, (int)r.s.n, (int)n) != (int)n)
        return ERR_SYNTAX;
    *plain = span_of(to, n);
    return ERR_OK;
}
