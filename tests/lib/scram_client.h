/* The client's side of SCRAM (RFC 5802), for tests. */
#ifndef PROV_TESTS_SCRAM_CLIENT_H
#define PROV_TESTS_SCRAM_CLIENT_H

#include "common/base/buf.h"
#include "common/directory/scram.h"

struct scram_client {
    enum scram_hash hash;
    const char *header; /* gs2-header: "n,,", "y,,", "p=tls-exporter,,", "n,a=who," */
    struct span binding;
    char bare[400];     /* client-first-message-bare */
    char proof[2400];   /* client-final-message */
    char expected[700]; /* what the server must answer */
};

/* The first message goes to out. */
void scram_client_first(struct scram_client *c, const char *user, char *out, size_t size);
/* Answer the server's first message: c->proof is to be sent, c->expected comes back. False: it cannot be
 * read. */
bool scram_client_final(struct scram_client *c, struct span server_first, struct span password);

#endif
