"""One long-lived stream per exchange, and enrolment."""
