# Sourced by what compiles hermesd. The header of NVML marks functions that it declares as deprecated, and
# go-nvml wraps them all: dozens of warnings that are about nothing of ours.
export CGO_CFLAGS="${CGO_CFLAGS:--O2 -g} -Wno-deprecated-declarations"
