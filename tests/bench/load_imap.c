/* Load by IMAP, plain, on 127.0.0.1. Three ways to use it:
 *
 *   load_imap append [OPTIONS] PORT    sessions that append messages to INBOX, each with some under way
 *     --sessions N (1)  --window N (1)  --messages N altogether (100)  --size BYTES (10240)  --people N (100)
 *     --user NAME  all to this one instead     --mailbox NAME (INBOX)
 *   load_imap script --user NAME PORT  lines of standard input are commands; each is sent when the one before
 * is answered load_imap probe --user NAME --pause MS [--people N --size BYTES --lmtp PORT] PORT   the
 * commands of standard input (first those before an empty line, once), again and again until SIGTERM; with
 *                                      --lmtp the last command is followed by a delivery
 *
 * Prints JSON: append one object; script one object for each command {command, ms, bytes, lines, status};
 * probe one object {command: {count, p50_ms, p99_ms, max_ms}}. */
#include "tests/bench/load.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
    int port;
    unsigned long sessions, window, messages, size, people, pause_ms, lmtp;
    const char *user, *password, *mailbox;
} o = {.sessions = 1,
       .window = 1,
       .messages = 100,
       .size = 10240,
       .people = 100,
       .pause_ms = 5,
       .password = "thu-dien-tu",
       .mailbox = "INBOX"};

/* -- append -- */

struct appender {
    struct link link;
    unsigned long number, under_way;
    bool in;
    double began[64]; /* of those under way, a ring: answers come in order */
    unsigned long head, tail;
};

static struct {
    struct letter letter;
    unsigned long started, answered, open;
    struct figures took;
} run;

static void append_more(struct appender *a)
{
    while (a->under_way < o.window && run.started < o.messages) {
        letter_number(&run.letter, run.started++);
        link_sayf(&a->link, "p APPEND %s {%zu+}\r\n", o.mailbox, run.letter.n);
        link_say(&a->link, run.letter.bytes, run.letter.n);
        link_say(&a->link, "\r\n", 2);
        a->began[a->head++ % 64] = load_now();
        a->under_way++;
    }
    if (a->under_way == 0) {
        link_close(&a->link);
        run.open--;
    }
}

static void on_append_line(struct link *l, const char *line, size_t n)
{
    struct appender *a = l->arg;
    if (!line)
        load_die("closed");
    if (n >= 4 && memcmp(line, "l OK", 4) == 0) {
        a->in = true;
    } else if (n >= 4 && memcmp(line, "p OK", 4) == 0) {
        figures_add(&run.took, load_now() - a->began[a->tail++ % 64]);
        a->under_way--;
        run.answered++;
    } else if (n >= 2 && (line[0] == 'p' || line[0] == 'l')) {
        load_die("refused: %.*s", (int)n, line);
    } else {
        return;
    }
    append_more(a);
}

static int append(void)
{
    if (o.window > 64)
        load_die("--window is 64 at most");
    run.letter = letter_new(o.size);
    struct appender *all = calloc(o.sessions, sizeof *all);
    if (!all)
        load_die("out of memory");
    for (unsigned long i = 0; i < o.sessions; i++) {
        link_open(&all[i].link, o.port, &all[i]);
        if (o.user)
            link_sayf(&all[i].link, "l LOGIN %s %s\r\n", o.user, o.password);
        else
            link_sayf(&all[i].link, "l LOGIN u%05lu@bench.example %s\r\n", i % o.people, o.password);
        link_flush(&all[i].link);
        run.open++;
    }
    double began = load_now();
    while (run.open)
        links_turn(on_append_line, 1000);
    printf("{\"messages\": %lu, \"seconds\": %.6f, \"own_cpu\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
           run.answered, load_now() - began, load_cpu(), 1e3 * figures_at(&run.took, 0.5),
           1e3 * figures_at(&run.took, 0.99));
    free(all);
    return 0;
}

/* -- one command after the other -- */

static struct talk {
    struct link link;
    char tag[16];
    unsigned long serial;
    size_t bytes, lines;
    bool answered, closed;
    char status[200];
} talk;

static void on_talk_line(struct link *l, const char *line, size_t n)
{
    size_t tag_n = strlen(talk.tag);
    (void)l;
    if (!line) {
        talk.closed = true;
        return;
    }
    talk.bytes += n + 2;
    talk.lines++;
    if (n > tag_n && line[0] == 'Z' && memcmp(line, talk.tag, tag_n) == 0) {
        talk.answered = true;
        snprintf(talk.status, sizeof talk.status, "%.*s", (int)(n - tag_n - 1), line + tag_n + 1);
    }
}

/* Seconds until the tagged answer. */
static double command(const char *text)
{
    snprintf(talk.tag, sizeof talk.tag, "Zq%07lux", ++talk.serial);
    talk.bytes = talk.lines = 0;
    talk.answered = false;
    double began = load_now();
    link_say(&talk.link, talk.tag, strlen(talk.tag));
    link_say(&talk.link, " ", 1);
    link_say(&talk.link, text, strlen(text));
    link_say(&talk.link, "\r\n", 2);
    link_flush(&talk.link);
    while (!talk.answered && !talk.closed)
        links_turn(on_talk_line, 1000);
    if (talk.closed)
        load_die("closed at %s", text);
    return load_now() - began;
}

