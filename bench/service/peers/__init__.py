"""What is lost when the page or the server of a comparable tool is killed in the midst of a job."""
