"""watch.py LOG: when the API on port 8090 goes down and comes up, and what it serves: a line for each change."""

import http.client
import json
import sys
import time

last = None
with open(sys.argv[1], "a") as out:
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", 8090, timeout=2)
            connection.request("GET", "/v1/models")
            response = connection.getresponse()
            body = response.read()
            up = response.status == 200
            told = json.loads(body)["data"][0]["root"][-20:] if up else response.status
        except Exception as problem:
            up, told = False, type(problem).__name__
        if (up, told) != last:
            last = (up, told)
            print(f"{time.time():.2f} {time.strftime('%T')} {'UP' if up else 'down'} {told}", file=out, flush=True)
        time.sleep(0.25)
