#!/usr/bin/env python3
"""How far other clients' figures are from what the bench's server says of itself: judge.py vllm|guidellm|aiperf RESULT...

RESULT is the file of `vllm bench serve --save-detailed`, guidellm's JSON, or aiperf's folder (with --export-outputs-json). Each
token that the server sends is the time at which it sent it, in microseconds after the request came. guidellm keeps no time of
single tokens.
"""

import json
import pathlib
import statistics
import sys


def vllm(path):
    of = json.loads(path.read_text())
    return zip(of["generated_texts"], of["ttfts"], of["itls"])


def guidellm(path):
    for of in json.loads(path.read_text())["benchmarks"][0]["requests"]["successful"]:
        yield of["output"], of["time_to_first_token_ms"] / 1e3, []


def aiperf(folder):
    records = [json.loads(line) for line in (folder / "profile_export.jsonl").read_text().splitlines()]
    gaps = {of["metadata"]["x_request_id"]: of["metrics"]["inter_chunk_latency"]["value"] for of in records}
    for of in json.loads((folder / "outputs.json").read_text())["data"]:
        itls = [gap / 1e3 for gap in gaps[of["x_request_id"]]]
        yield of["response_text"], of["metrics"]["time_to_first_token"] / 1e3, itls


def shown(errors):
    """Mean and 99 %, of seconds in milliseconds."""
    errors = sorted(errors)
    return f"{statistics.mean(errors) * 1e3:.3f} {errors[(len(errors) - 1) * 99 // 100] * 1e3:.2f}" if errors else "-"


def main():
    read = {"vllm": vllm, "guidellm": guidellm, "aiperf": aiperf}[sys.argv[1]]
    for path in map(pathlib.Path, sys.argv[2:]):
        first, between = [], []
        for text, ttft, itls in read(path):
            sent = [int(word) / 1e6 for word in text.split()]
            first.append(ttft - sent[0])
            between += [itl - (later - sooner) for itl, sooner, later in zip(itls, sent, sent[1:])]
        print(f"{path}: {len(first)} requests; TTFT error ms: {shown(first)}; ITL error ms: {shown(between)}")


if __name__ == "__main__":
    main()
