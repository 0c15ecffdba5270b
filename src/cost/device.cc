#include "cost/device.h"

#include <fmt/format.h>

#include "cost/states.h"
#include "policy/megatron_fp8.h"

namespace memplan {
namespace {

// No figure per architecture is published. With lazy module loading (CUDA 12.2 and later) 300 MB
// were measured after start-up (pytorch issue 107667) and 400 to 600 MiB are usual after a step;
// the middle of the latter. A calibration profile is what makes it exact.
constexpr Bytes kContext{500 * (int64_t{1} << 20)};

// NCCL 2.30, transport/p2p.cc: a peer connection takes 10 MiB at the receiver and 2 MiB at the
// sender for each channel; a ring has one of each. Channels: 16 on an 8-GPU Hopper node (log in
// nccl issue 892).
constexpr int64_t kRingChannels = 16;
constexpr Bytes kPerChannel{12 * (int64_t{1} << 20)};

struct Communicator {
  const char* name;
  int64_t ranks;
};

}  // namespace

DeviceMemory outside_framework(const Job& job) {
  DeviceMemory out;
  if (!job.cluster.gpu.cuda) return out;
  out.context = kContext;
  out.lines.push_back({Holder::buffers, "CUDA context and loaded kernels", kContext,
                       "middle of 400 to 600 MiB", "pytorch issue 107667; not measured here"});

  if (const Bytes bytes = megatron::registered_buffers(job); bytes > Bytes(0)) {
    out.libraries += bytes;
    out.lines.push_back({Holder::buffers, "Userbuffers", bytes, "of 12 overlapped products",
                         "transformer_engine/pytorch/module/base.py, initialize_ub"});
  }
  const Strategy& s = job.strategy;
  if (s.data_parallel == DataParallelKind::data_parallel) return out;  // copies, no communicator
  const bool states_travel = s.training || s.zero == 3;
  const Communicator groups[] = {
      {"data-parallel", states_travel ? shards(s, ParamGroup::dense) / s.fsdp.replicas : 1},
      {"replica", s.fsdp.replicas},
      {"expert-data-parallel", states_travel && s.ep > 1 ? shards(s, ParamGroup::expert) : 1},
      {"tensor-parallel", s.tp},
      {"context-parallel", s.cp},
      {"expert-parallel", s.ep},
      {"pipeline-parallel", s.pp}};
  for (const Communicator& group : groups) {
    if (group.ranks < 2) continue;
    const Bytes bytes = kPerChannel * kRingChannels;
    out.nccl += bytes;
    out.lines.push_back({Holder::buffers,
                         fmt::format("NCCL {} ring of {}", group.name, group.ranks), bytes,
                         fmt::format("{} channels × 12 MiB", kRingChannels),
                         "nccl 2.30 transport/p2p.cc; channels from nccl issue 892"});
  }
  return out;
}

}  // namespace memplan
