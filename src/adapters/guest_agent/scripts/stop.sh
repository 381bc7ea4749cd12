# Sets `stoppable`: what may start others first, then the rest, then the mount. Foreign units are not in it.
find_stoppable() {
  first= rest=
  for unit in $unit_names $own; do
    [ "$unit" != "$mount_unit" ] || continue
    runs_ours "$unit" || continue
    case $unit in
      # Instances that a socket made of a template of ours (systemd takes a backslash in a pattern as it is).
      *@.*) unit=${unit%%@.*}@*.${unit##*.} ;;
    esac
    case $unit in
      *.socket | *.timer | *.path) has "$first" "$unit" || first=$first$unit$nl ;;
      *) has "$rest" "$unit" || rest=$rest$unit$nl ;;
    esac
  done
  stoppable=$first$rest
  ! runs_ours "$mount_unit" || stoppable=$stoppable$mount_unit$nl
}

stop_all() {
  [ -z "$stoppable" ] || timeout "$limit" systemctl stop -- $stoppable
}

# Sets `up` if anything of it is up or on its way.
find_up() {
  up=
  [ -n "$stoppable" ] || return 0
  states=$(systemctl list-units --all --plain --no-legend --full -- $stoppable 2>/dev/null) ||
    finish silent
  for line in $states; do
    IFS=' '
    set -- $line
    IFS=$nl
    case $3 in
      inactive | failed) ;;
      *) up=yes ;;
    esac
  done
}
