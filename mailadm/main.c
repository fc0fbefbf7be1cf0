/* mailadm: the administrator's program. A table of subcommands; each has its own file. Options may stand
 * before or behind the subcommand's words. What asks the daemons' admin sockets does it by ask.h. */
#include "mailadm/mailadm.h"
#include <unistd.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

struct subcommand {
    const char *first, *second; /* second: NULL for a single word */
    int (*run)(const struct adm *a, int argc, char **argv);
    bool operands; /* takes words and options of its own */
    const char *usage, *help;
};

static const struct subcommand table[] = {
    {"supervise", NULL, adm_supervise, true, "supervise [--detach] [--programs DIR] [--also NAME COMMAND]...",
     "Start stored, directoryd, imapd and smtpd in this order and start them again when they end.\n"
     "  --detach              go to the background; return when all are ready\n"
     "  --programs DIR        folder of the daemons (default: beside mailadm)\n"
     "  --also NAME COMMAND   keep a shell command running too, such as the web server\n"},
    {"status", NULL, adm_status, false, "status [--json]", "Say which daemons run.\n"},
    {"config", "check", adm_config_check, false, "config check [--json]",
     "Report all faults of the configuration, with file and line.\n"},
    {"config", "sample", adm_config_sample, false, "config sample",
     "Print a configuration with every option, its default and what it does.\n"},
    {"config", "man", adm_config_man, false, "config man", "Print the manual page provmail.conf(5).\n"},
    {"account", "list", adm_account_list, true, "account list [FILTER] [--json]",
     "List accounts with their figures; FILTER: those whose address or name holds it.\n"},
    {"account", "show", adm_account_show, true, "account show ADDRESS [--json]",
     "Say all that is known of an account.\n"},
    {"quota", "list", adm_quota_list, true, "quota list [--over] [UNIT] [--json]",
     "List limits and use of units and accounts; UNIT (code, name or id): only of it and what is below it.\n"
     "  --over  only what is full\n"},
    {"quota", "show", adm_quota_show, true, "quota show ACCOUNT|UNIT [--json]",
     "Show limits and use of an account, with the units above it, or of a unit.\n"},
    {"account", "hold", adm_account_hold, true, "account hold ADDRESS [--release] [--json]",
     "Put an account under legal hold: nothing of it is purged.\n  --release  take the hold away\n"},
    {"mailbox", "list", adm_mailbox_list, true, "mailbox list ACCOUNT [--json]",
     "List the mailboxes of an account (an address or an id).\n"},
    {"backup", "key", adm_backup_key, true, "backup key FILE",
     "Make a key pair for encrypted backups: FILE (secret) and FILE.pub.\n"},
    {"backup", "verify", adm_backup_verify, true,
     "backup verify DIR [--set STAMP] [--key FILE] [--scratch FOLDER] [--no-open] [--set-aside] [--json]",
     "Check a backup against its manifest, and open its databases as a restore would.\n"
     "  --set STAMP       not the newest one\n"
     "  --key FILE        the secret key of an encrypted one (without it only the manifest is checked)\n"
     "  --scratch FOLDER  where the databases are opened, removed at the end (default: in DIR)\n"
     "  --no-open         do not open them\n"
     "  --set-aside       rename what is damaged and shared by sets, so that the next backup brings it "
     "anew\n"},
    {"backup", NULL, adm_backup, true, "backup DIR [--encrypt-to KEY.pub] [--keep N] [--json]",
     "Back up the store, the directory copy, configuration, keys and certificates, while all runs.\n"
     "  --encrypt-to KEY.pub  so that only the secret key of the pair reads it\n"
     "  --keep N              remove all but the newest N backups in DIR at the end\n"},
    {"queue", "release", adm_queue_release, false, "queue release",
     "Let go what was queued when the store was backed up (held since a restore).\n"},
    {"restore", NULL, adm_restore, true,
     "restore DIR [--set STAMP] [--key FILE] [--force] [--store-only] [--json]\n"
     "  mailadm restore --account ACCOUNT [--mailbox NAME] --at TIME [--into FOLDER | --in-place] [options]",
     "Put everything back from a backup, while stored and directoryd do not run.\n"
     "  --set STAMP     not the newest one\n"
     "  --key FILE      the secret key of an encrypted backup\n"
     "  --force         move aside what is there\n"
     "  --store-only    leave the directory copy as it is\n"
     "With --account:\n"
     "Bring a mailbox, or all of an account, back as it was at TIME, while the system runs.\n"
     "  --at TIME       2026-11-27T20:15:00+07:00, \"2026-11-27 20:15\" (local), \"2 hours ago\", 30m, 3d\n"
     "  --into FOLDER   into this folder (default: \"Recovered/\" and the time); run again, it goes on\n"
     "  --in-place      make the mailbox what it was: what came or changed since is taken back\n"
     "  --keep-new      with --in-place: messages that came since stay\n"
     "  --over-quota    also when the account's quota is passed\n"
     "  --dry-run       say only what would be done\n"},
    {"undelete", NULL, adm_undelete, true,
     "undelete ACCOUNT [--mailbox NAME] [--since TIME] [--into FOLDER] [--all] [--list] [--over-quota]",
     "Bring back messages that were expunged and folders that were deleted (within undelete_window).\n"
     "  --mailbox NAME  only of this mailbox\n"
     "  --since TIME    only what was deleted since then (forms of TIME: see restore)\n"
     "  --into FOLDER   into this folder, not where they were\n"
     "  --all           also messages of which the account still has a copy elsewhere\n"
     "  --list          say only what could be brought back\n"},
    {"trace", NULL, adm_trace, true, "trace ID [--json]",
     "Say where a message is and was, by the id of its 250 reply or its Received field.\n"},
    {"directory", "status", adm_directory_status, false, "directory status [--json]",
     "Say where people come from and how fresh the copy is.\n"},
    {"directory", "sync", adm_directory_sync, true, "directory sync [--force] [--json]",
     "Read the source now.\n  --force  also when more accounts would go than directory_remove_limit "
     "permits\n"},
    {"directory", "import", adm_directory_import, true, "directory import FILE [--force] [--json]",
     "Put an LDIF file in the place of the source file and read it.\n  --force  as for sync\n"},
    {"store", "stats", adm_store_stats, false, "store stats [--json]", "Print the counters of the store.\n"},
    {"import", "mbox", adm_import_mbox, true,
     "import mbox PATH --account A [--mailbox M] [--not-quoted] [--dry-run] [--json] ...",
     "Bring the messages of an mbox file, or of a folder of *.mbox files, into accounts.\n"
     "  --account A           into this one; or several, several at a time:\n"
     "  --accounts FILE       lines ADDRESS [PATH]; without PATH the one given, where %u is the local part "
     "of the\n"
     "                        address, %d its domain, %s all of it\n"
     "  --all-accounts        all of the directory for whom there is something at PATH\n"
     "  --jobs N              accounts at a time (2)\n"
     "  --mailbox M           into this mailbox (default: the file's name; a spool: INBOX)\n"
     "  --not-quoted          the file is mboxcl2: \">From\" in it is meant so\n"
     "  --dry-run             only say what would come\n"
     "  --over-quota          the accounts' limits do not hold\n"
     "  --notes DIR           where it notes what is done (log_dir/import); run again, it goes on there\n"
     "  --report FILE         what was refused and why, a JSON value a line (NOTES/report.json)\n"},
    {"import", "maildir", adm_import_maildir, true,
     "import maildir DIR --account A [--mailbox M] [--sync] [--dry-run] [--json] ...",
     "Bring a Maildir with all its folders (Maildir++), flags, keywords and subscriptions into accounts.\n"
     "  --mailbox M           only this one\n"
     "  --sync                take away here what an earlier run brought and what is gone there now\n"
     "  --force               also when that is more than half of it\n"
     "All else as for import mbox.\n"},
    {"store", "verify", adm_store_verify, true, "store verify [--deep] [--repair] [--rate BYTES] [--json]",
     "Check every reference, counter and place of the running store; exit 1 when findings are left.\n"
     "  --deep        read all contents too, against their checksums\n"
     "  --repair      rebuild what can be rebuilt\n"
     "  --rate BYTES  a second that --deep reads at most (50M)\n"},
    {"store", "purge", adm_store_purge, false, "store purge [--json]",
     "Purge now what is older than undelete_window and trace_window, and remove segments that hold "
     "nothing.\n"},
    {"store", "compact", adm_store_compact, false, "store compact [--json]",
     "Give the space of dead contents back now, also of segments that would not be worth it yet.\n"},
    {"store", "upgrade", adm_store_upgrade, false, "store upgrade [--json]",
     "Bring the store of a stopped stored to this release's format. (stored does it at its start as "
     "well.)\n"},
    {"import", "imap", adm_import_imap, true,
     "import imap --host H --user LOGIN --password-file F --account A [--authzid-admin ADMIN] [--sync] ...",
     "Bring all mailboxes of a running IMAP server into accounts. Run again, it brings what is new and "
     "changed.\n"
     "  --host H, --port P    the server\n"
     "  --tls                 TLS from the start (the default; port 993)\n"
     "  --starttls            STARTTLS (port 143)\n"
     "  --insecure-loopback   no TLS, only to this machine\n"
     "  --ca-file F           authorities to trust (default: the system's)\n"
     "  --no-verify           take any certificate\n"
     "  --patience SECONDS    wait so long for the server's next bytes (default 180)\n"
     "  --user LOGIN          the login there, %u, %d, %s as above (default %s)\n"
     "  --password-file F     its password, or ADMIN's\n"
     "  --authzid-admin ADMIN log in as ADMIN for the user (SASL PLAIN with authzid): no user's password is "
     "needed\n"
     "  --master SEP          the same for servers that want it in the name: LOGIN SEP ADMIN (Dovecot: "
     "\"*\")\n"
     "  --accounts FILE       lines ADDRESS [LOGIN [PASSWORD-FILE]]\n"
     "  --shared              public and other people's mailboxes too, under their names\n"
     "  --sync                take away here what an earlier run brought and what is gone there now\n"
     "  --force               also when that is more than half of it\n"
     "All else as for import mbox.\n"},
    {"export", NULL, adm_export, true, "export ACCOUNT [--mailbox M] --format maildir|mbox --to DIR [--json]",
     "Write an account's mailboxes to an empty folder, with flags, keywords and dates; import reads them "
     "back. Cut in the middle, the same command goes on.\n"
     "  --format maildir      Maildir++ as Dovecot keeps it, with subscriptions\n"
     "  --format mbox         mboxrd, a file for each mailbox\n"
     "  --mailbox M           only this one\n"},
};
enum { ROWS = sizeof table / sizeof *table };

