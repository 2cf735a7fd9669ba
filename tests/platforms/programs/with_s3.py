"""Prints, for each line read, the credentials with which an S3 client signs at that moment, as far as a request shows
them: the access key id and the session token. The argument names the client: pyarrow (AWS SDK for C++) or obstore (the
Rust crate object_store)."""

import http.server
import json
import os
import re
import sys
import threading
from importlib.metadata import version


def answer(**fields):
    print(json.dumps(fields), flush=True)


class Listener(http.server.BaseHTTPRequestHandler):
    """An S3 without any object, which remembers who asked."""

    protocol_version = "HTTP/1.1"
    caught = None

    def do_HEAD(self):
        signed = re.search("Credential=([^/]+)/", self.headers.get("Authorization", ""))
        if signed:
            Listener.caught = {"id": signed[1], "token": self.headers.get("x-amz-security-token")}
        else:
            # Without credentials some go on as anybody.
            Listener.caught = {"error": "it sent a request that was not signed"}
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


def pyarrow(address):
    from pyarrow import fs

    store = fs.S3FileSystem(endpoint_override=address, scheme="http", region="eu-central-1")
    return lambda: store.open_input_stream("bucket/key")


def obstore(address):
    import obstore.store

    # Its own name for it, as README.md says.
    if "AWS_EC2_METADATA_SERVICE_ENDPOINT" in os.environ:
        os.environ["AWS_METADATA_ENDPOINT"] = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
    store = obstore.store.S3Store(
        "bucket", endpoint=f"http://{address}", client_options={"allow_http": True}, region="eu-central-1"
    )
    return lambda: store.head("key")


answer(version=version(sys.argv[1]))
listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=listener.serve_forever, daemon=True).start()
ask = None

for _ in sys.stdin:
    Listener.caught = None
    failure = "the call was answered"
    try:
        ask = ask or globals()[sys.argv[1]](f"127.0.0.1:{listener.server_port}")
        ask()
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    answer(**(Listener.caught or {"error": failure}))
