/* Charsets: bytes under any label to UTF-8 in NFC.
 * The hard problem is not the tables but the labels, and where this runs: a sandboxed worker cannot open
 * iconv's modules when a message asks for one. So every label is looked up in a table here, one-byte
 * charsets and the UTFs are converted here, and iconv serves the East Asian charsets alone, whose
 * descriptors charset_warm opens before the sandbox closes.
 * Vietnam's archives: windows-1258 (marks follow their letter), TCVN 5712, VISCII and VNI-Win. */
#include "common/mime/charset.h"
#include "common/mime/tables-single.h"
#include <errno.h>
#include <iconv.h>

enum { REPLACEMENT = 0xfffd, LABEL_MAX = 40 };

enum kind {
    K_GUESS,
    K_UTF8,
    K_UTF7,
    K_UTF16,
    K_UTF16BE,
    K_UTF16LE,
    K_UTF32,
    K_SINGLE,
    K_TCVN,
    K_TCVN_HIGH,
    K_VISCII,
    K_VNI,
    K_ICONV
};
enum iconv_slot {
    I_SJIS,
    I_EUCJP,
    I_ISO2022JP,
    I_GB18030,
    I_BIG5,
    I_EUCKR,
    I_ISO2022KR,
    I_EUCTW,
    I_JOHAB,
    I_ISO2022CN,
    I_COUNT
};

static const char *const iconv_names[I_COUNT] = {
    [I_SJIS] = "CP932",
    [I_EUCJP] = "EUC-JP-MS",
    [I_ISO2022JP] = "ISO-2022-JP-3",
    [I_GB18030] = "GB18030",
    [I_BIG5] = "BIG5-HKSCS",
    [I_EUCKR] = "CP949",
    [I_ISO2022KR] = "ISO-2022-KR",
    [I_EUCTW] = "EUC-TW",
    [I_JOHAB] = "JOHAB",
    [I_ISO2022CN] = "ISO-2022-CN-EXT",
};
/* Descriptors live as long as the process: NULL not tried yet, (iconv_t)-1 not to be had. */
static iconv_t iconv_open_ones[I_COUNT];

struct label {
    const char *key; /* lower case, letters and digits only; sorted */
    enum kind kind;
    int which;
};
#define S(key, table)                                                                                        \
    {                                                                                                        \
        key, K_SINGLE, table                                                                                 \
    }
