/* A stand-in for the client of directoryd's user socket: three people, one password, tokens that say who. For
 * tests of the pages without a directory. */
#include "common/directory/user.h"
#include "common/base/buf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct user_link {
    int none;
};
static const struct {
    const char *address, *name, *unit;
} people[] = {{"an@gialai.example", "Nguyễn Văn An", "Văn phòng UBND tỉnh"},
              {"binh@gialai.example", "Trần Thị Bình", "Sở Nội vụ"},
              {"chi@gialai.example", "Lê Thị Chi", "Sở Tài chính"}};
enum { PEOPLE = sizeof people / sizeof *people };

enum err_code user_connect(const char *socket_path, struct user_link **out, struct err *why)
{
    (void)socket_path;
    (void)why;
    *out = xcalloc(1, sizeof **out);
    return ERR_OK;
}

void user_close(struct user_link **u)
{
    free(*u);
    *u = NULL;
}

static enum err_code session(size_t i, struct user_session *out)
{
    snprintf(out->token, sizeof out->token, "alone-%zu", i);
    out->address = span_str(people[i].address);
    out->name = span_str(people[i].name);
    return ERR_OK;
}

enum err_code user_login(struct user_link *u, struct span name, struct span password, struct span peer,
                         struct span agent, struct arena *a, struct user_session *out)
{
    (void)u, (void)peer, (void)agent, (void)a;
    for (size_t i = 0; i < PEOPLE; i++)
        if (span_caseeq(name, span_str(people[i].address)) && span_eq(password, SPAN("thu-dien-tu")))
            return session(i, out);
    return ERR_DENIED;
}

enum err_code user_resume(struct user_link *u, struct span token, struct arena *a, struct user_session *out)
{
    (void)u, (void)a;
    if (token.n != 7 || !span_starts(token, SPAN("alone-")) || token.p[6] < '0' || token.p[6] >= '0' + PEOPLE)
        return ERR_DENIED;
    return session((size_t)(token.p[6] - '0'), out);
}

enum err_code user_logout(struct user_link *u, struct span token)
{
    (void)u, (void)token;
    return ERR_OK;
}

enum err_code user_search(struct user_link *u, struct span token, struct span query, size_t max,
                          struct arena *a, struct user_entry **out, size_t *out_count)
{
    (void)u, (void)token;
    *out = arena_array(a, PEOPLE, sizeof **out);
    *out_count = 0;
    for (size_t i = 0; *out && i < PEOPLE && *out_count < max; i++)
        if (span_search(span_str(people[i].address), query) < strlen(people[i].address) ||
            span_search(span_str(people[i].name), query) < strlen(people[i].name))
            (*out)[(*out_count)++] = (struct user_entry){.name = span_str(people[i].name),
                                                         .address = span_str(people[i].address),
                                                         .unit = span_str(people[i].unit),
                                                         .title = SPAN("")};
    return *out ? ERR_OK : ERR_LIMIT;
}
