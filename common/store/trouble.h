/* A note in the store's folder of what keeps stored from its work, for who asks when it cannot be asked
 * itself. */
#ifndef PROV_STORE_TROUBLE_H
#define PROV_STORE_TROUBLE_H

/* The newest text takes the place of what is there. mail_dir: the store's folder. What cannot be written is
 * only in the log. */
void trouble_note(int mail_dir, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A start has succeeded. */
void trouble_over(int mail_dir);

#endif
