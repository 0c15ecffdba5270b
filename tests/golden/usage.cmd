# memplan alone.