int adm_conf(const struct adm *a, struct conf **out)
{
    struct buf faults;
    buf_init(&faults, 1 << 20);
    enum err_code code = conf_load(a->file, out, &faults);
    int status = code == ERR_OK ? EX_OK : conf_start_failed("mailadm", code, a->file, buf_span(&faults));
    buf_free(&faults);
    return status;
}

bool adm_write(int fd, struct span bytes)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return false;
        bytes = span_drop(bytes, (size_t)n);
    }
    return true;
}

void adm_json(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 32)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void usage(FILE *f)
{
    fputs("usage: mailadm [--config FILE] SUBCOMMAND [--help]\n", f);
    for (size_t i = 0; i < ROWS; i++)
        fprintf(f, "  mailadm %s\n", table[i].usage);
    fprintf(f, "The default FILE is %s/provmail.conf.\n", PROV_SYSCONFDIR);
}

static const struct subcommand *find(int argc, char **argv)
{
    for (size_t i = 0; i < ROWS; i++)
        if (argc > 0 && strcmp(argv[0], table[i].first) == 0 &&
            (!table[i].second || (argc > 1 && strcmp(argv[1], table[i].second) == 0)))
            return &table[i];
    return NULL;
}

/* Take --config, --json, --help and --version out of argv, up to the command of an --also. */
static int common_options(struct adm *a, int *argc, char **argv, bool *help)
{
    int n = 0;
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--config") == 0) {
            if (++i == *argc)
                return EX_USAGE;
            a->file = argv[i];
        } else if (strcmp(argv[i], "--json") == 0) {
            a->json = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *help = true;
        } else {
            bool also = strcmp(argv[i], "--also") == 0;
            argv[n++] = argv[i];
            for (int k = 0; also && k < 2 && i + 1 < *argc; k++)
                argv[n++] = argv[++i];
        }
    }
    *argc = n;
    return EX_OK;
}

