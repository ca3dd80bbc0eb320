// A stand-in for the NVIDIA driver's two libraries (libcuda.so.1 and libnvidia-ml.so.1): as much of them as vLLM asks for before it
// touches a GPU. It tells of one H100 with 80 GiB; whatever would compute fails.
//
// vLLM's CUDA build answers nothing without a driver, not even `vllm --version`.
#include <string.h>

struct memory { unsigned long long total, free, used; };

int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)1; return 0; }
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) { *major = 9; *minor = 0; return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned size) { strncpy(name, "NVIDIA H100 80GB HBM3", size); return 0; }
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned size) { strncpy(uuid, "GPU-0", size); return 0; }
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
  *memory = (struct memory){.total = 80ULL << 30, .free = 79ULL << 30, .used = 1ULL << 30};
  return 0;
}
const char *nvmlErrorString(int code) { return "a stand-in for the driver"; }

// CUDA_ERROR_NO_DEVICE. These are what vLLM's and PyTorch's libraries link to.
#define ABSENT(function) int function(void) { return 100; }
ABSENT(cuCtxGetCurrent)
ABSENT(cuCtxSetCurrent)
ABSENT(cuDeviceGetAttribute)
ABSENT(cuDevicePrimaryCtxRetain)
ABSENT(cuGetErrorString)
ABSENT(cuGetProcAddress_v2)
ABSENT(cuMemAddressFree)
ABSENT(cuMemAddressReserve)
ABSENT(cuMemCreate)
ABSENT(cuMemGetAllocationGranularity)
ABSENT(cuMemMap)
ABSENT(cuMemRelease)
ABSENT(cuMemSetAccess)
ABSENT(cuMemUnmap)
ABSENT(cuPointerGetAttribute)
ABSENT(cuTensorMapEncodeTiled)