static const struct label labels[] = {
    {"ansix341968", K_GUESS, 0},
    {"ansix341986", K_GUESS, 0},
    {"ascii", K_GUESS, 0},
    {"big5", K_ICONV, I_BIG5},
    {"big5hkscs", K_ICONV, I_BIG5},
    {"cnbig5", K_ICONV, I_BIG5},
    {"cngb", K_ICONV, I_GB18030},
    S("cp1250", SB_CP1250),
    S("cp1251", SB_CP1251),
    S("cp1252", SB_CP1252),
    S("cp1253", SB_CP1253),
    S("cp1254", SB_CP1254),
    S("cp1255", SB_CP1255),
    S("cp1256", SB_CP1256),
    S("cp1257", SB_CP1257),
    S("cp1258", SB_CP1258),
    S("cp367", SB_CP1252),
    S("cp437", SB_CP437),
    S("cp819", SB_CP1252),
    S("cp850", SB_CP850),
    S("cp852", SB_CP852),
    S("cp855", SB_CP855),
    S("cp857", SB_CP857),
    S("cp858", SB_CP858),
    S("cp860", SB_CP860),
    S("cp861", SB_CP861),
    S("cp862", SB_CP862),
    S("cp863", SB_CP863),
    S("cp865", SB_CP865),
    S("cp866", SB_CP866),
    S("cp874", SB_CP874),
    {"cp932", K_ICONV, I_SJIS},
    {"cp936", K_ICONV, I_GB18030},
    {"cp949", K_ICONV, I_EUCKR},
    {"cp950", K_ICONV, I_BIG5},
    {"csbig5", K_ICONV, I_BIG5},
    {"cseuckr", K_ICONV, I_EUCKR},
    {"csgb2312", K_ICONV, I_GB18030},
    {"csiso2022jp", K_ICONV, I_ISO2022JP},
    {"csiso2022kr", K_ICONV, I_ISO2022KR},
    S("csisolatin1", SB_CP1252),
    {"csksc56011987", K_ICONV, I_EUCKR},
    {"csshiftjis", K_ICONV, I_SJIS},
    {"csunicode11utf7", K_UTF7, 0},
    {"csviscii", K_VISCII, 0},
    {"cswindows31j", K_ICONV, I_SJIS},
    {"eucjp", K_ICONV, I_EUCJP},
    {"euckr", K_ICONV, I_EUCKR},
    {"euctw", K_ICONV, I_EUCTW},
    {"gb18030", K_ICONV, I_GB18030},
    {"gb2312", K_ICONV, I_GB18030},
    {"gb23121980", K_ICONV, I_GB18030},
    {"gb231280", K_ICONV, I_GB18030},
    {"gbk", K_ICONV, I_GB18030},
    S("ibm437", SB_CP437),
    S("ibm850", SB_CP850),
    S("ibm852", SB_CP852),
    S("ibm855", SB_CP855),
    S("ibm857", SB_CP857),
    S("ibm862", SB_CP862),
    S("ibm866", SB_CP866),
    {"iso10646ucs2", K_UTF16, 0},
    {"iso2022cn", K_ICONV, I_ISO2022CN},
    {"iso2022cnext", K_ICONV, I_ISO2022CN},
    {"iso2022jp", K_ICONV, I_ISO2022JP},
    {"iso2022jp1", K_ICONV, I_ISO2022JP},
    {"iso2022jp2", K_ICONV, I_ISO2022JP},
    {"iso2022jp3", K_ICONV, I_ISO2022JP},
    {"iso2022jpms", K_ICONV, I_ISO2022JP},
    {"iso2022kr", K_ICONV, I_ISO2022KR},
    {"iso646us", K_GUESS, 0},
    S("iso88591", SB_CP1252),
    S("iso885910", SB_ISO8859_10),
    S("iso885911", SB_CP874),
    S("iso885913", SB_ISO8859_13),
    S("iso885914", SB_ISO8859_14),
    S("iso885915", SB_ISO8859_15),
    S("iso885916", SB_ISO8859_16),
    S("iso885911987", SB_CP1252),
    S("iso88592", SB_ISO8859_2),
    S("iso885921987", SB_ISO8859_2),
    S("iso88593", SB_ISO8859_3),
    S("iso88594", SB_ISO8859_4),
    S("iso88595", SB_ISO8859_5),
    S("iso88596", SB_ISO8859_6),
    S("iso88597", SB_ISO8859_7),
    S("iso88598", SB_ISO8859_8),
    S("iso88598e", SB_ISO8859_8),
    S("iso88598i", SB_ISO8859_8),
    S("iso88599", SB_CP1254),
    S("isolatin1", SB_CP1252),
    {"johab", K_ICONV, I_JOHAB},
    S("koi8", SB_KOI8_R),
    S("koi8r", SB_KOI8_R),
    S("koi8ru", SB_KOI8_U),
    S("koi8u", SB_KOI8_U),
    {"korean", K_ICONV, I_EUCKR},
    {"ksc5601", K_ICONV, I_EUCKR},
    {"ksc56011987", K_ICONV, I_EUCKR},
    {"ksc56011989", K_ICONV, I_EUCKR},
    S("kz1048", SB_KZ1048),
    S("l1", SB_CP1252),
    S("latin1", SB_CP1252),
    S("latin2", SB_ISO8859_2),
    S("latin5", SB_CP1254),
    S("latin9", SB_ISO8859_15),
    S("mac", SB_MAC_ROMAN),
    S("maccyrillic", SB_MAC_CYRILLIC),
    S("macce", SB_MAC_LATIN2),
    S("macgreek", SB_MAC_GREEK),
    S("maciceland", SB_MAC_ICELAND),
    S("macintosh", SB_MAC_ROMAN),
    S("macroman", SB_MAC_ROMAN),
    S("macturkish", SB_MAC_TURKISH),
    {"mskanji", K_ICONV, I_SJIS},
    S("ptcp154", SB_PTCP154),
    {"shiftjis", K_ICONV, I_SJIS},
    {"sjis", K_ICONV, I_SJIS},
    {"tcvn", K_TCVN, 0},
    {"tcvn3", K_TCVN_HIGH, 0},
    {"tcvn5712", K_TCVN, 0},
    {"tcvn57121", K_TCVN, 0},
    {"tcvn571211993", K_TCVN, 0},
    {"tcvn57121993", K_TCVN, 0},
    {"tcvn57122", K_TCVN_HIGH, 0},
    {"tcvn57123", K_TCVN_HIGH, 0},
    S("tis620", SB_CP874),
    {"uft8", K_UTF8, 0},
    {"uhc", K_ICONV, I_EUCKR},
    {"unicode11utf7", K_UTF7, 0},
    {"unicode11utf8", K_UTF8, 0},
    {"unicode20utf7", K_UTF7, 0},
    {"unicode20utf8", K_UTF8, 0},
    {"us", K_GUESS, 0},
    {"usascii", K_GUESS, 0},
    {"utf16", K_UTF16, 0},
    {"utf16be", K_UTF16BE, 0},
    {"utf16le", K_UTF16LE, 0},
    {"utf32", K_UTF32, 0},
    {"utf7", K_UTF7, 0},
    {"utf8", K_UTF8, 0},
    {"utf8mb4", K_UTF8, 0},
    {"vietnamese", K_GUESS, 0},
    {"viettcvn", K_TCVN, 0},
    {"viettcvn3", K_TCVN_HIGH, 0},
    {"viettcvn5712", K_TCVN, 0},
    {"viettcvn57121", K_TCVN, 0},
    {"viettcvn57122", K_TCVN_HIGH, 0},
    {"viettcvn57123", K_TCVN_HIGH, 0},
    {"vietviscii", K_VISCII, 0},
    {"vietvni", K_VNI, 0},
    {"vietvniwin", K_VNI, 0},
    {"viscii", K_VISCII, 0},
    {"viscii11", K_VISCII, 0},
    {"viscii111", K_VISCII, 0},
    {"vn1", K_TCVN, 0},
    {"vn2", K_TCVN_HIGH, 0},
    {"vn3", K_TCVN_HIGH, 0},
    {"vni", K_VNI, 0},
    {"vniwin", K_VNI, 0},
    {"vniwindows", K_VNI, 0},
    S("win1250", SB_CP1250),
    S("win1251", SB_CP1251),
    S("win1252", SB_CP1252),
    S("win1254", SB_CP1254),
    S("win1258", SB_CP1258),
    S("windows1250", SB_CP1250),
    S("windows1251", SB_CP1251),
    S("windows1252", SB_CP1252),
    S("windows1253", SB_CP1253),
    S("windows1254", SB_CP1254),
    S("windows1255", SB_CP1255),
    S("windows1256", SB_CP1256),
    S("windows1257", SB_CP1257),
    S("windows1258", SB_CP1258),
    {"windows31j", K_ICONV, I_SJIS},
    S("windows874", SB_CP874),
    {"windows932", K_ICONV, I_SJIS},
    {"windows936", K_ICONV, I_GB18030},
    {"windows949", K_ICONV, I_EUCKR},
    {"windows950", K_ICONV, I_BIG5},
};
#undef S

