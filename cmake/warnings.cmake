# Compiler settings that every target of the project shares.
add_library(extprocd_flags INTERFACE)
target_compile_options(extprocd_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wcast-align -Werror
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these inside its own and the libraries' inlined code.
  target_compile_options(extprocd_flags INTERFACE
    -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds -Wno-restrict)
endif()
target_link_options(extprocd_flags INTERFACE -Wl,--as-needed)

if(EXTPROCD_SANITIZE)
  # For the whole build: a sanitizer must see every object of a process.
  add_compile_options(-fsanitize=${EXTPROCD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${EXTPROCD_SANITIZE})
  if(EXTPROCD_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Asio has a fence that GCC's ThreadSanitizer does not model; nothing here relies on it.
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-tsan>)
  endif()
endif()

if(EXTPROCD_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

if(EXTPROCD_HARDEN)
  add_compile_options(-D_FORTIFY_SOURCE=2 -fstack-protector-strong)
  add_link_options(LINKER:-z,relro,-z,now)
  # Position independent executables; the modules are anyway.
  include(CheckPIESupported)
  check_pie_supported()
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
endif()
