// What a collective sends.
#pragma once

#include <cstdint>
#include <string_view>

#include "memplan/units.h"
#include "ops/graph.h"

namespace memplan {

enum class Algorithm : uint8_t {
  ring,
  tree,    ///< double binary trees: all-reduce alone
  direct,  ///< each GPU to each other: send_receive and all_to_all
};
std::string_view to_string(Algorithm algorithm);

struct Sent {
  Algorithm algorithm = Algorithm::ring;  ///< that was used
  Bytes bytes;                            ///< by the GPU that sends most, rounded up
};

/// Bytes that one of n = `ranks` GPUs sends in one collective of S = `message` bytes (as defined at
/// Comm). `wanted` is used where the collective has it, else the one it has. ranks >= 1.
///
///   ring    all_reduce 2(n-1)/n·S, all_gather and reduce_scatter (n-1)/n·S
///           (Patarasuk and Yuan, J. Parallel Distrib. Comput. 69, 2009; NCCL the same)
///   ring    broadcast S: passed on whole by all but the last
///   direct  all_to_all (n-1)/n·S, send_receive S
///   tree    all_reduce: a tree carries half of S up and down; a GPU that is an inner node of one
///           is a leaf of the other (NCCL src/graph/trees.cc, ncclGetDtree), so it sends half up
///           in both and half to each of its children: min(n, 4)/2·S, 2·S from four GPUs on
Sent bytes_sent(Collective collective, Algorithm wanted, int64_t ranks, Bytes message);

}  // namespace memplan
