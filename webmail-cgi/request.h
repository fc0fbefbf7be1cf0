/* One CGI request (RFC 3875): method, path, fields of the query and of a form, cookies, uploaded files. All
 * spans are borrowed from the request and live until request_free. */
#ifndef PROV_WEB_REQUEST_H
#define PROV_WEB_REQUEST_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"
#include <sys/types.h>

enum { REQUEST_FIELDS_LIMIT = 2000, REQUEST_TEXT_LIMIT = 8 << 20, REQUEST_FILES_LIMIT = 200 };

struct field {
    struct span name, value;
};
struct upload {
    struct span name; /* as the browser gave it, without folders, UTF-8 */
    struct span type; /* "" when none */
    struct buf data;
};
struct request {
    bool post;
    struct span path;
    struct field *query, *form;
    size_t query_count, form_count;
    struct upload *uploads;
    size_t upload_count;
    bool too_big; /* files were left out, because they pass the limit; the fields are whole */
    bool cut;     /* the body ended before its end */
    struct arena *a;
    struct buf body;
};

/* Read environment and standard input. upload_limit bounds the sum of the files.
 * ERR_OK; ERR_SYNTAX: not a request that we know; ERR_LIMIT: too much text. */
CHECK_RESULT enum err_code request_read(struct request *r, uint64_t upload_limit);
void request_free(struct request *r);

/* The first field of that name, "" when there is none. */
struct span request_query(const struct request *r, const char *name);
struct span request_form(const struct request *r, const char *name);
uint32_t request_query_num(const struct request *r, const char *name);
uint32_t request_form_num(const struct request *r, const char *name);
/* The cookie of that name, "" when there is none. */
struct span request_cookie(const char *name);
/* An environment variable as a span, "" when it is not set. */
struct span request_env(const char *name);
/* Whether a POST comes from a page of ours: Sec-Fetch-Site, else Origin against Host. */
bool request_same_origin(void);

/* For tests. */
void request_parse_urlencoded(struct request *r, struct span s, struct field **out, size_t *out_count);
CHECK_RESULT enum err_code request_parse_multipart(struct request *r, struct span type, uint64_t upload_limit,
                                                   ssize_t (*read_some)(void *arg, char *to, size_t n),
                                                   void *arg);

#endif
