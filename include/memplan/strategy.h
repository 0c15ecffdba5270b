// Strategy: how the job is cut over GPUs, stored and trained. Names are the field's own.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "memplan/dtype.h"
#include "memplan/peft.h"
#include "memplan/units.h"

namespace memplan {

enum class Framework : uint8_t {
  textbook,
  pytorch,
  huggingface,
  litgpt,
  torchtune,
  fsdp2,
  deepspeed,
  megatron,
  fsdp1,
  torchtitan
};

/// How data parallelism is done when ZeRO is 0.
enum class DataParallelKind : uint8_t {
  ddp,            ///< one process a GPU, gradients all-reduced
  data_parallel,  ///< torch.nn.DataParallel: one process, GPU 0 gathers outputs and gradients
};

enum class ScheduleKind : uint8_t {
  naive,      ///< layers cut over GPUs, one micro-batch at a time: 1 of p GPUs busy
  gpipe,      ///< all forwards, then all backwards
  one_f1b,    ///< PipeDream-flush, Megatron's default
  pipedream,  ///< asynchronous 1F1B with weight stashing
};

enum class OptimizerKind : uint8_t {
  adamw,
  adam,
  sgd,
  sgd_momentum,
  adafactor,               ///< torch.optim.Adafactor
  lion,                    ///< lion-pytorch
  adam8bit,                ///< bitsandbytes AdamW8bit and Adam8bit
  adafactor_transformers,  ///< transformers.Adafactor: arithmetic in fp32
  lion8bit,                ///< bitsandbytes Lion8bit
  paged_adamw,             ///< bitsandbytes PagedAdamW: two fp32 moments in managed memory
  paged_adamw8bit,         ///< bitsandbytes PagedAdamW8bit
  adamw8bit_torchao,       ///< torchao.optim.AdamW8bit
  adamw4bit_torchao,       ///< torchao.optim.AdamW4bit
  muon,                    ///< torch.optim.Muon on hidden matrices, AdamW on all else
  galore,                  ///< GaLoreAdamW: moments of hidden matrices in a subspace of a rank
  lomo,                    ///< each gradient is spent as backward makes it
  adalomo,                 ///< LOMO with Adafactor's second moment
  none,                    ///< gradients alone, nobody steps
};

/// How PyTorch's optimizers run over the parameters.
enum class OptimizerImpl : uint8_t {
  automatic,  ///< what PyTorch chooses: foreach on CUDA
  foreach_,   ///< one kernel over lists of tensors: temporaries for all parameters at once
  fused,      ///< one kernel that keeps none
  forloop,    ///< one parameter after the other
};

/// How the loss of a language model is computed: by transformers, or as a program does it.
enum class LossKind : uint8_t {
  cross_entropy,       ///< logits as a tensor, up-cast to fp32
  liger,               ///< Liger's fused linear cross-entropy, in chunks of tokens
  unsloth,             ///< Unsloth's fused linear cross-entropy
  torchtune_chunked,   ///< logits in chunks of the sequence, each up-cast by itself
  torchtune_linear,    ///< head and loss together, in chunks of the tokens that count
  torchtitan,          ///< logits as a tensor, up-cast to fp32, labels shifted beforehand
  torchtitan_chunked,  ///< head, loss and their backward, one chunk of the sequence at a time
  litgpt_full,         ///< logits as a tensor, loss in chunks of 128 tokens
  litgpt_chunked,      ///< head and loss in chunks of 128 tokens
};

/// Whether Strategy::loss_chunks belongs to it.
bool has_chunks(LossKind loss);

/// Whose kernels run norms, rotary embedding and gated activations.
enum class KernelKind : uint8_t {
  eager,  ///< PyTorch's operators, one by one
  liger,  ///< Liger-Kernel
};

/// How frozen weights are stored (bitsandbytes).
enum class QuantKind : uint8_t { none, nf4, fp4, int8 };
struct Quantization {
  QuantKind kind = QuantKind::none;
  bool double_quant = false;  ///< the blocks' scales are quantized too
  /// peft.prepare_model_for_kbit_training has run: whatever is not quantized is fp32.
  bool prepared = true;
  std::optional<DType> compute = {};  ///< bnb_4bit_compute_dtype; empty: the job's 16-bit type
  /// bnb_4bit_quant_storage: the floating dtype as which FSDP cuts packed weights; empty: uint8,
  /// which it leaves whole.
  std::optional<DType> storage = {};
};

enum class Recompute : uint8_t { none, selective, full };

/// What a layer keeps for backward, by which published model.
enum class ActivationModel : uint8_t {
  korthikanti,  ///< arXiv 2205.05198: operator by operator
  zero,         ///< arXiv 1910.02054, section 3.2: 12·b·s·h·L elements
};

enum class AttentionKind : uint8_t {
  unfused,  ///< scores, softmax and dropout are tensors
  flash,    ///< one kernel that keeps q, k, v, its output and the log-sum-exp
  sdpa,     ///< PyTorch's scaled_dot_product_attention: flash, memory-efficient or math
};

enum class Placement : uint8_t { gpu, cpu, nvme };

/// Where model states live between uses (ZeRO-Offload, ZeRO-Infinity).
struct Offload {
  Placement optimizer = Placement::gpu;  ///< with it the fp32 master weights
  Placement gradients = Placement::gpu;
  Placement parameters = Placement::gpu;
};

/// FSDP2: torch.distributed.fsdp.fully_shard on each layer and on the model; torchtitan's, on the
/// embedding, and on norm and head together, too.
struct Fsdp {
  std::optional<DType> param_dtype = {};   ///< MixedPrecisionPolicy's; empty: as stored
  std::optional<DType> reduce_dtype = {};  ///< the same; empty: that of the gradients
  /// GPUs over which a layer's parameters stay cut after forward: reshard_after_forward=N. Empty:
  /// all of them (True); 1: none (False).
  std::optional<int64_t> after_forward = {};
  std::optional<int64_t> root_after_forward = {};  ///< of the parameters that are in no layer
  /// false: gradients are reduced with the last micro-batch alone (set_requires_gradient_sync).
  bool reduces_each = true;

