// What attention does to new tokens before it looks at them: RoPE of a head's queries and keys, and their way into the
// cache; for the launchers (launch.h).
#pragma once

#include "kernels/api/attention.h"

namespace halftone::kernels {

/// Appends tokens [begin, end) of the key-value head `head` with the instruction set of `isa`, at least Avx2; dim % 16
/// == 0. Ranges that begin at multiples of kKvGroup in the cache share no byte.
void append_head(Isa isa, const AttentionProblem& problem, const AttentionArgs& args, int64_t head, int64_t begin,
                 int64_t end);

/// Appends everything of a sequence, spread over the pool where it is much; for Scalar with the references.
void append_all(ExecContext& context, Isa isa, const AttentionProblem& problem, const AttentionArgs& args);

}  // namespace halftone::kernels
