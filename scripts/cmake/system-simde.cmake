# deno_core's QuickJS build configures a C runtime that would download the simde headers. This points
# it at the system's copy instead (Debian: libsimde-dev). A folder that holds `simde/` is expected, so
# one is made in the build tree, with a link in it. Builds that do not know simde are not affected.
# .cargo/config.toml names this file in CMAKE_TOOLCHAIN_FILE.
set(_simde_parent "${CMAKE_BINARY_DIR}/system-simde")
if(EXISTS "/usr/include/simde" AND NOT EXISTS "${_simde_parent}/simde")
  file(MAKE_DIRECTORY "${_simde_parent}")
  file(CREATE_LINK "/usr/include/simde" "${_simde_parent}/simde" SYMBOLIC)
endif()
if(EXISTS "${_simde_parent}/simde")
  set(FETCHCONTENT_SOURCE_DIR_SIMDE "${_simde_parent}")
endif()
