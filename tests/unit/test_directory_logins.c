/* Logins over a directory of four: who is let in, what is remembered and for how long, what an outage of LDAP
 * changes, what an unknown name looks like from outside. The bind is a function here that counts. */
#include "tests/lib/cm.h"
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/base/log.h"
#include "common/directory/guard.h"
#include "common/directory/logins.h"
#include "tests/lib/scram_client.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    struct loop *loop;
    struct logins *l;
    struct conf c;
    /* the directory */
    bool an_gone, dated;
    const char *ldap_password; /* an's, over there */
    enum err_code outage;      /* what a bind answers, unless ERR_OK */
    bool forget_in_bind;
    unsigned binds;
    pthread_mutex_t gate; /* a bind waits for it */
    /* the verifier of an */
    struct buf verifier;
    int64_t verifier_at_us;
    unsigned puts, drops;
} w;

static const struct uuid an_id = {{1}}, binh_id = {{2}}, cuc_id = {{3}}, dung_id = {{4}};
#define SALT "c2FsdHNhbHRzYWx0c2FsdA=="

/* an: by bind; binh: readable; cuc: keys of RFC 5803 for "mot hai ba"; dung: may not log in. */
static bool on_find(void *arg, struct span name, struct login_person *out)
{
    static struct span clear = {"mot hai ba", 10}, keys;
    static char text[SCRAM_TEXT];
    (void)arg;
    if (!keys.p) {
        struct scram_keys k = {.hash = SCRAM_SHA_256, .iterations = 5000, .salt_n = 9};
        struct buf b;
        buf_init(&b, SCRAM_TEXT);
        memcpy(k.salt, "123456789", 9);
        assert_true(scram_derive(&k, SPAN("mot hai ba")) && scram_format(&k, &b));
        snprintf(text, sizeof text, "%.*s", SPAN_ARG(buf_span(&b)));
        keys = span_str(text);
        buf_free(&b);
    }
    *out = (struct login_person){.dn = span_of("uid=an", 6), .address = SPAN("an@gialai.example")};
    if (span_eq(name, SPAN("an")) || span_eq(name, SPAN("an@gialai.example"))) {
        out->id = an_id;
        out->dated = w.dated;
        return !w.an_gone;
    }
    if (span_eq(name, SPAN("cuc"))) {
        out->id = cuc_id;
        out->scram = &keys;
        out->scram_count = 1;
        return true;
    }
    out->passwords = &clear;
    out->password_count = 1;
    out->id = span_eq(name, SPAN("binh")) ? binh_id : dung_id;
    out->no_login = span_eq(name, SPAN("dung"));
    return span_eq(name, SPAN("binh")) || out->no_login;
}

static bool on_find_id(void *arg, const struct uuid *id, struct login_person *out)
{
    return on_find(arg,
                   uuid_cmp(id, &an_id) == 0     ? SPAN("an")
                   : uuid_cmp(id, &binh_id) == 0 ? SPAN("binh")
                   : uuid_cmp(id, &cuc_id) == 0  ? SPAN("cuc")
                                                 : SPAN("dung"),
                   out);
}

static enum err_code on_bind(void *arg, struct span dn, struct span password, struct err *why)
{
    (void)arg;
    assert_true(span_eq(dn, SPAN("uid=an")) && password.n);
    pthread_mutex_lock(&w.gate);
    w.binds++;
    pthread_mutex_unlock(&w.gate);
    if (w.forget_in_bind)
        logins_forget(w.l, &an_id);
    if (w.outage != ERR_OK)
        return err_set(why, w.outage, NULL, "away");
    return span_eq(password, span_str(w.ldap_password)) ? ERR_OK : err_set(why, ERR_DENIED, NULL, "wrong");
}

static enum err_code on_token(void *arg, struct span token, struct uuid *out)
{
    (void)arg;
    *out = span_eq(token, SPAN("dung's")) ? dung_id : binh_id;
    return span_eq(token, SPAN("good")) || span_eq(token, SPAN("dung's")) ? ERR_OK : ERR_DENIED;
}

