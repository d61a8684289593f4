"""What every GenICam camera shares, whatever library drives it: settings, features, clock, block ids."""
