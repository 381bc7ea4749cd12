main() {
  begin
  survey
  find_masks
  umask 022
  if [ "$wanted" = masked ]; then
    for unit in $unit_names; do
      # Nothing of ours to mask, or a file of the operator's in its place: left alone, and the look tells.
      runs_ours "$unit" && ! exists "$sys/$unit" || continue
      ln -s -- /dev/null "$sys/$unit" || fail "/etc/systemd/system/$unit cannot be masked"
    done
  elif [ -n "$masks" ]; then
    rm -f -- $masks || fail "a mask cannot be removed"
  fi
  if [ "$wanted" = enabled ]; then
    make_links
  else
    drop_links
  fi
  settle
  list
  case $wanted in
    masked) any_load not-masked && runs_any && reload ;;
    *) any_load masked && reload ;;
  esac
  # A unit without a link is forgotten by systemd as soon as it is down; the mark is not.
  ! any_up || : >|"$run/$service.up"
  look
  finish done
}

# Whether a unit that was listed is up; the mounts aside.
any_up() {
  for line in $out; do
    IFS=' '
    set -- $line
    IFS=$nl
    [ "$1" != "$mount_unit" ] && [ "$1" != "$data_unit" ] || continue
    [ "$3" != active ] || return 0
  done
  return 1
}

# Whether a unit of ours has been masked here: only then does a reload change what systemd thinks of it.
runs_any() {
  find_masks
  [ -n "$masks" ]
}
