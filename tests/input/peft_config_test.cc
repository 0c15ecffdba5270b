#include "input/peft_config.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "memplan/error.h"
#include "temporary_folder.h"

using namespace memplan;

namespace {

PeftSpec read(std::string_view text) { return parse_peft_config(text, "adapter_config.json"); }

void expect_error(std::string_view text, std::string_view fragment,
                  ErrorKind kind = ErrorKind::bad_input) {
  CAPTURE(text);
  try {
    read(text);
    FAIL_CHECK("was accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    CHECK_MESSAGE(std::string(error.what()).find(fragment) != std::string::npos, error.what());
  }
}

void expect_option_error(std::string_view text, std::string_view fragment) {
  CAPTURE(text);
  CHECK_THROWS_WITH_AS(parse_peft(text), doctest::Contains(std::string(fragment).c_str()), Error);
}

}  // namespace

TEST_SUITE("input/peft_config") {
  TEST_CASE("a LoRA config as peft saves it") {
    const PeftSpec p =
        read(R"({"peft_type": "LORA", "r": 16, "lora_alpha": 32, "lora_dropout": 0.05,
        "target_modules": ["v_proj", "q_proj"], "bias": "none", "use_dora": false,
        "layers_to_transform": null, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {},
        "modules_to_save": ["lm_head"], "task_type": "CAUSAL_LM", "loftq_config": {}})");
    CHECK(p.kind == PeftKind::lora);
    CHECK(p.rank == 16);
    CHECK(p.alpha == 32);
    CHECK(p.dropout == 0.05);
    CHECK(p.targets == std::vector<std::string>{"v_proj", "q_proj"});
    REQUIRE(p.rank_pattern.size() == 1);
    CHECK(p.rank_pattern[0].first == "q_proj");
    CHECK(p.rank_pattern[0].second == 4);
    CHECK(p.modules_to_save == std::vector<std::string>{"lm_head"});
    CHECK_FALSE(p.merged);
  }

  TEST_CASE("absent fields take LoraConfig's defaults") {
    const PeftSpec p = read(R"({"peft_type": "LORA"})");
    CHECK(p.rank == 8);
    CHECK(p.alpha == 8);
    CHECK(p.dropout == 0);
    CHECK(p.targets.empty());
  }

