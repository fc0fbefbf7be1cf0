# imapd