/* TCVN 5712:1993 VN1. VN2 and VN3 (TCVN3) share the upper half from 0xa0 and leave the controls alone. */
static const uint16_t tcvn_low[] = {
    0x0, 0xda, 0x1ee4, 0x3, 0x1eea, 0x1eec, 0x1eee, 0x7,    0x8,    0x9,    0xa,  0xb,
    0xc, 0xd,  0xe,    0xf, 0x10,   0x1ee8, 0x1ef0, 0x1ef2, 0x1ef6, 0x1ef8, 0xdd, 0x1ef4,
};
static const uint16_t tcvn_high[] = {
    0xc0,   0x1ea2, 0xc3,   0xc1,   0x1ea0, 0x1eb6, 0x1eac, 0xc8,   0x1eba, 0x1ebc, 0xc9,   0x1eb8, 0x1ec6,
    0xcc,   0x1ec8, 0x128,  0xcd,   0x1eca, 0xd2,   0x1ece, 0xd5,   0xd3,   0x1ecc, 0x1ed8, 0x1edc, 0x1ede,
    0x1ee0, 0x1eda, 0x1ee2, 0xd9,   0x1ee6, 0x168,  0xa0,   0x102,  0xc2,   0xca,   0xd4,   0x1a0,  0x1af,
    0x110,  0x103,  0xe2,   0xea,   0xf4,   0x1a1,  0x1b0,  0x111,  0x1eb0, 0x300,  0x309,  0x303,  0x301,
    0x323,  0xe0,   0x1ea3, 0xe3,   0xe1,   0x1ea1, 0x1eb2, 0x1eb1, 0x1eb3, 0x1eb5, 0x1eaf, 0x1eb4, 0x1eae,
    0x1ea6, 0x1ea8, 0x1eaa, 0x1ea4, 0x1ec0, 0x1eb7, 0x1ea7, 0x1ea9, 0x1eab, 0x1ea5, 0x1ead, 0xe8,   0x1ec2,
    0x1ebb, 0x1ebd, 0xe9,   0x1eb9, 0x1ec1, 0x1ec3, 0x1ec5, 0x1ebf, 0x1ec7, 0xec,   0x1ec9, 0x1ec4, 0x1ebe,
    0x1ed2, 0x129,  0xed,   0x1ecb, 0xf2,   0x1ed4, 0x1ecf, 0xf5,   0xf3,   0x1ecd, 0x1ed3, 0x1ed5, 0x1ed7,
    0x1ed1, 0x1ed9, 0x1edd, 0x1edf, 0x1ee1, 0x1edb, 0x1ee3, 0xf9,   0x1ed6, 0x1ee7, 0x169,  0xfa,   0x1ee5,
    0x1eeb, 0x1eed, 0x1eef, 0x1ee9, 0x1ef1, 0x1ef3, 0x1ef7, 0x1ef9, 0xfd,   0x1ef5, 0x1ed0,
};
static const uint16_t viscii_low[] = {
    0x0,  0x1,  0x1eb2, 0x3,    0x4,  0x1eb4, 0x1eaa, 0x7,  0x8,    0x9,    0xa,
    0xb,  0xc,  0xd,    0xe,    0xf,  0x10,   0x11,   0x12, 0x13,   0x1ef6, 0x15,
    0x16, 0x17, 0x18,   0x1ef8, 0x1a, 0x1b,   0x1c,   0x1d, 0x1ef4, 0x1f,
};
static const uint16_t viscii_high[] = {
    0x1ea0, 0x1eae, 0x1eb0, 0x1eb6, 0x1ea4, 0x1ea6, 0x1ea8, 0x1eac, 0x1ebc, 0x1eb8, 0x1ebe, 0x1ec0, 0x1ec2,
    0x1ec4, 0x1ec6, 0x1ed0, 0x1ed2, 0x1ed4, 0x1ed6, 0x1ed8, 0x1ee2, 0x1eda, 0x1edc, 0x1ede, 0x1eca, 0x1ece,
    0x1ecc, 0x1ec8, 0x1ee6, 0x168,  0x1ee4, 0x1ef2, 0xd5,   0x1eaf, 0x1eb1, 0x1eb7, 0x1ea5, 0x1ea7, 0x1ea9,
    0x1ead, 0x1ebd, 0x1eb9, 0x1ebf, 0x1ec1, 0x1ec3, 0x1ec5, 0x1ec7, 0x1ed1, 0x1ed3, 0x1ed5, 0x1ed7, 0x1ee0,
    0x1a0,  0x1ed9, 0x1edd, 0x1edf, 0x1ecb, 0x1ef0, 0x1ee8, 0x1eea, 0x1eec, 0x1a1,  0x1edb, 0x1af,  0xc0,
    0xc1,   0xc2,   0xc3,   0x1ea2, 0x102,  0x1eb3, 0x1eb5, 0xc8,   0xc9,   0xca,   0x1eba, 0xcc,   0xcd,
    0x128,  0x1ef3, 0x110,  0x1ee9, 0xd2,   0xd3,   0xd4,   0x1ea1, 0x1ef7, 0x1eeb, 0x1eed, 0xd9,   0xda,
    0x1ef9, 0x1ef5, 0xdd,   0x1ee1, 0x1b0,  0xe0,   0xe1,   0xe2,   0xe3,   0x1ea3, 0x103,  0x1eef, 0x1eab,
    0xe8,   0xe9,   0xea,   0x1ebb, 0xec,   0xed,   0x129,  0x1ec9, 0x111,  0x1ef1, 0xf2,   0xf3,   0xf4,
    0xf5,   0x1ecf, 0x1ecd, 0x1ee5, 0xf9,   0xfa,   0x169,  0x1ee7, 0xfd,   0x1ee3, 0x1eee,
};

