/* Sealing and opening of grants. The authenticator covers every byte before it; nothing is believed before it
 * has been compared in constant time. */
#include "common/base/grant.h"
#include "common/base/crypto.h"

enum { GRANT_VERSION = 1 };

static bool put_text(struct buf *out, const char *s)
{
    struct span t = span_str(s);
    return buf_add_u8(out, (uint8_t)t.n) && buf_add_span(out, t);
}

bool grant_seal(const struct grant *g, const unsigned char key[32], struct buf *out)
{
    size_t start = out->n;
    unsigned char mac[CRYPTO_HASH];
    bool ok = buf_add_u8(out, GRANT_VERSION) && buf_add(out, g->account.b, sizeof g->account.b) &&
              buf_add_u64(out, g->serial) && buf_add_u64(out, (uint64_t)g->issued_us) &&
              buf_add_u64(out, (uint64_t)g->expires_us) && put_text(out, g->protocol) &&
              put_text(out, g->peer) && put_text(out, g->address) && buf_add_u64(out, g->quota_bytes) &&
              buf_add_u16(out, g->group_count);
    for (size_t i = 0; ok && i < g->group_count; i++)
        ok = buf_add(out, g->groups[i].b, sizeof g->groups[i].b);
    if (!ok)
        return false;
    crypto_hmac(span_of(key, 32), span_of(out->p + start, out->n - start), mac);
    return buf_add(out, mac, sizeof mac);
}

static void take_text(struct reader *r, char *out, size_t size)
{
    struct span t = read_bytes(r, read_u8(r));
    if (t.n >= size)
        r->bad = true;
    else if (t.n)
        memcpy(out, t.p, t.n);
}

static void take_uuid(struct reader *r, struct uuid *out)
{
    struct span t = read_bytes(r, sizeof out->b);
    if (t.n)
        memcpy(out->b, t.p, sizeof out->b);
}

enum err_code grant_open(struct span sealed, const unsigned char key[32], int64_t now_us, struct grant *out)
{
    unsigned char mac[CRYPTO_HASH];
    if (sealed.n <= sizeof mac || sealed.n > GRANT_LIMIT)
        return ERR_SYNTAX;
    struct span body = span_first(sealed, sealed.n - sizeof mac);
    crypto_hmac(span_of(key, 32), body, mac);
    if (!crypto_equal(mac, sealed.p + body.n, sizeof mac))
        return ERR_DENIED;
    struct grant g = {.serial = 0};
    struct reader r = reader_of(body);
    if (read_u8(&r) != GRANT_VERSION)
        return ERR_SYNTAX;
    take_uuid(&r, &g.account);
    g.serial = read_u64(&r);
    g.issued_us = (int64_t)read_u64(&r);
    g.expires_us = (int64_t)read_u64(&r);
    take_text(&r, g.protocol, sizeof g.protocol);
    take_text(&r, g.peer, sizeof g.peer);
    take_text(&r, g.address, sizeof g.address);
    g.quota_bytes = read_u64(&r);
    g.group_count = read_u16(&r);
    if (g.group_count > GRANT_GROUPS)
        return ERR_SYNTAX;
    for (size_t i = 0; i < g.group_count; i++)
        take_uuid(&r, &g.groups[i]);
    if (r.bad || r.s.n)
        return ERR_SYNTAX;
    if (g.expires_us <= now_us)
        return ERR_STATE;
    *out = g;
    return ERR_OK;
}
