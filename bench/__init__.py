"""The harness: clocks, processes, CSV and statistics. It knows no framework."""
