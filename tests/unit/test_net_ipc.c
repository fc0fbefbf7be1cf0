/* Loop and IPC: posts from threads, deferred order, frames of all sizes, descriptors, hostile peers, coming
 * back. */
#include "tests/lib/cm.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/ipc.h"
#include "common/net/ticket.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* -- loop -- */

enum { THREADS = 4, POSTS = 20000 };

struct posts {
    struct loop *loop;
    unsigned long count;
};

static void on_post(void *arg)
{
    struct posts *p = arg;
    if (++p->count == (unsigned long)THREADS * POSTS)
        loop_stop(p->loop);
}

static void *poster(void *arg)
{
    struct posts *p = arg;
    for (unsigned i = 0; i < POSTS; i++)
        loop_post(p->loop, on_post, p);
    return NULL;
}

static void posts_arrive(void **state)
{
    (void)state;
    struct posts p = {.loop = loop_new()};
    pthread_t t[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, poster, &p), 0);
    loop_run(p.loop);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(p.count, (unsigned long)THREADS * POSTS);
    loop_free(&p.loop);
}

struct order {
    struct loop *loop;
    char text[16];
};

static void put(struct order *o, const char *c)
{
    strcat(o->text, c);
}

static void second_defer(void *arg)
{
    put(arg, "c");
}

static void round_end(void *arg)
{
    struct order *o = arg;
    put(o, "b");
    loop_round_end(o->loop, NULL, NULL);
    loop_defer(o->loop, second_defer, o);
}

static void first_defer(void *arg)
{
    put(arg, "a");
}

static void end_order(void *arg)
{
    struct order *o = arg;
    loop_stop(o->loop);
}

static void rounds_are_ordered(void **state)
{
    (void)state;
    struct order o = {.loop = loop_new()};
    struct loop_timer *t = loop_timer_new(o.loop, end_order, &o);
    loop_defer(o.loop, first_defer, &o);
    loop_round_end(o.loop, round_end, &o);
    loop_timer_start(t, 20);
    loop_run(o.loop);
    assert_string_equal(o.text, "abc");
    loop_timer_free(&t);
    loop_free(&o.loop);
}

static void tickets(void **state)
{
    (void)state;
    int session = 0;
    struct ticket *t = ticket_new(&session), *held = ticket_hold(t);
    assert_ptr_equal(ticket_session(held), &session);
    ticket_void(&t);
    assert_null(t);
    assert_null(ticket_session(held));
    ticket_drop(&held);
    assert_null(held);
}

/* -- ipc -- */

struct side {
    struct loop *loop;
    struct ipc *c;
    unsigned frames, gone;
    size_t last_size;
    uint64_t last_seq, sum;
    int fd;
    unsigned stop_after;
};

static bool on_frame(void *arg, struct ipc *c, const struct ipc_head *h, struct span body, int fd)
{
    struct side *s = arg;
    (void)c;
    s->frames++;
    s->last_size = body.n;
    s->last_seq = h->seq;
    for (size_t i = 0; i < body.n; i += 4099)
        s->sum += (unsigned char)body.p[i];
    if (fd >= 0) {
        if (s->fd >= 0)
            close(s->fd);
        s->fd = fd;
    }
    if (s->frames == s->stop_after)
        loop_stop(s->loop);
    return h->type != 99;
}

static void on_gone(void *arg, struct ipc *c)
{
    struct side *s = arg;
    assert_ptr_equal(s->c, c);
    s->gone++;
    s->c = NULL;
    loop_stop(s->loop);
}

static const struct ipc_ops ops = {on_frame, on_gone};

static void give_up(void *arg)
{
    (void)arg;
    fail_msg("nothing happened within 10 s");
}

static void run(struct loop *l)
{
    struct loop_timer *t = loop_timer_new(l, give_up, NULL);
    loop_timer_start(t, 10000);
    loop_run(l);
    loop_timer_free(&t);
}

static void make_pair(struct side *a, struct side *b, struct loop *l)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    *a = (struct side){.loop = l, .fd = -1};
    *b = (struct side){.loop = l, .fd = -1};
    a->c = ipc_new(l, fd[0], &ops, a);
    b->c = ipc_new(l, fd[1], &ops, b);
}

static void close_pair(struct side *a, struct side *b)
{
    struct loop *l = a->loop;
    if (a->c)
        ipc_close(a->c);
    if (b->c)
        ipc_close(b->c);
    struct loop_timer *t = loop_timer_new(l, end_order, &(struct order){.loop = l});
    loop_timer_start(t, 1);
    run(l);
    loop_timer_free(&t);
    loop_free(&l);
}

