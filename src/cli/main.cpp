// The halftone program: parse, look up, call the engine, print.
#include <fmt/format.h>

#include <csignal>
#include <exception>
#include <new>

#include "base/error.h"
#include "cli/command.h"
#include "engine/interrupted.h"
#include "engine/model.h"

namespace halftone::cli {
namespace {

int fail(const char* what) {
  std::fflush(stdout);
  fmt::print(stderr, "halftone: error: {}\n", what);
  return kBadInput;
}

int run(int argc, char** argv) {
  Program program;
  add_inspect(program);
  add_compress(program);
  add_eval(program);
  add_compare(program);
  add_generate(program);
  add_chat(program);
  add_tokenize(program);
  add_list(program);
  add_show(program);
  add_bench(program);
  const int code = program.run(argc, argv);
  finish_output();
  return code;
}

}  // namespace
}  // namespace halftone::cli

int main(int argc, char** argv) {
  using namespace halftone;
  std::signal(SIGPIPE, SIG_DFL);  // some parents leave it ignored; a reader that went away ends us without a word
  engine::use_single_threaded_torch();
  try {
    return cli::run(argc, argv);
  } catch (const engine::Interrupted& stop) {
    cli::fail(stop.what());
    return cli::kInterrupted;
  } catch (const std::bad_alloc&) {
    return cli::fail("out of memory: close other programs, or use a smaller model or window");
  } catch (const std::exception& error) {
    return cli::fail(error.what());
  }
}
