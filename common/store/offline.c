/* stored --verify: a verification of a store that nobody runs, for when stored cannot or shall not start. The
 * store is opened as a start opens it, under the same lock (recovery is what makes its files agree, and what
 * was under way is finished first); then all steps are run one after the other, and the store is closed. What
 * it finds goes to standard output in mailadm's form. */
#include "common/store/server.h"
#include <stdio.h>
#include <unistd.h>

enum { STATUS_FINDINGS = 1, STATUS_BROKEN = 70 /* EX_SOFTWARE */ };

struct offline {
    struct offline_options o;
    bool first;
    uint64_t bytes, bare;
    struct wire_verify_said said;
};

static void put_json(struct span s)
{
    putchar('"');
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < ' ')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void tell(struct offline *f, struct span text, bool repaired)
{
    if (f->o.json) {
        fputs(f->first ? "{\"finding\": " : ", {\"finding\": ", stdout);
        put_json(text);
        printf(", \"repaired\": %s}", repaired ? "true" : "false");
    } else {
        printf("%s%.*s\n", repaired ? "repaired  " : "found     ", SPAN_ARG(text));
    }
    f->first = false;
}

static void tell_bare(struct offline *f, const struct store_bare *b)
{
    char account[UUID_TEXT], text[300];
    uuid_format(&b->account, account);
    int n = snprintf(text, sizeof text,
                     "content %llu: its record lacks what the parser says (account %s mailbox %llu uid %u)",
                     (unsigned long long)b->content, account, (unsigned long long)b->mailbox, b->uid);
    tell(f, span_of(text, (size_t)n), false);
    f->bare++;
}

static bool take_step(struct offline *f, const struct query *q)
{
    struct wire_in in = {q->answer.n ? buf_span(&q->answer.v[0]) : SPAN_NONE, false};
    wire_get(&in, &f->said, sizeof f->said);
    for (uint32_t i = 0; i < f->said.count && !in.bad; i++) {
        const bool repaired = wire_u32(&in) != 0;
        const struct span text = wire_text(&in);
        if (!in.bad)
            tell(f, text, repaired);
    }
    for (uint32_t i = 0; i < f->said.bare && !in.bad; i++) {
        struct store_bare b;
        if (wire_get(&in, &b, sizeof b))
            tell_bare(f, &b);
    }
    f->bytes += f->said.bytes;
    return wire_whole(&in);
}

static bool run_steps(struct engine *e, struct offline *f)
{
    bool ok = true;
    f->said.phases = 1;
    for (bool start = true; ok && f->said.phase < f->said.phases; start = false) {
        const struct wire_verify w = {start, f->o.deep, f->o.repair, 0};
        struct query q = {.type = WIRE_VERIFY, .body = span_of(&w, sizeof w)};
        ok = engine_query(e, &q) == ERR_OK && take_step(f, &q);
        parts_free(&q.answer);
    }
    return ok;
}

int offline_verify(struct engine *e, const struct offline_options *o)
{
    struct offline f = {.o = *o, .first = true};
    if (o->json)
        fputs("{\"findings\": [", stdout);
    const bool ok = run_steps(e, &f);
    const unsigned long long found = f.said.found + f.bare, fixed = f.said.fixed;
    if (o->json)
        printf(
            "], \"records\": %llu, \"bytes\": %llu, \"found\": %llu, \"repaired\": %llu, \"complete\": %s}\n",
            (unsigned long long)f.said.done, (unsigned long long)f.bytes, found, fixed,
            ok ? "true" : "false");
    else if (ok)
        printf("%llu records, %llu bytes of contents: %llu findings, %llu repaired\n",
               (unsigned long long)f.said.done, (unsigned long long)f.bytes, found, fixed);
    if (fflush(stdout) != 0 || !ok) {
        dprintf(STDERR_FILENO, "stored: the verification did not come to its end\n");
        return STATUS_BROKEN;
    }
    return found > fixed ? STATUS_FINDINGS : 0;
}
