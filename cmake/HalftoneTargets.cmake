# halftone_layer, halftone_methods, halftone_method, halftone_program: every target of the project in one line each.

add_library(halftone_options INTERFACE)
target_compile_options(halftone_options INTERFACE -Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers
                                                  -ffp-contract=off)
target_include_directories(halftone_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
# Tests of whole models take minutes, and sanitizers make them several times as slow.
set(HALFTONE_MODEL_TEST_SECONDS 900)
if(HALFTONE_SANITIZE)
  set(HALFTONE_MODEL_TEST_SECONDS 5400)
  target_compile_options(halftone_options INTERFACE -fsanitize=${HALFTONE_SANITIZE} -fno-omit-frame-pointer
                                                    -fno-sanitize-recover=all)
  target_link_options(halftone_options INTERFACE -fsanitize=${HALFTONE_SANITIZE})
endif()

function(_halftone_link target)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES" ${ARGN})
  list(TRANSFORM ARG_DEPENDS PREPEND halftone_)
  target_link_libraries(${target} PUBLIC halftone_options ${ARG_DEPENDS} ${ARG_LIBRARIES})
endfunction()

# Tests of a layer or method. Files ending in _model_test.cpp need a real model: they form an executable of their own
# with the label "model", one CTest entry for all its cases, so that the model is loaded once. The others get LABEL and
# one CTest entry a case.
function(_halftone_tests target label)
  if(NOT HALFTONE_TESTS)
    return()
  endif()
  set(tests ${ARGN})
  set(model_tests ${ARGN})
  list(FILTER tests EXCLUDE REGEX "_model_test\\.cpp$")
  list(FILTER model_tests INCLUDE REGEX "_model_test\\.cpp$")
  if(tests)
    add_executable(${target}_test ${tests})
    target_link_libraries(${target}_test PRIVATE ${target} GTest::gtest GTest::gmock GTest::gtest_main)
    gtest_discover_tests(${target}_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} PROPERTIES LABELS ${label}
                         DISCOVERY_MODE PRE_TEST)
  endif()
  if(model_tests)  # they take longest: begin with them
    add_executable(${target}_model_test ${model_tests})
    target_link_libraries(${target}_model_test PRIVATE ${target} GTest::gtest GTest::gmock GTest::gtest_main)
    add_test(NAME ${target}_model_test COMMAND ${target}_model_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${target}_model_test PROPERTIES LABELS model COST 1000 TIMEOUT ${HALFTONE_MODEL_TEST_SECONDS})
  endif()
endfunction()

# A layer: src/NAME with all its sources, tests in tests/NAME. Per-ISA kernel files get their flags from their suffix.
function(halftone_layer name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  if(NOT sources)
    file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/empty/${name}.cpp CONTENT "")
    set(sources ${CMAKE_BINARY_DIR}/empty/${name}.cpp)
  endif()
  add_library(halftone_${name} STATIC ${sources})
  _halftone_link(halftone_${name} ${ARGN})
  foreach(source ${sources})
    if(source MATCHES "_avx2\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-O3;-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_avx512\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-O3;-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mprefer-vector-width=512")
    elseif(source MATCHES "_avx512_(vbmi|vpopcntdq)\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-O3;-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mprefer-vector-width=512;-mavx512${CMAKE_MATCH_1}")
    elseif(source MATCHES "_amx\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-O3;-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mprefer-vector-width=512;-mavx512bf16;-mamx-tile;-mamx-int8;-mamx-bf16")
    endif()
  endforeach()
  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${name}/*_test.cpp)
  set(label torch)
  if(name MATCHES "^(base|numerics|kernels)$")
    set(label unit)
  endif()
  _halftone_tests(halftone_${name} ${label} ${tests})
endfunction()

# One published method: src/methods/SEAM/NAME with its sources and tests; called from the folder's own CMakeLists.txt.
function(halftone_method name)
  cmake_parse_arguments(ARG "" "SEAM" "" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|bench)\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  add_library(halftone_method_${name} STATIC ${sources})
  _halftone_link(halftone_method_${name} DEPENDS plugin nn tensor numerics base)
  _halftone_tests(halftone_method_${name} torch ${tests})
  set_property(GLOBAL APPEND PROPERTY HALFTONE_METHODS ${name})
  set_property(GLOBAL APPEND PROPERTY HALFTONE_METHOD_TARGETS halftone_method_${name})
endfunction()

# All methods: every src/methods/*/*/CMakeLists.txt, and the generated catalogue that registers them in name order.
function(halftone_methods)
  file(GLOB folders CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/methods/*/*/CMakeLists.txt)
  foreach(file ${folders})
    get_filename_component(folder ${file} DIRECTORY)
    add_subdirectory(${folder})
  endforeach()
  get_property(names GLOBAL PROPERTY HALFTONE_METHODS)
  get_property(targets GLOBAL PROPERTY HALFTONE_METHOD_TARGETS)
  list(SORT names)
  set(declarations "")
  set(calls "")
  foreach(name ${names})
    string(APPEND declarations "void register_${name}(Catalogue& catalogue);\n")
    string(APPEND calls "  register_${name}(catalogue);\n")
  endforeach()
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/catalogue.cpp CONTENT
"// Generated by halftone_methods: one call a folder under src/methods.
#include \"plugin/catalogue.h\"

namespace halftone {
@declarations@
void register_all_methods([[maybe_unused]] Catalogue& catalogue) {
@calls@}

}  // namespace halftone
" @ONLY)
  add_library(halftone_methods STATIC ${CMAKE_BINARY_DIR}/generated/catalogue.cpp)
  _halftone_link(halftone_methods ${ARGN})
  target_link_libraries(halftone_methods PUBLIC ${targets})
endfunction()

function(halftone_program name)
  cmake_parse_arguments(ARG "" "DIRECTORY" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_DIRECTORY}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${name} ${sources})
  list(TRANSFORM ARG_DEPENDS PREPEND halftone_)
  target_link_libraries(${name} PRIVATE halftone_options ${ARG_DEPENDS} ${ARG_LIBRARIES})
endfunction()
