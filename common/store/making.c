/* The making of a new store. The file `making` is there from before the first database to after the last: a
 * crash between leaves databases that recovery cannot settle, since their names and bytes reach the disk in
 * any order. Nothing is in them yet, so a start that finds the file begins anew. */
#include "common/store/engine_int.h"
#include "common/base/fault.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool wipe_databases(struct engine *e)
{
    int fd = openat(e->db_dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    bool ok = d != NULL;
    for (struct dirent *f; ok && (f = readdir(d));)
        if (f->d_name[0] != '.')
            ok = unlinkat(e->db_dir_fd, f->d_name, 0) == 0;
    if (d)
        closedir(d);
    log_event(LOG_WARN, NULL, "store.making.begun_again", F_STR("dir", e->dir));
    return ok && (unlinkat(e->dir_fd, "pages", 0) == 0 || errno == ENOENT) && fsync(e->db_dir_fd) == 0;
}

bool making_begin(struct engine *e)
{
    if (faccessat(e->dir_fd, "making", F_OK, 0) == 0) {
        e->making = true;
        return wipe_databases(e);
    }
    if (faccessat(e->dir_fd, "format", F_OK, 0) == 0 || faccessat(e->dir_fd, "db/store.db", F_OK, 0) == 0)
        return true;
    int fd = openat(e->dir_fd, "making", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0 || close(fd) != 0)
        return false;
    e->making = true;
    return fsync(e->dir_fd) == 0;
}

bool making_end(struct engine *e)
{
    FAULT_STEP("store.making.done");
    return !e->making || (unlinkat(e->dir_fd, "making", 0) == 0 && fsync(e->dir_fd) == 0);
}
