// What one layer keeps for backward, by pencil: bytes in the terms of arXiv 2205.05198, section 4.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "lower/families.h"

using namespace memplan;

namespace {

constexpr int64_t kBatch = 2, kSequence = 8;
constexpr int64_t kTokens = kBatch * kSequence;
const PeftSpec kNoPeft;

// h = 16, a = 4, f = 4h, dropout everywhere a GPT block has it.
ModelSpec small_model(std::string family) {
  ModelSpec m;
  m.family = std::move(family);
  m.hidden = 16;
  m.layers = 2;
  m.heads = m.kv_heads = 4;
  m.head_dim = 4;
  m.ffn = 64;
  m.vocab = 96;
  m.max_positions = 32;
  m.activation = "gelu";
  m.dropout = {.embedding = 0.1, .hidden = 0.1, .attention = 0.1, .activation = 0};
  return m;
}

OpContext context(int64_t tp = 1, bool sequence_parallel = false) {
  OpContext c;
  c.batch = kBatch;
  c.sequence = c.full_sequence = kSequence;
  c.tp = tp;
  c.sequence_parallel = sequence_parallel;
  c.peft = &kNoPeft;
  return c;
}

Graph layer(const ModelSpec& model, const OpContext& c, const LayerKind& kind = {}) {
  Graph g(c);
  build_layer(model, kind, g);
  return g;
}

int64_t saved_bytes(const Graph& g) {
  int64_t sum = 0;
  for (const Tensor& t : g.tensors) sum += t.saved ? t.bytes().count() : 0;
  return sum;
}

int64_t recomputable_bytes(const Graph& g) {
  int64_t sum = 0;
  for (const Tensor& t : g.tensors) sum += t.saved && t.recomputable ? t.bytes().count() : 0;
  return sum;
}

int64_t saved_bytes(const Graph& g, std::string_view name) {
  int64_t sum = 0;
  for (const Tensor& t : g.tensors) sum += t.saved && t.name == name ? t.bytes().count() : 0;
  return sum;
}

auto count(const Graph& g, Collective collective, bool backward) {
  return std::count_if(g.comms.begin(), g.comms.end(), [&](const Comm& c) {
    return c.collective == collective && c.backward == backward &&
           c.group == CommGroup::tensor_parallel;
  });
}

const Param& param(const Graph& g, std::string_view name) {
  const auto row = std::find_if(g.params.begin(), g.params.end(),
                                [&](const Param& p) { return p.name == name; });
  REQUIRE_MESSAGE(row != g.params.end(), name);
  return *row;
}

constexpr int64_t kSbh = kSequence * kBatch * 16;                // s·b·h
constexpr int64_t kScores = 4 * kSequence * kSequence * kBatch;  // a·s²·b

}  // namespace

