# Runs HAProxy, reloads it when a certificate changes, and ends it gently: after SIGTERM it serves on for DELAY seconds,
# until clients use other routers, and then completes what runs.
haproxy -W -db -f /etc/router/haproxy.cfg &
haproxy=$!

certificates() { cat /etc/router/tls/* 2>/dev/null | cksum; }

reload_on_change() {
    before=$(certificates)
    while sleep 5; do
        now=$(certificates)
        [ "$now" = "$before" ] || kill -USR2 $haproxy || exit
        before=$now
    done
}

stop() {
    trap '' TERM USR1 INT
    sleep "$DELAY"
    kill -USR1 $haproxy
    wait $haproxy
    exit $?
}

trap stop TERM USR1 INT
reload_on_change &
wait $haproxy
