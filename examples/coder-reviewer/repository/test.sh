set -e
test ! -e total.sh || test "$(sh total.sh 2 3)" = 5
