/* Stored passwords: each scheme with the right and a wrong password, and values by which nobody may log in.
 * The hashes were made by Python's hashlib and by libcrypt. */
#include "tests/lib/cm.h"
#include "common/base/buf.h"
#include "common/base/crypto.h"
#include "common/directory/password.h"

static const struct {
    const char *stored;
    enum err_code code; /* with the right password */
} rows[] = {
    {"{SSHA}ogpBj3hDVQzaWRDSGs338AzDi2JzYWx0c2FsdA==", ERR_OK},
    {"{ssha256}s7pfO5yV71o2zYZIR7rp7ihrZIQ4CiUgbHIsMaRABSRzYWx0c2FsdA==", ERR_OK},
    {"{SSHA384}xmkOeyFaD7Gz3xsBJbHOWUDLJ+fWD9Np8J9tJucPKRYMySHC/QJ11Gg2bo6NMYWrc2FsdHNhbHQ=", ERR_OK},
    {"{SSHA512}2oJcvBRQeEA+V4DGe4iJxdZuZWe6AGiEgmTKAIHtUhGNhdQ1X16S4rVCuo8XnkyyLEG+"
     "Q4xgTy3UXOBig8p7nXNhbHRzYWx0",
     ERR_OK},
    {"{SHA}fXmotP9uYKsQMzeIo5kJ9Wp6Fts=", ERR_OK},
    {"{SHA256}gCOUiAjugHT3WB3dmqtmkwAzXXIkby892YF++4vr9yw=", ERR_OK},
    {"{SHA384}GTbDKI7loiAXX0f14xC0WAQAVCws23sjmK0gqdvDssuEJ9aJ9drEfqGtS23w4U7Q", ERR_OK},
    {"{sha512}EMOfV7GUdeBzvNPKjm3vUiBakCQ4aWaIMc8xXxUvcbUzfhuHfE7j9EVRTWCC0SVLD/JdzpO8WLlFAtqsg263tw==",
     ERR_OK},
    {"{CRYPT}$6$saltsalt$s5aAAm2WYv5FZmO5IylXMGek52KYOvIP39NtaDPx3EILdHnLzl7fuEjIQUw/"
     "xi4qtE5gTM2lNm7GJUYX4klcv.",
     ERR_OK},
    {"{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$cM.iTV4mSFxcOOvTUjGBS16Zn77tcPN0seGVZQ3ZMED", ERR_OK},
    {"{CRYPT}$5$rounds=1000$saltsalt$N9ZLH5N8j0FmyEAsZj80oZ0W9dwGv/Rxb1GzwaZx0bD", ERR_OK},
    {"{CRYPT}$6$saltsalt$r4j7z8gOqxO9zYH/VSQ4MPgAu/GTg0.tIK5o0K3dXowoILt/"
     "JRmXmiqFa26mKioMH3Fwhg6qaU0XTibPpoJ8z.",
     ERR_DENIED},
    {"{SSHA}fXmotP9uYKsQMzeIo5kJ9Wp6Fts=", ERR_SYNTAX},
    {"{SHA}ogpBj3hDVQzaWRDSGs338AzDi2JzYWx0c2FsdA==", ERR_SYNTAX},
    {"{CRYPT}!", ERR_SYNTAX},
    {"{CRYPT}*", ERR_SYNTAX},
    {"{CRYPT}", ERR_SYNTAX},
    {"{CRYPT}$6$", ERR_DENIED} /* a setting without its hash */,
    {"{SSHA}!!!", ERR_SYNTAX},
    {"{WHAT}th\xC6"
     "\xB0"
     "-\xC4"
     "\x91"
     "i\xE1"
     "\xBB"
     "\x87"
     "n-t\xE1"
     "\xBB"
     "\xAD"
     "",
     ERR_SYNTAX},
    {"", ERR_SYNTAX},
    {"{CLEARTEXT}th\xC6"
     "\xB0"
     "-\xC4"
     "\x91"
     "i\xE1"
     "\xBB"
     "\x87"
     "n-t\xE1"
     "\xBB"
     "\xAD"
     "",
     ERR_OK},
    {"th\xC6"
     "\xB0"
     "-\xC4"
     "\x91"
     "i\xE1"
     "\xBB"
     "\x87"
     "n-t\xE1"
     "\xBB"
     "\xAD"
     "",
     ERR_OK},
    {"th\xC6"
     "\xB0"
     "-\xC4"
     "\x91"
     "i\xE1"
     "\xBB"
     "\x87"
     "n-t\xE1"
     "\xBB"
     "\xAD"
     "x",
     ERR_DENIED},
    {"{CLEARTEXT}", ERR_SYNTAX},
};

static void checks_rows(void **state)
{
    (void)state;
    struct span right = SPAN("th\xC6\xB0-\xC4\x91i\xE1\xBB\x87n-t\xE1\xBB\xAD");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span stored = span_str(rows[i].stored);
        if (password_check(stored, right) != rows[i].code)
            print_message("row %zu: %s\n", i, rows[i].stored);
        assert_int_equal(password_check(stored, right), rows[i].code);
        if (rows[i].code == ERR_OK)
            assert_int_equal(password_check(stored, SPAN("wrong")), ERR_DENIED);
        assert_int_not_equal(password_check(stored, SPAN("")), ERR_OK);
        if (rows[i].code == ERR_SYNTAX && stored.n)
            assert_int_not_equal(password_check(stored, stored), ERR_OK);
    }
}

static void bounds(void **state)
{
    (void)state;
    static char big[PASSWORD_LIMIT + 1];
    memset(big, 'x', sizeof big);
    assert_int_equal(password_check(SPAN("x"), span_of(big, sizeof big)), ERR_LIMIT);
    assert_int_equal(password_check(span_of(big, sizeof big), SPAN("x")), ERR_LIMIT);
    assert_int_equal(password_check(span_of(big, PASSWORD_LIMIT), span_of(big, PASSWORD_LIMIT)), ERR_OK);
}

int main(void)
{
    crypto_start();
    const struct CMUnitTest tests[] = {cmocka_unit_test(checks_rows), cmocka_unit_test(bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
