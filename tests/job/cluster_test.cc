#include "memplan/cluster.h"

#include <doctest/doctest.h>

#include <string>

#include "memplan/error.h"

namespace memplan {
namespace {

template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::bad_input);
    return error.what();
  }
  return "no error";
}

std::string gpu_error(std::string_view name) {
  return message_of([&] { (void)find_gpu(name); });
}
std::string cluster_error(std::string_view text) {
  return message_of([&] { (void)parse_cluster(text); });
}
bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_SUITE("cluster") {
  TEST_CASE("every preset is found by its name and by its description") {
    for (const GpuSpec& gpu : gpu_presets()) {
      CHECK(find_gpu(gpu.name).name == gpu.name);
      CHECK(find_gpu(gpu.description).name == gpu.name);
    }
    for (const NodeSpec& node : node_presets()) CHECK(find_node(node.name).name == node.name);
  }

  TEST_CASE("usual spellings") {
    CHECK(find_gpu("H100").name == "h100-80g");
    CHECK(find_gpu("h100_sxm").name == "h100-80g");
    CHECK(find_gpu("H100 80 GB").name == "h100-80g");
    CHECK(find_gpu("H100 PCIe").name == "h100-80g-pcie");
    CHECK(find_gpu("H100 NVL").name == "h100-nvl");
    CHECK(find_gpu("a100-80gb").name == "a100-80g");
    CHECK(find_gpu("A100 40GB").name == "a100-40g");
    CHECK(find_gpu("4090").name == "rtx-4090");
    CHECK(find_gpu("RTX4090").name == "rtx-4090");
    CHECK(find_gpu("A6000").name == "rtx-a6000");
    CHECK(find_gpu("V100-32GB").name == "v100-32g");
  }

  TEST_CASE("nvidia-smi's own names") {
    CHECK(find_gpu("NVIDIA H100 80GB HBM3").name == "h100-80g");
    CHECK(find_gpu("NVIDIA H100 PCIe").name == "h100-80g-pcie");
    CHECK(find_gpu("NVIDIA A100-SXM4-80GB").name == "a100-80g");
    CHECK(find_gpu("NVIDIA A100 80GB PCIe").name == "a100-80g-pcie");
    CHECK(find_gpu("NVIDIA A100-PCIE-40GB").name == "a100-40g-pcie");
    CHECK(find_gpu("Tesla V100-SXM2-16GB").name == "v100-16g");
    CHECK(find_gpu("NVIDIA GeForce RTX 3090").name == "rtx-3090");
    CHECK(find_gpu("NVIDIA RTX 6000 Ada Generation").name == "rtx-6000-ada");
    CHECK(find_gpu("NVIDIA GH200 480GB").name == "gh200");
    CHECK(find_gpu("NVIDIA B300 SXM6 AC").name == "b300");
  }

  TEST_CASE("a word that names several cards is not guessed") {
    CHECK(gpu_error("a100") ==
          "--gpu: 'a100' names more than one GPU; choose one of a100-40g, a100-80g");
    CHECK(contains(gpu_error("V100"), "v100-16g, v100-32g"));
  }

  TEST_CASE("other cards of the same family are not taken for a preset") {
    for (const char* name : {"H100 96GB", "NVIDIA GH200 144G HBM3e", "V100 PCIe", "H200 NVL",
                             "Quadro RTX 6000", "RTX 4090 Laptop GPU", "80GB", "SXM4", "", "--"})
      CHECK(contains(gpu_error(name), "unknown GPU"));
  }

  TEST_CASE("an unknown GPU: the nearest name and the way out") {
    const std::string text = gpu_error("h10-80g");
    CHECK(contains(text, "--gpu: unknown GPU 'h10-80g'; did you mean 'h100-80g'?"));
    CHECK(contains(text, "--gpu-memory 24GiB"));
  }

  TEST_CASE("an unknown node") {
    const std::string text = message_of([] { (void)find_node("dgx-h10", "job.json: /cluster"); });
    CHECK(contains(text, "job.json: /cluster: unknown node 'dgx-h10'; did you mean 'dgx-h100'?"));
  }

  TEST_CASE("a GPU of which only the memory is known") {
    const GpuSpec gpu = custom_gpu(24 * kGiB);
    CHECK(gpu.memory == 24 * kGiB);
    CHECK(gpu.flops_bf16 == 0);
    CHECK(contains(message_of([] { (void)custom_gpu(Bytes(0)); }), "--gpu-memory: "));
    CHECK(contains(message_of([] { (void)custom_gpu(Bytes(-1)); }), "--gpu-memory: "));
  }

  TEST_CASE("clusters of nodes") {
    const Cluster cluster = parse_cluster("8xdgx-h100");
    CHECK(cluster.gpu.name == "h100-80g");
    CHECK(cluster.gpus == 64);
    CHECK(cluster.gpus_per_node == 8);
    CHECK(cluster.network_bandwidth == 400e9);
    CHECK(cluster.host_memory == 2048 * kGiB);
    CHECK(parse_cluster("DGX_H100").gpus == 8);
    CHECK(parse_cluster("2Xp5.48xlarge").gpus == 16);
    CHECK(parse_cluster("gb200-nvl72").gpus_per_node == 72);
    CHECK_FALSE(parse_cluster("4xhgx-h20").host_memory.has_value());
  }

  TEST_CASE("clusters of GPUs: the network is unknown") {
    const Cluster cluster = parse_cluster("64xh100-80g");
    CHECK(cluster.gpus == 64);
    CHECK(cluster.gpus_per_node == 8);
    CHECK(cluster.network_bandwidth == 0);
    CHECK_FALSE(cluster.host_memory.has_value());
    CHECK(parse_cluster("12x4090").gpus_per_node == 8);
    CHECK(parse_cluster("4090").gpus == 1);
  }

  TEST_CASE("bad clusters") {
    CHECK(contains(cluster_error("8xdgx-h10"), "did you mean 'dgx-h100'?"));
    CHECK(contains(cluster_error("0xdgx-h100"), "not 0"));
    CHECK(contains(cluster_error("99999999999999999999xdgx-h100"), "not 99999999999999999999"));
    CHECK(contains(cluster_error("8xa100"), "choose one of a100-40g, a100-80g"));
    for (const char* text : {"", "8x", "x", "8", "-1xdgx-h100", "8xx", "8 dgx-h100"})
      CHECK(contains(cluster_error(text), "neither a node nor a GPU"));
    CHECK_THROWS_AS((void)parse_cluster("9223372036854775807xdgx-h100"), Error);
  }
}

}  // namespace
}  // namespace memplan
