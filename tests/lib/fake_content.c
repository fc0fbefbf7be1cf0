/* A content (common/store/frames.h) that keeps the plain bytes in memory, for tests of the protocol cores.
 * The largest content can be lowered to meet the budget of large messages on purpose. */
#include "tests/lib/fake_content.h"
#include "common/base/crypto.h"
#include <assert.h>
#include <stdlib.h>

struct content {
    struct buf prefix, bytes, meta;
    bool finished, prefixed;
    unsigned refs;
};

size_t fake_content_budget = SIZE_MAX;
int fake_content_alive;

struct content *content_new(void)
{
    struct content *c = xcalloc(1, sizeof *c);
    buf_init(&c->prefix, 1 << 20);
    buf_init(&c->bytes, 1 << 30);
    buf_init(&c->meta, 64 << 20);
    c->refs = 1;
    fake_content_alive++;
    return c;
}

void content_free(struct content **cp)
{
    struct content *c = *cp;
    *cp = NULL;
    if (!c || --c->refs)
        return;
    buf_free(&c->prefix);
    buf_free(&c->bytes);
    buf_free(&c->meta);
    free(c);
    fake_content_alive--;
}

enum err_code content_add(struct content *c, struct span bytes)
{
    assert(!c->finished);
    if (c->bytes.n + bytes.n > fake_content_budget)
        return ERR_LIMIT;
    return buf_add_span(&c->bytes, bytes) ? ERR_OK : ERR_LIMIT;
}

enum err_code content_add_ours(struct content *c, struct span bytes)
{
    return content_add(c, bytes);
}

enum err_code content_prefix(struct content *c, struct span fields)
{
    assert(!c->finished && !c->prefixed);
    c->prefixed = true;
    return buf_add_span(&c->prefix, fields) ? ERR_OK : ERR_LIMIT;
}

enum err_code content_finish(struct content *c, struct span meta)
{
    assert(!c->finished && meta.n);
    c->finished = true;
    return buf_add_span(&c->meta, meta) ? ERR_OK : ERR_LIMIT;
}

uint64_t content_size(const struct content *c)
{
    return c->prefix.n + c->bytes.n;
}

uint64_t content_packed_size(const struct content *c)
{
    return content_size(c);
}

void content_hash(const struct content *c, unsigned char out[32])
{
    crypto_sha256(buf_span(&c->bytes), out);
}

struct content *content_hold(struct content *c)
{
    c->refs++;
    return c;
}

enum err_code content_unpack(const struct content *c, struct buf *out)
{
    return buf_add_span(out, buf_span(&c->prefix)) && buf_add_span(out, buf_span(&c->bytes)) ? ERR_OK
                                                                                             : ERR_LIMIT;
}

struct span fake_content_meta(const struct content *c)
{
    return buf_span(&c->meta);
}
