# Sets `new` to lines for what this placement will make and the record does not name yet: folders before what lies in them.
find_new() {
  new=
  for name in $unit_files; do
    has "$recorded_units" "$name" || new=${new}unit\ $name$nl
  done
  [ -z "$data_point" ] || find_new_folders "$data_point"
  for path in $file_paths; do
    find_new_folders "${path%/*}"
    has "$recorded_files" "$path" || new=${new}file\ $path$nl
  done
  has "$recorded_folders" "$mount_point" || new=${new}folder\ $mount_point$nl
}

# The folder $1 and those above it, where they are missing.
find_new_folders() {
  folder=$1
  missing=
  while [ -n "$folder" ] && [ ! -d "$root$folder" ]; do
    missing=$folder$nl$missing
    folder=${folder%/*}
  done
  for folder in $missing; do
    has "$recorded_folders" "$folder" || has "$new" "folder $folder" || new=${new}folder\ $folder$nl
  done
}

# Writes down what will be made before anything is. In one piece, so that a power cut takes the whole of a record that fits a
# block, or nothing of it; what is added to one that is there already waits for the disk, for its loss could not be seen.
remember_new() {
  find_new
  if ! marked "$record"; then
    printf '%s\n%s' "$marker" "$new$lost" >|"$record" || fail "${record#"$root"} cannot be written"
  elif [ -n "$new" ]; then
    # The newline ends a line that was cut.
    printf '\n%s' "$new" >>"$record" || fail "${record#"$root"} cannot be written"
    sync -- "$record" 2>/dev/null || sync
  fi
}

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

# Makes the folder of path $1.
make_folder() {
  [ -d "$root${1%/*}" ] && return 0
  umask 022
  mkdir -p -- "$root${1%/*}" || fail "${1%/*} cannot be made"
}

# file PATH SUM UMASK MODE OWNER FORM CONTENT: a config or secret file. Where UMASK is empty, owner and mode need
# commands of their own; they are set before the file has its name.
file() {
  path=$root$1
  case $sums$nl in
    *"$2$nl"*)
      chown -- "$5" "$path" && chmod -- "$4" "$path" || fail "$1 cannot get its owner $5 and mode $4"
      return 0
      ;;
  esac
  make_folder "$1"
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
  remember_new
  placed=
  sum_files
  place_units
  [ -d "$root$mount_point" ] || mkdir -p -- "$root$mount_point" || fail "$mount_point cannot be made"
  [ -z "$data_point" ] || make_folder "$data_point/"
  place_files
  survey
  drop_links
  settle $placed
  list
  # Not found although it is there: systemd looked for it in vain before.
  reload_stale LoadState=not-found
  look
  finish done
}