  TEST_CASE("targets as one text") {
    CHECK(read(R"({"peft_type": "LORA", "target_modules": "All-Linear"})").targets ==
          std::vector<std::string>{"all-linear"});
    CHECK(read(R"({"peft_type": "LORA", "target_modules": ".*\\.(q|v)_proj"})").targets ==
          std::vector<std::string>{".*\\.(q|v)_proj"});
    expect_error(R"({"peft_type": "LORA", "target_modules": "q_proj"})",
                 "write a list: [\"q_proj\"]");
    expect_error(R"({"peft_type": "LORA", "target_modules": "(q_proj"})", "regular expression");
    expect_error(R"({"peft_type": "LORA", "target_modules": []})",
                 "/target_modules: names no module");
    expect_error(R"({"peft_type": "LORA", "target_modules": ["q.*"]})", "/target_modules/0");
    expect_error(R"({"peft_type": "LORA", "target_modules": [1]})",
                 "/target_modules/0: must be a text");
    expect_error(R"({"peft_type": "LORA", "target_modules": 5})",
                 "/target_modules: must be a list");
  }

  TEST_CASE("what memplan does not have is refused by name") {
    expect_error(R"({"peft_type": "XLORA"})", "XLORA is not modelled", ErrorKind::not_modelled);
    expect_error(R"({"peft_type": "WAVEFT", "wavelet_family": "db2"})", "/wavelet_family",
                 ErrorKind::not_modelled);
    expect_error(R"({"peft_type": "LORA", "target_parameters": ["experts.gate_up_proj"]})",
                 "/target_parameters: LORA's target_parameters is not modelled",
                 ErrorKind::not_modelled);
    expect_error(R"({"peft_type": "LORA", "brand_new": 5})", "/brand_new", ErrorKind::not_modelled);
    expect_error(R"({"peft_type": "VERA", "vera_droput": 0.1})", "did you mean 'vera_dropout'?");
    expect_error(R"({"peft_type": "LORA", "rank_pattern": {"^a.*b": 4}})", "/rank_pattern",
                 ErrorKind::not_modelled);
  }

  TEST_CASE("bad configs") {
    expect_error("{}", "/peft_type: is absent");
    expect_error(R"({"peft_type": "LORRA"})", "did you mean 'LORA'?");
    expect_error(R"({"peft_type": null})", "/peft_type: must be a text");
    expect_error(R"({"model_type": "llama"})", "give it as MODEL");
    expect_error(R"({"peft_type": "LORA", "r": 0})", "/r: must be at least 1");
    expect_error(R"({"peft_type": "LORA", "r": 8.0})", "/r: must be a whole number");
    expect_error(R"({"peft_type": "LORA", "r": true})", "/r: must be a whole number");
    expect_error(R"({"peft_type": "LORA", "r": 1e30})", "/r: 1e+30 is too large");
    expect_error(R"({"peft_type": "LORA", "lora_dropout": 2})", "/lora_dropout");
    expect_error(R"({"peft_type": "LORA", "lora_alpha": "16"})", "/lora_alpha: must be a number");
    expect_error(R"({"peft_type": "LORA", "bias": "some"})", "/bias: unknown name 'some'");
    expect_error(R"({"peft_type": "LORA", "rank_pattern": {"q": 0}})", "/rank_pattern/q");
    expect_error(R"({"peft_type": "LORA", "modules_to_save": [""]})", "/modules_to_save/0");
  }

  TEST_CASE("a folder that holds one") {
    const TemporaryFolder folder;
    const std::string file =
        folder.write("adapter_config.json", R"({"peft_type": "LORA", "r": 3})");
    CHECK(read_peft_config(file).rank == 3);
    CHECK(read_peft_config(folder.path("")).rank == 3);
    CHECK(parse_peft(file).rank == 3);
    CHECK_THROWS_WITH_AS(read_peft_config(folder.path("x")), doctest::Contains("no such file"),
                         Error);
  }
}

TEST_SUITE("input/peft_option") {
  TEST_CASE("lora") {
    const PeftSpec p = parse_peft(
        "lora:r=4,alpha=8.5,dropout=0.1,targets=q_proj+v_proj,rank.q_proj=2,save=lm_head,merged");
    CHECK(p.kind == PeftKind::lora);
    CHECK(p.rank == 4);
    CHECK(p.alpha == 8.5);
    CHECK(p.dropout == 0.1);
    CHECK(p.targets == std::vector<std::string>{"q_proj", "v_proj"});
    REQUIRE(p.rank_pattern.size() == 1);
    CHECK(p.rank_pattern[0] == std::pair<std::string, int64_t>{"q_proj", 2});
    CHECK(p.modules_to_save == std::vector<std::string>{"lm_head"});
    CHECK(p.merged);
    CHECK(parse_peft("lora").rank == 8);
    CHECK(parse_peft("lora:targets=all-linear").targets == std::vector<std::string>{"all-linear"});
  }

  TEST_CASE("adapters") {
    CHECK(parse_peft("none").kind == PeftKind::none);
    CHECK(parse_peft("houlsby:m=8").bottleneck == 8);
    CHECK(parse_peft("pfeiffer").kind == PeftKind::pfeiffer);
    CHECK(parse_peft("lin:m=16").kind == PeftKind::lin);
    CHECK(parse_peft("adapter_drop").kind == PeftKind::adapter_drop);
    const PeftSpec p = parse_peft("adapter-drop:m=64,drop=5");
    CHECK(p.bottleneck == 64);
    CHECK(p.dropped_layers == 5);
  }

  TEST_CASE("bad options") {
    expect_option_error("", "--peft");
    expect_option_error("loro", "did you mean 'lora'?");
    expect_option_error("houlsbi:m=8", "did you mean 'houlsby'?");
    expect_option_error("lora:", "a setting is empty");
    expect_option_error("lora:r=4,,alpha=1", "a setting is empty");
    expect_option_error("lora:rr=4", "no setting 'rr'");
    expect_option_error("lora:alhpa=4", "did you mean 'alpha'?");
    expect_option_error("lora:m=4", "'lora' has no setting 'm'");
    expect_option_error("houlsby:m=8,drop=1", "'houlsby' has no setting 'drop'");
    expect_option_error("none:m=1", "no setting 'm'");
    expect_option_error("lora:r=0", "from 1 to");
    expect_option_error("lora:r", "'r' must be a whole number");
    expect_option_error("lora:r=8.0", "'r' must be a whole number");
    expect_option_error("lora:r=99999999999999999999", "'r' must be a whole number");
    expect_option_error("lora:r=4,r=5", "'r' is given twice");
    expect_option_error("lora:dropout=1.5", "from 0 to 1");
    expect_option_error("lora:alpha=nan", "must be a number");
    expect_option_error("lora:targets=", "the name is empty");
    expect_option_error("lora:targets=q_proj+", "the name is empty");
    expect_option_error("lora:targets=q.*", "no ending of a module's name");
    expect_option_error("lora:rank.=4", "the name is empty");
    expect_option_error("lora:merged=1", "takes no value");
  }

  TEST_CASE("other methods") {
    PeftSpec p = parse_peft("vera:r=16,targets=q_proj,layers=0+2,exclude=lm_head,bias=all");
    CHECK(p.kind == PeftKind::vera);
    CHECK(p.rank == 16);
    CHECK(p.layers == std::vector<int64_t>{0, 2});
    CHECK(p.excluded == std::vector<std::string>{"lm_head"});
    CHECK(p.bias == PeftBias::all);
    CHECK(parse_peft("vera").rank == 256);
    CHECK(parse_peft("lora:use_dora").number(PeftNumber::dora) == 1);
    CHECK(parse_peft("road:variant=road_4").number(PeftNumber::variant) == 2);
    CHECK(parse_peft("prefix-tuning:num_virtual_tokens=7").number(PeftNumber::tokens) == 7);
    CHECK(parse_peft("ia3:targets=k_proj+down_proj,feedforward=down_proj").feedforward ==
          std::vector<std::string>{"down_proj"});
    expect_option_error("vera:u=3", "'vera' has no setting 'u'");
    expect_option_error("road:variant=road_3", "one of road_1|road_2|road_4");
    expect_option_error("prefix-tuning:targets=q_proj", "no setting 'targets'");
  }

  TEST_CASE("targets that peft chooses") {
    const auto chosen = [](std::string_view option, std::string_view family) {
      PeftSpec p = parse_peft(option);
      fill_default_targets(p, family);
      return p;
    };
    CHECK(chosen("lora", "llama").targets == std::vector<std::string>{"q_proj", "v_proj"});
    CHECK(chosen("lora", "phi").targets.size() == 4);
    CHECK(chosen("vera", "phi").targets.size() == 2);
    CHECK(chosen("ia3", "bert").feedforward == std::vector<std::string>{"output.dense"});
    CHECK_THROWS_WITH_AS(chosen("lora", "phi3"), doctest::Contains("name them"), Error);
  }
}
