/* What the load programs share: clocks, figures, messages and lines over many non-blocking connections. They
 * are to be lighter than any server they load: a message is made once and only its number changes, each
 * connection has one write for all that it may say at a time, and nothing is parsed beyond the ends of lines.
 */
#ifndef TESTS_BENCH_LOAD_H
#define TESTS_BENCH_LOAD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

double load_now(void); /* seconds, CLOCK_MONOTONIC */
double load_cpu(void); /* seconds that this process has used */

/* Ends the process with status 1 and a sentence. */
_Noreturn void load_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* -- the command line -- */

/* An option and what it sets; of the pointers those that are not wanted are NULL. */
struct load_option {
    const char *name;
    bool *flag;            /* set to true: the option takes no word */
    unsigned long *number; /* its word as a number */
    const char **text;     /* its word; borrowed from argv */
    const char **second;   /* the word behind that, when the option takes two */
};
/* Read options up to a row without a name, then the one word behind them: a port. Ends the process with the
 * usage line when there is another count of words, with status 64 at an unknown option. */
int load_options(int argc, char **argv, const struct load_option *rows, const char *usage);

/* -- figures: times of single items, in seconds -- */

struct figures {
    double *v;
    size_t n, cap;
};
void figures_add(struct figures *f, double seconds);
double figures_at(struct figures *f, double share); /* 0.5: the median; sorts; 0 when empty */

/* -- messages -- */

struct letter {
    char *bytes; /* with CRLF, without a line that starts with a dot */
    size_t n;
    size_t places[3]; /* of eight digits each: subject, Message-ID, body */
};
/* A message of about size bytes, a third of its body random so that it packs like mail does; from 100,000
 * bytes on a short text with an attachment in base64. */
struct letter letter_new(size_t size);
/* The number makes it a message of its own. */
void letter_number(struct letter *l, unsigned long number);

/* -- connections -- */

struct link {
    int fd;
    char *in, *out;
    size_t in_n, in_cap, out_at, out_n, out_cap;
    bool writing;
    unsigned long serial; /* grows when it is opened and when it is closed */
    void *arg;
};
/* To 127.0.0.1; the link was zeroed, or closed before. */
void link_open(struct link *l, int port, void *arg);
void link_close(struct link *l);
/* Queued; it leaves with the next turn of the loop, or at once by link_flush. */
void link_say(struct link *l, const void *bytes, size_t n);
void link_sayf(struct link *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
void link_flush(struct link *l);

/* Called for each line, without its CRLF, and with line NULL when the server has closed. */
typedef void link_line_fn(struct link *l, const char *line, size_t n);

/* Serve all connections once, waiting at most so long. */
void links_turn(link_line_fn *on_line, int wait_ms);
#endif
