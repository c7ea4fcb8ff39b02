# Postfix in front of Dovecot's LMTP: 250 means queued; the mail is in the mailbox some time later.
start_dovecot "  unix_listener lmtp {
    mode = 0666
  }"
make_user postfix 64003
make_group postdrop 64004
make_certificate
mkdir -p /etc/postfix /var/lib/postfix /var/spool/postfix
chown postfix /var/lib/postfix
cat >/etc/postfix/main.cf <<END
compatibility_level = 3.6
queue_directory = /var/spool/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = /var/lib/postfix
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
alias_maps =
alias_database =
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:ok
virtual_transport = lmtp:unix:/run/dovecot/lmtp
default_process_limit = $((CONNECTIONS + 100))
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
lmtp_destination_concurrency_limit = 50
lmtp_destination_recipient_limit = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/load.pem
smtpd_tls_key_file = /etc/load.key
END
cat >/etc/postfix/master.cf <<END
127.0.0.1:$PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
END
for name in postfix-files postfix-script postfix-wrapper post-install dynamicmaps.cf; do
    for place in /usr/lib/postfix/sbin /usr/share/postfix; do
        if [ ! -e "/etc/postfix/$name" ] && [ -e "$place/$name" ]; then cp "$place/$name" /etc/postfix/; fi
    done
done
postfix start-fg
