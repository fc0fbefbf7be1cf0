/* Blobs of an exchange. The first byte picks the mechanism, lines that end in LF are the client's blobs. An
 * exchange may end well only when the check was asked and content: keys here fit no proof. Nothing that comes
 * before the last blob of PLAIN may be asked twice. */
#include "common/base/crypto.h"
#include "common/directory/sasl_exchange.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    unsigned checks, keys;
    bool content;
};

static enum err_code on_check(void *arg, struct span name, struct span password)
{
    struct seen *s = arg;
    if (s->checks++ || memchr(name.p, 0, name.n))
        abort();
    s->content = span_eq(password, SPAN("mot hai ba"));
    return s->content ? ERR_OK : password.n % 2 ? ERR_DENIED : ERR_RETRY;
}

static enum err_code on_keys(void *arg, struct span name, enum scram_hash hash, struct scram_keys *out)
{
    struct seen *s = arg;
    if (s->keys++ || memchr(name.p, 0, name.n))
        abort();
    *out = (struct scram_keys){.hash = hash, .iterations = 4096, .salt_n = 1 + name.n % SCRAM_SALT_MAX};
    crypto_random(out->stored, sizeof out->stored);
    return name.n == 1 ? ERR_RETRY : ERR_OK;
}

static bool on_may_act(void *arg, struct span authcid, struct span authzid)
{
    (void)arg;
    return authzid.n > authcid.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const mechs[] = {
        "PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"};
    static const struct sasl_asks asks = {on_check, on_keys, on_may_act};
    static bool started;
    struct err why;
    struct seen seen = {0};
    struct sasl_exchange *x = NULL;
    if (!started) {
        crypto_start();
        if (sasl_exchange_start(&why) != ERR_OK)
            abort();
        started = true;
    }
    if (size == 0)
        return 0;
    struct span rest = span_of(data + 1, size - 1), challenge;
    struct span binding = data[0] & 8 ? SPAN("0123456789abcdef") : SPAN_NONE;
    if (sasl_exchange_new(span_str(mechs[data[0] % 8 % 6]), "imap", binding, &asks, &seen, &x) != ERR_OK)
        return 0;
    enum err_code code = data[0] & 16 ? sasl_exchange_step(x, SPAN_NONE, &challenge) : ERR_STATE;
    while (code == ERR_STATE && rest.p) {
        struct span line = span_cut(&rest, '\n');
        char *own = malloc(line.n + 1); /* a read behind its end is seen */
        if (!own)
            abort();
        memcpy(own, line.p, line.n);
        code = sasl_exchange_step(x, span_of(own, line.n), &challenge);
        free(own);
    }
    if (code == ERR_OK && (!seen.content || sasl_exchange_name(x).n == 0))
        abort();
    sasl_exchange_free(&x);
    return 0;
}
