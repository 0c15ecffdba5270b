#include "lower/megatron/layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "memplan/error.h"

namespace memplan::megatron {
namespace {

constexpr char kEmbedding = 'E', kLayer = 't', kMtp = 'm', kLoss = 'L';

Error bad(std::string option, std::string problem, std::string hint) {
  return Error(ErrorKind::bad_input, std::move(option), std::move(problem), std::move(hint));
}

int64_t count_of(const std::string& chunk, char what) {
  return std::count(chunk.begin(), chunk.end(), what);
}

// --pipeline-model-parallel-layout: chunk c of rank r is the (c·pp + r)-th.
std::vector<Chunk> custom_chunks(const Job& job, int64_t stage) {
  const Strategy& s = job.strategy;
  const std::vector<std::string>& layout = s.megatron.layout;
  constexpr const char* kOption = "--pipeline-model-parallel-layout";
  if (std::ssize(layout) != checked_mul(s.pp, s.vpp))
    throw bad(kOption,
              fmt::format("has {} parts, for {} pipeline ranks of {} chunks each", layout.size(),
                          s.pp, s.vpp),
              fmt::format("write {} parts", checked_mul(s.pp, s.vpp)));
  std::vector<Chunk> out;
  int64_t first = 0;
  for (int64_t at = 0; at < std::ssize(layout); ++at) {
    const std::string& part = layout[static_cast<size_t>(at)];
    const int64_t layers = count_of(part, kLayer);
    if (at % s.pp == stage)
      out.push_back({{first, layers},
                     count_of(part, kEmbedding) > 0,
                     count_of(part, kLoss) > 0,
                     count_of(part, kMtp)});
    first += layers;
  }
  if (first != job.model.layers)
    throw bad(kOption, fmt::format("holds {} layers, the model has {}", first, job.model.layers),
              fmt::format("write {} times t", job.model.layers));
  return out;
}

// Layers, with the embedding and the loss where they count as one, of each rank.
std::vector<int64_t> layers_by_rank(const Job& job) {
  const Strategy& s = job.strategy;
  const MegatronSpec& m = s.megatron;
  std::vector<int64_t> out(static_cast<size_t>(s.pp));
  int64_t left = job.model.layers + job.model.decoder_layers + (m.account_for_embedding ? 1 : 0) +
                 (m.account_for_loss ? 1 : 0);
  int64_t ranks = s.pp;
  for (int64_t given : {m.first_stage_layers, m.last_stage_layers})
    if (given > 0) {
      left -= given;
      --ranks;
    }
  if (left < 0 || (ranks > 0 && left % ranks != 0) || (ranks <= 0 && left != 0))
    throw bad("--num-layers",
              fmt::format("{} layers cannot be divided evenly over {} pipeline ranks", left,
                          std::max<int64_t>(ranks, 1)),
              ranks > 0
                  ? fmt::format("nearest: {} more or {} fewer", ranks - left % ranks, left % ranks)
                  : "let the stages' layers add up to the model's");
  for (int64_t& n : out) n = ranks > 0 ? left / ranks : 0;
  if (m.first_stage_layers > 0) out.front() = m.first_stage_layers;
  if (m.last_stage_layers > 0) out.back() = m.last_stage_layers;
  for (int64_t n : out)
    if (n % s.vpp != 0)
      throw bad("--num-layers-per-virtual-pipeline-stage",
                fmt::format("{} layers of a pipeline rank do not make {} chunks", n, s.vpp),
                fmt::format("nearest: {} chunks", nearest_divisor(n, s.vpp)));
  return out;
}

}  // namespace

std::vector<Chunk> stage_chunks(const Job& job, int64_t stage) {
  const Strategy& s = job.strategy;
  const MegatronSpec& m = s.megatron;
  if (!m.layout.empty()) return custom_chunks(job, stage);
  const std::vector<int64_t> by_rank = layers_by_rank(job);
  std::vector<Chunk> out;
  int64_t first = 0;
  for (int64_t chunk = 0; chunk < s.vpp; ++chunk)
    for (int64_t rank = 0; rank < s.pp; ++rank) {
      Chunk made;
      made.embedding = chunk == 0 && rank == 0;
      made.head = chunk == s.vpp - 1 && rank == s.pp - 1;
      made.mtp = made.head ? m.mtp_layers : 0;
      const int64_t taken = (made.embedding && m.account_for_embedding ? 1 : 0) +
                            (made.head && m.account_for_loss ? 1 : 0);
      made.layers = {first, by_rank[static_cast<size_t>(rank)] / s.vpp - taken};
      first += made.layers.count;
      if (rank == stage) out.push_back(made);
    }
  return out;
}

}  // namespace memplan::megatron