static bool on_verifier_get(void *arg, const struct uuid *id, struct buf *out, int64_t *at_us)
{
    (void)arg;
    *at_us = w.verifier_at_us;
    return uuid_cmp(id, &an_id) == 0 && w.verifier.n && buf_add_span(out, buf_span(&w.verifier));
}

static void on_verifier_put(void *arg, const struct uuid *id, struct span verifier, int64_t at_us)
{
    (void)arg;
    assert_int_equal(uuid_cmp(id, &an_id), 0);
    w.puts++;
    w.verifier_at_us = at_us;
    buf_reset(&w.verifier);
    assert_true(buf_add_span(&w.verifier, verifier));
}

static void on_verifier_drop(void *arg, const struct uuid *id)
{
    (void)arg;
    (void)id;
    w.drops++;
    buf_reset(&w.verifier);
}

/* ---------------------------------------------------------------- one world a test */

static void world_of(bool ldap, const char *scram, unsigned limit)
{
    struct err why;
    struct login_env env = {.find = on_find,
                            .find_id = on_find_id,
                            .bind = ldap ? on_bind : NULL,
                            .token = on_token,
                            .verifier_get = on_verifier_get,
                            .verifier_put = on_verifier_put,
                            .verifier_drop = on_verifier_drop,
                            .key = "0123456789012345678901234567890"};
    memset(&w, 0, sizeof w);
    w.loop = loop_new();
    w.ldap_password = "mot hai ba";
    w.c.auth_scram = (char *)(uintptr_t)scram;
    w.c.auth_failure_limit = limit;
    w.c.auth_cache_lifetime = 60000;
    w.c.auth_outage_lifetime = 86400000;
    pthread_mutex_init(&w.gate, NULL);
    buf_init(&w.verifier, SCRAM_TEXT);
    assert_int_equal(logins_new(w.loop, &w.c, &env, &w.l, &why), ERR_OK);
    const struct login_census c = {.accounts = 3, .able = 2, .keyed = {2, 2}, .readable = true};
    logins_census(w.l, &c);
}

static void world(bool ldap, const char *scram)
{
    world_of(ldap, scram, 0);
}

struct answer {
    unsigned count;
    enum err_code code;
    char challenge[2000], address[100];
    bool has_challenge;
};

static void on_answer(void *arg, enum err_code code, struct span challenge, const struct login_person *who)
{
    struct answer *a = arg;
    a->count++;
    a->code = code;
    a->has_challenge = challenge.p != NULL;
    snprintf(a->challenge, sizeof a->challenge, "%.*s", SPAN_ARG(challenge));
    assert_true((who != NULL) == (code == ERR_OK));
    snprintf(a->address, sizeof a->address, "%.*s", SPAN_ARG(who ? who->address : SPAN("")));
    loop_stop(w.loop);
}

static const struct login_facts facts = {.service = "imap", .peer = "127.0.0.1", .secure = true};

static enum err_code plain(const char *name, const char *password)
{
    struct answer a = {0};
    char blob[300];
    int n = snprintf(blob, sizeof blob, "%c%s%c%s", 0, name, 0, password);
    login_begin(w.l, SPAN("PLAIN"), &facts, true, span_of(blob, (size_t)n), on_answer, &a);
    assert_int_equal(a.count, 0); /* never inside the call */
    loop_run(w.loop);
    assert_int_equal(a.count, 1);
    return a.code;
}

/* A login that was cancelled may still be with its helper. */
static void world_ends(void)
{
    w.c.auth_failure_delay = 0;
    while (logins_busy(w.l))
        assert_int_equal(plain("khong-co", "x"), ERR_DENIED);
    logins_free(&w.l);
    loop_free(&w.loop);
    buf_free(&w.verifier);
    pthread_mutex_destroy(&w.gate);
}

/* ---------------------------------------------------------------- tests */

static void test_stored(void **state)
{
    (void)state;
    world(false, "auto");
    assert_int_equal(plain("binh", "mot hai ba"), ERR_OK);
    assert_int_equal(plain("cuc", "mot hai ba"), ERR_OK);
    assert_int_equal(plain("binh", "sai"), ERR_DENIED);
    assert_int_equal(plain("cuc", "sai"), ERR_DENIED);
    assert_int_equal(plain("binh", ""), ERR_DENIED);
    assert_int_equal(plain("dung", "mot hai ba"), ERR_DENIED);
    assert_int_equal(plain("khong-co", "mot hai ba"), ERR_DENIED);
    assert_int_equal(plain("", "mot hai ba"), ERR_DENIED);
    world_ends();
}

