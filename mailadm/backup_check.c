/* mailadm backup key and backup verify. Verify reads every file and chunk of a set against its manifest, then
 * opens the store's databases in a folder of their own, as a restore would: stored does that, in a run that
 * ends when it has looked (--probe). The segments are not copied for it: files of their size stand in for
 * them, since their bytes have just been checked. */
#include "mailadm/mailadm.h"
#include "mailadm/set.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

int adm_backup_key(const struct adm *a, int argc, char **argv)
{
    (void)a;
    if (argc != 2) {
        fputs("usage: mailadm backup key FILE\n", stderr);
        return EX_USAGE;
    }
    crypto_start();
    if (!seal_key_make(argv[1])) {
        fprintf(stderr, "mailadm: %s, %s.pub: %s\n", argv[1], argv[1], strerror(errno));
        return EX_CANTCREAT;
    }
    printf("%s.pub: for backup --encrypt-to. %s opens what was sealed to it: keep it elsewhere than the "
           "backups.\n",
           argv[1], argv[1]);
    return EX_OK;
}

struct verify {
    const char *dir, *stamp, *key_file, *scratch;
    unsigned char key[CRYPTO_HASH];
    bool has_key, no_open, set_aside;
    struct set set;
    char folder[SET_PATH];
    uint64_t files, bytes, faults, aside;
    bool opened;
};

static bool write_fd(void *arg, struct span bytes)
{
    const int *fd = arg;
    return adm_write(*fd, bytes);
}

/* Whether, and under which name, the probe wants a file of the set. */
static bool probe_path(const struct verify *v, const struct set_file *f, char out[SET_PATH])
{
    int n = -1;
    if (!*v->folder)
        return false;
    if (f->is_segment)
        n = snprintf(out, SET_PATH, "%s/segments/%08" PRIx32 ".seg", v->folder, f->segment);
    else if (strncmp(f->name, "store/open/", 11) == 0)
        n = snprintf(out, SET_PATH, "%s/segments/%s", v->folder, f->name + 11);
    else if (strncmp(f->name, "store/", 6) == 0)
        n = snprintf(out, SET_PATH, "%s/%s", v->folder, f->name + 6);
    return n > 0 && n < SET_PATH;
}

/* So that the next backup brings it anew: what is damaged, under its name, is of no use to anybody. */
static void put_aside(struct verify *v, const char *below)
{
    char path[SET_PATH], to[SET_PATH];
    path_put(path, "%s/%s", v->dir, below);
    path_put(to, "%s.damaged", path);
    if (rename(path, to) == 0)
        v->aside++;
    else if (errno != ENOENT)
        fprintf(stderr, "mailadm: %s: %s\n", path, strerror(errno));
}

/* below: the file's name in the folder when sets share it, or NULL. */
static void judge(struct verify *v, enum err_code code, const struct err *why, const char *below)
{
    if (code == ERR_OK)
        return;
    v->faults++;
    fprintf(stderr, "mailadm: %s\n", why->log);
    if (v->set_aside && below && code == ERR_SYNTAX)
        put_aside(v, below);
}

static void check_chunks(struct verify *v, const struct set_file *f, seal_out *out, void *arg)
{
    for (size_t i = 0; i < f->chunks; i++) {
        struct err why = {.code = ERR_OK};
        char name[SET_PATH];
        enum err_code code =
            set_read_chunk(v->dir, &v->set, f, i, v->has_key ? v->key : NULL, out, arg, &why);
        set_chunk_name(f->chunk[i].hash, name);
        judge(v, code, &why, name);
        if (code == ERR_DENIED)
            break; /* the others are sealed alike */
    }
}

static void check_one(struct verify *v, const struct set_file *f)
{
    struct err why = {.code = ERR_OK};
    char path[SET_PATH];
    int fd = -1;
    enum err_code code = ERR_OK;
    bool wanted = probe_path(v, f, path);
    if (wanted)
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (wanted && (fd < 0 || (f->is_segment && ftruncate(fd, (off_t)f->plain) != 0)))
        code = err_set(&why, ERR_RETRY, NULL, "%s: %s", path, strerror(errno));
    seal_out *out = fd >= 0 && !f->is_segment ? write_fd : NULL;
    if (code == ERR_OK && f->chunked)
        check_chunks(v, f, out, &fd);
    else if (code == ERR_OK)
        code = set_read_file(v->dir, &v->set, f, v->has_key ? v->key : NULL, out, &fd, &why);
    if (fd >= 0)
        close(fd);
    v->files++;
    v->bytes += f->size;
    judge(v, code, &why, f->is_segment ? f->name : NULL);
}

