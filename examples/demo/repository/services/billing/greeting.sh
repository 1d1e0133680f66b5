# Usage: greeting.sh NAME   prints the first line of an invoice.
echo "Invoice for $1"
