/* From a command's set to messages: "*" and "$" fixed against the view, numbers checked, UIDs listed.
 * The one hard point: a message that another session expunged still has its number (view.h), but no UID that
 * the store would know. */
#include "imapd/imap_int.h"
#include <stdlib.h>

static bool use_saved(struct imap *s, struct seqset *set)
{
    set->v = arena_array(s->arena, s->saved_count + 1, sizeof *set->v);
    if (!set->v)
        return false;
    set->n = s->saved_count;
    for (size_t i = 0; i < set->n; i++)
        set->v[i] = (struct range){s->saved[i], s->saved[i]};
    seqset_fix(set, 0);
    return true;
}

bool imap_set_fix(struct imap *s, struct seqset *set, bool uid)
{
    if (set->saved)
        return use_saved(s, set);
    uint32_t max = view_max(&s->view, uid);
    if (!uid && (set->highest > max || !max))
        return false; /* RFC 9051 9, seq-number */
    seqset_fix(set, max);
    return true;
}

bool imap_set_uids(struct imap *s, struct seqset *set, uint32_t **out, size_t *out_count, bool *gone)
{
    struct view_walk w = {0};
    bool uid = s->cmd.uid || set->saved;
    size_t i, n = 0;
    *gone = false;
    while (view_next(&s->view, set, uid, &w, &i))
        n++;
    *out = arena_array(s->arena, n + 1, sizeof **out);
    if (!*out)
        return false;
    w = (struct view_walk){0};
    n = 0;
    while (view_next(&s->view, set, uid, &w, &i)) {
        if (s->view.rows[i].state & ROW_GONE)
            *gone = true;
        else
            (*out)[n++] = s->view.rows[i].uid;
    }
    *out_count = n;
    return true;
}

void imap_save_result(struct imap *s, const uint32_t *uids, size_t count)
{
    free(s->saved);
    s->saved = NULL;
    s->saved_count = count;
    if (count) {
        s->saved = xmalloc(count * sizeof *s->saved);
        memcpy(s->saved, uids, count * sizeof *s->saved);
    }
}
