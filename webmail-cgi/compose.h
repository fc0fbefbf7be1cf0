/* A message being written: what its form holds, how it begins, how it is kept and sent. */
#ifndef PROV_WEB_COMPOSE_H
#define PROV_WEB_COMPOSE_H

#include "webmail-cgi/web.h"
#include "webmail-cgi/write.h"

struct compose {
    struct span to, cc, bcc, subject, body, in_reply_to, references;
    /* where attached files already lie: a message of the mailbox; draft: it is an earlier state of this one
     */
    struct span source_folder;
    uint32_t source_validity, source_uid;
    bool source_is_draft;
    struct span keep[WEB_FILES_LIMIT]; /* sections of source that stay attached */
    size_t keep_count;
    bool keep_all; /* a fresh form: every file of the source is ticked */
    /* the message that this one answers or forwards, to be marked */
    struct span answered_folder;
    uint32_t answered_validity, answered_uid;
    bool is_forward;
    /* above the form */
    int error; /* enum text_id, or -1 */
    struct span error_a, error_b;
    struct user_entry *people; /* found, to choose from */
    size_t people_count;
    bool people_asked;
};

/* -- compose_start.c -- */
/* A new message by the query: re=reply, all, fwd, draft with f, v, u; or to=, subject=. */
CHECK_RESULT enum err_code compose_start(struct web *w, struct compose *c);
/* The fields of the form that was sent. */
void compose_read(struct web *w, struct compose *c);
/* -- compose_send.c -- */
/* The whole message; uploads and kept files included. */
CHECK_RESULT enum err_code compose_build(struct web *w, const struct compose *c, bool keep_bcc,
                                         struct span message_id, struct buf *out);
/* APPEND to a folder of that use (T_DRAFTS, T_SENT); *uid, *validity by APPENDUID, 0 when not told. */
CHECK_RESULT enum err_code compose_append(struct web *w, int use, struct span message, const char *flags,
                                          struct span *folder, uint32_t *uid, uint32_t *validity);
CHECK_RESULT enum err_code compose_save(struct web *w, struct compose *c);
/* Send, file the copy, mark the answered message, drop the draft. ERR_OK: sent; *copy_kept tells about the
 * copy. ERR_STATE: c->error says why not (or why it is not known). */
CHECK_RESULT enum err_code compose_send(struct web *w, struct compose *c, bool *copy_kept);
CHECK_RESULT enum err_code compose_discard(struct web *w, const struct compose *c);

#endif
