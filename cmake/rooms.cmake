# extprocd_room(<name> SOURCES ... [PUBLIC targets ...] [PRIVATE targets ...])
#
# A room of core/ as the static library extprocd_<name>. Includes are written from the top folder:
# "core/http/header_map.h". PUBLIC names what the room's headers need, PRIVATE what only its .cc files need.
function(extprocd_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(target extprocd_${name})
  add_library(${target} STATIC ${ROOM_SOURCES})
  target_include_directories(${target} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${target} PUBLIC ${ROOM_PUBLIC} PRIVATE extprocd_flags ${ROOM_PRIVATE})
endfunction()

# extprocd_test(<name> SOURCES ... [LIBRARIES targets ...])
#
# A googletest program, run as one ctest entry of that name.
function(extprocd_test name)
  if(NOT EXTPROCD_TESTS)
    return()
  endif()
  cmake_parse_arguments(TEST "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE extprocd_flags ${TEST_LIBRARIES} GTest::gmock GTest::gtest GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 300)
endfunction()
