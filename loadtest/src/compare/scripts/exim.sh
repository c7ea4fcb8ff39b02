# Exim into Maildir: 250 means spooled; a process for each message delivers it.
make_user Debian-exim 64005
make_certificate
mkdir -p /etc/exim4 /var/spool/exim4 /var/log/exim4
chown Debian-exim:Debian-exim /var/spool/exim4 /var/log/exim4
# What a peer says may not become a file name; what is found in a file may.
seq 1 "$ACCOUNTS" | sed 's/.*/user&: user&/' >/etc/exim4/users
cat >/etc/exim4/exim4.conf <<END
primary_hostname = mx.example.org
domainlist local_domains = example.org
local_interfaces = 127.0.0.1
daemon_smtp_ports = $PORT
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim4/%slog
exim_user = Debian-exim
never_users = root
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_reserve_hosts = *
tls_advertise_hosts = *
tls_certificate = /etc/load.pem
tls_privatekey = /etc/load.key
keep_environment =
begin routers
virtual:
  driver = accept
  domains = +local_domains
  local_parts = lsearch;/etc/exim4/users
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = /var/vmail/\$local_part_data/Maildir
  maildir_format
  create_directory
  user = vmail
  group = vmail
  mode = 0600
begin retry
* * F,1h,1m
END
exim4 -bdf -q1m
