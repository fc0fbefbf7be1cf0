/* mailadm export: the messages of an account as files, in a format of export_files.c. It reads as a session
 * does, with a grant of its own, while the account is in use: each mailbox as it is when its turn comes. The
 * one hard point is not to look finished when it is not: the exit status is 0 only when every message was
 * written and synced, and until then a file in the folder says so, with which the same command goes on
 * (export_state.c). */
#include "mailadm/export.h"
#include "common/base/clock.h"
#include "mailadm/export_state.h"
#include "mailadm/import.h"
#include "mailadm/session.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

struct export
{
    const struct adm *adm;
    const char *account, *mailbox, *to;
    const struct export_format *format;
    struct ask k;
    struct session session;
    struct export_state *state;
    struct store_mailbox *boxes;
    size_t box_count;
    struct store_row *rows;
    size_t row_count, row_room;
    uint64_t messages, bytes, total, kept; /* kept: of messages, what an earlier run has written */
    size_t lost, exported;
    uint64_t shown_ms;
};

static int complain(int status, const char *what, const char *why)
{
    fprintf(stderr, "mailadm: %s: %s\n", what, why);
    return status;
}

/* -- the store's answers -- */

static const char *const *keep_keywords(const char *const *v)
{
    size_t n = 0;
    while (v && v[n])
        n++;
    const char **copy = xcalloc(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = xstrdup(v[i]);
    return copy;
}

static void on_list(void *session, enum err_code code, const struct store_mailbox *boxes, size_t count)
{
    struct reply *r = session;
    struct export *x = r->out;
    if (code == ERR_OK) {
        x->boxes = xcalloc(count + 1, sizeof *x->boxes);
        x->box_count = count;
    }
    for (size_t i = 0; code == ERR_OK && i < count; i++) {
        x->boxes[i] = boxes[i];
        x->boxes[i].name = span_str(xstrspan(boxes[i].name));
        x->boxes[i].keywords = keep_keywords(boxes[i].keywords);
    }
    reply_set(r, code);
}

static void on_rows(void *session, enum err_code code, const struct store_row *rows, size_t count, bool more)
{
    struct reply *r = session;
    struct export *x = r->out;
    if (code == ERR_OK && count) {
        if (x->row_count + count > x->row_room)
            x->rows = xrealloc(x->rows, (x->row_room = (x->row_count + count) * 2) * sizeof *x->rows);
        memcpy(x->rows + x->row_count, rows, count * sizeof *rows);
        x->row_count += count;
    }
    if (code != ERR_OK || !more)
        reply_set(r, code);
}

static void on_read(void *session, enum err_code code, struct span bytes)
{
    struct reply *r = session;
    struct buf *b = r->out;
    if (code == ERR_OK && !buf_add_span(b, bytes))
        code = ERR_BUG;
    reply_set(r, code);
}

static enum err_code read_some(struct export *x, uint64_t box, uint32_t uid, uint64_t first, uint64_t want,
                               struct buf *out)
{
    struct reply r = {.k = &x->k, .out = out};
    struct ticket *ticket = ticket_new(&r);
    buf_reset(out);
    store_read(x->session.account, box, uid, first, want, ticket, on_read);
    return reply_wait(&r, ticket);
}

/* -- one message -- */

static void describe(const struct store_mailbox *box, const struct store_row *row, struct export_message *m)
{
    *m = (struct export_message){.row = row, .mailbox = box->id, .ends_lf = true};
    for (size_t i = 0; i < 64 && box->keywords[i]; i++)
        if (row->keywords & UINT64_C(1) << i)
            m->keywords[m->keyword_count++] = span_str(box->keywords[i]);
}

/* ERR_MISSING: expunged meanwhile; ERR_STATE: a file cannot be written. */
static enum err_code write_message(struct export *x, struct export_box *b, const struct store_row *row)
{
    struct export_message m;
    struct buf piece, last;
    bool kept = false, begun = false;
    describe(b->box, row, &m);
    if (b->resumed && x->format->keep && !x->format->keep(b, &m, &kept))
        return ERR_STATE;
    x->kept += kept;
    if (kept)
        return ERR_OK;
    buf_init(&piece, STORE_READ_LIMIT);
    buf_init(&last, 16);
    enum err_code code = read_some(x, b->box->id, row->uid, 0, STORE_READ_LIMIT, &piece);
    if (code == ERR_OK && piece.n == row->size)
        m.ends_lf = span_ends(buf_span(&piece), SPAN("\n"));
    else if (code == ERR_OK && (code = read_some(x, b->box->id, row->uid, row->size - 1, 1, &last)) == ERR_OK)
        m.ends_lf = span_eq(buf_span(&last), SPAN("\n"));
    if (code == ERR_OK && !(begun = x->format->begin(b, &m)))
        code = ERR_STATE;
    for (uint64_t at = 0; code == ERR_OK && piece.n;) {
        if (!x->format->add(b, buf_span(&piece)))
            code = ERR_STATE;
        at += piece.n;
        if (at >= row->size)
            break;
        if (code == ERR_OK)
            code = read_some(x, b->box->id, row->uid, at, STORE_READ_LIMIT, &piece);
    }
    if (code == ERR_OK && !x->format->end(b, &m))
        code = ERR_STATE;
    if (code == ERR_MISSING && begun && !x->format->drop(b))
        code = ERR_STATE;
    buf_free(&piece);
    buf_free(&last);
    return code;
}

static void show(struct export *x, bool final)
{
    enum { TERMINAL_MS = 500, LINES_MS = 10000 };
    bool terminal = isatty(STDERR_FILENO);
    uint64_t now = clock_mono_ms();
    char size[IMPORT_SIZE];
    if (!final && now - x->shown_ms < (terminal ? TERMINAL_MS : LINES_MS))
        return;
    x->shown_ms = now;
    import_size(x->bytes, size);
    fprintf(stderr,
            terminal ? "\r\033[K%" PRIu64 "/%" PRIu64 " messages, %s%s"
                     : "%" PRIu64 "/%" PRIu64 " messages, %s%s\n",
            x->messages, x->total, size, terminal && final ? "\n" : "");
}

/* -- a mailbox -- */

static enum err_code get_rows(struct export *x, const struct store_mailbox *box)
{
    struct reply r = {.k = &x->k, .out = x};
    struct ticket *ticket = ticket_new(&r);
    x->row_count = 0;
    store_rows(x->session.account, box->id, 1, 0, ticket, on_rows);
    return reply_wait(&r, ticket);
}

/* Keywords as they are now: they may be more than when the list was read. */
static void on_status(void *session, enum err_code code, const struct store_mailbox *box)
{
    struct reply *r = session;
    if (code == ERR_OK)
        *(const char *const **)r->out = keep_keywords(box->keywords);
    reply_set(r, code);
}

static void free_keywords(const char *const *v)
{
    for (size_t i = 0; v && v[i]; i++)
        free((char *)(uintptr_t)v[i]);
    free((void *)(uintptr_t)v);
}

static int write_box(struct export *x, struct store_mailbox *box)
{
    struct export_box b = {.box = box, .top = x->to, .resumed = export_state_resumed(x->state)};
    const uint64_t modseq = box->modseq; /* from before the rows were read */
    struct reply r = {.k = &x->k, .out = &box->keywords};
    struct ticket *ticket = ticket_new(&r);
    enum err_code code = get_rows(x, box);
    free_keywords(box->keywords);
    box->keywords = NULL;
    store_status_id(x->session.account, box->id, ticket, on_status);
    enum err_code now = reply_wait(&r, ticket);
    code = code == ERR_OK ? now : code;
    if (!box->keywords)
        box->keywords = keep_keywords(NULL);
    if (code == ERR_MISSING)
        return EX_OK; /* deleted meanwhile */
    if (code == ERR_OK && !x->format->begin_box(&b))
        code = ERR_STATE;
    for (size_t i = 0; code == ERR_OK && i < x->row_count; i++) {
        code = write_message(x, &b, &x->rows[i]);
        x->messages += code == ERR_OK;
        x->bytes += code == ERR_OK ? x->rows[i].size : 0;
        if (code == ERR_MISSING)
            code = ERR_OK;
        show(x, false);
    }
    int saved = errno;
    b.whole = code == ERR_OK;
    if (b.state && !x->format->end_box(&b) && code == ERR_OK) {
        code = ERR_STATE;
        saved = errno;
    }
    if (code == ERR_OK && !export_state_mark(x->state, box->id, modseq, b.synced)) {
        code = ERR_STATE;
        saved = errno;
    }
    x->lost += b.lost;
    x->exported++;
    if (code == ERR_STATE)
        return complain(EX_CANTCREAT, x->to, strerror(saved));
    return ask_status(code, x->account);
}

static bool is_wanted(const struct export *x, const struct store_mailbox *box)
{
    return !box->no_select && (!x->mailbox || span_eq(box->name, span_str(x->mailbox)));
}

static int write_subscriptions(struct export *x)
{
    char **names = xcalloc(x->box_count + 1, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i < x->box_count; i++)
        if (x->boxes[i].subscribed)
            names[n++] = (char *)(uintptr_t)x->boxes[i].name.p;
    int status =
        x->format->subscriptions(x->to, names) ? EX_OK : complain(EX_CANTCREAT, x->to, strerror(errno));
    free(names);
    return status;
}

/* -- all -- */

/* What is there already must not be mixed with what comes. */
static int take_folder(struct export *x, const struct uuid *account)
{
    char id[UUID_TEXT], what[STORE_NAME_LIMIT + 100];
    struct err why;
    uuid_format(account, id);
    snprintf(what, sizeof what, "%s %s %s", id, x->format->name, x->mailbox ? x->mailbox : "");
    if (!export_folders(x->to))
        return complain(EX_CANTCREAT, x->to, strerror(errno));
    if (export_state_open(x->to, what, &x->state, &why) == ERR_OK)
        return EX_OK;
    fprintf(stderr, "mailadm: %s\n", why.log);
    return EX_CANTCREAT;
}

/* A folder that an earlier run may have written under a name that is no more would come back at an import. */
static int check_names(const struct export *x, const char *const *names)
{
    const char *was;
    for (size_t i = 0; (was = export_state_name(x->state, i)) != NULL; i++) {
        size_t k = 0;
        while (names[k] && strcmp(names[k], was) != 0)
            k++;
        if (!names[k]) {
            fprintf(stderr,
                    "mailadm: %s: renamed or deleted since the export was cut; begin again with an empty "
                    "folder\n",
                    was);
            return EX_CANTCREAT;
        }
    }
    return EX_OK;
}

static int begin_boxes(const struct export *x)
{
    const char **names = xcalloc(x->box_count + 1, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i < x->box_count; i++)
        if (is_wanted(x, &x->boxes[i]))
            names[n++] = x->boxes[i].name.p;
    int status = check_names(x, names);
    if (status == EX_OK && !export_state_begin(x->state, names))
        status = complain(EX_CANTCREAT, x->to, strerror(errno));
    free(names);
    return status;
}

/* What an earlier run has finished, and nobody has changed since, is passed over. */
static int export_box(struct export *x, struct store_mailbox *box)
{
    if (!export_state_done(x->state, box->id, box->modseq))
        return write_box(x, box);
    x->messages += box->messages;
    x->kept += box->messages;
    x->bytes += box->bytes;
    x->exported++;
    return EX_OK;
}

static int export_all(struct export *x)
{
    struct reply r = {.k = &x->k, .out = x};
    struct ticket *ticket = ticket_new(&r);
    store_list(x->session.account, ticket, on_list);
    int status = ask_status(reply_wait(&r, ticket), x->account);
    for (size_t i = 0; i < x->box_count; i++)
        x->total += is_wanted(x, &x->boxes[i]) ? x->boxes[i].messages : 0;
    if (status == EX_OK)
        status = begin_boxes(x);
    for (size_t i = 0; status == EX_OK && i < x->box_count; i++)
        if (is_wanted(x, &x->boxes[i]))
            status = export_box(x, &x->boxes[i]);
    if (status == EX_OK && !x->exported)
        status = complain(EX_NOUSER, x->mailbox ? x->mailbox : x->account, "there is no such mailbox");
    if (status == EX_OK && !x->mailbox)
        status = write_subscriptions(x);
    if (status == EX_OK && !export_state_finish(x->state))
        status = complain(EX_IOERR, x->to, strerror(errno));
    if (status != EX_OK)
        fputs("mailadm: the export is not finished; the same command goes on where it stopped\n", stderr);
    return status;
}

static void print_end(const struct export *x)
{
    char size[IMPORT_SIZE];
    import_size(x->bytes, size);
    if (x->adm->json)
        printf("{\"mailboxes\": %zu, \"messages\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"kept\": %" PRIu64
               ", \"keywords_lost\": %zu}\n",
               x->exported, x->messages, x->bytes, x->kept, x->lost);
    else
        printf("exported %" PRIu64 " messages (%s) of %zu mailboxes\n", x->messages, size, x->exported);
    if (x->kept && !x->adm->json)
        printf("%" PRIu64 " of them had been written before the export was cut\n", x->kept);
    if (x->lost)
        fprintf(stderr, "mailadm: %zu times a keyword was left out: a Maildir has room for 26 in a folder\n",
                x->lost);
}

static int take_words(struct export *x, int argc, char **argv)
{
    const char *format = NULL;
    for (int i = 1; i < argc; i++) {
        const char **to = strcmp(argv[i], "--mailbox") == 0  ? &x->mailbox
                          : strcmp(argv[i], "--format") == 0 ? &format
                          : strcmp(argv[i], "--to") == 0     ? &x->to
                                                             : NULL;
        if (to && i + 1 < argc)
            *to = argv[++i];
        else if (!to && argv[i][0] != '-' && !x->account)
            x->account = argv[i];
        else
            return complain(EX_USAGE, argv[i], "unknown, or incomplete (see mailadm export --help)");
    }
    if (format)
        x->format = strcmp(format, "maildir") == 0 ? &export_maildir
                    : strcmp(format, "mbox") == 0  ? &export_mbox
                                                   : NULL;
    if (!x->account || !x->to || !x->format)
        return complain(EX_USAGE, "export", "ACCOUNT, --format maildir or mbox, and --to DIR are needed");
    return EX_OK;
}

int adm_export(const struct adm *a, int argc, char **argv)
{
    struct export *x = xcalloc(1, sizeof *x);
    struct uuid id;
    x->adm = a;
    int status = take_words(x, argc, argv);
    if (status == EX_OK) {
        status = ask_open(&x->k, a, false, true);
        if (status == EX_OK)
            status = adm_account_id(&x->k, x->account, &id);
        if (status == EX_OK)
            status = take_folder(x, &id);
        if (status == EX_OK)
            status = ask_status(session_open(&x->k, &id, "export", false, &x->session), x->account);
        if (status == EX_OK)
            status = export_all(x);
        session_close(&x->session);
        ask_close(&x->k);
        show(x, true);
    }
    if (status == EX_OK)
        print_end(x);
    for (size_t i = 0; i < x->box_count; i++) {
        free((char *)(uintptr_t)x->boxes[i].name.p);
        free_keywords(x->boxes[i].keywords);
    }
    export_state_free(&x->state);
    free(x->boxes);
    free(x->rows);
    free(x);
    return status;
}
