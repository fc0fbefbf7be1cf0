/* The table of words and the choice of the language. */
#include "webmail-cgi/text.h"
#include <assert.h>
#include <stdlib.h>

static const char *const words[T_COUNT][2] = {
#define TXT(name, vi, en) {vi, en},
#include "webmail-cgi/text.def"
#undef TXT
};

const char *text(enum lang l, enum text_id id)
{
    assert((unsigned)id < T_COUNT);
    return words[id][l];
}

const char *lang_code(enum lang l)
{
    return l == LANG_EN ? "en" : "vi";
}

bool lang_named(struct span code, enum lang *out)
{
    if (!span_caseeq(code, SPAN("vi")) && !span_caseeq(code, SPAN("en")))
        return false;
    *out = ascii_lower(code.p[0]) == 'e' ? LANG_EN : LANG_VI;
    return true;
}

/* The weight of ";q=0.8" in thousandths. */
static unsigned weight(struct span param)
{
    size_t at = span_search(param, SPAN("q="));
    if (at == param.n)
        return 1000;
    struct span v = span_trim(span_drop(param, at + 2));
    unsigned w = v.n && v.p[0] == '1' ? 1000 : 0, unit = 100;
    for (size_t i = 2; i < v.n && unit; i++, unit /= 10)
        if (v.p[i] >= '0' && v.p[i] <= '9')
            w += (unsigned)(v.p[i] - '0') * unit;
    return w;
}

enum lang lang_accept(struct span accept, enum lang fallback)
{
    enum lang best = fallback;
    unsigned best_weight = 0;
    for (unsigned count = 0; accept.p && count < 20; count++) {
        struct span item = span_cut(&accept, ',');
        struct span name = span_trim(span_cut(&item, ';'));
        struct span tag = span_cut(&name, '-');
        enum lang l;
        unsigned w = weight(item);
        if (w > best_weight && lang_named(tag, &l)) {
            best = l;
            best_weight = w;
        }
    }
    return best;
}
