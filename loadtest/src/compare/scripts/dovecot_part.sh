# Dovecot's LMTP into Maildir or mdbox. $1: its listener, as lines of Dovecot's configuration.
start_dovecot() {
    make_user dovecot 64001
    make_user dovenull 64002
    mkdir -p /etc/dovecot /var/lib/dovecot
    case $LAYOUT in
    mdbox) location='mdbox:~/mdbox' ;;
    *) location='maildir:~/Maildir' ;;
    esac
    # mail_fsync stays "optimized", the default: LMTP then syncs what it saves before it answers.
    cat >/etc/dovecot/dovecot.conf <<END
protocols = lmtp
base_dir = /run/dovecot
log_path = /var/log/dovecot.log
ssl = no
mail_location = $location
mail_fsync = optimized
first_valid_uid = 1
default_process_limit = $((CONNECTIONS + 100))
default_client_limit = $((CONNECTIONS * 4 + 1000))
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/var/vmail/%n allow_all_users=yes
}
protocol lmtp {
  postmaster_address = postmaster@example.org
}
service lmtp {
  process_limit = $((CONNECTIONS + 100))
$1
}
END
    dovecot
}
