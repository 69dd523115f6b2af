# extproc_add_plugin(<name> SOURCES ... [LIBRARIES targets ...])
#
# Builds <name>.so, a plugin of extprocd, into the folder `plugins` of the build. It exports its entry function and
# nothing else, so that no symbol of it can be mistaken for one of the server or of another plugin.
function(extproc_add_plugin name)
  cmake_parse_arguments(PLUGIN "" "" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT PLUGIN_SOURCES)
    message(FATAL_ERROR "extproc_add_plugin(${name}): SOURCES is missing")
  endif()
  if(PLUGIN_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "extproc_add_plugin(${name}): write SOURCES before ${PLUGIN_UNPARSED_ARGUMENTS}")
  endif()
  add_library(${name} MODULE ${PLUGIN_SOURCES})
  set(version_script "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map")
  set_target_properties(${name} PROPERTIES
    PREFIX ""
    SUFFIX ".so"
    CXX_VISIBILITY_PRESET hidden
    C_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS "${version_script}"
    LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/plugins")
  # A unique symbol would keep the module from ever being unmapped, and be shared with other modules.
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique> -ffunction-sections
                         -fdata-sections)
  target_link_options(${name} PRIVATE "LINKER:--version-script=${version_script}" LINKER:--gc-sections)
  get_directory_property(options COMPILE_OPTIONS)
  if(NOT (CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND "${CMAKE_CXX_FLAGS} ${options}" MATCHES "-fsanitize="))
    # What is undefined at run time is an error now. Only clang leaves a sanitizer's runtime to the host.
    target_link_options(${name} PRIVATE LINKER:-z,defs)
  endif()
  target_link_libraries(${name} PRIVATE extproc::sdk ${PLUGIN_LIBRARIES})
endfunction()
