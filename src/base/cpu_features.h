// Instruction sets of this CPU, read once, and the cap that HALFTONE_ISA puts on them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone {

/// Instruction-set levels of the kernel tables, each including the ones before it.
enum class Isa { Scalar, Avx2, Avx512, Amx };

std::string_view to_string(Isa isa);
/// Parses "scalar", "avx2", "avx512" or "amx"; throws InvalidArgument for anything else.
Isa parse_isa(std::string_view name);

/// The best level this CPU and operating system allow. AVX2 means AVX2+FMA+F16C; AVX-512 means F, BW, VL, DQ, VNNI;
/// AMX means AVX-512 plus AVX512_BF16 and int8 and bf16 tiles, with the operating system's permission asked for and
/// granted.
Isa detected_isa();
/// detected_isa(), lowered to the environment variable HALFTONE_ISA when that is set.
Isa usable_isa();
/// Every level from Scalar to detected_isa(): what tests run over.
std::vector<Isa> attainable_isas();

/// Extensions of AVX-512 that no level includes: an entry that wants one asks for it in `supports`.
enum class Avx512Extension { Vbmi, Vpopcntdq };
/// Whether this CPU has `extension` and reaches Isa::Avx512.
bool has_extension(Avx512Extension extension);

/// Processor name as the operating system reports it, for benchmark reports.
std::string cpu_name();

}  // namespace halftone
