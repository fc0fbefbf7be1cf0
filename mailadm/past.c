/* How an account was, read into memory, and rows brought back in slices. The hard point is the length of it
 * all: a mailbox may hold a million messages, so that questions wait as long as answers keep coming, and
 * several slices are under way at a time. */
#include "mailadm/past.h"
#include "common/base/clock.h"
#include "mailadm/when.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

enum { WINDOW = 8, TICK_MS = 200, LINE_MS = 10000 };

int past_time(const char *text, int64_t *us)
{
    if (when_parse(text, clock_wall_us(), us))
        return EX_OK;
    fprintf(stderr,
            "mailadm: \"%s\" is not a time; say 2026-11-27T20:15:00+07:00, \"2026-11-27 20:15\" (local), "
            "\"2 hours ago\" or 30m\n",
            text);
    return EX_USAGE;
}

static int too_old(const char *subject, int64_t oldest_us)
{
    char at[ADM_TIME];
    adm_time(oldest_us, at);
    fprintf(stderr, "mailadm: %s: history does not reach back that far; the oldest instant is %s\n", subject,
            at);
    return EX_DATAERR;
}

static char *text_of(struct span s)
{
    char *p = xcalloc(s.n + 1, 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

/* -- names -- */

static void on_names(void *session, enum err_code code, int64_t oldest_us, const struct store_past_name *v,
                     size_t count)
{
    struct ask *k = session;
    struct past_names *out = k->arg;
    out->oldest_us = oldest_us;
    out->v = xcalloc(count + 1, sizeof *out->v);
    for (; out->n < count; out->n++) {
        const struct store_past_name *p = &v[out->n];
        out->v[out->n] = (struct past_name){.then = text_of(p->then),
                                            .now = text_of(p->now),
                                            .mailbox = p->mailbox,
                                            .deleted_us = p->deleted_us,
                                            .bytes = p->bytes,
                                            .messages = p->messages,
                                            .use = p->use,
                                            .subscribed = p->subscribed};
    }
    ask_end(k, code);
}

int past_names_get(struct ask *k, const struct uuid *account, int64_t at_us, bool deleted,
                   const char *subject, struct past_names *out)
{
    *out = (struct past_names){NULL, 0, 0};
    k->arg = out;
    store_admin_past_names(k->store, account, at_us, deleted, k->ticket, on_names);
    enum err_code code = ask_wait(k, ASK_LONG_MS);
    return code == ERR_LIMIT ? too_old(subject, out->oldest_us) : ask_status(code, subject);
}

void past_names_free(struct past_names *n)
{
    for (size_t i = 0; i < n->n; i++) {
        free(n->v[i].then);
        free(n->v[i].now);
    }
    free(n->v);
    *n = (struct past_names){NULL, 0, 0};
}

const struct past_name *past_names_find(const struct past_names *n, const char *then)
{
    bool inbox = span_caseeq(span_str(then), SPAN("INBOX"));
    for (size_t i = 0; i < n->n; i++)
        if (n->v[i].mailbox && strcmp(n->v[i].then, inbox ? "INBOX" : then) == 0)
            return &n->v[i];
    return NULL;
}

/* -- views -- */

static void on_view(void *session, enum err_code code, const struct store_view *view)
{
    struct ask *k = session;
    struct past_view *out = k->arg;
    out->oldest_us = view->oldest_us;
    out->uidnext = view->uidnext;
    for (size_t i = 0; code == ERR_OK && view->box && i < 64 && view->box->keywords[i]; i++)
        out->keywords[i] = xstrdup(view->box->keywords[i]);
    if (out->n + view->count > out->cap) {
        out->cap = out->cap * 2 + view->count;
        out->v = xrealloc(out->v, out->cap * sizeof *out->v);
    }
    if (view->count)
        memcpy(out->v + out->n, view->v, view->count * sizeof *out->v);
    out->n += view->count;
    loop_timer_start(k->timer, ASK_LONG_MS);
    if (code != ERR_OK || !view->more)
        ask_end(k, code);
}

int past_view_get(struct ask *k, const struct uuid *account, uint64_t mailbox, int64_t at_us, bool gone,
                  const char *subject, struct past_view *out)
{
    *out = (struct past_view){.mailbox = mailbox};
    k->arg = out;
    store_admin_view(k->store, account, mailbox, at_us, gone, k->ticket, on_view);
    enum err_code code = ask_wait(k, ASK_LONG_MS);
    return code == ERR_LIMIT ? too_old(subject, out->oldest_us) : ask_status(code, subject);
}

void past_view_free(struct past_view *v)
{
    for (size_t i = 0; v->keywords[i]; i++)
        free(v->keywords[i]);
    free(v->v);
    *v = (struct past_view){.mailbox = 0};
}

uint64_t past_keywords(const struct past_view *from, const struct past_view *to, uint64_t bits, bool *whole)
{
    uint64_t out = 0;
    *whole = true;
    for (size_t i = 0; i < 64 && bits >> i && from->keywords[i]; i++) {
        size_t at = 0;
        if (!(bits >> i & 1))
            continue;
        while (to->keywords[at] && !span_caseeq(span_str(to->keywords[at]), span_str(from->keywords[i])))
            at++;
        if (to->keywords[at])
            out |= (uint64_t)1 << at;
        else
            *whole = false;
    }
    return out;
}

/* -- folders -- */

static void on_folder(void *session, enum err_code code, const struct store_mailbox *box)
{
    struct ask *k = session;
    if (code == ERR_OK)
        *(uint64_t *)k->arg = box->id;
    ask_end(k, code);
}

enum err_code past_folder(struct ask *k, const struct store_folder *f, uint64_t *mailbox)
{
    k->arg = mailbox;
    store_admin_folder(k->store, f, k->ticket, on_folder);
    return ask_wait(k, ASK_LONG_MS);
}

int past_revived(enum err_code code, const char *name)
{
    if (code != ERR_LIMIT)
        return ask_status(code, name);
    fprintf(stderr, "mailadm: %s: the account is over its quota (--over-quota brings it back all the same)\n",
            name);
    return EX_DATAERR;
}

/* -- rows -- */

void rows_add(struct rows *r, const struct store_row *row)
{
    if (r->n == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 256;
        r->v = xrealloc(r->v, r->cap * sizeof *r->v);
    }
    r->v[r->n++] = *row;
    r->bytes += row->size;
}

void rows_free(struct rows *r)
{
    free(r->v);
    *r = (struct rows){NULL, 0, 0, 0};
}

void progress_start(struct progress *p, uint64_t total)
{
    *p = (struct progress){.total = total, .begin_ms = clock_mono_ms()};
}

void progress_add(struct progress *p, uint64_t n)
{
    const uint64_t now = clock_mono_ms(), took = now - p->begin_ms;
    const bool terminal = isatty(STDERR_FILENO);
    p->done += n;
    if (now - (p->told_ms ? p->told_ms : p->begin_ms) < (terminal ? TICK_MS : LINE_MS))
        return;
    p->told_ms = now;
    const uint64_t rate = took ? p->done * 1000 / took : 0;
    const uint64_t left = rate && p->total > p->done ? (p->total - p->done) / rate : 0;
    const unsigned shift = p->bytes ? 20 : 0;
    fprintf(stderr, "%s%" PRIu64 " of %" PRIu64 "%s, %" PRIu64 "%s a second, %" PRIu64 " s left%s",
            terminal ? "\r" : "", p->done >> shift, p->total >> shift, p->bytes ? " MiB" : "", rate >> shift,
            p->bytes ? " MiB" : "", left, terminal ? "\033[K" : "\n");
}

void progress_end(struct progress *p)
{
    if (p->told_ms && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

struct sender {
    struct ask *k;
    struct store_restore r;
    const struct rows *rows;
    struct progress *p;
    size_t at;
    unsigned out;
    enum err_code code;
    uint64_t *done, *missing;
};

static void on_restored(void *session, enum err_code code, uint32_t done, uint32_t missing);

static void pump(struct sender *s)
{
    while (s->out < WINDOW && s->at < s->rows->n && s->code == ERR_OK) {
        size_t left = s->rows->n - s->at;
        s->r.rows = s->rows->v + s->at;
        s->r.count = left < STORE_RESTORE_SLICE ? left : STORE_RESTORE_SLICE;
        s->at += s->r.count;
        s->out++;
        store_admin_restore(s->k->store, &s->r, s->k->ticket, on_restored);
    }
    if (!s->out)
        ask_end(s->k, s->code);
}

static void on_restored(void *session, enum err_code code, uint32_t done, uint32_t missing)
{
    struct ask *k = session;
    struct sender *s = k->arg;
    s->out--;
    if (code != ERR_OK && s->code == ERR_OK)
        s->code = code;
    *s->done += done;
    *s->missing += missing;
    progress_add(s->p, done + missing);
    loop_timer_start(k->timer, ASK_LONG_MS);
    pump(s);
}

enum err_code past_send(struct ask *k, const struct store_restore *r, const struct rows *rows,
                        struct progress *p, uint64_t *done, uint64_t *missing)
{
    struct sender s = {.k = k, .r = *r, .rows = rows, .p = p, .done = done, .missing = missing};
    if (!rows->n)
        return ERR_OK;
    k->arg = &s;
    pump(&s);
    return ask_wait(k, ASK_LONG_MS);
}
