/* What administrators ask: lists, one entry in full, a reading now, and how the copy is doing. Passwords are
 * never shown, only how many there are. An import is read whole and checked before the source file is
 * replaced; entries without an entryUUID get one in the file, so that a later change of their DN keeps the
 * mailbox. */
#include "common/directory/server.h"
#include "common/base/clock.h"
#include "common/base/grant.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- lists -- */

static int address_cmp(const void *a, const void *b)
{
    struct span x = (*(const struct people_entry *const *)a)->address;
    struct span y = (*(const struct people_entry *const *)b)->address;
    int d = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return d ? d : (x.n > y.n) - (x.n < y.n);
}

static void send_accounts(struct request *r, const struct people_entry *const *v, size_t n)
{
    struct buf b;
    buf_init(&b, DIRW_ANSWER_LIMIT);
    do {
        size_t count = n < DIRW_ENTRY_PAGE ? n : DIRW_ENTRY_PAGE;
        buf_reset(&b);
        bool ok = buf_add_u8(&b, count < n) && buf_add_u32(&b, (uint32_t)count);
        for (size_t i = 0; ok && i < count; i++)
            ok = put_entry(&b, r->conn->s, v[i], false);
        reply(r->conn, r->type, r->seq, ok ? ERR_OK : ERR_LIMIT, ok ? buf_span(&b) : SPAN_NONE);
        if (!ok)
            break;
        v += count;
        n -= count;
    } while (n);
    buf_free(&b);
}

bool serve_accounts(struct request *r)
{
    struct server *s = r->conn->s;
    struct span filter = dirw_text(&r->in);
    if (!dirw_whole(&r->in))
        return false;
    if (!s->view) {
        reply(r->conn, r->type, r->seq, ERR_RETRY, SPAN_NONE);
        return true;
    }
    size_t all = people_count(s->view->people), accounts = 0;
    const struct people_entry **v = xcalloc(all + 1, sizeof(struct people_entry *));
    size_t n = book_search(s->view->book, filter, v, all);
    for (size_t i = 0; i < n; i++)
        if (v[i]->kind != PEOPLE_GROUP)
            v[accounts++] = v[i];
    if (accounts)
        qsort(v, accounts, sizeof *v, address_cmp);
    send_accounts(r, v, accounts);
    free(v);
    return true;
}

/* -- one entry -- */

/* A value on one line: control bytes become blanks. */
static bool put_line(struct buf *b, const char *key, struct span value)
{
    bool ok = buf_addf(b, "%s=", key);
    for (size_t i = 0; ok && i < value.n; i++)
        ok = buf_add_char(b, (unsigned char)value.p[i] < ' ' || value.p[i] == 127 ? ' ' : value.p[i]);
    return ok && buf_add_char(b, '\n');
}

static bool put_groups(struct buf *b, struct server *s, const struct people_entry *e)
{
    enum { SHOWN = 500 };
    const struct people_entry *v[SHOWN];
    size_t n = people_groups(s->view->people, e, v, SHOWN);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = put_line(b, "in_group", v[i]->address);
    return ok;
}

static bool put_shown(struct buf *b, struct server *s, const struct people_entry *e)
{
    static const char *const kinds[] = {"person", "shared", "group"};
    char id[UUID_TEXT];
    uuid_format(&e->id, id);
    bool ok =
        buf_addf(b, "kind=%s\nid=%s\n", kinds[e->kind], id) && put_line(b, "address", e->address) &&
        put_line(b, "name", e->name) && put_line(b, "uid", e->uid) && put_line(b, "dn", e->dn) &&
        put_line(b, "title", e->title) && buf_add_str(b, "unit=") && units_path(e->unit, b) &&
        buf_addf(b, "\nquota_bytes=%llu\nquota_messages=%llu\n", (unsigned long long)e->quota_bytes,
                 (unsigned long long)e->quota_messages) &&
        buf_addf(b, "disabled=%s\nno_login=%s\n", e->disabled ? "yes" : "no", e->no_login ? "yes" : "no") &&
        put_line(b, "forward", e->forward) &&
        buf_addf(b, "passwords=%zu\nscram_keys=%zu\n", e->password_count, e->scram_count);
    if (ok && e->kind == PEOPLE_GROUP)
        ok = buf_addf(b, "members=%zu\nrestricted=%s\n", people_member_count(s->view->people, e),
                      e->restricted ? "yes" : "no");
    return ok && put_groups(b, s, e);
}

