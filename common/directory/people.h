/* The directory in memory: accounts, shared mailboxes and groups, found by address or id, groups expanded.
 * Filled record by record, sealed once, then only read (by one thread). */
#ifndef PROV_DIRECTORY_PEOPLE_H
#define PROV_DIRECTORY_PEOPLE_H

#include "common/base/ids.h"
#include "common/directory/ldif.h"
#include "common/directory/units.h"

struct people;

enum people_kind { PEOPLE_PERSON, PEOPLE_SHARED, PEOPLE_GROUP };
struct people_entry {
    enum people_kind kind;
    struct uuid id;
    /* dn: as the source writes it; address: primary, lower case; "" parts have n 0 */
    struct span dn, uid, address, name, forward;
    uint64_t quota_bytes, quota_messages; /* 0: the configuration's */
    bool disabled;                        /* mailAccountStatus disabled or deleted: takes no mail */
    bool no_login;                        /* any status but active */
    bool dated;                           /* says when its password changed (pwdChangedTime, pwdLastSet) */
    bool restricted;                      /* group: only mailSendAsMember may post */
    struct span title, unit_code;
    const struct unit *unit; /* set by people_seal, or NULL */
    /* userPassword and authPassword values. */
    const struct span *passwords, *scram;
    size_t password_count, scram_count;
};

struct people *people_new(size_t limit_bytes);
void people_free(struct people **p);
/* Is the record a person, a shared mailbox or a group that has a mail address? */
bool people_wants(const struct ldif_record *r, enum people_kind *kind);
/* Add one record; its bytes are copied. Units make the tree; other records without a mail address are passed
 * over.
 * id  the entry's lasting identity. ERR_OK; ERR_LIMIT: the memory is used up. */
CHECK_RESULT enum err_code people_add(struct people *p, const struct ldif_record *r, const struct uuid *id);
/* Build the indexes. An address that several entries claim belongs to the first whose primary address it is,
 * else to the first added, never to two; the answer is how many claims were passed over. */
size_t people_seal(struct people *p);
/* By primary or further address, letters compared without case; NULL: absent. */
const struct people_entry *people_find(const struct people *p, struct span address);
const struct people_entry *people_by_id(const struct people *p, const struct uuid *id);
/* All of them, in no order. */
size_t people_count(const struct people *p);
const struct people_entry *people_at(const struct people *p, size_t i);
const struct units *people_units(const struct people *p);
/* The form in which DNs are compared (dn.h). p is NULL when the arena is full. */
struct span people_dn(struct arena *a, struct span dn);
/* By uid, primary or further address: who logs in? NULL also for groups. */
const struct people_entry *people_login(const struct people *p, struct span name);
/* The distinct accounts behind an entry, disabled ones left out, nested groups expanded, cycles cut,
 * ascending by id. v holds max; the answer is how many there are, which may be more than max (the lowest ids
 * are in v). */
size_t people_members(struct people *p, const struct people_entry *of, const struct people_entry **v,
                      size_t max);
/* How many accounts people_members would give in all; kept after the first call. */
size_t people_member_count(struct people *p, const struct people_entry *of);
/* The groups that an entry is in, itself or through other groups, in no order: at most max. */
size_t people_groups(struct people *p, const struct people_entry *of, const struct people_entry **v,
                     size_t max);
/* Is account named by mailSendAsMember of entry, itself or through a group? An account is its own. */
bool people_may_send(struct people *p, const struct people_entry *account, const struct people_entry *as);

#endif
