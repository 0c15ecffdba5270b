// One block of a model on one rank, as operators that state their facts once.
//
// A graph is built in program order by the functions of ops/*.h. Each operator records its
// parameters, the tensors that autograd keeps for its backward, its floating-point operations and
// its collectives. Everything else (bytes held, peaks, traffic) is derived from it by cost/.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "memplan/dtype.h"
#include "memplan/strategy.h"
#include "memplan/units.h"

namespace memplan {

using TensorId = int32_t;
inline constexpr TensorId kNoTensor = -1;

/// A tensor of one micro-batch on one rank.
struct Tensor {
  std::string_view name;  ///< static text: "q", "softmax output"
  int64_t elements = 0;
  DType dtype = DType::bf16;
  bool requires_grad = false;
  /// Sequence parallelism keeps its shard instead of the gathered tensor: saving this tensor saves
  /// that one, and backward gathers once more.
  TensorId saved_as = kNoTensor;
  bool gathered_again = false;  ///< that gather is among the block's collectives
  bool saved = false;           ///< some operator keeps it
  bool recomputable = false;    ///< selective recomputation drops it and makes it again
  bool held_elsewhere = false;  ///< another block keeps it for all its readers: saving is free

  Bytes bytes() const { return Bytes(checked_mul(elements, size_of(dtype))); }
};

/// Which ranks hold which part of a parameter.
enum class ParamGroup : uint8_t {
  dense,   ///< data-parallel group dp·cp
  expert,  ///< data-parallel group dp·cp/ep
};

/// How tensor parallelism cuts a parameter.
enum class Cut : uint8_t { replicated, dim0, dim1, dim2 };

struct Param {
  std::string name;                ///< relative to the block: "self_attn.q_proj.weight"
  std::array<int64_t, 4> shape{};  ///< of the whole model, as the framework's module states it
  int dims = 0;
  Cut cut = Cut::replicated;
  int64_t parts = 1;         ///< tensor-parallel parts
  int64_t part_size = 0;     ///< of the cut dimension on one rank; 0: an equal share, rounded up
  int64_t expert_parts = 1;  ///< expert-parallel parts, of dim 0
  ParamGroup group = ParamGroup::dense;
  bool trainable = true;
  bool adapter = false;    ///< added by parameter-efficient fine-tuning
  bool norm = false;       ///< weight or bias of a norm
  bool linear = false;     ///< weight of an nn.Linear or Conv1D that is not the head
  bool registered = true;  ///< false: a module's plain attribute, of Graph::buffers
  /// Stored in this type whatever the model's weights are: peft casts adapters of a bf16 or fp16
  /// model to fp32 (autocast_adapter_dtype).
  std::optional<DType> dtype = {};
  bool tied_copy =
      false;  ///< a second copy of a tied weight on another stage: memory, not a parameter