  // Of FSDP1 alone: torch.distributed.fsdp.FullyShardedDataParallel on each layer and on the model,
  // by its arguments' names, whose defaults these are.
  enum class Sharding : uint8_t {
    full_shard,
    shard_grad_op,
    no_shard
  } sharding = Sharding::full_shard;
  enum class Prefetch : uint8_t { pre, post, none } backward_prefetch = Prefetch::pre;
  bool forward_prefetch = false;
  bool use_orig_params = false;
  /// auto_wrap_policy: a unit for each layer, one of the whole model, or by numbers of parameters.
  enum class Wrap : uint8_t { layers, none, size } wrap = Wrap::layers;

  /// HSDP: sharded copies of the model, whose gradients an all-reduce adds up. A factor of dp.
  int64_t replicas = 1;
};

/// zero_optimization of a ds_config.json, by its names (deepspeed/runtime/zero/config.py, whose
/// defaults these are).
struct DeepSpeed {
  int64_t reduce_bucket_size = 500'000'000;  ///< elements
  std::optional<bool> overlap_comm = {};     ///< empty: with stage 3 alone
  bool contiguous_gradients = true;
  bool round_robin_gradients = false;
  /// The optimizer is the file's: DeepSpeed's FusedAdam, or on the host its DeepSpeedCPUAdam.
  bool own_optimizer = false;

