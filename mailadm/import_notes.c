/* Notes of an import: a text file for each account and source, a line a message, added to as messages are
 * filed. They spare the next run reading again what is here, and say where it was filed and how its flags
 * were. They are not what keeps a message from coming in twice: the store refuses a known trace
 * (store_append, once), so lines that a death or a power cut took away cost time only.
 *
 *   KEY MAILBOX UID STATE   filed           KEY - - -   taken away again
 *   V UIDVALIDITY NAME      of a mailbox of the source */
#include "common/base/crypto.h"
#include "mailadm/import.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

struct entry {
    struct import_note note; /* first */
    UT_hash_handle hh;
};
struct validity {
    uint32_t value;
    UT_hash_handle hh;
    char name[];
};
struct import_notes {
    FILE *f; /* NULL: read only */
    struct entry *entries;
    struct validity *validities;
};

static void put_entry(struct import_notes *n, const struct import_note *note)
{
    struct entry *e = NULL;
    HASH_FIND(hh, n->entries, note->key.text, TRACE_TEXT - 1, e);
    if (!e) {
        e = xcalloc(1, sizeof *e);
        e->note = *note;
        HASH_ADD(hh, n->entries, note.key.text, TRACE_TEXT - 1, e);
    }
    e->note = *note;
}

static void put_validity(struct import_notes *n, struct span name, uint32_t value)
{
    struct validity *v = NULL;
    HASH_FIND(hh, n->validities, name.p, name.n, v);
    if (!v) {
        v = xcalloc(1, sizeof *v + name.n + 1);
        memcpy(v->name, name.p, name.n);
        HASH_ADD_KEYPTR(hh, n->validities, v->name, name.n, v);
    }
    v->value = value;
}

static void take_line(struct import_notes *n, struct span line)
{
    struct import_note note = {.seen = false};
    struct span key = span_cut(&line, ' ');
    if (span_eq(key, SPAN("V"))) {
        uint32_t value;
        if (span_u32(span_cut(&line, ' '), &value) && line.n)
            put_validity(n, line, value);
        return;
    }
    if (key.n != TRACE_TEXT - 1)
        return;
    memcpy(note.key.text, key.p, key.n);
    struct span box = span_cut(&line, ' ');
    if (span_eq(box, SPAN("-"))) {
        struct entry *e = NULL;
        HASH_FIND(hh, n->entries, note.key.text, TRACE_TEXT - 1, e);
        if (e) {
            HASH_DEL(n->entries, e);
            free(e);
        }
    } else if (span_u64(box, &note.mailbox) && span_u32(span_cut(&line, ' '), &note.uid) &&
               span_u32(line, &note.state)) {
        put_entry(n, &note);
    }
}

/* All whole lines; what a death left of a line is cut off. */
static void read_all(struct import_notes *n, FILE *f, bool write)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t got;
    long good = 0;
    rewind(f);
    while ((got = getline(&line, &size, f)) > 0 && line[got - 1] == '\n') {
        take_line(n, span_of(line, (size_t)got - 1));
        good = ftell(f);
    }
    free(line);
    if (write && (ftruncate(fileno(f), good) != 0 || fseek(f, good, SEEK_SET) != 0))
        fprintf(stderr, "mailadm: the notes of the import cannot be cut: %s\n", strerror(errno));
}

enum err_code import_notes_open(const char *dir, const struct uuid *account, struct span source, bool write,
                                struct import_notes **out, struct err *why)
{
    char path[4300], id[UUID_TEXT];
    unsigned char hash[CRYPTO_HASH];
    uuid_format(account, id);
    crypto_sha256(source, hash);
    snprintf(path, sizeof path, "%.4000s/%s-%02x%02x%02x%02x%02x%02x.notes", dir, id, hash[0], hash[1],
             hash[2], hash[3], hash[4], hash[5]);
    FILE *f = fopen(path, write ? "a+e" : "re");
    if (f && write)
        setvbuf(f, NULL, _IOLBF, 0); /* a line is there when the process dies, if not when the power goes */
    if (!f && write)
        return err_set(why, ERR_DENIED, NULL, "%s: %s", path, strerror(errno));
    if (f && write && flock(fileno(f), LOCK_EX | LOCK_NB) != 0) {
        fclose(f);
        return err_set(why, ERR_STATE, NULL, "%s: another import of this account and source is running",
                       path);
    }
    struct import_notes *n = xcalloc(1, sizeof *n);
    if (f)
        read_all(n, f, write);
    if (write) {
        n->f = f;
    } else if (f) {
        fclose(f);
    }
    *out = n;
    return ERR_OK;
}

