/* mailadm config sample and config man: the option table as a file to start from and as a manual page. */
#include "mailadm/mailadm.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

int adm_config_sample(const struct adm *a, int argc, char **argv)
{
    (void)a;
    (void)argc;
    (void)argv;
    const struct conf_option *o;
    size_t n = conf_options(&o);
    puts("# provmail.conf: every option with its default. Take away the # before what you change.");
    for (size_t i = 0; i < n; i++)
        printf("\n# %s\n#%s = %s%s%s\n", o[i].help, o[i].name, strchr(o[i].def, ' ') ? "\"" : "", o[i].def,
               strchr(o[i].def, ' ') ? "\"" : "");
    return EX_OK;
}

/* Text for troff: a backslash is doubled, a line never starts with a dot. */
static void roff(const char *s)
{
    if (*s == '.' || *s == '\'')
        fputs("\\&", stdout);
    for (; *s; s++)
        fputs(*s == '\\' ? "\\e" : (char[]){*s, 0}, stdout);
}

int adm_config_man(const struct adm *a, int argc, char **argv)
{
    (void)a;
    (void)argc;
    (void)argv;
    const struct conf_option *o;
    size_t n = conf_options(&o);
    puts(".TH PROVMAIL.CONF 5 \"\" \"provmail\"\n.SH NAME\nprovmail.conf \\- configuration of provmail\n"
         ".SH DESCRIPTION\nLines \"name = value\"; # starts a comment; a value may be quoted. Relative paths "
         "start\n"
         "at the folder of the file. SIZE takes k, M, G; TIME takes ms, s, m, h, d.\n"
         ".B mailadm config check\nreports all faults.\n.SH OPTIONS");
    for (size_t i = 0; i < n; i++) {
        printf(".TP\n.B %s\n", o[i].name);
        roff(o[i].help);
        printf(".\n%s; default: ", o[i].type);
        fputs(*o[i].def ? "" : "empty", stdout);
        roff(o[i].def);
        if (o[i].lowest || o[i].highest)
            printf("; at least %" PRIu64, o[i].lowest);
        if (o[i].highest)
            printf(", at most %" PRIu64, o[i].highest);
        putchar('\n');
    }
    puts(".SH SEE ALSO\nmailadm(8)");
    return EX_OK;
}
