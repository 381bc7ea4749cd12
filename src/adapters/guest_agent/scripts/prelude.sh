# Runs in a guest as root, under any POSIX sh. The head of every script: Rust has written the values above it.
# Builtins wherever they do: each process costs milliseconds in an emulated guest.
set -ufC
umask 077
export PATH LC_ALL=C
nl='
'
IFS=$nl
att=$root/etc/systemd/system.attached
sys=$root/etc/systemd/system
run=$root/run/handoverd
record=$att/handoverd-$service.placed
out= listed= unsummed=

say() { printf '%s\n' "$1"; }

# Ends the script: $1 is the result, always the last line.
finish() {
  wait
  say "result=$1"
  exit 0
}

fail() {
  say "why=$1"
  finish failed
}

# Has the disk take what was changed below /etc, and the files $@ elsewhere: a guest that loses power from now on comes
# back with it. It goes on beside what follows; `finish` waits for it.
settle() {
  { sync -f -- "$root/etc" "$@" 2>/dev/null || sync; } &
}

# Whether something, even a dangling link, is at $1.
exists() { [ -e "$1" ] || [ -L "$1" ]; }

# Whether the first line of the file $1 is the marker of this service.
marked() {
  [ -f "$1" ] || return 1
  head_line=
  IFS= read -r head_line <"$1" || :
  [ "$head_line" = "$marker" ]
}

# Whether $1 is a file of nothing or of NULs alone, which is what a power cut leaves of one: a file system may keep its
# name, or its name and size, without its content. `read` skips NULs, and succeeds only where it finds a newline.
emptied() {
  [ -f "$1" ] || return 1
  [ -s "$1" ] || return 0
  head_line=
  ! IFS= read -r head_line <"$1" && [ -z "$head_line" ] || return 1
  # It could not be read, else.
  left=$(tr -d '\000' <"$1" 2>/dev/null) && [ -z "$left" ]
}

# Whether $1 is a mask.
nulled() { [ -L "$1" ] && [ "$1" -ef /dev/null ]; }

# Sets `file` to the name of the unit file that defines unit $1.
file_of() {
  case $1 in
    *@*) file=${1%%@*}@.${1##*.} ;;
    *) file=$1 ;;
  esac
}

# Whether line $2 is in the list $1, which ends each line.
has() {
  case $nl$1 in
    *"$nl$2$nl"*) return 0 ;;
  esac
  return 1
}

# What was placed here by earlier scripts: sets `recorded_units` (names), `recorded_files`, `recorded_folders`
# (paths), `own` (unit files that are there and ours), and `lost` (lines that stand for a record that was lost).
survey() {
  recorded_units= recorded_files= recorded_folders= own= lost=
  if marked "$record"; then
    while IFS=' ' read -r kind path; do
      case $kind in
        unit) recorded_units=$recorded_units$path$nl ;;
        file) recorded_files=$recorded_files$path$nl ;;
        folder) recorded_folders=$path$nl$recorded_folders ;;
      esac
    done <"$record"
  elif marked "$att/$mount_unit" || emptied "$record" || emptied "$att/$mount_unit"; then
    # A power cut: what this placement names is ours, but a data mount point with something in it. Folders are only ever
    # removed when they are empty.
    for path in $file_paths; do
      recorded_files=$recorded_files$path$nl
      lost=${lost}file\ $path$nl
    done
    for path in $mount_point $data_point; do
      recorded_folders=$path$nl$recorded_folders
      lost=${lost}folder\ $path$nl
    done
  fi
  for name in $unit_files $recorded_units; do
    has "$own" "$name" && continue
    if marked "$att/$name" || emptied "$att/$name"; then
      own=$own$name$nl
    fi
  done
}

# Whether unit $1 would be run from our file: it is there, and nothing of higher rank hides it.
runs_ours() {
  file_of "$1"
  has "$own" "$file" || return 1
  for name in "$1" "$file"; do
    exists "$sys/$name" && ! marked "$sys/$name" && ! nulled "$sys/$name" && return 1
  done
  return 0
}

