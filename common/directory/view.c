/* What one reading left, made ready to be asked: built from the copy on any thread, then only read by the
 * loop. */
#include "common/directory/password.h"
#include "common/directory/server.h"
#include <stdio.h>
#include <stdlib.h>

static const size_t VIEW_LIMIT = (size_t)2 << 30;

struct building {
    struct view *v;
    enum err_code code;
};

static bool on_entry(void *arg, const struct ldif_record *r, const struct uuid *id)
{
    struct building *b = arg;
    b->code = people_add(b->v->people, r, id);
    return b->code == ERR_OK;
}

/* Keys of the directory. */
static bool count_keys(struct login_census *c, struct span value, bool has[SCRAM_HASHES])
{
    struct scram_keys k;
    if (!scram_parse(value, &k))
        return false;
    has[k.hash] = true;
    c->iterations[k.hash] = k.iterations;
    c->salt_n[k.hash] = k.salt_n;
    return true;
}

static void count_person(struct login_census *c, const struct people_entry *e)
{
    bool has[SCRAM_HASHES] = {false}, readable = false;
    struct span clear;
    for (size_t i = 0; i < e->scram_count; i++)
        (void)count_keys(c, e->scram[i], has);
    for (size_t i = 0; i < e->password_count; i++) {
        struct span p = e->passwords[i];
        if (password_readable(p, &clear))
            readable = true;
        else if (!count_keys(c, p, has) && p.n < sizeof c->sample)
            snprintf(c->sample, sizeof c->sample, "%.*s", SPAN_ARG(p));
    }
    c->accounts++;
    c->able += e->password_count || e->scram_count;
    c->readable = c->readable || readable;
    for (int h = 0; h < SCRAM_HASHES; h++)
        c->keyed[h] += has[h] || readable;
}

static void count(struct view *v)
{
    for (size_t i = 0; i < people_count(v->people); i++) {
        const struct people_entry *e = people_at(v->people, i);
        v->groups += e->kind == PEOPLE_GROUP;
        v->accounts += e->kind != PEOPLE_GROUP;
        if (e->kind == PEOPLE_PERSON && !e->no_login)
            count_person(&v->census, e);
    }
    v->units = units_count(people_units(v->people));
}

enum err_code view_new(struct copy *c, struct view **out, struct err *why)
{
    struct building b = {.v = xcalloc(1, sizeof *b.v), .code = ERR_OK};
    b.v->people = people_new(VIEW_LIMIT);
    enum err_code code = copy_read(c, on_entry, &b, why);
    if (code == ERR_STATE)
        code = err_set(why, b.code, NULL, "the directory does not fit into memory");
    if (code != ERR_OK) {
        view_free(&b.v);
        return code;
    }
    b.v->claims = people_seal(b.v->people);
    b.v->book = book_new(b.v->people);
    count(b.v);
    *out = b.v;
    return ERR_OK;
}

void roll_free(struct roll *k)
{
    buf_free(&k->ids);
    free(k->v);
    k->v = NULL;
    k->n = 0;
}

void view_free(struct view **v)
{
    if (!*v)
        return;
    roll_free(&(*v)->roll);
    book_free(&(*v)->book);
    people_free(&(*v)->people);
    free(*v);
    *v = NULL;
}
