"""Tests of the viewer, and the sample that they look at."""
