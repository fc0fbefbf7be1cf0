#!/bin/sh
# A private OpenLDAP server with the people of directory.ldif, on 127.0.0.1, for the demo and for tests.
#
#   start-slapd.sh make DIR SOURCE         make DIR when it is new
#   start-slapd.sh start DIR PORT SOURCE   the same, and start; ldap on PORT, ldaps on PORT + 1
#   start-slapd.sh stop DIR
#
# SOURCE is the tree that holds conf/provmail.schema. LDIF in the environment: another file than the sample's;
# SUFFIX: its suffix. DIR/mailsync.password is of cn=mailsync,ou=Services,SUFFIX, who reads all but passwords.
set -eu
suffix=${SUFFIX:-dc=gialai,dc=example}
dir=$2

# By its command line: a number alone may be a dead process or, after a crash, another one.
running() {
    [ -s "$dir/slapd.pid" ] &&
        tr '\0' '\n' 2>/dev/null <"/proc/$(cat "$dir/slapd.pid")/cmdline" | grep -qxF "$dir/slapd.conf"
}
answers() { ldapsearch -x -LLL -H "ldap://127.0.0.1:$1/" -s base -b '' namingContexts >/dev/null 2>&1; }

make_folder() {
    rm -rf "$dir.new"
    mkdir -p "$dir.new/db" "$dir.new/tls"
    chmod 700 "$dir.new/db"
    cp "$1/conf/provmail.schema" "$dir.new/provmail.schema"
    openssl req -x509 -newkey rsa:2048 -nodes -days 825 -subj /CN=localhost \
        -addext "subjectAltName=DNS:localhost,DNS:$(hostname),IP:127.0.0.1" \
        -keyout "$dir.new/tls/key.pem" -out "$dir.new/tls/cert.pem" 2>/dev/null
    (umask 077 && openssl rand -hex 16 | tr -d '\n' >"$dir.new/mailsync.password")
    cat >"$dir.new/services.ldif" <<END
dn: ou=Services,$suffix
objectClass: organizationalUnit
ou: Services

dn: cn=mailsync,ou=Services,$suffix
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: mailsync
userPassword: $(cat "$dir.new/mailsync.password")
END
    mv "$dir.new" "$dir"
    cat >"$dir/slapd.conf" <<END
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include $dir/provmail.schema
pidfile $dir/slapd.pid
argsfile $dir/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
loglevel stats
TLSCertificateFile $dir/tls/cert.pem
TLSCertificateKeyFile $dir/tls/key.pem
database mdb
suffix "$suffix"
rootdn "cn=admin,$suffix"
directory $dir/db
maxsize 1073741824
index objectClass,entryUUID,entryCSN eq
index uid,mail,mailAlternateAddress,unitCode eq,pres
index member eq
limits dn.exact="cn=mailsync,ou=Services,$suffix" size=unlimited time=unlimited
access to attrs=userPassword
  by self =xw
  by anonymous auth
  by * none
access to *
  by dn.exact="cn=mailsync,ou=Services,$suffix" read
  by users read
  by anonymous auth
overlay syncprov
syncprov-checkpoint 100 5
END
    # slapadd takes a version line for a record when it stands alone.
    sed '1,/^dn:/{/^version:/d;/^#/d;}' "${LDIF:-$1/conf/sample/directory.ldif}" >"$dir/people.ldif"
    slapadd -q -f "$dir/slapd.conf" -l "$dir/people.ldif" >"$dir/slapadd.out" 2>&1 &&
        slapadd -q -f "$dir/slapd.conf" -l "$dir/services.ldif" >>"$dir/slapadd.out" 2>&1 || {
        cat "$dir/slapadd.out" >&2
        rm -rf "$dir"
        exit 70
    }
    rm "$dir/services.ldif" "$dir/people.ldif"
}

PATH=$PATH:/usr/sbin
case $1 in
make) [ -d "$dir" ] || make_folder "$3" ;;
start)
    running && exit 0
    [ -d "$dir" ] || make_folder "$4"
    slapd -f "$dir/slapd.conf" -h "ldap://127.0.0.1:$3/ ldaps://127.0.0.1:$(($3 + 1))/"
    for _ in $(seq 100); do
        answers "$3" && exit 0
        sleep 0.1
    done
    echo "slapd does not answer on port $3" >&2
    exit 69
    ;;
stop)
    running || exit 0
    pid=$(cat "$dir/slapd.pid")
    kill -INT "$pid"
    for _ in $(seq 100); do
        running || exit 0
        sleep 0.1
    done
    echo "slapd $pid does not end" >&2
    exit 75
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 64
    ;;
esac