  // Of stage 3; sizes are elements.
  bool reduce_scatter = true;
  int64_t sub_group_size = 1'000'000'000;
  int64_t prefetch_bucket_size = 50'000'000;
  int64_t param_persistence_threshold = 100'000;
  int64_t model_persistence_threshold = std::numeric_limits<int64_t>::max();
  int64_t max_live_parameters = 1'000'000'000;
  int64_t max_reuse_distance = 1'000'000'000;
  bool gather_16bit_weights_on_model_save = false;
};

/// How numbers are stored. Master weights exist where `master` is set.
struct Precision {
  std::string name = "mixed-bf16";
  DType weight = DType::bf16;
  DType gradient = DType::bf16;
  DType optimizer = DType::f32;  ///< of moments
  std::optional<DType> master = DType::f32;
  DType activation = DType::bf16;
  std::optional<DType> autocast;  ///< dtype of torch.autocast's matrix products
};

/// What Megatron-core's arguments say beyond the strategy, by their names (megatron/training/
/// arguments.py). Defaults are Megatron's own.
struct MegatronSpec {
  enum class Attention : uint8_t { automatic, flash, fused, unfused, local };
  enum class CrossEntropy : uint8_t { vocab_parallel, fused_native, fused_te };
  enum class Dispatcher : uint8_t { allgather, alltoall, flex };

  Version core{0, 18, 0}, transformer_engine{2, 14, 0};
  bool local = false;  ///< --transformer-impl local: modules of Megatron-core alone
  Attention attention = Attention::automatic;
  CrossEntropy cross_entropy = CrossEntropy::vocab_parallel;
  bool masked_softmax_fusion = true, softmax_in_fp32 = false;
  bool bias_activation_fusion = true, bias_dropout_fusion = true, rope_fusion = true;
  bool gradient_accumulation_fusion = true;
  bool deterministic = false;              ///< --deterministic-mode
  bool attention_mask_from_loader = true;  ///< --no-create-attention-mask-in-dataloader

  int64_t vocab_multiple = 128;  ///< --make-vocab-size-divisible-by, of tp ranks
  int64_t first_stage_layers = 0, last_stage_layers = 0;  ///< --decoder-*-pipeline-num-layers
  bool account_for_embedding = false, account_for_loss = false;  ///< in the pipeline split
  /// --pipeline-model-parallel-layout: pp·vpp chunks in the order of the layers, each a string of
  /// E (embedding), t (decoder layer), m (multi-token prediction), L (loss). Empty: none is given.
  std::vector<std::string> layout;

  /// --defer-embedding-wgrad-compute: the output layer's weight gradients of so many micro-batches
  /// wait for the pipeline to drain (--wgrad-deferral-limit; 0: of all). Empty: of none.
  std::optional<int64_t> deferred_head_gradients = {};

  /// --microbatch-group-size-per-virtual-pipeline-stage; 0: pp.
  int64_t micro_batch_group = 0;

  bool overlap_p2p = true;  ///< of the interleaved schedule: --no-overlap-p2p-communication
  /// --cp-comm-type, how context-parallel ranks share keys and values: p2p, round a ring;
  /// all_gather; a2a, heads exchanged for the sequence (DeepSpeed-Ulysses); a2a+p2p.
  std::string cp_communication = "p2p";

  /// --use-precision-aware-optimizer: moments and master weights in dtypes of their own, in
  /// Strategy::precision; the others are these.
  bool precision_aware_optimizer = false;
  DType main_grads = DType::f32, exp_avg_sq = DType::f32;

  /// --optimizer muon.
  struct Muon {
    bool nesterov = false;
    bool split_qkv = true;      ///< queries, keys and values apart: no --muon-no-split-qkv
    bool bf16_products = true;  ///< --muon-fp32-matmul-prec medium
    /// Of 0.18 on, with the distributed optimizer: no --no-use-layer-wise-param-layout.
    bool precomputed_layout = true;
  } muon;

  bool overlap_grad_reduce = false, overlap_param_gather = false;
  int64_t bucket_elements = 0;      ///< --ddp-bucket-size; 0: Megatron's own choice
  int64_t buckets = 0;              ///< --ddp-num-buckets, in its place; 0: not given
  bool pad_buckets = false;         ///< --ddp-pad-buckets-for-high-nccl-busbw
  int64_t optimizer_instances = 1;  ///< --num-distributed-optimizer-instances

