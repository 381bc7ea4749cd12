main() {
  begin
  stop
  look
  finish done
}
