"""Tests of the kernels: real ones, of both kinds."""
