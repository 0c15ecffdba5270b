// memplan: will this training job fit, and what will it cost to communicate and to run?
#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "base/text.h"
#include "cli/command.h"
#include "cli/output.h"
#include "memplan/error.h"
#include "report/table.h"

namespace memplan {
namespace {

constexpr std::array<Command, 7> kCommands{{
    {"fit", "MODEL [options]", "will this job fit? memory of every GPU, traffic, what to change",
     run_fit},
    {"compare", "A.json B.json", "two reports side by side, line by line", run_compare},
    {"show", "WHAT [NAME]", "models, gpus, nodes and the other names that options take", run_show},
    {"validate", "FILE... [options]", "predict measured cases, print the error table",
     run_validate},
    {"calibrate", "", "ask this machine's GPUs (runs memplan-calibrate)", run_calibrate},
    {"plan", "", "search the strategies of a cluster", nullptr},
    {"simulate", "", "play one step: memory over time", nullptr},
}};

std::string usage() {
  Table available({Align::left, Align::left}), later({Align::left, Align::left});
  for (const Command& command : kCommands) {
    const std::string call = std::string(command.name) + ' ' + std::string(command.arguments);
    (command.run ? available : later).add({{call}, {std::string(command.summary)}});
  }
  return "memplan: will this training job fit?\n\n"
         "  memplan fit llama3-8b --gpu h100-80g --gpus 8 --zero 3 --attention flash\n\n"
         "Commands\n" +
         available.render(2, false) + "\nNot available yet\n" + later.render(2, false) +
         "\n`memplan COMMAND --help` lists a command's options; --version prints the version.\n"
         "Exit codes: 0 fits, 1 does not fit, 2 bad input, 3 device fault, 4 refused by name\n";
}

int unknown(const std::string& word) {
  std::vector<std::string_view> names;
  for (const Command& command : kCommands) names.push_back(command.name);
  if (word.starts_with('-'))
    throw Error(ErrorKind::bad_input, "", "unknown option " + printable(word),
                "a command comes first: memplan fit MODEL --gpu NAME");
  throw Error(ErrorKind::bad_input, "", "unknown command '" + printable(word) + "'",
              name_hint(word, names));
}

int run(const Words& words) {
  const Options plain;
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    write_result(plain, usage());
    return 0;
  }
  if (words[0] == "--version") {
    write_result(plain, "memplan " MEMPLAN_VERSION "\n");
    return 0;
  }
  for (const Command& command : kCommands) {
    if (command.name != words[0]) continue;
    if (command.run) return command.run({words.begin() + 1, words.end()});
    throw Error(ErrorKind::not_modelled, "", "`memplan " + words[0] + "` is not available yet",
                "there are: memplan fit, compare, show, validate, calibrate");
  }
  return unknown(words[0]);
}

int fail(const char* what, int code) {
  std::fprintf(stderr, "memplan: error: %s\n", what);
  return code;
}

}  // namespace
}  // namespace memplan

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed stdout is an error that is told
  try {
    return memplan::run({argv + (argc > 0 ? 1 : 0), argv + argc});
  } catch (const memplan::Error& error) {
    return memplan::fail(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return memplan::fail("this machine's memory does not suffice for the answer", 2);
  } catch (const std::exception& error) {
    return memplan::fail(error.what(), 2);
  }
}
