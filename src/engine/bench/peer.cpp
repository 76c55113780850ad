// llama.cpp's own benchmarks, one process a round, and a Python program that keeps a model in OpenVINO; see peer.h.
#include "engine/bench/peer.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/json.h"
#include "engine/bench/child_process.h"

namespace halftone::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLlamaCpp = "llama.cpp";
constexpr std::string_view kOpenVino = "openvino";

std::string kv_name(ElementType kv) {
  switch (kv) {
    case ElementType::Int8:
      return "int8";
    case ElementType::Int4:
      return "int4";
    default:
      return "f16";
  }
}

/// llama.cpp's name of the KV format closest to ours.
std::string ggml_name(ElementType kv) {
  switch (kv) {
    case ElementType::Int8:
      return "q8_0";
    case ElementType::Int4:
      return "q4_0";
    default:
      return "f16";
  }
}

void need_program(const fs::path& path, const std::string& peer, const std::string& remedy) {
  if (access(path.c_str(), X_OK) != 0)
    throw IoError("peer {} is not installed: there is no program {}; run '{}'", peer, path.string(), remedy);
}

/// Reads `text` as JSON whose `key` is a number.
double number_in(const Json& json, const char* key, const std::string& program, const std::string& text) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (!json.is_object() || found == json.end() || !found->is_number())
    throw IoError("{} printed no number '{}' but '{}'; is it another version?", program, key, text.substr(0, 200));
  return found->get<double>();
}

class LlamaCpp : public Peer {
 public:
  LlamaCpp(const std::string& name, const std::string& variant, const fs::path& folder, fs::path model)
      : bench_(folder / kLlamaCpp / variant / "llama-bench"),
        batched_(folder / kLlamaCpp / variant / "llama-batched-bench"),
        model_(std::move(model)) {
    const std::string remedy = fmt::format("bench/peers/build_llama_cpp {} --peers-dir {}", variant, folder.string());
    need_program(bench_, name, remedy);
    need_program(batched_, name, remedy);
  }

  double measure(const LlmTask& task, int threads) override {
    return task.sequences > 1 ? batched(task, threads) : single(task, threads);
  }

 private:
  double single(const LlmTask& task, int threads) const {
    const bool prefill = task.kind == TaskKind::Prefill;
    std::vector<std::string> command = {bench_.string(),
                                        "-m",
                                        model_.string(),
                                        "-t",
                                        std::to_string(threads),
                                        "-r",
                                        "1",
                                        "-o",
                                        "json",
                                        "-p",
                                        std::to_string(prefill ? task.context : 0),
                                        "-n",
                                        std::to_string(task.tokens)};
    if (!prefill && task.context > 0) command.insert(command.end(), {"-d", std::to_string(task.context)});
    add_kv(command, task);
    const std::string text = ChildProcess(command).read_to_end();
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_array() || json.size() != 1)
      throw IoError("{} printed no list of one result but '{}'; is it another version?", command[0],
                    text.substr(0, 200));
    return number_in(json[0], "avg_ts", command[0], text);
  }

  double batched(const LlmTask& task, int threads) const {
    std::vector<std::string> command = {batched_.string(),
                                        "-m",
                                        model_.string(),
                                        "-t",
                                        std::to_string(threads),
                                        "-c",
                                        std::to_string(task.sequences * (task.context + task.tokens)),
                                        "-npp",
                                        std::to_string(task.context),
                                        "-ntg",
                                        std::to_string(task.tokens),
                                        "-npl",
                                        std::to_string(task.sequences),
                                        "--output-format",
                                        "jsonl"};
    add_kv(command, task);
    const std::string text = ChildProcess(command).read_to_end();
    const size_t begin = text.find('{');
    const std::string line = begin == std::string::npos ? text : text.substr(begin, text.find('\n', begin) - begin);
    return number_in(Json::parse(line, nullptr, false), "speed_tg", command[0], line);
  }

  static void add_kv(std::vector<std::string>& command, const LlmTask& task) {
    if (task.kv == ElementType::Float16) return;
    const std::string type = ggml_name(task.kv);
    command.insert(command.end(), {"-ctk", type, "-ctv", type, "-fa", "1"});  // quantised values need flash attention
  }

  fs::path bench_, batched_, model_;
};

