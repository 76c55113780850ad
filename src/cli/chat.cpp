// halftone chat MODEL: each line of standard input is a turn.
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "base/json.h"
#include "cli/sampling_options.h"
#include "engine/generate/generate.h"
#include "engine/generate/prompt.h"

namespace halftone::cli {
namespace {

constexpr int64_t kChatTokens = 512;  // of an answer, unless -n says otherwise

struct Options {
  std::string model;
  GenerateOptions generate;
};

/// A conversation: messages so far, and the cache that remembers them.
class Conversation {
 public:
  Conversation(ExecContext& exec, const models::LanguageModel& model, const GenerateOptions& options, bool json)
      : model_(model), options_(options), session_(exec, model, options.context, options.kv_format), json_(json) {
    clear();
  }
  void clear() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system});
  }
  /// One turn; the answer goes to standard output while it is made.
  void answer(const std::string& text) {
    messages_.push_back({"user", text});
    engine::GenerateRequest request = make_request(options_);
    request.sampling.seed += turn_++;
    request.prompt = engine::encode_chat(model_, messages_);
    if (!json_)
      request.on_text = [](std::string_view piece) {
        print_text(piece);
        return std::fflush(stdout) == 0;
      };
    const engine::GenerateResult result = session_.generate(request);
    messages_.push_back({"assistant", result.text});
    print(result);
  }
  /// Takes back a turn that could not be answered.
  void forget_last() { messages_.pop_back(); }
  int64_t context() const { return session_.context(); }

 private:
  void print(const engine::GenerateResult& result) const {
    if (json_)
      print_text(Json{{"text", result.text}, {"tokens", result.tokens}, {"finish_reason", result.finish_reason}}.dump(
          -1, ' ', false, Json::error_handler_t::replace));
    print_text("\n");
    std::fflush(stdout);
  }

  const models::LanguageModel& model_;
  const GenerateOptions& options_;
  engine::GenerateSession session_;
  bool json_;
  std::vector<ChatMessage> messages_;
  uint64_t turn_ = 0;
};

/// At a terminal a turn that does not fit ends nothing; in a pipe it is an error.
void take_turn(Conversation& conversation, const std::string& line, bool terminal) {
  try {
    conversation.answer(line);
  } catch (const InvalidArgument& error) {
    if (!terminal) throw;
    conversation.forget_last();
    fmt::print(stderr, "halftone: {} (/clear starts over)\n", error.what());
  }
}

int run(const CommonOptions& common, const Options& options) {
  OwnedExecContext exec(common.threads);
  const auto model = load_to_run(common, exec.get(), options.model, options.generate);
  catch_interrupts();  // from here on: nothing is lost where loading is cut short
  Conversation conversation(exec.get(), *model, options.generate, common.json);
  const bool terminal = isatty(STDIN_FILENO) == 1 && !common.quiet;
  if (terminal)
    fmt::print(stderr, "{}: {}; context {} tokens. /clear starts over, /quit ends.\n", short_name(options.model),
               device_text(exec.get()), conversation.context());
  std::string line;
  while (true) {
    if (terminal) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, line) || line == "/quit") break;
    if (line == "/clear")
      conversation.clear();
    else if (!line.empty())
      take_turn(conversation, line, terminal);
    if (!terminal && interrupted()) return kInterrupted;
    if (interrupted()) clear_interrupt();  // Ctrl-C ended that answer, not the conversation
  }
  return interrupted() ? kInterrupted : kSuccess;
}

}  // namespace

void add_chat(Program& program) {
  auto options = std::make_shared<Options>();
  options->generate.max_tokens = kChatTokens;
  CLI::App& command = program.add("chat", "Talks with a model in its own chat template; each line is a turn",
                                  [&program, options] { return run(program.common(), *options); });
  add_model(command, options->model);
  add_generate_options(command, options->generate);
  command.add_option("--system", options->generate.system, "system message")->option_text("TEXT");
  command.footer("Works from a pipe; --json prints one line of JSON a turn. /clear starts over, /quit ends.");
}

}  // namespace halftone::cli
