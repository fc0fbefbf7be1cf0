/* Packing of contents: any way of feeding gives the same message back, the prefix stands first, and the
 * budget of the process is kept. */
#include "tests/lib/cm.h"
#include "common/base/crypto.h"
#include "common/store/frames_int.h"
#include <stdlib.h>
#include <unistd.h>

static void fill(struct buf *b, size_t n, bool packs)
{
    uint32_t x = 7;
    char *p = buf_reserve(b, n);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = packs ? "mail "[i % 5] : (char)(x >> 24);
    }
    buf_commit(b, n);
}

static void one(size_t n, size_t piece, bool packs, bool prefix_late, struct span prefix)
{
    struct buf text, back;
    struct content *c = content_new();
    unsigned char want[32], hash[32];
    buf_init(&text, 64 << 20);
    buf_init(&back, 64 << 20);
    fill(&text, n, packs);
    if (!prefix_late)
        assert_int_equal(content_prefix(c, prefix), ERR_OK);
    for (size_t at = 0; at < n; at += piece)
        assert_int_equal(content_add(c, span_of(text.p + at, n - at < piece ? n - at : piece)), ERR_OK);
    if (prefix_late)
        assert_int_equal(content_prefix(c, prefix), ERR_OK);
    assert_int_equal(content_finish(c, SPAN("meta")), ERR_OK);
    assert_int_equal(content_size(c), n + prefix.n);
    content_hash(c, hash);
    struct crypto_hash h;
    crypto_hash_init(&h);
    crypto_hash_add(&h, buf_span(&text));
    crypto_hash_final(&h, want);
    assert_memory_equal(hash, want, 32);
    assert_int_equal(content_unpack(c, &back), ERR_OK);
    assert_int_equal(back.n, n + prefix.n);
    assert_true(span_starts(buf_span(&back), prefix));
    assert_true(span_eq(span_drop(buf_span(&back), prefix.n), buf_span(&text)));
    /* a small message is one frame with its prefix */
    struct content_view whole;
    content_view(c, &whole);
    if (n + prefix.n <= FRAME_RAW && n + prefix.n > 0)
        assert_int_equal(whole.frame_count, 1);
    /* what the client will send adds up */
    struct content_view v;
    uint64_t packed = 0, raw = 0;
    content_view(c, &v);
    for (size_t i = 0; i < v.frame_count; i++) {
        assert_true(v.frames[i].raw > 0 && v.frames[i].raw <= FRAME_RAW);
        assert_true(v.frames[i].packed <= FRAME_PACKED_LIMIT);
        raw += v.frames[i].raw;
        packed += v.frames[i].packed;
    }
    assert_int_equal(raw, content_size(c));
    assert_int_equal(packed, content_packed_size(c));
    assert_int_equal(v.memory[0].n + v.memory[1].n + v.fd_size, packed);
    assert_true(v.memory[0].n + v.memory[1].n <= 2 * CONTENT_MEMORY);
    if (v.fd >= 0)
        assert_int_equal(write(v.fd, "x", 1), -1); /* sealed */
    struct content *held = content_hold(c);
    content_free(&c);
    assert_int_equal(content_size(held), n + prefix.n);
    content_free(&held);
    buf_free(&text);
    buf_free(&back);
}

/* A submission without a Date gets another one each time that it comes: it is the same message. */
static void test_own_bytes(void **state)
{
    unsigned char hash[2][32];
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct content *c = content_new();
        assert_int_equal(content_add(c, SPAN("Subject: x\r\n")), ERR_OK);
        assert_int_equal(content_add_ours(c, i ? SPAN("Date: 2\r\n") : SPAN("Date: 1\r\n")), ERR_OK);
        assert_int_equal(content_add(c, SPAN("\r\nbody\r\n")), ERR_OK);
        assert_int_equal(content_finish(c, SPAN("meta")), ERR_OK);
        assert_int_equal(content_size(c), 29);
        content_hash(c, hash[i]);
        content_free(&c);
    }
    assert_memory_equal(hash[0], hash[1], 32);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 100, FRAME_RAW - 1, FRAME_RAW, FRAME_RAW + 1, 3 * FRAME_RAW, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 8; way++)
            one(sizes[i], way & 1 ? sizes[i] : 1000, way & 2, way & 4,
                way & 1 ? SPAN("Received: x\r\n") : SPAN_NONE);
    one(0, 1, true, true, SPAN("Received: x\r\n"));
}

static void test_bad_frames(void **state)
{
    (void)state;
    struct content *c = content_new();
    struct content_view v;
    char out[FRAME_RAW], copy[4096];
    assert_int_equal(content_add(c, SPAN("some text that is packed, some text that is packed")), ERR_OK);
    assert_int_equal(content_finish(c, SPAN_NONE), ERR_OK);
    content_view(c, &v);
    struct span good = v.memory[1];
    size_t raw = v.frames[0].raw;
    assert_true(good.n < sizeof copy);
    assert_true(frame_unpack(good, out, raw));
    assert_false(frame_unpack(good, out, raw - 1));
    assert_false(frame_unpack(good, out, FRAME_RAW));
    assert_false(frame_unpack(good, out, FRAME_RAW + 1));
    for (size_t n = 0; n < good.n; n++)
        assert_false(frame_unpack(span_of(good.p, n), out, raw));
    assert_false(frame_unpack(SPAN("not zstd at all"), out, 10));
    content_free(&c);
}

static void test_budget(void **state)
{
    (void)state;
    enum { CONTENTS = 12, PIECE = 1 << 20 };
    struct content *c[CONTENTS] = {NULL};
    struct buf noise;
    uint64_t held = 0;
    enum err_code code = ERR_OK;
    buf_init(&noise, PIECE);
    fill(&noise, PIECE, false);
    for (int i = 0; i < CONTENTS && code == ERR_OK; i++) {
        c[i] = content_new();
        for (int k = 0; k < 30 && code == ERR_OK; k++) {
            code = content_add(c[i], buf_span(&noise));
            held += code == ERR_OK ? PIECE : 0;
        }
    }
    assert_int_equal(code, ERR_LIMIT); /* 360 MB do not fit */
    assert_true(held > (200 << 20));
    for (int i = 0; i < CONTENTS; i++)
        content_free(&c[i]);
    one(3000000, 10000, false, true, SPAN("x")); /* the budget has come back */
    buf_free(&noise);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bad_frames),
                                       cmocka_unit_test(test_budget), cmocka_unit_test(test_own_bytes)};
    crypto_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