bool serve_show(struct request *r)
{
    struct server *s = r->conn->s;
    struct span name = dirw_text(&r->in);
    struct uuid id;
    if (!dirw_whole(&r->in))
        return false;
    const struct people_entry *e = NULL;
    if (s->view && uuid_parse(name, &id))
        e = people_by_id(s->view->people, &id);
    if (s->view && !e)
        e = people_find(s->view->people, name);
    if (s->view && !e)
        e = people_login(s->view->people, name);
    struct buf b;
    buf_init(&b, DIRW_ANSWER_LIMIT);
    if (!e)
        reply(r->conn, r->type, r->seq, server_knows(s) ? ERR_MISSING : ERR_RETRY, SPAN_NONE);
    else if (put_shown(&b, s, e))
        reply(r->conn, r->type, r->seq, ERR_OK, buf_span(&b));
    else
        reply(r->conn, r->type, r->seq, ERR_LIMIT, SPAN_NONE);
    buf_free(&b);
    return true;
}

/* -- reading now -- */

struct asked {
    struct conn *conn;
    uint16_t type;
    uint64_t seq;
};

static void on_read(void *arg, enum err_code code, struct span text)
{
    struct asked *a = arg;
    reply(a->conn, a->type, a->seq, code, text);
    conn_release(a->conn);
    free(a);
}

static void read_now(struct request *r, bool force)
{
    struct asked *a = xcalloc(1, sizeof *a);
    *a = (struct asked){r->conn, r->type, r->seq};
    conn_hold(r->conn);
    refresh_now(r->conn->s, force, on_read, a);
}

bool serve_sync(struct request *r)
{
    bool force = read_u8(&r->in);
    if (!dirw_whole(&r->in))
        return false;
    read_now(r, force);
    return true;
}

/* -- import -- */

enum { IMPORT_LIMIT = 512 << 20, RECORD_LIMIT = 32 << 20 };

static enum err_code load(int fd, struct buf *text, struct err *why)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > IMPORT_LIMIT)
        return err_set(why, ERR_LIMIT, NULL, "a file of at most %d bytes is expected", IMPORT_LIMIT);
    for (off_t at = 0; at < st.st_size;) {
        size_t want = st.st_size - at > (1 << 20) ? (size_t)1 << 20 : (size_t)(st.st_size - at);
        char *to = buf_reserve(text, want);
        ssize_t n = to ? pread(fd, to, want, at) : -1;
        if (n <= 0)
            return err_set(why, ERR_RETRY, NULL, "the file cannot be read");
        buf_commit(text, (size_t)n);
        at += n;
    }
    return ERR_OK;
}

struct import {
    struct copy_ids *ids; /* who is known keeps the id, however it was named before */
    struct buf out;
    size_t entries;
};

/* Printable ASCII that LDIF takes as it is (RFC 2849 SAFE-STRING). */
static bool is_safe(struct span v)
{
    bool safe = v.n == 0 || (v.p[0] != ' ' && v.p[0] != ':' && v.p[0] != '<' && v.p[v.n - 1] != ' ');
    for (size_t i = 0; i < v.n && safe; i++)
        safe = v.p[i] >= ' ' && v.p[i] < 127;
    return safe;
}

static bool put_value(struct buf *b, struct span name, struct span v)
{
    if (is_safe(v))
        return buf_add_span(b, name) && buf_add_str(b, ": ") && buf_add_span(b, v) && buf_add_char(b, '\n');
    return buf_add_span(b, name) && buf_add_str(b, ":: ") && buf_add_base64(b, v) && buf_add_char(b, '\n');
}

static bool on_import(void *arg, const struct ldif_record *r)
{
    struct import *m = arg;
    bool ok = buf_add_char(&m->out, '\n') && put_value(&m->out, SPAN("dn"), r->dn);
    for (size_t i = 0; ok && i < r->count; i++)
        ok = put_value(&m->out, r->v[i].name, r->v[i].value);
    if (ok && !ldif_get(r, "entryUUID").p) {
        struct uuid id;
        char text[UUID_TEXT];
        copy_ids_find(m->ids, r->dn, &id);
        uuid_format(&id, text);
        ok = put_value(&m->out, SPAN("entryUUID"), span_str(text));
    }
    m->entries++;
    return ok;
}

static enum err_code write_whole(const char *path, struct span text, struct err *why)
{
    char temp[4096];
    if (snprintf(temp, sizeof temp, "%s.new", path) >= (int)sizeof temp)
        return err_set(why, ERR_STATE, NULL, "%s: name too long", path);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(why, errno == EACCES || errno == EPERM ? ERR_DENIED : ERR_STATE, NULL, "%s: %s", temp,
                       strerror(errno));
    bool ok = true;
    while (ok && text.n) {
        ssize_t n = write(fd, text.p, text.n);
        ok = n > 0;
        text = span_drop(text, ok ? (size_t)n : 0);
    }
    ok = ok && fsync(fd) == 0;
    ok = close(fd) == 0 && ok;
    if (ok && rename(temp, path) == 0)
        return ERR_OK;
    err_set(why, ERR_STATE, NULL, "%s: %s", path, strerror(errno));
    unlink(temp);
    return ERR_STATE;
}