/* VNI-Win: a letter, then a byte for its mark. The rows are of the lower half (0xe0 to 0xff); capitals
 * stand 0x20 below. letter: the byte is a letter of its own; a, b: what it adds to the vowel before it. */
static const struct vni {
    uint16_t letter, capital, a, b;
} vni_rows[0x20] = {
    [0x00] = {0, 0, 0x302, 0x300},   [0x01] = {0, 0, 0x302, 0x301},   [0x02] = {0, 0, 0x302, 0},
    [0x03] = {0, 0, 0x302, 0x303},   [0x04] = {0, 0, 0x302, 0x323},   [0x05] = {0, 0, 0x302, 0x309},
    [0x06] = {0x1ec9, 0x1ec8, 0, 0}, [0x08] = {0, 0, 0x306, 0x300},   [0x09] = {0, 0, 0x306, 0x301},
    [0x0a] = {0, 0, 0x306, 0},       [0x0b] = {0, 0, 0x306, 0x323},   [0x0c] = {0xec, 0xcc, 0, 0},
    [0x0d] = {0xed, 0xcd, 0, 0},     [0x0e] = {0x1ef5, 0x1ef4, 0, 0}, [0x0f] = {0, 0, 0x323, 0},
    [0x11] = {0x111, 0x110, 0, 0},   [0x12] = {0x1ecb, 0x1eca, 0, 0}, [0x13] = {0x129, 0x128, 0, 0},
    [0x14] = {0x1a1, 0x1a0, 0, 0},   [0x15] = {0, 0, 0x303, 0},       [0x16] = {0x1b0, 0x1af, 0, 0},
    [0x18] = {0, 0, 0x300, 0},       [0x19] = {0, 0, 0x301, 0},       [0x1a] = {0, 0, 0x306, 0x309},
    [0x1b] = {0, 0, 0x309, 0},       [0x1c] = {0, 0, 0x306, 0x303},
};

