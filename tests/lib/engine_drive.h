/* The engine without sockets, for unit tests and for the maker of small stores: open it in a folder, submit a
 * request and wait, ask a query. Packed bytes are the text itself: the engine does not look inside frames. */
#ifndef PROV_TESTS_ENGINE_DRIVE_H
#define PROV_TESTS_ENGINE_DRIVE_H

#include "common/store/engine_int.h"

enum { DRIVE_DIR = 256 };
/* Make a temporary folder, name and a random end; false: it cannot be made. */
bool drive_folder(const char *name, char dir[DRIVE_DIR]);
/* The same, with the path of a store in it. */
enum { DRIVE_STORE = DRIVE_DIR + 8 };
bool drive_store(const char *name, char dir[DRIVE_DIR], char store[DRIVE_STORE]);
/* Remove it with all that is in it, and forget the last job; 0: done. */
int drive_folder_remove(const char *dir);

/* Options that suit small stores; dir is borrowed. */
struct engine_options drive_options(const char *dir);
/* Open, or end the program with the reason. */
struct engine *drive_open(const struct engine_options *o);
/* The process ends with status 9, without a word, once n more batches are durable; 0: never. */
void drive_leave_after(unsigned n);
/* See all news, in the engine's thread and under the driver's lock; NULL: no longer. */
void drive_watch(void (*see)(const struct news *n));
/* Submit and wait; the job stays valid until the next call. */
struct job *drive_call(struct engine *e, struct job *j);

struct uuid drive_account(unsigned char n);
/* The end of a body that brings a content. */
void drive_put_content(struct buf *body, struct span text);
/* A delivery to these targets; an address of theirs is one byte or none. */
struct job *drive_delivery_to(const struct wire_target *targets, uint32_t count, uint32_t flags,
                              const char *sender, struct span text);
/* A delivery to account number `to`; group: it is queued for a group of this number instead. */
struct job *drive_delivery(unsigned char to, const char *text, bool group);
void drive_deliver(struct engine *e, unsigned char to, const char *text);
/* A mailbox as STATUS tells it; id 0: there is none of that name. */
struct wire_box drive_status(struct engine *e, unsigned char account, const char *name);
/* A job of a session of that account, without its body. */
struct job *drive_session_job(uint16_t type, unsigned char account, uint64_t box);
/* What sessions ask; a failure ends the program. Answers the UID, or the id of what was made.
 */
uint32_t drive_append(struct engine *e, unsigned char account, const char *name, const char *keyword,
                      const char *text);
void drive_create(struct engine *e, unsigned char account, const char *name);
void drive_delete(struct engine *e, unsigned char account, const char *name);
struct job *drive_flags_job(unsigned char account, uint64_t box, uint32_t first, uint32_t last,
                            uint32_t flags);
void drive_flags(struct engine *e, unsigned char account, uint64_t box, uint32_t first, uint32_t last,
                 uint32_t flags);
struct job *drive_copy_job(unsigned char account, uint64_t box, uint32_t first, uint32_t last, const char *to,
                           bool move);
void drive_copy(struct engine *e, unsigned char account, uint64_t box, uint32_t first, uint32_t last,
                const char *to, bool move);
struct job *drive_expunge_job(unsigned char account, uint64_t box);
void drive_expunge(struct engine *e, unsigned char account, uint64_t box);
/* The packed bytes of a message in out (at most 1000), or the code. */
enum err_code drive_read(struct engine *e, unsigned char account, uint64_t box, uint32_t uid, char *out);
/* The same of a message that was there at modseq seen, one change a step. */
enum err_code drive_read_seen(struct engine *e, unsigned char account, uint64_t box, uint32_t uid,
                              uint64_t seen, char *out);
/* The count of references of a content, -1: there is no such content. */
long drive_refs(struct engine *e, uint64_t content);
/* What is recorded of an account's use and limits. */
struct rec_quota drive_quota(struct engine *e, unsigned char account);
/* A whole verification: the findings that are left. drive_told has a line for each, "repaired: " before those
 * that were; drive_bare the messages whose contents have no meta record. */
extern char drive_told[64 << 10];
extern struct store_bare drive_bare[16];
extern size_t drive_bare_count;
uint64_t drive_verify(struct engine *e, bool deep, bool repair);
/* Put, or with a value of NULL delete, a record behind the engine's back. */
void drive_tamper(struct engine *e, enum table table, struct span key, const void *value, size_t n);
/* The content of a row; 0: no row. */
uint64_t drive_content(struct engine *e, uint64_t box, uint32_t uid);

#endif
