/* Drives the LDAP source for tests: commands come as lines (fields between tabs), each is answered by one
 * line.
 *
 *   ldap_dump CONF [--sandbox DIR]
 *     read [FILE]             "CODE entries=N people=N ids=N ms=N why=…"; FILE gets a line for each entry
 *     slow MS                 sleep so long in each entry from now on
 *     bind DN PASSWORD        "CODE ms=N why=…"
 *     mix N DN PASSWORD       bind N times in each of 4 threads while one reading runs
 *     quit
 *
 * A source that cannot be opened: its reason on standard error and status 78. */
#include "common/base/clock.h"
#include "common/base/crypto.h"
#include "common/directory/source.h"
#include "common/net/sandbox.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BINDERS = 4 };

struct tally {
    size_t entries, people, ids;
    useconds_t slow_us;
    FILE *list;
};

struct mix {
    struct source *source;
    struct tally tally;
    const char *dn, *password;
    unsigned count;
    enum err_code read;
    size_t wrong[BINDERS];
    struct err why;
};

struct binder {
    struct mix *mix;
    size_t *wrong;
};

static bool on_entry(void *arg, const struct ldif_record *r, const struct uuid *id)
{
    struct tally *t = arg;
    char text[UUID_TEXT] = "-";
    t->entries++;
    t->people += ldif_get(r, "uid").n > 0;
    t->ids += id != NULL;
    if (id)
        uuid_format(id, text);
    if (t->list) {
        struct span mail = ldif_get(r, "mail");
        size_t members = 0;
        for (size_t i = 0; i < r->count; i++)
            members += span_caseeq(r->v[i].name, SPAN("member"));
        fprintf(t->list, "%s\t%.*s\t%.*s\t%zu\n", text, SPAN_ARG(r->dn), SPAN_ARG(mail), members);
    }
    if (t->slow_us)
        usleep(t->slow_us);
    return true;
}

static void answer(enum err_code code, const struct err *why, uint64_t begin_ms)
{
    printf("%s ms=%llu why=%s\n", err_name(code), (unsigned long long)(clock_mono_ms() - begin_ms),
           code == ERR_OK ? "" : why->log);
    fflush(stdout);
}

static void cmd_read(struct source *s, useconds_t slow_us, const char *file)
{
    struct err why = {.code = ERR_OK};
    struct tally t = {.slow_us = slow_us, .list = file ? fopen(file, "w") : NULL};
    uint64_t begin_ms = clock_mono_ms();
    enum err_code code = source_read(s, on_entry, &t, &why);
    if (t.list)
        fclose(t.list);
    printf("%s entries=%zu people=%zu ids=%zu ms=%llu why=%s\n", err_name(code), t.entries, t.people, t.ids,
           (unsigned long long)(clock_mono_ms() - begin_ms), code == ERR_OK ? "" : why.log);
    fflush(stdout);
}

static void cmd_bind(struct source *s, const char *dn, const char *password)
{
    struct err why = {.code = ERR_OK};
    uint64_t begin_ms = clock_mono_ms();
    enum err_code code = source_bind(s, span_str(dn), span_str(password), &why);
    answer(code, &why, begin_ms);
}

static void *binder(void *arg)
{
    struct binder *b = arg;
    struct mix *m = b->mix;
    for (unsigned i = 0; i < m->count; i++) {
        struct err why;
        bool good = i % 3 != 2;
        enum err_code code =
            source_bind(m->source, span_str(m->dn), good ? span_str(m->password) : SPAN("not that"), &why);
        *b->wrong += code != (good ? ERR_OK : ERR_DENIED);
    }
    return NULL;
}

static void *reader(void *arg)
{
    struct mix *m = arg;
    m->read = source_read(m->source, on_entry, &m->tally, &m->why);
    return NULL;
}

static void cmd_mix(struct source *s, unsigned count, const char *dn, const char *password)
{
    struct mix m = {.source = s, .dn = dn, .password = password, .count = count};
    struct binder b[BINDERS];
    pthread_t t[BINDERS + 1];
    uint64_t begin_ms = clock_mono_ms();
    size_t wrong = 0, started = 0;
    for (size_t i = 0; i < BINDERS; i++) {
        b[i] = (struct binder){&m, &m.wrong[i]};
        started += pthread_create(&t[i], NULL, binder, &b[i]) == 0;
    }
    if (started != BINDERS || pthread_create(&t[BINDERS], NULL, reader, &m) != 0)
        abort();
    for (size_t i = 0; i <= BINDERS; i++)
        pthread_join(t[i], NULL);
    for (size_t i = 0; i < BINDERS; i++)
        wrong += m.wrong[i];
    printf("%s entries=%zu binds=%u wrong=%zu ms=%llu why=%s\n", err_name(m.read), m.tally.entries,
           BINDERS * count, wrong, (unsigned long long)(clock_mono_ms() - begin_ms),
           m.read == ERR_OK ? "" : m.why.log);
    fflush(stdout);
}

static void serve(struct source *s)
{
    char line[4096];
    useconds_t slow_us = 0;
    while (fgets(line, sizeof line, stdin)) {
        char *f[4] = {NULL}, *rest = line;
        line[strcspn(line, "\n")] = 0;
        for (size_t i = 0; i < 4; i++)
            f[i] = strsep(&rest, "\t");
        if (strcmp(f[0], "read") == 0)
            cmd_read(s, slow_us, f[1]);
        else if (strcmp(f[0], "slow") == 0 && f[1])
            slow_us = (useconds_t)(1000 * strtoul(f[1], NULL, 10));
        else if (strcmp(f[0], "bind") == 0 && f[2])
            cmd_bind(s, f[1], f[2]);
        else if (strcmp(f[0], "mix") == 0 && f[3])
            cmd_mix(s, (unsigned)strtoul(f[1], NULL, 10), f[2], f[3]);
        else if (strcmp(f[0], "quit") == 0)
            return;
        else
            printf("what?\n"), fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct conf *c = NULL;
    struct source *s = NULL;
    struct buf faults;
    struct err why = {.code = ERR_OK};
    buf_init(&faults, 65536);
    if (argc < 2)
        return 64;
    signal(SIGPIPE, SIG_IGN);
    enum err_code code = conf_load(argv[1], &c, &faults);
    if (code != ERR_OK)
        return conf_start_failed("ldap_dump", code, argv[1], buf_span(&faults));
    code = source_ldap_new(c, &s, &why);
    if (code != ERR_OK) {
        fprintf(stderr, "ldap_dump: %s: %s\n", err_name(code), why.log);
        conf_free(&c);
        buf_free(&faults);
        return 78;
    }
    if (argc == 4 && strcmp(argv[2], "--sandbox") == 0) {
        const char *folders[] = {argv[3], NULL};
        code = sandbox_enter(SANDBOX_CONNECT | SANDBOX_FILES | SANDBOX_THREADS, folders, &why);
        if (code != ERR_OK) {
            fprintf(stderr, "ldap_dump: %s\n", why.log);
            return 71;
        }
    }
    printf("ready\n");
    fflush(stdout);
    serve(s);
    source_free(&s);
    conf_free(&c);
    buf_free(&faults);
    return 0;
}
