// Sound configs: presets, defaults of absent fields, aliases, rules that decide layers.
#include "input/hf_config.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "base/embedded.h"
#include "input/hf_families.h"
#include "memplan/error.h"

using namespace memplan;

namespace {

ModelSpec preset(std::string_view name) {
  for (const EmbeddedFile& file : embedded_models())
    if (file.name == name) return read_hf_config(file.text, std::string(name));
  FAIL("no preset ", name);
  return {};
}

ModelSpec read(std::string_view text) { return read_hf_config(text, "config.json"); }

// "SFFS": which layers slide.
std::string pattern(const std::vector<bool>& layers, char yes, char no) {
  std::string text;
  for (bool layer : layers) text += layer ? yes : no;
  return text;
}
std::string sliding(const ModelSpec& model) { return pattern(model.layer_is_sliding, 'S', 'F'); }
std::string experts(const ModelSpec& model) { return pattern(model.moe.layer_is_moe, 'E', 'D'); }

}  // namespace

TEST_SUITE("input/hf_config") {
  TEST_CASE("every preset is read") {
    REQUIRE(embedded_models().size() >= 60);
    for (const EmbeddedFile& file : embedded_models()) {
      CAPTURE(file.name);
      ModelSpec model;
      REQUIRE_NOTHROW(model = read_hf_config(file.text, std::string(file.name)));
      CHECK(find_hf_family(model.family) != nullptr);
      CHECK(!model.source.empty());
    }
  }

  TEST_CASE("llama3-8b: grouped queries, own vocabulary, no head of its own size") {
    const ModelSpec m = preset("llama3-8b");
    CHECK(m.family == "llama");
    CHECK(m.head == ModelHead::causal_lm);
    CHECK(m.hidden == 4096);
    CHECK(m.layers == 32);
    CHECK(m.heads == 32);
    CHECK(m.kv_heads == 8);
    CHECK(m.head_dim == 128);
    CHECK(m.ffn == 14336);
    CHECK(m.vocab == 128256);
    CHECK(m.max_positions == 8192);
    CHECK(m.activation == "silu");
    CHECK(m.gated_mlp);
    CHECK_FALSE(m.tie_embeddings);
    CHECK_FALSE(m.attention_bias);
    CHECK(m.layer_is_sliding.empty());
    CHECK(m.moe.experts == 0);
    CHECK(m.source.find("Meta-Llama-3-8B") != std::string::npos);
  }

  TEST_CASE("gpt2: other keys, 4h by default, tied, biases, dropout") {
    const ModelSpec m = preset("gpt2-xl");
    CHECK(m.hidden == 1600);
    CHECK(m.layers == 48);
    CHECK(m.heads == 25);
    CHECK(m.kv_heads == 25);
    CHECK(m.head_dim == 64);
    CHECK(m.ffn == 6400);
    CHECK(m.max_positions == 1024);
    CHECK(m.tie_embeddings);
    CHECK(m.attention_bias);
    CHECK(m.dropout.embedding == 0.1);
    CHECK(m.dropout.hidden == 0.1);
    CHECK(m.dropout.attention == 0.1);
  }

  TEST_CASE("deepseek-v3: latent attention, dense first layers, shared expert") {
    const ModelSpec m = preset("deepseek-v3");
    CHECK(m.mla.q_lora_rank == 1536);
    CHECK(m.mla.kv_lora_rank == 512);
    CHECK(m.mla.qk_nope_head_dim == 128);
    CHECK(m.mla.qk_rope_head_dim == 64);
    CHECK(m.mla.v_head_dim == 128);
    CHECK(m.moe.experts == 256);
    CHECK(m.moe.experts_per_token == 8);
    CHECK(m.moe.expert_ffn == 2048);
    CHECK(m.moe.shared_experts_ffn == 2048);
    CHECK(experts(m).substr(0, 5) == "DDDEE");
    CHECK(m.moe.layer_is_moe.size() == 61);
    REQUIRE(m.not_modelled.size() == 1);
    CHECK(m.not_modelled[0].find("num_nextn_predict_layers") == 0);
  }

  TEST_CASE("gemma3-4b: the language part of a multimodal config, the rest by name") {
    const ModelSpec m = preset("gemma3-4b");
    CHECK(m.family == "gemma3_text");
    CHECK(m.head == ModelHead::causal_lm);
    CHECK(m.hidden == 2560);
    CHECK(m.vocab == 262208);  // Gemma3TextConfig's default
    CHECK(m.heads == 8);
    CHECK(m.kv_heads == 4);
    CHECK(m.head_dim == 256);
    CHECK(m.tie_embeddings);
    CHECK(sliding(m).substr(0, 12) == "SSSSSFSSSSSF");
    REQUIRE(m.not_modelled.size() == 2);
    CHECK(m.not_modelled[0] == "vision_config (siglip_vision_model)");
  }

  TEST_CASE("falcon: kv heads that are used") {
    CHECK(preset("falcon-7b").kv_heads == 1);
    CHECK(preset("falcon-40b").kv_heads == 8);
    CHECK(read(R"({"model_type": "falcon", "multi_query": false})").kv_heads == 71);
  }

  TEST_CASE("t5: encoder and decoder") {
    const ModelSpec m = preset("t5-11b");
    CHECK(m.head == ModelHead::seq2seq_lm);
    CHECK(m.layers == 24);
    CHECK(m.decoder_layers == 24);
    CHECK(m.head_dim == 128);
    CHECK(m.heads == 128);
    CHECK_FALSE(m.gated_mlp);
    const ModelSpec gated =
        read(R"({"model_type": "t5", "feed_forward_proj": "gated-gelu", "num_decoder_layers": 2,
                 "tie_word_embeddings": false})");
    CHECK(gated.gated_mlp);
    CHECK(gated.activation == "gelu_new");
    CHECK(gated.decoder_layers == 2);
    CHECK(gated.tie_embeddings);
    // As T5Config: the decoder follows num_layers, not its other name.
    CHECK(read(R"({"model_type": "t5", "num_layers": 2})").decoder_layers == 2);
    CHECK(read(R"({"model_type": "t5", "num_hidden_layers": 2})").decoder_layers == 6);
    const ModelSpec encoder = read(R"({"model_type": "t5", "architectures": ["T5EncoderModel"]})");
    CHECK(encoder.head == ModelHead::none);
    CHECK(encoder.decoder_layers == 0);
  }

  TEST_CASE("deberta: its own facts") {
    const ModelSpec m = preset("deberta-v2-xxlarge");
    CHECK(m.extra_or("pos_att_type", 0) == 3);
    CHECK(m.extra_or("norm_rel_ebd", 0) == 1);
    CHECK(m.extra_or("position_buckets", 0) == 256);
    CHECK(m.extra_or("max_relative_positions", 0) == -1);
    CHECK(m.extra_or("conv_kernel_size", 0) == 3);
    CHECK(m.extra_or("embedding_size", 77) == 77);  // absent
    CHECK(read(R"({"model_type": "deberta-v2", "pos_att_type": ["p2c"]})")
              .extra_or("pos_att_type", 0) == 2);
  }

  TEST_CASE("absent fields take the family's defaults") {
    const ModelSpec llama = read(R"({"model_type": "llama"})");
    CHECK(llama.hidden == 4096);
    CHECK(llama.kv_heads == 32);
    CHECK(llama.head_dim == 128);
    CHECK(read(R"({"model_type": "mistral"})").kv_heads == 8);
    CHECK(read(R"({"model_type": "mistral", "num_key_value_heads": null})").kv_heads == 32);
    CHECK(read(R"({"model_type": "qwen3", "hidden_size": 1024})").head_dim == 128);
    CHECK(read(R"({"model_type": "cohere"})").tie_embeddings);
    CHECK(read(R"({"model_type": "gemma2"})").extra_or("final_logit_softcapping", 0) == 1);
    CHECK(read(R"({"model_type": "gemma2", "final_logit_softcapping": null})")
              .extra_or("final_logit_softcapping", 9) == 0);
    for (const HfFamily& family : hf_families()) {
      if (family.type == "deepseek_v2") continue;  // has no default for num_experts_per_tok
      CAPTURE(family.type);
      const ModelSpec m = read(R"({"model_type": ")" + std::string(family.type) + "\"}");
      CHECK(m.family == family.type);
      CHECK(m.head == family.head);
      for (int64_t size : {m.vocab, m.hidden, m.layers, m.heads, m.kv_heads, m.head_dim, m.ffn})
        CHECK(size > 0);
    }
  }

  TEST_CASE("the source names the sizes that are defaults") {
    CHECK(preset("llama3-8b").source.find("defaults") == std::string::npos);
    const std::string source = read(R"({"model_type": "mistral", "hidden_size": 64})").source;
    CHECK(source.starts_with("config.json; transformers 5.12.1's defaults for vocab_size, "));
    CHECK(source.find("num_key_value_heads") != std::string::npos);
    CHECK(source.find("hidden_size") == std::string::npos);
    CHECK(source.find("head_dim") == std::string::npos);  // follows from others
  }

  TEST_CASE("other names of a key") {
    const ModelSpec m = read(R"({"model_type": "gpt2", "hidden_size": 64, "num_attention_heads": 4,
                                 "num_hidden_layers": 3, "max_position_embeddings": 99})");
    CHECK(m.hidden == 64);
    CHECK(m.heads == 4);
    CHECK(m.layers == 3);
    CHECK(m.max_positions == 99);
    CHECK(read(R"({"model_type": "bloom", "n_embed": 1024, "num_attention_heads": 16})").hidden ==
          1024);
    CHECK(read(R"({"model_type": "qwen3_moe", "num_local_experts": 16})").moe.experts == 16);
    CHECK(read(R"({"model_type": "gpt2", "n_embd": 768, "hidden_size": 768})").hidden == 768);
  }

  TEST_CASE("which layers slide") {
    CHECK(sliding(read(R"({"model_type": "mistral", "num_hidden_layers": 3})")) == "SSS");
    CHECK(sliding(read(R"({"model_type": "mistral", "sliding_window": null})")).empty());
    CHECK(sliding(read(R"({"model_type": "gemma2", "num_hidden_layers": 4})")) == "SFSF");
    CHECK(sliding(read(R"({"model_type": "gpt_oss", "num_hidden_layers": 3})")) == "SFS");
    CHECK(sliding(read(R"({"model_type": "qwen2", "num_hidden_layers": 4, "max_window_layers": 2,
                           "use_sliding_window": true})")) == "FFSS");
    CHECK(sliding(read(R"({"model_type": "qwen2", "max_window_layers": 2})")).empty());
    CHECK(sliding(read(R"({"model_type": "qwen2_moe", "num_hidden_layers": 6,
                           "max_window_layers": 4, "use_sliding_window": true})")) == "SFSFFF");
    CHECK(sliding(read(R"({"model_type": "gemma3_text", "num_hidden_layers": 4,
                           "sliding_window_pattern": 2})")) == "SFSF");
    CHECK(sliding(read(R"({"model_type": "gemma2", "num_hidden_layers": 3, "layer_types":
                           ["full_attention", "full_attention", "sliding_attention"]})")) == "FFS");
    CHECK(read(R"({"model_type": "qwen2"})").sliding_window == 0);
    CHECK(sliding(read(R"({"model_type": "qwen2_moe", "sliding_window": 0})")).empty());
    CHECK(sliding(read(R"({"model_type": "gemma3_text", "_sliding_window_pattern": 6})")).size() ==
          26);
  }

  TEST_CASE("which layers hold experts") {
    CHECK(experts(read(R"({"model_type": "mixtral", "num_hidden_layers": 3})")) == "EEE");
    CHECK(experts(read(R"({"model_type": "qwen2_moe", "num_hidden_layers": 6,
                           "decoder_sparse_step": 2, "mlp_only_layers": [3, 40]})")) == "DEDDDE");
    CHECK(read(R"({"model_type": "qwen2_moe", "num_experts": 0})").moe.experts == 0);
    const ModelSpec v2 = read(R"({"model_type": "deepseek_v2", "num_experts_per_tok": 6,
                                  "num_hidden_layers": 3, "first_k_dense_replace": 1})");
    CHECK(experts(v2) == "DEE");
    CHECK(v2.moe.shared_experts_ffn == 2 * 1407);
    CHECK(read(R"({"model_type": "deepseek_v2", "num_experts_per_tok": 6,
                   "n_shared_experts": null})")
              .moe.shared_experts_ffn == 0);
  }

  TEST_CASE("the class decides the head") {
    CHECK(read(R"({"architectures": ["LlamaForCausalLM"]})").family == "llama");
    CHECK(read(R"({"architectures": ["Gemma3ForCausalLM"]})").family == "gemma3_text");
    CHECK(read(R"({"model_type": "llama", "architectures": ["LlamaModel"]})").head ==
          ModelHead::none);
    CHECK(read(R"({"model_type": "llama", "architectures": []})").head == ModelHead::causal_lm);
    CHECK(read(R"({"model_type": "llama", "architectures": null})").head == ModelHead::causal_lm);
    CHECK(read(R"({"model_type": "roberta"})").head == ModelHead::masked_lm);
    CHECK(read(R"({"model_type": "bert", "architectures": ["BertLMHeadModel"]})").head ==
          ModelHead::causal_lm);
    CHECK(read(R"({"architectures": ["BertForPreTraining"]})").extra_or("next_sentence_head", 0) ==
          1);
    const ModelSpec classifier =
        read(R"({"architectures": ["RobertaForSequenceClassification"], "num_labels": 3})");
    CHECK(classifier.head == ModelHead::sequence_classification);
    CHECK(classifier.labels == 3);
    CHECK(read(R"({"architectures": ["LlamaForSequenceClassification"], "num_labels": 9,
                   "id2label": {"0": "a", "1": "b", "2": "c", "3": "d"}})")
              .labels == 4);
    CHECK(read(R"({"architectures": ["LlamaForSequenceClassification"]})").labels == 2);
    CHECK(read(R"({"model_type": "llama"})").labels == 0);
  }

  TEST_CASE("multimodal configs") {
    const ModelSpec llava = read(R"({"model_type": "llava", "vision_config": {},
                                     "text_config": {"hidden_size": 5120, "num_attention_heads": 40},
                                     "quantization_config": {"quant_method": "gptq"}})");
    CHECK(llava.family == "llama");
    CHECK(llava.hidden == 5120);
    REQUIRE(llava.not_modelled.size() == 3);
    CHECK(llava.not_modelled[0].starts_with("quantization_config (gptq)"));
    CHECK(llava.not_modelled[1] == "vision_config");
    CHECK(read(R"({"model_type": "llava"})").hidden == 4096);
    const auto tied = [](std::string_view whole, std::string_view part) {
      return read(R"({"model_type": "llava")" + std::string(whole) + R"(, "text_config": {)" +
                  R"("model_type": "llama")" + std::string(part) + "}}")
          .tie_embeddings;
    };
    constexpr std::string_view kTie = R"(, "tie_word_embeddings": true)";
    constexpr std::string_view kUntie = R"(, "tie_word_embeddings": false)";
    CHECK_FALSE(tied("", ""));
    CHECK(tied(kTie, ""));
    CHECK(tied(kTie, kUntie));
    CHECK(tied(kUntie, kTie));
    CHECK_FALSE(tied(kUntie, kUntie));
    CHECK(read(R"({"model_type": "internvl_chat", "vision_config": {}, "llm_config":
                   {"architectures": ["Qwen2ForCausalLM"], "hidden_size": 64,
                    "num_attention_heads": 32}})")
              .family == "qwen2");
    CHECK(read(R"({"model_type": "qwen2_vl", "hidden_size": 64, "num_attention_heads": 2,
                   "num_key_value_heads": 1, "num_hidden_layers": 2, "intermediate_size": 9,
                   "vocab_size": 11, "tie_word_embeddings": true, "vision_config": {}})")
              .tie_embeddings);
  }
}