  /// --use-megatron-fsdp with --data-parallel-sharding-strategy optim_grads_params: zero is 3.
  bool fsdp = false;
  int64_t communication_unit = 0;  ///< --suggested-communication-unit-size, elements; 0: its own
  bool log_params_norm = false;    ///< --log-params-norm: what is gathered goes once a step
  bool meta_device = false;        ///< --init-model-with-meta-device

  /// Where Strategy::recompute is full: of so many layers at a time (uniform), or of the first so
  /// many of a stage (block).
  bool recompute_block = false;
  int64_t recompute_layers = 1;
  /// Where it is selective: --recompute-modules, "core_attn" by default.
  std::vector<std::string> recompute_modules;
  bool distribute_saved_activations = false;

  /// --fp8-format: Transformer Engine's linear layers multiply in fp8, each tensor scaled by its
  /// own maximum (--fp8-recipe tensorwise) or by those of earlier steps (delayed).
  bool fp8 = false, fp8_delayed = false;
  int64_t fp8_history = 1;   ///< --fp8-amax-history-len
  bool fp8_weights = false;  ///< --fp8-param-gather: their weights are stored in fp8 alone
  bool tp_overlap = false;   ///< --tp-comm-overlap: Userbuffers

  int64_t expert_tp = 0;  ///< --expert-tensor-parallel-size; 0: tp
  bool grouped_gemm = false, permute_fusion = false, router_fp32 = false, router_bias = false;
  Dispatcher dispatcher = Dispatcher::allgather;
  /// The router keeps tensors of tokens · experts, how many depends on these:
  /// --moe-router-load-balancing-type (each), --moe-router-score-function, …-pre-softmax, …
  std::vector<std::string> load_balancing = {"aux_loss"};
  std::string score_function = "softmax";
  bool router_pre_softmax = false, router_fusion = false;
  double aux_loss = 0, z_loss = 0;  ///< coefficients; 0: none is computed
  int64_t router_groups = 0;        ///< --moe-router-num-groups; 0: choice is not by group
  double capacity_factor = 0;       ///< --moe-expert-capacity-factor; 0: no token is dropped
  bool pad_to_capacity = false;
  bool shared_expert_overlap = false;
  int64_t mtp_layers = 0;  ///< --mtp-num-layers

  /// The words as they were given, file or command line: what the rest was read from.
  std::vector<std::string> arguments;
};

/// Which of the model's own parameters are trained.
struct Trainable {
  enum class Kind : uint8_t { all, last_layers, bias } kind = Kind::all;
  int64_t layers = 0;  ///< of last_layers
};

struct Strategy {
  Framework framework = Framework::textbook;
  bool training = true;  ///< false: forward only

  int64_t dp = 1, tp = 1, pp = 1, vpp = 1, cp = 1, ep = 1;
  /// Rows of the busiest expert-parallel rank over the mean of all: 1 where routing is even.
  double expert_imbalance = 1;
  int zero = 0;
  DataParallelKind data_parallel = DataParallelKind::ddp;
  bool sequence_parallel = false;
  ScheduleKind schedule = ScheduleKind::one_f1b;

  int64_t micro_batch = 1;   ///< b, samples of one forward on one model replica
  int64_t global_batch = 1;  ///< samples of one optimizer step over all replicas
  int64_t sequence = 0;      ///< s, tokens of a sample (of the encoder, for an encoder-decoder)

