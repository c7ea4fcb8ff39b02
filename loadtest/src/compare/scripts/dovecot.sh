# Dovecot's LMTP alone: 250 after the end of data means delivered.
start_dovecot "  inet_listener lmtp {
    address = 127.0.0.1
    port = $PORT
  }"
while sleep 1000; do :; done
