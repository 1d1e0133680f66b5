# Usage: count.sh PRICE…   prints how many items are in the cart.
echo "$#"
