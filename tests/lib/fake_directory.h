/* See fake_directory.c. */
#ifndef PROV_TESTS_FAKE_DIRECTORY_H
#define PROV_TESTS_FAKE_DIRECTORY_H

#include <stdbool.h>

extern bool fake_directory_down;
extern void (*fake_directory_wake)(void *arg);
extern void *fake_directory_arg;
/* Answer what waits; true: something was done. */
bool fake_directory_pump(void);

#endif