/// The runner loads the model once for a number of threads; then a line of JSON asks for a round, another answers.
class OpenVino : public Peer {
 public:
  OpenVino(const fs::path& folder, fs::path model) : runner_(folder / kOpenVino / "runner"), model_(std::move(model)) {
    need_program(runner_, std::string(kOpenVino),
                 fmt::format("bench/peers/setup_openvino --peers-dir {}", folder.string()));
  }

  double measure(const LlmTask& task, int threads) override {
    if (threads != threads_) process_.reset();
    threads_ = threads;
    const Json request = {{"kind", task.kind == TaskKind::Prefill ? "prefill" : "decode"},
                          {"context", task.context},
                          {"tokens", task.tokens},
                          {"sequences", task.sequences},
                          {"kv", kv_name(task.kv)}};
    const std::string line = answer_to(request);
    const Json answer = Json::parse(line, nullptr, false);
    if (answer.is_object() && answer.contains("error"))
      throw Unsupported("openvino: {}", answer["error"].is_string() ? answer["error"].get<std::string>() : line);
    return number_in(answer, "tokens_per_second", runner_.string(), line);
  }

 private:
  std::string answer_to(const Json& request) {
    if (!process_)
      process_.emplace(std::vector<std::string>{runner_.string(), model_.string(), std::to_string(threads_)});
    try {
      process_->write_line(request.dump());
      return process_->read_line();
    } catch (const IoError&) {
      process_.reset();  // the next task may do better with a new one
      throw;
    }
  }

  fs::path runner_, model_;
  std::optional<ChildProcess> process_;
  int threads_ = 0;
};

std::string task_names() {
  std::string names;
  for (const auto& task : llm_tasks()) names += (names.empty() ? "" : ", ") + task.name;
  return names;
}

}  // namespace

std::span<const LlmTask> llm_tasks() {
  static const std::vector<LlmTask> tasks = {
      {.name = "prefill512", .kind = TaskKind::Prefill, .context = 512},
      {.name = "prefill2048", .kind = TaskKind::Prefill, .context = 2048},
      {.name = "decode", .context = 0, .tokens = 128},
      {.name = "decode@2048:kv8", .context = 2048, .tokens = 32, .kv = ElementType::Int8},
      {.name = "decode@2048:kv4", .context = 2048, .tokens = 32, .kv = ElementType::Int4},
      {.name = "decode_batch8", .context = 16, .tokens = 64, .sequences = 8},
  };
  return tasks;
}

std::vector<LlmTask> parse_llm_tasks(const std::vector<std::string>& names) {
  const auto all = llm_tasks();
  if (names.empty()) return {all.begin(), all.end()};
  std::vector<LlmTask> chosen;
  for (const auto& name : names) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const LlmTask& task) { return task.name == name; });
    if (found == all.end()) throw InvalidArgument("'{}' is no task of bench llm; there are {}", name, task_names());
    chosen.push_back(*found);
  }
  return chosen;
}

std::unique_ptr<Peer> open_peer(const std::string& name, const fs::path& folder, const fs::path& model) {
  if (name == kOpenVino) return std::make_unique<OpenVino>(folder, model);
  if (name == kLlamaCpp) return std::make_unique<LlamaCpp>(name, "native", folder, model);
  const std::string prefix = std::string(kLlamaCpp) + "-";
  const std::string variant = name.starts_with(prefix) ? name.substr(prefix.size()) : "";
  if (variant.empty() || variant.find('/') != std::string::npos)
    throw InvalidArgument(
        "'{}' is no peer; there are llama.cpp, llama.cpp-VARIANT (such as llama.cpp-avx2) and openvino", name);
  return std::make_unique<LlamaCpp>(name, variant, folder, model);
}

}  // namespace halftone::engine
