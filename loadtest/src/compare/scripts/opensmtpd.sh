# OpenSMTPD into Maildir: 250 means queued.
make_user opensmtpd 64006
make_user opensmtpq 64007
make_certificate
chmod 600 /etc/load.key
mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd
chmod 711 /var/spool/smtpd
sed -i 's,^vmail:.*,vmail:x:64000:64000::/var/vmail:/bin/sh,' /etc/passwd
cat >/etc/smtpd.conf <<END
pki load cert "/etc/load.pem"
pki load key "/etc/load.key"
smtp limit max-mails 1000000
smtp limit max-rcpt 1000000
table users { "@example.org" = vmail }
listen on 127.0.0.1 port $PORT tls pki load
action deliver maildir "/var/vmail/%{rcpt.user}/Maildir" virtual <users>
match from any for domain "example.org" action deliver
END
smtpd -d
