/* Exchanges of libsasl2 as it stands on this system: rows of what a client sends and what comes of it, with
 * the inputs of an attacker among them. The same rows say what the library may be trusted with. */
#include "tests/lib/cm.h"
#include "common/base/crypto.h"
#include "common/directory/sasl_exchange.h"
#include "tests/lib/scram_client.h"
#include <stdio.h>
#include <stdlib.h>

static const char binding[] = "0123456789abcdef0123456789abcdef";

/* "an" has the password "mot hai ba"; with "khi" LDAP is away. */
struct people {
    unsigned checks, asked;
    char checked[300];
};

static enum err_code on_check(void *arg, struct span name, struct span password)
{
    struct people *p = arg;
    p->checks++;
    snprintf(p->checked, sizeof p->checked, "%.*s|%.*s", SPAN_ARG(name), SPAN_ARG(password));
    if (span_eq(name, SPAN("khi")))
        return ERR_RETRY;
    return span_eq(name, SPAN("an")) && span_eq(password, SPAN("mot hai ba")) ? ERR_OK : ERR_DENIED;
}

static enum err_code on_keys(void *arg, struct span name, enum scram_hash hash, struct scram_keys *out)
{
    struct people *p = arg;
    p->asked++;
    if (span_eq(name, SPAN("khi")))
        return ERR_RETRY;
    *out = (struct scram_keys){.hash = hash, .iterations = 4096, .salt_n = 16};
    memcpy(out->salt, "saltsaltsaltsalt", 16);
    bool an = span_eq(name, SPAN("an")) || span_eq(name, SPAN("a,n=x"));
    assert_true(scram_derive(out, an ? SPAN("mot hai ba") : SPAN("nobody")));
    if (!an)
        crypto_random(out->stored, sizeof out->stored);
    return ERR_OK;
}

static bool on_may_act(void *arg, struct span authcid, struct span authzid)
{
    (void)arg;
    return span_eq(authcid, SPAN("an")) && span_eq(authzid, SPAN("an@gialai.example"));
}

static const struct sasl_asks asks = {on_check, on_keys, on_may_act};

/* ---------------------------------------------------------------- PLAIN and LOGIN */

#define B(text)                                                                                              \
    {                                                                                                        \
        text, sizeof(text) - 1                                                                               \
    }
#define NONE                                                                                                 \
    {                                                                                                        \
        NULL, 0                                                                                              \
    }
