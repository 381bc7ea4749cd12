# Prints a file's content in base64, a line for each that base64 prints.
main() {
  set -uf
  export PATH LC_ALL=C
  [ -f "$file" ] || {
    printf 'result=absent\n'
    return 0
  }
  [ -r "$file" ] || {
    printf 'result=failed\n'
    return 0
  }
  head -c "$limit" -- "$file" | base64 | while IFS= read -r line; do
    printf 'data=%s\n' "$line"
  done
  printf 'result=done\n'
}
