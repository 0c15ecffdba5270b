// How long a whole command takes, and how much memory it holds at most.
//
//   memplan_bench_start RUNS -- COMMAND… -- OTHER COMMAND…
//
// Runs the commands in turn, RUNS times each, so that both see the same machine, and prints the
// minimum, median and maximum wall time and the largest resident set of each.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

struct Command {
  std::vector<char*> words;  // ends with a null pointer
  std::vector<double> milliseconds;
  long resident_kib = 0;
};

void run_once(Command& command) {
  const auto start = std::chrono::steady_clock::now();
  const pid_t child = fork();
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execvp(command.words[0], command.words.data());
    _exit(127);
  }
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    fmt::print(stderr, "cannot run {}\n", command.words[0]);
    std::exit(2);
  }
  command.milliseconds.push_back(took.count());
  command.resident_kib = std::max(command.resident_kib, usage.ru_maxrss);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Command> commands;
  for (int i = 2; i < argc; ++i) {
    if (std::string(argv[i]) == "--")
      commands.emplace_back();
    else if (!commands.empty())
      commands.back().words.push_back(argv[i]);
  }
  const int runs = argc > 1 ? std::atoi(argv[1]) : 0;
  if (runs < 1 || commands.empty()) {
    fmt::print(stderr, "usage: memplan_bench_start RUNS -- COMMAND… [-- COMMAND…]\n");
    return 2;
  }
  for (Command& command : commands) command.words.push_back(nullptr);
  for (int i = 0; i < runs; ++i)
    for (Command& command : commands) run_once(command);
  for (Command& command : commands) {
    std::vector<double>& times = command.milliseconds;
    std::sort(times.begin(), times.end());
    fmt::print("{:8.2f} ms median ({:.2f} to {:.2f})  {:6.2f} MiB  {}\n", times[times.size() / 2],
               times.front(), times.back(), static_cast<double>(command.resident_kib) / 1024,
               command.words[0]);
  }
}
