# Adds line "$1 $2" to the record, before what it names is made.
remember() { printf '%s %s\n' "$1" "$2" >>"$record" || fail "$record cannot be written"; }

# Writes content $2, given as $1 (text or base64), to the file $3, which must not be there.
write() {
  case $1 in
    text) printf '%s' "$2" >"$3" ;;
    base64)
      base64 -d >"$3" <<END
$2
END
      ;;
  esac || {
    rm -f -- "$3"
    fail "${3#"$root"} cannot be written"
  }
}

# unit NAME SUM MODE FORM CONTENT: a unit file. SUM is the line that sha256sum prints for it.
unit() {
  has "$recorded_units" "$1" || remember unit "$1"
  case $sums$nl in *"$2$nl"*) return 0 ;; esac
  path=$att/$1
  if exists "$path"; then
    tmp=$path.handoverd-new
    ! exists "$tmp" || rm -f -- "$tmp"
    write "$4" "$5" "$tmp"
    chmod -- "$3" "$tmp" && mv -f -- "$tmp" "$path" || fail "${path#"$root"} cannot be replaced"
  else
    # Nothing loads it yet, so a file of our own needs no rename; it takes its mode from the umask.
    write "$4" "$5" "$path"
    [ "$3" = 644 ] || chmod -- "$3" "$path" || fail "${path#"$root"} cannot get its mode"
  fi
}

# Makes the folder of path $1, remembering every folder that was missing.
make_folder() {
  folder=${1%/*}
  missing=
  while [ -n "$folder" ] && [ ! -d "$root$folder" ]; do
    missing=$folder$nl$missing
    folder=${folder%/*}
  done
  [ -n "$missing" ] || return 0
  for folder in $missing; do
    has "$recorded_folders" "$folder" || remember folder "$folder"
  done
  umask 022
  mkdir -p -- "$root${1%/*}" || fail "${1%/*} cannot be made"
}

# file PATH SUM UMASK MODE OWNER FORM CONTENT: a config or secret file. Where UMASK is empty, owner and mode need
# commands of their own; they are set before the file has its name.
file() {
  path=$root$1
  ! exists "$path" || has "$recorded_files" "$1" || remember file "$1"
  case $sums$nl in
    *"$2$nl"*)
      chown -- "$5" "$path" && chmod -- "$4" "$path" || fail "$1 cannot get its owner $5 and mode $4"
      return 0
      ;;
  esac
  make_folder "$1"
  exists "$path" || has "$recorded_files" "$1" || remember file "$1"
  [ ! -d "$path" ] || fail "$1 is a folder"
  tmp=$path.handoverd-new
  ! exists "$tmp" || rm -f -- "$tmp"
  placed=$placed$path$nl
  umask "${3:-077}"
  write "$6" "$7" "$tmp"
  if [ -z "$3" ]; then
    chown -- "$5" "$tmp" && chmod -- "$4" "$tmp" || { rm -f -- "$tmp"; fail "$1 cannot get its owner $5 and mode $4"; }
  fi
  mv -f -- "$tmp" "$path" || fail "$1 cannot be written"
}

main() {
  begin
  survey
  check_foreign
  [ -z "$foreign" ] || finish foreign
  umask 022
  [ -d "$att" ] || mkdir -p -- "$att" || fail "/etc/systemd/system.attached cannot be made"
  if ! marked "$record"; then
    printf '%s\n' "$marker" begun >|"$record" || fail "${record#"$root"} cannot be written"
    recorded_units= recorded_files= recorded_folders= whole=
  elif [ -n "$lost" ]; then
    printf '\n%s' "$lost" >>"$record" || fail "${record#"$root"} cannot be written"
  fi
  has "$recorded_folders" "$mount_point" || remember folder "$mount_point"
  placed=
  sum_files
  place_units
  [ -d "$root$mount_point" ] || mkdir -p -- "$root$mount_point" || fail "$mount_point cannot be made"
  [ -z "$data_point" ] || make_folder "$data_point/"
  place_files
  # A record that has `begun`, but not this, has lost its end.
  [ -n "$whole" ] || printf 'whole\n' >>"$record" || fail "${record#"$root"} cannot be written"
  survey
  drop_links
  settle $placed
  list
  # Not found although it is there: systemd looked for it in vain before.
  reload_stale LoadState=not-found
  look
  finish done
}
