/* What runs that were cut left: their whole segments need not come again, all else goes. And what leaves a
 * folder of backups: sets beyond --keep, what runs that were cut left, and then the segments
 * and chunks that no set names. The hard point is not to take what a set needs: while one manifest cannot be
 * read nothing of the shared files goes, and old ones are read before anything new is named. */
#include "mailadm/backup_tidy.h"
#include "mailadm/set.h"
#include "common/base/buf.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>

/* -- segments of runs that were cut -- */

static const char notes[] = "segments";

void cut_note(const char *dir, const char *folder, const struct set *s, const struct set_file *f)
{
    char path[SET_PATH], hex[SET_HEX], line[400];
    hex_of(f->hash, sizeof f->hash, hex);
    int n = snprintf(line, sizeof line, "%s %s %s %" PRIu64 " %" PRIu64 " %08" PRIx32 " .\n", s->life,
                     *s->key ? s->key : "-", hex, f->size, f->plain, f->segment);
    path_put(path, "%s/%s/%s", dir, folder, notes);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    /* What is not noted comes again, no more. */
    if (fd < 0 || write(fd, line, (size_t)n) != n)
        fprintf(stderr, "mailadm: %s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void adopt_line(const char *line, const char *key, struct set *last)
{
    char life[33], sealed[SET_HEX], hex[SET_HEX], end = 0;
    struct set_file f = {.is_segment = true};
    unsigned char raw[16];
    if (sscanf(line, "%32s %64s %64s %" SCNu64 " %" SCNu64 " %8" SCNx32 " %c", life, sealed, hex, &f.size,
               &f.plain, &f.segment, &end) != 7 ||
        end != '.' || strlen(life) != 2 * sizeof raw || !hex_read(life, raw, sizeof raw) ||
        strlen(hex) != 2 * CRYPTO_HASH || !hex_read(hex, f.hash, sizeof f.hash) ||
        strcmp(sealed, *key ? key : "-") != 0)
        return;
    if (!last->n && !*last->life) {
        memcpy(last->life, life, sizeof last->life);
        snprintf(last->key, sizeof last->key, "%s", key);
    }
    if (strcmp(last->life, life) != 0 || set_segment(last, f.segment))
        return;
    char pool[SET_PATH], name[SET_PATH];
    set_pool(last, pool);
    path_put(name, "%.200s/%08" PRIx32 ".seg", pool, f.segment);
    struct set_file *own = set_add(last, name);
    f.name = own->name;
    *own = f;
}

void cut_adopt(const char *dir, const char *key, struct set *last)
{
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        char path[SET_PATH], line[500];
        if (strncmp(f->d_name, "new-", 4) != 0)
            continue;
        path_put(path, "%s/%s/%s", dir, f->d_name, notes);
        FILE *in = fopen(path, "re");
        while (in && fgets(line, sizeof line, in))
            if (strchr(line, '\n'))
                adopt_line(line, key, last);
        if (in)
            fclose(in);
    }
    if (d)
        closedir(d);
}

bool tidy_cut(const char *dir)
{
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *f; d && (f = readdir(d));) {
        char path[SET_PATH];
        if (strncmp(f->d_name, "new-", 4) != 0)
            continue;
        path_put(path, "%s/%s", dir, f->d_name);
        remove_tree(path);
        found = true;
    }
    if (d)
        closedir(d);
    return found;
}

struct named {
    UT_hash_handle hh;
    char name[]; /* below DIR */
};

static void add_name(struct named **all, const char *name)
{
    struct named *n;
    const size_t size = strlen(name);
    HASH_FIND(hh, *all, name, size, n);
    if (n)
        return;
    n = xcalloc(1, sizeof *n + size + 1);
    memcpy(n->name, name, size);
    HASH_ADD(hh, *all, name, size, n);
}

static void add_set(struct named **all, const struct set *s)
{
    char name[SET_PATH];
    for (size_t i = 0; i < s->n; i++) {
        const struct set_file *f = &s->v[i];
        if (f->is_segment)
            add_name(all, f->name);
        for (size_t k = 0; k < f->chunks; k++) {
            set_chunk_name(f->chunk[k].hash, name);
            add_name(all, name);
        }
    }
}

/* Files two levels below DIR/TOP that nobody names. */
static void sweep_pool(const char *dir, const char *pool, struct named *all)
{
    char path[SET_PATH], name[600];
    path_put(path, "%s/%s", dir, pool);
    DIR *d = opendir(path);
    for (struct dirent *f; d && (f = readdir(d));) {
        struct named *n;
        if (*f->d_name == '.')
            continue;
        snprintf(name, sizeof name, "%.300s/%.250s", pool, f->d_name);
        HASH_FIND(hh, all, name, strlen(name), n);
        path_put(path, "%s/%s", dir, name);
        if (!n)
            unlink(path);
    }
    if (d)
        closedir(d);
    path_put(path, "%s/%s", dir, pool);
    if (d)
        rmdir(path); /* when it is empty */
    else
        unlink(path); /* a chunk on its way */
}

static void sweep_top(const char *dir, const char *top, struct named *all)
{
    char path[SET_PATH], pool[300];
    path_put(path, "%s/%s", dir, top);
    DIR *d = opendir(path);
    for (struct dirent *f; d && (f = readdir(d));) {
        if (*f->d_name == '.')
            continue;
        snprintf(pool, sizeof pool, "%s/%.250s", top, f->d_name);
        sweep_pool(dir, pool, all);
    }
    if (d)
        closedir(d);
}

size_t tidy_sets(const char *dir, uint64_t keep)
{
    struct stamps l = {NULL, 0};
    struct err why = {.code = ERR_OK};
    struct named *all = NULL, *n, *next;
    size_t gone = 0;
    bool read = set_list(dir, &l, &why) == ERR_OK;
    for (size_t i = 0; i < l.n && read; i++) {
        char path[SET_PATH];
        struct set s;
        if (keep && i >= keep) {
            path_put(path, "%s/sets/%s", dir, l.v[i]);
            gone += remove_tree(path) ? 1 : 0;
        } else if (set_read(dir, l.v[i], &s, &why) == ERR_OK) {
            add_set(&all, &s);
            set_free(&s);
        } else {
            fprintf(stderr, "mailadm: %s: so nothing that sets share is removed\n", why.log);
            read = false; /* it may name anything */
        }
    }
    if (read) {
        sweep_top(dir, "segments", all);
        sweep_top(dir, "chunks", all);
    }
    HASH_ITER(hh, all, n, next)
    {
        HASH_DEL(all, n);
        free(n);
    }
    free(l.v);
    return gone;
}
