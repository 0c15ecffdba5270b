// Inputs that are no model's config: each must end in one clear error, never in a crash or a guess.

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "input/hf_config.h"
#include "memplan/error.h"

using namespace memplan;

namespace {

constexpr std::string_view kFile = "dir/config.json";

// Reads `text` and expects an error of this kind at this place whose message holds every fragment.
void expect_error(std::string_view text, std::string_view where,
                  const std::vector<std::string_view>& fragments,
                  ErrorKind kind = ErrorKind::bad_input) {
  CAPTURE(text.substr(0, 400));
  try {
    read_hf_config(text, std::string(kFile));
    FAIL_CHECK("was accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    CHECK(error.where() == std::string(kFile) + std::string(where));
    const std::string message = error.what();
    for (std::string_view fragment : fragments) {
      CHECK_MESSAGE(message.find(fragment) != message.npos, "no '", fragment, "' in: ", message);
    }
  }
}

// A sound llama config in which `field` has the value `value`, or is left out where it is empty.
std::string llama_with(std::string_view field, std::string_view value) {
  struct Field {
    std::string_view key, value;
  };
  std::vector<Field> fields = {{"model_type", "\"llama\""},   {"vocab_size", "32000"},
                               {"hidden_size", "4096"},       {"intermediate_size", "11008"},
                               {"num_hidden_layers", "32"},   {"num_attention_heads", "32"},
                               {"num_key_value_heads", "32"}, {"tie_word_embeddings", "false"}};
  bool found = false;
  for (Field& row : fields) {
    if (row.key != field) continue;
    row.value = value;
    found = true;
  }
  if (!found) fields.push_back({field, value});
  std::string text;
  for (const Field& row : fields) {
    if (row.value.empty()) continue;
    text +=
        (text.empty() ? "{\"" : ", \"") + std::string(row.key) + "\": " + std::string(row.value);
  }
  return text + "}";
}

void expect_bad_field(std::string_view field, std::string_view value,
                      const std::vector<std::string_view>& fragments,
                      ErrorKind kind = ErrorKind::bad_input) {
  expect_error(llama_with(field, value), ": /" + std::string(field), fragments, kind);
}

}  // namespace

TEST_SUITE("input/bad configs") {
  TEST_CASE("the sound config of these tests is accepted") {
    CHECK(read_hf_config(llama_with("hidden_size", "4096"), "config.json").hidden == 4096);
  }

  TEST_CASE("text that is not JSON") {
    expect_error("", "", {"is empty"});
    expect_error(" \n\t ", "", {"is empty"});
    expect_error("hidden_size: 4096\n", ": line 1, column 1", {"is not JSON"});
    expect_error("<html><body>404</body></html>", ": line 1, column 1", {"is not JSON"});
    expect_error("{\n  \"a\": 1,\n  b: 2\n}", ": line 3, column 3", {"is not JSON from here on"});
    expect_error("{'model_type': 'llama'}", ": line 1, column 2", {"is not JSON"});
    expect_error("{\"a\": 1,}", ": line 1, column 9", {"is not JSON"});
    expect_error("{\"a\": 1} {\"b\": 2}", ": line 1, column 10", {"is not JSON from here on"});
    expect_error("{\"a\": 1} // the end", ": line 1, column 10", {"is not JSON"});
    expect_error("{\"a\": NaN}", ": line 1, column 7", {"NaN is no number"});
    expect_error("{\"a\": Infinity}", ": line 1, column 7", {"Infinity is no number"});
    expect_error("{\"a\": 0x1000}", ": line 1, column 8", {"is not JSON"});
    expect_error("{\"a\": 012}", ": line 1, column 9", {"is not JSON"});
    expect_error("{\"a\": \"x\ny\"}", ": line 1, column 9", {"is not JSON"});
    expect_error("{\"a\": 1e999}", ": line 1, column 11", {"1e999", "too large"});
    expect_error("{\"a\": \"\\ud800\"}", ": line 1, column 14", {"is not JSON"});
  }

  TEST_CASE("text that is cut off") {
    expect_error("{", ": line 1, column 2", {"ends in the middle of the object", "cut off?"});
    expect_error("{\"model_type\": \"lla", ": line 1, column 20", {"ends in the middle of"});
    expect_error("{\"model_type\": \"llama\", \"hidden_size\": 40", ": line 1, column 42",
                 {"ends in the middle of the object"});
    expect_error("{\"a\": {\"b\": [1, 2,", ": line 1, column 19", {"the list /a/b"});
  }

  TEST_CASE("text that is not UTF-8") {
    expect_error("\xEF\xBB\xBF{}", "", {"byte order mark"});
    expect_error(std::string_view("\xFF\xFE{\0}\0", 6), "", {"not UTF-8", "byte 0"});
    expect_error("{\"a\": \"\xE9t\xE9\"}", "", {"not UTF-8", "byte 7"});
    expect_error("{\"a\": \"\xC0\xAF\"}", "", {"not UTF-8"});
    expect_error("{\"a\": \"\xED\xA0\x80\"}", "", {"not UTF-8"});
    expect_error("{\"a\": \"\xF4\x90\x80\x80\"}", "", {"not UTF-8"});
    expect_error(std::string_view("PK\x03\x04\x14\0\0\0\x08\0\xFF", 11), "", {"not UTF-8"});
    expect_error(std::string_view("{\"a\"\0: 1}", 9), ": line 1, column 5", {"is not JSON"});
  }

  TEST_CASE("a document of the wrong shape") {
    expect_error("[]", "", {"must be an object, not a list"});
    expect_error("null", "", {"must be an object, not null"});
    expect_error("4096", "", {"must be an object, not 4096"});
    expect_error("\"llama\"", "", {"must be an object, not \"llama\""});
    expect_error("{}", ": /model_type", {"is absent"});
    expect_error("{\"modeltype\": \"llama\"}", ": /model_type", {"'modeltype' a slip"});
  }

  TEST_CASE("nesting and keys given twice") {
    expect_error(std::string(100'000, '['), "", {"deeper than 64"});
    expect_error("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}", "",
                 {"deeper than 64"});
    std::string objects;
    for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
    expect_error(objects, "", {"deeper than 64"});
    expect_error("{\"hidden_size\": 1, \"hidden_size\": 1}", ": /hidden_size", {"given twice"});
    expect_error("{\"a\": {\"b\": [0, {\"c\": 1, \"c\": 2}]}}", ": /a/b/1/c", {"given twice"});
    expect_error("{\"a/b~c\": 1, \"a/b~c\": 2}", ": /a~1b~0c", {"given twice"});
  }

  TEST_CASE("files of another kind") {
    expect_error("{\"peft_type\": \"LORA\", \"r\": 8}", "", {"PEFT adapter_config.json", "--peft"});
    expect_error("{\"zero_optimization\": {\"stage\": 3}}", "", {"DeepSpeed", "--deepspeed"});
    expect_error("{\"compute_environment\": \"LOCAL_MACHINE\"}", "", {"accelerate", "--fsdp"});
    expect_error("{\"metadata\": {}, \"weight_map\": {}}", "", {"index of weight", "--weights"});
    expect_error("{\"_class_name\": \"UNet2DConditionModel\"}", "", {"diffusers"});
    expect_error("{\"tokenizer_class\": \"LlamaTokenizer\"}", "", {"tokenizer_config.json"});
    expect_error("{\"_from_model_config\": true}", "", {"generation_config.json"});
    expect_error("{\"dim\": 4096, \"n_layers\": 32, \"norm_eps\": 1e-5}", "", {"params.json"});
    expect_error("{\"schema_version\": 1, \"request\": {}}", "",
                 {"report of memplan", "--request"});
  }

  TEST_CASE("an unknown architecture") {
    expect_error(llama_with("model_type", "\"lama\""), ": /model_type", {"'lama'", "mean 'llama'"});
    expect_error(llama_with("model_type", "\"\""), ": /model_type", {"is absent"});
    expect_error(llama_with("model_type", "\"resnet\""), ": /model_type", {"unknown", "'resnet'"});
    expect_error(llama_with("model_type", "\"a\\u001b[31mb\""), ": /model_type", {"a\\x1b[31mb"});
    expect_error(llama_with("model_type", "7"), ": /model_type", {"must be a text, not 7"});
    expect_error(llama_with("model_type", "[\"llama\"]"), ": /model_type", {"not a list"});
    expect_error("{\"model_type\": \"qwen3_5\", \"hidden_size\": 8}", ": /model_type",
                 {"unknown", "'qwen3_5'"});
    expect_error("{\"architectures\": [\"ResNetModel\"]}", ": /architectures", {"ResNetModel"});
  }

  TEST_CASE("classes that do not fit") {
    expect_bad_field("architectures", "[\"MistralForCausalLM\"]", {"does not belong", "'llama'"});
    expect_bad_field("architectures", "[\"LlamaForTokenClassification\"]",
                     {"'LlamaForTokenClassification' is not modelled"}, ErrorKind::not_modelled);
    expect_bad_field("architectures", "[\"LlamaForCausalML\"]", {"mean 'LlamaForCausalLM'"},
                     ErrorKind::not_modelled);
    expect_bad_field("architectures", "\"LlamaForCausalLM\"", {"must be a list"});
    expect_error(llama_with("architectures", "[1]"), ": /architectures/0", {"must be a text"});
    expect_error(R"({"model_type": "bert", "architectures": ["BertForMultipleChoice"]})",
                 ": /architectures", {"not modelled"}, ErrorKind::not_modelled);
  }

  TEST_CASE("values that are no counts") {
    expect_bad_field("hidden_size", "null", {"is null", "whole number"});
    expect_bad_field("hidden_size", "0", {"must be at least 1, not 0"});
    expect_bad_field("hidden_size", "-4096", {"must be at least 1, not -4096"});
    expect_bad_field("hidden_size", "4096.0", {"whole number, not 4096.0", "write 4096"});
    expect_bad_field("hidden_size", "4096.5", {"whole number, not 4096.5"});
    expect_bad_field("hidden_size", "4.096e3", {"write 4096"});
    expect_bad_field("hidden_size", "\"4096\"", {"whole number, not \"4096\""});
    expect_bad_field("hidden_size", "true", {"whole number, not true"});
    expect_bad_field("hidden_size", "[4096]", {"whole number, not a list"});
    expect_bad_field("hidden_size", "{}", {"whole number, not an object"});
    expect_bad_field("hidden_size", "1e30", {"too large", "1,099,511,627,776"});
    expect_bad_field("hidden_size", "1000000000000000000000000000000", {"too large"});
    expect_bad_field("hidden_size", "-1000000000000000000000000000000", {"whole number"});
    expect_bad_field("hidden_size", "9223372036854775808", {"too large"});
    expect_bad_field("hidden_size", "18446744073709551615", {"too large"});
    expect_bad_field("hidden_size", "-9223372036854775808", {"at least 1"});
    expect_bad_field("hidden_size", "1099511627777", {"too large"});
    expect_bad_field("num_hidden_layers", "0", {"at least 1"});
    expect_bad_field("num_hidden_layers", "1000000000", {"too large", "16,384"});
    expect_bad_field("num_attention_heads", "false", {"not false"});
    expect_bad_field("num_key_value_heads", "\"8\"", {"not \"8\""});
    expect_bad_field("vocab_size", "-1", {"at least 1"});
    expect_bad_field("intermediate_size", "1e4", {"write 10000"});
    expect_bad_field("head_dim", "0", {"at least 1"});
    expect_bad_field("max_position_embeddings", "2048.5", {"whole number"});
  }

  TEST_CASE("values that are no flags, probabilities or names") {
    expect_bad_field("tie_word_embeddings", "1", {"true or false, not 1"});
    expect_bad_field("tie_word_embeddings", "\"true\"", {"true or false"});
    expect_bad_field("attention_bias", "null", {"true or false, not null"});
    expect_bad_field("attention_dropout", "1.5", {"from 0 to 1, not 1.5"});
    expect_bad_field("attention_dropout", "-0.1", {"from 0 to 1"});
    expect_bad_field("attention_dropout", "\"0.1\"", {"must be a number"});
    expect_bad_field("attention_dropout", "null", {"must be a number, not null"});
    expect_bad_field("hidden_act", "\"sillu\"", {"unknown activation", "mean 'silu'"});
    expect_bad_field("hidden_act", "3", {"must be a text"});
  }

  TEST_CASE("fields that contradict each other") {
    expect_bad_field("hidden_size", "4097",
                     {"hidden_size 4097 is not a multiple of num_attention_heads 32"});
    expect_bad_field("num_attention_heads", "8",
                     {"num_attention_heads 8 is not a multiple of num_key_value_heads 32"});
    expect_error(R"({"model_type": "qwen2", "hidden_size": 896, "num_attention_heads": 14})",
                 ": /num_attention_heads", {"num_key_value_heads 32 (the default of qwen2)"});
    expect_error(R"({"model_type": "gpt2", "n_embd": 768, "hidden_size": 1024})", ": /hidden_size",
                 {"contradicts 'n_embd'"});
    expect_error(R"({"model_type": "bloom", "n_embed": 1024, "hidden_size": 64})", ": /n_embed",
                 {"contradicts 'hidden_size'"});
    expect_error(R"({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3})",
                 ": /num_experts_per_tok", {"3 is more than num_local_experts 2"});
    expect_error(R"({"model_type": "gemma2", "num_hidden_layers": 3,
                     "layer_types": ["full_attention"]})",
                 ": /layer_types", {"1 entries for num_hidden_layers 3"});
    expect_error(R"({"model_type": "qwen2", "num_hidden_layers": 1,
                     "layer_types": ["sliding_attention"]})",
                 ": /layer_types", {"no sliding window is set", "use_sliding_window"});
    expect_error(R"({"model_type": "gpt2", "n_embd": 770})", ": /n_embd",
                 {"n_embd 770 is not a multiple of n_head 12 (the default of gpt2)"});
    expect_error(R"({"model_type": "deepseek_v2"})", ": /num_experts_per_tok", {"has no default"});
  }

