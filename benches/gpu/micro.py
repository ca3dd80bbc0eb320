"""The ceilings of this machine in GB/s, as JSON: VRAM, copies over PCIe from pinned and pageable memory, and reads of RAM by a
kernel (UVA), which is how vLLM reads offloaded weights. The last needs vLLM to be importable."""

import json
import time

import torch

SIZE = 2 << 30


def seconds(work, repetitions: int = 5) -> float:
    """The median time that the GPU needs for it."""
    work()
    torch.cuda.synchronize()
    times = []
    for _ in range(repetitions):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return sorted(times)[len(times) // 2]


def main() -> None:
    result = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    there = torch.empty(SIZE, dtype=torch.uint8, device="cuda").random_()
    other = torch.empty_like(there)
    result["vram_copy_read_and_write"] = 2 * SIZE / seconds(lambda: other.copy_(there), 20) / 1e9
    began = time.time()
    pinned = torch.empty(SIZE, dtype=torch.uint8, pin_memory=True)
    result["pinning"] = SIZE / (time.time() - began) / 1e9
    pinned.fill_(3)
    result["pinned_to_gpu"] = SIZE / seconds(lambda: there.copy_(pinned, non_blocking=True)) / 1e9
    result["gpu_to_pinned"] = SIZE / seconds(lambda: pinned.copy_(there, non_blocking=True)) / 1e9
    pageable = torch.full((SIZE // 8,), 1, dtype=torch.uint8)
    result["pageable_to_gpu"] = SIZE // 8 / seconds(lambda: there[: SIZE // 8].copy_(pageable)) / 1e9
    try:
        from vllm.utils.torch_utils import get_accelerator_view_from_cpu_tensor

        view = get_accelerator_view_from_cpu_tensor(pinned).view(torch.int32)
        target = there.view(torch.int32)
        result["uva_sum"] = SIZE / seconds(view.sum) / 1e9
        result["uva_elementwise"] = SIZE / seconds(lambda: torch.add(view, 1, out=target)) / 1e9
    except Exception as problem:
        result["uva"] = f"not measured: {problem}"[:200]
    print(json.dumps({name: round(value, 2) if isinstance(value, float) else value for name, value in result.items()}))


if __name__ == "__main__":
    main()
