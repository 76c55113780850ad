# Imports libtorch's CPU libraries from a PyPI `torch` wheel, without TorchConfig.cmake: the CUDA wheel's configuration
# insists on a CUDA toolkit, which compiling and running on a CPU does not need.
#
# The wheel's `torch` folder is, in this order: LibTorch_ROOT (cache or environment), what tools/setup wrote to
# .halftone/libtorch, the active Python's. Gives LibTorch::LibTorch, LibTorch_VERSION and LibTorch_FOLDER.
set(LibTorch_ROOT "$ENV{LibTorch_ROOT}" CACHE PATH "The 'torch' folder of an installed torch wheel; empty: look for one")
set(LibTorch_FOLDER "${LibTorch_ROOT}")
set(libtorch_record "${CMAKE_SOURCE_DIR}/.halftone/libtorch")
if(NOT LibTorch_FOLDER AND EXISTS "${libtorch_record}")
  file(STRINGS "${libtorch_record}" LibTorch_FOLDER LIMIT_COUNT 1)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${libtorch_record}")
endif()
if(NOT LibTorch_FOLDER)
  execute_process(COMMAND python3 -c
      "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE LibTorch_FOLDER OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()

if(EXISTS "${LibTorch_FOLDER}/version.py")
  file(STRINGS "${LibTorch_FOLDER}/version.py" version_line REGEX "^__version__ = ")
  string(REGEX REPLACE ".*'([0-9.]+)[^']*'.*" "\\1" LibTorch_VERSION "${version_line}")
endif()
find_library(LibTorch_CPU torch_cpu PATHS "${LibTorch_FOLDER}/lib" NO_CACHE NO_DEFAULT_PATH)
find_library(LibTorch_C10 c10 PATHS "${LibTorch_FOLDER}/lib" NO_CACHE NO_DEFAULT_PATH)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS LibTorch_CPU LibTorch_C10 LibTorch_FOLDER
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run 'make setup', or pass -DLibTorch_ROOT=<the wheel's torch folder>")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  if(LibTorch_VERSION VERSION_LESS 2.11)
    message(FATAL_ERROR "libtorch ${LibTorch_VERSION} at ${LibTorch_FOLDER} is too old; halftone needs 2.11 or newer")
  endif()
  # The CUDA build of libtorch_cpu.so needs libcudart and libcupti. The wheel finds them in the sibling folder `nvidia`
  # at run time; the linker has to be shown.
  file(GLOB libtorch_cuda_folders "${LibTorch_FOLDER}/../nvidia/*/lib")
  set(libtorch_folders "${LibTorch_FOLDER}/lib")
  foreach(folder ${libtorch_cuda_folders})
    file(GLOB runtime "${folder}/libcudart.so*" "${folder}/libcupti.so*")
    if(runtime)
      file(REAL_PATH "${folder}" folder)
      list(APPEND libtorch_folders "${folder}")
    endif()
  endforeach()
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  # After the system's headers: the wheel carries an fmt of its own, which would shadow the one that we link.
  foreach(folder "${LibTorch_FOLDER}/include" "${LibTorch_FOLDER}/include/torch/csrc/api/include")
    target_compile_options(LibTorch::LibTorch INTERFACE "SHELL:-idirafter ${folder}")
  endforeach()
  target_link_libraries(LibTorch::LibTorch INTERFACE "${LibTorch_CPU}" "${LibTorch_C10}")
  foreach(folder ${libtorch_folders})
    target_link_options(LibTorch::LibTorch INTERFACE "LINKER:-rpath,${folder}" "LINKER:-rpath-link,${folder}")
  endforeach()
endif()
