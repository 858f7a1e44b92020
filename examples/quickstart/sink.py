"""A web hook that prints the events it gets: python3 examples/quickstart/sink.py"""

from http.server import BaseHTTPRequestHandler, HTTPServer


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        print(self.headers["ce-type"], self.headers["ce-id"], body.decode(), flush=True)
        self.send_response(204)
        self.end_headers()


HTTPServer(("127.0.0.1", 8090), Hook).serve_forever()