# Sets `masks`: paths of masks on our units.
find_masks() {
  masks=
  for unit in $unit_names $own; do
    file_of "$unit"
    has "$own" "$file" || continue
    nulled "$sys/$unit" && ! has "$masks" "$sys/$unit" && masks=$masks$sys/$unit$nl
    nulled "$sys/$file" && ! has "$masks" "$sys/$file" && masks=$masks$sys/$file$nl
  done
}

# Sets `found_links` (paths) and `found_wants` (their folders): wants links of our units, those of the disk of
# an earlier bundle included.
find_links() {
  found_links= found_wants=
  set +f
  for path in "$sys"/dev-disk-by*QEMU_HARDDISK_ho*.device.wants/*; do
    [ -L "$path" ] || continue
    folder=${path%/*}
    name=${path##*/}
    file_of "$name"
    if has "$own" "$file" || { [ "$folder" = "$wants" ] && has "$unit_names$nl" "$name"; }; then
      found_links=$found_links$path$nl
      has "$found_wants" "$folder" || found_wants=$found_wants$folder$nl
    fi
  done
  set -f
  [ -d "$wants" ] && ! has "$found_wants" "$wants" && found_wants=$found_wants$wants$nl
  return 0
}

drop_links() {
  find_links
  [ -z "$found_links" ] || rm -f -- $found_links
  [ -z "$found_wants" ] || rmdir -- $found_wants 2>/dev/null
  return 0
}

# Sets `out` to what systemd has in memory of the units, the mount, and those in `also`: "name load active sub" and a
# description.
# list-units, for `show` makes systemd compute hundreds of properties for each unit: half a second when emulated.
list() {
  out=$(systemctl list-units --all --plain --no-legend --full -- $unit_names "$mount_unit" $also 2>/dev/null) ||
    finish silent
  listed=yes
}

# Reloads if something of ours is in memory with a text that is not on disk any more. systemd reads by itself a unit
# file that it has not in memory, and the reload is the slowest thing of all.
reload_stale() {
  [ -n "$out" ] || return 0
  case $(systemctl show -p NeedDaemonReload,LoadState -- $unit_names "$mount_unit" 2>/dev/null) in
    *NeedDaemonReload=yes* | *"$1"*) reload ;;
  esac
}

reload() {
  systemctl daemon-reload
  list
}

# Whether a unit that systemd has in memory is in load state $1 (yes) or in another ("not", $1); the mounts aside.
any_load() {
  for line in $out; do
    IFS=' '
    set -- "$1" $line
    IFS=$nl
    [ "$2" != "$mount_unit" ] && [ "$2" != "$data_unit" ] || continue
    case $1 in
      not-*) [ "$3" = "${1#not-}" ] || return 0 ;;
      *) [ "$3" != "$1" ] || return 0 ;;
    esac
  done
  return 1
}

# Whether a unit that was listed has failed.
any_failed() {
  for line in $out; do
    IFS=' '
    set -- $line
    IFS=$nl
    [ "$3" != failed ] || return 0
  done
  return 1
}

# Sets `sums` to the sha256 of the placement's files that are there.
sum_files() {
  sums=
  for path in $paths; do
    if [ -f "$path" ]; then
      sums=$(sha256sum -- $paths 2>/dev/null)
      return 0
    fi
  done
}

# Takes the lock of this service and leaves if a later attempt has been here.
begin() {
  [ -d "$run" ] || mkdir -p -- "$run" || fail "$run cannot be made"
  exec 9>>"$run/$service.lock"
  flock -w "$patience" 9 || finish busy
  seen=
  [ ! -f "$run/$service.attempt" ] || IFS= read -r seen <"$run/$service.attempt"
  case $seen in
    '' | *[!0-9]*) seen=0 ;;
  esac
  if [ "$seen" -gt "$attempt" ]; then
    say "seen=$seen"
    finish superseded
  fi
  # Written in place and in one piece, so that a killed script leaves the old number or the new one.
  printf '%s\n' "$attempt" 1<>"$run/$service.attempt" || fail "$run/$service.attempt cannot be written"
}

