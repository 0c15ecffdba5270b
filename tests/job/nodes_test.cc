#include <doctest/doctest.h>

#include <set>
#include <string>

#include "memplan/cluster.h"

namespace memplan {
namespace {

TEST_SUITE("nodes") {
  TEST_CASE("every node has a name of its own, a source and a GPU of the table") {
    std::set<std::string> names;
    for (const NodeSpec& node : node_presets()) {
      CAPTURE(node.name);
      CHECK(names.insert(node.name).second);
      CHECK_FALSE(node.source.empty());
      CHECK(node.gpus > 1);
      CHECK(find_gpu(node.gpu).name == node.gpu);
    }
  }

  TEST_CASE("network: 8 NICs of 400 Gb/s are 400 GB/s") {
    CHECK(find_node("dgx-h100").network_bandwidth == 400e9);
    CHECK(find_node("dgx-1-v100").network_bandwidth == 50e9);
    CHECK(find_node("p4d.24xlarge").network_bandwidth == 50e9);
    CHECK(find_node("hgx-h20").network_bandwidth == 0);
  }

  TEST_CASE("a rack is its trays") {
    const NodeSpec& rack = find_node("gb200-nvl72");
    const NodeSpec& tray = find_node("gb200-tray");
    CHECK(rack.gpus == 18 * tray.gpus);
    CHECK(rack.network_bandwidth == 18 * tray.network_bandwidth);
    CHECK(rack.host_memory == 18 * tray.host_memory);
  }
}

}  // namespace
}  // namespace memplan
