# Sourced by the tests that build the functions with cargo-lambda or `sam build`, from the root of the repository. What they build is a
# release, with two differences: what has no optimisation of its own in Cargo.toml has none at all, and this machine's C compiler and
# linker are used instead of Zig, so that each finds what the others have built. That takes minutes less, and has a target folder of
# its own.
# shellcheck shell=bash
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/cargo-lambda
PATH="$(infra/deploy/tool cargo-lambda):$PATH"
export PATH CARGO_TARGET_DIR CARGO_LAMBDA_COMPILER=cargo
export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