static void login(void)
{
    char text[300];
    if (!o.user)
        load_die("--user is needed");
    link_open(&talk.link, o.port, &talk);
    snprintf(text, sizeof text, "LOGIN %s %s", o.user, o.password);
    command(text);
    if (strncmp(talk.status, "OK", 2) != 0)
        load_die("refused: %s", talk.status);
}

static bool read_line(char *line, int size)
{
    if (!fgets(line, size, stdin))
        return false;
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

static void print_text(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            putchar('\\');
        putchar(*s);
    }
    putchar('"');
}

static int script(void)
{
    static char line[65536];
    login();
    while (read_line(line, sizeof line)) {
        double seconds = command(line);
        printf("{\"command\": ");
        print_text(line);
        printf(", \"ms\": %.3f, \"bytes\": %zu, \"lines\": %zu, \"status\": ", 1e3 * seconds, talk.bytes,
               talk.lines);
        print_text(talk.status);
        printf("}\n");
        fflush(stdout);
    }
    return 0;
}

/* -- probe: what another session waits -- */

enum { COMMANDS = 16 };
static volatile sig_atomic_t stopped;

static void on_term(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

static struct lmtp {
    struct link link;
    struct letter letter;
    unsigned long answers, sent;
} lmtp;

static void on_any_line(struct link *l, const char *line, size_t n)
{
    if (l == &talk.link) {
        on_talk_line(l, line, n);
        return;
    }
    if (!line || n < 4 || (line[0] != '2' && line[0] != '3'))
        load_die("LMTP: %.*s", line ? (int)n : 6, line ? line : "closed");
    lmtp.answers += line[3] != '-';
}

static void lmtp_say(unsigned long answers)
{
    lmtp.answers = 0;
    link_flush(&lmtp.link);
    while (lmtp.answers < answers)
        links_turn(on_any_line, 1000);
}

static double deliver(void)
{
    double began = load_now();
    letter_number(&lmtp.letter, 50000000 + lmtp.sent++);
    link_sayf(&lmtp.link, "MAIL FROM:<p@ngoai.example>\r\nRCPT TO:<%s>\r\nDATA\r\n", o.user);
    lmtp_say(3);
    link_say(&lmtp.link, lmtp.letter.bytes, lmtp.letter.n);
    link_say(&lmtp.link, ".\r\n", 3);
    lmtp_say(1);
    return load_now() - began;
}

static void pause_some(void)
{
    struct timespec t = {(time_t)(o.pause_ms / 1000), (long)(o.pause_ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static void print_figures(const char *name, struct figures *f, bool last)
{
    print_text(name);
    printf(": {\"count\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}%s", f->n,
           1e3 * figures_at(f, 0.5), 1e3 * figures_at(f, 0.99), 1e3 * figures_at(f, 1), last ? "" : ", ");
}

static int probe(void)
{
    static char lines[COMMANDS][1000];
    static struct figures took[COMMANDS + 1];
    size_t count = 0;
    login();
    for (bool once = true; count < COMMANDS && read_line(lines[count], sizeof lines[0]);) {
        if (once && !lines[count][0])
            once = false;
        else if (once)
            command(lines[count]);
        else
            count++;
    }
    if (o.lmtp) {
        link_open(&lmtp.link, (int)o.lmtp, &lmtp);
        lmtp.letter = letter_new(o.size);
        link_sayf(&lmtp.link, "LHLO probe.example\r\n");
        lmtp_say(2);
    }
    signal(SIGTERM, on_term);
    printf("ready\n");
    fflush(stdout);
    while (!stopped) {
        for (size_t i = 0; i < count; i++)
            figures_add(&took[i], command(lines[i]));
        if (o.lmtp)
            figures_add(&took[count], deliver());
        pause_some();
    }
    printf("{");
    for (size_t i = 0; i < count; i++)
        print_figures(lines[i], &took[i], i + 1 == count && !o.lmtp);
    if (o.lmtp)
        print_figures("delivery", &took[count], true);
    printf("}\n");
    return 0;
}

static void options(int argc, char **argv)
{
    static const struct load_option rows[] = {
        {.name = "sessions", .number = &o.sessions}, {.name = "window", .number = &o.window},
        {.name = "messages", .number = &o.messages}, {.name = "size", .number = &o.size},
        {.name = "people", .number = &o.people},     {.name = "user", .text = &o.user},
        {.name = "mailbox", .text = &o.mailbox},     {.name = "pause", .number = &o.pause_ms},
        {.name = "lmtp", .number = &o.lmtp},         {.name = NULL}};
    o.port = load_options(argc, argv, rows, "load_imap append|script|probe [OPTIONS] PORT");
    if (!o.people || !o.sessions)
        load_die("load_imap: no people, or no sessions");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } ways[] = {{"append", append}, {"script", script}, {"probe", probe}};
    options(argc > 1 ? argc - 1 : argc, argc > 1 ? argv + 1 : argv);
    for (size_t i = 0; argc > 1 && i < sizeof ways / sizeof *ways; i++)
        if (strcmp(argv[1], ways[i].name) == 0)
            return ways[i].run();
    load_die("load_imap append|script|probe");
}
