/* Load by SMTP or LMTP: N sessions, each with one message under way, commands pipelined as mail systems do.
 * Prints one JSON object: seconds, messages taken, times from MAIL to the last answer, own CPU, and when the
 * last dot was sent and answered (CLOCK_MONOTONIC), so that a conductor can tell what happened after it.
 *
 *   load_smtp [OPTIONS] PORT
 *     --lmtp              speak LMTP                       --sessions N    at one time (1)
 *     --messages N        altogether (100)                 --size BYTES    of each (10240)
 *     --rcpts N           of each message (1)              --people N      u00000 .. (100)
 *     --domain D          theirs (bench.example)           --first N       first person and message (0)
 *     --to ADDRESS        this one only                    --login USER PASSWORD   AUTH PLAIN before MAIL
 *     --each-connects     a connection for each message    --sender ADDRESS
 *     --until-broken      a lost connection or a 4xx ends the run without a complaint */
#include "tests/bench/load.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    int port;
    bool lmtp, each_connects, until_broken;
    unsigned long sessions, messages, size, rcpts, people, first;
    const char *domain, *to, *user, *password, *sender;
} o = {.sessions = 1,
       .messages = 100,
       .size = 10240,
       .rcpts = 1,
       .people = 100,
       .domain = "bench.example",
       .sender = "nguoigui@ngoai.example"};

enum where { GREETING, HELLO, LOGIN, ENVELOPE, MESSAGE, QUIT };

struct session {
    struct link link;
    enum where where;
    unsigned long waits; /* answers still to come in this place */
    unsigned long number;
    double began;
};

static struct {
    struct letter letter;
    unsigned long started, answered, refused, open;
    double dot_at, answered_at;
    struct figures took;
    bool broken;
} run;

static void start(struct session *s);

static void base64(const char *in, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)(unsigned char)in[i] << 16;
        v |= i + 1 < n ? (unsigned)(unsigned char)in[i + 1] << 8 : 0U;
        v |= i + 2 < n ? (unsigned)(unsigned char)in[i + 2] : 0U;
        *out++ = digits[v >> 18 & 63];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? digits[v & 63] : '=';
    }
    *out = '\0';
}

static void login(struct session *s)
{
    char plain[400], text[600];
    int n = snprintf(plain, sizeof plain, "%c%s%c%s", 0, o.user, 0, o.password);
    if (n < 0 || (size_t)n >= sizeof plain)
        load_die("name or password is too long");
    base64(plain, (size_t)n, text);
    link_sayf(&s->link, "AUTH PLAIN %s\r\n", text);
    s->where = LOGIN;
    s->waits = 1;
}

static void envelope(struct session *s)
{
    if (run.started == o.messages || run.broken) {
        link_sayf(&s->link, "QUIT\r\n");
        s->where = QUIT;
        s->waits = 1;
        return;
    }
    s->number = run.started++;
    s->began = load_now();
    link_sayf(&s->link, "MAIL FROM:<%s>\r\n", o.sender);
    for (unsigned long i = 0; i < o.rcpts; i++) {
        if (o.to)
            link_sayf(&s->link, "RCPT TO:<%s>\r\n", o.to);
        else
            link_sayf(&s->link, "RCPT TO:<u%05lu@%s>\r\n", (o.first + s->number * o.rcpts + i) % o.people,
                      o.domain);
    }
    link_say(&s->link, "DATA\r\n", 6);
    s->where = ENVELOPE;
    s->waits = o.rcpts + 2;
}

static void message(struct session *s)
{
    letter_number(&run.letter, o.first + s->number);
    link_say(&s->link, run.letter.bytes, run.letter.n);
    link_say(&s->link, ".\r\n", 3);
    link_flush(&s->link);
    run.dot_at = load_now();
    s->where = MESSAGE;
    s->waits = o.lmtp ? o.rcpts : 1;
}

