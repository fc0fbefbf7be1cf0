/* The calls of every source, handed on to the one that was opened. The one rule that is kept here for all: an
 * empty password never leaves, because a server would take it for an anonymous bind (RFC 4513 5.1.2). */
#include "common/directory/source_int.h"

void source_free(struct source **s)
{
    if (*s)
        (*s)->ops->free(*s);
    *s = NULL;
}

enum err_code source_read(struct source *s, source_record_cb *cb, void *arg, struct err *why)
{
    return s->ops->read(s, cb, arg, why);
}

bool source_binds(const struct source *s)
{
    return s->ops->bind != NULL;
}

enum err_code source_bind(struct source *s, struct span dn, struct span password, struct err *why)
{
    if (!s->ops->bind)
        return err_set(why, ERR_STATE, NULL, "the source checks no passwords");
    if (password.n == 0)
        return err_set(why, ERR_DENIED, NULL, "empty password");
    return s->ops->bind(s, dn, password, why);
}
