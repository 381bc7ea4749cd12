# link PATH TARGET: a wants link, if the unit file that it points at is ours.
link() {
  has "$own" "${2##*/}" || return 0
  path=$root$1
  [ -L "$path" ] && [ "$path" -ef "$root$2" ] && return 0
  [ -d "$wants" ] || mkdir -p -- "$wants" || fail "${wants#"$root"} cannot be made"
  ln -sfn -- "$2" "$path" || fail "$1 cannot be linked"
}