static void finished(struct session *s)
{
    run.answered++;
    run.answered_at = load_now();
    figures_add(&run.took, run.answered_at - s->began);
    if (o.each_connects) {
        link_sayf(&s->link, "QUIT\r\n");
        s->where = QUIT;
        s->waits = 1;
    } else {
        envelope(s);
    }
}

/* All answers of this place have come. */
static void go_on(struct session *s)
{
    switch (s->where) {
    case GREETING:
        link_sayf(&s->link, "%s khach.ngoai.example\r\n", o.lmtp ? "LHLO" : "EHLO");
        s->where = HELLO;
        s->waits = 1;
        break;
    case HELLO:
        if (o.user) {
            login(s);
            break;
        }
        /* fall through */
    case LOGIN:
        envelope(s);
        break;
    case ENVELOPE:
        message(s);
        break;
    case MESSAGE:
        finished(s);
        break;
    case QUIT:
        link_close(&s->link);
        run.open--;
        if (run.started < o.messages && !run.broken)
            start(s);
        break;
    }
}

static void broken(struct session *s, const char *line, size_t n)
{
    if (!o.until_broken)
        load_die("refused: %.*s", line ? (int)n : 6, line ? line : "closed");
    run.broken = true;
    run.refused++;
    link_close(&s->link);
    run.open--;
}

static void on_line(struct link *l, const char *line, size_t n)
{
    struct session *s = l->arg;
    if (!line || n < 3) {
        broken(s, line, n);
        return;
    }
    if (n > 3 && line[3] == '-')
        return;
    const bool last_of_envelope = s->where == ENVELOPE && s->waits == 1;
    if (line[0] != (last_of_envelope ? '3' : '2')) {
        broken(s, line, n);
        return;
    }
    if (--s->waits == 0)
        go_on(s);
}

static void start(struct session *s)
{
    run.open++;
    s->where = GREETING;
    s->waits = 1;
    link_open(&s->link, o.port, s);
}

static void options(int argc, char **argv)
{
    static const struct load_option rows[] = {{.name = "lmtp", .flag = &o.lmtp},
                                              {.name = "each-connects", .flag = &o.each_connects},
                                              {.name = "until-broken", .flag = &o.until_broken},
                                              {.name = "sessions", .number = &o.sessions},
                                              {.name = "messages", .number = &o.messages},
                                              {.name = "size", .number = &o.size},
                                              {.name = "rcpts", .number = &o.rcpts},
                                              {.name = "people", .number = &o.people},
                                              {.name = "first", .number = &o.first},
                                              {.name = "domain", .text = &o.domain},
                                              {.name = "to", .text = &o.to},
                                              {.name = "sender", .text = &o.sender},
                                              {.name = "login", .text = &o.user, .second = &o.password},
                                              {.name = NULL}};
    o.port = load_options(argc, argv, rows, "load_smtp [OPTIONS] PORT");
    if (!o.people || !o.rcpts)
        load_die("load_smtp: no people, or no recipients");
    if (o.sessions > o.messages)
        o.sessions = o.messages;
}

int main(int argc, char **argv)
{
    options(argc, argv);
    run.letter = letter_new(o.size);
    struct session *all = calloc(o.sessions + 1, sizeof *all);
    if (!all)
        load_die("out of memory");
    double began = load_now();
    for (unsigned long i = 0; i < o.sessions; i++)
        start(&all[i]);
    while (run.open)
        links_turn(on_line, 1000);
    double seconds = load_now() - began;
    printf("{\"messages\": %lu, \"refused\": %lu, \"seconds\": %.6f, \"own_cpu\": %.3f, \"p50_ms\": %.3f, "
           "\"p99_ms\": %.3f, \"began\": %.6f, \"dot_at\": %.6f, \"answered_at\": %.6f}\n",
           run.answered, run.refused, seconds, load_cpu(), 1e3 * figures_at(&run.took, 0.5),
           1e3 * figures_at(&run.took, 0.99), began, run.dot_at, run.answered_at);
    free(all);
    free(run.letter.bytes);
    free(run.took.v);
    return 0;
}
