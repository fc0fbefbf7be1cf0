/* Checks a password against a userPassword value. The hard part is what must not happen: a broken or unknown
 * value taken for clear text (then its text would be the password), a locked crypt entry ("!", "*") that
 * matches, a time that tells how much was right. Hashes come from OpenSSL since SHA-1 is among them; crypt(3)
 * is libcrypt's, which knows yescrypt. Whose password it is, delays and threads are left to others. */
/* OpenSSL has a type of this name. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/evp.h>
#undef ERR_STATE
#include "common/directory/password.h"
#include "common/base/buf.h"
#include "common/base/crypto.h"
#include "common/directory/scram.h"
#include "common/mime/codec.h"
#include <crypt.h>
#include <stdlib.h>

static const struct scheme {
    const char *name, *digest;
    bool salted;
} schemes[] = {
    {"SSHA", "SHA1", true},      {"SSHA256", "SHA256", true}, {"SSHA384", "SHA384", true},
    {"SSHA512", "SHA512", true}, {"SHA", "SHA1", false},      {"SHA256", "SHA256", false},
    {"SHA384", "SHA384", false}, {"SHA512", "SHA512", false},
};

static enum err_code equal(struct span a, struct span b)
{
    return a.n == b.n && crypto_equal(a.p, b.p, a.n) ? ERR_OK : ERR_DENIED;
}

/* digest(password salt) followed by the salt, in base64. */
static enum err_code check_digest(const struct scheme *s, struct span value, struct span password)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct buf raw;
    enum err_code code = ERR_SYNTAX;
    buf_init(&raw, PASSWORD_LIMIT);
    const EVP_MD *md = EVP_get_digestbyname(s->digest);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t size = md ? (size_t)EVP_MD_get_size(md) : 0;
    if (!md || !ctx || !base64_decode_strict(value, &raw) || raw.n < size || (raw.n > size) != s->salted)
        goto out;
    if (EVP_DigestInit_ex(ctx, md, NULL) != 1 || EVP_DigestUpdate(ctx, password.p, password.n) != 1 ||
        EVP_DigestUpdate(ctx, raw.p + size, raw.n - size) != 1 || EVP_DigestFinal_ex(ctx, hash, &n) != 1) {
        code = ERR_BUG;
        goto out;
    }
    code = n == size && crypto_equal(raw.p, hash, size) ? ERR_OK : ERR_DENIED;
out:
    EVP_MD_CTX_free(ctx);
    crypto_wipe(hash, sizeof hash);
    buf_wipe(&raw);
    return code;
}

/* Only "$id$" forms: DES looks at eight characters only. */
static enum err_code check_crypt(struct span value, struct span password)
{
    char setting[PASSWORD_LIMIT + 1], phrase[PASSWORD_LIMIT + 1];
    if (value.n < 3 || value.p[0] != '$')
        return ERR_SYNTAX;
    if (memchr(value.p, 0, value.n) || memchr(password.p, 0, password.n))
        return ERR_DENIED;
    memcpy(setting, value.p, value.n);
    setting[value.n] = 0;
    memcpy(phrase, password.p, password.n);
    phrase[password.n] = 0;
    struct crypt_data *data = xcalloc(1, sizeof *data);
    const char *made = crypt_r(phrase, setting, data);
    enum err_code code = made && made[0] == '$' ? equal(span_str(made), value) : ERR_SYNTAX;
    crypto_wipe(data, sizeof *data);
    crypto_wipe(phrase, sizeof phrase);
    free(data);
    return code;
}

static enum err_code check_scram(struct span stored, struct span password)
{
    struct scram_keys k;
    if (!scram_parse(stored, &k))
        return ERR_SYNTAX;
    enum err_code code = scram_check(&k, password);
    crypto_wipe(&k, sizeof k);
    return code;
}

bool password_readable(struct span stored, struct span *out)
{
    bool scheme = stored.n && stored.p[0] == '{' && span_find(stored, '}') < stored.n;
    struct span clear = SPAN("{CLEARTEXT}");
    if (scheme && !span_casestarts(stored, clear))
        return false;
    *out = scheme ? span_drop(stored, clear.n) : stored;
    return out->n && out->n <= PASSWORD_LIMIT;
}

enum err_code password_check(struct span stored, struct span password)
{
    if (stored.n > PASSWORD_LIMIT || password.n > PASSWORD_LIMIT)
        return ERR_LIMIT;
    if (password.n == 0)
        return ERR_DENIED;
    if (stored.n == 0)
        return ERR_SYNTAX;
    size_t end = span_find(stored, '}');
    if (stored.p[0] != '{' || end == stored.n)
        return equal(stored, password);
    struct span name = {stored.p + 1, end - 1}, value = span_drop(stored, end + 1);
    if (span_caseeq(name, SPAN("CLEARTEXT")))
        return value.n ? equal(value, password) : ERR_SYNTAX;
    if (span_caseeq(name, SPAN("CRYPT")))
        return check_crypt(value, password);
    if (span_casestarts(name, SPAN("SCRAM-")))
        return check_scram(stored, password);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (span_caseeq(name, span_str(schemes[i].name)))
            return check_digest(&schemes[i], value, password);
    return ERR_SYNTAX;
}