  TEST_CASE("parts that memplan does not have") {
    expect_error(R"({"model_type": "gemma2", "num_hidden_layers": 1,
                     "layer_types": ["linear_attention"]})",
                 ": /layer_types/0", {"'linear_attention' are not modelled"},
                 ErrorKind::not_modelled);
    expect_error(R"({"model_type": "gemma2", "num_hidden_layers": 1,
                     "layer_types": ["full_atention"]})",
                 ": /layer_types/0", {"mean 'full_attention'"});
  }

  TEST_CASE("misspelled keys") {
    expect_error(R"({"model_type": "llama", "hiden_size": 2048})", ": /hiden_size",
                 {"mean 'hidden_size'"});
    expect_error(R"({"model_type": "llama", "num_hidden_layer": 2})", ": /num_hidden_layer",
                 {"mean 'num_hidden_layers'"});
    expect_error(R"({"model_type": "gpt2", "n_layers": 2})", ": /n_layers", {"mean 'n_layer'"});
    expect_error(R"({"model_type": "gpt2", "tie_word_embedding": false})", ": /tie_word_embedding",
                 {"mean 'tie_word_embeddings'"});
  }

  TEST_CASE("multimodal configs") {
    expect_error(R"({"model_type": "llava", "text_config": {"hidden_size": "big"}})",
                 ": /text_config/hidden_size", {"whole number"});
    expect_error(R"({"model_type": "llava", "text_config": []})", ": /text_config",
                 {"must be an object"});
    expect_error(R"({"model_type": "x", "text_config": {"model_type": "clip_text_model"}})",
                 ": /text_config/model_type", {"unknown model_type 'clip_text_model'"});
    expect_error(R"({"model_type": "qwen2_vl", "hidden_size": 1536})", ": /vocab_size",
                 {"is absent", "no default"});
    expect_error(R"({"model_type": "llava", "vision_config": {"hidden_size": 8}, "text_config":
                     {"model_type": "llama", "num_attention_heads": 3}})",
                 ": /text_config/hidden_size", {"not a multiple"});
  }

  TEST_CASE("special fields of families") {
    expect_error(R"({"model_type": "t5", "feed_forward_proj": "gated-gelo"})",
                 ": /feed_forward_proj", {"unknown activation 'gelo'", "mean 'gelu'"});
    expect_error(R"({"model_type": "deberta-v2", "pos_att_type": ["c2c"]})", ": /pos_att_type",
                 {"'c2c'", "valid: c2p, p2c"});
    expect_error(R"({"model_type": "deberta-v2", "position_buckets": -2})", ": /position_buckets",
                 {"at least -1"});
    expect_error(R"({"model_type": "deberta-v2", "embedding_size": 0})", ": /embedding_size",
                 {"at least 1"});
    expect_error(R"({"model_type": "deberta-v2", "conv_kernel_size": 3, "conv_groups": 7})",
                 ": /hidden_size", {"not a multiple of conv_groups 7"});
    expect_error(R"({"model_type": "opt", "word_embed_proj_dim": 0})", ": /word_embed_proj_dim",
                 {"at least 1"});
    expect_error(R"({"model_type": "t5", "relative_attention_num_buckets": 0})",
                 ": /relative_attention_num_buckets", {"at least 1"});
    expect_error(R"({"model_type": "gemma", "num_key_value_heads": null})",
                 ": /num_key_value_heads", {"is null"});
    expect_error(R"({"model_type": "qwen3", "head_dim": null})", ": /head_dim", {"is null"});
    expect_error(R"({"model_type": "qwen2_moe", "mlp_only_layers": [1.5]})", ": /mlp_only_layers/0",
                 {"whole number"});
    expect_error(R"({"model_type": "qwen2_moe", "decoder_sparse_step": 0})",
                 ": /decoder_sparse_step", {"at least 1"});
    expect_error(R"({"model_type": "deepseek_v3", "kv_lora_rank": 0})", ": /kv_lora_rank",
                 {"at least 1"});
    expect_error(R"({"model_type": "gemma3_text", "sliding_window_pattern": 0})",
                 ": /sliding_window_pattern", {"at least 1"});
    expect_error(R"({"model_type": "bert", "num_labels": 0})", ": /num_labels", {"at least 1"});
    expect_error(R"({"model_type": "bert", "id2label": {}})", ": /id2label", {"names no label"});
    expect_error(R"({"model_type": "bert", "type_vocab_size": -1})", ": /type_vocab_size",
                 {"at least 0"});
  }
}

TEST_SUITE("input/bad files") {
  TEST_CASE("a long file of small values ends in one error") {
    std::string text = "[";
    while (text.size() < 200'000) text += "0,";
    CHECK_THROWS_WITH_AS(read_hf_config(text, "x"), doctest::Contains("ends in the middle"), Error);
    std::string keys = "{\"model_type\": \"llama\"";
    for (int i = 0; i < 20'000; ++i) keys += ", \"k" + std::to_string(i) + "\": 1";
    CHECK(read_hf_config(keys + "}", "x").hidden == 4096);  // unknown keys are ignored
  }
}
