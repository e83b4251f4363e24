"""The eventing service: functions, stored with their states, and not executed."""
