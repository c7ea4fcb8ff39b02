# Haraka with a process for each CPU, discarding: its own queue is for outbound mail, and what stores mail behind it would be measured
# with it.
make_certificate
conf=/etc/load-haraka
mkdir -p $conf/config
cat >$conf/config/smtp.ini <<END
listen=127.0.0.1:$PORT
nodes=cpus
daemonize=false
END
printf 'no_dns\ntls\nrcpt_to.in_host_list\nqueue/discard\n' >$conf/config/plugins
mkdir $conf/plugins
echo "exports.hook_lookup_rdns = (next) => setImmediate(next, OK, 'localhost')" >$conf/plugins/no_dns.js
echo example.org >$conf/config/host_list
echo mx.example.org >$conf/config/me
printf '[main]\nlevel=warn\nformat=default\n' >$conf/config/log.ini
cp /usr/lib/node_modules/Haraka/config/connection.ini $conf/config/
cp /etc/load.pem $conf/config/tls_cert.pem
cp /etc/load.key $conf/config/tls_key.pem
export YES_REALLY_DO_DISCARD=1
haraka -c $conf
