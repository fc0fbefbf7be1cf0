/* Keys of SCRAM: read, written, made of a password, compared. Values come from a directory that others fill,
 * so the hard part is to bound them: an iteration count that would keep a processor busy for minutes, a salt
 * or a key of another length than its hash has. Hashes are OpenSSL's; who has keys is left to others. */
/* OpenSSL has a type of this name. */
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/evp.h>
#include <openssl/hmac.h>
#undef ERR_STATE
#include "common/base/crypto.h"
#include "common/directory/scram.h"
#include "common/mime/charset.h"
#include "common/mime/codec.h"

enum { PASSWORD_BYTES = 1024 };

static const struct {
    const char *name, *digest;
    size_t size;
} hashes[SCRAM_HASHES] = {
    [SCRAM_SHA_256] = {"SCRAM-SHA-256", "SHA256", 32}, [SCRAM_SHA_1] = {"SCRAM-SHA-1", "SHA1", 20}};

const char *scram_name(enum scram_hash hash)
{
    return hashes[hash].name;
}

size_t scram_size(enum scram_hash hash)
{
    return hashes[hash].size;
}

/* -- values -- */

/* Decode to at most size bytes. */
static bool take(struct span text, unsigned char *out, size_t size, size_t *n)
{
    struct buf b;
    buf_init(&b, SCRAM_TEXT);
    bool ok = base64_decode_strict(text, &b) && b.n <= size;
    if (ok && b.n)
        memcpy(out, b.p, b.n);
    *n = ok ? b.n : 0;
    buf_wipe(&b);
    return ok;
}

static bool take_key(struct span text, unsigned char *out, size_t size)
{
    size_t n = 0;
    return take(text, out, size, &n) && n == size;
}

/* The name of a hash and the mark behind it ("$" or "}"). */
static bool take_name(struct span *s, char mark, enum scram_hash *out)
{
    size_t end = span_find(*s, mark);
    struct span name = span_trim(span_first(*s, end));
    for (int h = 0; end < s->n && h < SCRAM_HASHES; h++)
        if (span_caseeq(name, span_str(hashes[h].name))) {
            *out = (enum scram_hash)h;
            *s = span_drop(*s, end + 1);
            return true;
        }
    return false;
}

bool scram_parse(struct span value, struct scram_keys *out)
{
    *out = (struct scram_keys){.iterations = 0};
    if (value.n > SCRAM_TEXT)
        return false;
    value = span_trim(value);
    bool scheme = span_starts(value, SPAN("{"));
    if (scheme)
        value = span_drop(value, 1);
    if (!take_name(&value, scheme ? '}' : '$', &out->hash))
        return false;
    bool commas = scheme && span_find(value, ',') < value.n;
    struct span iterations = span_cut(&value, commas ? ',' : ':');
    struct span salt = span_cut(&value, commas ? ',' : '$');
    struct span stored = span_cut(&value, commas ? ',' : ':');
    return value.p && span_u32(span_trim(iterations), &out->iterations) && out->iterations > 0 &&
           out->iterations <= SCRAM_ITERATIONS_MAX &&
           take(span_trim(salt), out->salt, sizeof out->salt, &out->salt_n) && out->salt_n > 0 &&
           take_key(span_trim(stored), out->stored, hashes[out->hash].size) &&
           take_key(span_trim(value), out->server, hashes[out->hash].size);
}

bool scram_format(const struct scram_keys *k, struct buf *out)
{
    size_t size = hashes[k->hash].size;
    return buf_addf(out, "%s$%u:", hashes[k->hash].name, k->iterations) &&
           base64_encode(span_of(k->salt, k->salt_n), 0, out) && buf_add_char(out, '$') &&
           base64_encode(span_of(k->stored, size), 0, out) && buf_add_char(out, ':') &&
           base64_encode(span_of(k->server, size), 0, out);
}

/* -- keys of a password -- */

static bool mac(const EVP_MD *md, const unsigned char *key, size_t size, const char *text, unsigned char *out)
{
    unsigned n = 0;
    return HMAC(md, key, (int)size, (const unsigned char *)text, strlen(text), out, &n) && n == size;
}

/* RFC 5802 3: SaltedPassword, ClientKey, StoredKey, ServerKey. */
static bool derive(struct scram_keys *k, struct span password)
{
    unsigned char salted[32], client[32];
    size_t size = hashes[k->hash].size;
    unsigned n = 0;
    const EVP_MD *md = EVP_get_digestbyname(hashes[k->hash].digest);
    bool ok = md &&
              PKCS5_PBKDF2_HMAC(password.p, (int)password.n, k->salt, (int)k->salt_n, (int)k->iterations, md,
                                (int)size, salted) == 1 &&
              mac(md, salted, size, "Client Key", client) && mac(md, salted, size, "Server Key", k->server) &&
              EVP_Digest(client, size, k->stored, &n, md, NULL) == 1;
    crypto_wipe(salted, sizeof salted);
    crypto_wipe(client, sizeof client);
    return ok;
}

bool scram_derive(struct scram_keys *k, struct span password)
{
    struct buf nfc;
    if (password.n == 0 || password.n > PASSWORD_BYTES)
        return false;
    buf_init(&nfc, 4 * PASSWORD_BYTES);
    bool text = utf8_valid(password); /* other bytes stay as they are: all of them would become one sign */
    bool ok = (!text || utf8_nfc(password, &nfc)) && derive(k, text ? buf_span(&nfc) : password);
    buf_wipe(&nfc);
    return ok;
}

enum err_code scram_check(const struct scram_keys *k, struct span password)
{
    struct scram_keys made = *k;
    bool same = scram_derive(&made, password) && crypto_equal(made.stored, k->stored, hashes[k->hash].size) &&
                crypto_equal(made.server, k->server, hashes[k->hash].size);
    crypto_wipe(&made, sizeof made);
    return same ? ERR_OK : ERR_DENIED;
}

void scram_salt(const unsigned char key[32], enum scram_hash hash, struct span name,
                unsigned char out[SCRAM_SALT_MAX])
{
    unsigned char salts[CRYPTO_HASH];
    for (unsigned char i = 0; i * CRYPTO_HASH < SCRAM_SALT_MAX; i++) {
        const char label[] = {'s', 'a', 'l', 't', (char)('0' + hash), (char)('0' + i)};
        crypto_hmac(span_of(key, CRYPTO_HASH), span_of(label, sizeof label), salts);
        crypto_hmac(span_of(salts, sizeof salts), name, out + i * CRYPTO_HASH);
    }
}
