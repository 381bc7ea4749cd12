main() {
  begin
  survey
  drop_links
  settle
  find_stoppable
  stop_all
  look
  finish done
}