void import_notes_close(struct import_notes **np)
{
    struct import_notes *n = *np;
    struct entry *e, *e_next;
    struct validity *v, *v_next;
    if (!n)
        return;
    HASH_ITER(hh, n->entries, e, e_next)
    {
        HASH_DEL(n->entries, e);
        free(e);
    }
    HASH_ITER(hh, n->validities, v, v_next)
    {
        HASH_DEL(n->validities, v);
        free(v);
    }
    if (n->f && (fflush(n->f) != 0 || fsync(fileno(n->f)) != 0 || fclose(n->f) != 0))
        fprintf(stderr, "mailadm: the notes of the import: %s\n", strerror(errno));
    free(n);
    *np = NULL;
}

struct import_note *import_note_find(struct import_notes *n, const struct import_key *key)
{
    struct entry *e = NULL;
    HASH_FIND(hh, n->entries, key->text, TRACE_TEXT - 1, e);
    return e ? &e->note : NULL;
}

void import_note_put(struct import_notes *n, const struct import_note *note)
{
    put_entry(n, note);
    if (n->f)
        fprintf(n->f, "%s %" PRIu64 " %u %u\n", note->key.text, note->mailbox, note->uid, note->state);
}

struct import_note *import_note_next(struct import_notes *n, struct import_note *after)
{
    struct entry *e = after ? ((struct entry *)(void *)after)->hh.next : n->entries;
    return e ? &e->note : NULL;
}

void import_note_remove(struct import_notes *n, struct import_note *note)
{
    struct entry *e = (struct entry *)(void *)note;
    if (n->f)
        fprintf(n->f, "%s - - -\n", note->key.text);
    HASH_DEL(n->entries, e);
    free(e);
}

uint32_t import_validity(struct import_notes *n, struct span mailbox)
{
    struct validity *v = NULL;
    HASH_FIND(hh, n->validities, mailbox.p, mailbox.n, v);
    return v ? v->value : 0;
}

void import_validity_put(struct import_notes *n, struct span mailbox, uint32_t uidvalidity)
{
    if (import_validity(n, mailbox) == uidvalidity || span_find(mailbox, '\n') < mailbox.n)
        return;
    put_validity(n, mailbox, uidvalidity);
    if (n->f)
        fprintf(n->f, "V %u %.*s\n", uidvalidity, SPAN_ARG(mailbox));
}

/* -- names of messages -- */

struct import_key import_key_of(const struct uuid *account, const struct span *parts, size_t count)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char hash[CRYPTO_HASH];
    struct crypto_hash h;
    struct import_key key;
    crypto_hash_init(&h);
    crypto_hash_add(&h, SPAN("provmail import 1"));
    crypto_hash_add(&h, span_of(account->b, sizeof account->b));
    for (size_t i = 0; i < count; i++) {
        unsigned char n[8];
        for (int k = 0; k < 8; k++)
            n[k] = (unsigned char)((uint64_t)parts[i].n >> (56 - 8 * k));
        crypto_hash_add(&h, span_of(n, sizeof n));
        crypto_hash_add(&h, parts[i]);
    }
    crypto_hash_final(&h, hash);
    for (size_t i = 0; i < TRACE_TEXT - 1; i++) {
        size_t bit = i * 5;
        unsigned v = (unsigned)hash[bit / 8] << 8 | hash[bit / 8 + 1];
        key.text[i] = digits[v >> (11 - bit % 8) & 31];
    }
    key.text[TRACE_TEXT - 1] = '\0';
    return key;
}

uint32_t import_state(uint32_t flags, const struct span *keywords, size_t count)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < count; i++) { /* in any order: a sum */
        uint32_t h = 2166136261u;
        for (size_t k = 0; k < keywords[i].n; k++)
            h = (h ^ (unsigned char)ascii_lower(keywords[i].p[k])) * 16777619u;
        sum += h;
    }
    return (sum << 5) ^ (sum >> 27) ^ (flags & 0x1f);
}