static void test_webmail(void **state)
{
    struct answer a = {0};
    (void)state;
    world(false, "auto");
    login_password(w.l, SPAN("binh"), SPAN("mot hai ba"), &facts, on_answer, &a);
    loop_run(w.loop);
    assert_int_equal(a.code, ERR_OK);
    login_password(w.l, SPAN("binh"), SPAN("mot"), &facts, on_answer, &a);
    loop_run(w.loop);
    assert_int_equal(a.code, ERR_DENIED);
    static const struct {
        const char *blob;
        enum err_code code;
    } tokens[] = {{"n,,\001auth=Bearer good\001\001", ERR_OK},
                  {"n,,\001auth=Bearer bad\001\001", ERR_DENIED},
                  {"n,,\001auth=Bearer dung's\001\001", ERR_DENIED},
                  {"n,,\001auth=Basic good\001\001", ERR_SYNTAX},
                  {"", ERR_SYNTAX}};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        login_begin(w.l, SPAN("oauthbearer"), &facts, true, span_str(tokens[i].blob), on_answer, &a);
        loop_run(w.loop);
        assert_int_equal(a.code, tokens[i].code);
    }
    world_ends();
}

static void test_bind_is_remembered(void **state)
{
    (void)state;
    world(true, "auto");
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    assert_int_equal(plain("an@gialai.example", "mot hai ba"), ERR_OK);
    assert_int_equal(w.binds, 1);
    assert_int_equal(plain("an", "sai"), ERR_DENIED);
    assert_int_equal(w.binds, 2);
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    assert_int_equal(w.binds, 2);
    logins_forget(w.l, &binh_id);
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    assert_int_equal(w.binds, 2);
    logins_forget(w.l, &an_id);
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    assert_int_equal(w.binds, 3);
    logins_forget(w.l, NULL);
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    assert_int_equal(w.binds, 4);
    w.an_gone = true; /* no memory helps who is not there */
    assert_int_equal(plain("an", "mot hai ba"), ERR_DENIED);
    w.an_gone = false;
    w.c.auth_cache_lifetime = 0;
    logins_forget(w.l, NULL);
    assert_int_equal(plain("an", "mot hai ba") + plain("an", "mot hai ba"), ERR_OK);
    assert_int_equal(w.binds, 6);
    assert_int_equal(w.puts, 1); /* the verifier is young */
    world_ends();
}

/* What was forgotten while a bind was under way stays forgotten: the password may be the old one. */
static void test_change_during_bind(void **state)
{
    (void)state;
    world(true, "auto");
    w.forget_in_bind = true;
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    w.forget_in_bind = false;
    assert_int_equal(w.puts, 0);
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    assert_int_equal(w.binds, 2);
    world_ends();
}

static void test_outage(void **state)
{
    (void)state;
    world(true, "auto");
    w.outage = ERR_RETRY;
    assert_int_equal(plain("an", "mot hai ba"), ERR_RETRY); /* never seen before */
    w.outage = ERR_OK;
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    w.outage = ERR_RETRY;
    logins_forget(w.l, NULL);
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    w.c.auth_failure_delay = 100;
    uint64_t begin = clock_mono_ms();
    assert_int_equal(plain("an", "sai"), ERR_RETRY); /* it may be a new one; guessing costs the same */
    assert_true(clock_mono_ms() - begin >= 99);
    w.c.auth_failure_delay = 0;
    logins_forget(w.l, NULL);
    w.verifier_at_us -= (int64_t)86401 * 1000000;
    assert_int_equal(plain("an", "mot hai ba"), ERR_RETRY);
    world_ends();
}

