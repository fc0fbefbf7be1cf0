/* Deletes the records of all contents of a stopped store: lose_records STORE. Their bytes stay in the
 * segments, whose heads verify reads. Prints how many there were. */
#include "tests/lib/engine_drive.h"
#include <stdio.h>

static bool lose_next(struct engine *e)
{
    struct tx t;
    struct scan s;
    struct span key, value;
    unsigned char id[KEY_ID];
    if (tx_begin(e, false, &t) != ERR_OK)
        return false;
    scan_open(&s, &t, T_CONTENT, SPAN_NONE, 0, 4096);
    bool found = scan_next(&s, &key, &value);
    if (found)
        memcpy(id, key.p, sizeof id);
    found = scan_close(&s) == ERR_OK && found && tx_del(&t, T_CONTENT, span_of(id, sizeof id)) == ERR_OK &&
            tx_commit(&t) == ERR_OK;
    tx_free(&t);
    return found;
}

int main(int argc, char **argv)
{
    unsigned n = 0;
    if (argc != 2) {
        fputs("usage: lose_records STORE\n", stderr);
        return 64;
    }
    const struct engine_options o = drive_options(argv[1]);
    struct engine *e = drive_open(&o);
    while (lose_next(e))
        n++;
    engine_close(&e);
    printf("%u\n", n);
    return 0;
}
