# Postfix's smtp-sink, which answers and stores nothing.
smtp-sink -u nobody "127.0.0.1:$PORT" 1024
