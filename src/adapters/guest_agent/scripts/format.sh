# Makes the file system of a blank volume. Anything that is on it already stays.
main() {
  begin
  wait_device
  if [ -e "$data_device" ] && ! find_data_mount; then
    find_filesystem
    case $data_found in
      '') make_filesystem ;;
      "$data_type") ;;
      *) fail "the data volume has $data_found on it, and the manifest says $data_type: it is not formatted" ;;
    esac
  fi
  look
  finish done
}

# The root folder of the file system is the user's, who could not write to it otherwise.
make_filesystem() {
  owner=0 group=0
  if [ -n "$user" ]; then
    owner=$(id -u "$user") && group=$(id -g "$user") || fail "there is no user $user"
  fi
  case $data_type in
    ext4) set -- mkfs.ext4 -q -F -E "root_owner=$owner:$group" "$data_device" ;;
    xfs)
      printf '/\n0 0\nd--755 %s %s\n$\n' "$owner" "$group" >|"$run/$service.proto"
      set -- mkfs.xfs -q -p "$run/$service.proto" "$data_device"
      ;;
  esac
  why=$(timeout "$limit" "$@" 2>&1) && return 0
  fail "$1 of the data volume failed:${why:+ $(printf '%s' "${why##*"$nl"}" | cut -c1-300)}"
}
