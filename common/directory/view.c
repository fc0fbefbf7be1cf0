/* What one reading left, made ready to be asked: built from the copy on any thread, then only read by the
 * loop. */
#include "common/directory/server.h"
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

/* Keys from the directory, or cleartext that they can be made from. */
static bool has_scram(const struct people_entry *e)
{
    bool has = e->scram_count > 0;
    for (size_t i = 0; i < e->password_count && !has; i++) {
        struct span p = e->passwords[i];
        has = p.n && (p.p[0] != '{' || span_casestarts(p, SPAN("{CLEARTEXT}")));
    }
    return has;
}

static void count(struct view *v)
{
    for (size_t i = 0; i < people_count(v->people); i++) {
        const struct people_entry *e = people_at(v->people, i);
        v->groups += e->kind == PEOPLE_GROUP;
        v->accounts += e->kind != PEOPLE_GROUP;
        v->any_scram = v->any_scram || (e->kind != PEOPLE_GROUP && has_scram(e));
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

void view_free(struct view **v)
{
    if (!*v)
        return;
    book_free(&(*v)->book);
    people_free(&(*v)->people);
    free(*v);
    *v = NULL;
}