TEST_SUITE("lower/blocks") {
  TEST_CASE("a GPT block keeps 34 sbh + 5 as²b") {
    const Graph g = layer(small_model("gpt2"), context());
    CHECK(saved_bytes(g) == 34 * kSbh + 5 * kScores);
    CHECK(recomputable_bytes(g) == 5 * kScores);
  }

  TEST_CASE("tensor parallelism divides all but norms, dropouts and the regions' inputs") {
    const Graph g = layer(small_model("gpt2"), context(4));
    CHECK(saved_bytes(g) == 10 * kSbh + 24 * kSbh / 4 + 5 * kScores / 4);
  }

  TEST_CASE("sequence parallelism divides the rest") {
    const Graph g = layer(small_model("gpt2"), context(4, true));
    CHECK(saved_bytes(g) == (34 * kSbh + 5 * kScores) / 4);
  }

  TEST_CASE("a block reduces twice forward and twice backward") {
    for (const char* family : {"gpt2", "gptj", "bert", "bloom"}) {
      CAPTURE(family);
      const Graph g = layer(small_model(family), context(2));
      CHECK(count(g, Collective::all_reduce, false) == 2);
      CHECK(count(g, Collective::all_reduce, true) == 2);
      const Graph sp = layer(small_model(family), context(2, true));
      CHECK(count(sp, Collective::all_gather, false) == 2);
      CHECK(count(sp, Collective::reduce_scatter, false) == 2);
      CHECK(count(sp, Collective::reduce_scatter, true) == 2);
      // backward gathers the gradient of each region and its kept shard
      CHECK(count(sp, Collective::all_gather, true) == 4);
    }
  }

  TEST_CASE("BERT's norms come after the additions and keep as much") {
    // qkv input 2, q and k 4, v 2, projection input 2, mask 1, norm input 2, fc1 input 2,
    // gelu input 8, fc2 input 8, mask 1, norm input 2
    const Graph g = layer(small_model("bert"), context());
    CHECK(saved_bytes(g) == 34 * kSbh + 5 * kScores);
  }

  TEST_CASE("attention and MLP side by side share one norm and its output") {
    ModelSpec m = small_model("gptj");
    m.dropout = {};
    // norm input 2, norm output 2, q k v 6, projection input 2, gelu input 8, fc_out input 8;
    // the softmax output alone
    CHECK(saved_bytes(layer(m, context())) == 28 * kSbh + 2 * kScores);
  }

  TEST_CASE("a llama block with grouped queries and flash attention") {
    ModelSpec m = small_model("llama");
    m.activation = "silu";
    m.kv_heads = 2;
    m.dropout = {};
    OpContext c = context();
    c.attention = AttentionKind::flash;
    // norm inputs 4h and outputs 4h; q 2h, k and v 2·(h/2) each, output 2h; log-sum-exp 4 a head;
    // gate, silu, up and product 2f each
    const int64_t per_token = 8 * 16 + 2 * 16 + 4 * 8 + 2 * 16 + 4 * 4 + 8 * 64;
    CHECK(saved_bytes(layer(m, c)) == kTokens * per_token);
  }

  TEST_CASE("norms inside the residual keep the sub-layers' outputs") {
    ModelSpec m = small_model("gemma2");
    m.dropout = {};
    ModelSpec plain = small_model("llama");
    plain.dropout = {};
    const int64_t extra = saved_bytes(layer(m, context())) - saved_bytes(layer(plain, context()));
    CHECK(extra == 2 * 2 * kSbh);  // two norm inputs more

    m.extra = {{"attn_logit_softcapping", 1}};
    CHECK(saved_bytes(layer(m, context())) - saved_bytes(layer(plain, context())) ==
          extra + 2 * kScores);  // tanh keeps its output

    // OLMo 2 has two norms, on the outputs, and two on queries and keys; no norm outputs are kept
    // but the stream itself, which both sub-layers read.
    m = small_model("olmo2");
    m.dropout = {};
    const int64_t olmo = saved_bytes(layer(m, context()));
    CHECK(olmo - saved_bytes(layer(plain, context())) == 2 * 2 * kSbh);
  }

  TEST_CASE("latent attention keeps its bottlenecks") {
    ModelSpec m = small_model("deepseek_v3");
    m.dropout = {};
    m.mla = {.q_lora_rank = 6,
             .kv_lora_rank = 5,
             .qk_nope_head_dim = 3,
             .qk_rope_head_dim = 2,
             .v_head_dim = 7};
    OpContext c = context();
    c.attention = AttentionKind::flash;
    // elements a token: norm inputs and outputs 4h; latent q and its norm's output 2·6; q 4·5;
    // latent kv 5 and its norm's output 5; k 4·5; v 4·7; output 4·7; MLP 4f. log-sum-exp 4 B a head
    const int64_t elements = 4 * 16 + 12 + 20 + 10 + 20 + 28 + 28 + 4 * 64;
    CHECK(saved_bytes(layer(m, c)) == kTokens * (2 * elements + 4 * 4));
  }

  TEST_CASE("every rank holds at least one key-value head") {
    ModelSpec m = small_model("llama");
    m.kv_heads = 2;
    const Graph g = layer(m, context(4));
    CHECK(param(g, "self_attn.q_proj.weight").local_elements() == 4 * 16);
    CHECK(param(g, "self_attn.k_proj.weight").local_elements() == 4 * 16);
    CHECK(param(g, "self_attn.o_proj.weight").local_elements() == 16 * 4);
    CHECK(param(g, "mlp.down_proj.weight").local_elements() == 16 * 16);
    CHECK(param(g, "input_layernorm.weight").local_elements() == 16);
  }

  TEST_CASE("ranks that share a key-value head each hold it in the fused projection") {
    ModelSpec m = small_model("falcon");
    m.kv_heads = 1;  // multi-query: (4 + 2·1)·4 rows in all
    m.attention_bias = true;
    const Graph g = layer(m, context(2));
    // two heads' queries, the one key and the one value
    CHECK(param(g, "self_attention.query_key_value.weight").local_elements() == (8 + 4 + 4) * 16);
    CHECK(param(g, "self_attention.query_key_value.bias").local_elements() == 16);
    CHECK(param(g, "self_attention.query_key_value.weight").elements() == 24 * 16);
  }

  TEST_CASE("a bias of a row-parallel layer is whole on every rank, of a column-parallel one cut") {
    const Graph g = layer(small_model("gpt2"), context(2));
    CHECK(param(g, "attn.c_attn.weight").local_elements() == 16 * 24);
    CHECK(param(g, "attn.c_attn.bias").local_elements() == 24);
    CHECK(param(g, "attn.c_proj.bias").local_elements() == 16);
  }

  TEST_CASE("adapters sit behind both sub-layers") {
    PeftSpec houlsby;
    houlsby.kind = PeftKind::houlsby;
    houlsby.bottleneck = 3;
    for (const char* family : {"gpt2", "bert", "gptj", "olmo2", "deberta-v2", "t5"}) {
      CAPTURE(family);
      OpContext c = context();
      c.peft = &houlsby;
      const Graph g = layer(small_model(family), c, {.decoder = std::string_view(family) == "t5"});
      int64_t added = 0;
      for (const Param& p : g.params) added += p.adapter ? p.elements() : 0;
      CHECK(added == 2 * (2 * 3 * 16 + 16 + 3));  // 2md + d + m, twice
    }
  }

  TEST_CASE("all decoder layers of T5 share the encoder's output, which the bridge keeps") {
    const ModelSpec m = [] {
      ModelSpec t5 = small_model("t5");
      t5.decoder_layers = 2;
      return t5;
    }();
    const Graph decoder = layer(m, context(), {.decoder = true});
    CHECK(saved_bytes(decoder, "encoder output") == 0);
    CHECK(decoder.inputs.size() == 1);  // the stream; full recomputation holds it for each layer
    Graph bridge(context());
    build_bridge(m, bridge);
    // the norm's input, the dropout's mask and output; the decoder embedding's mask
    CHECK(saved_bytes(bridge) == 2 * kSbh + kSbh + 2 * kSbh + kSbh);
    CHECK(bridge.params.size() == 1);  // the embedding is the encoder's
    // Under a frozen encoder the decoder's keys and values still need what they read.
    OpContext frozen = context();
    frozen.block_trainable = frozen.input_requires_grad = false;
    Graph still(frozen);
    build_bridge(m, still);
    CHECK(saved_bytes(still) == 2 * kSbh);

    const std::vector<Stack> both = stacks(m);
    REQUIRE(both.size() == 2);
    CHECK(both[1].layers[0] == LayerKind{.decoder = true, .first_of_stack = true});
    CHECK(both[1].layers[1] == LayerKind{.decoder = true});
  }

  TEST_CASE("disentangled attention keeps distances and the index of every pair") {
    ModelSpec m = small_model("deberta-v2");
    m.extra = {{"relative_attention", 1}, {"pos_att_type", 3}, {"position_buckets", 5}};
    ModelSpec bert = small_model("bert");
    const int64_t more = saved_bytes(layer(m, context())) - saved_bytes(layer(bert, context()));
    // the table's dropout: mask and output (both projections read it); for c2p and p2c each the
    // projected distances once a sample, and an int64 for each pair of tokens
    const int64_t table = 2 * 5 * 16;
    CHECK(more == 3 * table + 2 * (2 * kBatch * table + 8 * kSequence * kSequence));
  }
}