static void frames_of_all_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 15, 16, 17, 65535, 65536, 1 << 20, IPC_FRAME_LIMIT - 16};
    struct side a, b;
    char *bytes = xmalloc(IPC_FRAME_LIMIT);
    memset(bytes, 1, IPC_FRAME_LIMIT);
    make_pair(&a, &b, loop_new());
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const struct span parts[2] = {{bytes, sizes[i] / 3}, {bytes, sizes[i] - sizes[i] / 3}};
        b.frames = 0;
        b.stop_after = 1;
        assert_true(ipc_send(a.c, 1, 0, i + 7, parts, 2, -1));
        run(a.loop);
        assert_int_equal(b.last_size, sizes[i]);
        assert_int_equal(b.last_seq, i + 7);
    }
    const struct span over = {bytes, IPC_FRAME_LIMIT - 15};
    assert_false(ipc_send(a.c, 1, 0, 1, &over, 1, -1));
    free(bytes);
    close_pair(&a, &b);
}

static void descriptors_ride(void **state)
{
    (void)state;
    struct side a, b;
    char text[8] = "";
    make_pair(&a, &b, loop_new());
    const struct span body = SPAN("body");
    for (unsigned i = 0; i < 50; i++) {
        int fd = i % 3 ? memfd_create("test", MFD_CLOEXEC) : -1;
        if (fd >= 0) {
            snprintf(text, sizeof text, "%02u", i);
            assert_int_equal(write(fd, text, 3), 3);
        }
        assert_true(ipc_send(a.c, 1, 0, i, &body, 1, fd));
    }
    b.stop_after = 50;
    run(a.loop);
    assert_int_equal(b.frames, 50);
    assert_true(b.fd >= 0);
    assert_int_equal(pread(b.fd, text, 3, 0), 3);
    assert_string_equal(text, "49");
    close(b.fd);
    close_pair(&a, &b);
}

static void reading_can_rest(void **state)
{
    (void)state;
    struct side a, b;
    make_pair(&a, &b, loop_new());
    ipc_reading(b.c, false);
    for (unsigned i = 0; i < 10; i++)
        assert_true(ipc_send(a.c, 1, 0, i, NULL, 0, -1));
    struct order o = {.loop = a.loop};
    struct loop_timer *t = loop_timer_new(a.loop, end_order, &o);
    loop_timer_start(t, 30);
    run(a.loop);
    assert_int_equal(b.frames, 0);
    b.stop_after = 10;
    ipc_reading(b.c, true);
    run(a.loop);
    assert_int_equal(b.frames, 10);
    loop_timer_free(&t);
    close_pair(&a, &b);
}

static void the_deaf_are_dropped(void **state)
{
    (void)state;
    struct side a, b;
    char *bytes = xcalloc(1, 8 << 20);
    const struct span body = {bytes, 8 << 20};
    unsigned sent = 0;
    make_pair(&a, &b, loop_new());
    ipc_reading(b.c, false);
    while (sent < 100 && ipc_send(a.c, 1, 0, 1, &body, 1, -1))
        sent++;
    assert_in_range(sent, 4, 9);
    run(a.loop);
    assert_int_equal(a.gone, 1);
    free(bytes);
    close_pair(&a, &b);
}

