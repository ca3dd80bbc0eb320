"""ask.py TOKENS: one completion and its time."""

import http.client
import json
import sys
import time

tokens, began = int(sys.argv[1]), time.time()
body = {"model": "bench", "prompt": "one two three", "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
try:
    connection = http.client.HTTPConnection("127.0.0.1", 8090, timeout=60)
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    usage = json.loads(response.read()).get("usage")
    print(f"{time.strftime('%T')} {response.status} {usage} in {time.time() - began:.2f} s")
except OSError as problem:
    print(f"{time.strftime('%T')} nobody: {problem}")
    sys.exit(1)
