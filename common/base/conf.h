/* provmail.conf: "name = value" lines, # comments, a value may be quoted. Every option is a row in
 * conf/options.def. The check reports every fault at once, with file and line. An unknown option is a
 * fault; an option that a later release retires stays a row, so that an older file is always accepted. */
#ifndef PROV_BASE_CONF_H
#define PROV_BASE_CONF_H

#include "common/base/buf.h"
#include "common/base/err.h"

struct conf_list {
    char **v;
    size_t n;
};

#define CONF_C_STR const char *
#define CONF_C_PATH const char *
#define CONF_C_NUM uint64_t
#define CONF_C_SIZE uint64_t
#define CONF_C_TIME uint64_t
#define CONF_C_BOOL bool
#define CONF_C_LIST struct conf_list
#define CONF_C_LISTEN struct conf_list
#define CONF_C_HOST const char *
#define CONF_C_HOSTS struct conf_list

/* One member an option: c->workers, c->message_size_limit (bytes), c->imap_idle_timeout (ms) ... Strings
 * and lists belong to the conf; a PATH that was set empty is "". */
struct conf {
    const char *file; /* as given to conf_load */
    const char *dir;  /* its folder, absolute */
#define OPT(name, TYPE, def, lo, hi, help) CONF_C_##TYPE name;
#include "conf/options.def"
#undef OPT
};

/* Read path. All faults go to faults, a line each: "FILE:LINE: what is wrong".
 * ERR_OK: *out_conf is set, faults is empty. ERR_SYNTAX: faults says why. ERR_MISSING: no such file. */
CHECK_RESULT enum err_code conf_load(const char *path, struct conf **out_conf, struct buf *faults);
/* The same from memory, for tests and fuzzing; path only names the file. */
CHECK_RESULT enum err_code conf_parse(const char *path, struct span text, struct conf **out_conf,
                                      struct buf *faults);
void conf_free(struct conf **c);

/* The path "DIR/name" of a folder option and a name, in *out (reset first). False: too long. */
bool conf_path(const char *dir, const char *name, struct buf *out) CHECK_RESULT;

/* Walk the option table, for the sample file and the man page. */
struct conf_option {
    const char *name, *type, *def, *help;
    uint64_t lowest, highest;
};
size_t conf_options(const struct conf_option **out);

/* Split "ADDR:PORT" ("[v6]:PORT", "*:PORT"); both spans point into s. */
bool conf_host_port(struct span s, struct span *out_host, uint16_t *out_port) CHECK_RESULT;

/* The program for a start that fails: print "PROGRAM: FILE: faults" lines to stderr and answer the
 * sysexits number (EX_CONFIG, EX_NOINPUT). */
int conf_start_failed(const char *program, enum err_code code, const char *path, struct span faults);

#endif
