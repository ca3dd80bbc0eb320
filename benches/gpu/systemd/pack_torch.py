"""Pack the PyTorch and Triton that another vLLM pins, for a machine that has an older PyTorch: pack_torch.py TORCH_WHEEL TRITON_WHEEL OUT

Writes OUT/t214.tar.zst, cut into parts of 56 MB. CUDA's own libraries stay the machine's (see lent/third.sh); what PyTorch asks of a newer
NCCL than the machine's is answered by a stand-in that fails, `ncclx.so`, which one GPU never calls. Needs readelf, strip, cc, tar and zstd.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import pack  # noqa: E402

NEW_IN_NCCL = "CommGetUniqueId CommGrow CommMemStats CommResume CommSuspend GetLsaMultimemDevicePointer GetPeerDevicePointer PutSignal Signal WaitSignal WinGetUserPtr"
# What serving never reads: headers of PyTorch, tests, profilers, another generation's assembler.
DROPPED = re.compile(r"^torch/(include|share|test)/|^torch/bin/protoc|\.pyi$|\.a$|cupti|libproton|ptxas-blackwell|libtorch_cuda_linalg|/(cuobjdump|nvdisasm)$|RECORD$|^triton/backends/amd/(include|lib)/")
STRIPPED = ("triton/_C/libtriton.so", "torch/lib/libtorch_cpu.so", "torch/lib/libtorch_python.so")
PART = 56_000_000

out = pathlib.Path(sys.argv[3])
out.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory() as folder:
    site = pathlib.Path(folder) / "t214"
    for wheel in sys.argv[1:3]:
        with zipfile.ZipFile(wheel) as content:
            content.extractall(site, [name for name in content.namelist() if not DROPPED.search(name)])
    pack.thin(site / "torch/lib/libtorch_cuda.so")
    subprocess.run(["strip", "--strip-unneeded", *(site / name for name in STRIPPED)], check=True)
    for program in (site / "torch/bin/torch_shm_manager", site / "triton/backends/nvidia/bin/ptxas"):
        program.chmod(0o755)
    stand_in = "".join(f"int nccl{name}() {{ return 1; }}\n" for name in NEW_IN_NCCL.split())
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", site / "ncclx.so", "-"], input=stand_in, text=True, check=True)
    archive = out / "t214.tar.zst"
    subprocess.run(f"tar -C {folder} --sort=name -cf - t214 | zstd -q -9 -T2 --long=27 -f -o {archive}", shell=True, check=True)
subprocess.run(["split", "-d", "-b", str(PART), archive, out / "t214."], check=True)
archive.unlink()
