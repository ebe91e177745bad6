#!/usr/bin/env python3
"""Adds hotset's part to a bucket's notification configuration, and leaves everybody else's as it is.

    merge_notification.py OURS.json < WHOLE.json > NEW.json

WHOLE is what `aws s3api get-bucket-notification-configuration` prints (nothing, where there is none), OURS the output
BucketNotification of the stack or the module. What goes to our topic is replaced, so that it may be done again.
"""

import json
import sys


def merged(whole: dict, ours: dict) -> dict:
    new = dict(whole)
    for kind, added in ours.items():
        if isinstance(added, list):
            topics = {configuration["TopicArn"] for configuration in added}
            kept = [old for old in whole.get(kind, []) if old["TopicArn"] not in topics]
            new[kind] = kept + added
        else:
            new[kind] = added
    return new


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        ours = json.load(file)
    json.dump(merged(json.loads(sys.stdin.read().strip() or "{}"), ours), sys.stdout, indent=2)
