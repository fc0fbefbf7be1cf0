/* cmocka with the headers that it wants before it. */
#ifndef PROV_TESTS_CM_H
#define PROV_TESTS_CM_H
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#endif
