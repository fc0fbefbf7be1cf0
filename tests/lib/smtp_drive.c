/* See smtp_drive.h. */
#include "tests/lib/smtp_drive.h"
#include <assert.h>
#include <stdlib.h>

static void kick(void *arg)
{
    struct smtp_drive *d = arg;
    d->kicked = true;
}

void smtp_drive_start(struct smtp_drive *d, const struct conf *conf, enum smtp_kind kind, bool local)
{
    *d = (struct smtp_drive){.last = STEP_AGAIN};
    fake_backend_init(&d->fake);
    buf_init(&d->in, 64 << 20);
    buf_init(&d->out, 64 << 20);
    struct smtp_setup setup = {.conf = conf,
                               .backend = &d->fake.b,
                               .kind = kind,
                               .listener = "test",
                               .peer = local ? "unix" : "192.0.2.1",
                               .local = local,
                               .tls_possible = !local,
                               .kick = kick,
                               .kick_arg = d};
    d->core = smtp_core_new(&setup);
}

static bool go_on(struct smtp_drive *d)
{
    static const struct tls_facts facts = {
        .version = "TLSv1.3", .cipher = "TLS_TEST", .bits = 256, .has_exporter = true};
    struct span receipt;
    switch (d->last) {
    case STEP_AGAIN:
        break;
    case STEP_PAUSED:
        if (!d->kicked && !fake_backend_run(&d->fake))
            return false;
        break;
    case STEP_STARTTLS:
        d->injected = d->in.n > 0;
        if (d->injected)
            return false;
        smtp_core_tls_up(d->core, &facts);
        break;
    default:
        return false;
    }
    d->kicked = false;
    d->last = smtp_core_step(d->core, &d->in, &d->out);
    d->accepted += smtp_core_accepted(d->core, &receipt);
    return true;
}

void smtp_drive_feed(struct smtp_drive *d, struct span piece)
{
    if (d->last == STEP_CLOSE || d->injected)
        return;
    if (!buf_add_span(&d->in, piece))
        abort();
    if (d->last == STEP_NEED_INPUT)
        d->last = STEP_AGAIN;
    while (go_on(d))
        ;
}

void smtp_drive_end(struct smtp_drive *d)
{
    smtp_core_free(&d->core);
    fake_backend_free(&d->fake);
    buf_free(&d->in);
    buf_free(&d->out);
}