/* LDAP refuses what it took before: the old password ends with that, in an outage as well. */
static void test_old_password(void **state)
{
    (void)state;
    world(true, "auto");
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    w.ldap_password = "bon nam sau";
    logins_forget(w.l, NULL);
    assert_int_equal(plain("an", "sai"), ERR_DENIED);
    assert_int_equal(w.drops, 0);
    assert_int_equal(plain("an", "mot hai ba"), ERR_DENIED);
    assert_int_equal(w.drops, 1);
    w.outage = ERR_RETRY;
    assert_int_equal(plain("an", "mot hai ba"), ERR_RETRY);
    world_ends();
}

/* ---------------------------------------------------------------- what a stranger sees */

static void test_delay(void **state)
{
    static const char *const names[] = {"binh", "khong-co", "dung"};
    (void)state;
    world(false, "auto");
    w.c.auth_failure_delay = 150;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        uint64_t begin = clock_mono_ms();
        assert_int_equal(plain(names[i], "sai"), ERR_DENIED);
        assert_true(clock_mono_ms() - begin >= 149);
    }
    /* Nobody waits for another's delay. */
    struct answer slow = {0};
    uint64_t begin = clock_mono_ms();
    w.c.auth_failure_delay = 60000;
    struct login *g =
        login_begin(w.l, SPAN("PLAIN"), &facts, true, span_of("\0binh\0sai", 9), on_answer, &slow);
    assert_int_equal(plain("binh", "mot hai ba"), ERR_OK);
    assert_true(slow.count == 0 && clock_mono_ms() - begin < 50000);
    login_cancel(&g);
    world_ends();
}

static enum err_code scram(const char *name, const char *password, char *first_out, size_t size)
{
    struct answer a = {0};
    struct scram_client c = {.header = "n,,"};
    char first[500];
    scram_client_first(&c, name, first, sizeof first);
    struct login *g = login_begin(w.l, SPAN("SCRAM-SHA-256"), &facts, false, SPAN_NONE, on_answer, &a);
    loop_run(w.loop);
    assert_true(a.code == ERR_STATE && a.has_challenge && !*a.challenge);
    login_step(g, span_str(first));
    loop_run(w.loop);
    assert_int_equal(a.code, ERR_STATE);
    const char *salt = strstr(a.challenge, ",s=");
    assert_non_null(salt);
    snprintf(first_out, size, "%s", salt);
    assert_true(scram_client_final(&c, span_str(a.challenge), span_str(password)));
    login_step(g, span_str(c.proof));
    loop_run(w.loop);
    if (a.code == ERR_OK)
        assert_string_equal(a.challenge, c.expected);
    assert_int_equal(a.count, 3);
    return a.code;
}

static void test_scram(void **state)
{
    char one[300], two[300];
    (void)state;
    world(false, "yes");
    assert_int_equal(scram("binh", "mot hai ba", one, sizeof one), ERR_OK);
    assert_int_equal(scram("binh", "sai", two, sizeof two), ERR_DENIED);
    assert_string_equal(one, two);
    assert_int_equal(scram("cuc", "mot hai ba", one, sizeof one), ERR_OK);
    assert_non_null(strstr(one, ",i=5000"));
    assert_int_equal(scram("dung", "mot hai ba", one, sizeof one), ERR_DENIED);
    /* Nobody: keys like binh's, the same at every try, others for another name. */
    assert_int_equal(scram("khong-co", "nobody's", one, sizeof one), ERR_DENIED);
    assert_int_equal(scram("khong-co", "mot hai ba", two, sizeof two), ERR_DENIED);
    assert_string_equal(one, two);
    assert_non_null(strstr(one, "==,i=4096"));
    assert_int_equal(scram("khong-ai", "mot hai ba", two, sizeof two), ERR_DENIED);
    assert_string_not_equal(one, two);
    /* Where keys come from the directory, like cuc's. */
    const struct login_census c = {
        .accounts = 1, .able = 1, .keyed = {1}, .iterations = {5000}, .salt_n = {9}};
    logins_census(w.l, &c);
    assert_int_equal(scram("khong-ai", "mot hai ba", two, sizeof two), ERR_DENIED);
    assert_non_null(strstr(two, ",i=5000"));
    assert_int_equal(strlen(two), strlen(",s=123456789012,i=5000"));
    world_ends();
}

