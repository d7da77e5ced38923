"""What goes wrong at night, done to real processes: which alert, to whom, after how long, how often, and its end."""
