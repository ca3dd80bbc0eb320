#!/usr/bin/env python3
"""What `fetch` and `lock --check` take for a model of many files before the first of them is fetched.

    benches/many-files.py target/release/awqdeploy 5000 20000 100000

For each number: CPU seconds and memory of `fetch --offline`, which says that none of them is here, and of `lock --check`
against a hub on loopback, whose own time (one thread of Python) is in the wall time alone.
"""

import hashlib
import http.server
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time

COMMIT = "a" * 40
# Files on a page of the listing, as on the hub.
PAGE = 1000
PROFILE = """service = "vllm"
[model]
repo = "owner/many"
served-name = "many"
[runtime]
vllm = "0.26.0"
[parallelism]
tensor-parallel-size = 1
"""


def hub(listing):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body, page = json.dumps({"sha": COMMIT}).encode(), int(self.path.partition("cursor=")[2] or 0)
            self.send_response(200)
            if "/tree/" in self.path:
                body = json.dumps(listing[page : page + PAGE]).encode()
                if page + PAGE < len(listing):
                    place = self.path.partition("?")[0]
                    self.send_header("link", f'<{place}?cursor={page + PAGE}>; rel="next"')
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def measure(program, folder, endpoint, count, *words):
    environment = {"PATH": os.environ["PATH"], "HOME": folder, "HF_ENDPOINT": endpoint}
    command = [program, "--progress", "none", *words, "--root", f"{folder}/root", "--profiles", f"{folder}/profiles"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    most = after.ru_maxrss >> 10
    said = (done.stderr or done.stdout).splitlines()[0]
    print(f"{count:7} {' '.join(words):28} {cpu:5.1f} s CPU {wall:6.1f} s {most:4} MiB at most  {done.returncode}: {said}", flush=True)


def main():
    program, *counts = sys.argv[1:]
    for count in map(int, counts):
        names = ["config.json", "model.safetensors", *(f"part-{number:06}.json" for number in range(count - 2))]
        hashes = [hashlib.sha256(name.encode()).hexdigest() for name in names]
        lines = f'\n[model]\nrepo = "owner/many"\nrevision = "main"\ncommit = "{COMMIT}"\n'
        for name, digest in zip(names, hashes):
            lines += f'\n[[file]]\npath = "{name}"\nsize = 5\nsha256 = "{digest}"\n'
        checksum = hashlib.sha256(lines.encode()).hexdigest()
        listing = [
            {"type": "file", "path": name, "size": 5, "oid": "0" * 40, "lfs": {"oid": digest, "size": 5}}
            for name, digest in zip(names, hashes)
        ]
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(f"{folder}/profiles/locks")
            os.mkdir(f"{folder}/root", 0o755)
            with open(f"{folder}/profiles/many.toml", "w") as file:
                file.write(PROFILE)
            with open(f"{folder}/profiles/locks/many.toml", "w") as file:
                file.write(f'version = 1\nrevision = 0\nchecksum = "{checksum}"\n{lines}')
            endpoint = hub(listing)
            measure(os.path.abspath(program), folder, endpoint, count, "fetch", "many", "--offline")
            measure(os.path.abspath(program), folder, endpoint, count, "lock", "many", "--check")


main()
