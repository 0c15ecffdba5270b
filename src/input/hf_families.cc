// Keys, defaults and classes: transformers 5.12.1, models/*/configuration_*.py and modeling_*.py.
#include "input/hf_families.h"

#include <algorithm>
#include <array>

namespace memplan {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;
using enum ModelHead;

constexpr HfClass kDecoder[] = {{"Model", none},
                                {"ForCausalLM", causal_lm},
                                {"ForSequenceClassification", sequence_classification}};
constexpr HfClass kDecoderOnlyLm[] = {{"Model", none}, {"ForCausalLM", causal_lm}};
constexpr HfClass kGpt2[] = {{"Model", none},
                             {"LMHeadModel", causal_lm},
                             {"DoubleHeadsModel", causal_lm, "multiple_choice_head"},
                             {"ForSequenceClassification", sequence_classification}};
constexpr HfClass kGemma3[] = {{"TextModel", none},
                               {"ForCausalLM", causal_lm},
                               {"TextForSequenceClassification", sequence_classification}};
constexpr HfClass kBert[] = {{"Model", none},
                             {"ForMaskedLM", masked_lm},
                             {"LMHeadModel", causal_lm},
                             {"ForPreTraining", masked_lm, "next_sentence_head"},
                             {"ForSequenceClassification", sequence_classification}};
constexpr HfClass kRoberta[] = {{"Model", none},
                                {"ForMaskedLM", masked_lm},
                                {"ForCausalLM", causal_lm},
                                {"ForSequenceClassification", sequence_classification}};
constexpr HfClass kDeberta[] = {{"Model", none},
                                {"ForMaskedLM", masked_lm},
                                {"ForSequenceClassification", sequence_classification}};
constexpr HfClass kT5[] = {{"Model", none},
                           {"ForConditionalGeneration", seq2seq_lm},
                           {"EncoderModel", none, {}, true},
                           {"ForSequenceClassification", sequence_classification}};

constexpr Pair kGpt2Aliases[] = {{"hidden_size", "n_embd"},
                                 {"max_position_embeddings", "n_positions"},
                                 {"num_attention_heads", "n_head"},
                                 {"num_hidden_layers", "n_layer"}};
constexpr Pair kBloomAliases[] = {{"n_embed", "hidden_size"},
                                  {"num_attention_heads", "n_head"},
                                  {"num_hidden_layers", "n_layer"}};
constexpr Pair kFalconAliases[] = {{"n_embed", "hidden_size"}};
constexpr Pair kT5Aliases[] = {{"hidden_size", "d_model"},
                               {"num_attention_heads", "num_heads"},
                               {"num_hidden_layers", "num_layers"},
                               {"head_dim", "d_kv"}};
constexpr Pair kExpertAliases[] = {{"num_experts", "num_local_experts"}};
// Qwen3MoeConfig maps num_experts to num_local_experts; hub files say num_experts.
constexpr Pair kQwen3MoeAliases[] = {{"num_local_experts", "num_experts"}};
constexpr Pair kDeepseekV3Aliases[] = {{"num_local_experts", "n_routed_experts"}};

constexpr HfExtra kGpt2Extra[] = {{HfExtra::flag, "add_cross_attention"}};
constexpr HfExtra kGptjExtra[] = {{HfExtra::count, "rotary_dim", 64}};
constexpr HfExtra kNeoxExtra[] = {{HfExtra::rotary_share, "rotary_pct", 25}};
constexpr HfExtra kPhiExtra[] = {{HfExtra::rotary_share, "partial_rotary_factor", 50}};
constexpr HfExtra kPhi3Extra[] = {{HfExtra::rotary_share, "partial_rotary_factor", 100}};
constexpr HfExtra kStablelmExtra[] = {{HfExtra::rotary_share, "partial_rotary_factor", 25}};
constexpr HfExtra kBloomExtra[] = {{HfExtra::flag, "apply_residual_connection_post_layernorm", 0}};
constexpr HfExtra kSoftcap[] = {{HfExtra::is_set, "final_logit_softcapping", 1},
                                {HfExtra::is_set, "attn_logit_softcapping", 1}};
constexpr HfExtra kNoSoftcap[] = {{HfExtra::is_set, "final_logit_softcapping", 0},
                                  {HfExtra::is_set, "attn_logit_softcapping", 0}};
constexpr HfExtra kOptExtra[] = {{HfExtra::count, "word_embed_proj_dim"},
                                 {HfExtra::flag, "do_layer_norm_before", 1},
                                 {HfExtra::flag, "_remove_final_layer_norm", 0},
                                 {HfExtra::flag, "layer_norm_elementwise_affine", 1}};
constexpr HfExtra kFalconExtra[] = {{HfExtra::flag, "new_decoder_architecture", 0},
                                    {HfExtra::flag, "alibi", 0},
                                    {HfExtra::count, "num_ln_in_parallel_attn"}};
constexpr HfExtra kBertExtra[] = {{HfExtra::flag, "add_cross_attention", 0},
                                  {HfExtra::flag, "is_decoder", 0}};
constexpr HfExtra kDebertaExtra[] = {{HfExtra::flag, "relative_attention", 0},
                                     {HfExtra::flag, "position_biased_input", 1},
                                     {HfExtra::attention_terms, "pos_att_type", 0},
                                     {HfExtra::flag, "share_att_key", 0},
                                     {HfExtra::signed_count, "position_buckets", -1},
                                     {HfExtra::signed_count, "max_relative_positions", -1},
                                     {HfExtra::layer_norm, "norm_rel_ebd", 0},
                                     {HfExtra::count_or_none, "conv_kernel_size", 0},
                                     {HfExtra::count, "conv_groups", 1},
                                     {HfExtra::count, "embedding_size"},
                                     {HfExtra::count, "pooler_hidden_size"},
                                     {HfExtra::flag, "legacy", 1}};
constexpr HfExtra kLlamaExtra[] = {{HfExtra::llama3_rope, "llama3_rope", 0}};
constexpr HfExtra kQwenMoeExtra[] = {{HfExtra::flag, "norm_topk_prob", 0}};
constexpr HfExtra kDeepseekV2Extra[] = {{HfExtra::group_limited, "topk_method", 0},
                                        {HfExtra::count, "n_group"},
                                        {HfExtra::count, "topk_group"}};
constexpr HfExtra kDeepseekV3Extra[] = {{HfExtra::flag, "norm_topk_prob", 1},
                                        {HfExtra::flag, "rope_interleave", 1},
                                        {HfExtra::count, "n_group", 8},
                                        {HfExtra::count, "topk_group", 4}};
constexpr HfExtra kT5Extra[] = {{HfExtra::count, "relative_attention_num_buckets", 32},
                                {HfExtra::flag, "tie_word_embeddings", 1}};

constexpr HfDropout kAttentionOnly = {.attention = {"attention_dropout", 0.0}};
constexpr HfDropout kGpt2Dropout = {.embedding = {"embd_pdrop", 0.1},
                                    .hidden = {"resid_pdrop", 0.1},
                                    .attention = {"attn_pdrop", 0.1}};
constexpr HfDropout kGptjDropout = {.embedding = {"embd_pdrop", 0.0},
                                    .hidden = {"resid_pdrop", 0.0},
                                    .attention = {"attn_pdrop", 0.0}};
constexpr HfDropout kHiddenAndAttention = {.hidden = {"hidden_dropout", 0.0},
                                           .attention = {"attention_dropout", 0.0}};
constexpr HfDropout kBertDropout = {.embedding = {"hidden_dropout_prob", 0.1},
                                    .hidden = {"hidden_dropout_prob", 0.1},
                                    .attention = {"attention_probs_dropout_prob", 0.1}};

constexpr HfKeys kGpt2Keys = {.hidden = "n_embd",
                              .ffn = "n_inner",
                              .layers = "n_layer",
                              .heads = "n_head",
                              .kv_heads = "",
                              .head_dim = "",
                              .positions = "n_positions"};
constexpr HfKeys kBertKeys = {.kv_heads = "", .head_dim = ""};

constexpr HfFlag kTied = {"tie_word_embeddings", true};
constexpr HfFlag kAlways = {"", true};
constexpr HfFlag kAttentionBias = {"attention_bias", false};
constexpr int64_t kOf = kDerived;  // short, for the table

// clang-format off
// Sizes:   vocab  hidden    ffn layers heads  kv d positions
constexpr auto kFamilies = std::to_array<HfFamily>({
    {.type = "llama", .stem = "Llama", .classes = kDecoder,
     .sizes = {32000, 4096, 11008, 32, 32, kOf, kOf, 2048},
     .heads_divide_hidden = true,
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias,
     .mlp_bias = {"mlp_bias", false}, .gated = kAlways, .dropout = kAttentionOnly,
     .extra = kLlamaExtra},
    {.type = "mistral", .stem = "Mistral", .classes = kDecoder,
     .sizes = {32000, 4096, 14336, 32, 32, 8, kOf, 131072},
     .gated = kAlways, .dropout = kAttentionOnly,
     .window = HfWindow::every_layer, .sliding_window = 4096},
    {.type = "mixtral", .stem = "Mixtral", .classes = kDecoder,
     .sizes = {32000, 4096, 14336, 32, 32, 8, kOf, 131072},
     .aliases = kExpertAliases, .gated = kAlways, .dropout = kAttentionOnly,
     .window = HfWindow::every_layer,
     .experts = {.layers = HfExpertLayers::every_layer, .key = "num_local_experts", .experts = 8,
                 .per_token = 2}},
    {.type = "qwen2", .stem = "Qwen2", .classes = kDecoder,
     .sizes = {151936, 4096, 22016, 32, 32, 32, kOf, 32768},
     .attention_bias = kAlways, .gated = kAlways, .dropout = kAttentionOnly,
     .window = HfWindow::qwen_tail, .sliding_window = 4096, .reads_layer_types = true},
    {.type = "qwen2_moe", .stem = "Qwen2Moe", .classes = kDecoder,
     .sizes = {151936, 2048, 5632, 24, 16, 16, kOf, 32768},
     .attention_bias = {"qkv_bias", true}, .gated = kAlways, .dropout = kAttentionOnly,
     .window = HfWindow::qwen_even_head, .sliding_window = 4096, .reads_layer_types = true,
     .experts = {.layers = HfExpertLayers::qwen, .key = "num_experts", .experts = 60, .per_token = 4,
                 .ffn_key = "moe_intermediate_size", .ffn = 1408,
                 .shared_key = "shared_expert_intermediate_size", .shared = 5632},
     .extra = kQwenMoeExtra},
    {.type = "qwen3", .stem = "Qwen3", .classes = kDecoder,
     .sizes = {151936, 4096, 22016, 32, 32, 32, 128, 32768}, .null_head_dim = false,
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias, .qk_norm = kAlways,
     .gated = kAlways, .dropout = kAttentionOnly,
     .window = HfWindow::qwen_tail, .sliding_window = 4096, .reads_layer_types = true},
    {.type = "qwen3_moe", .stem = "Qwen3Moe", .classes = kDecoder,
     .sizes = {151936, 2048, 6144, 24, 32, 4, kOf, 32768}, .aliases = kQwen3MoeAliases,
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias, .qk_norm = kAlways,
     .gated = kAlways, .dropout = kAttentionOnly,
     .window = HfWindow::qwen_all, .sliding_window = 4096,
     .experts = {.layers = HfExpertLayers::qwen, .key = "num_experts", .experts = 128,
                 .per_token = 8, .ffn_key = "moe_intermediate_size", .ffn = 768},
     .extra = kQwenMoeExtra},
    {.type = "gemma", .stem = "Gemma", .classes = kDecoder,
     .sizes = {256000, 3072, 24576, 28, 16, 16, 256, 8192},
     .null_heads = false, .null_head_dim = false, .tie = kTied,
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias,
     .gated = kAlways, .activation = "gelu_pytorch_tanh", .dropout = kAttentionOnly},
    {.type = "gemma2", .stem = "Gemma2", .classes = kDecoder,
     .sizes = {256000, 2304, 9216, 26, 8, 4, 256, 8192}, .heads_divide_hidden = true,
     .null_heads = false, .null_head_dim = false, .tie = kTied,
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias,
     .gated = kAlways, .activation_key = "hidden_activation", .activation = "gelu_pytorch_tanh",
     .dropout = kAttentionOnly, .window = HfWindow::even_layers, .sliding_window = 4096,
     .reads_layer_types = true, .extra = kSoftcap},
    {.type = "gemma3_text", .stem = "Gemma3", .classes = kGemma3,
     .sizes = {262208, 2304, 9216, 26, 8, 4, 256, 131072}, .heads_divide_hidden = true,
     .null_heads = false, .null_head_dim = false, .tie = kTied,
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias, .qk_norm = kAlways,
     .gated = kAlways, .activation_key = "hidden_activation", .activation = "gelu_pytorch_tanh",
     .dropout = kAttentionOnly, .window = HfWindow::pattern, .sliding_window = 4096,
     .reads_layer_types = true, .extra = kNoSoftcap},
    {.type = "gpt2", .stem = "GPT2", .classes = kGpt2,
     .sizes = {50257, 768, kOf, 12, 12, kOf, kOf, 1024}, .keys = kGpt2Keys, .aliases = kGpt2Aliases,
     .heads_divide_hidden = true, .tie = kTied,
     .attention_bias = kAlways, .attention_out_bias = kAlways, .mlp_bias = kAlways,
     .activation_key = "activation_function", .activation = "gelu_new", .dropout = kGpt2Dropout,
     .extra = kGpt2Extra},
    {.type = "gptj", .stem = "GPTJ", .classes = kDecoder,
     .sizes = {50400, 4096, kOf, 28, 16, kOf, kOf, 2048}, .keys = kGpt2Keys,
     .aliases = kGpt2Aliases, .heads_divide_hidden = true, .mlp_bias = kAlways,
     .head_bias = kAlways, .parallel_residual = kAlways,
     .activation_key = "activation_function", .activation = "gelu_new", .dropout = kGptjDropout,
     .extra = kGptjExtra},
    {.type = "gpt_neox", .stem = "GPTNeoX", .classes = kDecoder,
     .sizes = {50432, 6144, 24576, 44, 64, kOf, kOf, 2048}, .keys = kBertKeys,
     .heads_divide_hidden = true,
     .attention_bias = {"attention_bias", true}, .attention_out_bias = {"attention_bias", true},
     .mlp_bias = kAlways, .parallel_residual = {"use_parallel_residual", true},
     .activation = "gelu",
     .dropout = {.embedding = {"hidden_dropout", 0.0}, .hidden = {"hidden_dropout", 0.0},
                 .attention = {"attention_dropout", 0.0}},
     .extra = kNeoxExtra},
    {.type = "opt", .stem = "OPT", .classes = kDecoder,
     .sizes = {50272, 768, 3072, 12, 12, kOf, kOf, 2048},
     .keys = {.ffn = "ffn_dim", .kv_heads = "", .head_dim = ""},
     .heads_divide_hidden = true, .tie = kTied, .attention_bias = {"enable_bias", true},
     .attention_out_bias = {"enable_bias", true}, .mlp_bias = {"enable_bias", true},
     .activation_key = "activation_function", .activation = "relu",
     .dropout = {.hidden = {"dropout", 0.1}, .attention = {"attention_dropout", 0.0}},
     .extra = kOptExtra},
    {.type = "bloom", .stem = "Bloom", .classes = kDecoder,
     .sizes = {250880, 64, kOf, 2, 8, kOf, kOf, 0},
     .keys = {.ffn = "", .layers = "n_layer", .heads = "n_head", .kv_heads = "", .head_dim = "",
              .positions = ""},
     .aliases = kBloomAliases, .heads_divide_hidden = true, .tie = kTied,
     .attention_bias = kAlways, .attention_out_bias = kAlways, .mlp_bias = kAlways,
     .activation_key = "", .activation = "gelu_pytorch_tanh", .dropout = kHiddenAndAttention,
     .extra = kBloomExtra},
    {.type = "falcon", .stem = "Falcon", .classes = kDecoder,
     .sizes = {65024, 4544, kOf, 32, 71, kOf, kOf, 2048},
     .keys = {.ffn = "ffn_hidden_size", .kv_heads = "num_kv_heads", .head_dim = ""},
     .aliases = kFalconAliases, .heads_divide_hidden = true, .tie = kTied,
     .attention_bias = {"bias", false}, .attention_out_bias = {"bias", false},
     .mlp_bias = {"bias", false}, .parallel_residual = {"parallel_attn", true},
     .falcon_kv = {"multi_query", true}, .activation_key = "activation", .activation = "gelu",
     .dropout = kHiddenAndAttention, .extra = kFalconExtra},
    {.type = "phi", .stem = "Phi", .classes = kDecoder,
     .sizes = {51200, 2048, 8192, 24, 32, kOf, kOf, 2048},
     .attention_bias = kAlways, .attention_out_bias = kAlways, .mlp_bias = kAlways,
     .head_bias = kAlways, .qk_norm = {"qk_layernorm", false}, .parallel_residual = kAlways,
     .activation = "gelu_new",
     .dropout = {.embedding = {"embd_pdrop", 0.0}, .hidden = {"resid_pdrop", 0.0},
                 .attention = {"attention_dropout", 0.0}},
     .extra = kPhiExtra},
    {.type = "phi3", .stem = "Phi3", .classes = kDecoder,
     .sizes = {32064, 3072, 8192, 32, 32, kOf, kOf, 4096}, .gated = kAlways,
     .dropout = {.hidden = {"resid_pdrop", 0.0}, .attention = {"attention_dropout", 0.0}},
     .window = HfWindow::every_layer, .extra = kPhi3Extra},
    {.type = "olmo2", .stem = "Olmo2", .classes = kDecoder,
     .sizes = {50304, 4096, 11008, 32, 32, kOf, kOf, 2048},
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias, .qk_norm = kAlways,
     .gated = kAlways, .dropout = kAttentionOnly},
    {.type = "starcoder2", .stem = "Starcoder2", .classes = kDecoder,
     .sizes = {49152, 3072, 12288, 30, 24, 2, kOf, 4096}, .null_heads = false, .tie = kTied,
     .attention_bias = {"use_bias", true}, .attention_out_bias = {"use_bias", true},
     .mlp_bias = {"use_bias", true}, .activation = "gelu_pytorch_tanh",
     .dropout = {.embedding = {"embedding_dropout", 0.0}, .hidden = {"residual_dropout", 0.0},
                 .attention = {"attention_dropout", 0.0}},
     .window = HfWindow::every_layer},
    {.type = "stablelm", .stem = "StableLm", .classes = kDecoder,
     .sizes = {50304, 2560, 6912, 32, 32, 32, kOf, 4096}, .keys = {.head_dim = ""},
     .heads_divide_hidden = true, .null_heads = false, .attention_bias = {"use_qkv_bias", false},
     .qk_norm = {"qk_layernorm", false}, .parallel_residual = {"use_parallel_residual", false},
     .gated = kAlways, .dropout = kHiddenAndAttention, .extra = kStablelmExtra},
    {.type = "granite", .stem = "Granite", .classes = kDecoderOnlyLm,
     .sizes = {32000, 4096, 11008, 32, 32, kOf, kOf, 2048},
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias,
     .mlp_bias = {"mlp_bias", false}, .gated = kAlways, .dropout = kAttentionOnly},
    {.type = "cohere", .stem = "Cohere", .classes = kDecoderOnlyLm,
     .sizes = {256000, 8192, 22528, 40, 64, kOf, kOf, 8192}, .tie = kTied,
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias,
     .qk_norm = {"use_qk_norm", false}, .parallel_residual = kAlways, .gated = kAlways,
     .dropout = kAttentionOnly},
    {.type = "deepseek_v2", .stem = "DeepseekV2", .classes = kDecoder,
     .sizes = {32000, 4096, 11008, 32, 32, kOf, kOf, 2048}, .keys = {.head_dim = ""},
     .heads_divide_hidden = true,
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias,
     .mlp_bias = {"mlp_bias", false}, .gated = kAlways, .dropout = kAttentionOnly,
     .experts = {.layers = HfExpertLayers::deepseek, .key = "n_routed_experts", .experts = 64,
                 .per_token = kDerived, .ffn_key = "moe_intermediate_size", .ffn = 1407,
                 .shared_key = "n_shared_experts", .shared = 2, .null_shared = true,
                 .first_dense = 0},
     .latent_attention = true, .extra = kDeepseekV2Extra},
    {.type = "deepseek_v3", .stem = "DeepseekV3", .classes = kDecoder,
     .sizes = {129280, 7168, 18432, 61, 128, 128, kOf, 4096}, .keys = {.head_dim = ""},
     .aliases = kDeepseekV3Aliases,
     .attention_bias = kAttentionBias, .attention_out_bias = kAttentionBias, .gated = kAlways,
     .dropout = kAttentionOnly,
     .experts = {.layers = HfExpertLayers::deepseek, .key = "n_routed_experts", .experts = 256,
                 .per_token = 8, .ffn_key = "moe_intermediate_size", .ffn = 2048,
                 .shared_key = "n_shared_experts", .shared = 1, .first_dense = 3},
     .latent_attention = true, .extra = kDeepseekV3Extra},
    {.type = "gpt_oss", .stem = "GptOss", .classes = kDecoder,
     .sizes = {201088, 2880, 2880, 36, 64, 8, 64, 131072}, .aliases = kExpertAliases,
     .attention_bias = {"attention_bias", true}, .attention_out_bias = {"attention_bias", true},
     .mlp_bias = kAlways, .gated = kAlways, .dropout = kAttentionOnly,
     .window = HfWindow::even_layers, .sliding_window = 128, .reads_layer_types = true,
     .experts = {.layers = HfExpertLayers::every_layer, .key = "num_local_experts", .experts = 128,
                 .per_token = 4}},
    {.type = "bert", .stem = "Bert", .classes = kBert, .head = masked_lm,
     .sizes = {30522, 768, 3072, 12, 12, kOf, kOf, 512}, .keys = kBertKeys,
     .heads_divide_hidden = true, .tie = kTied,
     .attention_bias = kAlways, .attention_out_bias = kAlways, .mlp_bias = kAlways,
     .head_bias = kAlways, .activation = "gelu", .dropout = kBertDropout, .type_vocab = 2,
     .reads_type_vocab = true, .extra = kBertExtra},
    {.type = "roberta", .stem = "Roberta", .classes = kRoberta, .head = masked_lm,
     .sizes = {50265, 768, 3072, 12, 12, kOf, kOf, 512}, .keys = kBertKeys,
     .heads_divide_hidden = true, .tie = kTied,
     .attention_bias = kAlways, .attention_out_bias = kAlways, .mlp_bias = kAlways,
     .head_bias = kAlways, .activation = "gelu", .dropout = kBertDropout, .type_vocab = 2,
     .reads_type_vocab = true, .extra = kBertExtra},
    {.type = "deberta-v2", .stem = "DebertaV2", .classes = kDeberta, .head = masked_lm,
     .sizes = {128100, 1536, 6144, 24, 24, kOf, kOf, 512},
     .keys = {.kv_heads = "", .head_dim = "attention_head_size"}, .heads_divide_hidden = true,
     .tie = kTied,
     .attention_bias = kAlways, .attention_out_bias = kAlways, .mlp_bias = kAlways,
     .head_bias = kAlways, .activation = "gelu", .dropout = kBertDropout, .type_vocab = 0,
     .reads_type_vocab = true, .extra = kDebertaExtra},
    // T5Config ties the embeddings whatever the file says.
    {.type = "t5", .stem = "T5", .classes = kT5, .head = seq2seq_lm,
     .sizes = {32128, 512, 2048, 6, 8, kOf, 64, 0},
     .keys = {.hidden = "d_model", .ffn = "d_ff", .layers = "num_layers", .heads = "num_heads",
              .kv_heads = "", .head_dim = "d_kv", .positions = ""},
     .aliases = kT5Aliases, .null_head_dim = false, .tie = kAlways,
     .activation_key = "feed_forward_proj", .activation = "relu",
     .dropout = {.embedding = {"dropout_rate", 0.1}, .hidden = {"dropout_rate", 0.1},
                 .attention = {"dropout_rate", 0.1}, .activation = {"dropout_rate", 0.1}},
     .encoder_decoder = true, .extra = kT5Extra},
});
// clang-format on

constexpr Pair kTypeAliases[] = {
    {"qwen2_vl", "qwen2"},        {"qwen2_vl_text", "qwen2"}, {"qwen2_5_vl", "qwen2"},
    {"qwen2_5_vl_text", "qwen2"}, {"qwen3_vl_text", "qwen3"}, {"qwen3_vl_moe_text", "qwen3_moe"},
};

constexpr Pair kTextTypes[] = {
    {"gemma3", "gemma3_text"},
    {"shieldgemma2", "gemma3_text"},
    {"paligemma", "gemma"},
    {"llava", "llama"},
    {"llava_next", "llama"},
    {"llava_next_video", "llama"},
    {"vipllava", "llama"},
    {"video_llava", "llama"},
    {"idefics2", "mistral"},
    {"idefics3", "llama"},
    {"smolvlm", "llama"},
    {"mistral3", "mistral"},
    {"llava_onevision", "qwen2"},
    {"internvl", "qwen2"},
    {"qwen2_audio", "qwen2"},
    {"qwen2_vl", "qwen2_vl_text"},
    {"qwen2_5_vl", "qwen2_5_vl_text"},
    {"qwen3_vl", "qwen3_vl_text"},
    {"qwen3_vl_moe", "qwen3_vl_moe_text"},
    {"voxtral", "llama"},
    {"granite_speech", "granite"},
    {"deepseek_vl", "llama"},
    {"perception_lm", "llama"},
    {"audioflamingo3", "qwen2"},
};

}  // namespace

std::span<const HfFamily> hf_families() { return kFamilies; }
std::span<const Pair> hf_type_aliases() { return kTypeAliases; }
std::span<const Pair> hf_text_types() { return kTextTypes; }

const HfFamily* find_hf_family(std::string_view type) {
  const auto found = std::ranges::find(kFamilies, type, &HfFamily::type);
  return found == kFamilies.end() ? nullptr : &*found;
}

}  // namespace memplan
