/* Makes a small store with one of each thing that a store can hold, for the tests of upgrades: run it with
 * the code of the release whose format is to be kept, pack the folder, and add the archive here. make_store
 * DIR && tar -C DIR --exclude=ballast -czf tests/data/store-N.tar.gz store What is in it stands in
 * tests/unit/test_store_care.c, which checks it. */
#include "tests/lib/engine_drive.h"
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 700 };

/* Account 1: INBOX with an expunged message, "Copies" and "Moved", a deleted mailbox with a message,
 * keywords. Account 2: one message of its own and one that account 1 has copied. Account 3: many, for slices.
 */
static void fill(struct engine *e)
{
    drive_deliver(e, 1, "stays in the inbox");    /* uid 1 */
    drive_deliver(e, 1, "was expunged");          /* uid 2 */
    drive_deliver(e, 1, "was moved away");        /* uid 3 */
    drive_deliver(e, 1, "was copied");            /* uid 4 */
    drive_deliver(e, 1, "copied, then expunged"); /* uid 5 */
    drive_deliver(e, 2, "of another account");
    drive_create(e, 1, "Copies");
    drive_create(e, 1, "Moved");
    drive_create(e, 1, "Gone");
    drive_append(e, 1, "Copies", "Việc", "appended with a keyword"); /* uid 1 */
    drive_append(e, 1, "Gone", NULL, "in a deleted mailbox");
    uint64_t inbox = drive_status(e, 1, "INBOX").id;
    drive_copy(e, 1, inbox, 4, 5, "Copies", false); /* uids 2, 3 */
    drive_copy(e, 1, inbox, 3, 3, "Moved", true);   /* uid 1 */
    drive_flags(e, 1, inbox, 2, 2, STORE_DELETED);
    drive_flags(e, 1, inbox, 5, 5, STORE_DELETED);
    drive_flags(e, 1, inbox, 1, 1, STORE_SEEN | STORE_FLAGGED);
    drive_expunge(e, 1, inbox);
    drive_delete(e, 1, "Gone");
    drive_call(e, drive_delivery(9, "for a group", true));
    drive_deliver(e, 3, "one of many");
    inbox = drive_status(e, 3, "INBOX").id;
    for (uint32_t n = 1; n < MANY; n *= 2)
        drive_copy(e, 3, inbox, 1, n, "INBOX", false);
}

/* A request in slices of which only the first is done. */
static void leave_half_done(struct engine *e)
{
    uint64_t inbox = drive_status(e, 3, "INBOX").id;
    engine_hurry(e); /* no second slice in the same batch */
    drive_leave_after(1);
    drive_call(e, drive_flags_job(3, inbox, 1, MANY, STORE_FLAGGED));
}

int main(int argc, char **argv)
{
    char dir[512];
    if (argc != 2 || (mkdir(argv[1], 0755) != 0 && access(argv[1], W_OK) != 0)) {
        fputs("usage: make_store DIR\n", stderr);
        return 64;
    }
    snprintf(dir, sizeof dir, "%s/store", argv[1]);
    const struct engine_options o = drive_options(dir);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct engine *e = drive_open(&o);
        fill(e);
        engine_close(&e);
        leave_half_done(drive_open(&o));
        _exit(1);
    }
    int status;
    bool left = waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 9;
    puts(left ? "made" : "failed");
    return left ? 0 : 70;
}
