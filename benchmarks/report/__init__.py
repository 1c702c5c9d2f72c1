"""Write ``doc/results.rst``, its pages and plots from the lines that the benchmarks left.

python -m benchmarks.report
"""