/* What a hostile peer writes, and how many frames get through before it is dropped. */
static void hostile_peers(void **state)
{
    (void)state;
    struct raw {
        const char *name;
        bool hello;
        struct ipc_head h;
        unsigned frames;
    };
    static const struct raw rows[] = {
        {"no hello", false, {16, 1, 0, 0, 0}, 0},
        {"hello without version", false, {16, 0, 0, 0, 0}, 0},
        {"second hello", true, {16, 0, 0, 0, 0}, 0},
        {"size below a head", true, {15, 1, 0, 0, 0}, 0},
        {"size zero", true, {0, 1, 0, 0, 0}, 0},
        {"size over the limit", true, {IPC_FRAME_LIMIT + 1, 1, 0, 0, 0}, 0},
        {"size of all ones", true, {UINT32_MAX, 1, 0, 0, 0}, 0},
        {"descriptor that is not there", true, {16, 1, 0, 1, 0}, 0},
        {"refused by the owner", true, {16, 99, 0, 0, 0}, 1},
    };
    const struct {
        struct ipc_head h;
        uint32_t version;
    } __attribute__((packed)) hello = {{20, IPC_HELLO, 0, 0, 0}, IPC_VERSION},
                              old = {{20, IPC_HELLO, 0, 0, 0}, 77};
    for (size_t i = 0; i <= sizeof rows / sizeof *rows; i++) {
        bool version = i == sizeof rows / sizeof *rows;
        int fd[2];
        struct side s = {.loop = loop_new(), .fd = -1};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
        s.c = ipc_new(s.loop, fd[0], &ops, &s);
        if (version)
            assert_int_equal(write(fd[1], &old, sizeof old), sizeof old);
        else if (rows[i].hello)
            assert_int_equal(write(fd[1], &hello, sizeof hello), sizeof hello);
        if (!version)
            assert_int_equal(write(fd[1], &rows[i].h, sizeof rows[i].h), sizeof rows[i].h);
        run(s.loop);
        assert_int_equal(s.gone, 1);
        assert_int_equal(s.frames, version ? 0 : rows[i].frames);
        close(fd[1]);
        loop_free(&s.loop);
    }
}

/* Descriptors that no frame announces must not pile up. */
static void unannounced_descriptors(void **state)
{
    (void)state;
    int fd[2];
    struct side s = {.loop = loop_new(), .fd = -1};
    const struct {
        struct ipc_head h;
        uint32_t version;
    } __attribute__((packed)) hello = {{20, IPC_HELLO, 0, 0, 0}, IPC_VERSION};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    s.c = ipc_new(s.loop, fd[0], &ops, &s);
    struct iovec iov = {(void *)(uintptr_t)&hello, sizeof hello};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(3 * sizeof(int))];
    } control = {0};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
    const int three[3] = {0, 1, 2};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof three);
    memcpy(CMSG_DATA(h), three, sizeof three);
    assert_int_equal(sendmsg(fd[1], &m, 0), sizeof hello);
    run(s.loop);
    assert_int_equal(s.gone, 1);
    close(fd[1]);
    loop_free(&s.loop);
}

/* -- a client that comes back -- */

struct comeback {
    struct loop *loop;
    char dir[64], path[256];
    struct ipc_server *server;
    struct ipc *accepted;
    unsigned ups, downs, answers, stop_at_up;
    uint64_t fell_ms, back_ms;
};

static bool serve(void *arg, struct ipc *c, const struct ipc_head *h, struct span body, int fd)
{
    (void)arg;
    (void)fd;
    return ipc_send(c, h->type | IPC_ANSWER, ERR_OK, h->seq, &body, 1, -1);
}

static void served_gone(void *arg, struct ipc *c)
{
    struct comeback *k = arg;
    if (k->accepted == c)
        k->accepted = NULL;
}

static void came(void *arg, struct ipc *c)
{
    struct comeback *k = arg;
    assert_int_equal(ipc_peer_uid(c), getuid());
    assert_int_equal(ipc_peer_pid(c), getpid());
    k->accepted = c;
}

static void begin_serving(struct comeback *k)
{
    static const struct ipc_ops server_ops = {serve, served_gone};
    struct err why;
    int fd = -1;
    if (ipc_listen(k->dir, "sock", getuid(), getgid(), &fd, &why) != ERR_OK)
        fail_msg("%s", why.log);
    k->server = ipc_serve(k->loop, fd, NULL, 0, &server_ops, came, k);
}

static void open_path(void *arg, struct ipc_client *c)
{
    struct comeback *k = arg;
    int fd = -1;
    if (ipc_connect(k->path, &fd, NULL) != ERR_OK)
        fd = -1;
    ipc_client_opened(c, fd);
}

static void is_up(void *arg)
{
    struct comeback *k = arg;
    k->back_ms = clock_mono_ms();
    if (++k->ups == k->stop_at_up)
        loop_stop(k->loop);
}

static void is_down(void *arg)
{
    struct comeback *k = arg;
    k->downs++;
}

static bool answered(void *arg, const struct ipc_head *h, struct span body, int fd)
{
    struct comeback *k = arg;
    (void)fd;
    assert_int_equal(h->type, 5 | IPC_ANSWER);
    assert_true(span_eq(body, SPAN("question")));
    k->answers++;
    loop_stop(k->loop);
    return true;
}

static void end_loop(void *arg)
{
    loop_stop(arg);
}

