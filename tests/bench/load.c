/* See load.h. One epoll set for the process; its connections are few, so that nothing here is clever. */
#include "tests/bench/load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

double load_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double load_cpu(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)r.ru_utime.tv_sec + (double)r.ru_stime.tv_sec +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

void load_die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static void *grow(void *p, size_t n)
{
    p = realloc(p, n);
    if (!p)
        load_die("out of memory");
    return p;
}

/* -- the command line -- */

enum { OPTIONS = 20 };

static void set_option(const struct load_option *row, int argc, char **argv)
{
    if (row->flag)
        *row->flag = true;
    if (row->number)
        *row->number = strtoul(optarg, NULL, 10);
    if (row->text)
        *row->text = optarg;
    if (row->second) {
        if (optind >= argc)
            load_die("--%s takes two words", row->name);
        *row->second = argv[optind++];
    }
}

int load_options(int argc, char **argv, const struct load_option *rows, const char *usage)
{
    struct option names[OPTIONS + 1] = {{.name = NULL}};
    for (int i = 0; rows[i].name; i++) {
        if (i == OPTIONS)
            load_die("more than %d options", OPTIONS);
        names[i] = (struct option){.name = rows[i].name, .has_arg = !rows[i].flag, .val = i};
    }
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (c == '?')
            exit(64);
        set_option(&rows[c], argc, argv);
    }
    if (optind + 1 != argc)
        load_die("usage: %s", usage);
    return atoi(argv[optind]);
}

/* -- figures -- */

void figures_add(struct figures *f, double seconds)
{
    if (f->n == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 1024;
        f->v = grow(f->v, f->cap * sizeof *f->v);
    }
    f->v[f->n++] = seconds;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double figures_at(struct figures *f, double share)
{
    if (f->n == 0)
        return 0;
    qsort(f->v, f->n, sizeof *f->v, by_size);
    size_t at = (size_t)((double)f->n * share);
    return f->v[at < f->n ? at : f->n - 1];
}

/* -- messages -- */

struct writer {
    struct letter *l;
    size_t cap;
    uint32_t random;
};

static void put(struct writer *w, const char *s, size_t n)
{
    if (n > w->cap - w->l->n) {
        w->cap = 2 * w->cap + n;
        w->l->bytes = grow(w->l->bytes, w->cap);
    }
    memcpy(w->l->bytes + w->l->n, s, n);
    w->l->n += n;
}

static void put_str(struct writer *w, const char *s)
{
    put(w, s, strlen(s));
}

static void put_place(struct writer *w, int which)
{
    w->l->places[which] = w->l->n;
    put_str(w, "00000000");
}

static uint32_t next(struct writer *w)
{
    w->random = w->random * 1664525 + 1013904223;
    return w->random >> 8;
}

/* Lines of syllables that are put together as Vietnamese ones are: text of this kind packs to about two
 * fifths. */
static void put_text(struct writer *w, size_t end)
{
    static const char *const first[] = {"b", "c",  "ch", "d",  "đ",  "g", "gi", "h",  "k",  "kh", "l", "m",
                                        "n", "ng", "nh", "ph", "qu", "s", "t",  "th", "tr", "v",  "x", ""};
    static const char *const rest[] = {"a",  "an",  "ang",  "ai", "ao",   "âu",  "ăm",  "ê",
                                       "em", "iên", "inh",  "ít", "o",    "ông", "oàn", "ôi",
                                       "ơn", "u",   "uyện", "ư",  "ương", "ước", "ý",   "ành"};
    for (size_t column = 0; w->l->n < end;) {
        const char *a = first[next(w) % 24 * (next(w) % 24) / 24],
                   *b = rest[next(w) % 24 * (next(w) % 24) / 24];
        put_str(w, a);
        put_str(w, b);
        column += strlen(a) + strlen(b) + 1;
        put_str(w, column > 60 ? "</span></p>\r\n<p class=\"MsoNormal\"><span lang=\"VI\">" : " ");
        column = column > 60 ? 0 : column;
    }
    put_str(w, "\r\n");
}

static void put_base64(struct writer *w, size_t end)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    while (w->l->n < end) {
        char line[78];
        for (int i = 0; i < 76; i++)
            line[i] = digits[next(w) % 64];
        line[76] = '\r';
        line[77] = '\n';
        put(w, line, sizeof line);
    }
}

