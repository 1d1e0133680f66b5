# Reads orders, one a line, and prints the suspicious ones.
grep -E -f "$(dirname "$0")/rules.txt" || true
