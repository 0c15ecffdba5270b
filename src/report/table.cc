#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace memplan {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kLeastWrap = 24;  // a narrower column is worse than a longer line

// Select Graphic Rendition codes of ECMA-48, by Ink.
constexpr std::array<std::string_view, 6> kCodes{"", "1", "2", "32", "33", "31"};

// Wide characters (Unicode TR 11, classes W and F; blocks, not single characters).
constexpr std::array<std::pair<char32_t, char32_t>, 9> kWide{{{0x1100, 0x115F},
                                                              {0x2E80, 0xA4CF},
                                                              {0xAC00, 0xD7A3},
                                                              {0xF900, 0xFAFF},
                                                              {0xFE30, 0xFE6F},
                                                              {0xFF00, 0xFF60},
                                                              {0xFFE0, 0xFFE6},
                                                              {0x1F300, 0x1FAFF},
                                                              {0x20000, 0x3FFFD}}};
constexpr std::array<std::pair<char32_t, char32_t>, 3> kCombining{
    {{0x0300, 0x036F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}}};

template <typename Ranges>
bool within(const Ranges& ranges, char32_t point) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const auto& range) {
    return point >= range.first && point <= range.second;
  });
}

// The code point at `at`, and where the next begins. Broken UTF-8 counts byte by byte.
struct Step {
  char32_t point;
  size_t next;
};
Step step(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  const size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (length == 1 || at + length > text.size()) return {lead, at + 1};
  char32_t point = lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return {lead, at + 1};
    point = (point << 6) | (byte(at + i) & 0x3Fu);
  }
  return {point, at + length};
}

size_t columns_of(char32_t point) {
  return within(kCombining, point) ? 0 : within(kWide, point) ? 2 : 1;
}

// The first `width` columns of a text.
std::string_view head(std::string_view text, size_t width) {
  size_t used = 0;
  for (size_t at = 0; at < text.size();) {
    const Step here = step(text, at);
    used += columns_of(here.point);
    if (used > width) return text.substr(0, at);
    at = here.next;
  }
  return text;
}

// A cell that goes on below itself, without the first line's indent.
std::string wrapped(const Cell& cell, size_t column, size_t width, bool color) {
  const std::string margin(column, ' ');
  std::string lines = wrap(cell.text, margin, width);
  lines.pop_back();  // the newline
  std::string out;
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    if (!out.empty()) out += '\n' + margin;
    out += paint(std::string_view(lines).substr(begin + column, end - begin - column), cell.ink,
                 color);
    begin = end + 1;
  }
  return out;
}

}  // namespace

std::string paint(std::string_view text, Ink ink, bool color) {
  if (!color || ink == Ink::plain || text.empty()) return std::string(text);
  std::string out = "\033[";
  out += kCodes[static_cast<size_t>(ink)];
  out += 'm';
  out += text;
  out += "\033[0m";
  return out;
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    const Step here = step(text, at);
    width += columns_of(here.point);
    at = here.next;
  }
  return width;
}

size_t widest_line(std::string_view text) {
  size_t width = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    width = std::max(width, display_width(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return width;
}

std::string shorten(std::string_view text, size_t width) {
  const size_t full = display_width(text);
  if (full <= width) return std::string(text);
  if (width == 0) return {};
  const size_t front = width / 2;
  const size_t back = width - front - 1;
  const std::string_view skipped = head(text, full - back);
  return std::string(head(text, front)) + "…" + std::string(text.substr(skipped.size()));
}

std::string visible(std::string_view text) {
  std::string out(text);
  for (size_t at = 0; at < out.size();) {
    const Step here = step(out, at);
    if (here.point < 0x20 || (here.point >= 0x7F && here.point < 0xA0))
      for (size_t i = at; i < here.next; ++i) out[i] = '?';
    at = here.next;
  }
  return out;
}

std::string wrap(std::string_view text, std::string_view first, size_t width) {
  const size_t indent = display_width(first);
  std::string out(first);
  size_t used = indent;
  bool begun = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    const size_t wide = display_width(word);
    if (begun && used + 1 + wide > width) {
      out += '\n' + std::string(indent, ' ');
      used = indent;
    } else if (begun) {
      out += ' ';
      ++used;
    }
    out += word;
    used += wide;
    begun = true;
  }
  return out + '\n';
}

std::string size_text(Bytes bytes) { return bytes == Bytes(0) ? "0" : format_bytes(bytes); }

std::string fine_size_text(Bytes bytes) {
  if (bytes < kMiB || bytes >= kGiB) return size_text(bytes);
  return fmt::format("{:.2f} MiB", static_cast<double>(bytes.count()) / 0x1p20);
}

std::string Table::render(size_t indent, bool color) const {
  std::vector<size_t> widths(columns_.size());
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], display_width(row[i].text));

  std::string out;
  for (const auto& row : rows_) {
    std::string line(indent, ' ');
    size_t used = indent;
    size_t owed = 0;  // spaces due before the next text, so that no line ends in spaces
    for (size_t i = 0; i < row.size(); ++i) {
      const Cell& cell = row[i];
      const size_t pad = widths[i] - display_width(cell.text);
      const bool left = columns_[i] == Align::left;
      const size_t before = owed + (left ? 0 : pad);
      if (cell.text.empty()) {
        owed += widths[i] + kGap;
        continue;
      }
      used += before;
      line += std::string(before, ' ');
      const bool last = i + 1 == columns_.size();
      if (last && left && used + display_width(cell.text) > width_) {
        line += wrapped(cell, used, std::max(width_, used + kLeastWrap), color);
      } else {
        line += paint(cell.text, cell.ink, color);
      }
      used += display_width(cell.text);
      owed = kGap + (left ? pad : 0);
    }
    out += row.empty() ? "\n" : line + '\n';
  }
  return out;
}

}  // namespace memplan
