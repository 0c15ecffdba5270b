#include "report/records.h"

#include <doctest/doctest.h>

namespace memplan {
namespace {

const std::vector<Record> kTwo = {
    {{"name", std::string("a")},
     {"parameters", int64_t{8'030'261'248}, Unit::parameters},
     {"memory", (kGiB * 80).count(), Unit::bytes},
     {"network", 4e11, Unit::rate},
     {"source", std::string("a page"), Unit::none, false}},
    {{"name", std::string("b")},
     {"parameters", std::monostate()},
     {"memory", (kGiB * 8).count(), Unit::bytes},
     {"network", 0.0, Unit::rate},
     {"source", std::string("a book"), Unit::none, false}},
};

TEST_CASE("many records are a table of their brief fields") {
  CHECK(render_records(kTwo, {}) ==
        "name  parameters     memory   network\n"
        "a          8.03B  80.00 GiB  400 GB/s\n"
        "b              -   8.00 GiB         -\n");
  CHECK(render_records({}, {}) == "none\n");
}

TEST_CASE("one record is told whole and exactly") {
  CHECK(render_record(kTwo[0], {}) ==
        "name        a\n"
        "parameters  8,030,261,248\n"
        "memory      80.00 GiB\n"
        "network     400 GB/s\n"
        "source      a page\n");
}

TEST_CASE("JSON holds plain numbers") {
  const std::string json = render_records_json(kTwo);
  CHECK(json.find("\"parameters\": 8030261248") != json.npos);
  CHECK(json.find("\"parameters\": null") != json.npos);
  CHECK(json.find("\"memory\": 85899345920") != json.npos);
  CHECK(render_record_json(kTwo[1]).front() == '{');
}

}  // namespace
}  // namespace memplan