static const struct row {
    const char *mech;
    struct span say[4]; /* the first: the initial response */
    size_t count;
    enum err_code code;    /* of the last; those before it are ERR_STATE */
    const char *checked;   /* what the check was asked, NULL: never */
    const char *challenge; /* before the last, or NULL */
} rows[] = {
    {"PLAIN", {B("\0an\0mot hai ba")}, 1, ERR_OK, "an|mot hai ba", NULL},
    {"plain", {NONE, B("\0an\0mot hai ba")}, 2, ERR_OK, "an|mot hai ba", ""},
    {"PLAIN", {B("an\0an\0mot hai ba")}, 1, ERR_OK, "an|mot hai ba", NULL},
    {"PLAIN", {B("an@gialai.example\0an\0mot hai ba")}, 1, ERR_OK, "an|mot hai ba", NULL},
    {"PLAIN", {B("binh\0an\0mot hai ba")}, 1, ERR_DENIED, "an|mot hai ba", NULL},
    {"PLAIN", {B("an\0binh\0mot hai ba")}, 1, ERR_DENIED, "binh|mot hai ba", NULL},
    {"PLAIN", {B("\0an\0sai")}, 1, ERR_DENIED, "an|sai", NULL},
    {"PLAIN", {B("\0khi\0sai")}, 1, ERR_RETRY, "khi|sai", NULL},
    {"PLAIN", {B("\0an\0")}, 1, ERR_DENIED, "an|", NULL},
    {"PLAIN", {B("")}, 1, ERR_SYNTAX, NULL, NULL},
    {"PLAIN", {B("an")}, 1, ERR_SYNTAX, NULL, NULL},
    {"PLAIN", {B("\0an")}, 1, ERR_SYNTAX, NULL, NULL},
    {"PLAIN", {B("\0an\0mot hai ba\0")}, 1, ERR_SYNTAX, NULL, NULL},
    {"PLAIN", {B("\0an\0mot hai ba\0x")}, 1, ERR_SYNTAX, NULL, NULL},
    {"PLAIN", {B("\0\0mot hai ba")}, 1, ERR_DENIED, NULL, NULL},
    {"PLAIN", {B("\0  \0mot hai ba")}, 1, ERR_DENIED, NULL, NULL},
    {"LOGIN", {NONE, B("an"), B("mot hai ba")}, 3, ERR_OK, "an|mot hai ba", "Password:"},
    {"LOGIN", {B("an"), B("mot hai ba")}, 2, ERR_OK, "an|mot hai ba", "Password:"},
    {"LOGIN", {NONE, B("  an "), B("mot hai ba")}, 3, ERR_OK, "an|mot hai ba", "Password:"},
    {"LOGIN", {NONE, B("an"), B("sai")}, 3, ERR_DENIED, "an|sai", "Password:"},
    {"LOGIN", {NONE, B("an\0x"), B("mot hai ba")}, 2, ERR_SYNTAX, NULL, "Username:"},
    {"LOGIN", {NONE, B("an"), B("mot hai ba\0x")}, 3, ERR_SYNTAX, NULL, "Password:"},
    {"LOGIN", {NONE, B("")}, 2, ERR_SYNTAX, NULL, "Username:"},
    {"LOGIN", {NONE, B(" \t")}, 2, ERR_SYNTAX, NULL, "Username:"},
    {"LOGIN", {B("")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {NONE, B("n,,n=an,r=abc")}, 2, ERR_STATE, NULL, ""},
    {"SCRAM-SHA-256", {B("n,,n=an,r=abc"), B("c=biws,r=abc,p=AAAA")}, 2, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,,n=an,r=abc"), B("")}, 2, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,,n=an,r=abc"), B("c=biws")}, 2, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,,n=khi,r=abc")}, 1, ERR_RETRY, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,,n=a=,r=abc")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,,n=a=2,r=abc")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,,n=,r=abc")}, 1, ERR_DENIED, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,,m=x,n=an,r=abc")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,,n=an\0,r=abc")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("x,,n=an,r=abc")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,,n=an")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,a=,n=an,r=abc")}, 1, ERR_STATE, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,a=an")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("n,")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("")}, 1, ERR_STATE, NULL, NULL},
    {"SCRAM-SHA-256", {B(""), B("")}, 2, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256", {B("p=tls-exporter,,n=an,r=abc")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256-PLUS", {B("n,,n=an,r=abc")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256-PLUS", {B("y,,n=an,r=abc")}, 1, ERR_SYNTAX, NULL, NULL},
    {"SCRAM-SHA-256-PLUS", {B("p=tls-exporter")}, 1, ERR_SYNTAX, NULL, NULL},
};

static void one_row(const struct row *r)
{
    struct people p = {0};
    struct sasl_exchange *x = NULL;
    struct span challenge = SPAN_NONE;
    assert_int_equal(sasl_exchange_new(span_str(r->mech), "imap", span_str(binding), &asks, &p, &x), ERR_OK);
    for (size_t i = 0; i < r->count; i++) {
        enum err_code code = sasl_exchange_step(x, r->say[i], &challenge);
        bool last = i + 1 == r->count;
        if (code != (last ? r->code : ERR_STATE))
            fail_msg("row %zu (%s), message %zu: %s", (size_t)(r - rows), r->mech, i, err_name(code));
        if (i + 2 == r->count && r->challenge)
            assert_true(span_eq(challenge, span_str(r->challenge)));
        if (code == ERR_OK)
            assert_true(span_eq(sasl_exchange_name(x), SPAN("an")));
    }
    if (p.checks != (r->checked ? 1 : 0))
        fail_msg("row %zu: %u checks, the last: %s", (size_t)(r - rows), p.checks, p.checked);
    if (r->checked)
        assert_string_equal(p.checked, r->checked);
    sasl_exchange_free(&x);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        one_row(&rows[i]);
}

/* ---------------------------------------------------------------- SCRAM, whole */

static const struct scram_row {
    const char *mech, *header, *user, *password;
    struct span server_binding, client_binding;
    enum err_code code;
} scram_rows[] = {
    {"SCRAM-SHA-256", "n,,", "an", "mot hai ba", NONE, NONE, ERR_OK},
    {"SCRAM-SHA-1", "n,,", "an", "mot hai ba", NONE, NONE, ERR_OK},
    {"SCRAM-SHA-256", "n,,", "a=2Cn=3Dx", "mot hai ba", NONE, NONE, ERR_OK},
    {"SCRAM-SHA-256", "n,,", "an", "sai", NONE, NONE, ERR_DENIED},
    {"SCRAM-SHA-256", "n,,", "khong-co", "mot hai ba", NONE, NONE, ERR_DENIED},
    {"SCRAM-SHA-256", "n,,", "khong-co", "nobody", NONE, NONE, ERR_DENIED},
    {"SCRAM-SHA-256", "n,a=an,", "an", "mot hai ba", NONE, NONE, ERR_OK},
    {"SCRAM-SHA-256", "n,a=an@gialai.example,", "an", "mot hai ba", NONE, NONE, ERR_OK},
    {"SCRAM-SHA-256", "n,a=binh,", "an", "mot hai ba", NONE, NONE, ERR_DENIED},
    /* "y": the server has no channel binding, and says so, or it had one to offer. */
    {"SCRAM-SHA-256", "y,,", "an", "mot hai ba", NONE, NONE, ERR_OK},
    {"SCRAM-SHA-256", "y,,", "an", "mot hai ba", B("0123"), NONE, ERR_DENIED},
    {"SCRAM-SHA-256", "n,,", "an", "mot hai ba", B("0123"), NONE, ERR_OK},
    {"SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "an", "mot hai ba", B("0123"), B("0123"), ERR_OK},
    {"SCRAM-SHA-1-PLUS", "p=tls-exporter,,", "an", "mot hai ba", B("0123"), B("0123"), ERR_OK},
    {"SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "an", "sai", B("0123"), B("0123"), ERR_DENIED},
    {"SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "an", "mot hai ba", B("0123"), B("0124"), ERR_SYNTAX},
    {"SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "an", "mot hai ba", B("0123"), B("01234"), ERR_SYNTAX},
    {"SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "an", "mot hai ba", B("0123"), NONE, ERR_SYNTAX},
    {"SCRAM-SHA-256-PLUS", "p=tls-unique,,", "an", "mot hai ba", B("0123"), B("0123"), ERR_SYNTAX},
};

static void one_scram(const struct scram_row *r)
{
    struct people p = {0};
    struct sasl_exchange *x = NULL;
    struct span challenge = SPAN_NONE;
    bool sha1 = span_starts(span_str(r->mech), SPAN("SCRAM-SHA-1"));
    struct scram_client c = {
        .hash = sha1 ? SCRAM_SHA_1 : SCRAM_SHA_256, .header = r->header, .binding = r->client_binding};
    char first[500];
    assert_int_equal(sasl_exchange_new(span_str(r->mech), "smtp", r->server_binding, &asks, &p, &x), ERR_OK);
    scram_client_first(&c, r->user, first, sizeof first);
    assert_int_equal(sasl_exchange_step(x, span_str(first), &challenge), ERR_STATE);
    assert_true(scram_client_final(&c, challenge, span_str(r->password)));
    enum err_code code = sasl_exchange_step(x, span_str(c.proof), &challenge);
    if (code != r->code)
        fail_msg("row %zu (%s %s): %s", (size_t)(r - scram_rows), r->mech, r->header, err_name(code));
    if (code == ERR_OK)
        assert_true(span_eq(challenge, span_str(c.expected)));
    else
        assert_null(challenge.p);
    assert_int_equal(p.asked, 1);
    assert_int_equal(p.checks, 0);
    sasl_exchange_free(&x);
}

static void test_scram(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scram_rows / sizeof *scram_rows; i++)
        one_scram(&scram_rows[i]);
}

/* A proof is of its own nonce: what was heard once is of no use later. */
static void test_replay(void **state)
{
    struct people p = {0};
    struct scram_client c = {.header = "n,,"};
    struct span challenge;
    char first[500], heard[2400] = "";
    (void)state;
    scram_client_first(&c, "an", first, sizeof first);
    for (int i = 0; i < 2; i++) {
        struct sasl_exchange *x = NULL;
        assert_int_equal(sasl_exchange_new(SPAN("SCRAM-SHA-256"), "imap", SPAN_NONE, &asks, &p, &x), ERR_OK);
        assert_int_equal(sasl_exchange_step(x, span_str(first), &challenge), ERR_STATE);
        assert_true(scram_client_final(&c, challenge, SPAN("mot hai ba")));
        if (i == 0)
            snprintf(heard, sizeof heard, "%s", c.proof);
        assert_string_not_equal(i == 0 ? "" : heard, c.proof);
        enum err_code code = sasl_exchange_step(x, span_str(i == 0 ? c.proof : heard), &challenge);
        assert_int_equal(code, i == 0 ? ERR_OK : ERR_SYNTAX);
        sasl_exchange_free(&x);
    }
}

/* Long names and blobs: refused, or passed on whole, never cut. */
static void test_long(void **state)
{
    static const char *const starts[] = {"n,,n=", "n,a=", "p=", "n,,n=an,r=", ""};
    (void)state;
    for (size_t size = 1000; size <= 12 << 10; size += 500)
        for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
            for (int m = 0; m < 3; m++) {
                static const char *const mechs[] = {"SCRAM-SHA-256", "PLAIN", "LOGIN"};
                struct people p = {0};
                struct sasl_exchange *x = NULL;
                struct span challenge;
                char *blob = xmalloc(size);
                memset(blob, 'a', size);
                memcpy(blob, starts[i], strlen(starts[i]));
                if (m == 1)
                    blob[0] = blob[size - 20] = 0;
                assert_int_equal(sasl_exchange_new(span_str(mechs[m]), "imap", SPAN_NONE, &asks, &p, &x),
                                 ERR_OK);
                enum err_code code = sasl_exchange_step(x, span_of(blob, size), &challenge);
                if (code == ERR_STATE && m == 2)
                    code = sasl_exchange_step(x, SPAN("mot hai ba"), &challenge);
                assert_int_not_equal(code, ERR_OK);
                free(blob);
                sasl_exchange_free(&x);
            }
}

static void test_unknown(void **state)
{
    static const char *const names[] = {"",           "X",    "EXTERNAL", "ANONYMOUS",     "CRAM-MD5",
                                        "DIGEST-MD5", "NTLM", "GSSAPI",   "SCRAM-SHA-512", "SCRAM-SHA-256-",
                                        "PLAIN-PLUS"};
    struct sasl_exchange *x = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_false(sasl_exchange_knows(span_str(names[i])));
        assert_int_equal(sasl_exchange_new(span_str(names[i]), "imap", span_str(binding), &asks, NULL, &x),
                         ERR_SYNTAX);
    }
    assert_int_equal(sasl_exchange_new(SPAN("SCRAM-SHA-256-PLUS"), "imap", SPAN_NONE, &asks, NULL, &x),
                     ERR_SYNTAX);
    assert_null(x);
}

int main(void)
{
    struct err why;
    crypto_start();
    if (sasl_exchange_start(&why) != ERR_OK) {
        fprintf(stderr, "%s\n", why.log);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows), cmocka_unit_test(test_scram),   cmocka_unit_test(test_replay),
        cmocka_unit_test(test_long), cmocka_unit_test(test_unknown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sasl_exchange_end();
    return failed;
}
