# webmail-cgi
