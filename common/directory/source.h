/* Where people are managed: an LDIF file or an LDAP server. All calls block and are made from helper threads,
 * never from the loop; read and bind may run at the same time, bind in several threads. */
#ifndef PROV_DIRECTORY_SOURCE_H
#define PROV_DIRECTORY_SOURCE_H

#include "common/base/conf.h"
#include "common/base/ids.h"
#include "common/directory/ldif.h"

struct source;

/* One entry. id: its entryUUID (objectGUID), or NULL when the source gives none (the copy then keeps one by
 * DN). False ends the reading with ERR_STATE. */
typedef bool source_record_cb(void *arg, const struct ldif_record *record, const struct uuid *id);

CHECK_RESULT enum err_code source_ldif_new(const struct conf *c, struct source **out, struct err *why);
CHECK_RESULT enum err_code source_ldap_new(const struct conf *c, struct source **out, struct err *why);
void source_free(struct source **s);

/* Every person, shared mailbox, group and unit, in the source's order. ERR_OK: the reading is complete.
 * ERR_RETRY: the source cannot be reached or broke off; ERR_SYNTAX, ERR_DENIED: it answers, but not usably.
 * why says it for the operator. */
CHECK_RESULT enum err_code source_read(struct source *s, source_record_cb *cb, void *arg, struct err *why);

/* Can passwords be checked there? (LDAP: by bind.) */
bool source_binds(const struct source *s);
/* Is this the entry's password? ERR_OK, ERR_DENIED (wrong, expired or locked: why tells), ERR_RETRY (cannot
 * be asked). An empty password is never sent: it would bind anonymously (RFC 4513 5.1.2). */
CHECK_RESULT enum err_code source_bind(struct source *s, struct span dn, struct span password,
                                       struct err *why);

#endif
