// Error types of halftone. Every message names the quantity, the value found, the value wanted and the remedy.
// The CLI maps each class to an exit code: InvalidArgument, Unsupported and IoError are bad input (2).
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace halftone {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Declares an error class whose constructor formats: `throw IoError("cannot open {}: {}", path, why)`.
#define HALFTONE_ERROR_CLASS(Name)                                    \
  class Name : public Error {                                         \
   public:                                                            \
    template <class... Args>                                          \
    explicit Name(fmt::format_string<Args...> format, Args&&... args) \
        : Error(fmt::format(format, std::forward<Args>(args)...)) {}  \
  }

/// A value the caller passed is outside what the function accepts.
HALFTONE_ERROR_CLASS(InvalidArgument);
/// The request is well formed, but this build, device or combination cannot serve it.
HALFTONE_ERROR_CLASS(Unsupported);
/// A file is missing, unreadable, damaged, or cannot be written.
HALFTONE_ERROR_CLASS(IoError);
/// A computation left the range in which its result means anything (NaN, not positive definite, ...).
HALFTONE_ERROR_CLASS(NumericError);
/// A device call (CUDA, operating system) failed.
HALFTONE_ERROR_CLASS(DeviceError);

#undef HALFTONE_ERROR_CLASS

}  // namespace halftone
