main() {
  begin
  survey
  drop_links
  find_stoppable
  stop_all
  look
  finish done
}
