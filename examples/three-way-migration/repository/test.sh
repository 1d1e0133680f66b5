set -e
for script in billing/*.sh; do sh -n "$script"; done
