#include "cli/output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/text.h"
#include "memplan/error.h"

namespace memplan {
namespace {

namespace fs = std::filesystem;

Error cannot_write(const std::string& where, int code) {
  return Error(ErrorKind::bad_input, where,
               std::string("cannot be written: ") + std::strerror(code));
}

void write_all(int file, std::string_view text, const std::string& where) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw cannot_write(where, errno);
    text.remove_prefix(static_cast<size_t>(written));
  }
}

// A temporary file beside the target, gone unless it was moved into place.
class Replacement {
 public:
  explicit Replacement(std::string target)
      : target_(std::move(target)), path_(target_ + ".XXXXXX") {
    file_ = ::mkstemp(path_.data());
    if (file_ < 0) throw cannot_write(printable(target_), errno);
  }
  ~Replacement() {
    if (file_ >= 0) ::close(file_);
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;

  void write(std::string_view text) { write_all(file_, text, printable(target_)); }

  void commit() {
    const mode_t mask = ::umask(0);
    ::umask(mask);
    const int closed = ::fchmod(file_, 0666 & ~mask) == 0 ? ::close(file_) : -1;
    file_ = -1;
    if (closed != 0 || ::rename(path_.c_str(), target_.c_str()) != 0)
      throw cannot_write(printable(target_), errno);
    path_.clear();
  }

 private:
  std::string target_, path_;
  int file_ = -1;
};

void write_file(const std::string& path, std::string_view text) {
  const std::string name = printable(path);
  std::error_code ignored;
  if (path.empty()) throw Error(ErrorKind::bad_input, "--output", "the name of the file is empty");
  const fs::file_status status = fs::status(path, ignored);
  if (fs::is_directory(status))
    throw Error(ErrorKind::bad_input, "--output", "'" + name + "' is a folder",
                "name a file in it");
  const fs::path folder = fs::path(path).parent_path();
  if (!folder.empty() && !fs::is_directory(folder, ignored))
    throw Error(ErrorKind::bad_input, "--output",
                "there is no folder '" + printable(folder.string()) + "'", "make it first");
  if (fs::exists(status) && !fs::is_regular_file(status)) {  // a pipe or /dev/null stays what it is
    const int file = ::open(path.c_str(), O_WRONLY);
    if (file < 0) throw cannot_write(name, errno);
    write_all(file, text, name);
    ::close(file);
    return;
  }
  // Through a symbolic link to the file it stands for.
  const fs::path real = fs::exists(status) ? fs::canonical(path, ignored) : fs::path(path);
  Replacement replacement(real.empty() ? path : real.string());
  replacement.write(text);
  replacement.commit();
}

}  // namespace

TextStyle text_style(const Options& options) {
  TextStyle style;
  const std::string* when = options.find("--color");
  if (when == nullptr || *when == "auto") {
    const char* no_color = std::getenv("NO_COLOR");
    const bool refused = no_color != nullptr && *no_color != '\0';
    style.color = !refused && !options.has("--output") && ::isatty(STDOUT_FILENO) == 1;
  } else if (*when == "always") {
    style.color = true;
  } else if (*when != "never") {
    throw Error(ErrorKind::bad_input, "--color", "'" + printable(*when) + "' is not a choice",
                name_hint(*when, {"auto", "always", "never"}));
  }
  return style;
}

void write_result(const Options& options, std::string_view text) {
  if (const std::string* path = options.find("--output"))
    write_file(*path, text);
  else
    write_all(STDOUT_FILENO, text, "stdout");
}

void say(const Options& options, std::string_view text) {
  if (options.has("--quiet")) return;
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace memplan
