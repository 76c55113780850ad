// Benchmarks against other programs, with shell scripts in the programs' place: what they are asked, how their answers
// and failures are read, on which cores they run, and what is reported.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "engine/bench/affinity.h"
#include "engine/bench/bench_llm_breakdown.h"
#include "engine/bench/bench_llm_peers.h"
#include "engine/bench/child_process.h"
#include "engine/bench/peer.h"
#include "tiny_gguf.h"

namespace halftone::engine {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;
namespace fs = std::filesystem;

class BenchPeersTest : public ::testing::Test {
 protected:
  BenchPeersTest() {
    std::string name = (fs::temp_directory_path() / "halftone-peers-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    model_ = folder_ / "model.gguf";
  }
  ~BenchPeersTest() override { fs::remove_all(folder_); }

  /// A shell script at peers/`path`.
  void script(const std::string& path, const std::string& body) {
    const fs::path file = folder_ / "peers" / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << "#!/bin/sh\n" << body << "\n";
    fs::permissions(file, fs::perms::owner_all);
  }
  std::string read(const std::string& name) {
    std::ifstream file(folder_ / name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string noted(const std::string& name) { return (folder_ / name).string(); }
  std::unique_ptr<Peer> open(const std::string& name) { return open_peer(name, folder_ / "peers", model_); }
  /// llama.cpp's two programs; both write their arguments to "arguments".
  void install_llama_cpp(const std::string& variant, const std::string& rate) {
    const std::string note = "echo \"$@\" >>" + noted("arguments") + "\n";
    script("llama.cpp/" + variant + "/llama-bench", note + "echo '[{\"avg_ts\": " + rate + "}]'");
    script("llama.cpp/" + variant + "/llama-batched-bench", note + "echo; echo '{\"speed_tg\": " + rate + "}'; echo");
  }
  static LlmTask task(const std::string& name) { return parse_llm_tasks({name}).at(0); }

  fs::path folder_, model_;
};

std::vector<std::string> shell(const std::string& text) { return {"/bin/sh", "-c", text}; }

TEST_F(BenchPeersTest, ChildGivesAllItsOutput) {
  // More than a pipe holds, so that reading only after the end would hang.
  const std::string text = ChildProcess(shell("head -c 300000 /dev/zero | tr '\\0' x; echo noise >&2")).read_to_end();
  EXPECT_EQ(text, std::string(300000, 'x'));
}

TEST_F(BenchPeersTest, ChildAnswersLineByLine) {
  ChildProcess child(shell("while read -r line; do echo \"<$line>\"; done"));
  for (const char* line : {"one", "", "three words here"}) {
    child.write_line(line);
    EXPECT_EQ(child.read_line(), std::string("<") + line + ">");
  }
}

TEST_F(BenchPeersTest, ChildsFailureIsToldInItsOwnWords) {
  EXPECT_THAT([] { ChildProcess(shell("echo 'no such tensor' >&2; exit 3")).read_to_end(); },
              ThrowsMessage<IoError>(AllOf(HasSubstr("exit code 3"), HasSubstr("no such tensor"))));
  EXPECT_THAT([] { ChildProcess(shell("kill -ILL $$")).read_to_end(); }, ThrowsMessage<IoError>(HasSubstr("signal 4")));
  EXPECT_THAT([] { ChildProcess(shell("exit 0")).read_line(); },
              ThrowsMessage<IoError>(HasSubstr("before it answered")));
  EXPECT_THAT([] { ChildProcess({"/nowhere/program"}).read_to_end(); }, ThrowsMessage<IoError>(HasSubstr("/nowhere")));
  // A program that is gone ends neither ours nor goes unnoticed.
  EXPECT_THROW(
      {
        ChildProcess child(shell("exec 0<&-; exit 1"));
        for (int i = 0; i < 100; ++i) {
          child.write_line("anyone?");
          usleep(10'000);
        }
      },
      IoError);
}

TEST_F(BenchPeersTest, ChildEndsWithItsOwner) {
  const auto start = std::chrono::steady_clock::now();
  { ChildProcess child(shell("exec sleep 100")); }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // no child is left, not even a dead one
}

TEST_F(BenchPeersTest, CoresArePinnedForChildrenAndGivenBack) {
  cpu_set_t before, now;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  {
    const PinnedCores cores(1);
    ASSERT_EQ(cores.cpus().size(), 1u);
    EXPECT_EQ(ChildProcess(shell("grep Cpus_allowed_list /proc/self/status | cut -f2")).read_to_end(),
              std::to_string(cores.cpus()[0]) + "\n");
  }
  ASSERT_EQ(sched_getaffinity(0, sizeof now, &now), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &now));
  EXPECT_THROW(PinnedCores{CPU_COUNT(&before) + 1}, InvalidArgument);
  EXPECT_THROW(PinnedCores{0}, InvalidArgument);
}

TEST_F(BenchPeersTest, TasksAreThoseOfTheReport) {
  std::vector<std::string> names;
  for (const auto& t : parse_llm_tasks({})) names.push_back(t.name);
  EXPECT_THAT(
      names, ElementsAre("prefill512", "prefill2048", "decode", "decode@2048:kv8", "decode@2048:kv4", "decode_batch8"));
  EXPECT_THAT(
      [] {
        parse_llm_tasks({"decode", "dekode"});
      },
      ThrowsMessage<InvalidArgument>(AllOf(HasSubstr("'dekode'"), HasSubstr("decode_batch8"))));
}

TEST_F(BenchPeersTest, LlamaCppIsAskedForTheTask) {
  install_llama_cpp("native", "250.5");
  const auto peer = open("llama.cpp");
  const std::string begin = "-m " + model_.string() + " -t 2 ";
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"prefill512", begin + "-r 1 -o json -p 512 -n 0\n"},
      {"decode", begin + "-r 1 -o json -p 0 -n 128\n"},
      {"decode@2048:kv8", begin + "-r 1 -o json -p 0 -n 32 -d 2048 -ctk q8_0 -ctv q8_0 -fa 1\n"},
      {"decode@2048:kv4", begin + "-r 1 -o json -p 0 -n 32 -d 2048 -ctk q4_0 -ctv q4_0 -fa 1\n"},
      {"decode_batch8", begin + "-c 640 -npp 16 -ntg 64 -npl 8 --output-format jsonl\n"},
  };
  for (const auto& [name, arguments] : expected) {
    fs::remove(noted("arguments"));
    EXPECT_EQ(peer->measure(task(name), 2), 250.5) << name;
    EXPECT_EQ(read("arguments"), arguments) << name;
  }
}

TEST_F(BenchPeersTest, LlamaCppOfAnotherVersionIsNoticed) {
  install_llama_cpp("native", "1");
  for (const char* output : {"", "no json", "{}", "[]", "[{\"avg_ts\": \"fast\"}]", "[{\"tps\": 3}]"}) {
    script("llama.cpp/native/llama-bench", std::string("echo '") + output + "'");
    EXPECT_THAT([&] { open("llama.cpp")->measure(task("decode"), 1); },
                ThrowsMessage<IoError>(HasSubstr("another version")))
        << output;
  }
}

TEST_F(BenchPeersTest, MissingPeersNameTheScriptThatInstallsThem) {
  EXPECT_THAT([&] { open("llama.cpp"); }, ThrowsMessage<IoError>(HasSubstr("bench/peers/build_llama_cpp native")));
  EXPECT_THAT([&] { open("llama.cpp-avx2"); }, ThrowsMessage<IoError>(HasSubstr("bench/peers/build_llama_cpp avx2")));
  EXPECT_THAT([&] { open("openvino"); }, ThrowsMessage<IoError>(HasSubstr("bench/peers/setup_openvino")));
  for (const char* name : {"lama.cpp", "llama.cpp-", "llama.cpp-../native", ""})
    EXPECT_THAT([&] { open(name); }, ThrowsMessage<InvalidArgument>(HasSubstr("llama.cpp-VARIANT"))) << name;
  install_llama_cpp("avx2", "7");
  EXPECT_EQ(open("llama.cpp-avx2")->measure(task("decode"), 1), 7);
}

TEST_F(BenchPeersTest, OpenVinoIsLoadedOnceForANumberOfThreads) {
  script("openvino/runner", "echo \"start $2\" >>" + noted("log") + "\nwhile read -r line; do echo \"$line\" >>" +
                                noted("log") + "; echo '{\"tokens_per_second\": 64.5}'; done");
  const auto peer = open("openvino");
  EXPECT_EQ(peer->measure(task("prefill512"), 1), 64.5);
  EXPECT_EQ(peer->measure(task("decode@2048:kv4"), 1), 64.5);
  EXPECT_EQ(peer->measure(task("decode_batch8"), 2), 64.5);
  std::istringstream log(read("log"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(log, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0], "start 1");
  EXPECT_EQ(Json::parse(lines[1]),
            (Json{{"kind", "prefill"}, {"context", 512}, {"tokens", 0}, {"sequences", 1}, {"kv", "f16"}}));
  EXPECT_EQ(Json::parse(lines[2]),
            (Json{{"kind", "decode"}, {"context", 2048}, {"tokens", 32}, {"sequences", 1}, {"kv", "int4"}}));
  EXPECT_EQ(lines[3], "start 2");
  EXPECT_EQ(Json::parse(lines[4])["sequences"], 8);
}

TEST_F(BenchPeersTest, OpenVinosRefusalIsNoFailureAndItsDeathIsNotTheEnd) {
  script("openvino/runner", "read -r line; echo '{\"error\": \"unsupported tensor\"}'; read -r line; exit 9");
  const auto peer = open("openvino");
  EXPECT_THAT([&] { peer->measure(task("decode"), 1); }, ThrowsMessage<Unsupported>(HasSubstr("unsupported tensor")));
  EXPECT_THAT([&] { peer->measure(task("decode"), 1); }, ThrowsMessage<IoError>(HasSubstr("exit code 9")));
  EXPECT_THROW(peer->measure(task("decode"), 1), Unsupported);  // a new process
}

TEST_F(BenchPeersTest, RoundsGiveMediansAndRatios) {
  halftone::testing::TinyGguf(7).write(model_);
  // 30, 10, 20: the median is none of the ends and not the last.
  const std::string count = noted("count");
  script("llama.cpp/native/llama-bench",
         "echo x >>" + count + "\ncase $(wc -l <" + count +
             ") in 1) rate=30 ;; 2) rate=10 ;; *) rate=20 ;; esac\necho \"[{\\\"avg_ts\\\": $rate}]\"");
  script("llama.cpp/native/llama-batched-bench", "exit 1");
  script("openvino/runner", "echo 'cannot read this file' >&2; exit 1");
  PeerBenchRequest request{.peers = {"llama.cpp", "openvino"}, .rounds = 3, .peers_folder = folder_ / "peers"};
  // The tiny model was made for 512 tokens: the longer context is timed all the same.
  request.tasks = {"decode@2048:kv8"};
  const auto timings = bench_llm_peers(model_, request);
  ASSERT_EQ(timings.size(), 2u);
  EXPECT_EQ(timings[0].peer, "llama.cpp");
  EXPECT_EQ(timings[0].threads, 1);
  EXPECT_EQ(timings[0].theirs, 20);
  EXPECT_DOUBLE_EQ(timings[0].theirs_spread, 1);  // (30 - 10) / 20
  EXPECT_EQ(timings[0].note, "");
  ASSERT_TRUE(timings[0].ours.has_value());
  EXPECT_GT(*timings[0].ours, 0);
  EXPECT_GT(timings[0].read_gigabytes_per_second, 0);
  EXPECT_EQ(read("count"), "x\nx\nx\n");

  const Json json = to_json(timings[0]);
  EXPECT_EQ(json["task"], "decode@2048:kv8");
  EXPECT_EQ(json["peer_tokens_per_second"], 20);
  EXPECT_DOUBLE_EQ(json["ratio"].get<double>(), *timings[0].ours / 20);
  EXPECT_FALSE(json.contains("note"));

  EXPECT_EQ(timings[1].peer, "openvino");
  EXPECT_FALSE(timings[1].theirs.has_value());
  EXPECT_EQ(timings[1].ours, timings[0].ours);
  EXPECT_THAT(timings[1].note, HasSubstr("cannot read this file"));
  EXPECT_TRUE(to_json(timings[1])["ratio"].is_null());
  EXPECT_TRUE(to_json(timings[1])["peer_tokens_per_second"].is_null());
}

TEST_F(BenchPeersTest, EveryTaskHasOurFigure) {
  halftone::testing::TinyGguf(8).write(model_);
  install_llama_cpp("native", "5");
  PeerBenchRequest request{.peers = {"llama.cpp"}, .rounds = 1, .peers_folder = folder_ / "peers"};
  const auto timings = bench_llm_peers(model_, request);
  ASSERT_EQ(timings.size(), llm_tasks().size());
  for (const auto& timing : timings) {
    EXPECT_EQ(timing.theirs, 5) << timing.task;
    ASSERT_TRUE(timing.ours.has_value()) << timing.task << ": " << timing.note;
    EXPECT_GT(*timing.ours, 0) << timing.task;
    EXPECT_EQ(timing.note, "") << timing.task;
  }
}

TEST_F(BenchPeersTest, OtherFilesAndTooManyThreadsAreRefused) {
  install_llama_cpp("native", "5");
  PeerBenchRequest request{.peers = {"llama.cpp"}, .peers_folder = folder_ / "peers"};
  EXPECT_THROW(bench_llm_peers(model_, request), IoError);
  std::ofstream(model_) << "not a model";
  EXPECT_THAT([&] { bench_llm_peers(model_, request); }, ThrowsMessage<InvalidArgument>(HasSubstr("GGUF")));
  halftone::testing::TinyGguf(9).write(model_);
  request.threads = {1, 1 << 16};
  EXPECT_THAT([&] { bench_llm_peers(model_, request); }, ThrowsMessage<InvalidArgument>(StartsWith("65536 threads")));
  request.peers.clear();
  EXPECT_THROW(bench_llm_peers(model_, request), InvalidArgument);
}

TEST_F(BenchPeersTest, BreakdownFindsEveryLayerWithinTheStep) {
  halftone::testing::TinyGguf(8).write(model_);
  const BreakdownRequest request{.tasks = {"prefill512", "decode", "decode_batch8"}, .threads = {1}, .rounds = 3};
  const auto all = bench_llm_breakdown(model_, request);
  ASSERT_EQ(all.size(), 3u);
  for (const TaskBreakdown& b : all) {
    SCOPED_TRACE(b.task);
    const Json json = to_json(b);
    int64_t layers = 0;
    for (const auto& operation : json["operations"]) {
      EXPECT_GT(operation["ms"].get<double>(), 0);
      EXPECT_GE(operation["calls"].get<int64_t>(), 1);
      if (operation["operation"].get<std::string>().starts_with("attention"))
        layers += operation["calls"].get<int64_t>();
    }
    EXPECT_EQ(layers, halftone::testing::TinyShape{}.layers);
    EXPECT_GT(json["rest_ms"].get<double>(), 0) << "operations took longer than the step they are of";
    const double tokens = b.task == "prefill512" ? 512 : b.task == "decode" ? 1 : 8;
    EXPECT_NEAR(json["step_ms"].get<double>() * json["tokens_per_second"].get<double>(), 1e3 * tokens, 1e-6);
  }
}

}  // namespace
}  // namespace halftone::engine