  Precision precision;
  OptimizerKind optimizer = OptimizerKind::adamw;
  OptimizerImpl optimizer_impl = OptimizerImpl::automatic;
  bool optimizer_in_backward = false;  ///< an optimizer a parameter, stepped by a hook
  int64_t galore_rank = 128;           ///< transformers' default for GaLore
  bool clip_gradients = false;         ///< clip_grad_norm_ before the step
  ActivationModel activations = ActivationModel::korthikanti;
  AttentionKind attention = AttentionKind::unfused;
  bool padding_mask = false;  ///< batches come with an attention mask that masks something
  LossKind loss = LossKind::cross_entropy;
  int64_t loss_chunks = 8;  ///< of losses that let them be chosen: torchtune's, torchtitan's
  KernelKind kernels = KernelKind::eager;
  bool keep_outputs = false;  ///< the training loop holds the model's outputs during backward
  Quantization quantization;  ///< of frozen weights
  bool compile = false;       ///< torch.compile
  bool gradient_as_bucket_view = false;      ///< DDP: gradients live in its buckets
  int64_t bucket_bytes = int64_t{25} << 20;  ///< DDP: bucket_cap_mb; the first is 1 MiB
  Version torch{2, 14, 1}, transformers{5, 12, 1}, torchtitan{0, 2, 2};
  Recompute recompute = Recompute::none;
  int64_t recompute_every = 1;  ///< torchtitan: of full, every N-th layer alone
  bool packed =
      false;  ///< torchtune: samples behind one another in a sequence, told apart by a mask
  bool offload_activations =
      false;  ///< torchtune: OffloadActivations, saved tensors in host memory
  Offload offload;
  Fsdp fsdp;
  DeepSpeed deepspeed;
  PeftSpec peft;
  Trainable trainable;
  MegatronSpec megatron;                       ///< of framework megatron
  std::optional<Bytes> cublas_workspace = {};  ///< CUBLAS_WORKSPACE_CONFIG: of a handle
  bool tree_collectives = false;  ///< all-reduce by double binary trees instead of rings

  /// m, micro-batches a replica runs in one step: global_batch / (micro_batch · dp).
  int64_t micro_batches() const { return global_batch / (micro_batch * dp); }
  /// Where nobody says: a micro-batch for each pipeline stage.
  int64_t usual_global_batch() const { return checked_mul(checked_mul(micro_batch, dp), pp); }
  /// GPUs of the job. cp multiplies, ep lives inside dp·cp.
  int64_t world() const { return dp * tp * pp * cp; }
};

/// A name of an enumeration and what it stands for. One table per enumeration serves the options,
/// the files, the reports and `memplan show`.
template <typename Enum>
struct NameRow {
  Enum value;
  std::string_view name;
  std::string_view meaning;
};

/// The tables, in declaration order of the enumerators.
template <typename Enum>
const std::vector<NameRow<Enum>>& names_of();
template <>
const std::vector<NameRow<Framework>>& names_of();
template <>
const std::vector<NameRow<DataParallelKind>>& names_of();
template <>
const std::vector<NameRow<ScheduleKind>>& names_of();
template <>
const std::vector<NameRow<OptimizerKind>>& names_of();
template <>
const std::vector<NameRow<OptimizerImpl>>& names_of();
template <>
const std::vector<NameRow<LossKind>>& names_of();
template <>
const std::vector<NameRow<KernelKind>>& names_of();
template <>
const std::vector<NameRow<QuantKind>>& names_of();
template <>
const std::vector<NameRow<Recompute>>& names_of();
template <>
const std::vector<NameRow<ActivationModel>>& names_of();
template <>
const std::vector<NameRow<AttentionKind>>& names_of();
template <>
const std::vector<NameRow<Placement>>& names_of();
template <>
const std::vector<NameRow<PeftKind>>& names_of();

/// The name of a value, from its table.
template <typename Enum>
std::string_view to_string(Enum value) {
  for (const auto& row : names_of<Enum>())
    if (row.value == value) return row.name;
  return "?";
}

/// Reads a name. `where`: the option or field. Throws Error{bad_input} with the nearest valid name.
template <typename Enum>
Enum parse_name(std::string_view text, std::string_view where);

/// "fp32", "bf16", "fp16", "mixed-bf16", "mixed-fp16", "amp-bf16", "amp-fp16".
/// Throws Error{bad_input} on an unknown word, Error{not_modelled} on "fp8".
Precision parse_precision(std::string_view text, std::string_view where);
const std::vector<NameRow<Precision>>& precisions();

}  // namespace memplan
