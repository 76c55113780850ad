# Imports libtorch's CPU libraries from a PyPI `torch` wheel, without TorchConfig.cmake: the CUDA wheel's configuration
# insists on a CUDA toolkit, which compiling and running on a CPU does not need.
#
# LibTorch_ROOT (cache or environment) names the wheel's `torch` folder; otherwise the active Python is asked.
# Gives LibTorch::LibTorch and LibTorch_VERSION.
set(LibTorch_ROOT "$ENV{LibTorch_ROOT}" CACHE PATH "The 'torch' folder of an installed torch wheel")
if(NOT LibTorch_ROOT)
  find_program(HALFTONE_PYTHON NAMES python3 python)
  execute_process(COMMAND ${HALFTONE_PYTHON} -c
      "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(LibTorch_ROOT "${found}" CACHE PATH "The 'torch' folder of an installed torch wheel" FORCE)
endif()

if(LibTorch_ROOT AND EXISTS ${LibTorch_ROOT}/version.py)
  file(STRINGS ${LibTorch_ROOT}/version.py version_line REGEX "^__version__ = ")
  string(REGEX REPLACE ".*'([0-9.]+)[^']*'.*" "\\1" LibTorch_VERSION "${version_line}")
endif()
find_library(LibTorch_CPU torch_cpu PATHS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
find_library(LibTorch_C10 c10 PATHS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS LibTorch_CPU LibTorch_C10 LibTorch_ROOT
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run 'make setup', or pass -DLibTorch_ROOT=<the wheel's torch folder>")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  if(LibTorch_VERSION VERSION_LESS 2.11)
    message(FATAL_ERROR "libtorch ${LibTorch_VERSION} at ${LibTorch_ROOT} is too old; halftone needs 2.11 or newer")
  endif()
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
    ${LibTorch_ROOT}/include ${LibTorch_ROOT}/include/torch/csrc/api/include)
  target_link_libraries(LibTorch::LibTorch INTERFACE ${LibTorch_CPU} ${LibTorch_C10})
  target_link_options(LibTorch::LibTorch INTERFACE -Wl,-rpath,${LibTorch_ROOT}/lib)
endif()