struct letter letter_new(size_t size)
{
    struct letter l = {.n = 0};
    struct writer w = {.l = &l, .random = 20260101};
    const bool large = size >= 100000;
    put_str(&w, "From: =?utf-8?B?TMOqIFF1YW5nIMav4bubYw==?= <u00000@bench.example>\r\n"
                "To: \"Phong Ban\" <phongban@bench.example>, Khac <khac@bench.example>\r\n"
                "Subject: =?utf-8?Q?C=C3=B4ng_v=C4=83n_s=E1=BB=91?= ");
    put_place(&w, 0);
    put_str(&w, "\r\nDate: Tue, 24 Nov 2026 10:00:00 +0700\r\nMessage-ID: <");
    put_place(&w, 1);
    put_str(&w, ".load@ngoai.example>\r\nReferences: <a.1@ngoai.example> "
                "<a.2@ngoai.example>\r\nMIME-Version: 1.0\r\n");
    put_str(&w, large ? "Content-Type: multipart/mixed; boundary=\"=_ranh.gioi_1\"\r\n\r\n--=_ranh.gioi_1\r\n"
                      : "");
    put_str(&w, "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
    put_place(&w, 2);
    put_str(&w, " <p>Kính gửi: Các sở, ban, ngành; UBND các huyện, thị xã, thành phố.</p>\r\n<p><span>");
    if (large) {
        put_text(&w, 2000);
        put_str(&w, "--=_ranh.gioi_1\r\nContent-Type: application/pdf; name=\"cong-van.pdf\"\r\n"
                    "Content-Disposition: attachment; filename=\"cong-van.pdf\"\r\n"
                    "Content-Transfer-Encoding: base64\r\n\r\n");
        put_base64(&w, size);
        put_str(&w, "--=_ranh.gioi_1--\r\n");
    } else {
        put_text(&w, size);
    }
    return l;
}

void letter_number(struct letter *l, unsigned long number)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%08lu", number % 100000000);
    for (int i = 0; i < 3; i++)
        memcpy(l->bytes + l->places[i], digits, 8);
}

/* -- connections -- */

static int poll_fd = -1;

void link_open(struct link *l, int port, void *arg)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *l = (struct link){
        .serial = l->serial + 1, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .arg = arg};
    if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&a, sizeof a) != 0)
        load_die("cannot connect to 127.0.0.1:%d: %s", port, strerror(errno));
    int on = 1;
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (poll_fd < 0)
        poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};
    if (poll_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, l->fd, &e) != 0)
        load_die("epoll: %s", strerror(errno));
}

void link_close(struct link *l)
{
    close(l->fd);
    l->fd = -1;
    l->serial++;
    free(l->in);
    free(l->out);
    l->in = l->out = NULL;
    l->in_n = l->in_cap = l->out_at = l->out_n = l->out_cap = 0;
    l->writing = false;
}

void link_say(struct link *l, const void *bytes, size_t n)
{
    if (n > l->out_cap - l->out_n) {
        l->out_cap = 2 * l->out_cap + n;
        l->out = grow(l->out, l->out_cap);
    }
    memcpy(l->out + l->out_n, bytes, n);
    l->out_n += n;
}

void link_sayf(struct link *l, const char *format, ...)
{
    char text[2000];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text)
        load_die("a line is too long");
    link_say(l, text, (size_t)n);
}

void link_flush(struct link *l)
{
    while (l->fd >= 0 && l->out_at < l->out_n) {
        ssize_t n = send(l->fd, l->out + l->out_at, l->out_n - l->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* full, or closed: reading will tell */
        l->out_at += (size_t)n;
    }
    const bool left = l->out_at < l->out_n;
    if (!left)
        l->out_at = l->out_n = 0;
    if (left != l->writing && l->fd >= 0) {
        struct epoll_event e = {.events = EPOLLIN | (left ? (uint32_t)EPOLLOUT : 0), .data.ptr = l};
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, l->fd, &e);
        l->writing = left;
    }
}

/* Lines of what has come; the callback may close the connection. */
static void cut_lines(struct link *l, link_line_fn *on_line)
{
    const unsigned long serial = l->serial;
    size_t at = 0;
    while (l->serial == serial && at < l->in_n) {
        char *end = memchr(l->in + at, '\n', l->in_n - at);
        if (!end)
            break;
        size_t n = (size_t)(end - (l->in + at));
        const char *line = l->in + at;
        at += n + 1;
        on_line(l, line, n && line[n - 1] == '\r' ? n - 1 : n);
    }
    if (l->serial != serial)
        return;
    memmove(l->in, l->in + at, l->in_n - at);
    l->in_n -= at;
}

static void take(struct link *l, link_line_fn *on_line)
{
    enum { PIECE = 256 << 10 };
    if (l->in_cap - l->in_n < PIECE / 2) {
        l->in_cap = 2 * l->in_cap + PIECE;
        l->in = grow(l->in, l->in_cap);
    }
    ssize_t n = recv(l->fd, l->in + l->in_n, l->in_cap - l->in_n, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        on_line(l, NULL, 0);
        return;
    }
    l->in_n += (size_t)n;
    cut_lines(l, on_line);
}

void links_turn(link_line_fn *on_line, int wait_ms)
{
    struct epoll_event e[64];
    int n = epoll_wait(poll_fd, e, 64, wait_ms);
    for (int i = 0; i < n; i++) {
        struct link *l = e[i].data.ptr;
        if (l->fd >= 0 && e[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            take(l, on_line);
        if (l->fd >= 0)
            link_flush(l);
    }
}
