// Thrown by a flow when its request's `cancelled` function says that the user wants it to end.
#pragma once

#include "base/error.h"

namespace halftone::engine {

/// The user ended the work; no result, nothing wrong. The program exits with 130.
class Interrupted : public Error {
 public:
  using Error::Error;
};

}  // namespace halftone::engine
