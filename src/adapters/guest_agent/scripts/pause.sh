main() {
  begin
  survey
  find_stoppable
  stop_all
  look
  finish done
}
