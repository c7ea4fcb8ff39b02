# Common to all rivals; runs as PID 1 of a mount and PID namespace of its own, so that nothing it does is seen outside and
# everything it started ends with it. Gives the package trees their usual places, an /etc and a /var that are thrown away, and
# the users that the packages' scripts would have made.
#
# TREES: unpacked package trees, parted by spaces (none: what is installed is used). SCRATCH: a directory on the disk to be
# measured; all of /var lies in it. PORT: where to listen on 127.0.0.1. CONNECTIONS: how many will come. ACCOUNTS: user1@ to that many.
# LAYOUT: maildir or mdbox.
set -eu
umask 022

usr=/usr etc=/etc lib=/usr/lib
for tree in ${TREES:-}; do
    if [ -d "$tree/usr" ]; then usr=$tree/usr:$usr; fi
    if [ -d "$tree/etc" ]; then etc=$tree/etc:$etc; fi
    # On today's systems /lib is /usr/lib.
    if [ -d "$tree/lib" ]; then lib=$tree/lib:$lib; fi
done
mkdir -p "$SCRATCH/etc" "$SCRATCH/work" "$SCRATCH/var"
for tree in ${TREES:-}; do
    if [ -d "$tree/var" ]; then cp -a "$tree/var/." "$SCRATCH/var/"; fi
done
mkdir -p "$SCRATCH/var/mail" "$SCRATCH/var/lib" "$SCRATCH/var/log" "$SCRATCH/var/spool" "$SCRATCH/var/tmp"
if [ "$usr" != /usr ]; then mount -t overlay -o "lowerdir=$usr" overlay /usr; fi
if [ "$lib" != /usr/lib ]; then mount -t overlay -o "lowerdir=$lib" overlay /usr/lib; fi
mount -t overlay -o "lowerdir=$etc,upperdir=$SCRATCH/etc,workdir=$SCRATCH/work" overlay /etc
mount --bind "$SCRATCH/var" /var
mount -t tmpfs tmpfs /run
ln -sfn /run /var/run
PATH=/usr/sbin:/usr/bin:/sbin:/bin

# $1: name, $2: number, also of its group.
make_user() {
    getent passwd "$1" >/dev/null || echo "$1:x:$2:$2::/var/empty:/bin/false" >>/etc/passwd
    make_group "$1" "$2"
}
make_group() {
    getent group "$1" >/dev/null || echo "$1:x:$2:" >>/etc/group
}
make_user vmail 64000
mkdir -p /var/empty /var/vmail
chown vmail:vmail /var/vmail

# A certificate that nobody vouches for.
make_certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \
        -keyout /etc/load.key -out /etc/load.pem 2>/dev/null
    chmod 644 /etc/load.key
}
