/* SCRAM's keys: the examples of RFC 5802 5 and RFC 7677 3 taken apart, values of RFC 5803 that are and are
 * not, and what a password is made to before its keys are. */
/* OpenSSL has a type of this name. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/evp.h>
#include <openssl/hmac.h>
#undef ERR_STATE
#include "tests/lib/cm.h"
#include "common/base/crypto.h"
#include "common/directory/password.h"
#include "common/directory/scram.h"
#include "common/mime/codec.h"
#include <stdio.h>

static struct buf decoded(const char *text)
{
    struct buf b;
    buf_init(&b, 1000);
    assert_true(base64_decode_strict(span_str(text), &b));
    return b;
}

static const struct example {
    enum scram_hash hash;
    const char *salt, *first, *server, *final, *proof, *signature;
} examples[] = {
    {SCRAM_SHA_256, "W22ZaJ0SNY7soEsUEjb6gQ==", "n=user,r=rOprNGfwEbeRWgbNEkqO",
     "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
     "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
     "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
    {SCRAM_SHA_1, "QSXCR+Q6sek8bf92", "n=user,r=fyko+d2lbbFgONRv9qkxdawL",
     "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
     "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
     "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "rmF9pqV8S7suAoZWja4dJRkFsKQ="},
};

/* The client's proof must open the stored key, and the server key must make the server's signature. */
static void fits(const struct example *e, const struct scram_keys *k)
{
    const EVP_MD *md = e->hash == SCRAM_SHA_1 ? EVP_sha1() : EVP_sha256();
    size_t size = scram_size(e->hash);
    char auth[1000];
    unsigned char sign[64], client[64], hashed[64];
    struct buf proof = decoded(e->proof), signature = decoded(e->signature);
    snprintf(auth, sizeof auth, "%s,%s,%s", e->first, e->server, e->final);
    assert_int_equal(proof.n, size);
    assert_non_null(HMAC(md, k->stored, (int)size, (const unsigned char *)auth, strlen(auth), sign, NULL));
    for (size_t i = 0; i < size; i++)
        client[i] = sign[i] ^ (unsigned char)proof.p[i];
    assert_int_equal(EVP_Digest(client, size, hashed, NULL, md, NULL), 1);
    assert_memory_equal(hashed, k->stored, size);
    assert_non_null(HMAC(md, k->server, (int)size, (const unsigned char *)auth, strlen(auth), sign, NULL));
    assert_memory_equal(sign, signature.p, size);
    buf_free(&proof);
    buf_free(&signature);
}

static void test_examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        struct buf salt = decoded(examples[i].salt);
        struct scram_keys k = {.hash = examples[i].hash, .iterations = 4096, .salt_n = salt.n}, again;
        memcpy(k.salt, salt.p, salt.n);
        buf_free(&salt);
        assert_true(scram_derive(&k, SPAN("pencil")));
        fits(&examples[i], &k);
        struct buf text;
        buf_init(&text, SCRAM_TEXT);
        assert_true(scram_format(&k, &text));
        assert_true(scram_parse(buf_span(&text), &again));
        assert_memory_equal(&again, &k, sizeof k);
        buf_free(&text);
        assert_int_equal(scram_check(&k, SPAN("pencil")), ERR_OK);
        assert_int_equal(scram_check(&k, SPAN("Pencil")), ERR_DENIED);
        assert_int_equal(scram_check(&k, SPAN("")), ERR_DENIED);
    }
}

