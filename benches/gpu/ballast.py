"""Leaves so many GiB of each GPU that it sees and no more: ballast.py GIB

Commands on its standard input, each answered by a line of JSON:

    copies N    from now on N streams of copies from pinned RAM to the first GPU share the link with whoever uses it
    read        GB/s at which a kernel reads pinned RAM beside those copies: what offloaded weights are read with

A server that is measured beside copies has a slower link: the copies take their share of it.
"""

import json
import sys
import threading

import torch

GIB = 2**30
BLOCK = 256 << 20
READ_ROUNDS = 12
MOST_COPIES = 4


class Copies:
    def __init__(self) -> None:
        self.source = torch.ones(BLOCK, dtype=torch.uint8, pin_memory=True)
        # All that will be needed, before the rest is taken.
        self.targets = [torch.empty(BLOCK, dtype=torch.uint8, device="cuda") for _ in range(MOST_COPIES)]
        self.threads: list[threading.Thread] = []
        self.going = False

    def set(self, streams: int) -> None:
        self.going = False
        for thread in self.threads:
            thread.join()
        self.going = True
        self.threads = [threading.Thread(target=self.run, args=(target,), daemon=True) for target in self.targets[:streams]]
        for thread in self.threads:
            thread.start()

    def run(self, target: torch.Tensor) -> None:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            while self.going:
                for _ in range(4):
                    target.copy_(self.source, non_blocking=True)
                stream.synchronize()


def reader():
    """The rate of a kernel that reads pinned RAM, by the means by which vLLM reads offloaded weights."""
    from vllm.utils.torch_utils import get_accelerator_view_from_cpu_tensor

    pinned = torch.ones(BLOCK // 4, dtype=torch.int32, pin_memory=True)
    view = get_accelerator_view_from_cpu_tensor(pinned)

    def rate() -> float:
        rates = []
        for _ in range(READ_ROUNDS):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            view.sum()
            end.record()
            end.synchronize()
            rates.append(BLOCK / begin.elapsed_time(end) / 1e6)
        return sorted(rates)[len(rates) // 2]

    rate.pinned = pinned
    return rate


def main() -> None:
    leave = float(sys.argv[1]) * GIB
    copies = Copies()
    held = []
    for device in range(torch.cuda.device_count()):
        torch.zeros(1, device=device)
        free, _ = torch.cuda.mem_get_info(device)
        held.append(torch.empty(int(free - leave), dtype=torch.uint8, device=device))
    left = [torch.cuda.mem_get_info(device)[0] / GIB for device in range(torch.cuda.device_count())]
    print(json.dumps({"free_gib": left}), flush=True)
    # Its kernels are loaded now, while the server has not begun to measure what is free.
    rate = reader()
    rate()
    for line in sys.stdin:
        word, _, argument = line.strip().partition(" ")
        if word == "copies":
            copies.set(int(argument))
            print(json.dumps({"copies": int(argument)}), flush=True)
        else:
            print(json.dumps({"gb_per_second": round(rate(), 2)}), flush=True)
    del held


if __name__ == "__main__":
    main()
