# Cyrus' LMTP: 250 after the end of data means delivered.
make_user cyrus 64008
make_group mail 8
mkdir -p /var/lib/cyrus/socket /var/lib/cyrus/db /var/lib/cyrus/proc /var/spool/cyrus/mail /run/cyrus
cat >/etc/imapd.conf <<END
configdirectory: /var/lib/cyrus
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
defaultpartition: default
partition-default: /var/spool/cyrus/mail
admins: cyrus
altnamespace: yes
unixhierarchysep: yes
virtdomains: off
autocreate_quota: 0
autocreate_post: yes
hashimapspool: no
sasl_pwcheck_method: saslauthd
lmtpsocket: /run/cyrus/lmtp
idlesocket: /run/cyrus/idle
notifysocket: /run/cyrus/notify
lmtp_downcase_rcpt: yes
duplicatesuppression: no
servername: mx.example.org
END
cat >/etc/cyrus.conf <<END
START {
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -r"
}
SERVICES {
  lmtp cmd="/usr/lib/cyrus/bin/lmtpd -a" listen="127.0.0.1:$PORT" prefork=10 maxchild=$((CONNECTIONS + 100))
}
EVENTS {
  checkpoint cmd="/usr/sbin/cyrus ctl_cyrusdb -c" period=30
}
END
chown -R cyrus:mail /var/lib/cyrus /var/spool/cyrus /run/cyrus
cyrmaster -D
