/* The copy's part of a backup: every table and the log, hot, into a pipe (common/store/dbcopy.h). The hard
 * point is the log: the library removes old files by itself, which must not happen between tables and log. */
#include "common/directory/copy_int.h"
#include "common/store/dbcopy.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum err_code copy_backup(struct copy *c, const char *dir, int fd, _Atomic bool *stop, uint64_t *sent,
                          struct err *why)
{
    struct dbcopy d;
    char home[4096], file[64], name[80];
    why->code = ERR_OK;
    dbcopy_start(&d, fd, stop, why);
    int n = snprintf(home, sizeof home, "%s/db", dir);
    int home_fd = n > 0 && (size_t)n < sizeof home ? open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (home_fd < 0)
        d.code = err_set(why, ERR_RETRY, NULL, "%s: %s", home, strerror(errno));
    int ret = c->env->log_set_config(c->env, DB_LOG_AUTO_REMOVE, 0);
    if (ret != 0 && d.code == ERR_OK)
        d.code = err_set(why, ERR_RETRY, NULL, "holding the log: %s", db_strerror(ret));
    for (int t = 0; t < C_TABLES && home_fd >= 0; t++) {
        snprintf(file, sizeof file, "%s.db", copy_table_name((enum copy_table)t));
        snprintf(name, sizeof name, "db/%s", file);
        dbcopy_table(&d, c->env, file, name);
    }
    if (home_fd >= 0)
        dbcopy_logs(&d, c->env, home_fd, "db/");
    ret = c->env->log_set_config(c->env, DB_LOG_AUTO_REMOVE, 1);
    if (ret != 0 && d.code == ERR_OK)
        d.code = err_set(why, ERR_RETRY, NULL, "letting the log go: %s", db_strerror(ret));
    enum err_code code = dbcopy_finish(&d);
    *sent = d.sent;
    if (home_fd >= 0)
        close(home_fd);
    return code;
}
