set -e
for script in *.sh; do sh -n "$script"; done
