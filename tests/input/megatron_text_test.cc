#include "input/megatron_text.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "memplan/error.h"

using namespace memplan;

namespace {

MegatronLaunch read(std::string_view text) { return parse_megatron_text(text, "f"); }

std::string words(const MegatronLaunch& launch) {
  std::string out;
  for (const MegatronWord& word : launch.words) out += (out.empty() ? "" : "·") + word.text;
  return out;
}
std::string words(std::string_view text) { return words(read(text)); }

// The words of a script whose launch line ends in these.
std::string launched(const std::string& before, const std::string& arguments) {
  return words(before + "\npython pretrain_gpt.py " + arguments + "\n");
}
std::string why(const std::string& before, const std::string& argument) {
  const std::string text = before + "\npython pretrain_gpt.py " + argument + "\n";
  const MegatronLaunch launch = read(text);
  return launch.words.empty() ? "no word" : launch.words.back().unknown;
}

}  // namespace

TEST_SUITE("input/megatron text") {
  TEST_CASE("a file of arguments") {
    CHECK(words("--a 1\n# a comment\n  --b  'x y' # another\n--c=\"1\"\n") ==
          "--a·1·--b·x y·--c=1");
    CHECK(words("--a \\\n  2\n") == "--a·2");
    CHECK(words("--moe-layer-freq ([0]*3+[1]*2)\n") == "--moe-layer-freq·([0]*3+[1]*2)");
    CHECK(words("--layout Et|(tt|)*2L;x") == "--layout·Et|(tt|)*2L;x");
    CHECK(read("--a\n\n--b").words[1].where == "f:3");
  }

  TEST_CASE("a launch line with continued lines") {
    const MegatronLaunch launch = read(
        "#!/bin/bash\nset -e\ntorchrun --nproc_per_node 8 --nnodes=2 \\\n  pretrain_gpt.py \\\n"
        "  --bf16 \\\n  --num-layers 4 2>&1 | tee log\n");
    CHECK(words(launch) == "--bf16·--num-layers·4");
    CHECK(launch.script == "pretrain_gpt.py");
    CHECK(launch.gpus == 16);
    CHECK(launch.gpus_per_node == 8);
    CHECK(launch.words[1].where == "f:6");
  }

  TEST_CASE("launchers") {
    CHECK(read("python -m torch.distributed.run --nproc-per-node 4 x/pretrain_gpt.py").gpus == 4);
    CHECK(read("srun -N 2 --ntasks-per-node=8 python -u pretrain_gpt.py").gpus == 16);
    CHECK(read("srun -n 12 python pretrain_gpt.py").gpus == 12);
    CHECK(read("deepspeed --num_gpus 8 --num_nodes 3 pretrain_gpt.py").gpus == 24);
    // srun starts one torchrun a node.
    CHECK(read("srun --ntasks-per-node=1 torchrun --nnodes 2 --nproc-per-node 8 pretrain_gpt.py")
              .gpus == 16);
    CHECK(read("srun -N 2 --ntasks-per-node=4 bash -c 'python pretrain_gpt.py --a'").gpus == 8);
    CHECK_FALSE(read("torchrun --nproc-per-node gpu pretrain_gpt.py").gpus);
    CHECK_FALSE(read("torchrun --nproc-per-node 8 --nnodes $N pretrain_gpt.py").gpus);
    CHECK_FALSE(read("python pretrain_gpt.py").gpus);
  }

  TEST_CASE("variables") {
    CHECK(launched("TP=2\nX=\"${TP}\"", "--tp $X") == "--tp·2");
    CHECK(launched("ARGS=\"--a 1\n --b 2\"", "$ARGS --c") == "--a·1·--b·2·--c");
    CHECK(launched("ARGS='--a 1'", "\"$ARGS\"") == "--a 1");
    CHECK(launched("A=(--a 1\n # comment\n --b \"x y\")\nA+=(--c)", "${A[@]}") ==
          "--a·1·--b·x·y·--c");
    CHECK(launched("A=(--a 1 --b \"x y\")", "\"${A[@]}\"") == "--a·1·--b·x y");
    CHECK(launched("A='--a'\nA+=' 1'\nA=\"$A --b\"", "$A") == "--a·1·--b");
    CHECK(launched("", "--a ${X:-5} --b ${Y:-$((2 * 3))}") == "--a·5·--b·6");
    CHECK(launched("X=3", "--a ${X:-5} ${X:+--x}") == "--a·3·--x");
    CHECK(launched("X=${Y:-7}", "--a $X") == "--a·7");
    CHECK(launched("export H=64 L=2", "--a $((H*(L+1)-1)) --b $((H/L))") == "--a·191·--b·32");
    CHECK(launched("A=(1 2 3)", "--a ${A[1]} --n ${#A[@]}") == "--a·2·--n·3");
    CHECK(launched("X=", "--a $X") == "--a");
    CHECK(launched("", "--a \"$@\"") == "--a");
    CHECK(launched("CMD=x", "--a '$CMD' \"\\$CMD\" \\$X") == "--a·$CMD·$CMD·$X");
  }

  TEST_CASE("a line that an array begun keeps its place") {
    const MegatronLaunch launch =
        read("A=(\n  --a 1\n  --b 2\n)\ntorchrun pretrain_gpt.py ${A[@]}\n");
    CHECK(launch.words.back().where == "f:3");
  }

  TEST_CASE("what a script does not say is not known") {
    CHECK(why("", "--a $SIZE") == "$SIZE is not set in this script");
    CHECK(why("", "--a ${1}") == "$1 is given when the script is called");
    CHECK(why("X=$(nproc)", "--a $X").find("prints is not known") != std::string::npos);
    CHECK(why("X=`date`", "--a $X").find("prints is not known") != std::string::npos);
    CHECK(why("X=abc", "--a ${X%c}") == "the expansion ${X%c} is not evaluated");
    CHECK(why("X=$((Y * 2))", "--a $X") == "the value of $((Y * 2)) is not known");
    CHECK(why("X=1\nif [ $Y = 2 ]; then\n  X=2\nfi", "--a $X") ==
          "$X is set under a condition or in a function (line 3)");
    CHECK(why("for i in 1 2; do\n  :\ndone", "--a $i") ==
          "$i is set under a condition or in a function (line 1)");
    CHECK(why("A=(--a 1)\nif true; then A+=(--b); fi", "${A[@]}").find("condition") !=
          std::string::npos);
    CHECK(why("unset X", "--a 1").empty());
  }

  TEST_CASE("a launch line inside a block sees the block's variables") {
    CHECK(words("run() {\n  TP=2\n  torchrun pretrain_gpt.py --tp $TP\n}\nrun\n") == "--tp·2");
    CHECK(words("if [[ a < b && -n $c ]]; then\n X=1\n torchrun pretrain_gpt.py --a $X\nfi\n") ==
          "--a·1");
    CHECK(words("case $m in\n 8b) echo x;;\n *) exit 1 ;;\nesac\npython pretrain_gpt.py --a 1") ==
          "--a·1");
  }

  TEST_CASE("other ways to start it") {
    CHECK(words("options=\"--a 1\"\ncmd=\"python -u x/pretrain_gpt.py ${options}\"\n"
                "srun -N 1 bash -c \"${cmd}\"\n") == "--a·1");
    CHECK(words("CMD=\"torchrun pretrain_gpt.py --a 1\"\necho $CMD\neval $CMD\n") == "--a·1");
    CHECK(words("cat <<EOF > x\npython pretrain_gpt.py --b\nEOF\npython pretrain_gpt.py --a") ==
          "--a");
  }

  TEST_CASE("variables of the environment") {
    const MegatronLaunch launch = read(
        "export CUBLAS_WORKSPACE_CONFIG=:4096:8\nexport A=1\nB=2\n"
        "NVTE_FLASH_ATTN=0 env C=3 torchrun pretrain_gpt.py --a\n");
    std::string seen;
    for (const auto& [name, value] : launch.environment) seen += name + "=" + value.text + " ";
    CHECK(seen == "A=1 CUBLAS_WORKSPACE_CONFIG=:4096:8 NVTE_FLASH_ATTN=0 C=3 ");
  }

  TEST_CASE("JSON") {
    const MegatronLaunch launch = read(
        R"json({"ENV_VARS": {"X": 1}, "MODEL_ARGS": {"--a": 12, "--b": true, "--c": false,
            "--d": 0.5, "--e": "[x y]", "--f": ["p q", 3], "--g": null, "--h": "1e-2",
            "--i": "Et*3\\|\\(tt\\|\\)*6L", "--j": "([0]*3+[1]*2)"}, "TEST_TYPE": "regular"})json");
    CHECK(words(launch) ==
          "--a·12·--b·--d·0.5·--e·x·y·--f·p·q·3·--h·1e-2·--i·Et*3|(tt|)*6L·--j·([0]*3+[1]*2)");
    CHECK(launch.words[1].where == "f: /MODEL_ARGS/--a");
    CHECK(launch.environment.at(0).name == "X");
    CHECK(words(R"({"--a": 2.0})") == "--a·2.0");
  }

  TEST_CASE("words behind --") {
    const MegatronLaunch launch = megatron_launch({"--a", "1"});
    CHECK(words(launch) == "--a·1");
    CHECK(launch.words[0].where == "behind --");
  }
}
