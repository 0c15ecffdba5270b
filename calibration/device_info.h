#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace memplan::calibration {

// A driver or device that does not answer; what() is a sentence for the user.
struct DeviceError : std::runtime_error {
  using runtime_error::runtime_error;
};

struct Gpu {
  std::string name;              // as the driver spells it: "NVIDIA H100 80GB HBM3"
  std::int64_t total_bytes = 0;  // cudaDeviceProp::totalGlobalMem
  int compute_major = 0;
  int compute_minor = 0;
  int multiprocessors = 0;
};

struct Machine {
  int driver_version = 0;   // highest CUDA version the driver supports, 1000 * major + 10 * minor
  int runtime_version = 0;  // CUDA runtime this program was built with, in the same form
  std::vector<Gpu> gpus;    // in the order of CUDA's device numbers; never empty
};

// Asks the CUDA runtime, without creating a context. Throws DeviceError where there is no driver, a
// driver too old for the runtime, or no GPU.
Machine read_machine();

}  // namespace memplan::calibration