#define SALT "W22ZaJ0SNY7soEsUEjb6gQ=="
#define STORED "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SERVER "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static const struct {
    const char *value;
    bool good;
} values[] = {
    {"SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER, true},
    {" scram-sha-256 $ 4096 : " SALT " $ " STORED " : " SERVER " ", true},
    {"{SCRAM-SHA-256}4096:" SALT "$" STORED ":" SERVER, true},
    {"{SCRAM-SHA-256}4096," SALT "," STORED "," SERVER, true},
    {"{scram-sha-256}1000000:" SALT "$" STORED ":" SERVER, true},
    {"{SCRAM-SHA-256}1000001:" SALT "$" STORED ":" SERVER, false},
    {"SCRAM-SHA-256$0:" SALT "$" STORED ":" SERVER, false},
    {"SCRAM-SHA-256$-1:" SALT "$" STORED ":" SERVER, false},
    {"SCRAM-SHA-256$4096:$" STORED ":" SERVER, false},
    {"SCRAM-SHA-256$4096:***$" STORED ":" SERVER, false},
    {"SCRAM-SHA-256$4096:" SALT "$" STORED, false},
    {"SCRAM-SHA-256$4096:" SALT "$" STORED ":", false},
    {"SCRAM-SHA-256$4096:" SALT "$" SALT ":" SERVER, false},
    {"SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER "AAAA", false},
    {"SCRAM-SHA-1$4096:" SALT "$" STORED ":" SERVER, false}, /* keys of another length */
    {"SCRAM-SHA-512$4096:" SALT "$" STORED ":" SERVER, false},
    {"SCRAM-SHA-256$4096," SALT "," STORED "," SERVER, false},
    {"SCRAM-SHA-256", false},
    {"$", false},
    {"{", false},
    {"", false},
};

static void test_values(void **state)
{
    struct scram_keys k;
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        if (scram_parse(span_str(values[i].value), &k) != values[i].good)
            fail_msg("%s", values[i].value);
        /* Cut anywhere it is none (but for blanks at its end), and is never read behind its end. */
        size_t whole = span_trim(span_str(values[i].value)).n + strspn(values[i].value, " ");
        for (size_t n = 0; values[i].good && n < whole; n++) {
            char *cut = xmalloc(n + 1);
            memcpy(cut, values[i].value, n);
            assert_false(scram_parse(span_of(cut, n), &k));
            free(cut);
        }
    }
}

static void test_as_password(void **state)
{
    (void)state;
    const char *v = "{SCRAM-SHA-256}4096:" SALT "$" STORED ":" SERVER;
    assert_int_equal(password_check(span_str(v), SPAN("pencil")), ERR_OK);
    assert_int_equal(password_check(span_str(v), SPAN("pencils")), ERR_DENIED);
    assert_int_equal(password_check(SPAN("{SCRAM-SHA-256}x"), SPAN("x")), ERR_SYNTAX);
    struct span clear;
    assert_false(password_readable(span_str(v), &clear));
    assert_true(password_readable(SPAN("th\xC6\xB0"), &clear));
    assert_true(password_readable(SPAN("{cleartext}abc"), &clear) && span_eq(clear, SPAN("abc")));
    assert_false(password_readable(SPAN("{SSHA}abc"), &clear) || password_readable(SPAN(""), &clear));
}

/* "mật khẩu" composed and decomposed is one password; bytes that are no text stay themselves. */
static void test_normal_form(void **state)
{
    struct scram_keys k = {.hash = SCRAM_SHA_256, .iterations = 1, .salt_n = 16};
    (void)state;
    assert_true(scram_derive(&k, SPAN("m\xE1\xBA\xADt")));
    assert_int_equal(scram_check(&k, SPAN("ma\xCC\xA3\xCC\x82t")), ERR_OK);
    assert_int_equal(scram_check(&k, SPAN("mat")), ERR_DENIED);
    assert_true(scram_derive(&k, SPAN("m\xE2t")));
    assert_int_equal(scram_check(&k, SPAN("m\xE3t")), ERR_DENIED);
}

static void test_salts(void **state)
{
    unsigned char key[32] = {1}, other[32] = {2}, a[SCRAM_SALT_MAX], b[SCRAM_SALT_MAX];
    (void)state;
    scram_salt(key, SCRAM_SHA_256, SPAN("an"), a);
    scram_salt(key, SCRAM_SHA_256, SPAN("an"), b);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, a + 32, 32);
    scram_salt(key, SCRAM_SHA_256, SPAN("binh"), b);
    assert_memory_not_equal(a, b, 16);
    scram_salt(key, SCRAM_SHA_1, SPAN("an"), b);
    assert_memory_not_equal(a, b, 16);
    scram_salt(other, SCRAM_SHA_256, SPAN("an"), b);
    assert_memory_not_equal(a, b, 16);
}

int main(void)
{
    crypto_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),    cmocka_unit_test(test_values), cmocka_unit_test(test_as_password),
        cmocka_unit_test(test_normal_form), cmocka_unit_test(test_salts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
