/* mailadm store stats, mailbox list and trace: what stored knows. */
#include "mailadm/ask.h"
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

/* -- store stats -- */

static void on_stats(void *session, enum err_code code, struct span text)
{
    struct ask *k = session;
    if (code == ERR_OK)
        adm_pairs(k, text);
    ask_end(k, code);
}

int adm_store_stats(const struct adm *a, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct ask k;
    int status = ask_open(&k, a, true, false);
    if (status == EX_OK) {
        fputs(a->json ? "{" : "", stdout);
        store_admin_stats(k.store, k.ticket, on_stats);
        status = ask_status(ask_wait(&k, ASK_PATIENCE_MS), "store stats");
        fputs(a->json ? "}\n" : "", stdout);
    }
    ask_close(&k);
    return status;
}

/* -- trace -- */

static void on_trace(void *session, enum err_code code, const struct store_trace_line *v, size_t count,
                     bool more)
{
    struct ask *k = session;
    char at[ADM_TIME];
    for (size_t i = 0; code == ERR_OK && i < count; i++) {
        adm_time(v[i].at_us, at);
        if (k->adm->json) {
            printf("%s{\"at\": \"%s\", \"event\": ", k->first ? "" : ", ", at);
            adm_json_span(v[i].event);
            fputs(", \"detail\": ", stdout);
            adm_json_span(v[i].detail);
            putchar('}');
        } else {
            printf("%-27s ", at);
            int n = adm_text(v[i].event);
            printf("%*s ", n < 10 ? 10 - n : 0, "");
            adm_text(v[i].detail);
            putchar('\n');
        }
        k->first = false;
    }
    if (code != ERR_OK || !more)
        ask_end(k, code);
}

int adm_trace(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    if (argc != 2) {
        fputs("usage: mailadm trace ID [--json]\n", stderr);
        return EX_USAGE;
    }
    int status = ask_open(&k, a, true, false);
    if (status == EX_OK) {
        fputs(a->json ? "[" : "", stdout);
        store_admin_trace(k.store, span_str(argv[1]), k.ticket, on_trace);
        status = ask_status(ask_wait(&k, ASK_PATIENCE_MS), argv[1]);
        fputs(a->json ? "]\n" : "", stdout);
    }
    ask_close(&k);
    return status;
}

/* -- mailbox list -- */

static const char *use_name(enum store_use use)
{
    static const char *const names[] = {
        [STORE_USE_NONE] = "",       [STORE_USE_DRAFTS] = "drafts", [STORE_USE_SENT] = "sent",
        [STORE_USE_TRASH] = "trash", [STORE_USE_JUNK] = "junk",     [STORE_USE_ARCHIVE] = "archive"};
    return (size_t)use < sizeof names / sizeof *names ? names[use] : "?";
}

static void box_json(struct ask *k, const struct store_mailbox *b)
{
    printf("%s{\"id\": %" PRIu64 ", \"name\": ", k->first ? "" : ", ", b->id);
    adm_json_span(b->name);
    printf(", \"use\": \"%s\", \"subscribed\": %s, \"selectable\": %s, \"messages\": %u, \"unseen\": %u, "
           "\"deleted\": %u, \"bytes\": %" PRIu64
           ", \"uidvalidity\": %u, \"uidnext\": %u, \"modseq\": %" PRIu64 "}",
           use_name(b->use), b->subscribed ? "true" : "false", b->no_select ? "false" : "true", b->messages,
           b->unseen, b->deleted, b->bytes, b->uidvalidity, b->uidnext, b->modseq);
    k->first = false;
}

static void on_boxes(void *session, enum err_code code, const struct store_mailbox *v, size_t count)
{
    struct ask *k = session;
    if (code == ERR_OK && !k->adm->json)
        printf("%8s %8s %12s %-8s %s\n", "messages", "unseen", "bytes", "use", "name");
    for (size_t i = 0; code == ERR_OK && i < count; i++) {
        if (k->adm->json) {
            box_json(k, &v[i]);
            continue;
        }
        printf("%8u %8u %12" PRIu64 " %-8s ", v[i].messages, v[i].unseen, v[i].bytes, use_name(v[i].use));
        adm_text(v[i].name);
        puts(v[i].no_select ? " (only a name)" : "");
    }
    ask_end(k, code);
}

int adm_mailbox_list(const struct adm *a, int argc, char **argv)
{
    struct ask k;
    struct uuid id;
    if (argc != 2) {
        fputs("usage: mailadm mailbox list ACCOUNT [--json]\n", stderr);
        return EX_USAGE;
    }
    int status = ask_open(&k, a, true, true);
    if (status == EX_OK)
        status = adm_account_id(&k, argv[1], &id);
    if (status == EX_OK) {
        fputs(a->json ? "[" : "", stdout);
        store_admin_mailboxes(k.store, &id, k.ticket, on_boxes);
        enum err_code code = ask_wait(&k, ASK_PATIENCE_MS);
        /* Known to the directory, and nothing has come for it yet: an empty list. */
        status = code == ERR_MISSING ? EX_OK : ask_status(code, argv[1]);
        fputs(a->json ? "]\n" : "", stdout);
    }
    ask_close(&k);
    return status;
}
