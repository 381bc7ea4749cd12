# Prints a file's content in base64, a line for each that base64 prints.
main() {
  set -uf
  export PATH LC_ALL=C
  if [ ! -f "$file" ]; then
    printf 'result=absent\n'
    return 0
  fi
  head -c "$limit" -- "$file" | base64 | while IFS= read -r line; do
    printf 'data=%s\n' "$line"
  done
  [ -r "$file" ] || {
    printf 'result=failed\n'
    return 0
  }
  printf 'result=done\n'
}
