/* Telling the client what the view holds beyond what it knows: flags, expunges, new messages.
 * The hard problem is numbers: each EXPUNGE moves those behind it, so expunges are told from the
 * front, each number lowered by those before it, then flags by the new numbers, then EXISTS. Withheld
 * expunges keep their places (RFC 3501 7.4.1, RFC 9051 7.5.1). Slices, so that 100,000 of them do not hold up
 * the others. */
#include "imapd/imap_int.h"

enum { SLICE = 2000 };
enum { TELL_EXPUNGES, TELL_FLAGS, TELL_EXISTS };

/* True when the slice is used up before the rows are. */
static bool tell_flags(struct imap *s, bool uid)
{
    struct view *v = &s->view;
    for (unsigned said = 0; v->dirty && s->announce.at < v->told; s->announce.at++) {
        struct view_row *r = &v->rows[s->announce.at];
        if (!(r->state & ROW_DIRTY))
            continue;
        if (said++ == SLICE)
            return true;
        r->state &= (uint8_t)~ROW_DIRTY;
        v->dirty--;
        put_fetch_flags(s, s->announce.at, uid);
    }
    return false;
}

static bool tell_expunges(struct imap *s)
{
    struct view *v = &s->view;
    struct imap_announce *a = &s->announce;
    for (unsigned said = 0; a->at < v->count; a->at++) {
        const struct view_row *r = &v->rows[a->at];
        if (!(r->state & ROW_GONE)) {
            v->rows[a->to++] = *r;
            continue;
        }
        if (said++ == SLICE)
            return true;
        putf(s, "* %zu EXPUNGE\r\n", a->at + 1 - a->expunged);
        a->expunged++;
        if (view_is_recent(v, r))
            v->recent_count--;
    }
    v->count = a->to;
    v->told -= a->expunged;
    v->gone = 0;
    return false;
}

static enum run next_stage(struct imap *s)
{
    s->announce.stage++;
    s->announce.at = s->announce.to = 0;
    return RUN_AGAIN;
}

void imap_announce_new(struct imap *s)
{
    struct view *v = &s->view;
    bool more = v->loaded && v->count > v->told;
    if (more) {
        v->told = v->count;
        putf(s, "* %zu EXISTS\r\n", v->told);
    }
    if (more || v->recent_count != v->recent_told)
        putf(s, "* %zu RECENT\r\n", v->recent_count);
    v->recent_told = v->recent_count;
}

static enum run tell_exists(struct imap *s)
{
    imap_announce_new(s);
    s->announce = (struct imap_announce){0};
    return RUN_DONE;
}

enum run imap_announce(struct imap *s, bool expunges)
{
    struct view *v = &s->view;
    switch (s->announce.stage) {
    case TELL_EXPUNGES:
        if (!expunges || !v->gone)
            return next_stage(s);
        return tell_expunges(s) ? RUN_AGAIN : next_stage(s);
    case TELL_FLAGS:
        if (v->keywords_changed) {
            put_select_flags(s);
            put_permanent_flags(s);
            v->keywords_changed = false;
        }
        return tell_flags(s, s->cmd.uid) ? RUN_AGAIN : next_stage(s);
    default:
        return tell_exists(s);
    }
}
