/* Recipients that directoryd has named before, for as long as it would name them the same. directoryd keeps a
 * number in a page of memory that it shares with workers and that only it may write; the number rises with
 * each change of what it answers from, before it gives the first answer from there. So an answer that was
 * asked for and had under one number is the answer to every question while the page shows that number. */
#ifndef PROV_DIRECTORY_KNOWN_H
#define PROV_DIRECTORY_KNOWN_H

#include "common/directory/directory.h"
#include <stdatomic.h>

/* -- directoryd's side -- */

struct answers_page {
    _Atomic uint64_t number;
};
/* Make the page. out_fd: to be passed on (a duplicate for each), its holders may only read. NULL: this system
 * cannot (errno says why); workers then ask each time. */
struct answers_page *answers_page_new(int *out_fd);
/* From now on answers may differ. page may be NULL. */
void answers_changed(struct answers_page *page);

/* -- a worker's side -- */

struct known;
struct known *known_new(void);
void known_free(struct known **k);
/* The page of a new connection; takes fd. What was known is forgotten. false: fd is no such page. */
bool known_page(struct known *k, int fd) __attribute__((warn_unused_result));
/* The connection is gone: nothing is known. */
void known_forget(struct known *k);
/* The number now, 0 without a page. */
uint64_t known_number(const struct known *k);
/* Keep the entry of an account that was asked for under `number`, if that is the number still. */
void known_keep(struct known *k, uint64_t number, struct span address, const struct dir_entry *e);
/* True: *out is what directoryd would answer, without the texts (SPAN_NONE). */
bool known_find(const struct known *k, struct span address, struct dir_entry *out);

#endif
