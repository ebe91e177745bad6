# Reads OBJECT (bucket/key) twice through ENDPOINT, on one connection and so from one replica: the second answer must
# be a hit. Without an OBJECT it asks whether S3 is spoken there at all.
ask() {
    # S3 wants the hash of the body, of which there is none; older versions of curl do not send it.
    curl --silent --show-error --insecure --max-time 60 --output /dev/null "$@" \
        ${ACCESS_KEY:+--user "$ACCESS_KEY:$SECRET_KEY" --aws-sigv4 "aws:amz:$REGION:s3"} \
        ${ACCESS_KEY:+--header "x-amz-content-sha256: UNSIGNED-PAYLOAD"}
}
if [ -z "$OBJECT" ]; then
    ask --write-out 'answered %{http_code}\n' "$ENDPOINT/"
    echo "set tests.object to bucket/key for a miss and a hit"
    exit 0
fi
answers=$(ask --dump-header - "$ENDPOINT/$OBJECT" --output /dev/null "$ENDPOINT/$OBJECT" | tr -d '\r' |
    grep -i -e '^HTTP/' -e '^cache-status:')
printf '%s\n' "$answers"
case "$(printf '%s\n' "$answers" | tail -n 2 | tr '\n' ' ')" in
    HTTP/*' 200'*'; hit'*) echo "the second read was a hit" ;;
    *) echo "the second read was no hit"; exit 1 ;;
esac