static void client_comes_back(void **state)
{
    (void)state;
    static const struct ipc_client_ops client_ops = {open_path, is_up, is_down, answered};
    struct comeback k = {.loop = loop_new(), .stop_at_up = 1};
    const struct span body = SPAN("question");
    strcpy(k.dir, "/tmp/net-ipc-XXXXXX");
    assert_non_null(mkdtemp(k.dir));
    snprintf(k.path, sizeof k.path, "%s/sock", k.dir);
    struct ipc_client *c = ipc_client_new(k.loop, &client_ops, &k);
    struct loop_timer *t = loop_timer_new(k.loop, end_loop, k.loop);
    loop_timer_start(t, 300);
    run(k.loop); /* nobody listens yet */
    assert_false(ipc_client_is_up(c));
    assert_false(ipc_client_send(c, 5, 1, &body, 1, -1));
    for (unsigned i = 1; i <= 3; i++) {
        begin_serving(&k);
        k.stop_at_up = i;
        k.fell_ms = clock_mono_ms();
        run(k.loop);
        assert_in_range(k.back_ms - k.fell_ms, 0, 250);
        assert_true(ipc_client_send(c, 5, i, &body, 1, -1));
        run(k.loop);
        assert_int_equal(k.answers, i);
        ipc_close(k.accepted);
        ipc_server_free(&k.server);
        loop_timer_start(t, 100);
        run(k.loop);
        assert_int_equal(k.downs, i);
    }
    ipc_client_free(&c);
    loop_timer_free(&t);
    loop_free(&k.loop);
    unlink(k.path);
    rmdir(k.dir);
}

/* A server ends while its connections live on, as at a stop; that their peers go is told all the same. */
static void peer_leaves_after_the_server(void **state)
{
    (void)state;
    static const struct ipc_client_ops client_ops = {open_path, is_up, is_down, answered};
    struct comeback k = {.loop = loop_new(), .stop_at_up = 1};
    strcpy(k.dir, "/tmp/net-ipc-XXXXXX");
    assert_non_null(mkdtemp(k.dir));
    snprintf(k.path, sizeof k.path, "%s/sock", k.dir);
    begin_serving(&k);
    struct ipc_client *c = ipc_client_new(k.loop, &client_ops, &k);
    run(k.loop);
    assert_non_null(k.accepted);
    ipc_server_free(&k.server);
    ipc_client_free(&c);
    struct loop_timer *t = loop_timer_new(k.loop, end_loop, k.loop);
    loop_timer_start(t, 100);
    run(k.loop);
    assert_null(k.accepted);
    loop_timer_free(&t);
    loop_free(&k.loop);
    unlink(k.path);
    rmdir(k.dir);
}

/* State folders of tests and demos can be deeper than a socket address holds. */
static void long_paths(void **state)
{
    (void)state;
    char dir[400] = "/tmp/net-ipc-XXXXXX", path[440];
    struct err why;
    int listen_fd = -1, fd = -1;
    assert_non_null(mkdtemp(dir));
    size_t top = strlen(dir);
    for (unsigned i = 0; i < 3; i++)
        strcat(dir, "/a-folder-with-a-name-of-some-forty-letters-in-it");
    if (ipc_listen(dir, "sock", getuid(), getgid(), &listen_fd, &why) != ERR_OK)
        fail_msg("%s", why.log);
    snprintf(path, sizeof path, "%s/sock", dir);
    if (ipc_connect(path, &fd, &why) != ERR_OK)
        fail_msg("%s", why.log);
    close(fd);
    close(listen_fd);
    unlink(path);
    for (; strlen(dir) >= top && rmdir(dir) == 0; *strrchr(dir, '/') = '\0')
        ;
    assert_int_equal(ipc_connect(path, &fd, &why), ERR_RETRY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(posts_arrive),
                                       cmocka_unit_test(rounds_are_ordered),
                                       cmocka_unit_test(tickets),
                                       cmocka_unit_test(frames_of_all_sizes),
                                       cmocka_unit_test(descriptors_ride),
                                       cmocka_unit_test(reading_can_rest),
                                       cmocka_unit_test(the_deaf_are_dropped),
                                       cmocka_unit_test(hostile_peers),
                                       cmocka_unit_test(unannounced_descriptors),
                                       cmocka_unit_test(client_comes_back),
                                       cmocka_unit_test(peer_leaves_after_the_server),
                                       cmocka_unit_test(long_paths)};
    log_threshold(LOG_ALARM);
    return cmocka_run_group_tests_name("net_ipc", tests, NULL, NULL);
}
