# Prints how much memory there is and is available, and how long something waited for CPU, memory or IO lately (PSI).
main() {
  set -uf
  export PATH LC_ALL=C
  cat "$root/proc/meminfo" 2>/dev/null | while read -r key value _; do
    case $key in
      MemTotal:) printf 'memory=%s\n' "$value" ;;
      MemAvailable:) printf 'available=%s\n' "$value" ;;
    esac
  done
  # A kernel that keeps no account of pressure lacks these files, or refuses to open them.
  for what in cpu memory io; do
    cat "$root/proc/pressure/$what" 2>/dev/null | while read -r kind tenth _; do
      [ "$kind" != some ] || printf 'pressure=%s\n' "${tenth#avg10=}"
    done
  done
  printf 'result=done\n'
}
