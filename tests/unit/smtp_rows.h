/* Dialogues of test_smtp_core.c: what is sent, what must be answered, what must reach the store. */
static const struct row rows[] = {
    {"a message", MX, EHLO MAIL RCPT "DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
     GREET CAPS OK1 OK5 GO TAKEN BYE,
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE1
     "Subject: x\r\n\r\n.dot\r\n"},
    {"HELO", MX, "HELO c.example\r\nMAIL FROM:<>\r\n" RCPT "DATA\r\n.\r\n",
     GREET "250 mx.gialai.example\r\n" OK1 OK5 GO TAKEN,
     "<> login= queue=0 repeat=1 to=a1\nReturn-Path: <>\r\nReceived: from c.example ([192.0.2.1])\r\n\tby "
     "mx.gialai.example with SMTP\r\n\tid TRACE for <an@gialai.example>;\r\n\tTue, 24 Nov 2026 10:00:00 "
     "+0000\r\n"},
    {"two messages", MX, EHLO MAIL RCPT "DATA\r\n1\r\n.\r\n" MAIL RCPT "DATA\r\n2\r\n.\r\n",
     GREET CAPS OK1 OK5 GO TAKEN OK1 OK5 GO TAKEN,
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE1 "1\r\n"
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE1 "2\r\n"},
    {"aliases of one account", MX, EHLO MAIL RCPT "RCPT TO:<an.van@gialai.example>\r\nDATA\r\nx\r\n.\r\n",
     GREET CAPS OK1 OK5 OK5 GO TAKEN,
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE_N "x\r\n"},
    {"a small group and a member of it", MX,
     EHLO MAIL "RCPT TO:<binh@gialai.example>\r\nRCPT TO:<small@gialai.example>\r\nDATA\r\nx\r\n.\r\n",
     GREET CAPS OK1 OK5 OK5 GO TAKEN,
     "<a@c.example> login= queue=0 repeat=1 to=a1,a2,a3\nReturn-Path: <a@c.example>\r\n" TRACE_N "x\r\n"},
    {"a large group takes all with it into the queue", MX,
     EHLO MAIL RCPT "RCPT TO:<small@gialai.example>\r\nRCPT TO:<large@gialai.example>\r\nDATA\r\nx\r\n.\r\n",
     GREET CAPS OK1 OK5 OK5 OK5 GO TAKEN,
     "<a@c.example> login= queue=1 repeat=1 to=a1,g50,g51\nReturn-Path: <a@c.example>\r\n" TRACE_N "x\r\n"},

    /* order */
    {"nothing before EHLO", MX, MAIL RCPT "DATA\r\n",
     GREET "503 5.5.1 MAIL is out of order, EHLO comes first\r\n"
           "503 5.5.1 RCPT is out of order, EHLO comes first\r\n"
           "503 5.5.1 DATA is out of order, EHLO comes first\r\n"},
    {"order", MX, EHLO RCPT "DATA\r\n" MAIL MAIL "DATA\r\n" RCPT "RSET\r\n" RCPT,
     GREET CAPS "503 5.5.1 RCPT is out of order\r\n503 5.5.1 DATA is out of order\r\n" OK1
                "503 5.5.1 MAIL is out of order\r\n503 5.5.1 DATA is out of order\r\n" OK5 OK
                "503 5.5.1 RCPT is out of order\r\n"},
    {"EHLO starts again", MX, EHLO MAIL EHLO RCPT, GREET CAPS OK1 CAPS "503 5.5.1 RCPT is out of order\r\n"},
    {"small verbs", MX,
     "NOOP\r\nNOOP x y\r\nHELP\r\nVRFY an\r\nEXPN x\r\nRSET\r\nRSET x\r\nVRFY\r\nFOO\r\n\r\nnoop \r\nQUIT "
     "x\r\n"
     "QUIT\r\nNOOP\r\n",
     GREET OK OK
     "214 2.0.0 See RFC 5321; problems: postmaster\r\n252 2.5.0 Cannot verify, but will take RCPT "
     "and try\r\n502 5.5.1 EXPN is not available\r\n" OK
     "501 5.5.4 RSET takes no argument\r\n501 5.5.4 VRFY needs an argument\r\n"
     "500 5.5.1 Command not recognised\r\n500 5.5.1 Command not recognised\r\n" OK
     "501 5.5.4 QUIT takes no argument\r\n" BYE},
    {"names", MX, "EHLO a b\r\nEHLO\r\nHELO\r\nEHLO [127.0.0.1]\r\n",
     GREET "501 5.5.4 One domain or address literal is expected\r\n501 5.5.4 EHLO needs an argument\r\n"
           "501 5.5.4 HELO needs an argument\r\n" CAPS},
    {"browsers", MX, "POST / HTTP/1.1\r\nHost: x\r\n\r\n", GREET "554 5.5.1 This is no web server\r\n"},

    /* line ends */
    {"bare LF in commands", MX, "EHLO c.example\nMAIL FROM:<a@c.example>\n" EHLO,
     GREET "500 5.5.2 Line does not end in CRLF\r\n500 5.5.2 Line does not end in CRLF\r\n" CAPS},
    {"bare CR in a command", MX, "EHLO c\rexample\r\n", GREET "500 5.5.2 Control character in a command\r\n"},
    {"bare LF in the message", MX, EHLO MAIL RCPT "DATA\r\na\n.\nMAIL FROM:<x@y>\r\n.\r\nNOOP\r\n",
     GREET CAPS OK1 OK5 GO "550 5.6.0 Message holds a bare CR, a bare LF or NUL\r\n" OK},
    {"LF dot CRLF", MX, EHLO MAIL RCPT "DATA\r\na\n.\r\nNOOP\r\n.\r\nNOOP\r\n",
     GREET CAPS OK1 OK5 GO "550 5.6.0 Message holds a bare CR, a bare LF or NUL\r\n" OK},
    {"CR dot CRLF", MX, EHLO MAIL RCPT "DATA\r\na\r.\r\nNOOP\r\n.\r\nNOOP\r\n",
     GREET CAPS OK1 OK5 GO "550 5.6.0 Message holds a bare CR, a bare LF or NUL\r\n" OK},
    {"CRLF dot CR", MX, EHLO MAIL RCPT "DATA\r\na\r\n.\rNOOP\r\n.\r\nNOOP\r\n",
     GREET CAPS OK1 OK5 GO "550 5.6.0 Message holds a bare CR, a bare LF or NUL\r\n" OK},
    {"CRLF dot LF", MX, EHLO MAIL RCPT "DATA\r\na\r\n.\nNOOP\r\n.\r\nNOOP\r\n",
     GREET CAPS OK1 OK5 GO "550 5.6.0 Message holds a bare CR, a bare LF or NUL\r\n" OK},
    {"CR CRLF dot CRLF", MX, EHLO MAIL RCPT "DATA\r\na\r\r\n.\r\nNOOP\r\n",
     GREET CAPS OK1 OK5 GO "550 5.6.0 Message holds a bare CR, a bare LF or NUL\r\n" OK},
    {"dots", MX, EHLO MAIL RCPT "DATA\r\n..\r\n.a\r\n ..\r\n...\r\na.\r\n.\r\nNOOP\r\n",
     GREET CAPS OK1 OK5 GO TAKEN OK,
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE1
     ".\r\na\r\n ..\r\n..\r\na.\r\n"},
    {"LMTP mends line ends", LMTP,
     "LHLO c.example\r\n" MAIL RCPT "DATA\r\na\nb\rc\r\r\nd\r\n.\n.\r\n.\r\nNOOP\r\n",
     GREET_LMTP CAPS OK1 OK5 GO "250 2.0.0 <an@gialai.example> Ok: queued as TRACE\r\n" OK,
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE_LMTP
     "a\r\nb\r\nc\r\n\r\nd\r\n\r\n.\r\n"},

    /* addresses */
    {"MAIL syntax", MX,
     EHLO "MAIL\r\nMAIL a@c.example\r\nMAIL FROM:a@c.example\r\nMAIL FROM:<a@c.example\r\nMAIL FROM:<a>\r\n"
          "MAIL FROM:<a@@c>\r\nMAIL FROM:<a@c.example>x\r\nMAIL FROM:<a@c.example.>\r\nMAIL FROM: <\"a "
          "b>\"@c>\r\n",
     GREET CAPS "501 5.5.4 MAIL needs an argument\r\n"
                "501 5.1.7 Syntax: MAIL FROM:<address> [parameters]\r\n"
                "501 5.1.7 Syntax: MAIL FROM:<address> [parameters]\r\n"
                "501 5.1.7 Syntax: MAIL FROM:<address> [parameters]\r\n"
                "501 5.1.7 Syntax: MAIL FROM:<address> [parameters]\r\n"
                "501 5.1.7 Syntax: MAIL FROM:<address> [parameters]\r\n"
                "501 5.1.7 Syntax: MAIL FROM:<address> [parameters]\r\n"
                "501 5.1.7 Syntax: MAIL FROM:<address> [parameters]\r\n" OK1},
    {"senders that only the wild knows", MX,
     EHLO "MAIL FROM:<a@em_7.c.example>\r\nRCPT TO:<a..b@gialai.example>\r\nRCPT TO:<an@gia_lai.example>\r\n"
          "RSET\r\nMAIL "
          "FROM:<0123456789012345678901234567890123456789012345678901234567890123456789=x@c.example>\r\n",
     GREET CAPS OK1 "501 5.1.3 Syntax: RCPT TO:<address>\r\n501 5.1.3 Syntax: RCPT TO:<address>\r\n" OK OK1},
    {"MAIL parameters", MX,
     EHLO "MAIL FROM:<a@c> SIZE=-1\r\nMAIL FROM:<a@c> SIZE\r\nMAIL FROM:<a@c> SIZE=99999999999\r\n"
          "MAIL FROM:<a@c> SIZE=18446744073709551617\r\nMAIL FROM:<a@c> BODY=9BIT\r\nMAIL FROM:<a@c> FOO\r\n"
          "MAIL FROM:<a@c> SIZE=1 SIZE=1\r\nMAIL FROM:<a@c> SMTPUTF8=1\r\nMAIL FROM:<a@c> AUTH=<>\r\nRSET\r\n"
          "mail from:<a@c>  body=8bitmime size=65536 smtputf8 AUTH=e+3Dmc2@c\r\n",
     GREET CAPS
     "501 5.5.4 SIZE takes up to 20 digits\r\n501 5.5.4 SIZE takes up to 20 digits\r\n"
     "552 5.3.4 Message is larger than this system takes\r\n"
     "552 5.3.4 Message is larger than this system takes\r\n"
     "501 5.5.4 BODY is 7BIT or 8BITMIME\r\n555 5.5.4 Parameter not recognised\r\n"
     "501 5.1.7 Syntax: MAIL FROM:<address> [parameters]\r\n501 5.5.4 SMTPUTF8 takes no value\r\n" OK1 OK
         OK1},
    {"no parameters after HELO", MX, "HELO c\r\nMAIL FROM:<a@c> SIZE=1\r\n",
     GREET "250 mx.gialai.example\r\n555 5.5.4 Parameter not recognised\r\n"},
    {"no relay", MX,
     EHLO MAIL
     "RCPT TO:<x@far.example>\r\nRCPT TO:<x%far.example@gialai.example>\r\n"
     "RCPT TO:<@gialai.example,@far.example:x@far.example>\r\nRCPT TO:<far.example!x@gialai.example>\r\n"
     "RCPT TO:<\"x@far.example\"@gialai.example>\r\nRCPT TO:<x@far.example.>\r\nRCPT TO:<x@[192.0.2.9]>\r\n"
     "RCPT TO:<x@[IPv6:::1]>\r\nRCPT TO:<x>\r\nRCPT TO:<|cmd@gialai.example>\r\nRCPT TO:<>\r\nDATA\r\n",
     GREET CAPS OK1
     "550 5.7.1 Relaying denied\r\n550 5.1.1 No such mailbox here\r\n550 5.7.1 Relaying denied\r\n"
     "550 5.1.1 No such mailbox here\r\n550 5.1.1 No such mailbox here\r\n"
     "501 5.1.3 Syntax: RCPT TO:<address>\r\n550 5.1.2 Address literals take no mail here\r\n"
     "550 5.1.2 Address literals take no mail here\r\n501 5.1.3 Syntax: RCPT TO:<address>\r\n"
     "550 5.1.1 No such mailbox here\r\n501 5.1.3 Syntax: RCPT TO:<address>\r\n"
     "503 5.5.1 DATA is out of order\r\n"},
    {"recipients", MX,
     EHLO MAIL "RCPT TO:<nobody@gialai.example>\r\nRCPT TO:<disabled@gialai.example>\r\n"
               "RCPT TO:<later@gialai.example>\r\nRCPT TO:<closed@gialai.example>\r\n"
               "RCPT TO:<empty@gialai.example>\r\nRCPT TO:<an@gialai.example> NOTIFY=NEVER\r\n"
               "RCPT TO:<Postmaster>\r\nRCPT TO:<@x.example:AN@gialai.example>\r\n",
     GREET CAPS OK1 "550 5.1.1 No such mailbox here\r\n550 5.2.1 This mailbox takes no mail\r\n"
                    "451 4.3.0 Cannot look up this address now, try again later\r\n"
                    "550 5.7.1 You may not send to this group\r\n550 5.2.1 This group has no members\r\n"
                    "555 5.5.4 Parameter not recognised\r\n" OK5 OK5},
    {"UTF-8 in addresses", MX,
     EHLO "MAIL FROM:<v\xc5\xa9@c.example>\r\n" MAIL
          "RCPT TO:<h\xc6\xb0\xc6\xa1ng@gialai.example>\r\nRSET\r\n"
          "MAIL FROM:<v\xc5\xa9@c.example> SMTPUTF8\r\nRCPT TO:<h\xc6\xb0\xc6\xa1ng@gialai.example>\r\n"
          "DATA\r\n.\r\n",
     GREET CAPS "553 5.6.7 An address outside ASCII needs SMTPUTF8\r\n" OK1
                "553 5.6.7 An address outside ASCII needs SMTPUTF8\r\n" OK OK1 OK5 GO TAKEN,
     "<v\xc5\xa9@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <v\xc5\xa9@c.example>\r\n"
     "Received: from c.example ([192.0.2.1])\r\n\tby mx.gialai.example with UTF8SMTP\r\n\tid TRACE for "
     "<h\xc6\xb0\xc6\xa1ng@gialai.example>;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"},

    /* BDAT */
    {"BDAT", MX, EHLO MAIL RCPT "BDAT 5\r\nhelloBDAT 4 LAST\r\n\r\n.\nNOOP\r\n",
     GREET CAPS OK1 OK5 "250 2.0.0 Ok, more\r\n550 5.6.0 Message holds a bare CR, a bare LF or NUL\r\n" OK},
    {"BDAT keeps dots", MX,
     EHLO MAIL RCPT "BDAT 10 LAST\r\n.a\r\n..\r\n.\rBDAT 3 LAST\r\nabc" MAIL RCPT
                    "BDAT 5\r\n.\r\n..BDAT 0\r\nBDAT 2 LAST\r\n\r\n",
     GREET CAPS OK1 OK5 "550 5.6.0 Message holds a bare CR, a bare LF or NUL\r\n"
                        "503 5.5.1 BDAT is out of order\r\n" OK1 OK5
                        "250 2.0.0 Ok, more\r\n250 2.0.0 Ok, more\r\n" TAKEN,
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE1 ".\r\n..\r\n"},
    {"BDAT without a line end", MX, EHLO MAIL RCPT "BDAT 5\r\nhelloBDAT 0 LAST\r\n",
     GREET CAPS OK1 OK5 "250 2.0.0 Ok, more\r\n" TAKEN,
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE1 "hello"},
    {"BDAT out of order is read away", MX,
     EHLO "BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n" MAIL "BDAT 6\r\nQUIT\r\n" RCPT "BDAT 1\r\nx" MAIL
          "DATA\r\nRSET\r\nDATA\r\n",
     GREET CAPS
     "503 5.5.1 BDAT is out of order\r\n" OK OK1 "503 5.5.1 BDAT is out of order\r\n" OK5
     "250 2.0.0 Ok, more\r\n503 5.5.1 MAIL is out of order\r\n503 5.5.1 DATA is out of order\r\n" OK
     "503 5.5.1 DATA is out of order\r\n"},
    {"a fault in a chunk ends the message", MX, EHLO MAIL RCPT "BDAT 2\r\na\nBDAT 1 LAST\r\nx" MAIL,
     GREET CAPS OK1 OK5 "550 5.6.0 Message holds a bare CR, a bare LF or NUL\r\n"
                        "503 5.5.1 BDAT is out of order\r\n" OK1},
    {"BDAT without a size", MX, EHLO MAIL RCPT "BDAT x\r\nNOOP\r\n",
     GREET CAPS OK1 OK5 "501 5.5.4 Syntax: BDAT size [LAST]\r\n"},
    {"BDAT LAST misspelt", MX, EHLO MAIL RCPT "BDAT 1 LASTLY\r\nxNOOP\r\n",
     GREET CAPS OK1 OK5 "501 5.5.4 Syntax: BDAT size [LAST]\r\n"},

    /* loops */
    {"a loop", MX,
     EHLO MAIL RCPT
     "DATA\r\nReceived: 1\r\nreceived: 2\r\nRECEIVED : 3\r\nReceived: 4\r\nReceived:5\r\n x\r\n"
     "Received:6\r\nReceived:7\r\nReceived:8\r\nReceived:9\r\nReceived:10\r\nReceived:11\r\n\r\n.\r\n",
     GREET CAPS OK1 OK5 GO "554 5.4.6 Too many Received fields: the message goes round in a loop\r\n"},
    {"no loop in the body", MX,
     EHLO MAIL RCPT
     "DATA\r\nReceived: 1\r\n\r\nReceived: 2\r\nReceived: 3\r\nReceived: 4\r\nReceived: 5\r\n"
     "Received:6\r\nReceived:7\r\nReceived:8\r\nReceived:9\r\nReceived:10\r\nReceived:11\r\n.\r\n",
     GREET CAPS OK1 OK5 GO TAKEN,
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE1
     "Received: 1\r\n\r\nReceived: 2\r\nReceived: 3\r\nReceived: 4\r\nReceived: 5\r\n"
     "Received:6\r\nReceived:7\r\nReceived:8\r\nReceived:9\r\nReceived:10\r\nReceived:11\r\n"},
    {"a message from outside is not changed", MX,
     EHLO MAIL RCPT "DATA\r\nReturn-Path: <x@y>\r\nBcc: z@z\r\nno field\r\n\tmore\r\n\r\nx\r\n.\r\n",
     GREET CAPS OK1 OK5 GO TAKEN,
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n" TRACE1
     "Return-Path: <x@y>\r\nBcc: z@z\r\nno field\r\n\tmore\r\n\r\nx\r\n"},

    /* the store's outcomes */
    {"full", MX, EHLO MAIL "RCPT TO:<full@gialai.example>\r\nDATA\r\n.\r\n",
     GREET CAPS OK1 OK5 GO "452 4.2.2 Mailbox is full\r\n",
     "<a@c.example> login= queue=0 repeat=1 to=a5\nReturn-Path: <a@c.example>\r\n"
     "Received: from c.example ([192.0.2.1])\r\n\tby mx.gialai.example with ESMTP\r\n\tid TRACE"
     " for <full@gialai.example>;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"},

    {"known to be full", MX, EHLO MAIL "RCPT TO:<stuffed@gialai.example>\r\nNOOP\r\n",
     GREET CAPS OK1 "452 4.2.2 Mailbox is full\r\n" OK},

    /* LMTP */
    {"LMTP answers each recipient", LMTP,
     "EHLO c\r\nHELO c\r\nLHLO c.example\r\nAUTH PLAIN AGFuAHNlY3JldA==\r\n" MAIL
     "RCPT TO:<full@gialai.example>\r\n" RCPT
     "RCPT TO:<an@gialai.example>\r\nRCPT TO:<nobody@gialai.example>\r\n"
     "RCPT TO:<refuse@gialai.example>\r\nDATA\r\n.\r\nNOOP\r\n",
     GREET_LMTP "500 5.5.1 Command not recognised\r\n500 5.5.1 Command not recognised\r\n" CAPS
                "502 5.5.1 AUTH is not available here\r\n" OK1 OK5 OK5 OK5
                "550 5.1.1 No such mailbox here\r\n" OK5 GO "452 4.2.2 Mailbox is full\r\n"
                "250 2.0.0 <an@gialai.example> Ok: queued as TRACE\r\n"
                "250 2.0.0 <an@gialai.example> Ok: queued as TRACE\r\n550 5.2.0 Mailbox takes no mail\r\n" OK,
     "<a@c.example> login= queue=0 repeat=1 to=a1,a5,a6\nReturn-Path: <a@c.example>\r\n"
     "Received: from c.example ([192.0.2.1])\r\n\tby mx.gialai.example with LMTP\r\n\tid TRACE;"
     "\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"},
    {"LMTP refuses for each recipient", LMTP,
     "LHLO c.example\r\n" MAIL RCPT RCPT "BDAT 1 LAST\r\n\x01NOOP\r\n" MAIL RCPT RCPT
     "DATA\r\nReceived:\r\nReceived:\r\nReceived:\r\nReceived:\r\nReceived:\r\nReceived:\r\n"
     "Received:\r\nReceived:\r\nReceived:\r\nReceived:\r\nReceived:\r\n.\r\n",
     GREET_LMTP CAPS OK1 OK5 OK5 "250 2.0.0 <an@gialai.example> Ok: queued as TRACE\r\n"
                                 "250 2.0.0 <an@gialai.example> Ok: queued as TRACE\r\n" OK OK1 OK5 OK5 GO
                                 "554 5.4.6 Too many Received fields: the message goes round in a loop\r\n"
                                 "554 5.4.6 Too many Received fields: the message goes round in a loop\r\n",
     "<a@c.example> login= queue=0 repeat=1 to=a1\nReturn-Path: <a@c.example>\r\n"
     "Received: from c.example ([192.0.2.1])\r\n\tby mx.gialai.example with LMTP\r\n\tid TRACE;"
     "\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n\x01"},

    /* logins */
    {"AUTH in the clear", SUB, EHLO LOGIN "AUTH PLAIN !!!!\r\n" MAIL "AUTH\r\n",
     GREET CAPS
     "538 5.7.11 Encryption is required, STARTTLS comes first\r\n"
     "501 5.5.2 The initial response is not base64\r\n"
     "530 5.7.0 Authentication required, STARTTLS comes first\r\n501 5.5.4 AUTH needs an argument\r\n"},
    {"AUTH", SUB_LOCAL,
     LOGIN EHLO MAIL "AUTH NTLM\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN\r\n!\r\nAUTH PLAIN\r\nAGFuAHdyb25n\r\n"
                     "AUTH PLAIN =\r\nauth plain AGxhdGVyAHg=\r\n" LOGIN LOGIN EHLO,
     GREET "503 5.5.1 EHLO comes first\r\n" CAPS_TLS "530 5.7.0 Authentication required\r\n"
           "504 5.5.4 Mechanism not recognised\r\n334 \r\n501 5.7.0 Authentication cancelled\r\n334 \r\n"
           "501 5.5.2 The response is not base64\r\n334 \r\n535 5.7.8 Authentication failed\r\n"
           "501 5.5.2 The response is not of this mechanism\r\n"
           "454 4.7.0 Cannot check logins now, try again later\r\n" IN
           "503 5.5.1 You are logged in already\r\n" CAPS_IN},
    {"AUTH LOGIN", SUB_LOCAL, EHLO "AUTH LOGIN\r\nYW4=\r\nc2VjcmV0\r\n",
     GREET CAPS_TLS "334 VXNlciBOYW1l\r\n334 UGFzc3dvcmQ=\r\n" IN},
    {"AUTH with final data", SUB_LOCAL,
     EHLO "AUTH SCRAM-SHA-256 bj0x\r\nb2s=\r\neA==\r\n"
          "AUTH SCRAM-SHA-256 bj0x\r\nb2s=\r\n*\r\n" MAIL "AUTH SCRAM-SHA-256 bj0x\r\nb2s=\r\n\r\n",
     GREET CAPS_TLS "334 cj0x\r\n334 dj1zaWc=\r\n501 5.5.2 An empty response was expected\r\n"
                    "334 cj0x\r\n334 dj1zaWc=\r\n501 5.7.0 Authentication cancelled\r\n"
                    "530 5.7.0 Authentication required\r\n334 cj0x\r\n334 dj1zaWc=\r\n" IN},
    {"AUTH too often", SUB_LOCAL, EHLO "AUTH PLAIN AG1hbnkAeA==\r\nNOOP\r\n",
     GREET CAPS_TLS "421 4.7.0 Too many failed logins\r\n"},
    {"AUTH inside a transaction", SUB_LOCAL, EHLO LOGIN FROM_AN LOGIN,
     GREET CAPS_TLS IN OK1 "503 5.5.1 AUTH is out of order\r\n"},
    {"a bad line inside AUTH", SUB_LOCAL, EHLO "AUTH PLAIN\r\nAA\nNOOP\r\n",
     GREET CAPS_TLS "334 \r\n500 5.5.2 Line does not end in CRLF\r\n" OK},
    {"STARTTLS", SUB, EHLO "STARTTLS x\r\nSTARTTLS\r\n",
     GREET CAPS "501 5.5.4 STARTTLS takes no argument\r\n220 2.0.0 Ready to start TLS\r\n"
                "503 5.5.1 MAIL is out of order, EHLO comes first\r\n" CAPS_TLS
                "503 5.5.1 The connection is protected already\r\n" IN OK1 OK5 GO TAKEN,
     "<an@gialai.example> login=an@gialai.example queue=0 repeat=1 to=a1\nReturn-Path: "
     "<an@gialai.example>\r\n"
     "Received: from c.example ([192.0.2.1])\r\n\tby mx.gialai.example with ESMTPSA\r\n\t(TLSv1.3 TLS_TEST)"
     "\r\n\tid TRACE for <an@gialai.example>;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"
     "From: <an@gialai.example>\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: "
     "<TRACE@mx.gialai.example>\r\n"
     "\r\nx\r\n",
     MAIL EHLO "STARTTLS\r\n" LOGIN FROM_AN RCPT "DATA\r\n\r\nx\r\n.\r\n"},

    /* submission */
    {"whose address", SUB_LOCAL,
     EHLO LOGIN MAIL
     "MAIL FROM:<later@gialai.example>\r\nMAIL FROM:<binh@gialai.example>\r\n"
     "MAIL FROM:<an.van@gialai.example>\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<x@far.example>\r\n"
     "RCPT TO:<closed@gialai.example>\r\n",
     LOCAL_IN "553 5.7.1 This sender address does not belong to your login\r\n"
              "451 4.3.0 Cannot check the sender now, try again later\r\n"
              "553 5.7.1 This sender address does not belong to your login\r\n" OK1 OK OK1
              "550 5.1.2 Mail for other systems cannot be sent from here yet\r\n" OK5},
    {"header changes", SUB_LOCAL,
     EHLO LOGIN FROM_AN RCPT
     "DATA\r\nReturn-Path: <x@y>\r\nFROM : \"An\"\r\n <an@gialai.example>\r\nBcc: chi@gialai.example,\r\n"
     " binh@gialai.example\r\nDATE: x\r\nMessage-Id: <1@x>\r\nresent-bcc:\r\nTo: y\r\n\r\nBcc: body\r\n.\r\n",
     LOCAL_IN OK1 OK5 GO TAKEN,
     "<an@gialai.example> login=an@gialai.example queue=0 repeat=1 to=a1\nReturn-Path: "
     "<an@gialai.example>\r\n" TRACE_LOCAL
     "FROM : \"An\"\r\n <an@gialai.example>\r\nDATE: x\r\nMessage-Id: <1@x>\r\nTo: y\r\n\r\nBcc: body\r\n"},
    {"header ends at what is no field", SUB_LOCAL,
     EHLO LOGIN FROM_AN RCPT
     "DATA\r\nFrom: an@gialai.example\r\nhello world\r\nFrom: binh@gialai.example\r\n.\r\n",
     LOCAL_IN OK1 OK5 GO TAKEN,
     "<an@gialai.example> login=an@gialai.example queue=0 repeat=1 to=a1\nReturn-Path: "
     "<an@gialai.example>\r\n" TRACE_LOCAL "From: an@gialai.example\r\nDate: Tue, 24 Nov 2026 10:00:00 "
     "+0000\r\nMessage-ID: <TRACE@mx.gialai.example>\r\n"
     "\r\nhello world\r\nFrom: binh@gialai.example\r\n"},
    {"whose author", SUB_LOCAL,
     EHLO LOGIN FROM_AN RCPT
     "DATA\r\nFrom: binh@gialai.example\r\n\r\n.\r\n" FROM_AN RCPT
     "DATA\r\nFrom: an@gialai.example, Binh <binh@gialai.example>\r\n\r\n.\r\n" FROM_AN RCPT
     "DATA\r\nFrom: an@gialai.example\r\nFrom: binh@gialai.example\r\n\r\n.\r\n" FROM_AN RCPT
     "DATA\r\nFrom: The Chairman\r\n\r\n.\r\n" FROM_AN RCPT "DATA\r\nFrom:\r\n\r\n.\r\n" FROM_AN RCPT
     "DATA\r\nFrom: later@gialai.example\r\n\r\n.\r\n",
     LOCAL_IN OK1 OK5 GO "550 5.7.1 The From or Sender field does not belong to your login\r\n" OK1 OK5 GO
                         "550 5.7.1 The From or Sender field does not belong to your login\r\n" OK1 OK5 GO
                         "550 5.6.0 More than one From or Sender field, or one too long\r\n" OK1 OK5 GO
                         "550 5.7.1 The From or Sender field does not belong to your login\r\n" OK1 OK5 GO
                         "550 5.7.1 The From or Sender field does not belong to your login\r\n" OK1 OK5 GO
                         "451 4.3.0 Cannot check the author now, try again later\r\n"},
    {"whose Sender", SUB_LOCAL,
     EHLO LOGIN FROM_AN RCPT
     "DATA\r\nFrom: an@gialai.example\r\nSender: binh@gialai.example\r\n\r\n.\r\n" FROM_AN RCPT
     "DATA\r\nsender :\r\n <binh@gialai.example>\r\n\r\n.\r\n" FROM_AN RCPT
     "DATA\r\nSender: an@gialai.example\r\nSender: an@gialai.example\r\n\r\n.\r\n" FROM_AN RCPT
     "DATA\r\nSender:\r\n\r\n.\r\n",
     LOCAL_IN OK1 OK5 GO "550 5.7.1 The From or Sender field does not belong to your login\r\n" OK1 OK5 GO
                         "550 5.7.1 The From or Sender field does not belong to your login\r\n" OK1 OK5 GO
                         "550 5.6.0 More than one From or Sender field, or one too long\r\n" OK1 OK5 GO
                         "550 5.7.1 The From or Sender field does not belong to your login\r\n"},
    {"another address of the author", SUB_LOCAL,
     EHLO LOGIN FROM_AN RCPT
     "DATA\r\nDate: x\r\nMessage-ID: x\r\nFrom: AN <an.van@gialai.example>\r\n\r\n.\r\n",
     LOCAL_IN OK1 OK5 GO TAKEN,
     "<an@gialai.example> login=an@gialai.example queue=0 repeat=1 to=a1\nReturn-Path: "
     "<an@gialai.example>\r\n" TRACE_LOCAL
     "Date: x\r\nMessage-ID: x\r\nFrom: AN <an.van@gialai.example>\r\n\r\n"},
};
