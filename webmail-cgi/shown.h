/* Text of mail as HTML of ours: lines kept, quotes told apart, addresses made into safe links; file names. */
#ifndef PROV_WEB_SHOWN_H
#define PROV_WEB_SHOWN_H

#include "webmail-cgi/web.h"

void shown_text(struct page *p, struct span utf8);
CHECK_RESULT enum err_code shown_html_as_text(struct page *p, struct span utf8);
/* The name under which a part is offered: its own without folders, or one made from its type. */
struct span shown_file_name(struct web *w, const struct part *part);
/* A line that says how many files a list of them lacks; nothing when it is whole. */
void shown_more_files(struct web *w, const struct view *v);

#endif