/* Keys that a login by bind left are used only where a change of the password would be seen. */
static void test_scram_of_verifier(void **state)
{
    char s[300];
    (void)state;
    world(true, "yes");
    assert_int_equal(scram("an", "mot hai ba", s, sizeof s), ERR_DENIED);
    assert_int_equal(plain("an", "mot hai ba"), ERR_OK);
    assert_int_equal(scram("an", "mot hai ba", s, sizeof s), ERR_DENIED);
    w.dated = true;
    assert_int_equal(scram("an", "mot hai ba", s, sizeof s), ERR_OK);
    assert_int_equal(scram("an", "sai", s, sizeof s), ERR_DENIED);
    w.verifier_at_us -= (int64_t)86401 * 1000000;
    assert_int_equal(scram("an", "mot hai ba", s, sizeof s), ERR_DENIED);
    assert_int_equal(w.binds, 1);
    world_ends();
}

static void test_mechs(void **state)
{
    static const struct {
        const char *scram;
        bool ldap;
        struct login_census c;
        const char *secure;
    } rows[] = {
        {"auto",
         false,
         {.accounts = 3, .able = 2, .keyed = {2, 2}},
         "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN OAUTHBEARER"},
        {"auto", false, {.accounts = 3, .able = 2, .keyed = {2, 1}}, "SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER"},
        {"auto", false, {.accounts = 3, .able = 3, .keyed = {2, 2}}, "PLAIN LOGIN OAUTHBEARER"},
        {"auto", true, {.accounts = 3, .able = 2, .keyed = {2, 2}}, "PLAIN LOGIN OAUTHBEARER"},
        {"auto", false, {.accounts = 0}, "PLAIN LOGIN OAUTHBEARER"},
        {"yes", false, {.accounts = 3, .able = 3, .keyed = {1, 0}}, "SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER"},
        {"no", false, {.accounts = 3, .able = 3, .keyed = {3, 3}}, "PLAIN LOGIN OAUTHBEARER"},
    };
    struct answer a = {0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world(rows[i].ldap, rows[i].scram);
        logins_census(w.l, &rows[i].c);
        assert_false(logins_census(w.l, &rows[i].c));
        assert_string_equal(logins_mechs(w.l, true, false), rows[i].secure);
        assert_string_equal(logins_mechs(w.l, false, false), "");
        bool plus = strstr(logins_mechs(w.l, true, true), "-PLUS") != NULL;
        assert_int_equal(plus, strstr(rows[i].secure, "SCRAM") != NULL);
        /* What is not offered is not known. */
        const struct login_facts clear = {.service = "imap"};
        login_begin(w.l, SPAN("PLAIN"), &clear, false, SPAN_NONE, on_answer, &a);
        loop_run(w.loop);
        assert_int_equal(a.code, ERR_SYNTAX);
        world_ends();
    }
}

/* ---------------------------------------------------------------- guessing */

static struct login_facts there = {.service = "imap", .peer = "192.0.2.7", .secure = true};

static enum err_code from_there(const char *name, const char *password)
{
    struct answer a = {0};
    login_password(w.l, span_str(name), span_str(password), &there, on_answer, &a);
    loop_run(w.loop);
    return a.code;
}

static void test_guessing(void **state)
{
    char guess[20], s[300];
    (void)state;
    world_of(false, "yes", 5);
    for (int i = 0; i < 50; i++) /* a client that was told an old password once */
        assert_int_equal(from_there("binh", "cu"), ERR_DENIED);
    assert_int_equal(from_there("binh", "mot hai ba"), ERR_OK);
    for (int i = 0; i < 4; i++) {
        snprintf(guess, sizeof guess, "doan %d", i);
        assert_int_equal(from_there(i % 2 ? "Binh" : "binh", guess), ERR_DENIED);
    }
    assert_int_equal(from_there("binh", "doan 5"), ERR_LIMIT);
    assert_int_equal(from_there("binh", "mot hai ba"), ERR_OK); /* as it was just now */
    logins_forget(w.l, NULL);
    assert_int_equal(from_there("binh", "mot hai ba"), ERR_LIMIT);
    assert_int_equal(from_there("cuc", "mot hai ba"), ERR_OK); /* another name, another address */
    assert_int_equal(plain("binh", "mot hai ba"), ERR_OK);
    for (int i = 0; i < 5; i++) {
        snprintf(guess, sizeof guess, "doan %d", i);
        assert_int_equal(from_there("khong-co", guess), ERR_DENIED);
        assert_int_equal(scram("cuc", guess, s, sizeof s), ERR_DENIED);
    }
    assert_int_equal(from_there("khong-co", "doan 5"), ERR_LIMIT);
    struct answer a = {0};
    login_begin(w.l, SPAN("SCRAM-SHA-256"), &facts, true, SPAN("n,,n=cuc,r=abc"), on_answer, &a);
    loop_run(w.loop);
    assert_int_equal(a.code, ERR_LIMIT);
    world_ends();
}

