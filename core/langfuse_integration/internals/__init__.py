"""What every other package stands on: faults kept from the application, forks, and the application's own lines."""
