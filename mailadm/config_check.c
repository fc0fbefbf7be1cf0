/* mailadm config check: what the reader finds, and what only the machine can tell: files that cannot be read,
 * a key that is not the certificate's, one address for two listeners. All faults at once, with file and line.
 */
#include "mailadm/mailadm.h"
#include "common/base/log.h"
#include "common/net/tls.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct check {
    const struct conf *c;
    struct buf faults;
};

/* The line that sets the option, 0 when the default holds. */
static int line_of(const char *file, const char *option)
{
    char *line = NULL;
    size_t size = 0, n = strlen(option);
    int at = 0, found = 0;
    FILE *f = fopen(file, "re");
    while (f && getline(&line, &size, f) >= 0) {
        at++;
        const char *p = line + strspn(line, " \t");
        if (strncmp(p, option, n) == 0 && strchr(" \t=", p[n]) && p[n])
            found = at;
    }
    free(line);
    if (f)
        fclose(f);
    return found;
}

static void fault(struct check *k, const char *option, const char *text)
{
    int line = line_of(k->c->file, option);
    bool ok = line ? buf_addf(&k->faults, "%s:%d: %s: %s\n", k->c->file, line, option, text)
                   : buf_addf(&k->faults, "%s: %s (not set): %s\n", k->c->file, option, text);
    if (!ok)
        fprintf(stderr, "mailadm: too many faults to keep: %s: %s\n", option, text);
}

static bool readable(struct check *k, const char *option, const char *path)
{
    char text[4200];
    if (*path && access(path, R_OK) == 0)
        return true;
    snprintf(text, sizeof text, "%.4000s: %s", *path ? path : "(empty)", strerror(*path ? errno : ENOENT));
    fault(k, option, text);
    return false;
}

static void check_tls(struct check *k)
{
    struct tls_ctx *tls = NULL;
    struct err why;
    bool both = readable(k, "tls_certificate", k->c->tls_certificate);
    if (!readable(k, "tls_key", k->c->tls_key) || !both)
        return;
    if (tls_server_new(k->c->tls_certificate, k->c->tls_key, &tls, &why) != ERR_OK)
        fault(k, "tls_key", why.log);
    tls_ctx_free(&tls);
}

static void check_listeners(struct check *k)
{
    const struct {
        const char *option;
        const struct conf_list *l;
    } rows[] = {
        {"smtp_listen", &k->c->smtp_listen},
        {"submission_listen", &k->c->submission_listen},
        {"submissions_listen", &k->c->submissions_listen},
        {"lmtp_listen", &k->c->lmtp_listen},
        {"imap_listen", &k->c->imap_listen},
        {"imaps_listen", &k->c->imaps_listen},
    };
    enum { N = sizeof rows / sizeof *rows };
    char text[400];
    for (size_t i = 0; i < N; i++)
        for (size_t a = 0; a < rows[i].l->n; a++)
            for (size_t j = i; j < N; j++)
                for (size_t b = j == i ? a + 1 : 0; b < rows[j].l->n; b++)
                    if (strcmp(rows[i].l->v[a], rows[j].l->v[b]) == 0) {
                        snprintf(text, sizeof text, "%.100s is an address of %s too", rows[j].l->v[b],
                                 rows[i].option);
                        fault(k, rows[j].option, text);
                    }
}

static void check_directory(struct check *k)
{
    if (strcmp(k->c->directory_source, "ldif") == 0) {
        readable(k, "directory_ldif", k->c->directory_ldif);
    } else if (strcmp(k->c->directory_source, "ldap") == 0) {
        if (!*k->c->ldap_uri)
            fault(k, "ldap_uri", "an address is needed when directory_source is ldap");
        if (!*k->c->ldap_base)
            fault(k, "ldap_base", "a place to search is needed when directory_source is ldap");
        if (*k->c->ldap_bind_dn)
            readable(k, "ldap_bind_password_file", k->c->ldap_bind_password_file);
    } else {
        fault(k, "directory_source", "ldif or ldap is expected");
    }
}

static void print(const struct adm *a, struct span faults)
{
    bool first = true;
    if (!a->json) {
        printf("%.*s", SPAN_ARG(faults));
        return;
    }
    putchar('[');
    while (faults.n) {
        char *line = xstrspan(span_cut(&faults, '\n'));
        if (*line) {
            fputs(first ? "" : ", ", stdout);
            adm_json(line);
            first = false;
        }
        free(line);
    }
    puts("]");
}

int adm_config_check(const struct adm *a, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct conf *c = NULL;
    struct check k;
    enum log_level level;
    buf_init(&k.faults, 1 << 20);
    enum err_code code = conf_load(a->file, &c, &k.faults);
    if (code == ERR_OK) {
        k.c = c;
        if (!c->domains.n)
            fault(&k, "domains", "at least one mail domain is needed");
        if (!log_level_named(span_str(c->log_level), &level))
            fault(&k, "log_level", "debug, info, warn, error or alarm is expected");
        check_tls(&k);
        check_listeners(&k);
        check_directory(&k);
        if (strcmp(c->quota_full_policy, "defer") != 0 && strcmp(c->quota_full_policy, "reject") != 0)
            fault(&k, "quota_full_policy", "defer or reject is expected");
    }
    int status = code == ERR_MISSING ? EX_NOINPUT : k.faults.n ? EX_CONFIG : EX_OK;
    print(a, buf_span(&k.faults));
    buf_free(&k.faults);
    conf_free(&c);
    return status;
}