/* What was typed is no subcommand, or more than it takes. */
static int misused(const struct subcommand *c, int argc, char **argv)
{
    int words = c && c->second ? 2 : 1;
    if (c) {
        fprintf(stderr, "mailadm: %s takes no %s\nusage: mailadm [--config FILE] %s\n", argv[words - 1],
                argv[words], c->usage);
    } else {
        if (argc > 0)
            fprintf(stderr, "mailadm: no subcommand %s%s%s\n", argv[0], argc > 1 ? " " : "",
                    argc > 1 ? argv[1] : "");
        usage(stderr);
    }
    return EX_USAGE;
}

int main(int argc, char **argv)
{
    struct adm a = {.file = PROV_SYSCONFDIR "/provmail.conf"};
    bool help = false;
    int status = common_options(&a, &argc, argv, &help);
    const struct subcommand *c = find(argc, argv);
    if (argc == 1 && strcmp(argv[0], "--version") == 0) {
        puts("mailadm (" PACKAGE_NAME ") " PACKAGE_VERSION);
        return EX_OK;
    }
    if (status == EX_OK && help) {
        if (c)
            printf("usage: mailadm [--config FILE] %s\n%s", c->usage, c->help);
        else
            usage(stdout);
        return EX_OK;
    }
    int words = c && c->second ? 2 : 1;
    if (status != EX_OK || !c || (!c->operands && argc > words))
        return misused(status == EX_OK ? c : NULL, status == EX_OK ? argc : 0, argv);
    return c->run(&a, argc - words + 1, argv + words - 1);
}