static int probe(struct verify *v, bool json)
{
    char path[SET_PATH];
    path_put(path, "%s/restored", v->folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    fflush(stdout);
    char at[PATH_MAX];
    const char *program = adm_program("stored", at);
    pid_t pid = program ? fork() : -1;
    if (pid == 0) {
        if (json && dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
            _exit(EX_OSERR);
        execl(program, program, "--probe", v->folder, (char *)NULL);
        _exit(EX_OSERR);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        fprintf(stderr, "mailadm: stored cannot be started for the check: %s\n", strerror(errno));
        return EX_UNAVAILABLE;
    }
    v->opened = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!v->opened)
        v->faults++;
    return EX_OK;
}

static bool make_folder(struct verify *v)
{
    static const char *const below[] = {"", "/db", "/segments"};
    if (v->scratch)
        path_put(v->folder, "%s", v->scratch);
    else
        path_put(v->folder, "%s/verify-%s", v->dir, v->set.stamp);
    if (!v->scratch)
        remove_tree(v->folder);
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        char path[SET_PATH];
        path_put(path, "%s%s", v->folder, below[i]);
        if (mkdir(path, 0700) != 0) {
            fprintf(stderr, "mailadm: %s: %s\n", path, strerror(errno));
            return false;
        }
    }
    return true;
}

static int read_options(struct verify *v, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char **text = strcmp(argv[i], "--set") == 0       ? &v->stamp
                            : strcmp(argv[i], "--key") == 0     ? &v->key_file
                            : strcmp(argv[i], "--scratch") == 0 ? &v->scratch
                                                                : NULL;
        if (text && i + 1 < argc) {
            *text = argv[++i];
        } else if (strcmp(argv[i], "--no-open") == 0) {
            v->no_open = true;
        } else if (strcmp(argv[i], "--set-aside") == 0) {
            v->set_aside = true;
        } else if (!v->dir && argv[i][0] != '-') {
            v->dir = argv[i];
        } else {
            v->dir = NULL;
            break;
        }
    }
    if (!v->dir || strlen(v->dir) > 3000) {
        fputs("usage: mailadm backup verify DIR [--set STAMP] [--key FILE] [--scratch FOLDER] [--no-open] "
              "[--set-aside] [--json]\n",
              stderr);
        return EX_USAGE;
    }
    v->has_key = v->key_file != NULL;
    if (v->has_key && !crypto_key_load(v->key_file, v->key)) {
        fprintf(stderr, "mailadm: %s: %s\n", v->key_file, errno ? strerror(errno) : "not a key");
        return EX_NOINPUT;
    }
    return EX_OK;
}

int adm_backup_verify(const struct adm *a, int argc, char **argv)
{
    struct verify v = {.files = 0};
    crypto_start();
    int status = read_options(&v, argc, argv);
    if (status == EX_OK)
        status = adm_set_open(v.dir, v.stamp, &v.set);
    const bool open_it = !v.no_open && (!*v.set.key || v.has_key);
    if (status == EX_OK && open_it && !make_folder(&v))
        status = EX_CANTCREAT;
    for (size_t i = 0; i < v.set.n && status == EX_OK; i++)
        check_one(&v, &v.set.v[i]);
    if (status == EX_OK && open_it && !v.faults)
        status = probe(&v, a->json);
    if (*v.folder)
        remove_tree(v.folder);
    if (status == EX_OK && a->json)
        printf("{\"set\": \"%s\", \"files\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"faults\": %" PRIu64
               ", \"set_aside\": %" PRIu64 ", \"opened\": %s}\n",
               v.set.stamp, v.files, v.bytes, v.faults, v.aside, v.opened ? "true" : "false");
    else if (status == EX_OK)
        printf("%s: %" PRIu64 " files, %.1f MiB, %" PRIu64 " faults%s%s\n", v.set.stamp, v.files,
               (double)v.bytes / 1048576, v.faults, v.aside ? ", set aside for the next backup to bring" : "",
               v.opened   ? "; its databases open"
               : v.faults ? ""
                          : "; its databases were not opened");
    set_free(&v.set);
    return status == EX_OK && v.faults ? EX_DATAERR : status;
}
