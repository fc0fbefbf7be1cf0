/* Friend header of the sources: what each of them brings. */
#ifndef PROV_DIRECTORY_SOURCE_INT_H
#define PROV_DIRECTORY_SOURCE_INT_H

#include "common/directory/source.h"

struct source_ops {
    enum err_code (*read)(struct source *s, source_record_cb *cb, void *arg, struct err *why);
    /* NULL: passwords cannot be checked there. */
    enum err_code (*bind)(struct source *s, struct span dn, struct span password, struct err *why);
    void (*free)(struct source *s);
};
/* The first member of each source's own struct. */
struct source {
    const struct source_ops *ops;
};

#endif