static void test_guard(void **state)
{
    struct guard *g = guard_new(3, 3000, 2);
    unsigned char one[CRYPTO_HASH] = {1}, two[CRYPTO_HASH] = {2};
    struct guard_pair a = guard_pair(g, SPAN("2001:db8::1"), SPAN("An"));
    struct guard_pair b = guard_pair(g, SPAN("2001:db8::ffff:2"), SPAN("an"));
    struct guard_pair c = guard_pair(g, SPAN("2001:db8:0:1::1"), SPAN("an"));
    (void)state;
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_not_equal(&a, &c, sizeof a);
    guard_failed(g, &a, one, 10000);
    guard_failed(g, &a, two, 10000);
    assert_true(guard_allows(g, &a, 10000));
    guard_failed(g, &a, NULL, 10000);
    assert_false(guard_allows(g, &a, 10000));
    assert_false(guard_allows(g, &a, 10999));
    assert_true(guard_allows(g, &a, 11000)); /* one has leaked out */
    guard_failed(g, &a, NULL, 11000);
    assert_false(guard_allows(g, &a, 11000));
    assert_true(guard_allows(g, &c, 11000));
    guard_failed(g, &c, one, 11000);
    struct guard_pair d = guard_pair(g, SPAN("192.0.2.1"), SPAN("an"));
    guard_failed(g, &d, one, 11000); /* no room: the oldest goes */
    assert_true(guard_allows(g, &a, 11000));
    guard_free(&g);
    assert_null(g);
}

/* ---------------------------------------------------------------- life */

static void test_cancel(void **state)
{
    struct answer a = {0};
    (void)state;
    world(true, "auto");
    pthread_mutex_lock(&w.gate);
    struct login *g = login_begin(w.l, SPAN("PLAIN"), &facts, true, span_of("\0an\0sai", 7), on_answer, &a);
    assert_int_equal(plain("khong-co", "x"), ERR_DENIED); /* a bind that hangs holds up nobody else */
    login_cancel(&g);
    pthread_mutex_unlock(&w.gate);
    world_ends();
    assert_int_equal(a.count, 0);
}

static void test_many(void **state)
{
    enum { MANY = 300 };
    static struct answer a[MANY];
    unsigned left = MANY;
    (void)state;
    memset(a, 0, sizeof a);
    world(true, "auto");
    for (int i = 0; i < MANY; i++)
        login_begin(w.l, SPAN("PLAIN"), &facts, true,
                    i % 3 ? span_of("\0an\0mot hai ba", 14) : span_of("\0an\0sai", 7), on_answer, &a[i]);
    while (left) {
        loop_run(w.loop);
        left = 0;
        for (int i = 0; i < MANY; i++)
            left += a[i].count == 0;
    }
    for (int i = 0; i < MANY; i++)
        assert_int_equal(a[i].code, i % 3 ? ERR_OK : ERR_DENIED);
    world_ends();
}

int main(void)
{
    crypto_start();
    log_threshold(LOG_ALARM);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored),
        cmocka_unit_test(test_webmail),
        cmocka_unit_test(test_bind_is_remembered),
        cmocka_unit_test(test_change_during_bind),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_old_password),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_scram),
        cmocka_unit_test(test_scram_of_verifier),
        cmocka_unit_test(test_mechs),
        cmocka_unit_test(test_guessing),
        cmocka_unit_test(test_guard),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
