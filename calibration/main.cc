// memplan-calibrate: asks the GPUs of this machine. So far it lists them; it measures nothing yet.

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "device_info.h"

namespace {

using memplan::calibration::DeviceError;
using memplan::calibration::Gpu;
using memplan::calibration::Machine;
using Json = nlohmann::ordered_json;

constexpr int kExitOk = 0;
constexpr int kExitUsage = 2;
constexpr int kExitDevice = 3;

constexpr const char* kUsage =
    "usage: memplan-calibrate\n"
    "Prints the GPUs of this machine as JSON. Exit codes: 0 done, 2 bad usage, 3 no driver or "
    "GPU.\n";

// CUDA's 1000 * major + 10 * minor.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Json to_json(const Machine& machine) {
  Json gpus = Json::array();
  for (const Gpu& gpu : machine.gpus) {
    gpus.push_back({{"name", gpu.name},
                    {"total_bytes", gpu.total_bytes},
                    {"compute_capability",
                     std::to_string(gpu.compute_major) + "." + std::to_string(gpu.compute_minor)},
                    {"multiprocessors", gpu.multiprocessors}});
  }
  return {{"memplan_version", MEMPLAN_VERSION},
          {"cuda_driver", version_text(machine.driver_version)},
          {"cuda_runtime", version_text(machine.runtime_version)},
          {"gpus", gpus}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && (argv[1] == std::string_view("--help") || argv[1] == std::string_view("-h"))) {
    std::fputs(kUsage, stdout);
    return kExitOk;
  }
  if (argc > 1) {
    std::fprintf(stderr, "memplan-calibrate: unknown option %s\n%s", argv[1], kUsage);
    return kExitUsage;
  }
  try {
    const std::string text = to_json(memplan::calibration::read_machine()).dump(2);
    std::printf("%s\n", text.c_str());
    return kExitOk;
  } catch (const DeviceError& error) {
    std::fprintf(stderr,
                 "memplan-calibrate: %s\n"
                 "It needs an NVIDIA GPU and driver; nvidia-smi shows whether they are there.\n",
                 error.what());
    return kExitDevice;
  }
}
