/* A client's mailbox names: which of its spellings stand for which name. Modified UTF-7 itself is
 * common/mime's, which names the store takes is the store's. */
#include "imapd/mutf7.h"
#include "common/mime/charset.h"

static bool has_8bit(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return true;
    return false;
}

bool mailbox_name(struct arena *a, struct span raw, struct span *out)
{
    struct buf b;
    buf_init(&b, raw.n * 2 + 16); /* three base64 characters make at most four bytes */
    bool ok = has_8bit(raw) ? utf8_valid(raw) && buf_add_span(&b, raw) : mutf7_decode(raw, &b);
    struct buf composed; /* as the store keeps it, so that one mailbox has one name here too */
    buf_init(&composed, b.n * 3 + 16);
    ok = ok && utf8_nfc(buf_span(&b), &composed);
    struct span name = ok ? arena_dup(a, buf_span(&composed)) : SPAN_NONE;
    buf_free(&composed);
    buf_free(&b);
    if (!name.p)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f)
            return false;
    if (span_casestarts(name, SPAN("INBOX")) && (name.n == 5 || name.p[5] == '/')) {
        struct span fixed = arena_dup(a, name);
        if (!fixed.p)
            return false;
        memcpy((char *)(uintptr_t)fixed.p, "INBOX", 5);
        name = fixed;
    }
    *out = name;
    return true;
}