static enum err_code import_file(struct server *s, int fd, struct err *why)
{
    struct import m = {.ids = NULL};
    struct buf text;
    const struct conf *c = daemon_conf(s->d);
    if (strcmp(c->directory_source, "ldif") != 0)
        return err_set(why, ERR_STATE, NULL, "directory_source is not ldif: people are managed elsewhere");
    buf_init(&text, IMPORT_LIMIT + (1 << 20));
    buf_init(&m.out, (size_t)2 * IMPORT_LIMIT);
    struct arena *a = arena_new(RECORD_LIMIT);
    enum err_code code = load(fd, &text, why);
    if (code == ERR_OK)
        code = copy_ids_new(s->copy, &m.ids, why);
    if (code == ERR_OK && !buf_add_str(&m.out, "version: 1\n"))
        code = ERR_LIMIT;
    if (code == ERR_OK)
        code = ldif_read(buf_span(&text), a, on_import, &m, why);
    if (code == ERR_OK && m.entries == 0)
        code = err_set(why, ERR_SYNTAX, NULL, "there is no entry in it");
    if (code == ERR_OK)
        code = write_whole(c->directory_ldif, buf_span(&m.out), why);
    arena_free(&a);
    copy_ids_free(&m.ids);
    buf_wipe(&text);
    buf_wipe(&m.out);
    return code;
}

bool serve_import(struct request *r)
{
    struct err why = {.code = ERR_OK};
    bool force = read_u8(&r->in);
    if (!dirw_whole(&r->in) || r->fd < 0)
        return false;
    enum err_code code = import_file(r->conn->s, r->fd, &why);
    log_event(code == ERR_OK ? LOG_INFO : LOG_WARN, NULL, "directory.import", F_STR("code", err_name(code)),
              F_STR("why", why.log));
    if (code == ERR_OK)
        read_now(r, force);
    else
        reply(r->conn, r->type, r->seq, code, span_str(why.log));
    return true;
}

/* -- status -- */

bool serve_status(struct request *r)
{
    struct server *s = r->conn->s;
    const struct conf *c = daemon_conf(s->d);
    const struct view *v = s->view;
    struct buf b;
    if (!dirw_whole(&r->in))
        return false;
    long long age_s = s->contact_us ? (long long)((clock_wall_us() - s->contact_us) / 1000000) : -1;
    buf_init(&b, DIRW_ANSWER_LIMIT);
    bool ok = buf_addf(&b, "source=%s\ncomplete=%s\nfresh=%s\ncontact_s=%lld\nage_s=%lld\n",
                       c->directory_source, s->contact_us ? "yes" : "no", server_knows(s) ? "yes" : "no",
                       (long long)(s->contact_us / 1000000), age_s) &&
              buf_addf(&b, "accounts=%zu\ngroups=%zu\nunits=%zu\naddresses_claimed_twice=%zu\n",
                       v ? v->accounts : 0, v ? v->groups : 0, v ? v->units : 0, v ? v->claims : 0) &&
              buf_addf(&b, "logins=%llu\nlogins_failed=%llu\n", (unsigned long long)s->logins_good,
                       (unsigned long long)s->logins_bad) &&
              refresh_status(s, &b);
    reply(r->conn, r->type, r->seq, ok ? ERR_OK : ERR_LIMIT, buf_span(&b));
    buf_free(&b);
    return true;
}

/* -- grants -- */

/* What an administrator may have a grant for: tools that move whole mailboxes. Never "imap" or "web": such a
 * session would pass for the person's own. */
static bool is_tool(struct span protocol)
{
    return span_eq(protocol, SPAN("import")) || span_eq(protocol, SPAN("export"));
}

bool serve_grant(struct request *r)
{
    struct server *s = r->conn->s;
    struct uuid id = dirw_id(&r->in);
    bool over_quota = read_u8(&r->in);
    struct span protocol = dirw_text(&r->in);
    if (!dirw_whole(&r->in))
        return false;
    const struct people_entry *e = s->view ? people_by_id(s->view->people, &id) : NULL;
    if (!e || e->kind == PEOPLE_GROUP || !is_tool(protocol)) {
        enum err_code absent = server_knows(s) ? ERR_MISSING : ERR_RETRY;
        reply(r->conn, r->type, r->seq, e ? ERR_DENIED : absent, SPAN_NONE);
        return true;
    }
    char name[16];
    struct buf b;
    snprintf(name, sizeof name, "%.*s", SPAN_ARG(protocol));
    buf_init(&b, GRANT_LIMIT);
    bool ok = server_grant(s, e, name, "mailadm", over_quota, &b);
    reply(r->conn, r->type, r->seq, ok ? ERR_OK : ERR_LIMIT, ok ? buf_span(&b) : SPAN_NONE);
    buf_free(&b);
    log_event(LOG_INFO, NULL, "directory.grant.made", F_STR("protocol", name), F_SPAN("address", e->address),
              F_UINT("over_quota", over_quota), F_UINT("peer_uid", ipc_peer_uid(r->conn->ipc)),
              F_INT("peer_pid", ipc_peer_pid(r->conn->ipc)));
    return true;
}
