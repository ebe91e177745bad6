# Reads OBJECT (bucket/key) twice through ENDPOINT, on one connection and so from one replica: the second answer must
# be a hit. Without an OBJECT it asks whether S3 is spoken there at all.
ask() {
    curl --silent --show-error --insecure --max-time 60 --output /dev/null "$@" \
        ${ACCESS_KEY:+--user "$ACCESS_KEY:$SECRET_KEY" --aws-sigv4 "aws:amz:$REGION:s3"}
}

if [ -z "$OBJECT" ]; then
    ask --write-out 'answered %{http_code}\n' "$ENDPOINT/"
    echo "set tests.object to bucket/key for a miss and a hit"
    exit 0
fi

headers=$(ask --dump-header - "$ENDPOINT/$OBJECT" --output /dev/null "$ENDPOINT/$OBJECT" | tr -d '\r')
printf '%s\n' "$headers" | grep -i -e '^HTTP/' -e '^cache-status:'
last=$(printf '%s\n' "$headers" | grep -i '^cache-status:' | tail -n 1)
case "$last" in
    *'; hit'*) echo "the second read was a hit" ;;
    *) echo "the second read was no hit"; exit 1 ;;
esac
