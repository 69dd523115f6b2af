// Prints the cases of a folder of scenarios as a JSON array, for the runs through a real Envoy.

#include <exception>
#include <iostream>

#include "test/conformance/envoy_case.h"

int main(int count, char** arguments) try {
  if (count != 2) {
    std::cerr << "usage: " << arguments[0] << " FOLDER\n";
    return 2;
  }
  const char* between = "[";
  for (const auto& one : extprocd::conformance::load_cases(arguments[1])) {
    std::cout << between << one.json << "\n";
    between = ",";
  }
  std::cout << "]\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
