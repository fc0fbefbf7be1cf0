/* Import from an IMAP server: what its two files share, the messages of a mailbox (import_imap.c) and which
 * mailboxes there are (import_imap_boxes.c). */
#ifndef PROV_MAILADM_IMPORT_IMAP_H
#define PROV_MAILADM_IMPORT_IMAP_H

#include "mailadm/imap_client.h"
#include "mailadm/import.h"

struct imap_run {
    struct target *target;
    struct import_notes *notes;
    struct import_report *report;
    const struct import_account *account;
    const char *login; /* there */
    const char *only;  /* this mailbox, by the name that it gets here; NULL: all */
    bool dry_run, shared;
    bool incomplete; /* something could not be looked at: nothing may be taken away for missing */
    struct imap_client *client;
};

enum { IMAP_KEYWORDS = 64 };
struct imap_item {
    uint32_t uid, flags;
    uint64_t keywords, size; /* bits of the box's names */
    int64_t internal_s;
    int16_t zone_min;
    bool has_date, wanted;
};
struct imap_box {
    char *raw, *name; /* as the server names it; in UTF-8 with "/" and without the prefix of the namespace */
    char *ours;       /* where it goes to */
    enum store_use use;
    bool subscribed, foreign; /* foreign: of another person, or of all */
    uint32_t exists, uidvalidity;
    struct imap_item *v; /* ascending by UID */
    size_t n, room;
    char *keywords[IMAP_KEYWORDS];
    size_t keyword_count;
    bool keywords_lost;
};

/* Every mailbox of the login. ERR_OK, ERR_DENIED, ERR_RETRY: reported. */
CHECK_RESULT enum err_code imap_take_boxes(struct imap_run *x);
/* Bring its messages. ERR_OK: also when it was refused as a whole; ERR_RETRY: the connection is lost. */
CHECK_RESULT enum err_code imap_take_box(struct imap_run *x, struct imap_box *b);
/* By MYRIGHTS: *foreign when the login lacks the right to administer it. A refusal says nothing. ERR_RETRY.
 */
CHECK_RESULT enum err_code imap_whose(struct imap_run *x, const struct imap_box *b, bool *foreign);
void imap_note_rights(struct imap_run *x, const struct imap_box *b);

#endif
