// Text in columns, and in colour where the terminal shows it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "memplan/units.h"

namespace memplan {

enum class Ink : uint8_t { plain, bold, dim, green, yellow, red };

/// `text` in ANSI colours; unchanged where `color` is false or there is no text.
std::string paint(std::string_view text, Ink ink, bool color);

/// Terminal columns of UTF-8 text: combining marks take none, East Asian wide characters two.
size_t display_width(std::string_view text);

/// Columns of the widest line.
size_t widest_line(std::string_view text);

/// At most `width` columns: the middle of longer text becomes "…".
std::string shorten(std::string_view text, size_t width);

/// Control characters, which could steer the terminal, as '?'.
std::string visible(std::string_view text);

/// Lines of at most `width` columns, broken at spaces. The first begins with `first`, the others
/// with as many spaces.
std::string wrap(std::string_view text, std::string_view first, size_t width);

/// "12.34 GiB"; "0" for nothing.
std::string size_text(Bytes bytes);
/// The same in the largest unit of which there is at least one: "32.00 MiB".
std::string fine_size_text(Bytes bytes);

enum class Align : uint8_t { left, right };

struct Cell {
  std::string text;
  Ink ink = Ink::plain;
};

/// Rows of cells; columns as wide as their widest cell, two spaces apart. Where a line would pass
/// `width` columns, a left-aligned last cell goes on below itself.
class Table {
 public:
  explicit Table(std::vector<Align> columns, size_t width = 1000)
      : columns_(std::move(columns)), width_(width) {}

  /// Cells left out at the end stay empty. No more cells than columns.
  void add(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  std::string render(size_t indent, bool color) const;

 private:
  std::vector<Align> columns_;
  size_t width_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace memplan
