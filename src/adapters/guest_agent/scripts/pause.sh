main() {
  begin
  survey
  find_stoppable
  stop_all
  # Nobody serves now, and nobody asks for the files' contents.
  unsummed=yes
  look
  finish done
}