# Sets `source` to whose device is mounted at the mount point: that of this bundle, of an earlier one, nobody's any
# more (it was pulled), or another.
mounted_source() {
  source=none what=
  while IFS=' ' read -r id parent device_number tree point rest; do
    [ "$point" != "$mount_point" ] || what=$rest
  done <"$root/proc/self/mountinfo"
  [ -n "$what" ] || return 0
  # ro,nosuid shared:1 - squashfs /dev/sdb ro
  what=${what#*- }
  type=${what%% *}
  what=${what#* }
  what=${what%% *}
  say "mounted=$what"
  if [ "$what" -ef "$device" ]; then
    source=ours
  elif [ "$type" = squashfs ] && [ ! -e "$what" ]; then
    source=gone
  else
    source=other
    set +f
    for path in "${device%/*}"/*QEMU_HARDDISK_ho*; do
      [ "$what" -ef "$path" ] && source=earlier
    done
    set -f
  fi
}

# Prints the user's uid. From /etc/passwd where it stands there: `id` is one process more.
find_uid() {
  while IFS=: read -r name password uid rest; do
    if [ "$name" = "$user" ]; then
      say "uid=$uid"
      return 0
    fi
  done <"$root/etc/passwd"
  ! uid=$(id -u "$user" 2>/dev/null) || say "uid=$uid"
}

# Prints unit files of this placement's names that handoverd did not put there; sets `foreign`. The folders are
# systemd's, in any rank: a unit file of another owner must neither be hidden nor hide ours.
foreign_units() {
  foreign=
  for name in $all_names; do
    for dir in /etc/systemd/system /etc/systemd/system.attached /etc/systemd/system.control \
      /run/systemd/system /run/systemd/system.attached /run/systemd/system.control /run/systemd/transient \
      /run/systemd/generator /run/systemd/generator.early /run/systemd/generator.late \
      /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
      path=$root$dir/$name
      exists "$path" || continue
      marked "$path" && continue
      [ "$dir" = /etc/systemd/system ] && nulled "$path" && continue
      [ "$dir" = /etc/systemd/system.attached ] && has "$own" "$name" && continue
      foreign=yes
      say "foreign_unit=$dir/$name"
      break
    done
  done
}

# Prints what is here: the answer of every step. Uses `out` if it is fresh.
look() {
  survey
  find_masks
  find_links
  [ ! -e "$device" ] || say device=yes
  for name in $own; do
    say "present=/etc/systemd/system.attached/$name"
    ! marked "$sys/$name" || say "present=/etc/systemd/system/$name"
  done
  [ ! -f "$record" ] || say "present=${record#"$root"}"
  for path in $masks; do
    say "mask=${path##*/}"
    say "present=${path#"$root"}"
  done
  for path in $found_links; do
    say "link=${path#"$root"}"
    say "present=${path#"$root"}"
  done
  for path in $recorded_files; do
    ! exists "$root$path" || say "present=$path"
  done
  for path in $recorded_folders; do
    [ ! -d "$root$path" ] || say "present=$path"
  done
  if [ -n "$unsummed" ]; then
    say unsummed=yes
  else
    sum_files
    for line in $sums; do
      say "sum=$line"
    done
  fi
  [ -z "$user" ] || find_uid
  foreign_units
  mounted_source
  say "source=$source"
  look_data
  [ -n "$listed" ] || list
  for line in $out; do
    IFS=' '
    set -- $line
    IFS=$nl
    say "unit=$1 $2 $3 $4"
  done
  if any_failed; then
    say units=begin
    systemctl show -p Id,Result -- $unit_names $data_unit 2>/dev/null
    say units=end
  fi
}
