#include <cuda_runtime.h>

#include "device_info.h"

namespace memplan::calibration {
namespace {

void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) {
    throw DeviceError(std::string(call) + ": " + cudaGetErrorString(status));
  }
}

Gpu read_gpu(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return {.name = properties.name,
          .total_bytes = static_cast<std::int64_t>(properties.totalGlobalMem),
          .compute_major = properties.major,
          .compute_minor = properties.minor,
          .multiprocessors = properties.multiProcessorCount};
}

}  // namespace

Machine read_machine() {
  Machine machine;
  check(cudaRuntimeGetVersion(&machine.runtime_version), "cudaRuntimeGetVersion");
  check(cudaDriverGetVersion(&machine.driver_version), "cudaDriverGetVersion");
  if (machine.driver_version == 0) {
    throw DeviceError("no NVIDIA driver is loaded on this machine");
  }
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  for (int device = 0; device < count; ++device) {
    machine.gpus.push_back(read_gpu(device));
  }
  if (machine.gpus.empty()) {
    throw DeviceError("the NVIDIA driver answers, but shows no GPU");
  }
  return machine;
}

}  // namespace memplan::calibration
