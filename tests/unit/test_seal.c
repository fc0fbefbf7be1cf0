/* Sealed streams: what goes in comes out, in whatever pieces; a cut, a changed byte, a longer end and another
 * key are noticed, and no byte behind the damage is handed out. */
#include "tests/lib/cm.h"
#include "common/base/buf.h"
#include "common/base/seal.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool gather(void *arg, struct span bytes)
{
    return buf_add_span(arg, bytes);
}

static unsigned char key[CRYPTO_HASH], to[CRYPTO_HASH];

static void seal(size_t n, size_t piece, struct buf *plain, struct buf *out)
{
    buf_init(plain, n + 1);
    buf_init(out, n + (1 << 20));
    for (size_t i = 0; i < n; i++)
        assert_true(buf_add_char(plain, (char)(i * 7 + (i >> 8))));
    struct seal *s = seal_new(to, gather, out);
    for (size_t at = 0; at < n; at += piece)
        assert_true(seal_add(s, span_of(plain->p + at, n - at < piece ? n - at : piece)));
    assert_true(seal_end(s));
    seal_free(&s);
}

static enum err_code unseal(const unsigned char with[CRYPTO_HASH], struct span in, size_t piece,
                            struct buf *out)
{
    enum err_code code = ERR_OK;
    buf_init(out, (size_t)4 << 20);
    struct unseal *u = unseal_new(with, gather, out);
    while (in.n && code == ERR_OK) {
        code = unseal_add(u, span_first(in, piece));
        in = span_drop(in, piece);
    }
    if (code == ERR_OK)
        code = unseal_end(u);
    unseal_free(&u);
    return code;
}

static void test_round(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 200000};
    static const size_t pieces[] = {1000, 65536, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
            struct buf plain, packed, back;
            seal(sizes[i], pieces[k], &plain, &packed);
            assert_int_equal(packed.n, seal_size(sizes[i]));
            assert_int_equal(unseal(key, buf_span(&packed), pieces[2 - k], &back), ERR_OK);
            assert_true(span_eq(buf_span(&plain), buf_span(&back)));
            buf_free(&plain);
            buf_free(&packed);
            buf_free(&back);
        }
}

static void test_damage(void **state)
{
    (void)state;
    struct buf plain, packed, back;
    unsigned char other[CRYPTO_HASH];
    seal(150000, 5000, &plain, &packed);
    for (size_t n = 0; n < packed.n; n += 997) { /* cut, also behind whole chunks */
        assert_int_equal(unseal(key, span_of(packed.p, n), 65536, &back), ERR_SYNTAX);
        assert_true(back.n <= plain.n && memcmp(back.p ? back.p : "", plain.p, back.n) == 0);
        buf_free(&back);
    }
    for (size_t n = 1; n <= 3; n++) { /* at the borders of the chunks */
        size_t at = 8 + 80 + 24 + n * (65536 + 17);
        if (at < packed.n) {
            assert_int_equal(unseal(key, span_of(packed.p, at), 65536, &back), ERR_SYNTAX);
            buf_free(&back);
        }
    }
    for (size_t n = 0; n < packed.n; n += 1499) {
        packed.p[n] ^= 4;
        enum err_code code = unseal(key, buf_span(&packed), 65536, &back);
        assert_true(code == ERR_SYNTAX || (code == ERR_DENIED && n >= 8 && n < 88));
        assert_true(back.n <= plain.n && memcmp(back.p ? back.p : "", plain.p, back.n) == 0);
        buf_free(&back);
        packed.p[n] ^= 4;
    }
    assert_true(buf_add_str(&packed, "more"));
    assert_int_equal(unseal(key, buf_span(&packed), 65536, &back), ERR_SYNTAX);
    buf_free(&back);
    crypto_random(other, sizeof other);
    assert_int_equal(unseal(other, buf_span(&packed), 65536, &back), ERR_DENIED);
    buf_free(&back);
    buf_free(&plain);
    buf_free(&packed);
}

static void test_keys(void **state)
{
    (void)state;
    char path[64], name[80];
    unsigned char got[CRYPTO_HASH], public_key[CRYPTO_HASH], derived[CRYPTO_HASH];
    snprintf(path, sizeof path, "/tmp/seal-key-%d", (int)getpid());
    snprintf(name, sizeof name, "%s.pub", path);
    assert_true(seal_key_make(path));
    assert_true(crypto_key_load(path, got) && crypto_key_load(name, public_key));
    seal_key_public(got, derived);
    assert_memory_equal(derived, public_key, sizeof derived);
    assert_false(seal_key_make(path)); /* never over another */
    unlink(path);
    unlink(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round), cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_keys)};
    crypto_start();
    crypto_random(key, sizeof key);
    seal_key_public(key, to);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