  int64_t elements() const;                    ///< of the whole model
  std::array<int64_t, 4> local_shape() const;  ///< on the worst rank: cuts round up
  int64_t local_elements() const;
  friend bool operator==(const Param&, const Param&) = default;
};

/// What kind of torch module an adapter would sit on.
enum class ModuleForm : uint8_t {
  linear,     ///< nn.Linear
  conv1d,     ///< transformers' Conv1D, whose weight is [in, out]
  head,       ///< nn.Linear that gives the logits: "all-linear" leaves it out
  embedding,  ///< nn.Embedding: in rows of out
  norm,       ///< of `out` weights
};

/// A module that PEFT's targets may name.
struct PeftModule {
  std::string name;  ///< as Param::name without ".weight"
  ModuleForm form = ModuleForm::linear;
  int64_t in = 0, out = 0;  ///< whole model
  bool bias = false;
  std::string_view role = {};         ///< litgpt's word for it: "query", "mlp"; static text
  std::array<int64_t, 3> fused = {};  ///< of a fused projection: widths of q, k and v
  friend bool operator==(const PeftModule&, const PeftModule&) = default;
};

enum class Collective : uint8_t {
  all_reduce,
  all_gather,
  reduce_scatter,
  all_to_all,
  send_receive,
  broadcast
};
enum class CommGroup : uint8_t {
  data_parallel,
  tensor_parallel,
  context_parallel,
  expert_parallel,
  pipeline_parallel,
  expert_data_parallel,
  embedding
};
std::string_view to_string(Collective collective);
std::string_view to_string(CommGroup group);

/// A collective of one micro-batch. `bytes` is the whole message: what an all-gather ends with, an
/// all-reduce or reduce-scatter starts from, an all-to-all sends from one GPU.
struct Comm {
  Collective collective{};
  CommGroup group{};
  bool backward = false;   ///< phase
  bool recomputed = true;  ///< of a forward one: does full recomputation run it again
  Bytes bytes;
};

/// Whether PEFT's modules_to_save trains the parameter of this whole name: one of its modules is a
/// whole part of it.
bool saved_whole(const PeftSpec& peft, std::string_view param);

struct Op {
  std::string_view kind;  ///< "linear", "softmax", …: static text
  std::string_view name;  ///< module or tensor it works on; static text or owned by the family row
  std::vector<TensorId> saved = {};
  TensorId output = kNoTensor;
  double flops = 0;  ///< forward, as this rank runs it
  double flops_backward = 0;
  double flops_rerun = 0;  ///< a kernel's own recomputation in backward: hardware FLOPs only
  double share = 1;  ///< of those FLOPs that are the model's: the rest repeats other ranks' work
  bool recomputable = false;  ///< part of what selective recomputation runs again
};

class PeftTargets;

/// What is fixed while one block is built.
struct OpContext {
  int64_t batch = 1;     ///< b
  int64_t sequence = 0;  ///< s/cp: tokens of one sample on this rank, before sequence parallelism
  int64_t full_sequence = 0;  ///< s: keys and values attention looks at
  int64_t tp = 1, cp = 1, ep = 1;
  double expert_imbalance = 1;  ///< Strategy's
  bool sequence_parallel = false;
  bool training = true;
  DType activation = DType::bf16;
  DType weight = DType::bf16;  ///< of the model's own parameters
  AttentionKind attention = AttentionKind::unfused;
  const PeftSpec* peft = nullptr;        ///< never null while building
  const PeftTargets* targets = nullptr;  ///< of `peft`; null: it sits on no module
  std::string prefix = {};               ///< of the block's modules: "model.layers.3."
  Trainable::Kind trainable = Trainable::Kind::all;
  bool block_trainable = true;      ///< false: frozen by "last k layers"
  bool tied_weight_trains = true;   ///< whether the embedding that a tied head shares is trained
  bool adapters_here = true;        ///< false: AdapterDrop left this layer out
  bool input_requires_grad = true;  ///< some earlier block trains
};

class Graph {
 public:
  explicit Graph(const OpContext& given) : context(given) {}

  OpContext context;
  std::vector<Tensor> tensors;
  std::vector<Op> ops;
  std::vector<Param> params;
  std::vector<Comm> comms;
  std::vector<PeftModule> adapted;  ///< modules that PEFT sits on
  std::vector<Param> buffers;       ///< tensors that PEFT's modules hold beside parameters
  std::vector<TensorId> inputs;     ///< tensors that come from outside the block

  /// b·s/cp: tokens that flow through a block that is not sequence-parallel.
  int64_t tokens() const { return checked_mul(context.batch, context.sequence); }
  /// Tokens of the residual stream on this rank: divided by tp under sequence parallelism.
  int64_t stream_tokens() const;

  /// A tensor that comes from outside the block.
  TensorId input(std::string_view name, int64_t elements, DType dtype);
  /// An operator and its output. Saved tensors are added with save(). Where the output needs no
  /// gradient the operator has no backward.
  TensorId add(Op op, std::string_view output_name, int64_t elements, DType dtype,
               bool requires_grad);
  /// The last added operator keeps `tensor` for its backward. No-op in forward-only jobs.
  void save(TensorId tensor);
  /// Marks the last added operator's own extra tensor (a dropout mask, statistics) as kept.
  TensorId save_extra(std::string_view name, int64_t elements, DType dtype);

  /// Adds a parameter and returns whether it is trained, by the context's rules. What
  /// modules_to_save names is added twice, as peft stores it: the model's own, frozen, and a copy.
  bool param(Param p);
  void comm(Collective collective, CommGroup group, bool backward, Bytes bytes,
            bool recomputed = true);

  bool grad(TensorId tensor) const { return tensors[static_cast<size_t>(tensor)].requires_grad; }
  int64_t elements(TensorId tensor) const { return tensors[static_cast<size_t>(tensor)].elements; }
  DType dtype(TensorId tensor) const { return tensors[static_cast<size_t>(tensor)].dtype; }
};

}  // namespace memplan
