"""Posts events with the official CloudEvents SDK for Python: send.py URL binary|structured."""

import sys

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

url, mode = sys.argv[1:]
encode = {"binary": to_binary_event, "structured": to_structured_event}[mode]
EVENTS = [
    ({"datacontenttype": "application/json"}, {"message": "grüße", "n": 1}),
    ({"datacontenttype": "text/plain", "subject": "a b/ü", "myext": "x"}, "plain text"),
    ({"datacontenttype": "application/octet-stream"}, b"\x00\x01\xff"),
    ({}, None),
]
for number, (extra, data) in enumerate(EVENTS):
    attributes = {"id": f"py-{mode}-{number}", "source": "/python", "type": "com.example.python", **extra}
    message = encode(CloudEvent(attributes, data))
    answer = requests.post(url, data=message.body, headers=message.headers, timeout=10)
    print(answer.status_code, answer.text.strip(), flush=True)
    if answer.status_code != 202:
        sys.exit(1)
