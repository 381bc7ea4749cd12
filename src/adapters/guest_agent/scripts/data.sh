# The data volume of the service. Only in the scripts of a service that has one.

# Sets `data_what` and `data_found`: the device and the type of what is mounted at the data mount point.
find_data_mount() {
  data_what= data_found=
  while IFS=' ' read -r id parent device_number tree point rest; do
    [ "$point" != "$data_point" ] || data_what=$rest
  done <"$root/proc/self/mountinfo"
  # rw,nosuid shared:1 - ext4 /dev/sdb rw
  data_what=${data_what#*- }
  data_found=${data_what%% *}
  data_what=${data_what#* }
  data_what=${data_what%% *}
  [ -n "$data_what" ]
}

# Whether what is mounted there is the volume, or was it until its disk was pulled.
data_is_ours() {
  [ "$data_what" -ef "$data_device" ] && return 0
  [ "$data_found" = "$data_type" ] && [ ! -e "$data_what" ]
}

# Sets `data_found` to what is on the volume's disk; empty if it is blank.
find_filesystem() {
  data_found=
  command -v blkid >/dev/null 2>&1 || {
    data_found=unknown
    return 0
  }
  # 2: it found nothing. 8: it found several.
  traits=$(blkid -p -o export -- "$data_device" 2>/dev/null)
  code=$?
  for trait in $traits; do
    case $trait in
      TYPE=*) data_found=${trait#*=} ;;
      PTTYPE=*) [ -n "$data_found" ] || data_found=partitions-${trait#*=} ;;
    esac
  done
  [ -n "$data_found" ] || [ "$code" = 0 ] || [ "$code" = 2 ] || data_found=ambiguous
}

look_data() {
  [ ! -e "$data_device" ] || say data_device=yes
  if find_data_mount && data_is_ours; then
    say data_mounted=yes
    say "data_filesystem=$data_found"
  elif [ -e "$data_device" ]; then
    find_filesystem
    [ -z "$data_found" ] || say "data_filesystem=$data_found"
  fi
}

# Prints what is in the way of the mount and was not put there by handoverd; sets `foreign`.
foreign_data() {
  if find_data_mount; then
    data_is_ours && return 0
    foreign=yes
    say "data_mount=$data_what"
    return 0
  fi
  exists "$root$data_point" || return 0
  if [ -d "$root$data_point" ]; then
    # Where the record was lost, whose it is is not known for certain.
    has "$recorded_folders" "$data_point" && ! has "$lost" "folder $data_point" && return 0
    set +f
    for path in "$root$data_point"/* "$root$data_point"/.[!.]* "$root$data_point"/..?*; do
      exists "$path" && break
    done
    set -f
    exists "$path" || return 0
  fi
  foreign=yes
  say "data_folder=$data_point"
}

# systemd would take what somebody else mounted there for the unit's own.
check_data_mount() {
  ! find_data_mount || data_is_ours || fail "$data_what is mounted at $data_point, where the data volume is to be"
}
