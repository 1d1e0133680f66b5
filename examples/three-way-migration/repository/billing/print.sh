# Prints what all invoices come to, before tax. $1: where the database is.
curl -sf "$1/sum?column=net"
