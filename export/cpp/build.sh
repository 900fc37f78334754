#!/usr/bin/env bash
# Compiles load_savedmodel.cc against the TensorFlow of a Python environment.
#   PYTHON=.venv/bin/python export/cpp/build.sh build/load_savedmodel
set -euo pipefail
out=$1
mkdir -p "$(dirname "$out")"
folder=$("${PYTHON:-python3}" -c 'import importlib.util as u; print(u.find_spec("tensorflow").submodule_search_locations[0])')
# Without --no-as-needed the linker drops the library that registers sessions.
g++ -std=c++17 -O1 -D_GLIBCXX_USE_CXX11_ABI=1 -w "$(dirname "$0")/load_savedmodel.cc" -o "$out" \
  -I"$folder/include" -L"$folder" -Wl,-rpath,"$folder" -Wl,--no-as-needed \
  -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2
