#!/usr/bin/env python3
"""Records the Remoting frames between a client and a real RocketMQ, as golden files for broker-core/wire/testdata.

    scripts/record-frames.py OUT CLIENT NAMESRV NAMESRV_PROXY BROKER BROKER_PROXY

Listens on the two PROXY ports of loopback and forwards to the others. The first request and the first successful reply of
each code are written to OUT/CLIENT-REQUEST.bin and OUT/CLIENT-REQUEST-reply.bin, with their 4 bytes of length. The
broker's address in routes is replaced by the proxy's, so both ports must have equally many digits.
"""
import json
import pathlib
import socket
import struct
import sys
import threading

REQUESTS = {
    10: "send", 310: "send-v2", 320: "send-batch", 11: "pull", 361: "lite-pull", 12: "query", 33: "view", 14: "query-offset",
    15: "update-offset", 17: "create-topic", 29: "search-offset", 30: "max-offset", 31: "min-offset", 34: "heartbeat",
    35: "unregister", 36: "send-back", 38: "consumer-list", 40: "consumers-changed", 41: "lock", 42: "unlock", 46: "check-client",
    105: "route", 206: "topic-list", 106: "cluster-info", 220: "reset-offset", 307: "running-info",
}
OUT, CLIENT = pathlib.Path(sys.argv[1]), sys.argv[2]
NAMESRV, NAMESRV_PROXY, BROKER, BROKER_PROXY = map(int, sys.argv[3:7])
written = set()
lock = threading.Lock()


def read_exactly(source, length):
    data = b""
    while len(data) < length:
        part = source.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def header(frame):
    """(code, opaque, flag) of a frame in either encoding."""
    mark = frame[4]
    length = struct.unpack(">I", b"\0" + frame[5:8])[0]
    if mark == 0:
        fields = json.loads(frame[8:8 + length])
        return fields["code"], fields["opaque"], fields["flag"]
    code, _language, _version, opaque, flag = struct.unpack(">hbhii", frame[8:21])
    return code, opaque, flag


def save(name, frame):
    with lock:
        if name not in written:
            written.add(name)
            (OUT / f"{CLIENT}-{name}.bin").write_bytes(frame)


def pump(source, target, codes):
    """Forwards whole frames; `codes` remembers what each request of this connection asked for."""
    try:
        while True:
            length = read_exactly(source, 4)
            frame = length + read_exactly(source, struct.unpack(">I", length)[0])
            code, opaque, flag = header(frame)
            if flag & 1 == 0:
                name = REQUESTS.get(code, f"code{code}")
                if code == 34 and b'"groupName"' in frame.partition(b'"consumerDataSet"')[2].partition(b'"producerDataSet"')[0]:
                    name = "heartbeat-consumer"
                codes[opaque] = name
                save(name, frame)
            elif opaque in codes and code == 0:
                save(codes[opaque] + "-reply", frame)
            target.sendall(frame.replace(b"127.0.0.1:%d" % BROKER, b"127.0.0.1:%d" % BROKER_PROXY))
    except (EOFError, OSError):
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(port, upstream):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        client, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", upstream))
        codes = {}
        threading.Thread(target=pump, args=(client, server, codes), daemon=True).start()
        threading.Thread(target=pump, args=(server, client, codes), daemon=True).start()


assert len(str(BROKER)) == len(str(BROKER_PROXY)), "both broker ports must have equally many digits"
OUT.mkdir(parents=True, exist_ok=True)
threading.Thread(target=serve, args=(NAMESRV_PROXY, NAMESRV), daemon=True).start()
serve(BROKER_PROXY, BROKER)
