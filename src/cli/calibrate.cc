// memplan calibrate: runs the separate program that links CUDA.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/text.h"
#include "cli/command.h"
#include "memplan/error.h"

namespace memplan {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProgram = "memplan-calibrate";

bool can_run(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

// Beside this program, in the build folder's own place for it, or in PATH; empty where absent.
fs::path find_program() {
  std::error_code ignored;
  const fs::path self = fs::read_symlink("/proc/self/exe", ignored);
  if (!self.empty())
    for (const fs::path& place :
         {self.parent_path() / kProgram, self.parent_path() / "calibration" / kProgram})
      if (can_run(place)) return place;
  const char* variable = std::getenv("PATH");
  for (const std::string_view folder : split(variable == nullptr ? "" : variable, ':')) {
    const fs::path place = fs::path(folder) / kProgram;
    if (!folder.empty() && can_run(place)) return place;
  }
  return {};
}

}  // namespace

int run_calibrate(const Words& words) {
  const fs::path program = find_program();
  if (program.empty())
    throw Error(ErrorKind::not_modelled, "", "memplan-calibrate is not installed here",
                "build memplan where the CUDA toolkit is found, with -DMEMPLAN_CUDA=ON, and put "
                "memplan-calibrate beside memplan or in PATH");
  std::vector<std::string> copies = {kProgram};
  copies.insert(copies.end(), words.begin(), words.end());
  std::vector<char*> arguments;
  for (std::string& word : copies) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(program.c_str(), arguments.data());
  throw Error(ErrorKind::device_fault, program.string(),
              std::string("cannot be started: ") + std::strerror(errno),
              "was it built for this machine?");
}

}  // namespace memplan
