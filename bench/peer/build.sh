#!/usr/bin/env bash
# Builds the peer in the directory DIR: llama.cpp from the source distribution of a registry package, and peer_bench.
#   build.sh DIR
# Needs python 3, a C++ compiler, and an hour on two cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: build.sh DIR}
version=0.3.36
mkdir -p "$dir" && cd "$dir"
python3 -m venv venv && . venv/bin/activate
pip install --quiet numpy gguf cmake ninja scikit-build-core
pip download --quiet --no-deps --no-binary llama-cpp-python --no-build-isolation "llama-cpp-python==$version" -d sdist
tar xf sdist/*.tar.gz -C sdist
[ -d llama.cpp ] || cp -r "sdist/llama_cpp_python-$version/vendor/llama.cpp" llama.cpp
cmake -S llama.cpp -B llama-build -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_CCACHE=OFF \
  -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF \
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_COMMIT="$version" -DLLAMA_BUILD_NUMBER=0
ninja -C llama-build llama-bench
g++ -O2 -std=c++17 "$here/peer_bench.cpp" -o peer_bench -Illama.cpp/include -Illama.cpp/ggml/include \
  -Lllama-build/bin -lllama -lggml -lggml-base -Wl,-rpath,"$PWD/llama-build/bin"
echo "built $PWD/peer_bench"
