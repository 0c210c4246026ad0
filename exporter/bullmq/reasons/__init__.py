"""Why jobs fail: the reasons of failed jobs, without what differs from job to job, counted."""
