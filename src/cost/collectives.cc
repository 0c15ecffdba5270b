#include "cost/collectives.h"

#include <algorithm>

namespace memplan {
namespace {

// message · numerator / denominator, rounded up, without overflow where the result has none.
Bytes share(Bytes message, int64_t numerator, int64_t denominator) {
  const int64_t whole = message.count() / denominator, rest = message.count() % denominator;
  return Bytes(checked_add(checked_mul(whole, numerator),
                           ceil_div(checked_mul(rest, numerator), denominator)));
}

}  // namespace

std::string_view to_string(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::ring:
      return "ring";
    case Algorithm::tree:
      return "tree";
    case Algorithm::direct:
      return "direct";
  }
  return "?";
}

Sent bytes_sent(Collective collective, Algorithm wanted, int64_t ranks, Bytes message) {
  const int64_t others = ranks - 1;
  const bool alone = others == 0;
  switch (collective) {
    case Collective::all_reduce:
      if (wanted == Algorithm::tree) {
        constexpr int64_t kMostHalves = 4;  // up, up, and down to two children
        return {wanted, alone ? Bytes(0) : share(message, std::min(ranks, kMostHalves), 2)};
      }
      return {Algorithm::ring, share(message, checked_mul(2, others), ranks)};
    case Collective::all_gather:
    case Collective::reduce_scatter:
      return {Algorithm::ring, share(message, others, ranks)};
    case Collective::broadcast:
      return {Algorithm::ring, alone ? Bytes(0) : message};
    case Collective::all_to_all:
      return {Algorithm::direct, share(message, others, ranks)};
    case Collective::send_receive:
      return {Algorithm::direct, alone ? Bytes(0) : message};
  }
  return {};
}

}  // namespace memplan
