#include "policy/pytorch.h"

namespace memplan::pytorch {
namespace {

bool wrapped(const Strategy& s) { return s.data_parallel == DataParallelKind::ddp && s.dp > 1; }

}  // namespace

Bytes bucket_bytes(const Strategy& s, Bytes trained) { return wrapped(s) ? trained : Bytes(0); }

bool gradient_in_bucket(const Strategy& s) { return wrapped(s) && s.gradient_as_bucket_view; }

}  // namespace memplan::pytorch
