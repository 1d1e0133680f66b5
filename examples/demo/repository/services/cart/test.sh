set -eu
cd "$(dirname "$0")"
test "$(sh count.sh 10 20)" = 2