/* Lower case, letters and digits only. 0 when nothing is left or it is too long. */
static size_t label_key(struct span s, char key[LABEL_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = ascii_lower(s.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
            continue;
        if (n == LABEL_MAX - 1)
            return 0;
        key[n++] = c;
    }
    key[n] = '\0';
    return n;
}

static const struct label utf8_label = {"utf8", K_UTF8, 0};

static const struct label *label_row(const char *key)
{
    /* A linear look at some 200 rows costs under a microsecond, and no order has to be kept. */
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        if (labels[i].key[0] == key[0] && strcmp(labels[i].key, key) == 0)
            return &labels[i];
    return NULL;
}

static const struct label *label_find(struct span s)
{
    char key[LABEL_MAX];
    if (span_caseeq(s, SPAN("utf-8"))) /* what nearly all say */
        return &utf8_label;
    size_t star = span_find(s, '*'); /* a language, RFC 2231 5 */
    if (label_key(span_first(s, star), key) == 0)
        return NULL;
    const struct label *l = label_row(key);
    if (!l && key[0] == 'x')
        l = label_row(key + 1);
    if (!l && strncmp(key, "charset", 7) == 0) /* charset="charset=us-ascii" is in the wild */
        l = label_row(key + 7);
    return l;
}

static iconv_t descriptor(int slot)
{
    if (!iconv_open_ones[slot])
        iconv_open_ones[slot] = iconv_open("UTF-8", iconv_names[slot]);
    return iconv_open_ones[slot];
}

void charset_warm(void)
{
    for (int i = 0; i < I_COUNT; i++)
        if (descriptor(i) == (iconv_t)-1)
            errno = 0; /* such a charset is then treated as unknown */
}

bool charset_known(struct span charset)
{
    const struct label *l = label_find(charset);
    return l && (l->kind != K_ICONV || descriptor(l->which) != (iconv_t)-1);
}

static bool from_single(const uint16_t table[128], struct span in, struct buf *out)
{
    bool ok = true;
    for (size_t i = 0; i < in.n && ok; i++) {
        unsigned char c = (unsigned char)in.p[i];
        ok = c < 0x80 ? buf_add_char(out, in.p[i]) : utf8_put(out, table[c - 0x80]);
    }
    return ok;
}

static bool from_vietnamese(enum kind kind, struct span in, struct buf *out)
{
    const uint16_t *high = kind == K_VISCII ? viscii_high : tcvn_high;
    bool ok = true;
    for (size_t i = 0; i < in.n && ok; i++) {
        unsigned char c = (unsigned char)in.p[i];
        uint32_t cp = c;
        if (c >= 0x80)
            cp = kind == K_TCVN_HIGH && c < 0xa0 ? REPLACEMENT : high[c - 0x80];
        else if (kind == K_VISCII && c < 0x20)
            cp = viscii_low[c];
        else if (kind == K_TCVN && c < 0x18)
            cp = tcvn_low[c];
        ok = utf8_put(out, cp);
    }
    return ok;
}

static bool vni_takes_marks(unsigned char c)
{
    return c && strchr("aeouyAEOUY\xf4\xd4\xf6\xd6", c);
}

static bool from_vni(struct span in, struct buf *out)
{
    bool ok = true;
    unsigned char before = 0;
    for (size_t i = 0; i < in.n && ok; i++) {
        unsigned char c = (unsigned char)in.p[i];
        const struct vni *v = c >= 0xc0 ? &vni_rows[c & 0x1f] : NULL;
        if (v && v->letter)
            ok = utf8_put(out, c >= 0xe0 ? v->letter : v->capital);
        else if (v && v->a && vni_takes_marks(before))
            ok = utf8_put(out, v->a) && (!v->b || utf8_put(out, v->b));
        else
            ok = utf8_put(out, c < 0x80 ? c : single_tables[SB_CP1252][c - 0x80]);
        before = c;
    }
    return ok;
}

static bool from_utf16(bool little, struct span in, struct buf *out)
{
    const unsigned char *p = (const unsigned char *)in.p;
    uint32_t high = 0;
    bool ok = true;
    for (size_t i = 0; i + 1 < in.n && ok; i += 2) {
        uint32_t u = little ? (uint32_t)p[i + 1] << 8 | p[i] : (uint32_t)p[i] << 8 | p[i + 1];
        if (high && u >= 0xdc00 && u <= 0xdfff) {
            ok = utf8_put(out, 0x10000 + ((high - 0xd800) << 10) + (u - 0xdc00));
            high = 0;
            continue;
        }
        if (high)
            ok = utf8_put(out, REPLACEMENT);
        high = u >= 0xd800 && u <= 0xdbff ? u : 0;
        if (!high && ok && !(i == 0 && u == 0xfeff))
            ok = utf8_put(out, u);
    }
    if (ok && (high || in.n % 2))
        ok = utf8_put(out, REPLACEMENT);
    return ok;
}

/* RFC 2781 4.3: a mark decides, else big-endian; but text whose zero bytes stand in odd places is not. */
static bool utf16_is_little(struct span in)
{
    if (in.n >= 2 && (unsigned char)in.p[0] == 0xff && (unsigned char)in.p[1] == 0xfe)
        return true;
    if (in.n >= 2 && (unsigned char)in.p[0] == 0xfe && (unsigned char)in.p[1] == 0xff)
        return false;
    size_t even = 0, odd = 0;
    for (size_t i = 0; i + 1 < in.n && i < 512; i += 2) {
        even += in.p[i] == 0;
        odd += in.p[i + 1] == 0;
    }
    return odd > even;
}

static bool from_utf32(struct span in, struct buf *out)
{
    const unsigned char *p = (const unsigned char *)in.p;
    bool little = in.n >= 4 && p[3] == 0 && (p[0] != 0 || p[1] != 0), ok = true;
    for (size_t i = 0; i + 3 < in.n && ok; i += 4) {
        uint32_t u =
            little ? (uint32_t)p[i + 3] << 24 | (uint32_t)p[i + 2] << 16 | (uint32_t)p[i + 1] << 8 | p[i]
                   : (uint32_t)p[i] << 24 | (uint32_t)p[i + 1] << 16 | (uint32_t)p[i + 2] << 8 | p[i + 3];
        if (!(i == 0 && u == 0xfeff))
            ok = utf8_put(out, u);
    }
    return ok;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 2152. Bytes over 127 have no meaning in it and become U+FFFD. */
static bool from_utf7(struct span in, struct buf *out)
{
    uint32_t bits = 0, high = 0;
    unsigned have = 0;
    bool shifted = false, first = false, ok = true;
    for (size_t i = 0; i < in.n && ok; i++) {
        char c = in.p[i];
        int v = shifted ? base64_value(c) : -1;
        if (shifted && v < 0) {
            if (high)
                ok = utf8_put(out, REPLACEMENT);
            if (first && c == '-')
                ok = buf_add_char(out, '+');
            shifted = false;
            if (c == '-' || !ok)
                continue;
        }
        if (!shifted) {
            if (c == '+') {
                shifted = first = true;
                bits = have = high = 0;
                continue;
            }
            ok = (unsigned char)c < 0x80 ? buf_add_char(out, c) : utf8_put(out, REPLACEMENT);
            continue;
        }
        first = false;
        bits = (bits << 6 | (uint32_t)v) & 0x3fffff;
        have += 6;
        if (have < 16)
            continue;
        have -= 16;
        uint32_t u = bits >> have & 0xffff;
        if (high && u >= 0xdc00 && u <= 0xdfff) {
            ok = utf8_put(out, 0x10000 + ((high - 0xd800) << 10) + (u - 0xdc00));
            high = 0;
        } else if (u >= 0xd800 && u <= 0xdbff) {
            high = u;
        } else {
            ok = utf8_put(out, u);
        }
    }
    return ok;
}

static bool from_iconv(iconv_t cd, struct span in, struct buf *out)
{
    char *p = (char *)(uintptr_t)in.p; /* iconv's prototype; it does not write there */
    size_t left = in.n;
    iconv(cd, NULL, NULL, NULL, NULL);
    while (left) {
        size_t want = left > 65536 ? 65536 : left * 4 + 32;
        char *to = buf_reserve(out, want);
        if (!to)
            return false;
        char *at = to;
        size_t room = want;
        size_t r = iconv(cd, &p, &left, &at, &room);
        int why = errno;
        buf_commit(out, (size_t)(at - to));
        if (r != (size_t)-1 || why == E2BIG)
            continue;
        if (!utf8_put(out, REPLACEMENT))
            return false;
        if (why != EILSEQ || left == 0)
            break; /* an unfinished character at the end */
        p++;
        left--;
    }
    return true;
}

/* The fallback of charset.h: UTF-8 when it is, else windows-1252. */
static bool guess(struct span in, struct buf *out)
{
    return utf8_valid(in) ? buf_add_span(out, in) : from_single(single_tables[SB_CP1252], in, out);
}

static bool convert(const struct label *l, struct span in, struct buf *out)
{
    switch (l ? l->kind : K_GUESS) {
    case K_UTF7:
        return from_utf7(in, out);
    case K_UTF16:
        return from_utf16(utf16_is_little(in), in, out);
    case K_UTF16BE:
    case K_UTF16LE:
        return from_utf16(l->kind == K_UTF16LE, in, out);
    case K_UTF32:
        return from_utf32(in, out);
    case K_SINGLE:
        return from_single(single_tables[l->which], in, out);
    case K_TCVN:
    case K_TCVN_HIGH:
    case K_VISCII:
        return from_vietnamese(l->kind, in, out);
    case K_VNI:
        return from_vni(in, out);
    case K_ICONV:
        return from_iconv(descriptor(l->which), in, out);
    case K_UTF8:
    case K_GUESS:
        break;
    }
    return guess(in, out);
}

/* The row of a charset that can be converted, or NULL. */
static const struct label *label_served(struct span charset)
{
    const struct label *l = label_find(charset);
    return l && l->kind == K_ICONV && descriptor(l->which) == (iconv_t)-1 ? NULL : l;
}

static bool is_utf8(const struct label *l, struct span bytes)
{
    return (l && l->kind == K_UTF8) || ((!l || l->kind == K_GUESS) && utf8_valid(bytes));
}

bool charset_is_utf8(struct span charset, struct span bytes)
{
    return is_utf8(label_served(charset), bytes);
}

enum err_code charset_to_utf8(struct span charset, struct span bytes, struct buf *out)
{
    const struct label *l = label_served(charset);
    enum err_code known = l || charset.n == 0 ? ERR_OK : ERR_MISSING;
    if (is_utf8(l, bytes)) {
        if (bytes.n >= 3 && memcmp(bytes.p, "\xef\xbb\xbf", 3) == 0)
            bytes = span_drop(bytes, 3);
        return utf8_nfc(bytes, out) ? known : ERR_LIMIT;
    }
    struct buf plain;
    buf_init(&plain, bytes.n < SIZE_MAX / 8 ? bytes.n * 6 + 65600 : 0);
    bool ok = convert(l, bytes, &plain);
    ok = utf8_nfc(buf_span(&plain), out) && ok;
    buf_free(&plain);
    return ok ? known : ERR_LIMIT;
}
